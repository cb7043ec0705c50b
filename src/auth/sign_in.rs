//! The session that a proved identity opens, and its two cookies. Callback and onboarding both end here.

use axum::extract::{FromRef, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderValue, header};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::flow::Target;
use crate::accounts::{self, EndReason};
use crate::db::sessions::{LiveSession, Login};
use crate::db::users::User;
use crate::db::{self, Transaction};
use crate::error::AppError;
use crate::events::Event;
use crate::http::browser::{Browser, MaybeBrowserSession};
use crate::http::client_ip::ClientIp;
use crate::http::cookies::{CookieKind, Cookies};
use crate::http::now::Now;
use crate::http::state::AppState;
use crate::protocol::claims::{SESSION_TOKEN_TYP, SessionTokenClaims};
use crate::protocol::ids::{LinkId, SessionId};
use crate::protocol::opaque::Opaque;
use crate::upstream::Identity;

/// Longer `User-Agent` values are cut off.
const MAX_USER_AGENT_CHARS: usize = 512;
/// Longer picture URLs stay out of the access cookie, which has to fit into 4 KiB.
const MAX_COOKIE_PICTURE_BYTES: usize = 512;

/// Everything about a request that signing in depends on.
pub struct Visit {
    pub state: AppState,
    pub now: OffsetDateTime,
    pub browser: Browser,
    /// The session that this browser has already.
    pub previous: Option<LiveSession>,
    pub user_agent: Option<String>,
    pub ip_address: Option<String>,
}

/// A session as its cookies carry it.
pub struct OpenSession<'a> {
    pub user: &'a User,
    pub session_id: SessionId,
    /// Seconds since the epoch.
    pub auth_time: i64,
    /// The value of the session cookie.
    pub token: &'a Opaque,
    pub expires_at: OffsetDateTime,
}

/// A session that a login has just opened or renewed.
pub struct SignedIn {
    pub user: User,
    pub session_id: SessionId,
    /// Seconds since the epoch.
    pub auth_time: i64,
    pub token: Opaque,
    pub expires_at: OffsetDateTime,
}

impl<S> FromRequestParts<S> for Visit
where
    S: Send + Sync,
    AppState: FromRef<S>,
{
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, outer: &S) -> Result<Self, Self::Rejection> {
        let Ok(Now(now)) = Now::from_request_parts(parts, outer).await;
        let Ok(browser) = Browser::from_request_parts(parts, outer).await;
        let Ok(ClientIp(ip_address)) = ClientIp::from_request_parts(parts, outer).await;
        let MaybeBrowserSession(previous) = MaybeBrowserSession::from_request_parts(parts, outer).await?;
        let user_agent = parts
            .headers
            .get(header::USER_AGENT)
            .and_then(|value| value.to_str().ok());
        Ok(Self {
            state: AppState::from_ref(outer),
            now,
            browser,
            previous: previous.map(|previous| previous.session),
            user_agent: user_agent.map(|value| value.chars().take(MAX_USER_AGENT_CHARS).collect()),
            ip_address: ip_address.map(|address| address.to_string()),
        })
    }
}

impl Visit {
    /// Opens a session for `user`, who has just proved to be `identity`, and notes at the authorization request that the
    /// sign-in was for that it succeeded.
    ///
    /// The same person's session in this browser goes on with a new cookie value and a new `auth_time`; another person's
    /// ends as by logout. A cookie value that came with the request is never taken over. `auth_time`: when the upstream
    /// proved it, seconds since the epoch; a newcomer may have thought about a name since.
    pub async fn open_session(
        &self,
        tx: &mut Transaction,
        user: User,
        link_id: LinkId,
        identity: &Identity,
        target: &Target,
        auth_time: i64,
    ) -> sqlx::Result<SignedIn> {
        let jwt = &self.state.config.jwt;
        let absolute_ttl = Some(jwt.session_absolute_ttl_secs).filter(|secs| *secs > 0);
        let absolute_expires_at = absolute_ttl.map(|secs| self.now + seconds(secs));
        let sliding = self.now + seconds(jwt.refresh_token_ttl_secs);
        let expires_at = absolute_expires_at.map_or(sliding, |absolute| absolute.min(sliding));
        let login = Login {
            user_id: user.user_id,
            link_id,
            provider: &identity.provider,
            upstream_sid: identity.sid.as_deref(),
            auth_time,
            acr: identity.acr.as_deref(),
            amr: identity.amr.as_deref(),
            user_agent: self.user_agent.as_deref(),
            ip_address: self.ip_address.as_deref(),
            expires_at,
            absolute_expires_at,
        };
        let token = Opaque::generate(&self.state.rng);
        let session_id = self.renew_or_insert(tx, &token, &login).await?;
        if let Some(request_hash) = target.request_hash() {
            db::authorization_requests::mark_login_satisfied(
                &mut **tx,
                &request_hash,
                &self.browser.hash(),
                user.user_id,
                session_id,
                self.now,
            )
            .await?;
        }
        Ok(SignedIn {
            user,
            session_id,
            auth_time,
            token,
            expires_at,
        })
    }

    async fn renew_or_insert(
        &self,
        tx: &mut Transaction,
        token: &Opaque,
        login: &Login<'_>,
    ) -> sqlx::Result<SessionId> {
        if let Some(previous) = &self.previous {
            let same_person = previous.user_id == login.user_id;
            if same_person
                && db::sessions::renew(tx, previous.session_id, &token.hash(), login, self.now).await?
            {
                return Ok(previous.session_id);
            }
            if !same_person {
                accounts::end_session(tx, previous.session_id, EndReason::OtherPerson, self.now).await?;
            }
        }
        let session_id = SessionId(Uuid::new_v4());
        db::sessions::insert(tx, session_id, &token.hash(), login, self.now).await?;
        let created = Event::SessionCreated {
            session_id,
            user_id: login.user_id,
            provider: login.provider.to_owned(),
        };
        db::events::emit(tx, &[created], self.now).await?;
        Ok(session_id)
    }

    /// The two cookies of a session that has just been opened, its transaction committed.
    pub async fn cookies(&self, signed_in: &SignedIn) -> Result<[HeaderValue; 2], AppError> {
        tracing::info!(
            event = "sign_in.succeeded",
            user.id = %signed_in.user.user_id,
            session.id = %signed_in.session_id,
            "a person signed in"
        );
        let session = OpenSession {
            user: &signed_in.user,
            session_id: signed_in.session_id,
            auth_time: signed_in.auth_time,
            token: &signed_in.token,
            expires_at: signed_in.expires_at,
        };
        session_cookies(&self.state, &session, self.now).await
    }
}

/// The session cookie and the access cookie, each for as long as it is good.
pub async fn session_cookies(
    state: &AppState,
    session: &OpenSession<'_>,
    now: OffsetDateTime,
) -> Result<[HeaderValue; 2], AppError> {
    let refresh = Cookies::new(&state.config).set(
        CookieKind::Refresh,
        session.token.expose(),
        Some(session.expires_at - now),
    );
    let access = access_cookie(state, session.user, session.session_id, session.auth_time, now).await?;
    Ok([refresh, access])
}

/// The access cookie alone, for what it says has changed. `auth_time`: the session's, seconds since the epoch.
///
/// Signed beside the threads that serve connections: RS256 takes up to milliseconds of computing.
pub async fn access_cookie(
    state: &AppState,
    user: &User,
    session_id: SessionId,
    auth_time: i64,
    now: OffsetDateTime,
) -> Result<HeaderValue, AppError> {
    let access_ttl = seconds(state.config.jwt.access_token_ttl_secs);
    let issuer = &state.config.jwt.issuer;
    let claims = SessionTokenClaims {
        iss: issuer.to_owned(),
        sub: user.user_id,
        aud: issuer.to_owned(),
        exp: (now + access_ttl).unix_timestamp(),
        iat: now.unix_timestamp(),
        jti: Uuid::new_v4().to_string(),
        sid: session_id,
        auth_time,
        username: user.username.clone(),
        role: user.role.clone(),
        picture: user
            .picture
            .clone()
            .filter(|url| url.len() <= MAX_COOKIE_PICTURE_BYTES),
    };
    let keys = state.keys.current();
    let sign = move || keys.sign(SESSION_TOKEN_TYP, &claims, None, now);
    let signed = state.signing.take(sign).await;
    let access = signed
        .map_err(|error| AppError::failure(error.into()))?
        .map_err(|error| AppError::failure(anyhow::Error::new(error).context("sign the access cookie")))?;
    Ok(Cookies::new(&state.config).set(CookieKind::Access, access, Some(access_ttl)))
}

fn seconds(secs: u32) -> Duration {
    Duration::seconds(i64::from(secs))
}
