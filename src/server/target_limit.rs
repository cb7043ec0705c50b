//! Request targets and heads have a size that proxies and browsers agree on; beyond it nothing is parsed.

use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::accept::MAX_HEAD_BYTES;
use crate::error::AppError;

/// Path and query may take this many bytes together.
const MAX_TARGET_BYTES: usize = 16 * 1024;

/// Answers 414 to longer targets (RFC 9110 §15.5.15) and 431 to larger fields (RFC 6585 §5).
pub async fn target_limit(request: Request, next: Next) -> Response {
    let target = request.uri().path_and_query();
    if target.is_some_and(|target| target.as_str().len() > MAX_TARGET_BYTES) {
        return AppError::new(
            StatusCode::URI_TOO_LONG,
            "uri_too_long",
            "the request target is too long",
        )
        .into_response();
    }
    // Whom a request is for that names two, each proxy decides for itself (RFC 9112 §3.2).
    if request.headers().get_all(header::HOST).iter().count() > 1 {
        let refused = AppError::bad_request("invalid_request", "the request names several hosts");
        return ([(header::CONNECTION, "close")], refused).into_response();
    }
    if fields_bytes(request.headers()) > MAX_HEAD_BYTES {
        return AppError::new(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "header_fields_too_large",
            "the request's header fields are too large",
        )
        .into_response();
    }
    next.run(request).await
}

/// As the fields stand on the wire: name, colon, space, value, end of line.
fn fields_bytes(headers: &HeaderMap) -> usize {
    headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum()
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::middleware::from_fn;
    use axum::routing::get;
    use tower::ServiceExt as _;

    use super::*;

    const HERE: &str = "/";

    /// RS-2, RS-13: what the HTTP library lets through has these bounds all the same.
    #[tokio::test]
    async fn heads_have_a_size_and_one_host() {
        let router = Router::new()
            .route(HERE, get(async || ()))
            .layer(from_fn(target_limit));
        let status = async |headers: &[(&str, String)]| {
            let mut request = Request::get(HERE);
            for (name, value) in headers {
                request = request.header(*name, value);
            }
            let answer = router.clone().oneshot(request.body(Body::empty()).unwrap());
            answer.await.unwrap().status().as_u16()
        };
        let filler = |bytes: usize| ("x-filler", "A".repeat(bytes));
        assert_eq!(status(&[filler(31 * 1024)]).await, 200);
        assert_eq!(status(&[filler(33 * 1024)]).await, 431);
        assert_eq!(status(&[filler(17 * 1024), filler(17 * 1024)]).await, 431);
        let host = |name: &str| ("host", name.to_owned());
        assert_eq!(status(&[host("op.test")]).await, 200);
        assert_eq!(status(&[host("op.test"), host("op.test")]).await, 400);
    }
}
