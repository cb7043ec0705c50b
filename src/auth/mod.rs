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
//! | `GET, PATCH /auth/me` | [`profile`] |
//! | `DELETE /auth/me` | [`deletion`] |
//! | `PATCH /auth/me/username` | [`username`] |
//! | `GET /auth/me/emails` | [`emails`] |
//! | `GET /auth/me/export` | [`export`] |
//! | `GET /auth/me/consents`, `DELETE /auth/me/consents/{client_id}` | [`consents`] |
//! | `GET, DELETE /auth/sessions`, `DELETE /auth/sessions/{session_id}` | [`sessions_list`] with [`device`] |
//! | `GET /auth/me/links` | [`links`] |
//! | `POST /auth/link/{provider}` | [`link_start`], at the callback [`linking`] |
//! | `GET, POST /auth/link/confirm` | [`link_confirm`] |
//! | `DELETE /auth/link/{provider}` | [`unlink`] |
//! | `POST /auth/{provider}/backchannel-logout` | [`upstream_logout`] |
//!
//! Sign-ins and links leave by [`departure`]. Callback, setup and the confirmation of a newcomer's link open a session by
//! [`sign_in`]; what a flow remembers is [`flow`]'s, where it leads [`destination`]'s.

use axum::Router;
use axum::routing::{delete, get, patch, post};

use crate::http::state::AppState;

pub mod callback;
pub mod consents;
pub mod deletion;
pub mod departure;
pub mod destination;
pub mod device;
pub mod emails;
pub mod export;
pub mod flow;
pub mod link_confirm;
pub mod link_start;
pub mod linking;
pub mod links;
pub mod login;
pub mod merge;
pub mod newcomer;
pub mod profile;
pub mod respond;
pub mod rotation;
pub mod session;
pub mod sessions_list;
pub mod setup;
pub mod sign_in;
pub mod unlink;
pub mod upstream_logout;
pub mod username;

/// What front ends call: the deployer's own pages may do so from their origins.
pub fn api_routes() -> Router<AppState> {
    Router::new()
        .route("/auth/providers", get(login::providers))
        .route("/auth/setup", get(setup::show).post(setup::choose))
        .route("/auth/refresh", post(session::refresh))
        .route("/auth/logout", post(session::logout))
        .route("/auth/logout-all", post(session::logout_all))
        .route(
            "/auth/me",
            get(profile::show).patch(profile::change).delete(deletion::delete),
        )
        .route("/auth/me/username", patch(username::rename))
        .route("/auth/me/emails", get(emails::list))
        .route("/auth/me/export", get(export::export))
        .route("/auth/me/consents", get(consents::list))
        .route("/auth/me/consents/{client_id}", delete(consents::withdraw))
        .route(
            "/auth/sessions",
            get(sessions_list::list).delete(sessions_list::end_others),
        )
        .route("/auth/sessions/{session_id}", delete(sessions_list::end))
        .route("/auth/me/links", get(links::list))
        .route(
            "/auth/link/confirm",
            get(link_confirm::show).post(link_confirm::confirm),
        )
        .route(
            "/auth/link/{provider}",
            post(link_start::start).delete(unlink::unlink),
        )
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
}

/// What upstream providers call: no browser comes here. A provider sends everybody's notices from a few addresses, so this
/// is not counted among sign-ins.
pub fn provider_routes() -> Router<AppState> {
    Router::new().route(
        "/auth/{provider}/backchannel-logout",
        post(upstream_logout::backchannel_logout),
    )
}
