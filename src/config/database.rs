//! `[database]`: the one PostgreSQL.

use schemars::JsonSchema;
use secrecy::SecretString;
use serde::Deserialize;

/// `[database]`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DatabaseConfig {
    /// `postgres://user:password@host/database`.
    #[schemars(with = "String")]
    pub url: SecretString,
    /// Connections that requests may hold at once.
    #[serde(default = "default_max_connections")]
    pub max_connections: u32,
    /// Seconds that a request waits for a connection before it is answered 503.
    #[serde(default = "default_acquire_timeout_secs")]
    pub acquire_timeout_secs: u64,
    /// Whether `serve` migrates before it starts.
    #[serde(default = "default_migrate")]
    pub migrate: bool,
}

fn default_max_connections() -> u32 {
    20
}

fn default_acquire_timeout_secs() -> u64 {
    3
}

fn default_migrate() -> bool {
    true
}
