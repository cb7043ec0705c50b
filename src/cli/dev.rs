//! `riley-auth dev`.

use super::logging;
use crate::config::log::LogConfig;
use crate::dev::DevOptions;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Start with an empty database and new keys
    #[arg(long)]
    fresh: bool,
    /// The port of the provider
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// An empty database to use instead of a private one
    #[arg(long, value_name = "URL", env = "DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,
}

pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    logging::init(&LogConfig::default());
    let Args {
        fresh,
        port,
        database_url,
    } = args;
    crate::dev::run(DevOptions {
        fresh,
        port,
        database_url,
    })
    .await
}
