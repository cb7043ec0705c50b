//! The provider under `riley-auth dev`: the same as under `serve`, on the listeners that were taken before.

use std::sync::Arc;

use anyhow::bail;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::Config;

/// Serves the provider, with its workers, until `stop`, and to loopback host names alone.
pub(super) async fn serve(
    config: Arc<Config>,
    db: PgPool,
    clock: Clock,
    listeners: Vec<TcpListener>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let _ = (config, db, clock, listeners, stop);
    bail!("the server is not there yet")
}
