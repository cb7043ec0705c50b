//! The stored half of an authorization request: sealing it, finding it again, asking what comes next.

use time::{Duration, OffsetDateTime};

use crate::db;
use crate::db::authorization_requests::{NewPendingRequest, PendingRequest};
use crate::error::{OAuthErrorCode, OAuthRefusal};
use crate::http::browser::{Browser, BrowserSession};
use crate::http::state::AppState;
use crate::protocol::authorization::AuthorizationRequest;
use crate::protocol::client::Client;
use crate::protocol::interaction::{Decision, SessionFacts, Situation, Step, next_step};
use crate::protocol::opaque::Opaque;

/// How long a request waits for its person.
pub const LIFETIME: Duration = Duration::minutes(10);

/// What the decision needs to know of the browser's session.
pub fn facts(session: Option<&BrowserSession>) -> Option<SessionFacts> {
    session.map(|session| SessionFacts {
        user_id: session.session.user_id,
        auth_time: session.session.auth_time,
    })
}

/// Stores `request` and returns the handle under which it is resumed. `browser` is `None` for a cross-site POST, whose
/// browser shows no cookie yet.
pub async fn store(
    state: &AppState,
    request: &AuthorizationRequest,
    browser: Option<&Browser>,
    demands_login: Option<bool>,
    now: OffsetDateTime,
) -> Result<Opaque, OAuthRefusal> {
    let handle = Opaque::generate(&state.rng);
    let plaintext = serde_json::to_vec(request).expect("a request of ours is plain data");
    db::authorization_requests::insert(
        &state.db,
        &NewPendingRequest {
            request_hash: handle.hash(),
            browser_hash: browser.map(Browser::hash),
            client_id: &request.client_id,
            sealed: handle.seal(&state.rng, &plaintext),
            demands_login,
            created_at: now,
            expires_at: now + LIFETIME,
        },
    )
    .await
    .map_err(|error| unavailable(&error))?;
    state.waiting.stored(state);
    Ok(handle)
}

/// Reads a stored request with the handle it was sealed under.
pub fn open(handle: &Opaque, pending: &PendingRequest) -> Option<AuthorizationRequest> {
    serde_json::from_slice(&handle.open(&pending.sealed)?).ok()
}

/// The next step of a request that is not stored (`pending` is `None`) or is.
pub async fn step(
    state: &AppState,
    request: &AuthorizationRequest,
    client: &Client,
    session: Option<&BrowserSession>,
    pending: Option<&PendingRequest>,
    demands_login: bool,
) -> Result<Step, OAuthRefusal> {
    let consented = match session {
        Some(session) if !client.auto_approve => {
            db::consents::find(&state.db, session.session.user_id, &client.client_id)
                .await
                .map_err(|error| unavailable(&error))?
        }
        _ => crate::protocol::scope::ScopeSet::default(),
    };
    let own = pending
        .zip(session)
        .filter(|(pending, session)| is_own(pending, session));
    let own = own.map(|(pending, _)| pending);
    Ok(next_step(&Situation {
        request,
        session: facts(session),
        demands_login,
        login_satisfied: own.is_some_and(|pending| pending.login_satisfied_at.is_some()),
        decision: own.and_then(decision),
        consented: &consented,
        auto_approve: client.auto_approve,
    }))
}

/// What was done for a request (a login, a decision) counts only for the session that did it.
fn is_own(pending: &PendingRequest, session: &BrowserSession) -> bool {
    pending.session_id == Some(session.session.session_id)
}

/// Whether the person of this session has approved the request.
pub fn is_approved_by(pending: &PendingRequest, session: &BrowserSession) -> bool {
    is_own(pending, session) && decision(pending) == Some(Decision::Approved)
}

/// The decision that a stored request bears.
fn decision(pending: &PendingRequest) -> Option<Decision> {
    match pending.decision.as_deref() {
        Some("approved") => Some(Decision::Approved),
        Some("denied") => Some(Decision::Denied),
        _ => None,
    }
}

/// A database that is away, said at the client.
pub fn unavailable(error: &sqlx::Error) -> OAuthRefusal {
    tracing::error!(
        error = format!("{error:#}"),
        "an authorization request could not be answered"
    );
    OAuthRefusal::new(OAuthErrorCode::TemporarilyUnavailable, "try again in a moment")
}
