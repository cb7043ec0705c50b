//! `GET, POST /auth/setup`: a newcomer picks a username.
//!
//! What an upstream has proved waits under a handle that only this browser's cookie holds. A name that is refused costs
//! nothing; one that is taken makes account, link and session in one transaction and uses the handle up.

use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::destination;
use super::flow::{self, Setup};
use super::newcomer;
use super::profile::UserView;
use super::respond::{json_answer, with_cookies};
use super::sign_in::{SignedIn, Visit};
use crate::accounts::{self, NewAccount, NotCreated};
use crate::db;
use crate::db::retry::retrying;
use crate::error::{AppError, ErrorBody};
use crate::http::api_doc::{BadBody, Forged};
use crate::http::cookies::{CookieKind, Cookies};
use crate::http::csrf::SameSiteRequest;
use crate::http::json_body;
use crate::protocol::opaque::Opaque;
use crate::usernames::Username;

/// What is known of the newcomer, for the page that asks them.
#[derive(Debug, Serialize, ToSchema)]
pub struct SetupView {
    pub provider: SetupProvider,
    /// Free at this moment; `None` if the rules admit nothing that could be derived.
    pub suggested_username: Option<String>,
    pub username_rules: UsernameRulesView,
    pub name: Option<String>,
    pub picture: Option<String>,
    /// Their own address, as the provider gave it.
    pub email: Option<String>,
    /// Their verified address belongs to an account: they may sign in there and link this identity instead.
    pub link_suggested: bool,
}

/// The provider they came by.
#[derive(Debug, Serialize, ToSchema)]
pub struct SetupProvider {
    pub name: String,
    pub display_name: String,
}

/// The rules, so that a page can check while somebody types.
#[derive(Debug, Serialize, ToSchema)]
pub struct UsernameRulesView {
    pub min_length: usize,
    pub max_length: usize,
    pub pattern: String,
    pub max_display_name_length: usize,
}

/// The newcomer's choice. Nothing else can be chosen.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetupChoice {
    /// `usernames.min_length` to `usernames.max_length` characters that `usernames.pattern` matches as a whole.
    #[schema(min_length = 1, max_length = 64, example = "ada-lovelace")]
    pub username: String,
    #[schema(max_length = 1000)]
    pub display_name: Option<String>,
}

/// The account is made.
#[derive(Debug, Serialize, ToSchema)]
pub struct SetupDone {
    pub user: UserView,
    /// Where to go on; `None` if nobody has said.
    pub redirect_to: Option<String>,
}

/// `GET /auth/setup`.
#[utoipa::path(get, path = "/auth/setup", tag = "sign-in", operation_id = "show_onboarding",
    security((), ("onboarding" = [])),
    responses((status = 200, body = SetupView), (status = 404, body = ErrorBody, description = "Nobody waits in this browser")))]
pub async fn show(visit: Visit, headers: HeaderMap) -> Result<Response, AppError> {
    let handle = handle(&visit, &headers)?;
    let state = &visit.state;
    let sealed =
        db::pending_identities::find_setup(&state.db, &handle.hash(), &visit.browser.hash(), visit.now)
            .await?;
    let setup = open(&handle, sealed)?;
    let suggested = newcomer::free_names(state, &setup.identity, visit.now)
        .await?
        .into_iter()
        .next();
    let provider = state
        .upstreams
        .get(&setup.identity.provider)
        .ok_or_else(no_setup)?;
    let rules = &state.config.usernames;
    Ok(json_answer(&SetupView {
        provider: SetupProvider {
            name: provider.name().to_owned(),
            display_name: provider.display_name().to_owned(),
        },
        suggested_username: suggested.map(|name| name.name),
        username_rules: UsernameRulesView {
            min_length: rules.min_length,
            max_length: rules.max_length,
            pattern: rules.pattern.clone(),
            max_display_name_length: rules.max_display_name_length,
        },
        name: setup.identity.name,
        picture: setup.identity.picture,
        email: setup.identity.email,
        link_suggested: setup.link_suggested,
    }))
}

/// `POST /auth/setup`.
#[utoipa::path(post, path = "/auth/setup", tag = "sign-in", operation_id = "finish_onboarding",
    security((), ("onboarding" = [])), request_body = SetupChoice,
    params(("X-Requested-With" = Option<String>, Header, description = "Needed where the browser does not send Sec-Fetch-Site: same-origin")),
    responses((status = 200, body = SetupDone), BadBody, Forged,
        (status = 404, body = ErrorBody, description = "Nobody waits in this browser"),
        (status = 409, body = ErrorBody, description = "The name is taken, or the identity was linked meanwhile")))]
pub async fn choose(
    visit: Visit,
    headers: HeaderMap,
    _same_site: SameSiteRequest,
    body: Bytes,
) -> Result<Response, AppError> {
    let handle = handle(&visit, &headers)?;
    let expected = "send a JSON object with username and, if wanted, display_name";
    let choice: SetupChoice = json_body::object(&headers, &body, expected)?;
    let username = newcomer::username_rules(&visit.state)?
        .check(&choice.username)
        .map_err(|refused| AppError::bad_request(refused.code(), refused.description()))?;
    let max_length = visit.state.config.usernames.max_display_name_length;
    let display_name = accounts::profile::display_name(choice.display_name.as_deref(), max_length)
        .map_err(|refused| AppError::bad_request(refused.code(), refused.description()))?;
    let made = || create(&visit, &handle, &username, display_name);
    let (signed_in, setup) = retrying(&visit.state.rng, made).await?;
    let response = json_answer(&SetupDone {
        user: UserView::from(&signed_in.user),
        redirect_to: destination::after_login(&visit.state.config, &setup.target),
    });
    let setup_cookie = Cookies::new(&visit.state.config).clear(CookieKind::Setup);
    Ok(with_cookies(
        response,
        visit.cookies(&signed_in).await?.into_iter().chain([setup_cookie]),
    ))
}

/// Account, link, session and the end of the handle, or none of them.
async fn create(
    visit: &Visit,
    handle: &Opaque,
    username: &Username,
    display_name: Option<&str>,
) -> Result<(SignedIn, Setup), AppError> {
    let state = &visit.state;
    let mut tx = state.db.begin().await?;
    let sealed =
        db::pending_identities::consume_setup(&mut tx, &handle.hash(), &visit.browser.hash(), visit.now)
            .await?;
    let setup = open(handle, sealed)?;
    // Who may join can have changed while the person was thinking.
    let provider = state
        .upstreams
        .get(&setup.identity.provider)
        .ok_or_else(no_setup)?;
    newcomer::require_signup(state, provider, &setup.identity)?;
    let account = NewAccount {
        username,
        display_name,
        identity: &setup.identity,
        passthrough: &state.config.claims.passthrough,
    };
    let (user, link_id) = accounts::create(&mut tx, &account, &state.keyring, visit.now)
        .await
        .map_err(not_created)?;
    let signed_in = visit
        .open_session(
            &mut tx,
            user,
            link_id,
            &setup.identity,
            &setup.target,
            setup.auth_time,
        )
        .await?;
    tx.commit().await?;
    Ok((signed_in, setup))
}

fn handle(visit: &Visit, headers: &HeaderMap) -> Result<Opaque, AppError> {
    let handle = Cookies::new(&visit.state.config)
        .read(headers, CookieKind::Setup)
        .opaque();
    handle.filter(|_| visit.browser.is_known()).ok_or_else(no_setup)
}

fn open(handle: &Opaque, sealed: Option<Vec<u8>>) -> Result<Setup, AppError> {
    sealed
        .and_then(|sealed| flow::open(handle, &sealed))
        .ok_or_else(no_setup)
}

fn not_created(refused: NotCreated) -> AppError {
    let conflict = |code, description| AppError::new(StatusCode::CONFLICT, code, description);
    match refused {
        NotCreated::UsernameTaken => conflict("username_taken", "this username is taken"),
        NotCreated::UsernameReserved => conflict("username_reserved", "this username is reserved"),
        NotCreated::AlreadyLinked => {
            conflict("already_linked", "this identity has an account already, sign in")
        }
        NotCreated::Database(error) => error.into(),
    }
}

/// Expired, used, another browser's, never there: all the same.
fn no_setup() -> AppError {
    AppError::new(
        StatusCode::NOT_FOUND,
        "no_setup",
        "no sign-up is under way in this browser, sign in again",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_names_nothing_but_the_two_fields() {
        let read = |json| serde_json::from_str::<SetupChoice>(json);
        assert!(read(r#"{"username":"ada"}"#).is_ok());
        for json in [
            r#"{"username":"ada","role":"admin"}"#,
            r#"{"username":"ada","email_verified":true}"#,
            r#"{"username":["ada"]}"#,
            r#"{"display_name":"Ada"}"#,
            r#"{"username":"ada","username":"bob"}"#,
        ] {
            assert!(read(json).is_err(), "{json}");
        }
    }
}
