//! Counts every request with its route's template. It stands outside of the layers that answer in a handler's place (panics,
//! time-outs, limits), so that what they answer is counted as well.

use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;

use crate::http::state::AppState;
use crate::metrics::Metrics;

/// No registered status says that nobody waits for the answer any more; proxies write this number.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// Counts the request and the time until its answer's head is there.
pub async fn http_metrics(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let mut counted = Counted {
        metrics: state.metrics.clone(),
        method: request.method().clone(),
        route: request.extensions().get::<MatchedPath>().cloned(),
        started: Instant::now(),
        status: StatusCode::from_u16(CLIENT_CLOSED_REQUEST).expect("three digits are a status"),
    };
    let response = next.run(request).await;
    counted.status = response.status();
    response
}

/// A request under way. It is counted when it goes: with its answer, or when the client hangs up and the handler is dropped.
struct Counted {
    metrics: Metrics,
    method: Method,
    route: Option<MatchedPath>,
    started: Instant,
    status: StatusCode,
}

impl Drop for Counted {
    fn drop(&mut self) {
        let route = self.route.as_ref().map(MatchedPath::as_str);
        self.metrics
            .http_request(&self.method, route, self.status, self.started.elapsed());
    }
}
