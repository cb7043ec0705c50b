//! The whole route table on one screen: which endpoints there are, who may read them from a browser, what wraps them.

use std::time::Duration;

use axum::extract::DefaultBodyLimit;
use axum::http::{StatusCode, header};
use axum::routing::{MethodFilter, MethodRouter, get, on};
use axum::{Router, middleware};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::timeout::TimeoutLayer;

use super::error_shape::{error_shape, method_not_allowed, not_found};
use super::request_log::request_log;
use super::security_headers::security_headers;
use super::target_limit::target_limit;
use super::{cors, health, openapi, probe};
use crate::auth;
use crate::error::AppError;
use crate::http::state::AppState;
use crate::oauth_provider::{authorize, consent, discovery, introspect, resume, revoke, token, userinfo};

/// Bodies are forms and small JSON documents.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// A request that takes longer is answered 503.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Every route, below the issuer's path, with every layer.
///
/// A fallback for methods that is set after a layer is not wrapped by it, and preflights are methods without a handler:
/// so groups with CORS set it before their layer.
pub fn router(state: AppState) -> Router {
    let config = &state.config;
    // The fallback stands inside of the CORS layers: set afterwards, it would take the place of the layered one and
    // answer preflights 405.
    let apps = Router::new()
        .merge(token::routes())
        .merge(userinfo::routes())
        .merge(introspect::routes())
        .merge(revoke::routes())
        .method_not_allowed_fallback(method_not_allowed)
        .layer(cors::for_apps(config));
    let first_party = Router::new()
        .route("/oauth/consent", get(consent::context).post(consent::decide))
        .merge(auth::api_routes())
        .method_not_allowed_fallback(method_not_allowed)
        .layer(cors::for_first_party(config));
    let everybody = discovery::routes()
        .route("/openapi.json", get(openapi::openapi))
        .method_not_allowed_fallback(method_not_allowed)
        .layer(cors::for_everybody());
    let navigation = Router::new()
        .route(
            "/oauth/authorize",
            without_head("GET, POST", get(authorize::authorize).post(authorize::authorize)),
        )
        .route(
            "/oauth/authorize/resume",
            without_head("GET", on(MethodFilter::GET, resume::resume)),
        )
        .merge(auth::navigation_routes());
    let operation = Router::new()
        .route("/health", get(health::health))
        .route("/ready", get(health::ready))
        .route("/health/outside", get(probe::outside));

    let all = apps
        .merge(first_party)
        .merge(everybody)
        .merge(navigation)
        .merge(operation);
    let issuer_path = config.issuer_path().to_owned();
    let placed = if issuer_path.is_empty() {
        all
    } else {
        let inserted = discovery::inserted_routes(&issuer_path)
            .method_not_allowed_fallback(method_not_allowed)
            .layer(cors::for_everybody());
        Router::new().nest(&issuer_path, all).merge(inserted)
    };
    placed
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(TimeoutLayer::with_status_code(
            StatusCode::SERVICE_UNAVAILABLE,
            REQUEST_TIMEOUT,
        ))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn(error_shape))
        .layer(middleware::from_fn(target_limit))
        .layer(middleware::from_fn_with_state(state.clone(), security_headers))
        .layer(middleware::from_fn(request_log))
        .with_state(state)
}

/// Only the protocol's own GETs change anything: HEAD, which routers otherwise answer as GET, is refused. `allow`: what is
/// offered instead (RFC 9110 §15.5.6); the router's own list would name HEAD.
pub fn without_head(allow: &'static str, route: MethodRouter<AppState>) -> MethodRouter<AppState> {
    let refuse = move || async move { ([(header::ALLOW, allow)], method_not_allowed().await) };
    route.head(refuse).fallback(refuse)
}

/// A panic ends one request, not the process.
fn panicked(_payload: Box<dyn std::any::Any + Send>) -> axum::response::Response {
    use axum::response::IntoResponse;
    AppError::failure(anyhow::anyhow!("a handler panicked")).into_response()
}
