//! `[log]`: what is logged and how.

use schemars::JsonSchema;
use serde::Deserialize;
use tracing_subscriber::EnvFilter;

use super::check::Check;

/// `[log]`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// A `tracing` filter such as `info` or `riley_auth=debug`; `RUST_LOG` wins.
    pub level: Option<String>,
    /// `human` or `json`; human on a terminal, JSON otherwise.
    pub format: Option<LogFormat>,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Human,
    Json,
}

impl LogConfig {
    /// The rules of this table.
    pub(super) fn check(&self, check: &mut Check) {
        if self
            .level
            .as_ref()
            .is_some_and(|level| level.parse::<EnvFilter>().is_err())
        {
            check.error(
                "log.level",
                "this is no filter",
                "write a level such as \"info\", or \"info,riley_auth=debug\"",
            );
        }
    }
}
