//! A JSON body as the account and administration endpoints take it: one object under JSON's own name, no unknown members.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::AppError;

/// The object, read into `T`. What unknown members come to is `T`'s to say (`deny_unknown_fields`); one that stands there
/// twice is refused. Take it last: whoever may not ask at all is refused before anything is read.
#[derive(Clone, Copy, Debug)]
pub struct JsonBody<T>(pub T);

impl<S, T> FromRequest<S> for JsonBody<T>
where
    S: Send + Sync,
    T: DeserializeOwned,
{
    type Rejection = AppError;

    async fn from_request(request: Request, state: &S) -> Result<Self, Self::Rejection> {
        require_json(request.headers())?;
        let body = Bytes::from_request(request, state).await.map_err(|rejection| {
            if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
                AppError::new(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "payload_too_large",
                    "the body is too large",
                )
            } else {
                malformed()
            }
        })?;
        read(&body).map_err(|Malformed| malformed()).map(Self)
    }
}

/// The object of a body that a handler has read already. `expected`: what to send instead, in words.
pub fn object<T: DeserializeOwned>(
    headers: &HeaderMap,
    body: &[u8],
    expected: &'static str,
) -> Result<T, AppError> {
    require_json(headers)?;
    read(body).map_err(|Malformed| AppError::bad_request("invalid_request", expected))
}

/// What is no object of the documented form.
#[derive(Debug)]
struct Malformed;

/// An object and nothing else: a derived reader would take an array for the members in order.
fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Malformed> {
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(Malformed);
    }
    // PostgreSQL holds no NUL, neither in text nor in JSON.
    let value: Value = serde_json::from_slice(body).map_err(|_| Malformed)?;
    if has_nul(&value) {
        return Err(Malformed);
    }
    // From the bytes, not from `value`, which has forgotten that a member stood there twice.
    serde_json::from_slice(body).map_err(|_| Malformed)
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

/// A form of a foreign page can send JSON as text, but not under JSON's own name.
fn require_json(headers: &HeaderMap) -> Result<(), AppError> {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let essence = values
        .next()
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next());
    if values.next().is_none()
        && essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
    {
        return Ok(());
    }
    Err(AppError::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "unsupported_media_type",
        "send the body as application/json",
    ))
}

fn malformed() -> AppError {
    AppError::bad_request(
        "invalid_request",
        "send a JSON object with the documented members and no others, each of its documented type",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body {
        name: String,
    }

    #[test]
    fn only_an_object_with_the_known_members_once_is_a_body() {
        assert!(read::<Body>(br#" {"name":"ada"}"#).is_ok_and(|body| body.name == "ada"));
        for body in [
            "",
            "null",
            "\"ada\"",
            r#"["ada"]"#,
            "{}",
            r#"{"name":1}"#,
            r#"{"name":"ada","role":"admin"}"#,
            r#"{"name":"ada","name":"bob"}"#,
            r#"{"name":"\ud800"}"#,
            r#"{"name":"ada\u0000"}"#,
            r#"{"name":"ada"} {}"#,
        ] {
            assert!(read::<Body>(body.as_bytes()).is_err(), "{body}");
        }
        assert!(read::<Body>(b"{\"name\":\"\xff\"}").is_err());
    }

    /// RS-2: the reader gives up long before a stack would end; nothing that is documented comes near.
    #[test]
    fn json_that_is_nested_too_deeply_is_no_body() {
        let nested = |depth: usize| format!("{{\"name\":{}1{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(read::<Value>(nested(100).as_bytes()).is_ok());
        for depth in [128, 1000, 30_000] {
            assert!(read::<Value>(nested(depth).as_bytes()).is_err(), "{depth}");
        }
    }

    #[test]
    fn the_body_bears_its_own_name() {
        let judge = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::CONTENT_TYPE, value.parse().unwrap());
            }
            require_json(&headers).is_ok()
        };
        assert!(judge(&["application/json"]) && judge(&["Application/JSON; charset=utf-8"]));
        assert!(!judge(&[]) && !judge(&["text/plain"]) && !judge(&["application/jsonp"]));
        assert!(!judge(&["application/json", "text/plain"]));
    }
}
