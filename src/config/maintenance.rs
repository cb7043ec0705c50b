//! `[maintenance]`: the clean-up of what has expired.

use schemars::JsonSchema;
use serde::Deserialize;

/// `[maintenance]`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MaintenanceConfig {
    /// Seconds between two rounds.
    pub interval_secs: u64,
    /// Days for which events and finished deliveries are kept.
    pub deliveries_kept_days: u32,
}

impl Default for MaintenanceConfig {
    fn default() -> Self {
        Self {
            interval_secs: 3600,
            deliveries_kept_days: 7,
        }
    }
}
