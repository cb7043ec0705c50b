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
    match url.scheme() {
        "https" => {}
        "http" if !is_loopback_http(uri) => {
            return refuse("plain http is only for loopback hosts; use https");
        }
        "http" if client_type != ClientType::Native && !issuer_is_loopback => {
            return refuse("only native clients may use http on loopback");
        }
        "http" => {}
        _ if client_type != ClientType::Native => {
            return refuse("only native clients may use a private-use scheme; use https");
        }
        // RFC 8252 §7.1: a reversed domain name, so that the scheme belongs to somebody.
        scheme if !scheme.contains('.') => {
            return refuse("a private-use scheme has to be a reversed domain name, with a dot");
        }
        _ => {}
    }
    Ok(url)
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

fn refuse_query_keys(url: &Url, keys: &[&str]) -> Result<(), RedirectUriRefused> {
    if url.query_pairs().any(|(key, _)| keys.contains(&key.as_ref())) {
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

/// What follows the decimal port number; `None` if there is no port that can be connected to.
fn after_port(text: &str) -> Option<&str> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (port, rest) = text.split_at(digits);
    let port: u16 = port.parse().ok()?;
    (port != 0).then_some(rest)
}
