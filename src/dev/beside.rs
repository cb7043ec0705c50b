//! What `riley-auth dev` shows, beside a `riley-auth serve` of its own: the shape that compose.yaml starts.
//!
//! Everything but the provider: its configuration with keys and secrets, which `serve` then runs with, the simulated
//! upstream, the demo app, the example pages. It listens where it is told, since a published port of a container does not
//! reach loopback; it answers to loopback host names alone all the same.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use anyhow::Context as _;
use axum::Router;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::database::choose_database;
use super::listen::serve;
use super::run::prepare;
use super::settings::Ports;
use super::{front_end, simulated_upstream};
use crate::server;

/// What the command line says.
#[derive(Clone, Debug)]
pub struct BesideOptions {
    /// An empty database, or one that was taken the same way before.
    pub database_url: String,
    /// Where configuration, keys and secrets go; `serve` reads them there.
    pub data_dir: PathBuf,
    /// The provider's port; three more follow it.
    pub port: u16,
    /// The address to listen on.
    pub listen: IpAddr,
}

/// Runs until SIGTERM or Ctrl-C.
pub async fn run_beside(options: BesideOptions) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    tokio::spawn(server::stop_on_signal(stop.clone()));
    let ports = Ports::starting_at(options.port)?;
    let database = choose_database(Some(&options.database_url), false).await?;
    let prepared = prepare(database.url(), options.data_dir, ports).await?;
    prepared.state.db.close().await;
    let servers: [(Router, u16); 3] = [
        (prepared.demo_app, ports.demo_app),
        (simulated_upstream::router(&prepared.simulation), ports.upstream),
        (front_end::router(&ports.issuer()), ports.front_end),
    ];
    let mut serving = JoinSet::new();
    for (router, port) in servers {
        let address = SocketAddr::new(options.listen, port);
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("listen on {address}"))?;
        serving.spawn(serve(router, vec![listener], stop.clone()));
    }
    tracing::info!(
        config = %prepared.data.config_path().display(),
        demo_app = ports.demo_app_url(),
        "ready: start `riley-auth serve` with this configuration, then open the demo app and sign in"
    );
    while serving.join_next().await.is_some() {}
    Ok(())
}
