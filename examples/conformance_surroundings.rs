//! What `riley-auth serve` needs around it when the official OpenID conformance suite tests it: a PostgreSQL that vanishes
//! afterwards, an upstream whose people have every standard claim, and pages for sign-in and consent.
//!
//! `tests/conformance_suite/run` starts this, reads the one line of JSON that it prints when everything answers, and closes
//! its standard input to end it. Everything listens on loopback only, without TLS, which is the proxy's in front.
//!
//! ```text
//! cargo run --example conformance_surroundings -- ISSUER UPSTREAM_PORT FRONT_END_PORT
//! ```

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context as _, bail};
use aws_lc_rs::rand::SystemRandom;
use riley_auth::dev::database::DevDatabase;
use riley_auth::dev::front_end;
use riley_auth::dev::listen::{listen, serve};
use riley_auth::dev::postgres::PrivatePostgres;
use riley_auth::dev::simulated_upstream::{Client, Options, SimulatedUpstream};
use riley_auth::jwt::install_crypto_provider;
use riley_auth::protocol::opaque::Opaque;
use serde_json::json;
use tokio_util::sync::CancellationToken;

/// The client id by which the upstream knows riley-auth.
const CLIENT_ID: &str = "riley-auth";
/// The upstream's name in riley-auth's configuration, and so in its callback's path.
const PROVIDER: &str = "simulated";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [issuer, upstream_port, front_end_port] = arguments.as_slice() else {
        bail!("usage: conformance_surroundings ISSUER UPSTREAM_PORT FRONT_END_PORT");
    };
    let upstream_port: u16 = upstream_port.parse().context("UPSTREAM_PORT")?;
    let front_end_port: u16 = front_end_port.parse().context("FRONT_END_PORT")?;
    install_crypto_provider();

    let postgres = tokio::task::spawn_blocking(PrivatePostgres::start_for_tests).await??;
    let database = DevDatabase::on_private(postgres).await?;
    let client_secret = Opaque::generate(&SystemRandom::new()).expose();
    // Another host name than the provider's, because cookies tell host names apart but not ports.
    let upstream = SimulatedUpstream::start(Options {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, upstream_port)),
        clients: vec![Client {
            client_id: CLIENT_ID.to_owned(),
            client_secret: client_secret.clone(),
            redirect_uris: vec![format!("{issuer}/auth/{PROVIDER}/callback")],
            backchannel_logout_uri: None,
        }],
        ..Options::default()
    })
    .await?;
    let stop = CancellationToken::new();
    let listeners = listen(front_end_port, "the front end").await?;
    let front_end = tokio::spawn(serve(front_end::router(issuer), listeners, stop.clone()));

    let started = json!({
        "database_url": database.url(),
        "provider": PROVIDER,
        "upstream_issuer": upstream.issuer(),
        "upstream_client_id": CLIENT_ID,
        "upstream_client_secret": client_secret,
    });
    let mut out = std::io::stdout();
    writeln!(out, "{started}")?;
    out.flush()?;

    // The end of standard input: whoever started this is done, or gone.
    tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink())).await??;
    stop.cancel();
    front_end.await?;
    upstream.stop().await;
    database.stop().await
}
