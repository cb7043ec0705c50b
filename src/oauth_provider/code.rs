//! Issuing an authorization code: the one place where it is done (RFC 6749 §4.1.2).

use axum::http::header;
use axum::response::Response;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::db::authorization_codes::NewCode;
use crate::db::{self, Transaction};
use crate::error::{OAuthErrorCode, OAuthRefusal};
use crate::http::browser::BrowserSession;
use crate::http::page;
use crate::http::state::AppState;
use crate::protocol::authorization::AuthorizationRequest;
use crate::protocol::client::Client;
use crate::protocol::ids::GrantId;
use crate::protocol::opaque::Opaque;
use crate::protocol::scope::ScopeSet;

/// A code, and what becomes of the session's cookie now that the session was used.
pub struct IssuedCode {
    pub code: Opaque,
    /// Until when the session lasts. `None`: the value that was presented has been replaced meanwhile, and must not be set
    /// again over its successor.
    pub keep_cookie_until: Option<OffsetDateTime>,
}

impl IssuedCode {
    /// The answer that takes the code to the client, and keeps the session cookie for as long as the session now lasts.
    pub fn answer(
        &self,
        state: &AppState,
        request: &AuthorizationRequest,
        session: &BrowserSession,
        now: OffsetDateTime,
    ) -> Response {
        let mut response = page::authorization_response(&request.callback.code(&self.code.expose()));
        if let Some(expires_at) = self.keep_cookie_until {
            let cookie = session.kept_until(state, expires_at, now);
            response.headers_mut().append(header::SET_COOKIE, cookie);
        }
        response
    }
}

/// What was taken away while a code was being issued. The caller rolls back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotIssued {
    SessionEnded,
    /// The session goes on.
    ConsentWithdrawn,
}

impl From<NotIssued> for OAuthRefusal {
    fn from(refused: NotIssued) -> Self {
        match refused {
            NotIssued::SessionEnded => Self::new(OAuthErrorCode::LoginRequired, "the session has just ended"),
            NotIssued::ConsentWithdrawn => Self::new(
                OAuthErrorCode::ConsentRequired,
                "the person has just taken back their consent",
            ),
        }
    }
}

/// A code for what `request` asked, limited to `scope`, on the word of `session`; stored when `tx` commits.
///
/// Rows are locked in the order of what ends them: session, consent, code.
///
/// `auth_time` is the session's: a code that is issued on a session of last week says so. Issuing a code is how a session is
/// used, so it lasts longer for it: somebody who signs in to apps every day is never sent to the upstream again.
pub async fn issue(
    tx: &mut Transaction,
    state: &AppState,
    client: &Client,
    request: &AuthorizationRequest,
    browser_session: &BrowserSession,
    scope: &ScopeSet,
    now: OffsetDateTime,
) -> sqlx::Result<Result<IssuedCode, NotIssued>> {
    let session = &browser_session.session;
    let session_ttl = Duration::seconds(i64::from(state.config.jwt.refresh_token_ttl_secs));
    let touched = db::sessions::touch(&mut **tx, session.session_id, now + session_ttl, now).await?;
    let Some(session_expires_at) = touched else {
        return Ok(Err(NotIssued::SessionEnded));
    };
    if !client.auto_approve {
        let held = db::consents::hold(tx, session.user_id, &client.client_id).await?;
        // Silently, offline access is left out where nobody agreed to it.
        let given = |token: &str| token != "offline_access" || scope.contains(token);
        if !request.consent_scope().filtered(given).is_subset_of(&held) {
            return Ok(Err(NotIssued::ConsentWithdrawn));
        }
    }
    let is_newest = browser_session.is_still_newest(tx, now).await?;
    let code = Opaque::generate(&state.rng);
    let lifetime = Duration::seconds(i64::from(state.config.jwt.authorization_code_ttl_secs));
    let inserted = db::authorization_codes::insert(
        &mut **tx,
        &NewCode {
            code_hash: code.hash(),
            grant_id: GrantId(Uuid::now_v7()),
            client_id: &request.client_id,
            user_id: session.user_id,
            session_id: session.session_id,
            redirect_uri: request.callback.redirect_uri(),
            scope,
            nonce: request.nonce.as_deref(),
            code_challenge: request.code_challenge.as_ref(),
            auth_time: session.auth_time,
            acr: session.acr.as_deref(),
            amr: session.amr.as_deref(),
            claims: request.claims.as_ref(),
            issued_at: now,
            expires_at: now + lifetime,
        },
    )
    .await?;
    let issued = IssuedCode {
        code,
        keep_cookie_until: is_newest.then_some(session_expires_at),
    };
    Ok(inserted.then_some(issued).ok_or(NotIssued::SessionEnded))
}
