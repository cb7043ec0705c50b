//! Answers of the sign-in endpoints: a page for a person, JSON for a program, cookies where they belong.

use axum::Json;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;
use time::OffsetDateTime;

use crate::error::AppError;
use crate::http::browser::Browser;
use crate::http::cookies::{CookieKind, Cookies};
use crate::http::error_report;
use crate::http::page;
use crate::http::state::AppState;

/// Who reads the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// A browser on its way somewhere: it says that it takes HTML.
    Person,
    Program,
}

impl Audience {
    /// Judges by `Accept`.
    pub fn of(headers: &HeaderMap) -> Self {
        let takes_html = headers
            .get_all(header::ACCEPT)
            .iter()
            .filter_map(|line| line.to_str().ok())
            .any(|line| line.contains("text/html"));
        if takes_html { Self::Person } else { Self::Program }
    }

    /// An error: a page with a short id that the operator can look up, or JSON.
    pub async fn refuse(self, state: &AppState, error: AppError, now: OffsetDateTime) -> Response {
        if self == Self::Program {
            return error.into_response();
        }
        let (status, code, description) = (error.status, error.code, error.description.clone());
        // Logs a failure of ours; the JSON is not needed.
        let plain = error.into_response();
        let report = json!({ "rule": description, "error": code, "status": status.as_u16() });
        let error_id = error_report::keep(state, &report, now).await;
        let text = format!("{}.", capitalised(&description));
        let mut response = page::error_page(
            &state.config,
            status,
            "You could not be signed in",
            &text,
            error_id.as_deref(),
        );
        if let Some(after) = plain.headers().get(header::RETRY_AFTER) {
            response.headers_mut().insert(header::RETRY_AFTER, after.clone());
        }
        response
    }

    /// The end of a login after which nobody has said where to go.
    pub fn signed_in(self) -> Response {
        match self {
            Self::Person => page::plain_page(
                StatusCode::OK,
                "You are signed in",
                "You can close this page.",
                "",
            ),
            Self::Program => json_answer(&json!({ "signed_in": true })),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Audience {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        Ok(Self::of(&parts.headers))
    }
}

/// JSON that nobody keeps.
pub fn json_answer(body: &impl Serialize) -> Response {
    let mut response = Json(body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

/// The answer to whatever ends the session that asked: the browser holds no cookie of ours, and is told where to go on if
/// that is configured.
pub fn signed_out(state: &AppState) -> Response {
    let response = match &state.config.oauth.signed_out_url {
        Some(url) => json_answer(&json!({ "redirect_to": url.as_str() })),
        None => StatusCode::NO_CONTENT.into_response(),
    };
    with_cookies(response, cleared_cookies(state))
}

/// The removal of every cookie of ours, each with its exact attributes.
pub fn cleared_cookies(state: &AppState) -> [HeaderValue; 4] {
    let cookies = Cookies::new(&state.config);
    [
        CookieKind::Refresh,
        CookieKind::Access,
        CookieKind::Setup,
        CookieKind::Browser,
    ]
    .map(|kind| cookies.clear(kind))
}

/// Adds cookies.
pub fn with_cookies(mut response: Response, cookies: impl IntoIterator<Item = HeaderValue>) -> Response {
    for cookie in cookies {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

/// Names the browser, if it had no name yet.
pub fn with_browser(response: Response, browser: &Browser, state: &AppState) -> Response {
    with_cookies(response, browser.set_cookie(state))
}

/// Another method than `allow`, `HEAD` included where a GET changes something: link checkers must not use up a flow.
pub fn not_allowed(allow: &'static str) -> std::future::Ready<Response> {
    std::future::ready((StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, allow)]).into_response())
}

fn capitalised(text: &str) -> String {
    let mut characters = text.chars();
    match characters.next() {
        Some(first) => first.to_uppercase().chain(characters).collect(),
        None => String::new(),
    }
}
