//! `GET, POST /auth/link/confirm`: the person is shown which identity waits, and says that it shall lead to their account.
//!
//! Two kinds of identities wait: one that they started to link, and one of a newcomer whose proved address belongs to their
//! account, where they have signed in since. The first is bound to its starter and their session, both to the browser.
//! What is confirmed is what was shown: the page sends back the id that it was shown with.

use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::destination;
use super::flow::{self, FRESH_SESSION, LinkIntent, Setup, Target};
use super::linking;
use super::newcomer;
use super::respond::{json_answer, with_cookies};
use super::sign_in::{SignedIn, Visit};
use crate::accounts;
use crate::db::pending_identities::{Confirmer, Waiting};
use crate::db::retry::retrying;
use crate::db::sessions::LiveSession;
use crate::db::{self, Transaction};
use crate::error::{AppError, ErrorBody};
use crate::http::api_doc::{BadBody, SignedOut};
use crate::http::browser::begin_as;
use crate::http::cookies::{CookieKind, Cookies};
use crate::http::csrf::SameSiteRequest;
use crate::http::json_body;
use crate::http::state::AppState;
use crate::protocol::ids::LinkId;
use crate::protocol::opaque::Opaque;
use crate::upstream::{Identity, Provider};

/// The identity that waits, as the page shows it.
#[derive(Debug, Serialize, ToSchema)]
pub struct LinkProposal {
    /// To be sent back with the confirmation.
    #[schema(min_length = 43, max_length = 43)]
    pub confirmation_id: String,
    pub provider: LinkProvider,
    /// How the provider names the identity.
    pub display: String,
    /// Its address with most of the local part hidden.
    pub email: Option<String>,
    /// The account that it will lead to: that of the person who is signed in.
    pub username: String,
    /// The person signed in too long ago: let them do it again before they confirm.
    pub reauthentication_required: bool,
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: OffsetDateTime,
}

/// The provider that proved it.
#[derive(Debug, Serialize, ToSchema)]
pub struct LinkProvider {
    pub name: String,
    pub display_name: String,
}

/// The person's word.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkConfirmation {
    /// As the proposal had it.
    #[schema(min_length = 43, max_length = 43)]
    pub confirmation_id: String,
}

/// The identity leads to the account.
#[derive(Debug, Serialize, ToSchema)]
pub struct LinkConfirmed {
    pub link_id: LinkId,
    /// The provider's name.
    pub provider: String,
    /// Where to go on; `None` if nobody has said.
    pub redirect_to: Option<String>,
}

/// What waits, opened.
struct Proposal {
    identity: Identity,
    target: Target,
    /// Of a newcomer's: when the upstream proved it, seconds since the epoch. Their sign-in is finished with the link.
    unfinished_sign_in: Option<i64>,
    expires_at: OffsetDateTime,
}

/// Shows what waits.
#[utoipa::path(get, path = "/auth/link/confirm", tag = "account", operation_id = "show_link",
    security(("session" = [], "onboarding" = [])),
    responses((status = 200, body = LinkProposal), SignedOut,
        (status = 404, body = ErrorBody, description = "`no_link`: nothing of this kind waits for this person in this browser")))]
pub async fn show(visit: Visit, headers: HeaderMap) -> Result<Response, AppError> {
    let session = session(&visit)?;
    let handle = handle(&visit, &headers)?;
    let handle_hash = handle.hash();
    let browser_hash = visit.browser.hash();
    let confirmer = Confirmer {
        handle_hash: &handle_hash,
        browser_hash: &browser_hash,
        user_id: session.user_id,
        session_id: session.session_id,
    };
    let state = &visit.state;
    let waiting = db::pending_identities::find_confirmable(&state.db, confirmer, visit.now).await?;
    let proposal = open(&handle, waiting)?;
    let mut connection = state.db.acquire().await?;
    let provider = require_meant(&mut connection, state, session, &proposal).await?;
    Ok(json_answer(&LinkProposal {
        confirmation_id: confirmation_id(&handle),
        provider: LinkProvider {
            name: provider.name().to_owned(),
            display_name: provider.display_name().to_owned(),
        },
        display: proposal.identity.display,
        email: proposal.identity.email.as_deref().and_then(masked),
        username: session.username.clone(),
        reauthentication_required: !is_fresh(session.auth_time, visit.now),
        expires_at: proposal.expires_at,
    }))
}

/// Links what waits. It is used up by that; whatever is refused for the person's own sake can be tried again.
#[utoipa::path(post, path = "/auth/link/confirm", tag = "account", operation_id = "confirm_link",
    security(("session" = [], "onboarding" = [])), request_body = LinkConfirmation,
    params(("X-Requested-With" = Option<String>, Header, description = "Needed where the browser does not send Sec-Fetch-Site: same-origin")),
    responses((status = 200, body = LinkConfirmed), BadBody, SignedOut,
        (status = 403, body = ErrorBody, description = "`csrf_refused`; `reauthentication_required`: the last sign-in is too long ago"),
        (status = 404, body = ErrorBody, description = "`no_link`: nothing of this kind waits for this person in this browser"),
        (status = 409, body = ErrorBody, description = "`identity_linked`: another account has it; `provider_linked`: this account has another one there")))]
pub async fn confirm(
    visit: Visit,
    _same_site: SameSiteRequest,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, AppError> {
    let session = session(&visit)?;
    let handle = handle(&visit, &headers)?;
    let expected = "send a JSON object with confirmation_id";
    let choice: LinkConfirmation = json_body::object(&headers, &body, expected)?;
    if choice.confirmation_id != confirmation_id(&handle) {
        return Err(no_link());
    }
    let linked = || link(&visit, session, &handle);
    let (link_id, proposal, signed_in) = match retrying(&visit.state.rng, linked).await {
        Err(refused) if refused.status == StatusCode::CONFLICT => {
            db::pending_identities::discard(&visit.state.db, &handle.hash(), &visit.browser.hash()).await?;
            return Err(refused);
        }
        done => done?,
    };
    let response = json_answer(&LinkConfirmed {
        link_id,
        redirect_to: destination::after_login(&visit.state.config, &proposal.target),
        provider: proposal.identity.provider,
    });
    let mut cookies = vec![Cookies::new(&visit.state.config).clear(CookieKind::Setup)];
    if let Some(signed_in) = &signed_in {
        cookies.extend(visit.cookies(signed_in).await?);
    }
    Ok(with_cookies(response, cookies))
}

/// The link, the end of what waited and, for a newcomer, the end of their sign-in; or none of them.
async fn link(
    visit: &Visit,
    session: &LiveSession,
    handle: &Opaque,
) -> Result<(LinkId, Proposal, Option<SignedIn>), AppError> {
    let state = &visit.state;
    let (mut tx, owner) = begin_as(state, session).await?;
    let proposal = consume(&mut tx, visit, session, handle).await?;
    let provider = require_meant(&mut tx, state, session, &proposal).await?;
    if !is_fresh(session.auth_time, visit.now) {
        return Err(AppError::new(
            StatusCode::FORBIDDEN,
            "reauthentication_required",
            "sign in again, then confirm",
        ));
    }
    let identity = &proposal.identity;
    let link_id = accounts::add_link(
        &mut tx,
        session.user_id,
        identity,
        owner.session.link_id,
        |link| !provider.may_speak_for(&link.issuer),
        visit.now,
    )
    .await
    .map_err(not_linked)?;
    let signed_in = match proposal.unfinished_sign_in {
        Some(auth_time) => Some(
            visit
                .open_session(
                    &mut tx,
                    owner.user,
                    link_id,
                    &proposal.identity,
                    &proposal.target,
                    auth_time,
                )
                .await?,
        ),
        None => None,
    };
    tx.commit().await?;
    tracing::info!(
        event = "link.created",
        user.id = %session.user_id,
        provider.name = proposal.identity.provider,
        "an identity was linked"
    );
    Ok((link_id, proposal, signed_in))
}

async fn consume(
    tx: &mut Transaction,
    visit: &Visit,
    session: &LiveSession,
    handle: &Opaque,
) -> Result<Proposal, AppError> {
    let confirmer = Confirmer {
        handle_hash: &handle.hash(),
        browser_hash: &visit.browser.hash(),
        user_id: session.user_id,
        session_id: session.session_id,
    };
    let waiting = db::pending_identities::consume_confirmable(tx, confirmer, visit.now).await?;
    open(handle, waiting)
}

/// Opens what waits. A newcomer's identity can be linked only if that was suggested to them.
fn open(handle: &Opaque, waiting: Option<Waiting>) -> Result<Proposal, AppError> {
    let waiting = waiting.ok_or_else(no_link)?;
    let expires_at = waiting.expires_at;
    let proposal = if waiting.kind == "setup" {
        flow::open::<Setup>(handle, &waiting.sealed)
            .filter(|setup| setup.link_suggested)
            .map(|setup| Proposal {
                identity: setup.identity,
                target: setup.target,
                unfinished_sign_in: Some(setup.auth_time),
                expires_at,
            })
    } else {
        flow::open::<LinkIntent>(handle, &waiting.sealed).map(|intent| Proposal {
            identity: intent.identity,
            target: intent.target,
            unfinished_sign_in: None,
            expires_at,
        })
    };
    proposal.ok_or_else(no_link)
}

/// The provider of what waits, if this account may have it: its owner has started the link, or was meant by the suggestion.
async fn require_meant<'s>(
    db: &mut PgConnection,
    state: &'s AppState,
    session: &LiveSession,
    proposal: &Proposal,
) -> Result<&'s Provider, AppError> {
    let identity = &proposal.identity;
    let provider = state.upstreams.get(&identity.provider).ok_or_else(no_link)?;
    let is_meant = proposal.unfinished_sign_in.is_none()
        || newcomer::was_meant(db, state, provider, identity, session.user_id).await?;
    is_meant.then_some(provider).ok_or_else(no_link)
}

fn session(visit: &Visit) -> Result<&LiveSession, AppError> {
    visit.previous.as_ref().ok_or_else(AppError::unauthenticated)
}

fn handle(visit: &Visit, headers: &HeaderMap) -> Result<Opaque, AppError> {
    let handle = Cookies::new(&visit.state.config)
        .read(headers, CookieKind::Setup)
        .opaque();
    handle.filter(|_| visit.browser.is_known()).ok_or_else(no_link)
}

/// Names what waits without opening it: the hash of the handle.
fn confirmation_id(handle: &Opaque) -> String {
    URL_SAFE_NO_PAD.encode(handle.hash().0)
}

/// Whether a session whose login was at `auth_time` may change what leads to the account.
fn is_fresh(auth_time: i64, now: OffsetDateTime) -> bool {
    now.unix_timestamp().saturating_sub(auth_time) <= FRESH_SESSION.whole_seconds()
}

/// Enough of an address to recognise one's own.
fn masked(email: &str) -> Option<String> {
    let (local, domain) = email.rsplit_once('@')?;
    Some(format!("{}***@{domain}", local.chars().next()?))
}

fn not_linked(error: sqlx::Error) -> AppError {
    if db::violates(&error, db::oauth_links::IDENTITY_LINKED) {
        linking::identity_linked()
    } else if db::violates(&error, db::oauth_links::PROVIDER_LINKED) {
        AppError::new(
            StatusCode::CONFLICT,
            "provider_linked",
            "your account has an identity of this provider already, remove that one first",
        )
    } else {
        error.into()
    }
}

/// Expired, used, void, another's, another browser's, never there: all the same.
fn no_link() -> AppError {
    AppError::new(
        StatusCode::NOT_FOUND,
        "no_link",
        "nothing waits to be linked in this browser, start again",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::Duration;

    #[test]
    fn an_address_is_masked_but_for_its_first_character_and_its_domain() {
        assert_eq!(
            masked("ada@engine.example").as_deref(),
            Some("a***@engine.example")
        );
        assert_eq!(masked("a@engine.example").as_deref(), Some("a***@engine.example"));
        assert_eq!(masked("käte@example.test").as_deref(), Some("k***@example.test"));
        assert_eq!(masked("@example.test"), None);
        assert_eq!(masked("nothing"), None);
    }

    #[test]
    fn a_session_is_fresh_for_ten_minutes() {
        let now = OffsetDateTime::UNIX_EPOCH + Duration::days(1);
        let at = |ago: i64| now.unix_timestamp() - ago;
        assert!(is_fresh(at(0), now) && is_fresh(at(600), now));
        assert!(!is_fresh(at(601), now));
        assert!(!is_fresh(i64::MIN, now));
    }

    #[test]
    fn a_confirmation_names_what_it_confirms_and_nothing_else() {
        let read = |json| serde_json::from_str::<LinkConfirmation>(json);
        assert!(read(r#"{"confirmation_id":"x"}"#).is_ok());
        for json in [
            "{}",
            r#"{"confirmation_id":"x","provider":"google"}"#,
            r#"{"confirmation_id":"x","email_verified":true}"#,
            r#"{"confirmation_id":["x"]}"#,
            r#"{"confirmation_id":"x","confirmation_id":"y"}"#,
        ] {
            assert!(read(json).is_err(), "{json}");
        }
    }
}
