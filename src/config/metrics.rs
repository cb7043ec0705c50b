//! `[metrics]`: what is counted, and who may read it.

use std::net::SocketAddr;

use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::check::Check;

/// A shorter token could be guessed.
const MIN_BEARER_TOKEN_BYTES: usize = 16;

/// `[metrics]`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MetricsConfig {
    /// Whether `GET /metrics` is there.
    pub enabled: bool,
    /// Whoever reads the metrics shows it (RFC 6750 §2.1). Without it, everybody who reaches the endpoint reads them.
    #[schemars(with = "Option<String>", extend("x-secret" = true))]
    pub bearer_token: Option<SecretString>,
    /// An address of their own, `host:port`; the public listener then has no `/metrics`.
    pub listen: Option<String>,
}

impl Default for MetricsConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            bearer_token: None,
            listen: None,
        }
    }
}

impl MetricsConfig {
    /// The rules of this table.
    pub(super) fn check(&self, check: &mut Check) {
        let token = self.bearer_token.as_ref().map(ExposeSecret::expose_secret);
        if token.is_some_and(|token| token.len() < MIN_BEARER_TOKEN_BYTES) {
            check.error(
                "metrics.bearer_token",
                "the token is shorter than 16 bytes",
                "write a longer one, such as the output of `openssl rand -hex 32`",
            );
        } else if token.is_some_and(|token| !token.bytes().all(|byte| byte.is_ascii_graphic())) {
            check.error(
                "metrics.bearer_token",
                "the token holds characters that a header cannot carry",
                "write visible ASCII without spaces",
            );
        }
        let listen = self.listen.as_deref();
        if listen.is_some_and(|address| address.parse::<SocketAddr>().is_err()) {
            check.error(
                "metrics.listen",
                "this is no address with a port",
                "write one such as \"127.0.0.1:9091\" or \"[::1]:9091\"",
            );
        }
    }
}
