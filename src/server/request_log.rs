//! One line and one span per request: method, route, status, duration, request id. Never a query string, a header or a body.

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument as _;
use uuid::Uuid;

use crate::http::state::AppState;
use crate::metrics::{UNMATCHED, method_label};
use crate::telemetry::{self, RequestSpan};

/// Comes in from a proxy, goes out with the answer.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const MAX_REQUEST_ID_CHARS: usize = 64;

/// Logs the request and names it.
pub async fn request_log(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let id = request
        .headers()
        .get(REQUEST_ID)
        .filter(|id| is_plain(id))
        .cloned()
        .unwrap_or_else(new_id);
    let method = method_label(request.method());
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| UNMATCHED.to_owned(), |path| path.as_str().to_owned());
    let request_id = id.to_str().unwrap_or_default();
    let believes =
        state.config.telemetry.believe_traceparent && state.addresses.believes_sender(request.extensions());
    let believed = believes.then(|| request.headers());
    // What is logged on the way bears the request's id; of the request itself no more than of its line below.
    let RequestSpan { span, trace_id } = telemetry::begin(method, &route, request_id, believed);
    let started = std::time::Instant::now();
    let mut response = next.run(request).instrument(span.clone()).await;
    let status = response.status();
    telemetry::answered(&span, status);
    tracing::info!(
        http.request.method = method,
        http.route = route,
        http.response.status_code = status.as_u16(),
        duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        request.id = request_id,
        trace_id,
        "request"
    );
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// An id that may stand in a log line as it is.
fn is_plain(id: &HeaderValue) -> bool {
    let bytes = id.as_bytes();
    !bytes.is_empty()
        && bytes.len() <= MAX_REQUEST_ID_CHARS
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

fn new_id() -> HeaderValue {
    HeaderValue::from_str(&Uuid::now_v7().to_string()).expect("a UUID is visible ASCII")
}
