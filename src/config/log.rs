//! `[log]`: what is logged and how.

use schemars::JsonSchema;
use serde::Deserialize;

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
