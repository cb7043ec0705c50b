//! `PATCH /admin/users/{user_id}/role`: who is an administrator.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;

use super::input::UserInPath;
use crate::accounts::administration::{self, AccountView, Role};
use crate::error::{AppError, ErrorBody};
use crate::http::administrator::Administrator;
use crate::http::csrf::SameSiteRequest;
use crate::http::json_body::JsonBody;
use crate::http::no_store::NoStore;
use crate::http::now::Now;
use crate::http::state::AppState;

/// The role that the account is to have.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RoleChange {
    pub role: Role,
}

/// `PATCH /admin/users/{user_id}/role` with `{"role": "admin"|"user"}`. Sessions go on; what they may do is judged at the
/// next request. The access cookie of apps on sibling hosts names the old role until it runs out.
#[utoipa::path(
    patch,
    path = "/admin/users/{user_id}/role",
    tag = "admin",
    params(("user_id" = uuid::Uuid, Path)),
    request_body = RoleChange,
    responses(
        (status = 200, body = AccountView),
        (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody),
        (status = 409, body = ErrorBody, description = "the last administrator"),
        (status = 413, body = ErrorBody),
        (status = 415, body = ErrorBody),
    )
)]
pub async fn change(
    State(state): State<AppState>,
    administrator: Administrator,
    _same_site: SameSiteRequest,
    Now(now): Now,
    UserInPath(user_id): UserInPath,
    JsonBody(change): JsonBody<RoleChange>,
) -> Result<NoStore<Json<AccountView>>, AppError> {
    let recorder = administrator.recorder(&state, now);
    let mut tx = state.db.begin().await?;
    let account = administration::set_role(&mut tx, &recorder, user_id, change.role).await?;
    tx.commit().await?;
    tracing::info!(
        event = "user.role_changed",
        user.id = %user_id,
        role = change.role.as_str(),
        actor.id = %administrator.user_id(),
        "an administrator changed a role"
    );
    Ok(NoStore(Json(account.into())))
}
