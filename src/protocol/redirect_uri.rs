//! Redirect URIs: what may be registered, and when a requested one is a registered one (RFC 9700 §2.1, RFC 8252 §7).

use percent_encoding::percent_decode_str;
use url::Url;

use super::client::ClientType;

/// At most this many redirect URIs per client.
pub const MAX_REDIRECT_URIS: usize = 50;

/// At most this many bytes per URI.
pub const MAX_BYTES: usize = 2048;

/// Hosts of the machine on which the browser runs, as they are written in a URI (RFC 8252 §7.3, §8.3).
const LOOPBACK_HOSTS: [&str; 3] = ["127.0.0.1", "[::1]", "localhost"];

/// Schemes that run or show content of their own, whoever handles them.
const DANGEROUS_SCHEMES: [&str; 6] = ["javascript", "data", "vbscript", "file", "blob", "about"];

/// Parameters of the response: a registered one of that name would stand before ours (RFC 6749 §4.1.2, RFC 9207).
const RESPONSE_PARAMETERS: [&str; 5] = ["code", "state", "error", "error_description", "iss"];

/// Why a URI cannot be registered; the text is for the operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RedirectUriRefused(pub &'static str);

/// Whether `uri` may be registered for a client of this type. `issuer_is_loopback`: in development plain http on loopback
/// is admitted for every client.
pub fn validate_registration(
    uri: &str,
    client_type: ClientType,
    issuer_is_loopback: bool,
) -> Result<(), RedirectUriRefused> {
    let url = validate_destination(uri, client_type, issuer_is_loopback)?;
    refuse_query_keys(&url, &RESPONSE_PARAMETERS)
}

/// Whether `uri` may be registered as a `post_logout_redirect_uri` (OpenID Connect RP-Initiated Logout §3): as a redirect
/// URI, but only `state` comes back there.
pub fn validate_post_logout_registration(
    uri: &str,
    client_type: ClientType,
    issuer_is_loopback: bool,
) -> Result<(), RedirectUriRefused> {
    let url = validate_destination(uri, client_type, issuer_is_loopback)?;
    refuse_query_keys(&url, &["state"])
}

/// Whether `uri` may be registered as a `backchannel_logout_uri` (OpenID Connect Back-Channel Logout §2.2): an https URL
/// that our server calls. Which addresses it may reach is decided when it connects.
pub fn validate_backchannel_logout_uri(
    uri: &str,
    issuer_is_loopback: bool,
) -> Result<(), RedirectUriRefused> {
    let url = parse(uri)?;
    match url.scheme() {
        "https" => Ok(()),
        "http" if issuer_is_loopback && is_loopback_http(uri) => Ok(()),
        _ => refuse("a back-channel logout URI has to be https"),
    }
}

/// Whether `requested` is one of `registered`: byte for byte, but for the port of a native client's loopback URI (RFC 8252 §7.3).
pub fn is_registered(requested: &str, registered: &[String], client_type: ClientType) -> bool {
    registered.iter().any(|own| {
        own == requested
            || (client_type == ClientType::Native && differs_in_loopback_port_only(requested, own))
    })
}

/// Whether a client with these redirect URIs may be registered with `auto_approve`: nobody is asked for consent there, so
/// the redirect URI has to prove who receives the code (RFC 8252 §8.6, RFC 6749 §10.2). Any program on the device can
/// claim a loopback port or a private-use scheme. In development, where the issuer itself is on loopback, nothing is lost.
pub fn auto_approve_is_provable(redirect_uris: &[String], issuer_is_loopback: bool) -> bool {
    issuer_is_loopback
        || redirect_uris.iter().all(|uri| {
            parse(uri).is_ok_and(|url| {
                url.scheme() == "https" && !url.host_str().is_some_and(|host| LOOPBACK_HOSTS.contains(&host))
            })
        })
}

/// What redirect and post-logout redirect URIs have in common: form and scheme.
fn validate_destination(
    uri: &str,
    client_type: ClientType,
    issuer_is_loopback: bool,
) -> Result<Url, RedirectUriRefused> {
    let url = parse(uri)?;
    let is_native = client_type == ClientType::Native;
    match url.scheme() {
        "https" => Ok(url),
        "http" if !is_loopback_http(uri) => refuse("plain http is only for loopback hosts; use https"),
        "http" if is_native || issuer_is_loopback => Ok(url),
        "http" => refuse("only native clients may use http on loopback"),
        _ if !is_native => refuse("only native clients may use a private-use scheme; use https"),
        // RFC 8252 §7.1: a reversed domain name, so that the scheme belongs to somebody.
        scheme if scheme.contains('.') => Ok(url),
        _ => refuse("a private-use scheme has to be a reversed domain name, with a dot"),
    }
}

/// A URI whose text means the same to every reader: what a browser would first repair or decode is refused.
fn parse(uri: &str) -> Result<Url, RedirectUriRefused> {
    if uri.len() > MAX_BYTES {
        return refuse("the URI is longer than 2048 bytes");
    }
    if !uri.bytes().all(|byte| byte.is_ascii_graphic()) {
        return refuse(
            "the URI has spaces, control characters or letters outside ASCII; percent-encode them",
        );
    }
    if uri.contains(['\\', '*', '"', '<', '>']) {
        return refuse("the URI has a wildcard, a backslash, a quote or an angle bracket");
    }
    if uri.contains('#') {
        return refuse("the URI has a fragment");
    }
    let Some((scheme, after_scheme)) = uri.split_once(':') else {
        return refuse("the URI has no scheme");
    };
    if DANGEROUS_SCHEMES.contains(&scheme.to_ascii_lowercase().as_str()) {
        return refuse("the scheme is not admitted");
    }
    let Ok(url) = Url::parse(uri) else {
        return refuse("the URI cannot be parsed");
    };
    if url.scheme() != scheme {
        return refuse("the scheme has to be in lower case");
    }
    if let Some(after_slashes) = after_scheme.strip_prefix("//") {
        refuse_odd_authority(&url, after_slashes)?;
    } else if matches!(scheme, "http" | "https") {
        return refuse("the URI has no host");
    }
    refuse_odd_path(after_scheme)?;
    Ok(url)
}

/// The host has to be written as it is understood: no userinfo, upper case, percent-encoding or number in disguise.
fn refuse_odd_authority(url: &Url, after_slashes: &str) -> Result<(), RedirectUriRefused> {
    let authority = after_slashes.split(['/', '?']).next().unwrap_or_default();
    if authority.contains('@') {
        return refuse("the URI has user information before the host");
    }
    let host = match authority.rfind(':') {
        Some(colon) if !authority[colon..].contains(']') => &authority[..colon],
        _ => authority,
    };
    if host != url.host_str().unwrap_or_default() {
        return refuse("the host has to be written in its plain form: lower case, punycode, dotted decimal");
    }
    Ok(())
}

/// Dot segments, raw, encoded, or hidden before a `;`, could make the path mean another one to a server behind a proxy.
fn refuse_odd_path(after_scheme: &str) -> Result<(), RedirectUriRefused> {
    let mut escapes = after_scheme.split('%').skip(1);
    if !escapes.all(|rest| rest.len() >= 2 && rest.as_bytes()[..2].iter().all(u8::is_ascii_hexdigit)) {
        return refuse("the URI has a percent sign that starts no escape");
    }
    let decoded: Vec<u8> = percent_decode_str(after_scheme).collect();
    if decoded.iter().any(u8::is_ascii_control) {
        return refuse("the URI has an encoded control character");
    }
    let path = after_scheme.split('?').next().unwrap_or_default();
    let path: Vec<u8> = percent_decode_str(path).collect();
    let is_dot_segment = |segment: &[u8]| {
        let name = segment.split(|byte| *byte == b';').next().unwrap_or_default();
        matches!(name, b"." | b"..")
    };
    if path
        .split(|byte| matches!(byte, b'/' | b'\\'))
        .any(is_dot_segment)
    {
        return refuse("the path has a dot segment");
    }
    Ok(())
}

/// Some frameworks read `state[]` as `state`, and some split a query at `;` too: such keys count as well.
fn refuse_query_keys(url: &Url, keys: &[&str]) -> Result<(), RedirectUriRefused> {
    let split = url.query().unwrap_or_default().replace(';', "&");
    let speaks_for_us = url::form_urlencoded::parse(split.as_bytes()).any(|(key, _)| {
        let name = key.split(['[', '.']).next().unwrap_or_default().trim();
        keys.iter().any(|own| own.eq_ignore_ascii_case(name))
    });
    if speaks_for_us {
        return refuse("the query has a parameter that the response uses itself");
    }
    Ok(())
}

fn refuse<T>(reason: &'static str) -> Result<T, RedirectUriRefused> {
    Err(RedirectUriRefused(reason))
}

/// `http` on a loopback host.
fn is_loopback_http(uri: &str) -> bool {
    split_loopback(uri).is_some()
}

/// Both are http on the same loopback host, and all that follows the port is equal.
fn differs_in_loopback_port_only(requested: &str, registered: &str) -> bool {
    split_loopback(requested).is_some_and(|parts| Some(parts) == split_loopback(registered))
}

/// Host and everything after the port of an http URI on loopback. Works on the text, so that nothing is normalised.
fn split_loopback(uri: &str) -> Option<(&str, &str)> {
    let authority = uri.strip_prefix("http://")?;
    LOOPBACK_HOSTS.iter().find_map(|host| {
        let after_host = authority.strip_prefix(host)?;
        let rest = match after_host.strip_prefix(':') {
            Some(after_colon) => after_port(after_colon)?,
            None => after_host,
        };
        let host_ends = rest.is_empty() || rest.starts_with(['/', '?']);
        host_ends.then_some((*host, rest))
    })
}

/// What follows the decimal port number; `None` if there is none that can be connected to, or it is written with zeros
/// before it.
fn after_port(text: &str) -> Option<&str> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (port, rest) = text.split_at(digits);
    let is_plain = !port.starts_with('0') && port.parse::<u16>().is_ok();
    is_plain.then_some(rest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use ClientType::{Confidential, Native, Public};

    fn registered(uri: &str) -> Vec<String> {
        vec![uri.to_owned()]
    }

    /// RFC 9700 §2.1.
    #[test]
    fn a_requested_uri_is_compared_byte_for_byte() {
        let own = registered("https://app.example/callback?a=1");
        assert!(is_registered(
            "https://app.example/callback?a=1",
            &own,
            Confidential
        ));
        for other in [
            "https://app.example/callback",
            "https://app.example/callback?a=1&b=2",
            "https://app.example/callback?a=1#",
            "https://app.example:443/callback?a=1",
            "https://APP.example/callback?a=1",
            "https://app.example/callback/?a=1",
            "https://app.example/%63allback?a=1",
            "https://app.example/callback/../callback?a=1",
            "https://app.example.evil.example/callback?a=1",
            "https://app.example@evil.example/callback?a=1",
            " https://app.example/callback?a=1",
            "",
        ] {
            assert!(!is_registered(other, &own, Native), "{other}");
        }
    }

    /// RFC 8252 §7.3.
    #[test]
    fn a_native_client_may_take_any_loopback_port() {
        for (own, requested) in [
            ("http://127.0.0.1/cb", "http://127.0.0.1:49152/cb"),
            ("http://127.0.0.1:80/cb", "http://127.0.0.1/cb"),
            ("http://[::1]/cb?a=1", "http://[::1]:1/cb?a=1"),
            ("http://localhost:3000/cb", "http://localhost:65535/cb"),
        ] {
            assert!(is_registered(requested, &registered(own), Native), "{requested}");
            assert!(!is_registered(requested, &registered(own), Public), "{requested}");
        }
    }

    #[test]
    fn nothing_but_the_loopback_port_may_differ() {
        let own = registered("http://127.0.0.1/cb");
        for other in [
            "http://127.0.0.1:1/cb/",
            "http://127.0.0.1:1/cb?a",
            "http://127.0.0.1:1/cb#a",
            "http://127.0.0.1:0/cb",
            "http://127.0.0.1:65536/cb",
            "http://127.0.0.1:/cb",
            "http://127.0.0.1:+80/cb",
            "http://127.0.0.1:80@evil.example/cb",
            "http://127.0.0.1.evil.example/cb",
            "http://127.0.0.1@evil.example/cb",
            "http://localhost:80/cb",
            "https://127.0.0.1:80/cb",
            "HTTP://127.0.0.1:80/cb",
            "http://[::1]:80/cb",
        ] {
            assert!(!is_registered(other, &own, Native), "{other}");
        }
        let https = registered("https://127.0.0.1/cb");
        assert!(!is_registered("https://127.0.0.1:80/cb", &https, Native));
    }

    #[test]
    fn https_is_admitted_for_every_client() {
        for uri in [
            "https://app.example",
            "https://app.example/cb",
            "https://app.example:8443/cb?tenant=1",
            "https://xn--bcher-kva.example/cb",
            "https://app.example/@user/cb",
            "https://app.example/a%20b",
            "https://192.0.2.1/cb",
            "https://localhost:3000/cb",
        ] {
            for client_type in [Confidential, Public, Native] {
                assert_eq!(validate_registration(uri, client_type, false), Ok(()), "{uri}");
            }
        }
    }

    #[test]
    fn loopback_and_private_schemes_are_for_native_clients() {
        for uri in [
            "http://127.0.0.1/cb",
            "http://[::1]:8080/cb",
            "http://localhost/cb",
            "com.example.app:/cb",
            "com.example.app://cb",
        ] {
            assert_eq!(validate_registration(uri, Native, false), Ok(()), "{uri}");
            assert!(validate_registration(uri, Confidential, false).is_err(), "{uri}");
            assert!(validate_registration(uri, Public, false).is_err(), "{uri}");
        }
    }

    #[test]
    fn in_development_loopback_is_for_every_client_and_still_without_port_slack() {
        let uri = "http://localhost:3000/cb";
        assert_eq!(validate_registration(uri, Confidential, true), Ok(()));
        assert!(validate_registration("http://app.example/cb", Confidential, true).is_err());
        assert!(validate_registration("com.example.app:/cb", Confidential, true).is_err());
        assert!(!is_registered(
            "http://localhost:3001/cb",
            &registered(uri),
            Confidential
        ));
    }

    #[test]
    fn a_uri_that_could_mean_two_things_is_not_registered() {
        for uri in [
            "",
            "/cb",
            "app.example/cb",
            "http://app.example/cb",
            "https://",
            "https:///cb",
            "https:app.example/cb",
            "https:/app.example/cb",
            "https://app.example/cb#",
            "https://app.example/cb#top",
            "https://user@app.example/cb",
            "https://user:pass@app.example/cb",
            "https://@app.example/cb",
            "https://a@b@app.example/cb",
            "https://*.app.example/cb",
            "https://app.example/*",
            "https://app.example/a b",
            "https://app.example/\tcb",
            "https://app.example/\r\ncb",
            "https://app.example\\@evil.example/cb",
            "https://b\u{fc}cher.example/cb",
            "https://app.example/../cb",
            "https://app.example/a/./cb",
            "https://app.example/a/..",
            "https://app.example/%2e%2E/cb",
            "https://app.example/.%2e/cb",
            "https://app.example/a/..;/cb",
            "https://app.example/a%2f..%2fcb",
            "https://app.example/a%5c..%5ccb",
            "https://app.example/a%0d%0ab",
            "https://app.example/a%00b",
            "https://app.example/100%",
            "https://app.example/%zz",
            "https://APP.example/cb",
            "https://app%2eexample/cb",
            "https://127.1/cb",
            "https://0x7f.0.0.1/cb",
            "HTTPS://app.example/cb",
            "javascript:alert(1)",
            "JavaScript:alert(1)",
            "data:text/html,hi",
            "vbscript:x",
            "file:///etc/passwd",
            "blob:https://app.example/1",
            "about:blank",
            "myapp:/cb",
            "com.example.app:/../cb",
            "http://127.0.0.2/cb",
            "http://127.0.0.1.evil.example/cb",
        ] {
            assert!(validate_registration(uri, Native, false).is_err(), "{uri:?}");
        }
        let long = format!("https://app.example/{}", "a".repeat(MAX_BYTES));
        assert!(validate_registration(&long, Confidential, false).is_err());
    }

    /// RFC 6749 §3.1.2: the query is kept, so it must not speak for us.
    #[test]
    fn the_query_has_no_parameter_of_the_response() {
        for key in [
            "code",
            "state",
            "error",
            "error_description",
            "iss",
            "%63ode",
            "state[]",
            "code%5B0%5D",
            "State",
            "b=2;code",
        ] {
            let uri = format!("https://app.example/cb?a=1&{key}=x");
            assert!(validate_registration(&uri, Confidential, false).is_err(), "{uri}");
        }
        assert_eq!(
            validate_registration("https://app.example/cb?codes=x", Confidential, false),
            Ok(())
        );
    }

    #[test]
    fn post_logout_uris_follow_the_same_rules_and_keep_their_query() {
        let validate = |uri| validate_post_logout_registration(uri, Confidential, false);
        assert_eq!(validate("https://app.example/bye?code=1"), Ok(()));
        assert!(validate("https://app.example/bye?state=1").is_err());
        assert!(validate("http://app.example/bye").is_err());
    }

    #[test]
    fn a_back_channel_logout_uri_is_https_without_fragment_or_userinfo() {
        assert_eq!(
            validate_backchannel_logout_uri("https://app.example/out?a=1", false),
            Ok(())
        );
        for uri in [
            "http://app.example/out",
            "https://app.example/out#x",
            "https://u@app.example/out",
            "com.example.app:/out",
            "http://127.0.0.1/out",
        ] {
            assert!(validate_backchannel_logout_uri(uri, false).is_err(), "{uri}");
        }
        assert_eq!(
            validate_backchannel_logout_uri("http://127.0.0.1:9000/out", true),
            Ok(())
        );
    }

    /// RFC 8252 §8.6.
    #[test]
    fn consent_is_skipped_only_where_the_redirect_proves_the_client() {
        assert!(auto_approve_is_provable(
            &registered("https://app.example/cb"),
            false
        ));
        for uri in [
            "http://127.0.0.1/cb",
            "com.example.app:/cb",
            "https://localhost/cb",
        ] {
            let uris = [registered("https://app.example/cb"), registered(uri)].concat();
            assert!(!auto_approve_is_provable(&uris, false), "{uri}");
            assert!(auto_approve_is_provable(&uris, true), "{uri}");
        }
    }

    proptest! {
        #[test]
        fn without_loopback_only_the_same_text_is_registered(requested in ".{0,40}", path in "[a-z/]{0,10}") {
            let own = registered(&format!("https://app.example/{path}"));
            prop_assert_eq!(is_registered(&requested, &own, Native), requested == own[0]);
        }

        #[test]
        fn any_port_and_nothing_else_matches(port in 1u16.., tail in "[ -~]{0,12}") {
            let own = registered("http://127.0.0.1/cb");
            let requested = format!("http://127.0.0.1:{port}/cb{tail}");
            prop_assert_eq!(is_registered(&requested, &own, Native), tail.is_empty());
            let padded = format!("http://127.0.0.1:0{port}/cb");
            prop_assert!(!is_registered(&padded, &own, Native));
        }

        #[test]
        fn what_may_be_registered_is_one_header_safe_line(uri in "(https://a|com\\.a:|http://127\\.0\\.0\\.1)[ -~\\x00-\\x1f]{0,20}") {
            if validate_registration(&uri, Native, false).is_ok() {
                prop_assert!(uri.bytes().all(|byte| byte.is_ascii_graphic()));
                prop_assert!(is_registered(&uri, &registered(&uri), Native));
            }
        }
    }
}
