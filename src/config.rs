//! The configuration: one file, one struct per table, every value checked before the server starts.
//!
//! [`Config`] is what the program means; reading, indirection (`env:`, `file:`), unknown keys and positions are
//! [`load`](Config::load)'s business, each table's own rules stand beside its struct.

use std::path::PathBuf;

pub use load::{FILE_NAME, Source};
use schemars::JsonSchema;
use serde::Deserialize;
use url::{Host, Url};

use crate::protocol::scope::{STANDARD, ScopeSet};
use crate::sealing::Keyring;

mod check;
pub mod claims;
pub mod database;
pub mod finding;
pub mod jwt;
mod load;
pub mod log;
pub mod maintenance;
pub mod metrics;
pub mod oauth;
pub mod providers;
pub mod rate_limiting;
mod schema;
pub mod scopes;
pub mod server;
mod successors;
pub mod telemetry;
mod tree;
pub mod usernames;
pub mod webhooks;

/// The whole configuration.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    #[serde(default)]
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
    pub rate_limiting: rate_limiting::RateLimitingConfig,
    #[serde(default)]
    pub webhooks: webhooks::WebhooksConfig,
    #[serde(default)]
    pub maintenance: maintenance::MaintenanceConfig,
    #[serde(default)]
    pub metrics: metrics::MetricsConfig,
    #[serde(default)]
    pub telemetry: telemetry::TelemetryConfig,
    #[serde(default)]
    pub log: log::LogConfig,
}

/// A configuration that passed every check, and where it came from.
#[derive(Clone, Debug)]
pub struct LoadedConfig {
    pub config: Config,
    /// The file it was read from; `None` when everything came from the environment.
    pub path: Option<PathBuf>,
    /// What is allowed but ought to be looked at.
    pub warnings: Vec<finding::Finding>,
}

impl Config {
    /// The issuer, byte for byte as configured: the `iss` of every token.
    pub fn issuer(&self) -> &str {
        &self.jwt.issuer
    }

    /// The issuer's scheme, host and port (RFC 6454 §6.2), as browsers send it in `Origin`.
    pub fn issuer_origin(&self) -> String {
        self.issuer_url().origin().ascii_serialization()
    }

    /// The path that the issuer ends in, such as `/identity`; empty when it has none. Every route stands below it.
    pub fn issuer_path(&self) -> &str {
        let after_scheme = self.jwt.issuer.find("://").map_or(0, |at| at + 3);
        let authority_and_path = &self.jwt.issuer[after_scheme..];
        authority_and_path
            .find('/')
            .map_or("", |at| &authority_and_path[at..])
    }

    /// Whether the issuer is plain http on loopback: development on one machine, where rules are looser.
    pub fn issuer_is_loopback_http(&self) -> bool {
        let issuer = self.issuer_url();
        issuer.scheme() == "http" && is_loopback(&issuer)
    }

    /// Keys derived from `database.secret_key` and those before it.
    pub fn keyring(&self) -> Keyring {
        Keyring::new(&self.database.secret_key, &self.database.previous_secret_keys)
    }

    /// Every scope that somebody has defined: OpenID Connect's and the deployer's.
    pub fn defined_scopes(&self) -> ScopeSet {
        let mut defined = ScopeSet::default();
        for scope in STANDARD
            .into_iter()
            .chain(self.scopes.0.keys().map(String::as_str))
        {
            defined.insert(scope);
        }
        defined
    }

    fn issuer_url(&self) -> Url {
        Url::parse(&self.jwt.issuer).expect("the issuer was checked when the configuration was loaded")
    }
}

/// Whether the URL's host is this machine: `localhost`, a name below it, or a loopback address (RFC 6761 §6.3).
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}
