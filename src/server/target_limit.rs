//! Request targets and heads have a size that proxies and browsers agree on; beyond it nothing is parsed.

use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
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
