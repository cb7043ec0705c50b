//! The exporter: a queue, a thread that empties it, and a client of our own that carries the batches.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use axum::http::{HeaderMap, StatusCode};
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::{SpanContext, Status, TraceContextExt as _, TraceState, TracerProvider as _};
use opentelemetry::{Context, Key, KeyValue};
use opentelemetry_http::{Bytes, HeaderExtractor, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use secrecy::ExposeSecret as _;
use tokio::runtime::Handle;
use tracing::Span;
use tracing_opentelemetry::{OpenTelemetryLayer, OpenTelemetrySpanExt as _};
use tracing_subscriber::filter::dynamic_filter_fn;
use tracing_subscriber::{Layer, Registry};

use crate::config::telemetry::{ENDPOINT_VARIABLES, TelemetryConfig};

const NAME: &str = "riley-auth";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const TIMEOUT: Duration = Duration::from_secs(10);
/// What the collector says to a batch; it is not looked at.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// How long the last spans may take when the server stops.
const LAST_BATCH_TIMEOUT: Duration = Duration::from_secs(2);

/// Sends spans until it is stopped.
pub struct Exporter(SdkTracerProvider);

impl Exporter {
    /// `None`: neither the configuration nor the environment names a collector. The standard variables win over the
    /// configuration's keys, as `RUST_LOG` does.
    ///
    /// # Errors
    /// The endpoint that a variable names cannot be read, or TLS cannot be set up.
    pub fn start(config: &TelemetryConfig) -> anyhow::Result<Option<Self>> {
        let is_named = ENDPOINT_VARIABLES.into_iter().any(is_set);
        let is_disabled = std::env::var("OTEL_SDK_DISABLED")
            .is_ok_and(|value| value.eq_ignore_ascii_case("true"))
            || std::env::var("OTEL_TRACES_EXPORTER").is_ok_and(|value| value == "none");
        if is_disabled || !(is_named || config.endpoint.is_some()) {
            return Ok(None);
        }
        let mut exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Carrier::new()?)
            .with_headers(headers(config))
            .with_timeout(TIMEOUT);
        if let Some(endpoint) = config.traces_endpoint()
            && !is_named
        {
            exporter = exporter.with_endpoint(endpoint);
        }
        let exporter = exporter.build().context("spans cannot be exported")?;
        let mut provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource(config));
        if !is_set("OTEL_TRACES_SAMPLER") {
            let share = f64::from(config.sample_percent) / 100.0;
            let own = Sampler::TraceIdRatioBased(share);
            provider = provider.with_sampler(Sampler::ParentBased(Box::new(own)));
        }
        Ok(Some(Self(provider.build())))
    }

    /// What takes in the spans, whatever the log leaves out. Events, which are log lines, stay here.
    pub fn layer(&self) -> Box<dyn Layer<Registry> + Send + Sync> {
        let layer = OpenTelemetryLayer::new(self.0.tracer(NAME))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_context_activation(false);
        // Dynamic, so that it is asked each time: libraries ask whether an event is enabled without sending it, and what a
        // filter of a layer answered then would count for the next span, which is not asked about if its answer never changes.
        let ours = dynamic_filter_fn(|metadata, _| metadata.is_span() && metadata.target() == super::TARGET);
        layer.with_filter(ours).boxed()
    }

    /// Sends what is left, for as long as that takes but no longer than two seconds.
    pub async fn stop(self) {
        let stopped = tokio::task::spawn_blocking(move || self.0.shutdown_with_timeout(LAST_BATCH_TIMEOUT));
        if !matches!(stopped.await, Ok(Ok(()))) {
            tracing::warn!("the last spans could not be delivered");
        }
    }
}

/// The trace that a proxy says this request is part of. Its ids and its decision alone: `tracestate` is free text.
fn parent_of(headers: &HeaderMap) -> Context {
    let extracted = TraceContextPropagator::new().extract(&HeaderExtractor(headers));
    let said = extracted.span().span_context().clone();
    if !said.is_valid() {
        return Context::new();
    }
    let (trace_id, span_id, flags) = (said.trace_id(), said.span_id(), said.trace_flags());
    Context::new().with_remote_span_context(SpanContext::new(
        trace_id,
        span_id,
        flags,
        true,
        TraceState::default(),
    ))
}

/// Gives the span its parent, name and kind before it begins; the trace that it is part of. `None`: nobody exports it, and the
/// log is spared what only a collector wants to know.
pub(super) fn begin(span: &Span, method: &str, route: &str, believed: Option<&HeaderMap>) -> Option<String> {
    span.set_parent(believed.map_or_else(Context::new, parent_of))
        .ok()?;
    span.record("otel.name", format!("{method} {route}"));
    span.record("otel.kind", "server");
    let trace_id = span.context().span().span_context().trace_id().to_string();
    span.record("trace_id", &trace_id);
    Some(trace_id)
}

/// OpenTelemetry's conventions: a failure of the server's own is an error, with the status as its type.
pub(super) fn answered(span: &Span, status: StatusCode) {
    if status.is_server_error() {
        span.set_attribute("error.type", status.as_str().to_owned());
        span.set_status(Status::error(""));
    }
}

fn is_set(variable: &str) -> bool {
    std::env::var_os(variable).is_some_and(|value| !value.is_empty())
}

fn headers(config: &TelemetryConfig) -> HashMap<String, String> {
    let headers = config
        .headers
        .as_ref()
        .map_or("", |headers| headers.expose_secret());
    TelemetryConfig::parse_headers(headers)
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// Which service this is, and which instance of it. `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` win.
fn resource(config: &TelemetryConfig) -> Resource {
    let name = Key::from_static_str("service.name");
    let detected = Resource::builder().build().get(&name);
    let is_named = detected.is_some_and(|name| !name.as_str().starts_with("unknown_service"));
    let mut resource = Resource::builder().with_attributes([
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", uuid::Uuid::new_v4().to_string()),
    ]);
    if !is_named {
        resource = resource.with_service_name(config.service_name.clone());
    }
    resource.build()
}

/// Carries batches to the collector: by the server's runtime, since the thread that sends has none; without a proxy of the
/// environment, without redirects (the headers may hold a credential), within limits of time and size.
#[derive(Debug)]
struct Carrier {
    http: reqwest::Client,
    runtime: Handle,
    is_failing: Arc<AtomicBool>,
}

impl Carrier {
    fn new() -> anyhow::Result<Self> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .user_agent(concat!("riley-auth/", env!("CARGO_PKG_VERSION")))
            .build()
            .context("set up the client for the collector of spans")?;
        Ok(Self {
            http,
            runtime: Handle::current(),
            is_failing: Arc::default(),
        })
    }
}

impl HttpClient for Carrier {
    fn send_bytes<'life0, 'async_trait>(
        &'life0 self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'async_trait>>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        let (http, is_failing) = (self.http.clone(), Arc::clone(&self.is_failing));
        let sent = self.runtime.spawn(async move {
            let answer = send(&http, request).await;
            note(&is_failing, &answer);
            answer
        });
        Box::pin(async move { sent.await? })
    }
}

async fn send(http: &reqwest::Client, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
    let request: reqwest::Request = request.try_into()?;
    let mut answer = http.execute(request).await.map_err(reqwest::Error::without_url)?;
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(reqwest::Error::without_url)?
        && body.len() + chunk.len() <= MAX_ANSWER_BYTES
    {
        body.extend_from_slice(&chunk);
    }
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = answer.status();
    *response.headers_mut() = std::mem::take(answer.headers_mut());
    Ok(response)
}

/// Failing is said when it begins and when it is over, however long it lasts.
fn note(is_failing: &AtomicBool, answer: &Result<Response<Bytes>, HttpError>) {
    let problem = match answer {
        Ok(response) if response.status().is_success() => {
            if is_failing.swap(false, Ordering::Relaxed) {
                tracing::info!("the collector takes spans again");
            }
            return;
        }
        Ok(response) => format!("the collector answered {}", response.status().as_u16()),
        Err(error) => error.to_string(),
    };
    if !is_failing.swap(true, Ordering::Relaxed) {
        tracing::warn!(
            error = problem,
            "the collector does not take spans; requests are answered as ever"
        );
    }
}
