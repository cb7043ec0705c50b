//! `GET /admin/webhooks/{webhook_id}/deliveries`, `POST …/redeliver`, `POST …/ping`: what was sent, what came of it, and
//! sending it again.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::input::{QueryParams, WebhookInPath, moment};
use super::paging::{Limit, Micros, Page, decode};
use crate::db;
use crate::db::deliveries::{Attempt, Delivery, Redelivery};
use crate::db::retry::retrying;
use crate::error::{AppError, ErrorBody};
use crate::http::administrator::Administrator;
use crate::http::csrf::SameSiteRequest;
use crate::http::json_body::JsonBody;
use crate::http::no_store::NoStore;
use crate::http::now::Now;
use crate::http::state::AppState;
use crate::webhooks;

/// How a delivery stands.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryStatus {
    Pending,
    Delivered,
    Failed,
}

impl DeliveryStatus {
    /// As it is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
        }
    }
}

/// Which page of the list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DeliveriesQuery {
    /// These alone.
    #[param(inline)]
    pub status: Option<DeliveryStatus>,
    /// How many at once: 1 to 500, 50 if it is left out.
    #[serde(default)]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 500)]
    pub limit: Limit,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

impl DeliveriesQuery {
    /// Moment and id of the last one of the page before.
    pub fn before(&self) -> Result<Option<(OffsetDateTime, Uuid)>, AppError> {
        let before: Option<(Micros, Uuid)> = self.cursor.as_deref().map(decode).transpose()?;
        before
            .map(|(at, id)| OffsetDateTime::try_from(at).map(|at| (at, id)))
            .transpose()
    }
}

/// A delivery with its attempts.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeliveryView {
    pub delivery_id: Uuid,
    /// What receivers get as `webhook-id`.
    pub event_id: Uuid,
    pub event_type: String,
    /// `pending`, `delivered` or `failed`.
    pub status: String,
    /// `null` when there is none.
    #[serde(with = "time::serde::rfc3339::option")]
    pub next_attempt_at: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    pub completed_at: Option<OffsetDateTime>,
    pub attempts: Vec<AttemptView>,
}

/// One attempt.
#[derive(Debug, Serialize, ToSchema)]
pub struct AttemptView {
    /// From 1.
    pub attempt: i32,
    #[serde(with = "time::serde::rfc3339")]
    pub attempted_at: OffsetDateTime,
    pub duration_ms: i32,
    /// Of the HTTP answer, if there was one.
    pub status_code: Option<i16>,
    /// A fixed code, such as `timed_out`; `null`: it succeeded.
    pub error: Option<String>,
}

impl From<Attempt> for AttemptView {
    fn from(attempt: Attempt) -> Self {
        Self {
            attempt: attempt.attempt,
            attempted_at: attempt.attempted_at,
            duration_ms: attempt.duration_ms,
            status_code: attempt.status_code,
            error: attempt.error,
        }
    }
}

impl From<Delivery> for DeliveryView {
    fn from(delivery: Delivery) -> Self {
        Self {
            next_attempt_at: delivery
                .completed_at
                .is_none()
                .then_some(delivery.next_attempt_at),
            delivery_id: delivery.delivery_id,
            event_id: delivery.event_id,
            event_type: delivery.event_type,
            status: delivery.status,
            created_at: delivery.created_at,
            completed_at: delivery.completed_at,
            attempts: delivery.attempts.into_iter().map(AttemptView::from).collect(),
        }
    }
}

/// What is sent again: one or the other.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RedeliveryBody {
    /// This delivery, failed or delivered.
    delivery_id: Option<Uuid>,
    /// Every delivery that failed at this moment or later.
    #[serde(default, deserialize_with = "moment")]
    #[schema(value_type = Option<String>, format = DateTime)]
    failed_since: Option<OffsetDateTime>,
}

impl RedeliveryBody {
    /// One or the other, and not both.
    pub fn which(&self) -> Result<Redelivery, AppError> {
        match (self.delivery_id, self.failed_since) {
            (Some(delivery_id), None) => Ok(Redelivery::One(delivery_id)),
            (None, Some(since)) => Ok(Redelivery::FailedSince(since)),
            _ => Err(AppError::bad_request(
                "invalid_request",
                "send delivery_id or failed_since, and not both",
            )),
        }
    }
}

/// How many deliveries are sent again.
#[derive(Debug, Serialize, ToSchema)]
pub struct Redelivered {
    pub deliveries: u64,
}

/// The delivery of the ping.
#[derive(Debug, Serialize, ToSchema)]
pub struct Pinged {
    pub delivery_id: Uuid,
}

/// `GET /admin/webhooks/{webhook_id}/deliveries`: the newest first.
#[utoipa::path(
    get,
    path = "/admin/webhooks/{webhook_id}/deliveries",
    tag = "administration",
    operation_id = "list_webhook_deliveries",
    security(("session" = [])),
    params(("webhook_id" = Uuid, Path), DeliveriesQuery),
    responses(
        (status = 200, body = Page<DeliveryView>),
        (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody),
    )
)]
pub async fn list(
    State(state): State<AppState>,
    _administrator: Administrator,
    WebhookInPath(webhook_id): WebhookInPath,
    QueryParams(query): QueryParams<DeliveriesQuery>,
) -> Result<NoStore<Json<Page<DeliveryView>>>, AppError> {
    let before = query.before()?;
    db::webhooks::find(&state.db, webhook_id)
        .await?
        .ok_or_else(AppError::not_found)?;
    let status = query.status.map(DeliveryStatus::as_str);
    let rows =
        db::deliveries::page_of_webhook(&state.db, webhook_id, status, before, query.limit.and_one()).await?;
    let page = Page::of(
        rows,
        query.limit,
        |last| (Micros::from(last.created_at), last.delivery_id),
        DeliveryView::from,
    );
    Ok(NoStore(Json(page)))
}

/// `POST /admin/webhooks/{webhook_id}/redeliver`: under the same `webhook-id`; attempts are counted anew.
#[utoipa::path(
    post,
    path = "/admin/webhooks/{webhook_id}/redeliver",
    tag = "administration",
    operation_id = "redeliver",
    security(("session" = [])),
    params(("webhook_id" = Uuid, Path)),
    request_body = RedeliveryBody,
    responses(
        (status = 202, body = Redelivered),
        (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody),
        (status = 413, body = ErrorBody),
        (status = 415, body = ErrorBody),
    )
)]
pub async fn redeliver(
    State(state): State<AppState>,
    administrator: Administrator,
    _same_site: SameSiteRequest,
    Now(now): Now,
    WebhookInPath(webhook_id): WebhookInPath,
    JsonBody(asked): JsonBody<RedeliveryBody>,
) -> Result<(StatusCode, NoStore<Json<Redelivered>>), AppError> {
    let which = asked.which()?;
    let deliveries = retrying(&state.rng, || async {
        let (mut tx, recorder) = administrator.begin(&state, now).await?;
        let deliveries = webhooks::redeliver(&mut tx, &recorder, webhook_id, which).await?;
        administrator.commit(tx).await?;
        Ok::<_, AppError>(deliveries)
    })
    .await?;
    Ok((StatusCode::ACCEPTED, NoStore(Json(Redelivered { deliveries }))))
}

/// `POST /admin/webhooks/{webhook_id}/ping`: a `webhook.ping` to this webhook alone.
#[utoipa::path(
    post,
    path = "/admin/webhooks/{webhook_id}/ping",
    tag = "administration",
    operation_id = "ping_webhook",
    security(("session" = [])),
    params(("webhook_id" = Uuid, Path)),
    responses(
        (status = 202, body = Pinged),
        (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody),
    )
)]
pub async fn ping(
    State(state): State<AppState>,
    administrator: Administrator,
    _same_site: SameSiteRequest,
    Now(now): Now,
    WebhookInPath(webhook_id): WebhookInPath,
) -> Result<(StatusCode, NoStore<Json<Pinged>>), AppError> {
    let delivery_id = retrying(&state.rng, || async {
        let (mut tx, recorder) = administrator.begin(&state, now).await?;
        let delivery_id = webhooks::ping(&mut tx, &recorder, webhook_id).await?;
        administrator.commit(tx).await?;
        Ok::<_, AppError>(delivery_id)
    })
    .await?;
    Ok((StatusCode::ACCEPTED, NoStore(Json(Pinged { delivery_id }))))
}
