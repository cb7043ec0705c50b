//! Logout that an app starts (OpenID Connect RP-Initiated Logout 1.0).
//!
//! | route | file | what |
//! | --- | --- | --- |
//! | `GET, POST /oauth/logout` | [`endpoint`] | the request, judged by [`request`] |
//! | `GET /oauth/logout/resume` | [`endpoint`] | the same after a POST, once the browser shows its cookies |
//! | `POST /oauth/logout/confirm` | [`confirm`] | the answer to the question of [`question`] |
//!
//! What the browser's cookie opens and how it ends is [`session`]'s; what travels by way of the browser is [`carried`].
//! Apps are told by the transaction that ends the session ([`crate::accounts::sessions`]), whoever ends it.

use axum::Router;
use axum::routing::{get, post};

use crate::http::state::AppState;
use crate::server::routes::without_head;

pub mod carried;
pub mod confirm;
pub mod endpoint;
pub mod question;
pub mod request;
pub mod session;

/// The routes of this folder.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route(
            "/oauth/logout",
            without_head("GET, POST", get(endpoint::logout).post(endpoint::posted)),
        )
        .route("/oauth/logout/resume", without_head("GET", get(endpoint::resume)))
        .route(
            "/oauth/logout/confirm",
            without_head("POST", post(confirm::confirm)),
        )
}
