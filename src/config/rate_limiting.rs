//! `[rate_limiting]`: how many requests one address, or one client, may send.

use schemars::JsonSchema;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use super::check::Check;

/// `[rate_limiting]`. All numbers are requests per minute.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RateLimitingConfig {
    /// Whether anything is limited.
    pub enabled: bool,
    /// Starting and finishing sign-ins, per address; also failed client authentications, per client and address.
    pub auth_per_minute: u32,
    /// Everything else that is not public, per address.
    pub standard_per_minute: u32,
    /// Discovery and keys, per address.
    pub public_per_minute: u32,
    /// Of a client that has authenticated, from whatever address; 0: no limit.
    pub client_per_minute: u32,
    /// `redis://…` or `rediss://…` (Redis or Valkey): the instances count together. Unset, each counts for itself.
    #[schemars(with = "Option<String>", extend("x-secret" = true))]
    pub redis_url: Option<SecretString>,
}

impl Default for RateLimitingConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            auth_per_minute: 15,
            standard_per_minute: 60,
            public_per_minute: 300,
            client_per_minute: 0,
            redis_url: None,
        }
    }
}

impl RateLimitingConfig {
    /// The numbers, as the log shows them.
    pub fn numbers(&self) -> String {
        if !self.enabled {
            return "nothing is limited".to_owned();
        }
        format!(
            "auth {}, standard {}, public {}, client {} per minute",
            self.auth_per_minute, self.standard_per_minute, self.public_per_minute, self.client_per_minute
        )
    }

    /// The rules of this table.
    pub(super) fn check(&self, check: &mut Check) {
        for (key, number, low) in [
            ("rate_limiting.auth_per_minute", self.auth_per_minute, 1),
            ("rate_limiting.standard_per_minute", self.standard_per_minute, 1),
            ("rate_limiting.public_per_minute", self.public_per_minute, 1),
            ("rate_limiting.client_per_minute", self.client_per_minute, 0),
        ] {
            check.range(key, number.into(), low, 1_000_000);
        }
        let Some(url) = &self.redis_url else { return };
        if !cfg!(feature = "redis") {
            check.error(
                "rate_limiting.redis_url",
                "this build has no support for Redis",
                "build with the feature `redis`, or remove the key",
            );
        } else if !is_redis_url(url.expose_secret()) {
            check.error(
                "rate_limiting.redis_url",
                "this is no URL of a Redis or Valkey server",
                "write redis://user:password@host:6379/0, or rediss:// for TLS",
            );
        }
    }
}

#[cfg(feature = "redis")]
fn is_redis_url(url: &str) -> bool {
    ["redis://", "rediss://"]
        .iter()
        .any(|scheme| url.starts_with(scheme))
        && redis::Client::open(url).is_ok()
}

#[cfg(not(feature = "redis"))]
fn is_redis_url(_url: &str) -> bool {
    false
}
