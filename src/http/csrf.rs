//! Protection of requests that change something by virtue of a cookie (cross-site request forgery).
//!
//! A request passes if the browser itself says that it comes from our own origin (`Sec-Fetch-Site`), which no page can
//! write. Otherwise it needs `X-Requested-With`, which a form cannot send and a foreign page's script only after a preflight
//! that we refuse, and, where an `Origin` is sent, one that we know.

use axum::extract::{FromRef, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use url::Url;

use super::state::AppState;
use crate::config::Config;
use crate::error::AppError;

const SEC_FETCH_SITE: &str = "sec-fetch-site";
const X_REQUESTED_WITH: &str = "x-requested-with";

/// Proof that the request was not forged by another site. Every handler that changes something on the word of a cookie
/// takes it as an argument.
#[derive(Clone, Copy, Debug)]
pub struct SameSiteRequest(());

impl<S> FromRequestParts<S> for SameSiteRequest
where
    S: Send + Sync,
    AppState: FromRef<S>,
{
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        if is_trusted(&parts.headers, &AppState::from_ref(state).config) {
            Ok(Self(()))
        } else {
            tracing::warn!(
                event = "csrf.refused",
                "a request that another site may have forged was refused"
            );
            Err(AppError::new(
                StatusCode::FORBIDDEN,
                "csrf_refused",
                "send X-Requested-With, from an origin that is configured",
            ))
        }
    }
}

/// Whether these headers are those of a page of ours.
pub fn is_trusted(headers: &HeaderMap, config: &Config) -> bool {
    judge(headers, &config.jwt.issuer, &config.server.first_party_origins)
}

/// Whether these headers are those of a form on a page of the issuer's own, whose hidden field is judged by the caller.
pub fn is_own_form(headers: &HeaderMap, config: &Config) -> bool {
    match only(headers, SEC_FETCH_SITE) {
        Some(site) => site == "same-origin",
        // Browsers that do not send it yet send the origin of a POST.
        None => {
            headers.get(SEC_FETCH_SITE).is_none()
                && only(headers, "origin") == Some(origin_of(&config.jwt.issuer).as_str())
        }
    }
}

fn judge(headers: &HeaderMap, issuer: &str, first_party_origins: &[String]) -> bool {
    if only(headers, SEC_FETCH_SITE) == Some("same-origin") {
        return true;
    }
    if only(headers, X_REQUESTED_WITH).is_none_or(|value| value.trim().is_empty()) {
        return false;
    }
    match headers.get_all("origin").iter().count() {
        0 => true,
        1 => only(headers, "origin").is_some_and(|origin| {
            origin == origin_of(issuer) || first_party_origins.iter().any(|known| origin == origin_of(known))
        }),
        _ => false,
    }
}

/// The value of a header that is there exactly once.
fn only<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// As browsers send it (RFC 6454 §6.2); `null`, which matches nothing of ours, is never asked for here because our own
/// URLs have a host.
fn origin_of(url: &str) -> String {
    match Url::parse(url) {
        Ok(url) if url.origin().is_tuple() => url.origin().ascii_serialization(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{HeaderName, HeaderValue};

    fn passes(headers: &[(&'static str, &'static str)]) -> bool {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .fold(HeaderMap::new(), |mut map, (name, value)| {
                map.append(name, value);
                map
            });
        judge(
            &headers,
            "https://id.example.com/base",
            &["https://app.example.com/".to_owned()],
        )
    }

    #[test]
    fn the_browsers_own_word_is_enough() {
        assert!(passes(&[("sec-fetch-site", "same-origin")]));
    }

    #[test]
    fn otherwise_the_header_that_forms_cannot_send_is_needed() {
        assert!(!passes(&[]));
        for site in ["same-site", "cross-site", "none", "SAME-ORIGIN", ""] {
            assert!(!passes(&[("sec-fetch-site", site)]), "{site}");
            assert!(passes(&[("sec-fetch-site", site), ("x-requested-with", "fetch")]));
        }
        assert!(passes(&[("x-requested-with", "fetch")]));
        assert!(!passes(&[("x-requested-with", "")]));
        assert!(!passes(&[("x-requested-with", "  ")]));
    }

    #[test]
    fn an_origin_that_is_sent_has_to_be_one_of_ours() {
        for (origin, expected) in [
            ("https://id.example.com", true),
            ("https://app.example.com", true),
            ("https://evil.example", false),
            ("https://app.example.com.evil.example", false),
            ("http://app.example.com", false),
            ("https://app.example.com:444", false),
            ("null", false),
            ("", false),
        ] {
            assert_eq!(
                passes(&[("x-requested-with", "fetch"), ("origin", origin)]),
                expected,
                "{origin}"
            );
            assert!(!passes(&[("origin", origin)]), "{origin}");
        }
    }

    #[test]
    fn doubled_headers_prove_nothing() {
        assert!(!passes(&[
            ("sec-fetch-site", "same-origin"),
            ("sec-fetch-site", "cross-site")
        ]));
        assert!(!passes(&[
            ("x-requested-with", "fetch"),
            ("origin", "https://id.example.com"),
            ("origin", "https://evil.example"),
        ]));
    }
}
