//! The parameters of an OAuth request, from the query or from a form body; what is wrong with them is answered in OAuth's
//! own JSON.

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::error::{ErrorBody, OAuthError};
use crate::protocol::params::Params;

/// A form body may have at most this many bytes.
pub const MAX_FORM_BYTES: usize = 64 * 1024;

/// The parameters of a request that may come by GET and by POST. Of a GET, the query; of a POST, query and form together,
/// so that a parameter split over both counts as sent twice.
#[derive(Clone)]
pub struct OAuthParams(pub Params);

/// The parameters of a form body; the query is never read (RFC 6749 §3.2, §2.3.1).
#[derive(Clone)]
pub struct OAuthForm(pub Params);

/// Why there are no parameters.
#[derive(Debug)]
pub enum ParamsRejection {
    /// 400, or what else the error says.
    Refused(OAuthError),
    /// 413.
    TooLarge,
    /// 429.
    Limited(crate::limits::Limited),
}

impl From<OAuthError> for ParamsRejection {
    fn from(error: OAuthError) -> Self {
        Self::Refused(error)
    }
}

impl From<crate::limits::Limited> for ParamsRejection {
    fn from(limited: crate::limits::Limited) -> Self {
        Self::Limited(limited)
    }
}

impl IntoResponse for ParamsRejection {
    fn into_response(self) -> Response {
        match self {
            Self::Refused(error) => error.into_response(),
            Self::Limited(limited) => limited.into_response(),
            Self::TooLarge => {
                let body = ErrorBody {
                    error: "invalid_request",
                    error_description: Some("the request body is too large".into()),
                };
                let mut response = (StatusCode::PAYLOAD_TOO_LARGE, Json(body)).into_response();
                response
                    .headers_mut()
                    .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
                response
            }
        }
    }
}

impl<S: Send + Sync> FromRequest<S> for OAuthParams {
    type Rejection = ParamsRejection;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Self::Rejection> {
        let query = parse(request.uri().query().unwrap_or_default().as_bytes())?;
        if request.method() == Method::POST {
            let form = read_form(request).await?;
            return Ok(Self(query.and(form)));
        }
        Ok(Self(query))
    }
}

impl<S: Send + Sync> FromRequest<S> for OAuthForm {
    type Rejection = ParamsRejection;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Self::Rejection> {
        read_form(request).await.map(Self)
    }
}

/// Whether the body is declared to be a form; parameters of the media type do not matter.
pub(super) fn is_form(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|media_type| {
            media_type
                .trim()
                .eq_ignore_ascii_case("application/x-www-form-urlencoded")
        })
}

async fn read_form(request: Request) -> Result<Params, ParamsRejection> {
    if !is_form(request.headers()) {
        return Err(
            OAuthError::invalid_request("the body has to be application/x-www-form-urlencoded").into(),
        );
    }
    let bytes = read_body(request.into_body()).await?;
    parse(&bytes)
}

/// The whole body, if it is not larger than [`MAX_FORM_BYTES`].
pub(super) async fn read_body(body: Body) -> Result<Bytes, ParamsRejection> {
    match Limited::new(body, MAX_FORM_BYTES).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.downcast_ref::<LengthLimitError>().is_some() => Err(ParamsRejection::TooLarge),
        Err(_) => Err(OAuthError::invalid_request("the request body could not be read").into()),
    }
}

fn parse(urlencoded: &[u8]) -> Result<Params, ParamsRejection> {
    Params::parse(urlencoded).map_err(|refusal| OAuthError::from(refusal).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn post(uri: &str, content_type: Option<&str>, body: impl Into<Body>) -> Request {
        let mut request = axum::http::Request::post(uri);
        if let Some(content_type) = content_type {
            request = request.header(header::CONTENT_TYPE, content_type);
        }
        request.body(body.into()).unwrap()
    }

    const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";

    /// RFC 6749 §3.2: parameters of the token endpoint are in the body alone.
    #[tokio::test]
    async fn a_form_is_read_from_the_body_and_never_from_the_query() {
        let request = post("/?code=query", Some(FORM), "grant_type=x");
        let OAuthForm(params) = OAuthForm::from_request(request, &()).await.ok().unwrap();
        assert_eq!(params.get("grant_type").unwrap(), Some("x"));
        assert_eq!(params.get("code").unwrap(), None);
    }

    #[tokio::test]
    async fn another_media_type_is_refused() {
        for content_type in [
            None,
            Some("application/json"),
            Some("multipart/form-data; boundary=x"),
        ] {
            let refused = OAuthForm::from_request(post("/", content_type, "a=b"), &()).await;
            let status = refused.err().unwrap().into_response().status();
            assert_eq!(status, StatusCode::BAD_REQUEST);
        }
    }

    #[tokio::test]
    async fn a_body_beyond_the_limit_is_413() {
        let fits = format!("a={}", "b".repeat(MAX_FORM_BYTES - 2));
        assert!(
            OAuthForm::from_request(post("/", Some(FORM), fits.clone()), &())
                .await
                .is_ok()
        );
        let refused = OAuthForm::from_request(post("/", Some(FORM), fits + "b"), &()).await;
        let status = refused.err().unwrap().into_response().status();
        assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    }

    /// RFC 6749 §3.1: a parameter must not be included more than once, split over query and body neither.
    #[tokio::test]
    async fn a_parameter_in_query_and_body_counts_as_sent_twice() {
        let request = post("/?state=1", Some(FORM), "state=1");
        let OAuthParams(params) = OAuthParams::from_request(request, &()).await.ok().unwrap();
        assert!(params.get("state").is_err());
    }
}
