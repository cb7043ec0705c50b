//! `GET /auth/{provider}`: sends a browser to an upstream to prove who sits before it; `GET /auth/providers`: which there
//! are.

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::departure::{self, Purpose};
use super::flow::{self, Target};
use super::respond::{Audience, with_browser};
use crate::db;
use crate::error::{AppError, ErrorBody};
use crate::http::api_doc::Refused;
use crate::http::browser::Browser;
use crate::http::now::Now;
use crate::http::page;
use crate::http::return_to::ReturnTo;
use crate::http::segment::Segment;
use crate::http::state::AppState;
use crate::protocol::authorization::AuthorizationRequest;
use crate::protocol::interaction::demands_login;
use crate::protocol::opaque::Opaque;
use crate::protocol::params::Params;

/// An upstream, as a login page shows it.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProviderView {
    pub name: String,
    pub display_name: String,
    /// Where its button leads; `request_id` or `return_to` is added by the page.
    pub start_url: String,
}

/// `GET /auth/providers`.
#[utoipa::path(get, path = "/auth/providers", tag = "sign-in", operation_id = "list_providers",
    responses((status = 200, body = Vec<ProviderView>)))]
pub async fn providers(State(state): State<AppState>) -> Json<Vec<ProviderView>> {
    let views = state.upstreams.list().map(|provider| ProviderView {
        name: provider.name().to_owned(),
        display_name: provider.display_name().to_owned(),
        start_url: format!("{}/auth/{}", state.config.jwt.issuer, provider.name()),
    });
    Json(views.collect())
}

/// `GET /auth/{provider}?return_to=…|request_id=…`.
#[utoipa::path(get, path = "/auth/{provider}", tag = "sign-in", operation_id = "start_login",
    params(
        ("provider" = String, Path, description = "A name of `GET /auth/providers`"),
        ("return_to" = Option<String>, Query, description = "Where to go afterwards: a path here, or a URL of a first-party origin"),
        ("request_id" = Option<String>, Query, description = "The authorization request that the login page was given"),
    ),
    responses(
        (status = 303, description = "To the provider"),
        Refused,
        (status = 404, description = "No such provider, or no such request", content((ErrorBody = "application/json"), (String = "text/html"))),
    ))]
pub async fn start(
    State(state): State<AppState>,
    Segment(provider): Segment,
    Now(now): Now,
    browser: Browser,
    audience: Audience,
    RawQuery(query): RawQuery,
) -> Response {
    match begin(&state, &provider, &browser, &query.unwrap_or_default(), now).await {
        Ok(url) => with_browser(page::redirect(&url), &browser, &state),
        Err(error) => audience.refuse(&state, error, now).await,
    }
}

/// Stores the flow and gives the upstream's URL.
async fn begin(
    state: &AppState,
    provider: &str,
    browser: &Browser,
    query: &str,
    now: OffsetDateTime,
) -> Result<String, AppError> {
    let provider = state.upstreams.get(provider).ok_or_else(AppError::not_found)?;
    let purpose = purpose(state, browser, query, now).await?;
    Ok(departure::depart(state, provider, browser, purpose, now)
        .await?
        .into())
}

async fn purpose(
    state: &AppState,
    browser: &Browser,
    query: &str,
    now: OffsetDateTime,
) -> Result<Purpose, AppError> {
    let params = Params::parse(query.as_bytes()).map_err(|_| invalid_request())?;
    let read = |name| params.get(name).map_err(|_| invalid_request());
    if let Some(request_id) = read("request_id")? {
        return for_request(state, browser, request_id, now).await;
    }
    let target = match read("return_to")? {
        Some(url) => {
            let url = ReturnTo::parse(url, &state.config).ok_or_else(|| {
                AppError::bad_request("invalid_return_to", "return_to leads to a place that is not ours")
            })?;
            Target::ReturnTo(url.as_str().to_owned())
        }
        None => Target::Default,
    };
    Ok(Purpose::plain(target, None))
}

/// The purpose of a login for an authorization request, which has to wait in this very browser.
async fn for_request(
    state: &AppState,
    browser: &Browser,
    request_id: &str,
    now: OffsetDateTime,
) -> Result<Purpose, AppError> {
    let handle = Opaque::parse(request_id).ok_or_else(unknown_request)?;
    let pending = db::authorization_requests::find_pending(&state.db, &handle.hash(), &browser.hash(), now)
        .await?
        .ok_or_else(unknown_request)?;
    let request: AuthorizationRequest = flow::open(&handle, &pending.sealed).ok_or_else(unknown_request)?;
    // A request that came by POST may not have been judged yet, and another session may be here than the one it was judged
    // for: so what it demands by itself counts, or an unseen login would satisfy `prompt=login` and `max_age`.
    let demanded = pending.demands_login.unwrap_or(false) || demands_login(&request, None);
    // A choice of accounts is a wish of its own and does not mean that the chosen one has to log in again.
    let only_a_choice =
        request.prompt.select_account && !request.prompt.login && request.max_age_secs.is_none();
    Ok(Purpose {
        target: Target::Request(handle.expose()),
        login_hint: request.login_hint,
        ui_locales: request.ui_locales,
        reauthenticate: demanded && !only_a_choice,
        select_account: request.prompt.select_account,
        max_age_secs: request.max_age_secs,
        starter: None,
    })
}

fn invalid_request() -> AppError {
    AppError::bad_request("invalid_request", "a parameter is malformed or sent twice")
}

/// Expired, answered, another browser's, never there: all the same.
fn unknown_request() -> AppError {
    AppError::bad_request(
        "unknown_request",
        "this sign-in has expired or was completed in another window, go back to the app and start again",
    )
}
