//! In the place of the exporter, where it is not built in.

use tracing_subscriber::{Layer, Registry};

use crate::config::telemetry::{ENDPOINT_VARIABLES, TelemetryConfig};

/// There is none.
pub enum Exporter {}

impl Exporter {
    /// Always `None`; says so if the environment asks for one. The configuration was refused before if it does.
    pub fn start(_: &TelemetryConfig) -> anyhow::Result<Option<Self>> {
        if let Some(variable) = ENDPOINT_VARIABLES
            .into_iter()
            .find(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
            && std::env::var_os("OTEL_SDK_DISABLED").is_none_or(|value| value != "true")
        {
            eprintln!(
                "warning: {variable} is set, but this program was built without the feature `opentelemetry`: no spans are sent"
            );
        }
        Ok(None)
    }

    /// What takes in the spans.
    pub fn layer(&self) -> Box<dyn Layer<Registry> + Send + Sync> {
        match *self {}
    }

    /// Sends what is left.
    pub fn stop(self) -> std::future::Ready<()> {
        match self {}
    }
}
