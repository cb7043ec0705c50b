//! `GET /health` and `GET /ready`: for supervisors and load balancers. Neither says anything about versions or hosts.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use crate::db::schema::Fit;
use crate::http::no_store::NoStore;
use crate::http::state::AppState;

/// What is said.
#[derive(Serialize, ToSchema)]
pub struct Health {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

/// The process is alive; it needs nothing for that.
#[utoipa::path(get, path = "/health", tag = "operation", operation_id = "health",
    responses((status = 200, body = Health)))]
pub async fn health() -> NoStore<Json<Health>> {
    NoStore(Json(Health {
        status: "ok",
        reason: None,
    }))
}

/// Requests can be answered: not shutting down, the database answers, its schema is at least ours.
#[utoipa::path(get, path = "/ready", tag = "operation", operation_id = "ready",
    responses((status = 200, body = Health), (status = 503, body = Health, description = "Not ready; the reason is said")))]
pub async fn ready(State(state): State<AppState>) -> (StatusCode, NoStore<Json<Health>>) {
    match unready(&state).await {
        None => (
            StatusCode::OK,
            NoStore(Json(Health {
                status: "ready",
                reason: None,
            })),
        ),
        Some(reason) => (
            StatusCode::SERVICE_UNAVAILABLE,
            NoStore(Json(Health {
                status: "unready",
                reason: Some(reason),
            })),
        ),
    }
}

async fn unready(state: &AppState) -> Option<&'static str> {
    if state.shutdown.is_cancelled() {
        return Some("shutting down");
    }
    match state.readiness.database().await {
        None => Some("the database does not answer"),
        Some(Fit::Behind) => Some("the database is not migrated"),
        Some(Fit::TooNew) => Some("the database needs a newer version of this program"),
        Some(Fit::Fits) => None,
    }
}
