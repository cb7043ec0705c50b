//! `GET, POST /admin/clients`: the registered apps; registering one.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::input::QueryParams;
use super::paging::{Limit, Page, decode};
use crate::clients::{ClientRegistration, ClientView, operations};
use crate::db;
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
use crate::protocol::opaque::Opaque;

/// Which page of the list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ClientQuery {
    /// How many at once: 1 to 500, 50 if it is left out.
    #[serde(default)]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 500)]
    limit: Limit,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// A client that was just registered.
#[derive(Serialize, ToSchema)]
pub struct RegisteredClient {
    #[serde(flatten)]
    pub client: ClientView,
    /// Shown this once; `null` for public and native clients.
    pub client_secret: Option<String>,
}

/// Lists the registered apps.
///
/// in the order of their names.
#[utoipa::path(
    get,
    path = "/admin/clients",
    tag = "administration",
    operation_id = "list_clients",
    security(("session" = [])),
    params(ClientQuery),
    responses(
        (status = 200, description = "Done", body = Page<ClientView>),
        (status = 400, description = "The query has a parameter that is unknown, doubled or not of its form", body = ErrorBody),
        AdministratorsOnly,
    )
)]
pub async fn list(
    State(state): State<AppState>,
    _administrator: Administrator,
    QueryParams(query): QueryParams<ClientQuery>,
) -> Result<NoStore<Json<Page<ClientView>>>, AppError> {
    let after: Option<(String, ClientId)> = query.cursor.as_deref().map(decode).transpose()?;
    let after = after.as_ref().map(|(name, client_id)| (name.as_str(), client_id));
    let clients = db::clients::page(&state.db, after, query.limit.and_one()).await?;
    let page = Page::of(
        clients,
        query.limit,
        |last| (last.name.clone(), last.client_id.clone()),
        |client| ClientView::from(&client),
    );
    Ok(NoStore(Json(page)))
}

/// Registers an app.
#[utoipa::path(
    post,
    path = "/admin/clients",
    tag = "administration",
    operation_id = "create_client",
    security(("session" = [])),
    request_body = ClientRegistration,
    responses(
        (status = 201, description = "Done", body = RegisteredClient),
        AdministratorsOnly,
        BadBody,
    )
)]
pub async fn create(
    State(state): State<AppState>,
    administrator: Administrator,
    _same_site: SameSiteRequest,
    Now(now): Now,
    JsonBody(asked): JsonBody<ClientRegistration>,
) -> Result<(StatusCode, NoStore<Json<RegisteredClient>>), AppError> {
    let new = asked.into();
    let registration = retrying(&state.rng, || async {
        let (mut tx, recorder) = administrator.begin(&state, now).await?;
        let registration = operations::create(&mut tx, &recorder, &new, &state.config).await?;
        administrator.commit(tx).await?;
        Ok::<_, AppError>(registration)
    })
    .await?;
    let body = RegisteredClient {
        client: ClientView::from(&registration.client),
        client_secret: registration.secret.as_ref().map(Opaque::expose),
    };
    Ok((StatusCode::CREATED, NoStore(Json(body))))
}
