//! `GET, PATCH, DELETE /admin/clients/{client_id}`: one registration.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::input::ClientInPath;
use crate::clients::{ClientChanges, ClientView, operations};
use crate::db::retry::retrying;
use crate::error::{AppError, ErrorBody};
use crate::http::administrator::Administrator;
use crate::http::api_doc::{AdministratorsOnly, BadBody};
use crate::http::csrf::SameSiteRequest;
use crate::http::json_body::JsonBody;
use crate::http::no_store::NoStore;
use crate::http::now::Now;
use crate::http::state::AppState;

/// One registration.
#[utoipa::path(
    get,
    path = "/admin/clients/{client_id}",
    tag = "administration",
    operation_id = "show_client",
    security(("session" = [])),
    params(("client_id" = String, Path)),
    responses(
        (status = 200, description = "Done", body = ClientView),
        AdministratorsOnly,
        (status = 404, description = "Nothing of this id", body = ErrorBody),
    )
)]
pub async fn show(
    State(state): State<AppState>,
    _administrator: Administrator,
    ClientInPath(client_id): ClientInPath,
) -> Result<NoStore<Json<ClientView>>, AppError> {
    let client = state.clients.reload(&state.db, &client_id).await?;
    let client = client.ok_or_else(AppError::not_found)?;
    Ok(NoStore(Json(ClientView::from(&*client))))
}

/// Changes a registration.
///
/// what is left out stays, `null` gives up what may be absent; the registration is judged
/// as a whole, by the rules of a new one.
#[utoipa::path(
    patch,
    path = "/admin/clients/{client_id}",
    tag = "administration",
    operation_id = "change_client",
    security(("session" = [])),
    params(("client_id" = String, Path)),
    request_body = ClientChanges,
    responses(
        (status = 200, description = "Done", body = ClientView),
        AdministratorsOnly,
        (status = 404, description = "Nothing of this id", body = ErrorBody),
        BadBody,
    )
)]
pub async fn change(
    State(state): State<AppState>,
    administrator: Administrator,
    _same_site: SameSiteRequest,
    Now(now): Now,
    ClientInPath(client_id): ClientInPath,
    JsonBody(changes): JsonBody<ClientChanges>,
) -> Result<NoStore<Json<ClientView>>, AppError> {
    let client = retrying(&state.rng, || async {
        let (mut tx, recorder) = administrator.begin(&state, now).await?;
        let client = operations::update(&mut tx, &recorder, &client_id, &changes, &state.config).await?;
        administrator.commit(tx).await?;
        Ok::<_, AppError>(client)
    })
    .await?;
    Ok(NoStore(Json(ClientView::from(&client))))
}

/// Removes an app with its codes, tokens, consents and webhooks.
///
/// with its codes, tokens, consents and webhooks, at once.
#[utoipa::path(
    delete,
    path = "/admin/clients/{client_id}",
    tag = "administration",
    operation_id = "delete_client",
    security(("session" = [])),
    params(("client_id" = String, Path)),
    responses(
        (status = 204, description = "Done"),
        AdministratorsOnly,
        (status = 404, description = "Nothing of this id", body = ErrorBody),
    )
)]
pub async fn remove(
    State(state): State<AppState>,
    administrator: Administrator,
    _same_site: SameSiteRequest,
    Now(now): Now,
    ClientInPath(client_id): ClientInPath,
) -> Result<NoStore<StatusCode>, AppError> {
    retrying(&state.rng, || async {
        let (mut tx, recorder) = administrator.begin(&state, now).await?;
        operations::delete(&mut tx, &recorder, &client_id).await?;
        administrator.commit(tx).await?;
        Ok::<_, AppError>(())
    })
    .await?;
    Ok(NoStore(StatusCode::NO_CONTENT))
}
