//! Request targets have a length that proxies and browsers agree on; beyond it nothing is parsed.

use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::error::AppError;

/// Path and query may take this many bytes together.
const MAX_TARGET_BYTES: usize = 16 * 1024;

/// Answers 414 to longer ones (RFC 9110 §15.5.15).
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
    next.run(request).await
}
