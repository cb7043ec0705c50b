//! One shape of errors: what the framework says in plain text is said as JSON.
//!
//! Nothing of ours answers in plain text, so a plain-text error comes from an extractor or a layer.

use axum::Json;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::error::{AppError, ErrorBody};

/// Rewrites the framework's own errors.
pub async fn error_shape(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let status = response.status();
    if !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let content_type = response
        .headers()
        .get(header::CONTENT_TYPE)
        .map(header::HeaderValue::as_bytes);
    if content_type.is_some_and(|value| !value.starts_with(b"text/plain")) {
        return response;
    }
    let (code, description) = words(status);
    let body = ErrorBody {
        error: code,
        error_description: Some(description.into()),
    };
    let (parts, _) = response.into_parts();
    let mut shaped = (status, Json(body)).into_response();
    for (name, value) in &parts.headers {
        if *name != header::CONTENT_TYPE && *name != header::CONTENT_LENGTH {
            shaped.headers_mut().append(name, value.clone());
        }
    }
    shaped
}

fn words(status: StatusCode) -> (&'static str, &'static str) {
    match status {
        StatusCode::NOT_FOUND => ("not_found", "there is nothing here"),
        StatusCode::METHOD_NOT_ALLOWED => ("method_not_allowed", "this method is not offered here"),
        StatusCode::PAYLOAD_TOO_LARGE => ("payload_too_large", "the request body is too large"),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => {
            ("unsupported_media_type", "this content type is not accepted here")
        }
        StatusCode::SERVICE_UNAVAILABLE => ("temporarily_unavailable", "try again in a moment"),
        status if status.is_client_error() => ("invalid_request", "the request cannot be read"),
        _ => ("server_error", "the request could not be answered"),
    }
}

/// An unknown path.
pub async fn not_found() -> AppError {
    AppError::not_found()
}

/// A known path, another method; the router adds `Allow`.
pub async fn method_not_allowed() -> AppError {
    AppError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "this method is not offered here",
    )
}
