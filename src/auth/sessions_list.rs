//! `GET, DELETE /auth/sessions`, `DELETE /auth/sessions/{session_id}`: where a person is signed in, and ending it from here.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::device;
use super::respond::{json_answer, signed_out};
use crate::accounts::{self, EndReason};
use crate::db;
use crate::db::retry::retrying;
use crate::db::sessions::ListedSession;
use crate::error::{AppError, ErrorBody};
use crate::http::api_doc::{Forged, RedirectTo, SignedOut};
use crate::http::browser::{BrowserSession, begin_as};
use crate::http::csrf::SameSiteRequest;
use crate::http::now::Now;
use crate::http::segment::Segment;
use crate::http::state::AppState;
use crate::protocol::ids::SessionId;

/// More are not listed; ending all others ends them too.
const MAX_LISTED: i64 = 200;

/// One place where the person is signed in.
#[derive(Debug, Serialize, ToSchema)]
pub struct SessionView {
    pub session_id: SessionId,
    /// The browser and system that it was opened in, as far as they can be told: `Firefox on Linux`.
    pub device: String,
    /// Where the last sign-in came from.
    pub ip_address: Option<String>,
    /// The provider of the last sign-in, by its name in the configuration.
    pub provider: String,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// The last sign-in in it.
    #[serde(with = "time::serde::rfc3339")]
    pub signed_in_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub last_used_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub expires_at: OffsetDateTime,
    /// It is the one that asks.
    pub current: bool,
}

/// Where the person is signed in.
#[derive(Debug, Serialize, ToSchema)]
pub struct SessionsView {
    /// Last used first, 200 at most.
    pub sessions: Vec<SessionView>,
}

/// How many sessions were ended.
#[derive(Debug, Serialize, ToSchema)]
pub struct SessionsEnded {
    pub ended: usize,
}

/// Where the person is signed in.
#[utoipa::path(
    get,
    path = "/auth/sessions",
    tag = "account",
    operation_id = "list_sessions",
    security(("session" = [])),
    responses(
        (status = 200, body = SessionsView),
        SignedOut,
    )
)]
pub async fn list(
    State(state): State<AppState>,
    Now(now): Now,
    session: BrowserSession,
) -> Result<Response, AppError> {
    let current = session.session;
    let listed = db::sessions::list_live_of_user(&state.db, current.user_id, MAX_LISTED, now).await?;
    let sessions = listed
        .into_iter()
        .map(|session| view(session, current.session_id))
        .collect();
    Ok(json_answer(&SessionsView { sessions }))
}

/// Ends every session of the person but the one that asks. `POST /auth/logout-all` ends that, too.
#[utoipa::path(
    delete,
    path = "/auth/sessions",
    tag = "account",
    operation_id = "end_other_sessions",
    security(("session" = [])),
    responses(
        (status = 200, body = SessionsEnded),
        SignedOut,
        Forged,
    )
)]
pub async fn end_others(
    State(state): State<AppState>,
    Now(now): Now,
    session: BrowserSession,
    _same_site: SameSiteRequest,
) -> Result<Response, AppError> {
    let current = session.session;
    let except = Some(current.session_id);
    let ended = retrying(&state.rng, || async {
        let (mut tx, _) = begin_as(&state, &current).await?;
        let ended =
            accounts::end_sessions_of_user(&mut tx, current.user_id, except, EndReason::Revoked, now).await?;
        tx.commit().await?;
        Ok::<_, AppError>(ended)
    })
    .await?;
    Ok(json_answer(&SessionsEnded { ended: ended.len() }))
}

/// Ends one session of the person. The one that asks may be it: that is a logout, and answers as one.
#[utoipa::path(
    delete,
    path = "/auth/sessions/{session_id}",
    tag = "account",
    operation_id = "sign_out_session",
    security(("session" = [])),
    params(("session_id" = SessionId, Path, description = "As `GET /auth/sessions` lists it")),
    responses(
        (status = 200, description = "It was the session that asks; where to go on", body = RedirectTo),
        (status = 204, description = "Ended"),
        SignedOut,
        Forged,
        (status = 404, description = "`not_found`: none of the person's own that still goes on", body = ErrorBody),
    )
)]
pub async fn end(
    State(state): State<AppState>,
    Now(now): Now,
    session: BrowserSession,
    _same_site: SameSiteRequest,
    Segment(session_id): Segment,
) -> Result<Response, AppError> {
    // What is no id is nobody's session.
    let session_id: SessionId = session_id.parse().map_err(|_| AppError::not_found())?;
    let current = session.session;
    let is_current = session_id == current.session_id;
    let reason = if is_current {
        EndReason::Logout
    } else {
        EndReason::Revoked
    };
    let ended = retrying(&state.rng, || async {
        let (mut tx, _) = begin_as(&state, &current).await?;
        let ended = accounts::end_own_session(&mut tx, current.user_id, session_id, reason, now).await?;
        tx.commit().await?;
        Ok::<_, AppError>(ended)
    });
    if !ended.await? {
        return Err(AppError::not_found());
    }
    Ok(if is_current {
        signed_out(&state)
    } else {
        StatusCode::NO_CONTENT.into_response()
    })
}

fn view(session: ListedSession, current: SessionId) -> SessionView {
    SessionView {
        session_id: session.session_id,
        device: device::describe(session.user_agent.as_deref()),
        ip_address: session.ip_address,
        provider: session.provider,
        created_at: session.created_at,
        signed_in_at: OffsetDateTime::from_unix_timestamp(session.auth_time).unwrap_or(session.created_at),
        last_used_at: session.last_used_at,
        expires_at: session.expires_at,
        current: session.session_id == current,
    }
}
