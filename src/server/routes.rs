//! The whole route table on one screen: which endpoints there are, who may read them from a browser, what wraps them.

use axum::extract::DefaultBodyLimit;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, get, on};
use axum::{Router, middleware};
use tower_http::catch_panic::CatchPanicLayer;

use super::accept::Share;
use super::error_shape::{error_shape, method_not_allowed, not_found};
use super::http_metrics::http_metrics;
use super::in_flight::{InFlight, MAX_IN_FLIGHT, REQUEST_TIMEOUT, SHARE_IN_FLIGHT, in_flight, work_timeout};
use super::leftover_body::leftover_body;
use super::rate_limit::{counted, limited};
use super::request_log::request_log;
use super::security_headers::security_headers;
use super::target_limit::target_limit;
use super::{cors, health, metrics, openapi, probe};
use crate::admin;
use crate::auth;
use crate::error::AppError;
use crate::http::administrator::require_administrator;
use crate::http::state::AppState;
use crate::limits::rules::Tier;
use crate::oauth_provider::{
    authorize, consent, discovery, introspect, logout, resume, revoke, token, userinfo,
};

/// Bodies are forms and small JSON documents.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// Requests to a listener of the metrics' own that are worked on at once.
const MAX_SCRAPES: usize = 16;
/// Registrations hold long lists.
const MAX_ADMIN_BODY_BYTES: usize = 256 * 1024;

/// Every route, below the issuer's path, with every layer.
///
/// A fallback for methods that is set after a layer is not wrapped by it, and preflights are methods without a handler:
/// so groups with CORS set it before their layer.
pub fn router(state: AppState) -> Router {
    let config = &state.config;
    // The fallback stands inside of the CORS layers: set afterwards, it would take the place of the layered one and
    // answer preflights 405. The limits and bounds stand inside of them, so that an app in a browser can read a 429, a 503
    // and a 500, too.
    let bounds = InFlight::new(
        MAX_IN_FLIGHT,
        SHARE_IN_FLIGHT,
        REQUEST_TIMEOUT,
        state.addresses.clone(),
        state.metrics.clone(),
    )
    .with_work_timeout(work_timeout(std::time::Duration::from_secs(
        config.database.acquire_timeout_secs,
    )));
    let bounded = |routes: Router<AppState>| {
        routes
            .layer(middleware::from_fn_with_state(bounds.clone(), in_flight))
            .layer(catch_panics(&state))
    };
    //
    // The clients' endpoints count by themselves: who has authenticated does not count by address (`http::client`,
    // `http::bearer`). Only methods that they do not offer are counted here.
    let apps = Router::new()
        .merge(token::routes())
        .merge(userinfo::routes())
        .merge(introspect::routes())
        .merge(revoke::routes())
        .method_not_allowed_fallback(counted(&state, Tier::Standard, method_not_allowed));
    let apps = bounded(apps).layer(cors::for_apps(config));
    let first_party = Router::new()
        .route("/oauth/consent", get(consent::context).post(consent::decide))
        .merge(auth::api_routes())
        .method_not_allowed_fallback(method_not_allowed);
    let first_party =
        bounded(limited(&state, Tier::Standard, first_party)).layer(cors::for_first_party(config));
    // Who asks is judged around everything but the limits and CORS: preflights carry no cookies.
    let administration = admin::routes()
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(MAX_ADMIN_BODY_BYTES))
        .layer(middleware::from_fn_with_state(
            state.clone(),
            require_administrator,
        ));
    let administration =
        bounded(limited(&state, Tier::Standard, administration)).layer(cors::for_first_party(config));
    let everybody = discovery::routes()
        .route("/openapi.json", get(openapi::openapi))
        .method_not_allowed_fallback(method_not_allowed);
    let everybody = bounded(limited(&state, Tier::Public, everybody)).layer(cors::for_everybody());
    let authorization = Router::new()
        .route(
            "/oauth/authorize",
            without_head("GET, POST", get(authorize::authorize).post(authorize::authorize)),
        )
        .route(
            "/oauth/authorize/resume",
            without_head("GET", on(MethodFilter::GET, resume::resume)),
        )
        .merge(logout::routes());
    let authorization = bounded(limited(&state, Tier::Standard, authorization));
    let sign_in = limited(&state, Tier::Auth, auth::navigation_routes()).merge(limited(
        &state,
        Tier::Public,
        auth::provider_routes(),
    ));
    let sign_in = bounded(sign_in);
    // Supervisors are answered whatever the load, and their questions are not limited: to be refused would look like an
    // outage and become one.
    let operation = Router::new()
        .route("/health", get(health::health))
        .route("/ready", get(health::ready))
        .route("/health/outside", get(probe::outside))
        .merge(metrics::routes(&state, false));

    let all = apps
        .merge(first_party)
        .merge(administration)
        .merge(everybody)
        .merge(authorization)
        .merge(sign_in)
        .merge(operation);
    let issuer_path = config.issuer_path().to_owned();
    let placed = if issuer_path.is_empty() {
        all
    } else {
        let inserted =
            discovery::inserted_routes(&issuer_path).method_not_allowed_fallback(method_not_allowed);
        let inserted = bounded(limited(&state, Tier::Public, inserted)).layer(cors::for_everybody());
        Router::new().nest(&issuer_path, all).merge(inserted)
    };
    with_layers(placed, &state).with_state(state)
}

/// The router of `metrics.listen`.
pub fn metrics_router(state: &AppState) -> Router {
    with_metrics_layers(metrics::routes(state, true), state)
}

/// What wraps every route there.
pub fn with_metrics_layers(routes: Router<AppState>, state: &AppState) -> Router {
    let bounds = InFlight::new(
        MAX_SCRAPES,
        Share {
            of_prefix: MAX_SCRAPES,
            of_site: MAX_SCRAPES,
        },
        REQUEST_TIMEOUT,
        state.addresses.clone(),
        state.metrics.clone(),
    );
    routes
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn_with_state(bounds, in_flight))
        .layer(catch_panics(state))
        .layer(middleware::from_fn(error_shape))
        .layer(middleware::from_fn(target_limit))
        .layer(middleware::from_fn_with_state(state.clone(), security_headers))
        .layer(middleware::from_fn_with_state(state.clone(), request_log))
        .with_state(state.clone())
}

/// What wraps every route: errors in one shape, headers, counting, logging.
pub fn with_layers(routes: Router<AppState>, state: &AppState) -> Router<AppState> {
    routes
        .fallback(counted(state, Tier::Unmatched, not_found))
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(catch_panics(state))
        .layer(middleware::from_fn(error_shape))
        .layer(middleware::from_fn(target_limit))
        .layer(middleware::from_fn(leftover_body))
        .layer(middleware::from_fn_with_state(state.clone(), security_headers))
        .layer(middleware::from_fn_with_state(state.clone(), http_metrics))
        .layer(middleware::from_fn_with_state(state.clone(), request_log))
}

/// Only the protocol's own GETs change anything: HEAD, which routers otherwise answer as GET, is refused. `allow`: what is
/// offered instead (RFC 9110 §15.5.6); the router's own list would name HEAD.
pub fn without_head(allow: &'static str, route: MethodRouter<AppState>) -> MethodRouter<AppState> {
    let refuse = move || async move { ([(header::ALLOW, allow)], method_not_allowed().await) };
    route.head(refuse).fallback(refuse)
}

type Payload = Box<dyn std::any::Any + Send>;

/// A panic ends one request, not the process, and is counted.
fn catch_panics(state: &AppState) -> CatchPanicLayer<impl Fn(Payload) -> Response + Clone + use<>> {
    let metrics = state.metrics.clone();
    CatchPanicLayer::custom(move |_payload: Payload| {
        metrics.panicked();
        AppError::failure(anyhow::anyhow!("a handler panicked")).into_response()
    })
}
