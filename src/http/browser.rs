//! Who is at the browser: the session that its cookie opens, and the browser's own name.

use axum::extract::{FromRef, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use time::{Duration, OffsetDateTime};

use super::cookies::{CookieKind, Cookies};
use super::now::Now;
use super::state::AppState;
use crate::db::sessions::{LiveSession, LockedSession};
use crate::db::users::User;
use crate::db::{self, Transaction};
use crate::error::AppError;
use crate::protocol::opaque::{Opaque, TokenHash};

/// A live session, read from its row for this very request.
#[derive(Clone, Debug)]
pub struct BrowserSession {
    pub session: LiveSession,
    presented: Opaque,
}

/// What cannot be undone needs a sign-in that is no older than this.
const RECENT_LOGIN: Duration = Duration::minutes(10);

impl BrowserSession {
    /// Refuses unless the person signed in a short while ago: a browser that was left open, or a stolen cookie, cannot do
    /// what cannot be undone. Signing in again in the same browser keeps the session and renews its `auth_time`.
    pub fn require_recent_login(&self, now: OffsetDateTime) -> Result<(), AppError> {
        if now.unix_timestamp() - self.session.auth_time <= RECENT_LOGIN.whole_seconds() {
            return Ok(());
        }
        Err(AppError::new(
            StatusCode::FORBIDDEN,
            "reauthentication_required",
            "sign in again at GET /auth/{provider}, then repeat this within ten minutes",
        ))
    }

    /// Whether the value that was presented is the newest one of its session, asked again within `tx`. With the session's row
    /// locked there the answer holds until the end of `tx`: who replaces the value locks that row first.
    pub async fn is_still_newest(&self, tx: &mut Transaction, now: OffsetDateTime) -> sqlx::Result<bool> {
        // No leeway: a predecessor is of no interest.
        let found = db::sessions::find_live_by_token(&mut **tx, &self.presented.hash(), 0, now).await?;
        Ok(found.is_some_and(|session| session.is_newest_value))
    }

    /// The `Set-Cookie` value that keeps the presented value until `expires_at`. Only for the newest one: a predecessor would
    /// overwrite its successor, and presented after the leeway it ends the session.
    pub fn kept_until(
        &self,
        state: &AppState,
        expires_at: OffsetDateTime,
        now: OffsetDateTime,
    ) -> HeaderValue {
        Cookies::new(&state.config).set(
            CookieKind::Refresh,
            self.presented.expose(),
            Some(expires_at - now),
        )
    }
}

/// Begins what the person of a session does to their account. Whether they are still signed in is judged again, once the
/// account's row and then the session's are locked: a request waits there for whoever signs the session out, disables the
/// account or undoes a merge, and what was ended has nothing done any more. It stays so until the transaction ends.
///
/// To be run by [`retrying`](crate::db::retry::retrying): the database may give up what met something else.
///
/// A deletion locks the administrators before the account, so it judges by itself ([`crate::accounts::delete()`]).
pub async fn begin_as(
    state: &AppState,
    session: &LiveSession,
) -> Result<(Transaction, LockedOwner), AppError> {
    let mut tx = state.db.begin().await?;
    let user = db::users::lock_live(&mut tx, session.user_id)
        .await?
        .ok_or_else(AppError::unauthenticated)?;
    let session = db::sessions::lock_live(&mut tx, session.session_id)
        .await?
        .ok_or_else(AppError::unauthenticated)?;
    Ok((tx, LockedOwner { user, session }))
}

/// An account and the session of its owner, both locked.
#[derive(Clone, Debug)]
pub struct LockedOwner {
    pub user: User,
    pub session: LockedSession,
}

/// The session, if there is one. An absent or dead cookie is `None`, a database that is away an error.
#[derive(Clone, Debug)]
pub struct MaybeBrowserSession(pub Option<BrowserSession>);

/// What this browser is called: pending requests and flows are bound to it. A browser that has no name yet is given one,
/// and the response has to carry [`set_cookie`](Browser::set_cookie).
#[derive(Clone, Debug)]
pub struct Browser {
    name: Opaque,
    fresh: bool,
}

impl Browser {
    /// What the database knows the browser by.
    pub fn hash(&self) -> TokenHash {
        self.name.hash()
    }

    /// The `Set-Cookie` value that a response has to carry when the name is new.
    pub fn set_cookie(&self, state: &AppState) -> Option<HeaderValue> {
        self.fresh
            .then(|| Cookies::new(&state.config).set(CookieKind::Browser, self.name.expose(), None))
    }

    /// Whether the request came with the name, so that something can be bound to it already.
    pub fn is_known(&self) -> bool {
        !self.fresh
    }
}

impl<S> FromRequestParts<S> for Browser
where
    S: Send + Sync,
    AppState: FromRef<S>,
{
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let state = AppState::from_ref(state);
        let presented = Cookies::new(&state.config)
            .read(&parts.headers, CookieKind::Browser)
            .opaque();
        Ok(match presented {
            Some(name) => Self { name, fresh: false },
            None => Self {
                name: Opaque::generate(&state.rng),
                fresh: true,
            },
        })
    }
}

impl<S> FromRequestParts<S> for MaybeBrowserSession
where
    S: Send + Sync,
    AppState: FromRef<S>,
{
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, outer: &S) -> Result<Self, Self::Rejection> {
        let state = AppState::from_ref(outer);
        let Ok(Now(now)) = Now::from_request_parts(parts, outer).await;
        let presented = Cookies::new(&state.config)
            .read(&parts.headers, CookieKind::Refresh)
            .opaque();
        let Some(presented) = presented else {
            return Ok(Self(None));
        };
        let leeway_secs = state.config.oauth.refresh_reuse_leeway_secs;
        let session =
            db::sessions::find_live_by_token(&state.db, &presented.hash(), leeway_secs, now).await?;
        if let Some(session) = session.as_ref().filter(|session| !session.is_newest_value) {
            // A slower tab, or a thief in step with the owner: as with a renewal, the operator can count them.
            tracing::warn!(
                event = "session_token.repeated",
                session.id = %session.session_id,
                "a session cookie that was replaced was used within the leeway"
            );
        }
        Ok(Self(session.map(|session| BrowserSession { session, presented })))
    }
}

impl<S> FromRequestParts<S> for BrowserSession
where
    S: Send + Sync,
    AppState: FromRef<S>,
{
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let MaybeBrowserSession(session) = MaybeBrowserSession::from_request_parts(parts, state).await?;
        session.ok_or_else(AppError::unauthenticated)
    }
}
