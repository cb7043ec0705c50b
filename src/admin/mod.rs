//! Administration over HTTP: accounts, apps, reserved names, the trail, what `explain` shows.
//!
//! Whoever comes here is judged before anything else of the request is read ([`crate::http::administrator`]): 401 without a
//! session, 403 for everybody who is no administrator, whatever path, id or body. Every change is made by the functions that
//! the command line uses too ([`crate::accounts`], [`crate::clients`]) and leaves an entry in the trail in its own transaction.
//!
//! | route | file |
//! | --- | --- |
//! | `GET /admin/users` | [`users`] |
//! | `GET, PATCH, DELETE /admin/users/{user_id}` | [`user`] |
//! | `PATCH /admin/users/{user_id}/role` | [`role`] |
//! | `DELETE /admin/users/{user_id}/sessions` | [`user_sessions`] |
//! | `POST /admin/users/{user_id}/links/{link_id}/unmerge` | [`unmerge`] |
//! | `GET, POST /admin/clients` | [`clients`] |
//! | `GET, PATCH, DELETE /admin/clients/{client_id}` | [`client`] |
//! | `POST /admin/clients/{client_id}/secret` | [`client_secret`] |
//! | `GET /admin/clients/{client_id}/deliveries`, `POST …/redeliver` | [`client_deliveries`] |
//! | `GET, POST /admin/webhooks` | [`webhooks`] |
//! | `GET, PATCH, DELETE /admin/webhooks/{webhook_id}` | [`webhook`] |
//! | `POST /admin/webhooks/{webhook_id}/secret` | [`webhook_secret`] |
//! | `GET /admin/webhooks/{webhook_id}/deliveries`, `POST …/redeliver`, `POST …/ping` | [`webhook_deliveries`] |
//! | `GET, POST /admin/reserved-usernames`, `DELETE /admin/reserved-usernames/{name}` | [`reserved_usernames`] |
//! | `GET /admin/audit` | [`audit`] |
//! | `GET /admin/errors/{id}` | [`errors`] |
//!
//! What several of them need: [`paging`], [`input`], [`refusals`].

use axum::Router;
use axum::routing::{any, delete, get, patch, post};

use crate::error::AppError;
use crate::http::state::AppState;

pub mod audit;
pub mod client;
pub mod client_deliveries;
pub mod client_secret;
pub mod clients;
pub mod errors;
pub mod input;
pub mod paging;
pub mod refusals;
pub mod reserved_usernames;
pub mod role;
pub mod unmerge;
pub mod user;
pub mod user_sessions;
pub mod users;
pub mod webhook;
pub mod webhook_deliveries;
pub mod webhook_secret;
pub mod webhooks;

/// What nobody serves. Any route that is served wins over it.
const NOWHERE: [&str; 3] = ["/admin", "/admin/", "/admin/{*rest}"];

/// Every route below `/admin`, to be wrapped by [`crate::http::administrator::require_administrator`]. Paths that nobody
/// serves are among them, so that they answer strangers as any other does.
pub fn routes() -> Router<AppState> {
    let nowhere = NOWHERE.iter().fold(Router::new(), |router, path| {
        router.route(path, any(nothing_here))
    });
    nowhere
        .route("/admin/users", get(users::list))
        .route(
            "/admin/users/{user_id}",
            get(user::show).patch(user::change).delete(user::remove),
        )
        .route("/admin/users/{user_id}/role", patch(role::change))
        .route("/admin/users/{user_id}/sessions", delete(user_sessions::revoke))
        .route(
            "/admin/users/{user_id}/links/{link_id}/unmerge",
            post(unmerge::unmerge),
        )
        .route("/admin/clients", get(clients::list).post(clients::create))
        .route(
            "/admin/clients/{client_id}",
            get(client::show).patch(client::change).delete(client::remove),
        )
        .route("/admin/clients/{client_id}/secret", post(client_secret::rotate))
        .route(
            "/admin/clients/{client_id}/deliveries",
            get(client_deliveries::list),
        )
        .route(
            "/admin/clients/{client_id}/redeliver",
            post(client_deliveries::redeliver),
        )
        .route("/admin/webhooks", get(webhooks::list).post(webhooks::create))
        .route(
            "/admin/webhooks/{webhook_id}",
            get(webhook::show).patch(webhook::change).delete(webhook::remove),
        )
        .route(
            "/admin/webhooks/{webhook_id}/secret",
            post(webhook_secret::rotate),
        )
        .route(
            "/admin/webhooks/{webhook_id}/deliveries",
            get(webhook_deliveries::list),
        )
        .route(
            "/admin/webhooks/{webhook_id}/redeliver",
            post(webhook_deliveries::redeliver),
        )
        .route(
            "/admin/webhooks/{webhook_id}/ping",
            post(webhook_deliveries::ping),
        )
        .route(
            "/admin/reserved-usernames",
            get(reserved_usernames::list).post(reserved_usernames::reserve),
        )
        .route(
            "/admin/reserved-usernames/{name}",
            delete(reserved_usernames::release),
        )
        .route("/admin/audit", get(audit::list))
        .route("/admin/errors/{id}", get(errors::show))
}

async fn nothing_here() -> AppError {
    AppError::not_found()
}
