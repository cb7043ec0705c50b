//! Log lines: for people on a terminal, JSON otherwise, always on standard error.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::config::log::{LogConfig, LogFormat};

/// What is logged when nobody says anything.
const DEFAULT_FILTER: &str = "info,sqlx=warn,hyper=warn,h2=warn,rustls=warn";

/// Libraries that would print what they send and receive, credentials among it: `info` at most, whatever is asked for.
const CAPPED: [&str; 8] = [
    "sqlx",
    "hyper",
    "hyper_util",
    "h2",
    "reqwest",
    "rustls",
    "tower",
    "redis",
];

/// Installs the subscriber of this process; later calls change nothing. `RUST_LOG` wins over `log.level`.
pub fn init(config: &LogConfig) {
    let from_environment = std::env::var("RUST_LOG").ok().filter(|filter| !filter.is_empty());
    let filter = from_environment
        .as_deref()
        .or(config.level.as_deref())
        .unwrap_or(DEFAULT_FILTER);
    let filter = filter_of(filter).unwrap_or_else(|| {
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

/// What is asked for, with the libraries capped that it asks more of than is safe.
fn filter_of(asked_for: &str) -> Option<EnvFilter> {
    let filter = EnvFilter::try_new(asked_for).ok()?;
    if matches!(filter.max_level_hint(), Some(level) if level <= LevelFilter::INFO) {
        return Some(filter);
    }
    let is_of_a_library = |directive: &&str| {
        let target = directive.trim().split(['=', '[', ':']).next().unwrap_or_default();
        CAPPED.contains(&target)
    };
    let kept: Vec<&str> = asked_for
        .split(',')
        .filter(|directive| !is_of_a_library(directive))
        .collect();
    let capped = CAPPED.map(|library| format!("{library}=info")).join(",");
    EnvFilter::try_new(format!("{},{capped}", kept.join(","))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_filter_makes_libraries_print_what_they_send() {
        for asked_for in [
            "trace",
            "riley_auth=trace,hyper=trace",
            "info,hyper::proto=trace",
            "debug",
        ] {
            let filter = filter_of(asked_for).unwrap().to_string();
            let directives: Vec<&str> = filter.split(',').collect();
            let of_hyper = directives
                .iter()
                .filter(|directive| directive.starts_with("hyper"));
            assert!(
                of_hyper.clone().all(|directive| directive.ends_with("=info")),
                "{filter}"
            );
            assert_eq!(of_hyper.count(), 2, "{asked_for}: {filter}");
        }
        assert_eq!(
            filter_of("warn,sqlx=info").unwrap().to_string(),
            filter_of("sqlx=info,warn").unwrap().to_string()
        );
        assert!(filter_of("riley=loud").is_none());
    }
}
