//! `GET /auth/me/consents`, `DELETE /auth/me/consents/{client_id}`: the apps that a person let in, and taking it back.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::respond::json_answer;
use crate::accounts;
use crate::db;
use crate::db::retry::retrying;
use crate::error::{AppError, ErrorBody};
use crate::http::api_doc::{Forged, SignedOut};
use crate::http::browser::{BrowserSession, begin_as};
use crate::http::csrf::SameSiteRequest;
use crate::http::now::Now;
use crate::http::segment::Segment;
use crate::http::state::AppState;
use crate::protocol::ids::ClientId;

/// More apps than anybody lets in.
const MAX_APPS: i64 = 10_000;

/// An app that the person let in.
#[derive(Debug, Serialize, ToSchema)]
pub struct ConsentView {
    pub client_id: ClientId,
    /// The app's name, as it is registered.
    pub name: String,
    /// What it was let have.
    pub scopes: Vec<String>,
    #[serde(with = "time::serde::rfc3339")]
    pub granted_at: OffsetDateTime,
    /// When something was last added.
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
    /// When the person last signed in to it, as far as that is still known.
    #[serde(with = "time::serde::rfc3339::option")]
    pub last_signed_in_at: Option<OffsetDateTime>,
}

/// The apps.
#[derive(Debug, Serialize, ToSchema)]
pub struct ConsentsView {
    /// The newest first.
    pub consents: Vec<ConsentView>,
}

/// The apps that the person let in.
#[utoipa::path(
    get,
    path = "/auth/me/consents",
    tag = "account",
    operation_id = "list_consents",
    security(("session" = [])),
    responses(
        (status = 200, body = ConsentsView),
        SignedOut,
    )
)]
pub async fn list(State(state): State<AppState>, session: BrowserSession) -> Result<Response, AppError> {
    let consents = db::consents::list(&state.db, session.session.user_id, MAX_APPS).await?;
    let consents = consents
        .into_iter()
        .map(|consent| ConsentView {
            client_id: consent.client_id,
            name: consent.client_name,
            scopes: consent.scope.iter().map(str::to_owned).collect(),
            granted_at: consent.granted_at,
            updated_at: consent.updated_at,
            last_signed_in_at: consent.last_used_at,
        })
        .collect();
    Ok(json_answer(&ConsentsView { consents }))
}

/// Takes back what an app was let have: its tokens end at once, and the person is asked again next time.
#[utoipa::path(
    delete,
    path = "/auth/me/consents/{client_id}",
    tag = "account",
    operation_id = "withdraw_consent",
    security(("session" = [])),
    params(("client_id" = String, Path, description = "As `GET /auth/me/consents` lists it")),
    responses(
        (status = 204, description = "Withdrawn"),
        SignedOut,
        Forged,
        (status = 404, description = "`not_found`: the person let no such app in", body = ErrorBody),
    )
)]
pub async fn withdraw(
    State(state): State<AppState>,
    Now(now): Now,
    session: BrowserSession,
    _same_site: SameSiteRequest,
    Segment(client_id): Segment,
) -> Result<Response, AppError> {
    let client_id = ClientId(client_id);
    let withdrawn = retrying(&state.rng, || async {
        let (mut tx, _) = begin_as(&state, &session.session).await?;
        let withdrawn = accounts::withdraw_consent(&mut tx, session.session.user_id, &client_id, now).await?;
        tx.commit().await?;
        Ok::<_, AppError>(withdrawn)
    });
    if !withdrawn.await? {
        return Err(AppError::not_found());
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}
