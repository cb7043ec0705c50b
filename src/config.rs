//! The configuration: one file, one struct per table, every value checked before the server starts.
//!
//! [`Config`] is what the program means; reading, indirection (`env:`, `file:`), unknown keys and positions are
//! [`load`](Config::load)'s business, each table's own rules stand beside its struct.

use schemars::JsonSchema;
use serde::Deserialize;

pub mod claims;
pub mod database;
pub mod jwt;
pub mod log;
pub mod maintenance;
pub mod oauth;
pub mod providers;
pub mod scopes;
pub mod server;
pub mod usernames;

/// The whole configuration.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub server: server::ServerConfig,
    pub database: database::DatabaseConfig,
    pub jwt: jwt::JwtConfig,
    #[serde(default)]
    pub oauth: oauth::OAuthConfig,
    /// Scopes of the deployer's own: name to the sentence that people read when they are asked for consent.
    #[serde(default)]
    pub scopes: scopes::ScopesConfig,
    #[serde(default)]
    pub usernames: usernames::UsernamesConfig,
    #[serde(default)]
    pub claims: claims::ClaimsConfig,
    #[serde(default)]
    pub maintenance: maintenance::MaintenanceConfig,
    #[serde(default)]
    pub log: log::LogConfig,
}
