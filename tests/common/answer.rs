//! An HTTP answer, and what is asserted of it.

use reqwest::header::HeaderMap;
use reqwest::{RequestBuilder, StatusCode};
use serde_json::Value;

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

/// What the token endpoint gave.
#[derive(Clone, Debug)]
pub(crate) struct Tokens {
    pub(crate) access_token: String,
    pub(crate) refresh_token: Option<String>,
    pub(crate) id_token: Option<String>,
    pub(crate) scope: String,
    pub(crate) json: Value,
}

impl Tokens {
    /// The refresh token, where one has to be.
    pub(crate) fn refresh(&self) -> &str {
        self.refresh_token.as_deref().expect("there is a refresh token")
    }

    /// The ID token, where one has to be.
    pub(crate) fn id(&self) -> &str {
        self.id_token.as_deref().expect("there is an ID token")
    }
}

impl Answer {
    pub(crate) async fn of(request: RequestBuilder) -> Self {
        Self::read(request.send().await.expect("the server answers")).await
    }

    pub(crate) async fn read(response: reqwest::Response) -> Self {
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.expect("the answer can be read");
        Self {
            status,
            headers,
            text,
        }
    }

    /// A header field that is there once or not at all.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next()?.to_str().expect("the header is text");
        assert!(values.next().is_none(), "{name} is sent once");
        Some(value)
    }

    /// The body as JSON; its type has to say so.
    pub(crate) fn json(&self) -> Value {
        let content_type = self.header("content-type").unwrap_or_default();
        assert!(
            content_type.starts_with("application/json"),
            "{} {content_type:?}: {}",
            self.status,
            self.text
        );
        serde_json::from_str(&self.text).expect("the body is JSON")
    }

    /// A success of the token endpoint (RFC 6749 §5.1).
    #[track_caller]
    pub(crate) fn tokens(&self) -> Tokens {
        assert_eq!(self.status, StatusCode::OK, "{}", self.text);
        self.is_not_stored();
        let json = self.json();
        let text = |name: &str| json[name].as_str().map(str::to_owned);
        assert_eq!(text("token_type").unwrap().to_ascii_lowercase(), "bearer");
        Tokens {
            access_token: text("access_token").expect("there is an access token"),
            refresh_token: text("refresh_token"),
            id_token: text("id_token"),
            scope: text("scope").unwrap_or_default(),
            json,
        }
    }

    /// A refusal by 400 (401 for `invalid_client`) with this code, shaped as RFC 6749 §5.2 says.
    #[track_caller]
    pub(crate) fn refused(&self, error: &str) {
        let status = if error == "invalid_client" { 401 } else { 400 };
        self.refused_with(status, error);
    }

    #[track_caller]
    pub(crate) fn refused_with(&self, status: u16, error: &str) {
        assert_eq!(
            (self.status.as_u16(), self.json()["error"].as_str()),
            (status, Some(error)),
            "{}",
            self.text
        );
        self.is_not_stored();
        let json = self.json();
        let known = ["error", "error_description", "error_uri"];
        assert!(
            json.as_object()
                .unwrap()
                .keys()
                .all(|key| known.contains(&key.as_str())),
            "{json}"
        );
        if let Some(description) = json["error_description"].as_str() {
            super::checks::description_is_legal(description);
        }
    }

    /// Nobody may keep a copy.
    #[track_caller]
    pub(crate) fn is_not_stored(&self) {
        let cache_control = self.header("cache-control").unwrap_or_default();
        assert!(
            cache_control.contains("no-store"),
            "Cache-Control: {cache_control:?}"
        );
    }

    /// The body, given this status.
    #[track_caller]
    pub(crate) fn is(&self, status: u16) -> &Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        self
    }

    /// A refusal of any kind that is the caller's doing.
    #[track_caller]
    pub(crate) fn is_client_error(&self) {
        assert!(self.status.is_client_error(), "{}: {}", self.status, self.text);
    }
}
