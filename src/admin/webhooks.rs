//! `GET, POST /admin/webhooks`: who hears of events.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::input::QueryParams;
use super::paging::{Limit, Page, decode};
use crate::db;
use crate::db::retry::retrying;
use crate::db::webhooks::Webhook;
use crate::error::{AppError, ErrorBody};
use crate::http::administrator::Administrator;
use crate::http::csrf::SameSiteRequest;
use crate::http::json_body::JsonBody;
use crate::http::no_store::NoStore;
use crate::http::now::Now;
use crate::http::state::AppState;
use crate::protocol::ids::ClientId;
use crate::webhooks::{self, NewWebhook};

/// Which page of the list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct WebhooksQuery {
    /// This client's alone.
    client_id: Option<ClientId>,
    /// How many at once: 1 to 500, 50 if it is left out.
    #[serde(default)]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 500)]
    limit: Limit,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// A webhook to be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewWebhookBody {
    /// https, a public host, port 443 or from 1024 on.
    #[schema(max_length = 2048, example = "https://billing.example.com/identity-events")]
    url: String,
    /// The app it belongs to: hears only what concerns that app. Left out: hears of everything.
    client_id: Option<ClientId>,
    /// Empty or left out: all.
    #[serde(default)]
    event_types: Vec<String>,
    /// For those who read the list.
    #[serde(default)]
    #[schema(max_length = 200)]
    description: String,
}

/// A webhook.
#[derive(Debug, Serialize, ToSchema)]
pub struct WebhookView {
    pub webhook_id: Uuid,
    /// `null`: hears of everything.
    pub client_id: Option<ClientId>,
    pub url: String,
    pub description: String,
    /// Empty: all.
    pub event_types: Vec<String>,
    /// Nothing new is enqueued, and what waits goes on waiting.
    pub disabled: bool,
    /// Until when the previous secret signs, too; `null` when it does not.
    #[serde(with = "time::serde::rfc3339::option")]
    pub previous_secret_expires_at: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
}

impl WebhookView {
    pub(super) fn new(webhook: Webhook, now: OffsetDateTime) -> Self {
        Self {
            previous_secret_expires_at: webhooks::previous_secret_signs_until(&webhook, now),
            webhook_id: webhook.webhook_id,
            client_id: webhook.client_id,
            url: webhook.url,
            description: webhook.description,
            event_types: webhook.event_types,
            disabled: webhook.disabled_at.is_some(),
            created_at: webhook.created_at,
            updated_at: webhook.updated_at,
        }
    }
}

/// A webhook with its secret.
#[derive(Serialize, ToSchema)]
pub struct WebhookWithSecret {
    #[serde(flatten)]
    pub webhook: WebhookView,
    /// `whsec_` and 32 bytes in base64, as Standard Webhooks libraries take it. Shown this once.
    pub secret: String,
}

/// `GET /admin/webhooks`: the oldest first.
#[utoipa::path(
    get,
    path = "/admin/webhooks",
    tag = "administration",
    operation_id = "list_webhooks",
    security(("session" = [])),
    params(WebhooksQuery),
    responses(
        (status = 200, body = Page<WebhookView>),
        (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody),
    )
)]
pub async fn list(
    State(state): State<AppState>,
    _administrator: Administrator,
    Now(now): Now,
    QueryParams(query): QueryParams<WebhooksQuery>,
) -> Result<NoStore<Json<Page<WebhookView>>>, AppError> {
    let after: Option<Uuid> = query.cursor.as_deref().map(decode).transpose()?;
    let rows = db::webhooks::page(&state.db, query.client_id.as_ref(), after, query.limit.and_one()).await?;
    let page = Page::of(
        rows,
        query.limit,
        |last| last.webhook_id,
        |webhook| WebhookView::new(webhook, now),
    );
    Ok(NoStore(Json(page)))
}

/// `POST /admin/webhooks`.
#[utoipa::path(
    post,
    path = "/admin/webhooks",
    tag = "administration",
    operation_id = "create_webhook",
    security(("session" = [])),
    request_body = NewWebhookBody,
    responses(
        (status = 201, body = WebhookWithSecret),
        (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody),
        (status = 413, body = ErrorBody),
        (status = 415, body = ErrorBody),
    )
)]
pub async fn create(
    State(state): State<AppState>,
    administrator: Administrator,
    _same_site: SameSiteRequest,
    Now(now): Now,
    JsonBody(asked): JsonBody<NewWebhookBody>,
) -> Result<(StatusCode, NoStore<Json<WebhookWithSecret>>), AppError> {
    let new = NewWebhook {
        client_id: asked.client_id,
        url: asked.url,
        description: asked.description,
        event_types: asked.event_types,
    };
    let (webhook, secret) = retrying(&state.rng, || async {
        let (mut tx, recorder) = administrator.begin(&state, now).await?;
        let created = webhooks::create(&mut tx, &recorder, state.config.webhooks.policy(), &new).await?;
        administrator.commit(tx).await?;
        Ok::<_, AppError>(created)
    })
    .await?;
    let body = WebhookWithSecret {
        webhook: WebhookView::new(webhook, now),
        secret: secret.expose().to_owned(),
    };
    Ok((StatusCode::CREATED, NoStore(Json(body))))
}
