//! Errors, by audience: clients get OAuth JSON or a redirect, resource access gets `WWW-Authenticate`, people get a page or
//! plain JSON, operators get the chain of causes.
//!
//! Nothing that a caller sent is repeated. A failure of ours is logged once, here, where the response is made.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::limits::Limited;
pub use crate::protocol::authorization::{OAuthErrorCode, OAuthRefusal};

/// Seconds after which a client may try again when a dependency is down.
const RETRY_AFTER_SECS: &str = "1";

/// The error shape of every JSON answer that is not OAuth's own: the same two members.
#[derive(Debug, Serialize, ToSchema)]
pub struct ErrorBody {
    /// A fixed code for programs.
    pub error: &'static str,
    /// A sentence for developers.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub error_description: Option<std::borrow::Cow<'static, str>>,
}

/// An error for an OAuth client that is talked to directly (RFC 6749 §5.2).
#[derive(Debug)]
pub struct OAuthError {
    pub refusal: OAuthRefusal,
    /// The client tried HTTP Basic, so a 401 names that scheme.
    pub basic_was_tried: bool,
    /// Why, for the log alone.
    pub source: Option<anyhow::Error>,
}

/// Why a bearer token does not open a resource (RFC 6750 §3.1).
#[derive(Debug)]
pub enum BearerError {
    /// No token was sent: no error code.
    Missing,
    /// The request carries its token in an inadmissible way, or more than once: `invalid_request`.
    BadRequest(&'static str),
    /// The form body is too large: `invalid_request`.
    TooLarge,
    Expired,
    Invalid,
    /// The scope that would be needed.
    InsufficientScope(&'static str),
    /// Too many requests of this client, or failed ones from this address.
    Limited(Limited),
    /// We cannot tell, because a dependency failed.
    Unavailable(anyhow::Error),
}

/// A [`BearerError`] with the realm that its header names: the issuer.
#[derive(Debug)]
pub struct BearerRejection {
    pub issuer: String,
    pub error: BearerError,
}

/// An error for a person or a first-party front end: a status, a fixed code, our own words.
#[derive(Debug)]
pub struct AppError {
    pub status: StatusCode,
    pub code: &'static str,
    pub description: std::borrow::Cow<'static, str>,
    pub source: Option<anyhow::Error>,
}

impl From<OAuthRefusal> for OAuthError {
    fn from(refusal: OAuthRefusal) -> Self {
        Self {
            refusal,
            basic_was_tried: false,
            source: None,
        }
    }
}

impl OAuthError {
    /// A refusal with its words.
    pub fn new(code: OAuthErrorCode, description: &'static str) -> Self {
        OAuthRefusal::new(code, description).into()
    }

    /// `invalid_request`.
    pub fn invalid_request(description: &'static str) -> Self {
        Self::new(OAuthErrorCode::InvalidRequest, description)
    }

    /// `invalid_grant`.
    pub fn invalid_grant(description: &'static str) -> Self {
        Self::new(OAuthErrorCode::InvalidGrant, description)
    }

    /// A failure of ours: 503 when a dependency is down, 500 otherwise.
    pub fn failure(source: anyhow::Error) -> Self {
        let refusal = if is_outage(&source) {
            OAuthRefusal::new(OAuthErrorCode::TemporarilyUnavailable, "try again in a moment")
        } else {
            OAuthRefusal::new(OAuthErrorCode::ServerError, "the request could not be answered")
        };
        Self {
            refusal,
            basic_was_tried: false,
            source: Some(source),
        }
    }

    /// Whether the failure is ours and says nothing about the request.
    pub const fn is_ours(&self) -> bool {
        self.source.is_some()
    }

    fn status(&self) -> StatusCode {
        match self.refusal.code {
            OAuthErrorCode::InvalidClient => StatusCode::UNAUTHORIZED,
            OAuthErrorCode::ServerError => StatusCode::INTERNAL_SERVER_ERROR,
            OAuthErrorCode::TemporarilyUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

impl From<sqlx::Error> for OAuthError {
    fn from(error: sqlx::Error) -> Self {
        Self::failure(error.into())
    }
}

impl IntoResponse for OAuthError {
    fn into_response(self) -> Response {
        let status = self.status();
        log_failure(status, self.source.as_ref());
        let body = ErrorBody {
            error: self.refusal.code.as_str(),
            error_description: Some(self.refusal.description.clone()),
        };
        let mut response = (status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if status == StatusCode::UNAUTHORIZED && self.basic_was_tried {
            headers.insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Basic realm=\"token endpoint\""),
            );
        }
        retry_after(status, &mut response);
        response
    }
}

impl BearerError {
    /// The error with the realm that its header names.
    pub fn at(self, issuer: &str) -> BearerRejection {
        BearerRejection {
            issuer: issuer.to_owned(),
            error: self,
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Missing | Self::Expired | Self::Invalid => StatusCode::UNAUTHORIZED,
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::InsufficientScope(_) => StatusCode::FORBIDDEN,
            Self::Limited(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable(source) if is_outage(source) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Unavailable(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// The `WWW-Authenticate` value of a bearer error (RFC 6750 §3); `None` where the header has no place.
pub fn www_authenticate_header(issuer: &str, error: &BearerError) -> Option<String> {
    // The issuer is a URL of the configuration, so it holds no quote; our descriptions hold none either.
    let realm = format!("Bearer realm=\"{issuer}\"");
    match error {
        BearerError::Missing => Some(realm),
        BearerError::BadRequest(description) => Some(format!(
            "{realm}, error=\"invalid_request\", error_description=\"{description}\""
        )),
        BearerError::TooLarge => Some(format!(
            "{realm}, error=\"invalid_request\", error_description=\"the body is too large\""
        )),
        BearerError::Expired => Some(format!(
            "{realm}, error=\"invalid_token\", error_description=\"token expired\""
        )),
        BearerError::Invalid => Some(format!("{realm}, error=\"invalid_token\"")),
        BearerError::InsufficientScope(scope) => Some(format!(
            "{realm}, error=\"insufficient_scope\", scope=\"{scope}\""
        )),
        BearerError::Limited(_) | BearerError::Unavailable(_) => None,
    }
}

impl IntoResponse for BearerRejection {
    fn into_response(self) -> Response {
        let status = self.error.status();
        let (code, source) = match &self.error {
            BearerError::Limited(limited) => return limited.into_response(),
            BearerError::Missing | BearerError::Expired | BearerError::Invalid => ("invalid_token", None),
            BearerError::BadRequest(_) | BearerError::TooLarge => ("invalid_request", None),
            BearerError::InsufficientScope(_) => ("insufficient_scope", None),
            BearerError::Unavailable(source) if status == StatusCode::SERVICE_UNAVAILABLE => {
                ("temporarily_unavailable", Some(source))
            }
            BearerError::Unavailable(source) => ("server_error", Some(source)),
        };
        log_failure(status, source);
        let mut response = (
            status,
            Json(ErrorBody {
                error: code,
                error_description: None,
            }),
        )
            .into_response();
        response
            .headers_mut()
            .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(value) = www_authenticate_header(&self.issuer, &self.error)
            && let Ok(value) = HeaderValue::from_str(&value)
        {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, value);
        }
        retry_after(status, &mut response);
        response
    }
}

impl AppError {
    /// An error with its status, code and words.
    pub fn new(status: StatusCode, code: &'static str, description: &'static str) -> Self {
        Self {
            status,
            code,
            description: description.into(),
            source: None,
        }
    }

    /// 400.
    pub fn bad_request(code: &'static str, description: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, description)
    }

    /// 401: no session, or one that has ended.
    pub fn unauthenticated() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", "sign in first")
    }

    /// 404, the same for what never existed and for what belongs to somebody else.
    pub fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "there is nothing here")
    }

    /// A failure of ours: 503 when a dependency is down, 500 otherwise.
    pub fn failure(source: anyhow::Error) -> Self {
        let mut error = if is_outage(&source) {
            Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "temporarily_unavailable",
                "try again in a moment",
            )
        } else {
            Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "server_error",
                "the request could not be answered",
            )
        };
        error.source = Some(source);
        error
    }
}

/// What a failure of ours came of, if the database was it.
impl crate::db::retry::Failure for AppError {
    fn of_database(&self) -> Option<&sqlx::Error> {
        self.source.as_ref()?.of_database()
    }
}

impl From<sqlx::Error> for AppError {
    fn from(error: sqlx::Error) -> Self {
        Self::failure(error.into())
    }
}

impl IntoResponse for AppError {
    fn into_response(self) -> Response {
        log_failure(self.status, self.source.as_ref());
        let body = ErrorBody {
            error: self.code,
            error_description: Some(self.description),
        };
        let mut response = (self.status, Json(body)).into_response();
        response
            .headers_mut()
            .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        retry_after(self.status, &mut response);
        response
    }
}

/// Whether the chain of causes ends in something that is merely unreachable or overloaded, so that a later attempt can
/// succeed. An answer that the database refused for its content is a mistake of ours instead.
fn is_outage(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<sqlx::Error>())
        .any(|error| match error {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => true,
            // Class 08 connection, 53 resources, 57 operator intervention, 40 serialization, 55P03 lock timeout, 25006 read-only.
            sqlx::Error::Database(database) => database.code().is_some_and(|code| {
                ["08", "53", "57", "40"]
                    .iter()
                    .any(|class| code.starts_with(class))
                    || code == "55P03"
                    || code == "25006"
            }),
            _ => false,
        })
}

fn log_failure(status: StatusCode, source: Option<&anyhow::Error>) {
    if let Some(source) = source
        && status.is_server_error()
    {
        tracing::error!(
            status = status.as_u16(),
            error = format!("{source:#}"),
            "request failed"
        );
    }
}

fn retry_after(status: StatusCode, response: &mut Response) {
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECS));
    }
}
