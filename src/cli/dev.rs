//! `riley-auth dev`.

use std::path::PathBuf;

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
    /// Where the private database, keys and secrets are kept; DATABASE_URL is not looked at then
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// An empty database to use instead of a private one
    #[arg(long, value_name = "URL", env = "DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,
}

pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    logging::init(&LogConfig::default());
    let Args {
        fresh,
        port,
        data_dir,
        database_url,
    } = args;
    crate::dev::run(DevOptions {
        fresh,
        port,
        data_dir,
        database_url,
    })
    .await
}
