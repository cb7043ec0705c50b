//! Where a browser may be sent after a login: never to a place that somebody merely asked for.
//!
//! A target is parsed as browsers parse it (WHATWG URL), its origin compared with the issuer's and those of
//! `server.first_party_origins`, and only the re-serialised URL is ever emitted. It is judged when a flow starts and again
//! when it is used, since the configuration may have changed between the two.

use url::{Host, Url};

use crate::clients::misleads;
use crate::config::Config;

/// Longer targets are refused, so that a stored flow stays small.
const MAX_BYTES: usize = 2048;

/// A place of our own: an absolute URL at an origin that is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReturnTo(Url);

impl ReturnTo {
    /// Reads a target under the configuration. `None`: whatever it is, nobody is sent there.
    pub fn parse(target: &str, config: &Config) -> Option<Self> {
        Self::parse_at(target, &config.jwt.issuer, &config.server.first_party_origins)
    }

    /// Reads a target: a path at the issuer's origin, or an absolute URL at that origin or one of `origins`.
    fn parse_at(target: &str, issuer: &str, origins: &[String]) -> Option<Self> {
        if target.len() > MAX_BYTES || has_trick(target) {
            return None;
        }
        let issuer = Url::parse(issuer).ok()?;
        let url = if let Some(rest) = target.strip_prefix('/') {
            // One slash and no second: `//host` names another host, and browsers read `/\host` the same way.
            if rest.starts_with('/') {
                return None;
            }
            issuer.join(target).ok()?
        } else {
            Url::parse(target).ok()?
        };
        (is_web(&url) && is_bare(&url) && is_ours(&url, &issuer, origins)).then_some(Self(url))
    }

    /// The URL as we write it, for a `Location` header.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

/// Characters that browsers drop or read as a slash, so that what was checked would not be what is visited; and those that turn
/// or hide the text beside them.
fn has_trick(target: &str) -> bool {
    target.chars().any(|c| c == '\\' || misleads(c))
}

/// https, or http on this machine: a configured origin of a developer.
fn is_web(url: &Url) -> bool {
    match url.scheme() {
        "https" => true,
        "http" => match url.host() {
            Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        },
        _ => false,
    }
}

/// No user and password: they only ever serve to make another host look like ours.
fn is_bare(url: &Url) -> bool {
    url.username().is_empty() && url.password().is_none()
}

fn is_ours(url: &Url, issuer: &Url, origins: &[String]) -> bool {
    let origin = url.origin();
    origin == issuer.origin()
        || origins
            .iter()
            .filter_map(|allowed| Url::parse(allowed).ok())
            .any(|allowed| allowed.origin().is_tuple() && allowed.origin() == origin)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ISSUER: &str = "https://id.example.com/auth-root";

    fn parse(target: &str) -> Option<String> {
        let origins = ["https://app.example.com", "http://localhost:5173"].map(str::to_owned);
        ReturnTo::parse_at(target, ISSUER, &origins).map(|url| url.as_str().to_owned())
    }

    #[test]
    fn paths_lead_to_the_issuers_own_origin() {
        assert_eq!(
            parse("/account?tab=links#top").unwrap(),
            "https://id.example.com/account?tab=links#top"
        );
        assert_eq!(parse("/").unwrap(), "https://id.example.com/");
        assert_eq!(parse("/a/../b").unwrap(), "https://id.example.com/b");
    }

    #[test]
    fn absolute_urls_lead_to_first_party_origins_only() {
        assert_eq!(
            parse("https://app.example.com").unwrap(),
            "https://app.example.com/"
        );
        assert_eq!(
            parse("HTTPS://APP.example.com:443/x").unwrap(),
            "https://app.example.com/x"
        );
        assert!(parse("http://localhost:5173/x").is_some());
        assert!(parse("https://id.example.com/x").is_some());
        for target in [
            "https://evil.example",
            "https://app.example.com.evil.example/",
            "https://app.example.com:8443/",
            "http://app.example.com/",
            "http://localhost:5174/",
            "https://user@app.example.com/",
            "https://app.example.com@evil.example/",
            "https://user:pass@app.example.com/",
            "javascript:alert(1)",
            "data:text/html,x",
            "blob:https://app.example.com/1",
            "app.example.com",
            "account",
            "",
            " /account",
        ] {
            assert_eq!(parse(target), None, "{target}");
        }
    }

    /// Each of these has been an open redirect somewhere.
    #[test]
    fn tricks_with_slashes_tabs_and_line_ends_lead_nowhere() {
        for target in [
            "//evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "/\t/evil.example",
            "/\n/evil.example",
            "/\r\nLocation: https://evil.example",
            "/x\u{0}y",
            "/x\u{7f}",
            "/a\\b",
            "https:\\\\evil.example",
            "https:/\t/evil.example",
        ] {
            assert_eq!(parse(target), None, "{target:?}");
        }
        assert_eq!(parse(&format!("/{}", "a".repeat(MAX_BYTES))), None);
    }

    proptest! {
        /// Whatever comes in: what goes out is an absolute URL at an allowed origin, and reading it again changes nothing.
        #[test]
        fn nothing_leads_to_another_origin(target in "(/|https://|//|\\\\|https:|@|app.example.com|evil.example|[a-z:/?#@.\\\\\t]){0,12}") {
            if let Some(url) = parse(&target) {
                let read = Url::parse(&url).unwrap();
                let origin = read.origin().ascii_serialization();
                prop_assert!(
                    ["https://id.example.com", "https://app.example.com", "http://localhost:5173"].contains(&origin.as_str())
                );
                let parsed = parse(&url);
                prop_assert_eq!(parsed.as_deref(), Some(url.as_str()));
            }
        }
    }
}
