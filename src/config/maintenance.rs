//! `[maintenance]`: the clean-up of what has expired.

use schemars::JsonSchema;
use serde::Deserialize;

/// `[maintenance]`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MaintenanceConfig {
    /// Seconds between two rounds.
    pub interval_secs: u64,
}

impl Default for MaintenanceConfig {
    fn default() -> Self {
        Self { interval_secs: 3600 }
    }
}
