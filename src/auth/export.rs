//! `GET /auth/me/export`: everything that is held of whoever is signed in.

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::Response;

use super::respond::json_answer;
use crate::accounts::{self, Export};
use crate::error::AppError;
use crate::http::api_doc::SignedOut;
use crate::http::browser::BrowserSession;
use crate::http::now::Now;
use crate::http::state::AppState;

/// Everything that is held of the person, as a document to keep.
#[utoipa::path(
    get,
    path = "/auth/me/export",
    tag = "account",
    operation_id = "export_account",
    security(("session" = [])),
    responses(
        (status = 200, body = Export),
        SignedOut,
    )
)]
pub async fn export(
    State(state): State<AppState>,
    Now(now): Now,
    session: BrowserSession,
) -> Result<Response, AppError> {
    let mut tx = state.db.begin().await?;
    let export = accounts::export(&mut tx, session.session.user_id, now)
        .await?
        .ok_or_else(AppError::unauthenticated)?;
    tx.rollback().await?;
    let mut response = json_answer(&export);
    response.headers_mut().insert(
        header::CONTENT_DISPOSITION,
        HeaderValue::from_static("attachment; filename=\"account.json\""),
    );
    Ok(response)
}
