//! How many requests are worked on at once, and for how long: beyond that they are turned away instead of waiting without end.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hyper::body::{Frame, SizeHint};
use tokio::sync::Semaphore;

use super::accept::{Share, Source, Sources};
use crate::error::AppError;
use crate::http::client_ip::{AddressRule, ClientIp};
use crate::metrics::Metrics;
use crate::patience::{Patience, StandingStill};

/// More than this many at once could only wait for each other.
pub const MAX_IN_FLIGHT: usize = 1024;
/// Of these, the most for one source: who sends bodies byte by byte leaves room for others.
pub const SHARE_IN_FLIGHT: Share = Share {
    of_prefix: 256,
    of_site: 512,
};
/// From the head of a request to the head of its answer.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Of this, what we and the database may take, at least.
const WORK_TIMEOUT: Duration = Duration::from_secs(5);
/// What is left for statements when the wait for a connection was as long as it may be.
const AFTER_ACQUIRE: Duration = Duration::from_secs(2);

/// How long a request may take without counting what it waits for elsewhere. `acquire_timeout`: for a connection of the pool.
pub fn work_timeout(acquire_timeout: Duration) -> Duration {
    WORK_TIMEOUT.max(acquire_timeout + AFTER_ACQUIRE)
}

/// The bounds of one server.
#[derive(Clone)]
pub struct InFlight {
    slots: Arc<Semaphore>,
    timeout: Duration,
    work_timeout: Duration,
    metrics: Metrics,
    sources: Sources,
    share: Share,
    addresses: AddressRule,
}

impl InFlight {
    /// At most `max` requests at once, of them `share` of one source, each for at most `timeout`. `addresses`: whose word about a
    /// client's address is believed.
    pub fn new(
        max: usize,
        share: Share,
        timeout: Duration,
        addresses: AddressRule,
        metrics: Metrics,
    ) -> Self {
        Self {
            slots: Arc::new(Semaphore::new(max)),
            timeout,
            work_timeout: timeout,
            metrics,
            sources: Sources::default(),
            share,
            addresses,
        }
    }

    /// The same with this long for what we do ourselves and the database does.
    #[must_use]
    pub fn with_work_timeout(self, work_timeout: Duration) -> Self {
        Self { work_timeout, ..self }
    }

    /// The place of this request among those of its source; `None`: they are too many.
    fn place(&self, request: &Request) -> Option<Source> {
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
        let peer = peer.map(|ConnectInfo(peer)| peer.ip());
        let ClientIp(address) = self.addresses.client_ip(request.headers(), peer);
        self.sources.admit(address, Some(self.share))
    }
}

/// Answers 503 to a request beyond the bound. One that takes too long is cut off: with 408 if it was its client who kept the
/// handler waiting for the body (RFC 9110 §15.5.9), with 503 if it was us.
pub async fn in_flight(State(bounds): State<InFlight>, request: Request, next: Next) -> Response {
    let Ok(_slot) = bounds.slots.try_acquire() else {
        bounds.metrics.request_shed();
        return unavailable();
    };
    let Some(_place) = bounds.place(&request) else {
        bounds.metrics.request_shed();
        return unavailable();
    };
    let waits_for_client = Arc::new(AtomicBool::new(false));
    let body_waits = Arc::clone(&waits_for_client);
    let patience = Patience::new(bounds.work_timeout);
    let body_patience = patience.clone();
    let request = request.map(|inner| {
        Body::new(Watched {
            inner,
            waits: body_waits,
            patience: body_patience,
            standing: None,
        })
    });
    match tokio::time::timeout(bounds.timeout, patience.bound(next.run(request))).await {
        Ok(Some(response)) => return response,
        Ok(None) => {
            bounds.metrics.request_timed_out();
            tracing::warn!(
                event = "request.given_up",
                "a request was given up: what it needed of the database and of this machine did not come in time"
            );
            return unavailable();
        }
        Err(_) => bounds.metrics.request_timed_out(),
    }
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
    patience: Patience,
    /// While somebody waits: that is the client's time.
    standing: Option<StandingStill>,
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
        if polled.is_ready() {
            self.standing = None;
        } else if self.standing.is_none() {
            self.standing = Some(self.patience.stand_still());
        }
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
    use crate::metrics::Asked;

    const HANG: &str = "/hang";
    const READ: &str = "/read";
    const SOON: Duration = Duration::from_millis(50);
    const TWO: Share = Share {
        of_prefix: 2,
        of_site: 3,
    };
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
                InFlight::new(max, TWO, timeout, AddressRule::default(), Metrics::default()),
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
    async fn one_source_does_not_take_every_place() {
        let enter = Arc::new(Notify::new());
        let router = router(3, NEVER, &enter);
        let from = |address: &str, path: &str| {
            let mut request = request("GET", path, Body::empty());
            let peer: SocketAddr = address.parse().unwrap();
            request.extensions_mut().insert(ConnectInfo(peer));
            request
        };
        for _ in 0..2 {
            tokio::spawn(router.clone().oneshot(from("192.0.2.1:1", HANG)));
            enter.notified().await;
        }
        let third = router.clone().oneshot(from("192.0.2.1:2", HANG)).await.unwrap();
        assert_eq!(third.status(), StatusCode::SERVICE_UNAVAILABLE);
        let other = tokio::spawn(router.oneshot(from("192.0.2.2:1", HANG)));
        enter.notified().await;
        other.abort();
    }

    /// Who was given an IPv6 /48 has thousands of sources, and takes no more places than one larger source may.
    #[tokio::test]
    async fn a_delegated_prefix_does_not_take_every_place() {
        let enter = Arc::new(Notify::new());
        let router = router(8, NEVER, &enter);
        let from = |address: String| {
            let mut request = request("GET", HANG, Body::empty());
            let peer: SocketAddr = address.parse().unwrap();
            request.extensions_mut().insert(ConnectInfo(peer));
            request
        };
        for subnet in 1..=3 {
            tokio::spawn(
                router
                    .clone()
                    .oneshot(from(format!("[2001:db8:1:{subnet}::1]:1"))),
            );
            enter.notified().await;
        }
        let fourth = router
            .clone()
            .oneshot(from("[2001:db8:1:4::1]:1".to_owned()))
            .await
            .unwrap();
        assert_eq!(fourth.status(), StatusCode::SERVICE_UNAVAILABLE);
        let neighbour = tokio::spawn(router.oneshot(from("[2001:db8:2:1::1]:1".to_owned())));
        enter.notified().await;
        neighbour.abort();
    }

    #[tokio::test]
    async fn a_handler_that_takes_too_long_is_our_fault() {
        let router = router(1, SOON, &Arc::default());
        let cut = router.oneshot(request("GET", HANG, Body::empty())).await.unwrap();
        assert_eq!(cut.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(cut.headers()[header::RETRY_AFTER], "1");
    }

    /// RS-8: what we may take ourselves is less than what a client may with its body.
    #[tokio::test]
    async fn our_own_part_has_a_nearer_end_than_the_clients() {
        let bounds = InFlight::new(2, TWO, SOON * 4, AddressRule::default(), Metrics::default());
        let bounds = bounds.with_work_timeout(SOON);
        let router = Router::new()
            .route(HANG, get(std::future::pending::<()>))
            .route(READ, post(async |body: String| body))
            .layer(from_fn_with_state(bounds.clone(), in_flight));
        let started = std::time::Instant::now();
        let cut = router.clone().oneshot(request("GET", HANG, Body::empty()));
        assert_eq!(cut.await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(started.elapsed() < SOON * 4, "{:?}", started.elapsed());
        let cut = router.oneshot(request("POST", READ, Body::new(Silent)));
        assert_eq!(cut.await.unwrap().status(), StatusCode::REQUEST_TIMEOUT);
        let counted = bounds.metrics.render(&Asked::default());
        assert!(
            counted.contains("\nriley_auth_request_timeouts_total 2\n"),
            "{counted}"
        );
    }

    /// RS-1, RS-5: the numbers of production.
    #[test]
    fn requests_are_bounded_as_documented() {
        assert_eq!(MAX_IN_FLIGHT, 1024);
        let share = (SHARE_IN_FLIGHT.of_prefix, SHARE_IN_FLIGHT.of_site);
        assert_eq!(share, (256, 512));
        assert_eq!(REQUEST_TIMEOUT, Duration::from_secs(30));
    }

    #[test]
    fn an_outage_is_answered_within_five_seconds_with_the_default_of_the_pool() {
        assert_eq!(work_timeout(Duration::from_secs(3)), Duration::from_secs(5));
        assert_eq!(work_timeout(Duration::from_secs(1)), Duration::from_secs(5));
        assert_eq!(work_timeout(Duration::from_secs(10)), Duration::from_secs(12));
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
