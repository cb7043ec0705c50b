//! The JSON that a page sends: one object, under JSON's own content type, with nothing in it that nobody asked for.

use axum::http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;

use crate::error::AppError;

/// Reads an object. `expected`: what to send instead, in words.
pub fn read<T: DeserializeOwned>(
    headers: &HeaderMap,
    body: &[u8],
    expected: &'static str,
) -> Result<T, AppError> {
    if !is_json(headers) {
        return Err(AppError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            "send JSON with its content type",
        ));
    }
    let malformed = || AppError::bad_request("invalid_request", expected);
    // An object and nothing else: a derived reader would take an array for the members in order.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(malformed());
    }
    serde_json::from_slice(body).map_err(|_| malformed())
}

/// The same, where nothing may be sent, too.
pub fn read_or_default<T: DeserializeOwned + Default>(
    headers: &HeaderMap,
    body: &[u8],
    expected: &'static str,
) -> Result<T, AppError> {
    if body.is_empty() {
        return Ok(T::default());
    }
    read(headers, body, expected)
}

/// A form of a foreign page can send JSON as text, but not under JSON's own name.
fn is_json(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}
