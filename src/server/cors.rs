//! Which origins a browser lets read which answers: two lists that never mix.
//!
//! `cors_origins` are other people's apps: the four OAuth endpoints, never with credentials. `first_party_origins` are the
//! deployer's own pages: the cookie APIs, with credentials. Discovery and JWKS are everybody's. Authorize, resume, the sign-in
//! redirects: nobody's.

use axum::http::{HeaderName, HeaderValue, Method, header};
use tower_http::cors::{AllowOrigin, CorsLayer, ExposeHeaders};

use crate::config::Config;

/// For token, UserInfo, revocation, introspection.
pub fn for_apps(config: &Config) -> CorsLayer {
    let origins = &config.server.cors_origins;
    let allowed = if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        AllowOrigin::list(parse(origins))
    };
    CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([header::AUTHORIZATION, header::CONTENT_TYPE])
        .expose_headers(ExposeHeaders::list([
            header::WWW_AUTHENTICATE,
            header::RETRY_AFTER,
        ]))
}

/// For the cookie APIs.
pub fn for_first_party(config: &Config) -> CorsLayer {
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(parse(&config.server.first_party_origins)))
        .allow_credentials(true)
        .expose_headers(ExposeHeaders::list([header::RETRY_AFTER]))
        .allow_methods([Method::GET, Method::POST, Method::PATCH, Method::DELETE])
        .allow_headers([header::CONTENT_TYPE, HeaderName::from_static("x-requested-with")])
}

/// For discovery and JWKS.
pub fn for_everybody() -> CorsLayer {
    CorsLayer::new()
        .allow_origin(AllowOrigin::any())
        .expose_headers(ExposeHeaders::list([header::RETRY_AFTER]))
        .allow_methods([Method::GET])
}

/// Origins are checked when the configuration is read; what is no header value could match nothing anyway.
fn parse(origins: &[String]) -> Vec<HeaderValue> {
    origins
        .iter()
        .filter_map(|origin| HeaderValue::from_str(origin).ok())
        .collect()
}
