//! riley-auth as a client of upstream providers: how a person gets a first-party session, keeps it and ends it.
//!
//! How a provider is talked to is [`crate::upstream`]'s business, what a session is good for [`crate::oauth_provider`]'s.
//!
//! | route | file |
//! | --- | --- |
//! | `GET /auth/providers`, `GET /auth/{provider}` | [`login`] |
//! | `GET, POST /auth/{provider}/callback` | [`callback`], for newcomers [`newcomer`] with [`merge`] |
//! | `GET, POST /auth/setup` | [`setup`] |
//! | `POST /auth/refresh`, `/auth/logout`, `/auth/logout-all` | [`session`] with [`rotation`] |
//! | `GET /auth/me` | [`profile`] |
//! | `POST /auth/{provider}/backchannel-logout` | [`upstream_logout`] |
//!
//! Callback and setup open a session by [`sign_in`]; what a flow remembers is [`flow`]'s, where it leads [`destination`]'s.

use axum::Router;
use axum::routing::{get, post};

use crate::http::state::AppState;

pub mod callback;
pub mod destination;
pub mod flow;
pub mod login;
pub mod merge;
pub mod newcomer;
pub mod profile;
pub mod respond;
pub mod rotation;
pub mod session;
pub mod setup;
pub mod sign_in;
pub mod upstream_logout;

/// What front ends call: the deployer's own pages may do so from their origins.
pub fn api_routes() -> Router<AppState> {
    Router::new()
        .route("/auth/providers", get(login::providers))
        .route("/auth/setup", get(setup::show).post(setup::choose))
        .route("/auth/refresh", post(session::refresh))
        .route("/auth/logout", post(session::logout))
        .route("/auth/logout-all", post(session::logout_all))
        .route("/auth/me", get(profile::me))
}

/// Where a browser navigates to. Fixed paths win over `{provider}`, and no provider may be called like one.
pub fn navigation_routes() -> Router<AppState> {
    Router::new()
        .route(
            "/auth/{provider}",
            get(login::start)
                .head(|| respond::not_allowed("GET"))
                .fallback(|| respond::not_allowed("GET")),
        )
        .route(
            "/auth/{provider}/callback",
            get(callback::callback)
                .head(|| respond::not_allowed("GET, POST"))
                .post(callback::posted)
                .fallback(|| respond::not_allowed("GET, POST")),
        )
        // No browser comes here, but the path is the provider's, as those above.
        .route(
            "/auth/{provider}/backchannel-logout",
            post(upstream_logout::backchannel_logout),
        )
}
