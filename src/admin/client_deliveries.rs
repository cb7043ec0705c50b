//! `GET /admin/clients/{client_id}/deliveries`, `POST …/redeliver`: which logouts an app was told of, what came of it, and
//! telling it again.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

use super::input::{ClientInPath, QueryParams};
use super::paging::{Micros, Page};
use super::webhook_deliveries::{AttemptView, DeliveriesQuery, DeliveryStatus, Redelivered, RedeliveryBody};
use crate::clients::operations;
use crate::db;
use crate::db::deliveries::LogoutDelivery;
use crate::db::retry::retrying;
use crate::error::{AppError, ErrorBody};
use crate::http::administrator::Administrator;
use crate::http::csrf::SameSiteRequest;
use crate::http::json_body::JsonBody;
use crate::http::no_store::NoStore;
use crate::http::now::Now;
use crate::http::state::AppState;
use crate::protocol::ids::{SessionId, UserId};

/// A back-channel logout notice with its attempts. The logout token is made for each attempt, and kept nowhere.
#[derive(Debug, Serialize, ToSchema)]
pub struct LogoutDeliveryView {
    pub delivery_id: Uuid,
    /// `sub` of the logout token.
    pub user_id: UserId,
    /// `sid` of the logout token; `null`: every session of the account had ended.
    pub session_id: Option<SessionId>,
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

impl From<LogoutDelivery> for LogoutDeliveryView {
    fn from(delivery: LogoutDelivery) -> Self {
        Self {
            next_attempt_at: delivery
                .completed_at
                .is_none()
                .then_some(delivery.next_attempt_at),
            delivery_id: delivery.delivery_id,
            user_id: delivery.user_id,
            session_id: delivery.session_id,
            status: delivery.status,
            created_at: delivery.created_at,
            completed_at: delivery.completed_at,
            attempts: delivery.attempts.into_iter().map(AttemptView::from).collect(),
        }
    }
}

/// `GET /admin/clients/{client_id}/deliveries`: the newest first.
#[utoipa::path(
    get,
    path = "/admin/clients/{client_id}/deliveries",
    tag = "administration",
    operation_id = "list_logout_deliveries",
    security(("session" = [])),
    params(("client_id" = String, Path), DeliveriesQuery),
    responses(
        (status = 200, body = Page<LogoutDeliveryView>),
        (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody),
    )
)]
pub async fn list(
    State(state): State<AppState>,
    _administrator: Administrator,
    ClientInPath(client_id): ClientInPath,
    QueryParams(query): QueryParams<DeliveriesQuery>,
) -> Result<NoStore<Json<Page<LogoutDeliveryView>>>, AppError> {
    let before = query.before()?;
    db::clients::find(&state.db, &client_id)
        .await?
        .ok_or_else(AppError::not_found)?;
    let status = query.status.map(DeliveryStatus::as_str);
    let rows =
        db::deliveries::page_of_client(&state.db, &client_id, status, before, query.limit.and_one()).await?;
    let page = Page::of(
        rows,
        query.limit,
        |last| (Micros::from(last.created_at), last.delivery_id),
        LogoutDeliveryView::from,
    );
    Ok(NoStore(Json(page)))
}

/// `POST /admin/clients/{client_id}/redeliver`: with logout tokens made anew; attempts are counted anew.
#[utoipa::path(
    post,
    path = "/admin/clients/{client_id}/redeliver",
    tag = "administration",
    operation_id = "redeliver_logout",
    security(("session" = [])),
    params(("client_id" = String, Path)),
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
    ClientInPath(client_id): ClientInPath,
    JsonBody(asked): JsonBody<RedeliveryBody>,
) -> Result<(StatusCode, NoStore<Json<Redelivered>>), AppError> {
    let which = asked.which()?;
    let deliveries = retrying(&state.rng, || async {
        let (mut tx, recorder) = administrator.begin(&state, now).await?;
        let deliveries = operations::redeliver_logout(&mut tx, &recorder, &client_id, which).await?;
        administrator.commit(tx).await?;
        Ok::<_, AppError>(deliveries)
    })
    .await?;
    Ok((StatusCode::ACCEPTED, NoStore(Json(Redelivered { deliveries }))))
}
