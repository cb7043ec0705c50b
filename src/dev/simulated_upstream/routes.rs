//! The route table of the simulated upstream, and what every request passes through.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Json, Router};
use serde_json::json;
use url::form_urlencoded;

use super::flavour::Flavour;
use super::misbehaviour::Misbehaviour;
use super::request_log::{Endpoint, LoggedRequest, first};
use super::simulation::Simulation;
use super::{authorize, discord, discovery, github, pages, sign_in, token, userinfo};

/// The largest request body that is read.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// What [`Misbehaviour::HugeBody`] sends: more than a client should read, little enough for a test.
const HUGE_BODY_BYTES: usize = 8 * 1024 * 1024;

/// The routes of a simulated upstream, below the path of its public URL, to be served anywhere.
pub fn router(simulation: &Simulation) -> Router {
    let habits = simulation.habits();
    let on = |endpoint, methods: MethodRouter<Simulation>| {
        methods.layer(middleware::from_fn_with_state(
            (simulation.clone(), endpoint),
            receive,
        ))
    };
    let mut routes = Router::new()
        .route(
            habits.authorize_path,
            on(Endpoint::Authorize, get(authorize::authorize)),
        )
        .route("/sign-in", on(Endpoint::SignIn, post(sign_in::sign_in)))
        .route(habits.token_path, on(Endpoint::Token, post(token::token)))
        .route(
            "/elsewhere",
            on(Endpoint::Elsewhere, post(async || StatusCode::NO_CONTENT)),
        )
        .route(
            "/logout",
            on(Endpoint::Other, get(sign_in::logout_page).post(sign_in::logout)),
        )
        .route(
            "/",
            on(
                Endpoint::Other,
                get(pages::index).post(sign_in::choose_misbehaviours),
            ),
        );
    if let Some(path) = habits.discovery_path {
        routes = routes.route(path, on(Endpoint::Discovery, get(discovery::discovery)));
    }
    if let Some(path) = habits.jwks_path {
        routes = routes.route(path, on(Endpoint::Jwks, get(discovery::jwks)));
    }
    routes = match (simulation.flavour(), habits.userinfo_path) {
        (_, None) => routes,
        (Flavour::GitHub, Some(path)) => routes
            .route(path, on(Endpoint::Userinfo, get(github::user)))
            .route("/user/emails", on(Endpoint::Emails, get(github::emails)))
            .route(
                "/user/orgs",
                on(Endpoint::Organisations, get(github::organisations)),
            ),
        (Flavour::Discord, Some(path)) => routes.route(path, on(Endpoint::Userinfo, get(discord::user))),
        (_, Some(path)) => routes.route(
            path,
            on(
                Endpoint::Userinfo,
                get(userinfo::userinfo).post(userinfo::userinfo),
            ),
        ),
    };
    let routes = routes.with_state(simulation.clone());
    match simulation.path() {
        "" => routes,
        path => Router::new().nest(path, routes),
    }
}

/// Logs the request, hands it to the endpoint as a [`LoggedRequest`], and does what goes wrong at every endpoint.
async fn receive(
    State((simulation, endpoint)): State<(Simulation, Endpoint)>,
    request: Request,
    next: Next,
) -> Response {
    let (mut parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MAX_BODY_BYTES).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let is_form = parts.headers.get(header::CONTENT_TYPE).is_some_and(|value| {
        value
            .as_bytes()
            .to_ascii_lowercase()
            .starts_with(b"application/x-www-form-urlencoded")
    });
    let form = if is_form { decode(&body) } else { Vec::new() };
    let mut logged = LoggedRequest {
        endpoint,
        method: parts.method.clone(),
        path: format!(
            "{}{}",
            simulation.path(),
            parts.uri.path().trim_start_matches(simulation.path())
        ),
        query: decode(parts.uri.query().unwrap_or_default().as_bytes()),
        form,
        headers: parts.headers.clone(),
        carried: std::collections::HashSet::default(),
    };
    let code = first(&logged.form, "code");
    let access_token = logged
        .authorization("Bearer")
        .or_else(|| logged.authorization("token"));
    logged.carried = simulation.carried(code, access_token);
    let logged = Arc::new(logged);
    simulation.log(logged.clone());

    if endpoint.is_for_servers() {
        if simulation.misbehaves(Misbehaviour::Slow, &logged.carried) {
            tokio::time::sleep(simulation.options().delay).await;
        }
        let failing = match endpoint {
            Endpoint::Discovery => Some(Misbehaviour::DiscoveryFails),
            Endpoint::Jwks => Some(Misbehaviour::JwksFails),
            Endpoint::Token => Some(Misbehaviour::TokenFails),
            Endpoint::Userinfo => Some(Misbehaviour::UserinfoFails),
            Endpoint::Emails => Some(Misbehaviour::EmailsFail),
            _ => None,
        };
        if failing.is_some_and(|misbehaviour| simulation.misbehaves(misbehaviour, &logged.carried)) {
            return (
                StatusCode::INTERNAL_SERVER_ERROR,
                "the simulated upstream fails, as asked",
            )
                .into_response();
        }
        if simulation.misbehaves(Misbehaviour::HugeBody, &logged.carried) {
            return Json(json!({ "padding": "x".repeat(HUGE_BODY_BYTES) })).into_response();
        }
    }
    parts.extensions.insert(logged);
    next.run(Request::from_parts(parts, Body::empty())).await
}

fn decode(encoded: &[u8]) -> Vec<(String, String)> {
    form_urlencoded::parse(encoded).into_owned().collect()
}
