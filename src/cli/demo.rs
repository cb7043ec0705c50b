//! `riley-auth demo`: what compose.yaml runs beside `serve`, for trying the image out. Not listed by `--help`.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use super::logging;
use crate::config::log::LogConfig;
use crate::dev::beside::{BesideOptions, run_beside};
use crate::dev::settings::DEFAULT_PORT;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// An empty database
    #[arg(long, value_name = "URL", env = "DATABASE_URL", hide_env_values = true)]
    database_url: String,
    /// Where configuration, keys and secrets go
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// The port of the provider; the demo app, the simulated provider and the example pages follow it
    #[arg(long, default_value_t = DEFAULT_PORT)]
    port: u16,
    /// The address to listen on; more than loopback only inside a container
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    listen: IpAddr,
}

pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    logging::init(&LogConfig::default());
    run_beside(BesideOptions {
        database_url: args.database_url,
        data_dir: args.data_dir,
        port: args.port,
        listen: args.listen,
    })
    .await
}
