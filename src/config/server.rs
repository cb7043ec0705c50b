//! `[server]`: where it listens, how browsers see it.

use schemars::JsonSchema;
use serde::Deserialize;

/// `[server]`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ServerConfig {
    /// Address to listen on.
    pub host: String,
    /// Port to listen on.
    pub port: u16,
    /// Believe the right end of `X-Forwarded-For`. Only behind a proxy that sets it.
    pub behind_proxy: bool,
    /// Parent domain of the access cookie (same-domain mode); none: host-only.
    pub cookie_domain: Option<String>,
    /// First part of the cookie names.
    pub cookie_prefix: String,
    /// `lax` or `none`, for the two session cookies.
    pub cookie_same_site: CookieSameSite,
    /// Origins of browser apps that may call token, UserInfo, revocation and introspection. `["*"]` admits every origin.
    pub cors_origins: Vec<String>,
    /// Origins of the deployer's own pages: credentialed CORS for the cookie APIs, CSRF, `return_to`.
    pub first_party_origins: Vec<String>,
    /// Seconds that requests in flight are given when the server stops.
    pub shutdown_grace_secs: u64,
}

/// The `SameSite` attribute of the session cookies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CookieSameSite {
    #[default]
    Lax,
    None,
}

impl ServerConfig {
    /// What to bind: `host:port`, an IPv6 address in brackets.
    pub fn listen_address(&self) -> String {
        match self.host.parse::<std::net::Ipv6Addr>() {
            Ok(address) => format!("[{address}]:{}", self.port),
            Err(_) => format!("{}:{}", self.host, self.port),
        }
    }
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port: 8081,
            behind_proxy: false,
            cookie_domain: None,
            cookie_prefix: "auth".to_owned(),
            cookie_same_site: CookieSameSite::default(),
            cors_origins: Vec::new(),
            first_party_origins: Vec::new(),
            shutdown_grace_secs: 20,
        }
    }
}
