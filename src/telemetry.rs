//! Spans of requests for a collector that speaks OTLP over HTTP, behind the feature `opentelemetry`.
//!
//! A request is one span, named by its method and its route's template. Its attributes are a fixed few, those of its log line;
//! log lines themselves are not sent. So nothing that is kept out of the log can leave by this way, and neither can what stands
//! in a path, a query, a header or a body.
//!
//! Spans wait in a bounded queue and a thread of its own sends them: a collector that is slow or gone costs spans, never a
//! request. Without the feature the span is the same and only the log knows it.

use axum::http::{HeaderMap, StatusCode};
use tracing::Span;
use tracing::field::Empty;

#[cfg(not(feature = "opentelemetry"))]
mod absent;
#[cfg(feature = "opentelemetry")]
mod otlp;

#[cfg(not(feature = "opentelemetry"))]
pub use absent::Exporter;
#[cfg(feature = "opentelemetry")]
pub use otlp::Exporter;

/// Of the spans, and of nothing else.
pub const TARGET: &str = "riley_auth::telemetry";

/// A request's span, and the trace that it is part of if it is exported.
pub struct RequestSpan {
    pub span: Span,
    pub trace_id: Option<String>,
}

/// Begins the span of a request, with attributes as OpenTelemetry's conventions for HTTP servers name them. `method`: one of a
/// fixed few; `route`: a template.
///
/// `believed`: the headers of a request that a trusted proxy passed on; if they name a trace (W3C Trace Context), the span
/// becomes part of it. Anybody else's headers are not looked at: strangers would decide what is recorded, and under which ids.
pub fn begin(
    method: &'static str,
    route: &str,
    request_id: &str,
    believed: Option<&HeaderMap>,
) -> RequestSpan {
    let span = tracing::info_span!(
        target: TARGET,
        "request",
        http.request.method = method,
        http.route = route,
        http.response.status_code = Empty,
        request.id = request_id,
        // Of an exported span alone.
        trace_id = Empty,
        otel.name = Empty,
        otel.kind = Empty,
    );
    #[cfg(feature = "opentelemetry")]
    let trace_id = otlp::begin(&span, method, route, believed);
    #[cfg(not(feature = "opentelemetry"))]
    let trace_id = believed.and(None);
    RequestSpan { span, trace_id }
}

/// How the request was answered. A client's mistake is no error of the server's.
pub fn answered(span: &Span, status: StatusCode) {
    span.record("http.response.status_code", status.as_u16());
    #[cfg(feature = "opentelemetry")]
    otlp::answered(span, status);
}
