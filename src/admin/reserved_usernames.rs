//! `GET, POST /admin/reserved-usernames`, `DELETE /admin/reserved-usernames/{name}`: names that nobody may take, beside
//! those of the configuration. Who has such a name already keeps it.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::{IntoParams, ToSchema};

use super::input::{NameInPath, QueryParams};
use super::paging::{Limit, Page, decode};
use crate::accounts::reservations::{self, Refused};
use crate::db;
use crate::db::reserved_usernames::ReservedUsername;
use crate::db::retry::retrying;
use crate::error::{AppError, ErrorBody};
use crate::http::administrator::Administrator;
use crate::http::api_doc::{AdministratorsOnly, BadBody};
use crate::http::csrf::SameSiteRequest;
use crate::http::json_body::JsonBody;
use crate::http::no_store::NoStore;
use crate::http::now::Now;
use crate::http::state::AppState;

/// Which page of the list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ReservedQuery {
    /// How many at once: 1 to 500, 50 if it is left out.
    #[serde(default)]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 500)]
    limit: Limit,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// A name to be reserved.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Reservation {
    /// In any case of letters.
    #[schema(min_length = 1, max_length = 100)]
    pub username: String,
}

/// A reserved name.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReservedView {
    /// In lower case.
    pub username: String,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
}

impl From<ReservedUsername> for ReservedView {
    fn from(reserved: ReservedUsername) -> Self {
        Self {
            username: reserved.username_folded,
            created_at: reserved.created_at,
        }
    }
}

/// Lists the reserved names.
#[utoipa::path(
    get,
    path = "/admin/reserved-usernames",
    tag = "administration",
    operation_id = "list_reserved_usernames",
    security(("session" = [])),
    params(ReservedQuery),
    responses(
        (status = 200, description = "Done", body = Page<ReservedView>),
        (status = 400, description = "The query has a parameter that is unknown, doubled or not of its form", body = ErrorBody),
        AdministratorsOnly,
    )
)]
pub async fn list(
    State(state): State<AppState>,
    _administrator: Administrator,
    QueryParams(query): QueryParams<ReservedQuery>,
) -> Result<NoStore<Json<Page<ReservedView>>>, AppError> {
    let after: Option<String> = query.cursor.as_deref().map(decode).transpose()?;
    let names = db::reserved_usernames::page(&state.db, after.as_deref(), query.limit.and_one()).await?;
    let page = Page::of(
        names,
        query.limit,
        |last| last.username_folded.clone(),
        ReservedView::from,
    );
    Ok(NoStore(Json(page)))
}

/// Reserves a name.
#[utoipa::path(
    post,
    path = "/admin/reserved-usernames",
    tag = "administration",
    operation_id = "reserve_username",
    security(("session" = [])),
    request_body = Reservation,
    responses(
        (status = 201, description = "Done", body = ReservedView),
        AdministratorsOnly,
        (status = 409, description = "`already_reserved`", body = ErrorBody),
        BadBody,
    )
)]
pub async fn reserve(
    State(state): State<AppState>,
    administrator: Administrator,
    _same_site: SameSiteRequest,
    Now(now): Now,
    JsonBody(asked): JsonBody<Reservation>,
) -> Result<(StatusCode, NoStore<Json<ReservedView>>), AppError> {
    let username = retrying(&state.rng, || async {
        let (mut tx, recorder) = administrator.begin(&state, now).await?;
        let username = reservations::reserve(&mut tx, &recorder, &asked.username).await?;
        administrator.commit(tx).await?;
        Ok::<_, AppError>(username)
    })
    .await?;
    let view = ReservedView {
        username,
        created_at: now,
    };
    Ok((StatusCode::CREATED, NoStore(Json(view))))
}

/// Lets a reserved name be taken again.
#[utoipa::path(
    delete,
    path = "/admin/reserved-usernames/{name}",
    tag = "administration",
    operation_id = "release_username",
    security(("session" = [])),
    params(("name" = String, Path)),
    responses(
        (status = 204, description = "Done"),
        AdministratorsOnly,
        (status = 404, description = "Nothing of this id", body = ErrorBody),
    )
)]
pub async fn release(
    State(state): State<AppState>,
    administrator: Administrator,
    _same_site: SameSiteRequest,
    Now(now): Now,
    NameInPath(username): NameInPath,
) -> Result<NoStore<StatusCode>, AppError> {
    retrying(&state.rng, || async {
        let (mut tx, recorder) = administrator.begin(&state, now).await?;
        reservations::release(&mut tx, &recorder, &username).await?;
        administrator.commit(tx).await?;
        Ok::<_, AppError>(())
    })
    .await?;
    Ok(NoStore(StatusCode::NO_CONTENT))
}

impl From<Refused> for AppError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Invalid => Self::bad_request(
                "username_invalid",
                "a reserved name is 1 to 100 characters that can be seen, without spaces",
            ),
            Refused::AlreadyReserved => Self::new(
                StatusCode::CONFLICT,
                "already_reserved",
                "this name is reserved already",
            ),
            Refused::NotReserved => Self::not_found(),
            Refused::Database(error) => error.into(),
        }
    }
}
