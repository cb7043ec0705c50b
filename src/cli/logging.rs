//! Log lines: for people on a terminal, JSON otherwise, always on standard error.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::config::log::{LogConfig, LogFormat};

/// What is logged when nobody says anything.
const DEFAULT_FILTER: &str = "info,sqlx=warn,hyper=warn,h2=warn,rustls=warn";

/// Installs the subscriber of this process; later calls change nothing. `RUST_LOG` wins over `log.level`.
pub fn init(config: &LogConfig) {
    let from_environment = std::env::var("RUST_LOG").ok().filter(|filter| !filter.is_empty());
    let filter = from_environment
        .as_deref()
        .or(config.level.as_deref())
        .unwrap_or(DEFAULT_FILTER);
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| {
        eprintln!("warning: RUST_LOG is no filter; {DEFAULT_FILTER} is used");
        EnvFilter::new(DEFAULT_FILTER)
    });
    let terminal = std::io::stderr().is_terminal();
    let format = config.format.unwrap_or(if terminal {
        LogFormat::Human
    } else {
        LogFormat::Json
    });
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    // It fails only if a subscriber is installed already, as in tests.
    let _ = match format {
        LogFormat::Human => {
            let colours = terminal && std::env::var_os("NO_COLOR").is_none();
            builder.with_ansi(colours).with_target(false).try_init()
        }
        LogFormat::Json => builder
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .try_init(),
    };
}
