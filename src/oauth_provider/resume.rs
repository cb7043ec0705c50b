//! `GET /oauth/authorize/resume?request=…`: goes on with a stored request. Besides authorize, the only place that issues a
//! code.
//!
//! Everything is judged anew here, with the rows as they are now: the client may have been disabled or lost a redirect URI or
//! a scope, the person may have become another. Only what was judged at arrival stays judged: whether a login is demanded.

use axum::extract::{RawQuery, State};
use axum::http::header;
use axum::response::Response;
use time::OffsetDateTime;

use super::authorize::{no_consent_page, no_login_page};
use super::code::NotIssued;
use super::{code, login_redirect, pending};
use crate::db;
use crate::db::authorization_requests::PendingRequest;
use crate::db::retry::retrying;
use crate::error::{AppError, OAuthErrorCode, OAuthRefusal};
use crate::events::Event;
use crate::http::api_doc::Refused;
use crate::http::browser::{Browser, BrowserSession, MaybeBrowserSession};
use crate::http::error_report::refuse_on_page;
use crate::http::now::Now;
use crate::http::page;
use crate::http::state::AppState;
use crate::protocol::authorization::AuthorizationRequest;
use crate::protocol::client::Client;
use crate::protocol::interaction::{Step, demands_login};
use crate::protocol::opaque::Opaque;
use crate::protocol::params::Params;
use crate::protocol::scope::ScopeSet;

/// `GET /oauth/authorize/resume`.
#[utoipa::path(get, path = "/oauth/authorize/resume", tag = "openid connect", operation_id = "resume_authorization",
    params(("request" = String, Query, description = "The id that a page was handed")),
    responses(
        (status = 303, description = "As /oauth/authorize"),
        (status = 200, description = "As /oauth/authorize", body = String, content_type = "text/html"),
        Refused,
    ))]
pub async fn resume(
    State(state): State<AppState>,
    Now(now): Now,
    browser: Browser,
    MaybeBrowserSession(session): MaybeBrowserSession,
    RawQuery(query): RawQuery,
) -> Result<Response, AppError> {
    let handle = Params::parse(query.unwrap_or_default().as_bytes())
        .ok()
        .and_then(|params| Opaque::parse(params.get("request").ok().flatten()?));
    let Some(handle) = handle else {
        return Ok(gone(&state, now).await);
    };
    let pending = db::authorization_requests::claim(&state.db, &handle.hash(), &browser.hash(), now).await?;
    let Some((pending, request)) =
        pending.and_then(|pending| Some((pending.clone(), pending::open(&handle, &pending)?)))
    else {
        return Ok(gone(&state, now).await);
    };
    let Some(client) = state
        .clients
        .reload(&state.db, &pending.client_id)
        .await?
        .filter(|client| !client.disabled)
    else {
        return Ok(refuse_on_page(&state, &Params::default(), None, &unregistered(), now).await);
    };
    // The registration may have changed while the person was away.
    if !request.callback.is_still_trusted(&client) {
        return Ok(refuse_on_page(&state, &Params::default(), Some(&client), &unregistered(), now).await);
    }
    let going = Going {
        state: &state,
        handle: &handle,
        pending: &pending,
        request: &request,
        client: &client,
        now,
    };
    let mut response = match going.on(session.as_ref()).await {
        Ok(response) => response,
        Err(refusal) => {
            db::authorization_requests::consume(&state.db, &handle.hash()).await?;
            page::authorization_response(&request.callback.error(&refusal))
        }
    };
    if let Some(cookie) = browser.set_cookie(&state) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

/// A stored request on its way.
struct Going<'a> {
    state: &'a AppState,
    handle: &'a Opaque,
    pending: &'a PendingRequest,
    request: &'a AuthorizationRequest,
    client: &'a Client,
    now: OffsetDateTime,
}

impl Going<'_> {
    /// The next step, taken. An error ends the request at the client.
    async fn on(&self, session: Option<&BrowserSession>) -> Result<Response, OAuthRefusal> {
        if let Some(failure) = &self.pending.failure {
            return Err(upstream_failure(failure));
        }
        self.request.require_still_allowed(self.client)?;
        let demands_login = match self.pending.demands_login {
            Some(judged) => judged,
            None => self.judge(session).await?,
        };
        let step = pending::step(
            self.state,
            self.request,
            self.client,
            session,
            Some(self.pending),
            demands_login,
        )
        .await?;
        match (step, session) {
            (Step::Refuse(refusal), _) => Err(refusal),
            (Step::Issue(scope), Some(session)) => self.issue(session, scope).await,
            (Step::Consent, Some(session)) => self.ask_consent(session).await,
            (Step::Login | Step::Issue(_) | Step::Consent, _) => {
                login_redirect::login(&self.state.config, self.handle)
                    .map(|page| page::redirect(&page))
                    .ok_or_else(no_login_page)
            }
        }
    }

    /// A request that came by POST is judged now, when the browser first shows its cookies.
    async fn judge(&self, session: Option<&BrowserSession>) -> Result<bool, OAuthRefusal> {
        let judged = demands_login(self.request, pending::facts(session));
        db::authorization_requests::judge_login(&self.state.db, &self.pending.request_hash, judged)
            .await
            .map_err(|error| pending::unavailable(&error))?;
        Ok(judged)
    }

    async fn ask_consent(&self, session: &BrowserSession) -> Result<Response, OAuthRefusal> {
        let page = login_redirect::consent(&self.state.config, self.handle).ok_or_else(no_consent_page)?;
        db::authorization_requests::bind_person(
            &self.state.db,
            &self.pending.request_hash,
            session.session.user_id,
            session.session.session_id,
        )
        .await
        .map_err(|error| pending::unavailable(&error))?;
        Ok(page::redirect(&page))
    }

    /// Remembers the consent, stores the code, takes the request away: one transaction, so that two resumptions cannot both
    /// have a code. The session is locked before the consent, as by whoever withdraws one; the request comes last because a
    /// sign-in, too, locks the session before the request it is for.
    async fn issue(&self, session: &BrowserSession, scope: ScopeSet) -> Result<Response, OAuthRefusal> {
        let issued = retrying(&self.state.rng, || async {
            let mut tx = self.state.db.begin().await?;
            if pending::is_approved_by(self.pending, session) {
                let user_id = session.session.user_id;
                let locked = db::sessions::lock_live(&mut tx, session.session.session_id).await?;
                if locked.is_none() {
                    return Ok(Issued::Not(NotIssued::SessionEnded));
                }
                let before = db::consents::find(&mut *tx, user_id, &self.client.client_id).await?;
                let consented = before.union(&self.request.consent_scope());
                db::consents::remember(&mut *tx, user_id, &self.client.client_id, &consented, self.now)
                    .await?;
                let granted = Event::ConsentGranted {
                    user_id,
                    client_id: self.client.client_id.clone(),
                    scope: consented.to_string(),
                };
                db::events::emit(&mut tx, &[granted], self.now).await?;
            }
            let code = code::issue(
                &mut tx,
                self.state,
                self.client,
                self.request,
                session,
                &scope,
                self.now,
            )
            .await?;
            let code = match code {
                Ok(code) => code,
                Err(refused) => return Ok(Issued::Not(refused)),
            };
            if !db::authorization_requests::consume(&mut *tx, &self.pending.request_hash).await? {
                return Ok(Issued::ByAnother);
            }
            tx.commit().await?;
            Ok::<_, sqlx::Error>(Issued::Code(code))
        });
        match issued.await.map_err(|error| pending::unavailable(&error))? {
            Issued::Code(code) => Ok(code.answer(self.state, self.request, session, self.now)),
            Issued::Not(refused) => Err(refused.into()),
            Issued::ByAnother => Ok(gone(self.state, self.now).await),
        }
    }
}

/// What became of a request whose time had come.
enum Issued {
    Code(code::IssuedCode),
    /// Another resumption took the request.
    ByAnother,
    /// What it was to be issued on was taken away meanwhile.
    Not(NotIssued),
}

/// The error that an upstream sign-in left behind, in our own words.
fn upstream_failure(failure: &str) -> OAuthRefusal {
    match failure {
        "login_required" => OAuthRefusal::new(
            OAuthErrorCode::LoginRequired,
            "the provider could not prove a new sign-in",
        ),
        "interaction_required" => OAuthRefusal::new(
            OAuthErrorCode::InteractionRequired,
            "the person has to complete their account first",
        ),
        "temporarily_unavailable" => OAuthRefusal::new(
            OAuthErrorCode::TemporarilyUnavailable,
            "the provider could not be reached",
        ),
        _ => OAuthRefusal::new(
            OAuthErrorCode::AccessDenied,
            "the sign-in was cancelled or refused",
        ),
    }
}

fn unregistered() -> OAuthRefusal {
    OAuthRefusal::new(
        OAuthErrorCode::InvalidRequest,
        "the client or its redirect_uri is no longer registered",
    )
}

/// A request that is not there, has expired, was answered, or belongs to another browser: all the same.
async fn gone(state: &AppState, now: OffsetDateTime) -> Response {
    let refusal = OAuthRefusal::new(
        OAuthErrorCode::InvalidRequest,
        "this sign-in has expired or was completed in another window, go back to the app and start again",
    );
    refuse_on_page(state, &Params::default(), None, &refusal, now).await
}
