//! Drills of the delivery worker, with the real program as a process of its own on a PostgreSQL that vanishes afterwards.
//!
//! ```text
//! cargo build --release
//! cargo run --example delivery_drill -- kill [KILLS]      # is an event ever lost when the program is killed?
//! cargo run --example delivery_drill -- throughput        # how fast are a thousand events delivered?
//! cargo run --example delivery_drill -- neighbours        # does a dead or slow webhook delay another?
//! cargo run --example delivery_drill -- enqueue           # what does telling of a change cost the change?
//! cargo run --example delivery_drill -- cleanup           # how long does the clean-up hold others up?
//! ```
//!
//! `RILEY_AUTH_BINARY` names another program than target/release/riley-auth. Each drill ends by itself, prints one table, and
//! fails when what it shows is not so. Everything listens on loopback alone.

mod costs;
mod kill;
mod program;
mod receiver;
mod speed;

use anyhow::{Context as _, bail};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    riley_auth::jwt::install_crypto_provider();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["kill"] => kill::run(120).await,
        ["kill", kills] => kill::run(kills.parse().context("KILLS is a number")?).await,
        ["throughput"] => speed::throughput().await,
        ["neighbours"] => speed::neighbours().await,
        ["enqueue"] => costs::enqueue().await,
        ["cleanup"] => costs::cleanup().await,
        _ => bail!("usage: delivery_drill kill [KILLS] | throughput | neighbours | enqueue | cleanup"),
    }
}
