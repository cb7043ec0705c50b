//! `POST /admin/webhooks/{webhook_id}/secret`: a new secret beside the old one, which signs, too, for a while.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use super::input::WebhookInPath;
use super::webhooks::{WebhookView, WebhookWithSecret};
use crate::db::retry::retrying;
use crate::error::{AppError, ErrorBody};
use crate::http::administrator::Administrator;
use crate::http::csrf::SameSiteRequest;
use crate::http::json_body::JsonBody;
use crate::http::no_store::NoStore;
use crate::http::now::Now;
use crate::http::state::AppState;
use crate::webhooks;

/// How the rotation goes.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookSecretRotation {
    /// Seconds for which the old secret signs, too; `webhooks.secret_overlap_secs` of the configuration if it is left out.
    #[schema(maximum = 7_776_000)]
    overlap_secs: Option<u32>,
}

/// `POST /admin/webhooks/{webhook_id}/secret`.
#[utoipa::path(
    post,
    path = "/admin/webhooks/{webhook_id}/secret",
    tag = "administration",
    operation_id = "rotate_webhook_secret",
    security(("session" = [])),
    params(("webhook_id" = Uuid, Path)),
    request_body = WebhookSecretRotation,
    responses(
        (status = 201, body = WebhookWithSecret),
        (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody),
        (status = 413, body = ErrorBody),
        (status = 415, body = ErrorBody),
    )
)]
pub async fn rotate(
    State(state): State<AppState>,
    administrator: Administrator,
    _same_site: SameSiteRequest,
    Now(now): Now,
    WebhookInPath(webhook_id): WebhookInPath,
    JsonBody(asked): JsonBody<WebhookSecretRotation>,
) -> Result<(StatusCode, NoStore<Json<WebhookWithSecret>>), AppError> {
    let overlap_secs = asked
        .overlap_secs
        .unwrap_or(state.config.webhooks.secret_overlap_secs);
    let (webhook, secret) = retrying(&state.rng, || async {
        let (mut tx, recorder) = administrator.begin(&state, now).await?;
        let rotated = webhooks::rotate_secret(&mut tx, &recorder, webhook_id, overlap_secs).await?;
        administrator.commit(tx).await?;
        Ok::<_, AppError>(rotated)
    })
    .await?;
    let body = WebhookWithSecret {
        webhook: WebhookView::new(webhook, now),
        secret: secret.expose().to_owned(),
    };
    Ok((StatusCode::CREATED, NoStore(Json(body))))
}
