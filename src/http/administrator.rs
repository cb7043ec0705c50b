//! Who may administrate: the live session of a user who is an administrator at this very request.
//!
//! Judged before anything else of the request is read, so that nobody else learns which ids exist or which bodies are
//! well-formed. Only the session cookie counts: no token opens the administration, whoever's it is.

use axum::extract::{FromRef, FromRequestParts, Request, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use time::OffsetDateTime;

use super::browser::BrowserSession;
use super::client_ip::ClientIp;
use super::state::AppState;
use crate::audit::{Actor, Recorder};
use crate::db::{self, Transaction};
use crate::error::AppError;
use crate::protocol::ids::{SessionId, UserId};

/// The role that may.
pub const ADMIN: &str = "admin";

/// An administrator, as of the session row and the user's row that were read for this request.
#[derive(Clone, Debug)]
pub struct Administrator {
    actor: Actor,
    user_id: UserId,
    session_id: SessionId,
}

impl Administrator {
    /// For the trail: who acts, and from where.
    pub fn actor(&self) -> &Actor {
        &self.actor
    }

    /// By which session they ask.
    pub fn session_id(&self) -> SessionId {
        self.session_id
    }

    /// Who acts.
    pub fn user_id(&self) -> UserId {
        self.user_id
    }

    /// Begins what an administrator does to apps, webhooks and names, and what that writes into the trail with. Whether they
    /// still are one is judged again, and stays so until the transaction ends: who is demoted, disabled or deleted while a
    /// request of theirs waits has nothing done any more. Whether they are signed in is judged here, after that wait, and by
    /// [`commit`](Self::commit), which belongs at the end: a session may end while what is written to is waited for.
    ///
    /// To be run by [`retrying`](crate::db::retry::retrying): the database may give up what met something else.
    ///
    /// What is done to accounts begins by [`begin_on_accounts`](Self::begin_on_accounts).
    pub async fn begin<'a>(
        &'a self,
        state: &'a AppState,
        now: OffsetDateTime,
    ) -> Result<(Transaction, Recorder<'a>), AppError> {
        let mut tx = state.db.begin().await?;
        if !db::users::hold_administrator(&mut tx, self.user_id).await? {
            return Err(not_an_administrator());
        }
        self.require_signed_in(&mut tx).await?;
        Ok((tx, self.recorder(state, now)))
    }

    /// Commits what was [begun](Self::begin), if who acts is still signed in: who was signed out while the request waited for
    /// what it writes to has nothing done.
    pub async fn commit(&self, mut tx: Transaction) -> Result<(), AppError> {
        self.require_signed_in(&mut tx).await?;
        Ok(tx.commit().await?)
    }

    /// Begins what an administrator does to accounts, their own included. It locks all administrators, so that the last one
    /// stays ([`crate::accounts::administration`]), and judges under that lock whether who acts is one and is signed in:
    /// afterwards it could not be told whether what was done to their own account ended the session, or somebody else did.
    /// At the end [`require_still_signed_in`](Self::require_still_signed_in) judges what was done to others.
    ///
    /// To be run by [`retrying`](crate::db::retry::retrying).
    pub async fn begin_on_accounts<'a>(
        &'a self,
        state: &'a AppState,
        now: OffsetDateTime,
    ) -> Result<(Transaction, Recorder<'a>), AppError> {
        let mut tx = state.db.begin().await?;
        let administrators = db::users::lock_admins(&mut tx).await?;
        if !administrators.contains(&self.user_id) {
            return Err(not_an_administrator());
        }
        self.require_signed_in(&mut tx).await?;
        Ok((tx, self.recorder(state, now)))
    }

    /// Judges at the end of what was done to the account `changed` whether who acts is still signed in: who was signed out while
    /// the request waited has nothing done. What somebody does to their own account may end the session that asks, so that it
    /// has to be judged before.
    pub async fn require_still_signed_in(
        &self,
        tx: &mut Transaction,
        changed: UserId,
    ) -> Result<(), AppError> {
        if changed == self.user_id {
            return Ok(());
        }
        self.require_signed_in(tx).await
    }

    async fn require_signed_in(&self, tx: &mut Transaction) -> Result<(), AppError> {
        let goes_on = db::sessions::goes_on(&mut **tx, self.session_id).await?;
        goes_on.then_some(()).ok_or_else(AppError::unauthenticated)
    }

    /// What an operation writes into the trail with.
    pub fn recorder<'a>(&'a self, state: &'a AppState, now: OffsetDateTime) -> Recorder<'a> {
        Recorder {
            keyring: &state.keyring,
            rng: &state.rng,
            actor: &self.actor,
            now,
        }
    }
}

/// 403, the same for every path and id.
pub fn not_an_administrator() -> AppError {
    AppError::new(
        StatusCode::FORBIDDEN,
        "forbidden",
        "this is for administrators alone",
    )
}

/// Lets administrators alone pass: a layer around every route of the administration, unknown paths included.
pub async fn require_administrator(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    match Administrator::from_request_parts(&mut parts, &state).await {
        Ok(_) => next.run(Request::from_parts(parts, body)).await,
        Err(refused) => refused.into_response(),
    }
}

impl<S> FromRequestParts<S> for Administrator
where
    S: Send + Sync,
    AppState: FromRef<S>,
{
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        if let Some(known) = parts.extensions.get::<Self>() {
            return Ok(known.clone());
        }
        let BrowserSession { session, .. } = BrowserSession::from_request_parts(parts, state).await?;
        if session.role != ADMIN {
            return Err(not_an_administrator());
        }
        let Ok(ClientIp(ip_address)) = ClientIp::from_request_parts(parts, state).await;
        let administrator = Self {
            user_id: session.user_id,
            session_id: session.session_id,
            actor: Actor::User {
                user_id: session.user_id,
                ip_address: ip_address.map(|address| address.to_string()),
            },
        };
        parts.extensions.insert(administrator.clone());
        Ok(administrator)
    }
}
