//! How many requests are worked on at once, and for how long: beyond that they are turned away instead of waiting without end.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hyper::body::{Frame, SizeHint};
use tokio::sync::Semaphore;

use crate::error::AppError;
use crate::metrics::Metrics;

/// More than this many at once could only wait for each other.
pub const MAX_IN_FLIGHT: usize = 1024;
/// From the head of a request to the head of its answer.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// The bounds of one server.
#[derive(Clone)]
pub struct InFlight {
    slots: Arc<Semaphore>,
    timeout: Duration,
    metrics: Metrics,
}

impl InFlight {
    /// At most `max` requests at once, each for at most `timeout`.
    pub fn new(max: usize, timeout: Duration, metrics: Metrics) -> Self {
        Self {
            slots: Arc::new(Semaphore::new(max)),
            timeout,
            metrics,
        }
    }
}

/// Answers 503 to a request beyond the bound. One that takes too long is cut off: with 408 if it was its client who kept the
/// handler waiting for the body (RFC 9110 §15.5.9), with 503 if it was us.
pub async fn in_flight(State(bounds): State<InFlight>, request: Request, next: Next) -> Response {
    let Ok(_slot) = bounds.slots.try_acquire() else {
        bounds.metrics.request_shed();
        return unavailable();
    };
    let waits_for_client = Arc::new(AtomicBool::new(false));
    let body_waits = Arc::clone(&waits_for_client);
    let request = request.map(|inner| {
        Body::new(Watched {
            inner,
            waits: body_waits,
        })
    });
    if let Ok(response) = tokio::time::timeout(bounds.timeout, next.run(request)).await {
        return response;
    }
    bounds.metrics.request_timed_out();
    if waits_for_client.load(Ordering::Relaxed) {
        let mut response = AppError::new(
            StatusCode::REQUEST_TIMEOUT,
            "request_timeout",
            "the request body took too long to arrive",
        )
        .into_response();
        // What of the body is still to come is of no interest.
        response
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
        return response;
    }
    unavailable()
}

fn unavailable() -> Response {
    AppError::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "temporarily_unavailable",
        "try again in a moment",
    )
    .into_response()
}

/// A request body that notes whether somebody waits for more of it.
struct Watched {
    inner: Body,
    waits: Arc<AtomicBool>,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        self.waits.store(polled.is_pending(), Ordering::Relaxed);
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::middleware::from_fn_with_state;
    use axum::routing::{get, post};
    use tokio::sync::Notify;
    use tower::ServiceExt as _;

    use super::*;

    const HANG: &str = "/hang";
    const READ: &str = "/read";
    const SOON: Duration = Duration::from_millis(50);
    const NEVER: Duration = Duration::from_hours(1);

    fn router(max: usize, timeout: Duration, enter: &Arc<Notify>) -> Router {
        let enter = Arc::clone(enter);
        let hang = async move || {
            enter.notify_one();
            std::future::pending::<()>().await;
        };
        Router::new()
            .route(HANG, get(hang))
            .route(READ, post(async |body: String| body))
            .layer(from_fn_with_state(
                InFlight::new(max, timeout, Metrics::default()),
                in_flight,
            ))
    }

    fn request(method: &str, path: &str, body: Body) -> Request {
        Request::builder().method(method).uri(path).body(body).unwrap()
    }

    #[tokio::test]
    async fn beyond_the_bound_a_request_is_turned_away_until_another_ends() {
        let enter = Arc::new(Notify::new());
        let router = router(1, NEVER, &enter);
        let first = tokio::spawn(router.clone().oneshot(request("GET", HANG, Body::empty())));
        enter.notified().await;
        let shed = router
            .clone()
            .oneshot(request("POST", READ, "a".into()))
            .await
            .unwrap();
        assert_eq!(shed.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(shed.headers()[header::RETRY_AFTER], "1");
        // A client that hangs up makes room, too.
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());
        let served = router.oneshot(request("POST", READ, "a".into())).await.unwrap();
        assert_eq!(served.status(), StatusCode::OK);
    }

    #[tokio::test]
    async fn a_handler_that_takes_too_long_is_our_fault() {
        let router = router(1, SOON, &Arc::default());
        let cut = router.oneshot(request("GET", HANG, Body::empty())).await.unwrap();
        assert_eq!(cut.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(cut.headers()[header::RETRY_AFTER], "1");
    }

    #[tokio::test]
    async fn a_body_that_never_comes_is_the_clients() {
        let router = router(1, SOON, &Arc::default());
        let body = Body::new(Silent);
        let cut = router.oneshot(request("POST", READ, body)).await.unwrap();
        assert_eq!(cut.status(), StatusCode::REQUEST_TIMEOUT);
        assert_eq!(cut.headers()[header::CONNECTION], "close");
    }

    struct Silent;

    impl HttpBody for Silent {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            Poll::Pending
        }
    }
}
