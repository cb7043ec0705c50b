//! JSON bodies of the administration: an object, sent as JSON, with known members and no NUL anywhere.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::AppError;

/// A body that was read as a `T`. Which members there are is said by `T`, which denies unknown ones.
#[derive(Clone, Debug)]
pub struct JsonBody<T>(pub T);

impl<T, S> FromRequest<S> for JsonBody<T>
where
    T: DeserializeOwned,
    S: Send + Sync,
{
    type Rejection = AppError;

    async fn from_request(request: Request, state: &S) -> Result<Self, Self::Rejection> {
        require_json(request.headers())?;
        let body = Bytes::from_request(request, state)
            .await
            .map_err(|rejection| unreadable(rejection.status()))?;
        read(&body).map(Self)
    }
}

fn unreadable(status: StatusCode) -> AppError {
    if status == StatusCode::PAYLOAD_TOO_LARGE {
        AppError::new(status, "payload_too_large", "the request body is too large")
    } else {
        AppError::bad_request("invalid_request", "the request body cannot be read")
    }
}

/// A form of a foreign page can send JSON as text, but not under JSON's own name.
fn require_json(headers: &HeaderMap) -> Result<(), AppError> {
    let essence = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next());
    if essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json")) {
        return Ok(());
    }
    Err(AppError::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "unsupported_media_type",
        "send JSON with its content type",
    ))
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, AppError> {
    let malformed = || {
        AppError::bad_request(
            "invalid_request",
            "send a JSON object with the documented members, each once and of its type",
        )
    };
    // An object and nothing else: a derived reader would take an array for the members in order.
    let value: Value = serde_json::from_slice(body).map_err(|_| malformed())?;
    if !value.is_object() {
        return Err(malformed());
    }
    // PostgreSQL holds no NUL, neither in text nor in JSON.
    if has_nul(&value) {
        return Err(AppError::bad_request(
            "invalid_request",
            "the body has a NUL character",
        ));
    }
    // From the bytes, not from `value`, which has forgotten that a member stood there twice.
    serde_json::from_slice(body).map_err(|_| malformed())
}

fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(members) => members
            .iter()
            .any(|(name, member)| name.contains('\0') || has_nul(member)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Named {
        name: String,
        more: Option<Value>,
    }

    #[test]
    fn only_an_object_of_known_members_is_read() {
        assert_eq!(read::<Named>(br#"{"name":"a"}"#).unwrap().name, "a");
        for body in [
            "",
            "null",
            "[\"a\"]",
            "\"a\"",
            r#"{"name":"a","role":"admin"}"#,
            r#"{"name":"a","name":"b"}"#,
            r#"{"name":["a"]}"#,
            r#"{"name":null}"#,
            r#"{"name":"\ud800"}"#,
        ] {
            assert!(read::<Named>(body.as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn nul_is_refused_wherever_it_hides() {
        for body in [
            r#"{"name":"a\u0000"}"#,
            r#"{"name":"a","more":{"x":["\u0000"]}}"#,
            r#"{"name":"a","more":{"\u0000":1}}"#,
        ] {
            assert!(read::<Named>(body.as_bytes()).is_err(), "{body}");
        }
        // A backslash and four digits are no NUL.
        assert!(read::<Named>(br#"{"name":"a\\u0000"}"#).is_ok());
    }
}
