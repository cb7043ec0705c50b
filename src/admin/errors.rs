//! `GET /admin/errors/{id}`: what the id on an error page stands for, as `riley-auth explain` shows it.

use axum::Json;
use axum::extract::State;

use super::input::ErrorInPath;
use crate::db;
use crate::error::{AppError, ErrorBody};
use crate::http::administrator::Administrator;
use crate::http::no_store::NoStore;
use crate::http::state::AppState;

/// `GET /admin/errors/{id}`: what was received, what was registered, the nearest match and the rule.
#[utoipa::path(
    get,
    path = "/admin/errors/{id}",
    tag = "admin",
    params(("id" = String, Path)),
    responses(
        (status = 200, body = Object),
        (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody),
    )
)]
pub async fn show(
    State(state): State<AppState>,
    _administrator: Administrator,
    ErrorInPath(error_id): ErrorInPath,
) -> Result<NoStore<Json<serde_json::Value>>, AppError> {
    let report = db::error_reports::find(&state.db, &error_id).await?;
    Ok(NoStore(Json(report.ok_or_else(AppError::not_found)?)))
}
