//! `[telemetry]`: whether spans of requests are exported, and whereto.

use schemars::JsonSchema;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use url::Url;

use super::check::Check;

/// The standard variables that name a collector; each of them wins over `telemetry.endpoint`.
pub const ENDPOINT_VARIABLES: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
];

/// `[telemetry]`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetryConfig {
    /// The collector's base URL for OTLP over HTTP, such as `http://127.0.0.1:4318`; spans go to `v1/traces` below it. Unset,
    /// nothing is exported. Needs a program built with the feature `opentelemetry`.
    pub endpoint: Option<Url>,
    /// Headers for the collector, `name=value,name=value`: mostly its credential.
    #[schemars(with = "Option<String>", extend("x-secret" = true))]
    pub headers: Option<SecretString>,
    /// The service's name among others.
    pub service_name: String,
    /// Of 100 traces that begin here, how many are recorded. With `believe_traceparent`, the proxy decides about its own.
    pub sample_percent: u8,
    /// Whether the `traceparent` of a trusted proxy (`server.behind_proxy`, `server.trusted_proxies`) names the trace that a
    /// request is part of. Only for a proxy that writes it: most pass on what a stranger sent.
    pub believe_traceparent: bool,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self {
            endpoint: None,
            headers: None,
            service_name: "riley-auth".to_owned(),
            sample_percent: 100,
            believe_traceparent: false,
        }
    }
}

impl TelemetryConfig {
    /// Where spans are sent.
    pub fn traces_endpoint(&self) -> Option<String> {
        let base = self.endpoint.as_ref()?;
        Some(format!("{}/v1/traces", base.as_str().trim_end_matches('/')))
    }

    /// Name and value of each header.
    pub fn parse_headers(headers: &str) -> impl Iterator<Item = (&str, &str)> {
        let pairs = headers.split(',').filter_map(|pair| pair.split_once('='));
        pairs.map(|(name, value)| (name.trim(), value.trim()))
    }

    /// The rules of this table.
    pub(super) fn check(&self, check: &mut Check) {
        check.range("telemetry.sample_percent", self.sample_percent.into(), 0, 100);
        if self.service_name.trim().is_empty() {
            check.error(
                "telemetry.service_name",
                "the name is empty",
                "write one, or remove the key",
            );
        }
        let headers = self
            .headers
            .as_ref()
            .map_or("", |headers| headers.expose_secret());
        let pairs = headers.split(',').filter(|pair| !pair.trim().is_empty());
        let all_are_sound = Self::parse_headers(headers).all(|(name, value)| {
            name.parse::<axum::http::HeaderName>().is_ok() && value.parse::<axum::http::HeaderValue>().is_ok()
        });
        if !all_are_sound || pairs.count() != Self::parse_headers(headers).count() {
            check.error(
                "telemetry.headers",
                "these are no headers",
                "write name=value, several with commas between them",
            );
        }
        let Some(endpoint) = &self.endpoint else { return };
        if !cfg!(feature = "opentelemetry") {
            check.error(
                "telemetry.endpoint",
                "this program was built without OpenTelemetry, so it cannot send spans",
                "build it with `--features opentelemetry`, or remove the key",
            );
        } else if !matches!(endpoint.scheme(), "http" | "https") || endpoint.query().is_some() {
            check.error(
                "telemetry.endpoint",
                "spans are sent by OTLP over HTTP",
                "write the collector's base URL, such as \"http://127.0.0.1:4318\"",
            );
        }
    }
}
