//! `GET, PATCH, DELETE /admin/webhooks/{webhook_id}`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use super::input::WebhookInPath;
use super::webhooks::WebhookView;
use crate::db;
use crate::db::retry::retrying;
use crate::error::{AppError, ErrorBody};
use crate::http::administrator::Administrator;
use crate::http::csrf::SameSiteRequest;
use crate::http::json_body::JsonBody;
use crate::http::no_store::NoStore;
use crate::http::now::Now;
use crate::http::state::AppState;
use crate::webhooks::{self, Change};

/// What is to be changed; what is left out stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookChange {
    #[schema(max_length = 2048)]
    url: Option<String>,
    #[schema(max_length = 200)]
    description: Option<String>,
    /// Empty: all.
    event_types: Option<Vec<String>>,
    /// Nothing new is enqueued while it is, and what waits goes on waiting.
    disabled: Option<bool>,
}

/// `GET /admin/webhooks/{webhook_id}`.
#[utoipa::path(
    get,
    path = "/admin/webhooks/{webhook_id}",
    tag = "administration",
    operation_id = "show_webhook",
    security(("session" = [])),
    params(("webhook_id" = Uuid, Path)),
    responses(
        (status = 200, body = WebhookView),
        (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody),
    )
)]
pub async fn show(
    State(state): State<AppState>,
    _administrator: Administrator,
    Now(now): Now,
    WebhookInPath(webhook_id): WebhookInPath,
) -> Result<NoStore<Json<WebhookView>>, AppError> {
    let webhook = db::webhooks::find(&state.db, webhook_id)
        .await?
        .ok_or_else(AppError::not_found)?;
    Ok(NoStore(Json(WebhookView::new(webhook, now))))
}

/// `PATCH /admin/webhooks/{webhook_id}`.
#[utoipa::path(
    patch,
    path = "/admin/webhooks/{webhook_id}",
    tag = "administration",
    operation_id = "change_webhook",
    security(("session" = [])),
    params(("webhook_id" = Uuid, Path)),
    request_body = WebhookChange,
    responses(
        (status = 200, body = WebhookView),
        (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody),
        (status = 413, body = ErrorBody),
        (status = 415, body = ErrorBody),
    )
)]
pub async fn change(
    State(state): State<AppState>,
    administrator: Administrator,
    _same_site: SameSiteRequest,
    Now(now): Now,
    WebhookInPath(webhook_id): WebhookInPath,
    JsonBody(asked): JsonBody<WebhookChange>,
) -> Result<NoStore<Json<WebhookView>>, AppError> {
    let change = Change {
        url: asked.url,
        description: asked.description,
        event_types: asked.event_types,
        disabled: asked.disabled,
    };
    let policy = state.config.webhooks.policy();
    let webhook = retrying(&state.rng, || async {
        let (mut tx, recorder) = administrator.begin(&state, now).await?;
        let webhook = webhooks::change(&mut tx, &recorder, policy, webhook_id, &change).await?;
        administrator.commit(tx).await?;
        Ok::<_, AppError>(webhook)
    })
    .await?;
    Ok(NoStore(Json(WebhookView::new(webhook, now))))
}

/// `DELETE /admin/webhooks/{webhook_id}`: with everything that is to be sent to it.
#[utoipa::path(
    delete,
    path = "/admin/webhooks/{webhook_id}",
    tag = "administration",
    operation_id = "remove_webhook",
    security(("session" = [])),
    params(("webhook_id" = Uuid, Path)),
    responses(
        (status = 204),
        (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody),
    )
)]
pub async fn remove(
    State(state): State<AppState>,
    administrator: Administrator,
    _same_site: SameSiteRequest,
    Now(now): Now,
    WebhookInPath(webhook_id): WebhookInPath,
) -> Result<NoStore<StatusCode>, AppError> {
    retrying(&state.rng, || async {
        let (mut tx, recorder) = administrator.begin(&state, now).await?;
        webhooks::remove(&mut tx, &recorder, webhook_id).await?;
        administrator.commit(tx).await?;
        Ok::<_, AppError>(())
    })
    .await?;
    Ok(NoStore(StatusCode::NO_CONTENT))
}
