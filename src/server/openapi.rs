//! `GET /openapi.json`: the whole HTTP surface as an OpenAPI 3.1 document, put together from what stands at each handler.
//!
//! A test compares the list below with the router: a route that is missing here fails it. What webhooks are sent stands in
//! `messages`.

mod messages;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{OpenApi as Document, RefOr, ServerBuilder};
use utoipa::{Modify, OpenApi};

use crate::admin;
use crate::auth::{
    callback, consents, deletion, emails, export, link_confirm, link_start, links, login, profile, session,
    sessions_list, setup, unlink, upstream_logout, username,
};
use crate::config::Config;
use crate::error::ErrorBody;
use crate::events::Event;
use crate::http::api_doc::error_response;
use crate::http::cookies::{CookieKind, Cookies};
use crate::http::state::AppState;
use crate::oauth_provider::logout::{confirm, endpoint};
use crate::oauth_provider::{authorize, consent, discovery, introspect, resume, revoke, token, userinfo};
use crate::server::{health, metrics, probe};

/// Every operation. Paths are relative to the issuer.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "riley-auth",
        description = "An OpenID Connect provider: people prove who they are at an upstream provider, apps get tokens. \
                       Times are RFC 3339 here and seconds since the epoch in tokens."
    ),
    tags(
        (name = "openid connect", description = "For apps: OAuth 2.0 and OpenID Connect"),
        (name = "sign-in", description = "For login and onboarding pages"),
        (name = "session", description = "For pages of your own: the browser's session"),
        (name = "account", description = "For account pages: what its owner sees, changes, exports and deletes"),
        (name = "consent", description = "For consent pages"),
        (name = "administration", description = "For administrators"),
        (name = "operation", description = "For supervisors and load balancers"),
        (name = "events", description = "For receivers of webhooks")
    ),
    paths(
        discovery::configuration,
        discovery::authorization_server,
        discovery::jwks,
        authorize::authorize,
        resume::resume,
        consent::context,
        consent::decide,
        token::token,
        userinfo::userinfo,
        introspect::introspect,
        revoke::revoke,
        endpoint::logout,
        endpoint::posted,
        endpoint::resume,
        confirm::confirm,
        login::providers,
        login::start,
        callback::callback,
        callback::posted,
        upstream_logout::backchannel_logout,
        setup::show,
        setup::choose,
        session::refresh,
        session::logout,
        session::logout_all,
        profile::show,
        profile::change,
        deletion::delete,
        username::rename,
        emails::list,
        export::export,
        consents::list,
        consents::withdraw,
        sessions_list::list,
        sessions_list::end_others,
        sessions_list::end,
        admin::users::list,
        admin::user::show,
        admin::user::change,
        admin::user::remove,
        admin::role::change,
        admin::user_sessions::revoke,
        admin::unmerge::unmerge,
        admin::clients::list,
        admin::clients::create,
        admin::client::show,
        admin::client::change,
        admin::client::remove,
        admin::client_secret::rotate,
        admin::client_deliveries::list,
        admin::client_deliveries::redeliver,
        admin::reserved_usernames::list,
        admin::reserved_usernames::reserve,
        admin::reserved_usernames::release,
        admin::audit::list,
        admin::errors::show,
        links::list,
        link_start::start,
        link_confirm::show,
        link_confirm::confirm,
        unlink::unlink,
        health::health,
        health::ready,
        probe::outside,
        metrics::metrics,
        admin::webhooks::list,
        admin::webhooks::create,
        admin::webhook::show,
        admin::webhook::change,
        admin::webhook::remove,
        admin::webhook_secret::rotate,
        admin::webhook_deliveries::list,
        admin::webhook_deliveries::redeliver,
        admin::webhook_deliveries::ping,
        openapi,
    ),
    components(schemas(ErrorBody, Event)),
    modifiers(&Everywhere)
)]
struct Surface;

/// What holds for every operation.
struct Everywhere;

impl Modify for Everywhere {
    fn modify(&self, document: &mut Document) {
        for item in document.paths.paths.values_mut() {
            let several = operations(item).count() > 1;
            for (method, operation) in operations(item) {
                name(operation, method, several);
                describe(operation);
                for (status, description) in [
                    ("414", "The request target is too long"),
                    ("429", "Too many requests: try again after `Retry-After` seconds"),
                    ("500", "A failure of ours, which is logged under the request's id"),
                    (
                        "503",
                        "A dependency is away: try again after `Retry-After` seconds",
                    ),
                ] {
                    let answers = &mut operation.responses.responses;
                    answers
                        .entry(status.to_owned())
                        .or_insert_with(|| RefOr::T(error_response(description).build()));
                }
                if operation.request_body.is_some() {
                    operation
                        .responses
                        .responses
                        .entry("413".to_owned())
                        .or_insert_with(|| RefOr::T(error_response("The body is too large").build()));
                    operation
                        .responses
                        .responses
                        .entry("408".to_owned())
                        .or_insert_with(|| RefOr::T(error_response("The body took too long").build()));
                }
            }
        }
    }
}

/// The operations of a path, each with its method.
fn operations(item: &mut PathItem) -> impl Iterator<Item = (&'static str, &mut Operation)> {
    [
        ("get", item.get.as_mut()),
        ("post", item.post.as_mut()),
        ("put", item.put.as_mut()),
        ("patch", item.patch.as_mut()),
        ("delete", item.delete.as_mut()),
    ]
    .into_iter()
    .filter_map(|(method, operation)| Some((method, operation?)))
}

/// One handler may answer GET and POST; the names of operations are unique (OpenAPI 3.1 §4.8.10).
fn name(operation: &mut Operation, method: &str, several: bool) {
    if several
        && method == "post"
        && let Some(id) = &mut operation.operation_id
        && matches!(id.as_str(), "authorize" | "userinfo")
    {
        id.push_str("_by_post");
    }
}

/// Every answer has a description (OpenAPI 3.1 §4.8.17); one that says what it is by its body alone gets its status's.
fn describe(operation: &mut Operation) {
    for (status, answer) in &mut operation.responses.responses {
        if let RefOr::T(answer) = answer
            && answer.description.is_empty()
        {
            let status = StatusCode::from_bytes(status.as_bytes()).ok();
            let reason = status.and_then(|status| status.canonical_reason());
            reason
                .unwrap_or("As described")
                .clone_into(&mut answer.description);
        }
    }
}

/// The document of a server with this configuration.
pub fn document(config: &Config) -> Document {
    let mut document = Surface::openapi();
    env!("CARGO_PKG_VERSION").clone_into(&mut document.info.version);
    document.servers = Some(vec![ServerBuilder::new().url(config.issuer()).build()]);
    let cookies = Cookies::new(config);
    let cookie = |kind, description: &str| {
        let value = ApiKeyValue::with_description(cookies.name(kind), description.to_owned());
        SecurityScheme::ApiKey(ApiKey::Cookie(value))
    };
    let http = |scheme, description: &str| {
        let builder = HttpBuilder::new().scheme(scheme).description(Some(description));
        SecurityScheme::Http(builder.build())
    };
    let components = document.components.get_or_insert_default();
    for (name, scheme) in [
        ("session", cookie(CookieKind::Refresh, "The browser's session")),
        (
            "onboarding",
            cookie(CookieKind::Setup, "An identity that waits for its account"),
        ),
        (
            "client_secret_basic",
            http(
                HttpAuthScheme::Basic,
                "The client's id and secret, form-encoded (RFC 6749 §2.3.1)",
            ),
        ),
        (
            "access_token",
            http(HttpAuthScheme::Bearer, "An access token (RFC 6750 §2.1)"),
        ),
    ] {
        components.add_security_scheme(name, scheme);
    }
    messages::describe(&mut document);
    document
}

/// `GET /openapi.json`.
#[utoipa::path(get, path = "/openapi.json", tag = "operation", operation_id = "openapi",
    responses((status = 200, description = "This document", body = serde_json::Value)))]
pub async fn openapi(State(state): State<AppState>) -> impl IntoResponse {
    (
        [(header::CACHE_CONTROL, "public, max-age=3600")],
        Json(document(&state.config)),
    )
}
