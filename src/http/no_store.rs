//! Answers that no cache may keep.

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};

/// A response with `Cache-Control: no-store` and `Pragma: no-cache` (RFC 6749 §5.1).
#[derive(Debug)]
pub struct NoStore<T>(pub T);

impl<T: IntoResponse> IntoResponse for NoStore<T> {
    fn into_response(self) -> Response {
        let mut response = self.0.into_response();
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
        response
    }
}
