//! What a refused request still has to say is heard out, so that whoever sends it hears the refusal.
//!
//! A socket that is closed with unread bytes is reset, and a reset overtakes the answer: a proxy tells its client 502 where we
//! said 413. So the rest of a body that nobody read is read and thrown away first, within bounds.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use http_body_util::BodyExt as _;
use hyper::body::{Frame, SizeHint};
use tokio::sync::oneshot;

/// Beyond this the sender is cut off.
const MAX_LEFTOVER_BYTES: usize = 1024 * 1024;
/// For how long the answer is held back.
const MAX_HOLD: Duration = Duration::from_secs(1);

/// Holds a refusal back until the body has arrived.
pub async fn leftover_body(request: Request, next: Next) -> Response {
    // Whoever waits to be told to go on has not sent the body, and will not.
    if request.body().is_end_stream() || request.headers().contains_key(header::EXPECT) {
        return next.run(request).await;
    }
    let (sender, mut leftover) = oneshot::channel();
    let request = request.map(|body| {
        Body::new(Returned {
            body: Some(body),
            sender: Some(sender),
        })
    });
    let response = next.run(request).await;
    // One that was too slow has been waited for long enough. Whoever is turned away because of the load has not been read.
    let status = response.status();
    let is_refused = status.is_client_error() && status != StatusCode::REQUEST_TIMEOUT
        || status == StatusCode::SERVICE_UNAVAILABLE;
    if is_refused && let Ok(body) = leftover.try_recv() {
        let _ = tokio::time::timeout(MAX_HOLD, throw_away(body)).await;
    }
    response
}

async fn throw_away(mut body: Body) {
    let mut left = MAX_LEFTOVER_BYTES;
    while let Some(Ok(frame)) = body.frame().await {
        let length = frame.data_ref().map_or(0, Bytes::len);
        match left.checked_sub(length) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

/// A body that comes back when whoever reads it has had enough.
struct Returned {
    body: Option<Body>,
    sender: Option<oneshot::Sender<Body>>,
}

impl HttpBody for Returned {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_ref()
            .map_or_else(SizeHint::default, HttpBody::size_hint)
    }
}

impl Drop for Returned {
    fn drop(&mut self) {
        if let (Some(body), Some(sender)) = (self.body.take(), self.sender.take()) {
            // Nobody waits for it any more if the request is over.
            let _ = sender.send(body);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::Router;
    use axum::middleware::{from_fn, from_fn_with_state};
    use axum::routing::post;
    use tower::ServiceExt as _;

    use super::*;
    use crate::http::client_ip::AddressRule;
    use crate::metrics::{Asked, Metrics};
    use crate::server::accept::Share;
    use crate::server::in_flight::{InFlight, in_flight};

    const HERE: &str = "/";

    /// A body that arrives in pieces, and counts those that are taken.
    struct Arriving(Arc<AtomicUsize>);

    impl HttpBody for Arriving {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            let taken = self.0.fetch_add(1, Ordering::SeqCst);
            Poll::Ready((taken < 8).then(|| Ok(Frame::data(Bytes::from_static(b"0123456789")))))
        }
    }

    /// Whoever is shed before the body was read hears so, and nothing of a broken connection.
    #[tokio::test]
    async fn a_request_that_is_shed_is_heard_out() {
        let share = Share {
            of_prefix: 1,
            of_site: 1,
        };
        let metrics = Metrics::default();
        let none = InFlight::new(
            0,
            share,
            Duration::from_secs(9),
            AddressRule::default(),
            metrics.clone(),
        );
        let router = Router::new()
            .route(HERE, post(async |body: String| body))
            .layer(from_fn_with_state(none, in_flight))
            .layer(from_fn(leftover_body));
        let taken = Arc::new(AtomicUsize::new(0));
        let request = axum::http::Request::post(HERE)
            .body(Body::new(Arriving(Arc::clone(&taken))))
            .unwrap();
        let shed = router.oneshot(request).await.unwrap();
        assert_eq!(shed.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(taken.load(Ordering::SeqCst), 9, "the body was read to its end");
        let counted = metrics.render(&Asked::default());
        assert!(
            counted.contains("\nriley_auth_requests_shed_total 1\n"),
            "{counted}"
        );
    }
}
