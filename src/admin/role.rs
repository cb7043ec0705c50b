//! `PATCH /admin/users/{user_id}/role`: who is an administrator.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;

use super::input::UserInPath;
use crate::accounts::administration::{self, AccountView, Role};
use crate::db::retry::retrying;
use crate::error::{AppError, ErrorBody};
use crate::http::administrator::Administrator;
use crate::http::api_doc::{AdministratorsOnly, BadBody};
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

/// Makes an account an administrator, or no longer one.
///
/// Sessions go on; what they may do is judged at the
/// next request. The access cookie of apps on sibling hosts names the old role until it runs out.
#[utoipa::path(
    patch,
    path = "/admin/users/{user_id}/role",
    tag = "administration",
    operation_id = "change_role",
    security(("session" = [])),
    params(("user_id" = uuid::Uuid, Path)),
    request_body = RoleChange,
    responses(
        (status = 200, description = "Done", body = AccountView),
        AdministratorsOnly,
        (status = 404, description = "Nothing of this id", body = ErrorBody),
        (status = 409, description = "`last_admin`: nobody would be left to administer", body = ErrorBody),
        BadBody,
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
    let account = retrying(&state.rng, || async {
        let (mut tx, recorder) = administrator.begin_on_accounts(&state, now).await?;
        let account = administration::set_role(&mut tx, &recorder, user_id, change.role).await?;
        administrator.require_still_signed_in(&mut tx, user_id).await?;
        tx.commit().await?;
        Ok::<_, AppError>(account)
    })
    .await?;
    tracing::info!(
        event = "user.role_changed",
        user.id = %user_id,
        role = change.role.as_str(),
        actor.id = %administrator.user_id(),
        "an administrator changed a role"
    );
    Ok(NoStore(Json(account.into())))
}
