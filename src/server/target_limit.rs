//! Request targets and heads have a size that proxies and browsers agree on, and name one host; beyond that nothing is parsed.

use axum::extract::Request;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, Version, header};
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
    if let Err(problem) = one_host(request.version(), request.headers()) {
        let refused = AppError::bad_request("invalid_request", problem);
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

/// Whom a request is for that names two hosts, none, or what is no host, each proxy decides for itself; so it is for nobody
/// (RFC 9112 §3.2), also where the target names one. HTTP/1.0 had no `Host`.
fn one_host(version: Version, headers: &HeaderMap) -> Result<(), &'static str> {
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(_), Some(_)) => Err("the request names several hosts"),
        (None, _) if version == Version::HTTP_11 => Err("the request names no host"),
        (None, _) => Ok(()),
        (Some(host), None) if is_host(host.as_bytes()) => Ok(()),
        (Some(_), None) => Err("what the request names is no host"),
    }
}

/// `uri-host [ ":" port ]` (RFC 9110 §7.2), or nothing, where the target has no authority.
fn is_host(host: &[u8]) -> bool {
    host.is_empty() || !host.contains(&b'@') && Authority::try_from(host).is_ok()
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
        let answered = async |version: Version, target: &str, headers: &[(&str, String)]| {
            let mut request = Request::get(target).version(version);
            for (name, value) in headers {
                request = request.header(*name, value);
            }
            let answer = router.clone().oneshot(request.body(Body::empty()).unwrap());
            answer.await.unwrap().status().as_u16()
        };
        let status = async |headers: &[(&str, String)]| answered(Version::HTTP_11, HERE, headers).await;
        let host = |name: &str| ("host", name.to_owned());
        let filler = |bytes: usize| ("x-filler", "A".repeat(bytes));
        assert_eq!(status(&[host("op.test"), filler(31 * 1024)]).await, 200);
        assert_eq!(status(&[host("op.test"), filler(33 * 1024)]).await, 431);
        let halves = [host("op.test"), filler(17 * 1024), filler(17 * 1024)];
        assert_eq!(status(&halves).await, 431);
        assert_eq!(status(&[host("op.test"), host("op.test")]).await, 400);
        // Also where the target names one itself.
        assert_eq!(status(&[]).await, 400);
        assert_eq!(answered(Version::HTTP_11, "http://op.test/", &[]).await, 400);
        assert_eq!(answered(Version::HTTP_10, HERE, &[]).await, 200);
        assert_eq!(answered(Version::HTTP_2, "http://op.test/", &[]).await, 200);
        for good in ["", "op.test:8081", "[::1]:8081", "127.0.0.1", "riley_auth-1:8081"] {
            assert_eq!(status(&[host(good)]).await, 200, "{good}");
        }
        for bad in [
            "op.test/",
            "op.test, evil.test",
            "somebody@op.test",
            "op test",
            "http://op.test",
        ] {
            assert_eq!(status(&[host(bad)]).await, 400, "{bad}");
        }
    }
}
