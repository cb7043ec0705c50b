//! `DELETE /admin/users/{user_id}/sessions`: signs a person out everywhere.

use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;

use super::input::{QueryParams, UserInPath};
use crate::accounts::administration::{self, Revoke};
use crate::db::retry::retrying;
use crate::error::{AppError, ErrorBody};
use crate::http::administrator::Administrator;
use crate::http::api_doc::AdministratorsOnly;
use crate::http::csrf::SameSiteRequest;
use crate::http::no_store::NoStore;
use crate::http::now::Now;
use crate::http::state::AppState;

/// How much is to end.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RevokeQuery {
    /// Whether tokens with `offline_access` end too; `false` if it is left out.
    #[serde(default)]
    include_offline: bool,
}

/// Signs a person out everywhere.
///
/// every session ends, with every token that is not `offline_access`; with
/// `include_offline=true` those too.
#[utoipa::path(
    delete,
    path = "/admin/users/{user_id}/sessions",
    tag = "administration",
    operation_id = "revoke_user_sessions",
    security(("session" = [])),
    params(("user_id" = uuid::Uuid, Path), RevokeQuery),
    responses(
        (status = 204, description = "Done"),
        (status = 400, description = "The query has a parameter that is unknown, doubled or not of its form", body = ErrorBody),
        AdministratorsOnly,
        (status = 404, description = "Nothing of this id", body = ErrorBody),
    )
)]
pub async fn revoke(
    State(state): State<AppState>,
    administrator: Administrator,
    _same_site: SameSiteRequest,
    Now(now): Now,
    UserInPath(user_id): UserInPath,
    QueryParams(query): QueryParams<RevokeQuery>,
) -> Result<NoStore<StatusCode>, AppError> {
    let what = if query.include_offline {
        Revoke::SessionsAndTokens
    } else {
        Revoke::Sessions
    };
    retrying(&state.rng, || async {
        let (mut tx, recorder) = administrator.begin_on_accounts(&state, now).await?;
        administration::revoke(&mut tx, &recorder, user_id, what).await?;
        administrator.require_still_signed_in(&mut tx, user_id).await?;
        tx.commit().await?;
        Ok::<_, AppError>(())
    })
    .await?;
    tracing::info!(
        event = "user.sessions_revoked",
        user.id = %user_id,
        actor.id = %administrator.user_id(),
        "an administrator signed somebody out everywhere"
    );
    Ok(NoStore(StatusCode::NO_CONTENT))
}
