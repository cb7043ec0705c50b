//! The provider under `riley-auth dev`: the same as under `serve`, on the listeners that were taken before.

use tokio::net::TcpListener;

use super::loopback_only::loopback_only;
use crate::http::state::AppState;
use crate::server;

/// Serves the provider, with its workers, until the state's shutdown token is cancelled, and to loopback host names alone.
pub(super) async fn serve(state: AppState, listeners: Vec<TcpListener>) {
    let router = loopback_only(server::build(state.clone()));
    server::run_router(state, router, listeners).await;
}
