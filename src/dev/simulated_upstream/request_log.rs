//! What arrived at the simulated upstream, for tests to look at.
//!
//! It holds codes and secrets, which are worthless anywhere else; nothing of it goes to a log.

use std::collections::HashSet;

use axum::http::{HeaderMap, Method, header};

use super::misbehaviour::Misbehaviour;

/// Which endpoint a request was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// The discovery document.
    Discovery,
    /// The key set.
    Jwks,
    /// The authorization endpoint.
    Authorize,
    /// The form of the sign-in page.
    SignIn,
    /// The token endpoint.
    Token,
    /// UserInfo, and whatever stands for it.
    Userinfo,
    /// GitHub's list of e-mail addresses.
    Emails,
    /// GitHub's list of organisations.
    Organisations,
    /// Where [`Misbehaviour::TokenRedirects`] leads: nobody should ever arrive.
    Elsewhere,
    /// Signing out, and the page that switches misbehaviours.
    Other,
}

impl Endpoint {
    /// Whether servers call it, not people.
    pub(super) fn is_for_servers(self) -> bool {
        !matches!(self, Self::Authorize | Self::SignIn | Self::Other)
    }
}

/// One request as it arrived.
#[derive(Clone, Debug)]
pub struct LoggedRequest {
    /// Where it went.
    pub endpoint: Endpoint,
    /// Its method.
    pub method: Method,
    /// Its path.
    pub path: String,
    /// Its query, decoded, in order.
    pub query: Vec<(String, String)>,
    /// Its form, decoded, in order; empty if the body was none.
    pub form: Vec<(String, String)>,
    /// Its header fields.
    pub headers: HeaderMap,
    /// What was chosen for the sign-in that this request belongs to.
    pub(super) carried: HashSet<Misbehaviour>,
}

impl LoggedRequest {
    /// The first query parameter of that name.
    pub fn query(&self, name: &str) -> Option<&str> {
        first(&self.query, name)
    }

    /// The first form field of that name.
    pub fn form(&self, name: &str) -> Option<&str> {
        first(&self.form, name)
    }

    /// A header field, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The credentials of an `Authorization` header of this scheme, whose name is case-insensitive (RFC 9110 §11.1).
    pub(super) fn authorization(&self, scheme: &str) -> Option<&str> {
        let (given, credentials) = self.header(header::AUTHORIZATION.as_str())?.split_once(' ')?;
        given.eq_ignore_ascii_case(scheme).then(|| credentials.trim())
    }

    pub(super) fn cookie(&self, name: &str) -> Option<&str> {
        let cookies = self
            .headers
            .get_all(header::COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok());
        cookies
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .find(|(given, _)| *given == name)
            .map(|(_, value)| value)
    }
}

pub(super) fn first<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs
        .iter()
        .find(|(given, _)| given == name)
        .map(|(_, value)| value.as_str())
}
