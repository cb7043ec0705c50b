//! The life of a session after the login: `POST /auth/refresh`, `/auth/logout`, `/auth/logout-all`.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Serialize;
use time::{Duration, OffsetDateTime};
use utoipa::ToSchema;

use super::profile::UserView;
use super::respond::{json_answer, signed_out, with_cookies};
use super::rotation::{self, SessionRotation, TokenFacts};
use super::sign_in::{OpenSession, session_cookies};
use crate::accounts::{self, EndReason};
use crate::db;
use crate::db::retry::retrying;
use crate::db::sessions::{NewSuccessor, StoredSessionToken};
use crate::db::users::User;
use crate::error::AppError;
use crate::http::api_doc::{Forged, RedirectTo, SignedOut};
use crate::http::browser::{BrowserSession, begin_as};
use crate::http::cookies::{CookieKind, Cookies};
use crate::http::csrf::SameSiteRequest;
use crate::http::now::Now;
use crate::http::state::AppState;
use crate::protocol::ids::SessionId;
use crate::protocol::opaque::{Opaque, Salt};

/// How often a renewal looks again when another one was faster.
const ATTEMPTS: usize = 3;

/// The answer to a renewal; the tokens themselves are in the cookies.
#[derive(Debug, Serialize, ToSchema)]
pub struct Refreshed {
    /// Seconds for which the access cookie is good.
    pub expires_in: u32,
    pub user: UserView,
}

/// `POST /auth/refresh`: another value of the session cookie, a new access cookie.
///
/// An answer that was lost, or a second tab, gets the same values again for a few seconds (`refresh_reuse_leeway_secs`). A
/// refusal clears no cookie: it may belong to the slower of two tabs, and the faster one's cookies are good.
#[utoipa::path(post, path = "/auth/refresh", tag = "session", operation_id = "refresh_session",
    security(("session" = [])),
    responses((status = 200, body = Refreshed), SignedOut, Forged))]
pub async fn refresh(
    State(state): State<AppState>,
    Now(now): Now,
    headers: HeaderMap,
    _same_site: SameSiteRequest,
) -> Result<Response, AppError> {
    let presented = Cookies::new(&state.config)
        .read(&headers, CookieKind::Refresh)
        .opaque()
        .ok_or_else(AppError::unauthenticated)?;
    for _ in 0..ATTEMPTS {
        let token = db::sessions::load_token(&state.db, &presented.hash(), now)
            .await?
            .ok_or_else(AppError::unauthenticated)?;
        let facts = TokenFacts {
            alive: token.alive,
            consumed_at: token.consumed_at,
            successor_salt: token.successor_salt,
        };
        match rotation::decide(&facts, state.config.oauth.refresh_reuse_leeway_secs, now) {
            SessionRotation::Rotate => {
                if let Some((successor, expires_at)) = rotate(&state, &presented, now).await? {
                    return refreshed(&state, token, &successor, expires_at, now).await;
                }
            }
            SessionRotation::Repeat(salt) => {
                tracing::warn!(
                    event = "session_token.repeated",
                    session.id = %token.session_id,
                    "a session cookie was renewed again within the leeway"
                );
                let expires_at = token.expires_at;
                return refreshed(&state, token, &presented.successor(&salt), expires_at, now).await;
            }
            SessionRotation::Reused { clock_apart } => {
                end_reused(&state, &token, clock_apart, now).await?;
                return Err(AppError::unauthenticated());
            }
            SessionRotation::Dead => return Err(AppError::unauthenticated()),
        }
    }
    Err(AppError::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "temporarily_unavailable",
        "try again in a moment",
    ))
}

/// Spends the value and stores its successor. `None`: somebody was faster.
async fn rotate(
    state: &AppState,
    presented: &Opaque,
    now: OffsetDateTime,
) -> Result<Option<(Opaque, OffsetDateTime)>, AppError> {
    let salt = Salt::generate(&state.rng);
    let successor = presented.successor(&salt);
    let ttl = Duration::seconds(i64::from(state.config.jwt.refresh_token_ttl_secs));
    let rotation = NewSuccessor {
        token_hash: &presented.hash(),
        salt,
        successor_hash: &successor.hash(),
        expires_at: now + ttl,
    };
    // One statement is one transaction.
    let rotated = || db::sessions::rotate(&state.db, &rotation, now);
    let expires_at = retrying(&state.rng, rotated).await?;
    Ok(expires_at.map(|expires_at| (successor, expires_at)))
}

async fn refreshed(
    state: &AppState,
    token: StoredSessionToken,
    successor: &Opaque,
    expires_at: OffsetDateTime,
    now: OffsetDateTime,
) -> Result<Response, AppError> {
    let (session_id, auth_time) = (token.session_id, token.auth_time);
    let user = User {
        user_id: token.user_id,
        username: token.username,
        display_name: token.display_name,
        picture: token.picture,
        role: token.role,
        created_at: token.user_created_at,
    };
    let session = OpenSession {
        user: &user,
        session_id,
        auth_time,
        token: successor,
        expires_at,
    };
    let cookies = session_cookies(state, &session, now).await?;
    let body = Refreshed {
        expires_in: state.config.jwt.access_token_ttl_secs,
        user: UserView::from(&user),
    };
    Ok(with_cookies(json_answer(&body), cookies))
}

/// A value that was replaced long ago, or whose successor is in use, is presented: two parties hold this session, and we
/// cannot tell which is its owner. It ends for both.
async fn end_reused(
    state: &AppState,
    token: &StoredSessionToken,
    clock_apart: bool,
    now: OffsetDateTime,
) -> Result<(), AppError> {
    if end(state, token.session_id, EndReason::TokenReused, now).await? {
        tracing::warn!(
            event = "session_token.reused",
            session.id = %token.session_id,
            user.id = %token.user_id,
            clock_apart,
            "a spent session cookie was used again, the session has been ended"
        );
    }
    Ok(())
}

/// Ends a session. Whether it was still going on.
async fn end(
    state: &AppState,
    session_id: SessionId,
    reason: EndReason,
    now: OffsetDateTime,
) -> sqlx::Result<bool> {
    retrying(&state.rng, || async {
        let mut tx = state.db.begin().await?;
        let ended = accounts::end_session(&mut tx, session_id, reason, now).await?;
        tx.commit().await?;
        Ok(ended)
    })
    .await
}

/// `POST /auth/logout`: ends this session. Without one there is nothing to end, and the cookies go all the same.
///
/// Any value of the session's cookie will do, a spent one too: the browser may hold one whose successor was lost on the
/// way, and who signs out has to be signed out.
#[utoipa::path(post, path = "/auth/logout", tag = "session", operation_id = "sign_out",
    security(("session" = []), ()),
    responses((status = 204, description = "Signed out"), (status = 200, body = RedirectTo, description = "Signed out; the page to go on to"), Forged))]
pub async fn logout(
    State(state): State<AppState>,
    Now(now): Now,
    headers: HeaderMap,
    _same_site: SameSiteRequest,
) -> Result<Response, AppError> {
    let presented = Cookies::new(&state.config)
        .read(&headers, CookieKind::Refresh)
        .opaque();
    if let Some(presented) = presented
        && let Some(token) = db::sessions::load_token(&state.db, &presented.hash(), now).await?
    {
        end(&state, token.session_id, EndReason::Logout, now).await?;
    }
    Ok(signed_out(&state))
}

/// `POST /auth/logout-all`: ends every session of the person.
#[utoipa::path(post, path = "/auth/logout-all", tag = "session", operation_id = "sign_out_everywhere",
    security(("session" = [])),
    responses((status = 204, description = "Signed out everywhere"), (status = 200, body = RedirectTo, description = "Signed out everywhere; the page to go on to"), SignedOut, Forged))]
pub async fn logout_all(
    State(state): State<AppState>,
    Now(now): Now,
    session: BrowserSession,
    _same_site: SameSiteRequest,
) -> Result<Response, AppError> {
    let user_id = session.session.user_id;
    retrying(&state.rng, || async {
        let (mut tx, _) = begin_as(&state, &session.session).await?;
        accounts::end_sessions_of_user(&mut tx, user_id, None, EndReason::LogoutAll, now).await?;
        tx.commit().await?;
        Ok::<_, AppError>(())
    })
    .await?;
    Ok(signed_out(&state))
}
