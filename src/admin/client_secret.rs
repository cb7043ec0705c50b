//! `POST /admin/clients/{client_id}/secret`: a new secret beside the one before, which stays good for a while.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::input::ClientInPath;
use crate::clients::operations::{self, DEFAULT_OVERLAP_SECS, MAX_OVERLAP_SECS};
use crate::db::retry::retrying;
use crate::error::{AppError, ErrorBody};
use crate::http::administrator::Administrator;
use crate::http::api_doc::{AdministratorsOnly, BadBody};
use crate::http::csrf::SameSiteRequest;
use crate::http::json_body::JsonBody;
use crate::http::no_store::NoStore;
use crate::http::now::Now;
use crate::http::state::AppState;
use crate::protocol::ids::ClientId;

/// How the change is to be made; `{}` is enough.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretRotation {
    /// For how many seconds the old secret stays good: a day if it is left out, 0 ends it at once.
    #[serde(default = "default_overlap_secs")]
    #[schema(maximum = 7_776_000, default = 86_400)]
    pub overlap_secs: u32,
}

fn default_overlap_secs() -> u32 {
    DEFAULT_OVERLAP_SECS
}

/// The new secret.
#[derive(Serialize, ToSchema)]
pub struct RotatedSecret {
    pub client_id: ClientId,
    /// Shown this once.
    pub client_secret: String,
    #[serde(with = "time::serde::rfc3339")]
    pub previous_secret_expires_at: OffsetDateTime,
}

/// Gives an app a new secret beside the one before.
#[utoipa::path(
    post,
    path = "/admin/clients/{client_id}/secret",
    tag = "administration",
    operation_id = "rotate_client_secret",
    security(("session" = [])),
    params(("client_id" = String, Path)),
    request_body = SecretRotation,
    responses(
        (status = 201, description = "Done", body = RotatedSecret),
        AdministratorsOnly,
        (status = 404, description = "Nothing of this id", body = ErrorBody),
        (status = 409, description = "`not_confidential`: a public or native client has no secret", body = ErrorBody),
        BadBody,
    )
)]
pub async fn rotate(
    State(state): State<AppState>,
    administrator: Administrator,
    _same_site: SameSiteRequest,
    Now(now): Now,
    ClientInPath(client_id): ClientInPath,
    JsonBody(asked): JsonBody<SecretRotation>,
) -> Result<(StatusCode, NoStore<Json<RotatedSecret>>), AppError> {
    if asked.overlap_secs > MAX_OVERLAP_SECS {
        return Err(AppError::bad_request(
            "invalid_request",
            "overlap_secs is at most 7776000, which is 90 days",
        ));
    }
    let rotation = retrying(&state.rng, || async {
        let (mut tx, recorder) = administrator.begin(&state, now).await?;
        let rotation = operations::rotate_secret(&mut tx, &recorder, &client_id, asked.overlap_secs).await?;
        administrator.commit(tx).await?;
        Ok::<_, AppError>(rotation)
    })
    .await?;
    let body = RotatedSecret {
        client_id,
        client_secret: rotation.secret.expose(),
        previous_secret_expires_at: rotation.previous_expires_at,
    };
    Ok((StatusCode::CREATED, NoStore(Json(body))))
}
