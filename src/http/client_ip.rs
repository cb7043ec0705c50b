//! The address a request comes from.
//!
//! Without `behind_proxy` only the socket's peer counts and every header is ignored. With it, the address is the rightmost
//! entry of all `X-Forwarded-For` lines: the one that our own proxy wrote, where the left end is the client's to invent.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, FromRef, FromRequestParts};
use axum::http::HeaderMap;
use axum::http::request::Parts;

use super::state::AppState;

const X_FORWARDED_FOR: &str = "x-forwarded-for";

/// The client's address; an IPv4 address in IPv6 clothes is IPv4. `None` if nobody told the server who its peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientIp(pub Option<IpAddr>);

impl ClientIp {
    /// Judges the headers. `peer`: the other end of the socket.
    pub fn of(headers: &HeaderMap, peer: Option<IpAddr>, behind_proxy: bool) -> Self {
        let forwarded = if behind_proxy { rightmost(headers) } else { None };
        Self(forwarded.or(peer).map(|address| address.to_canonical()))
    }
}

impl<S> FromRequestParts<S> for ClientIp
where
    S: Send + Sync,
    AppState: FromRef<S>,
{
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        if let Some(known) = parts.extensions.get::<Self>() {
            return Ok(*known);
        }
        let peer = parts
            .extensions
            .get::<ConnectInfo<SocketAddr>>()
            .map(|ConnectInfo(peer)| peer.ip());
        let found = Self::of(
            &parts.headers,
            peer,
            AppState::from_ref(state).config.server.behind_proxy,
        );
        parts.extensions.insert(found);
        Ok(found)
    }
}

/// The last entry of the last line, if it is an address: garbage there is not skipped, since what stands to its left was
/// written by somebody further away.
fn rightmost(headers: &HeaderMap) -> Option<IpAddr> {
    let line = headers
        .get_all(X_FORWARDED_FOR)
        .iter()
        .next_back()?
        .to_str()
        .ok()?;
    let entry = line.rsplit(',').next()?.trim();
    entry
        .parse::<IpAddr>()
        .or_else(|_| entry.parse::<SocketAddr>().map(|address| address.ip()))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(lines: &[&str], behind_proxy: bool) -> Option<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(X_FORWARDED_FOR, line.parse().unwrap());
        }
        let peer = "10.0.0.9".parse().ok();
        ClientIp::of(&headers, peer, behind_proxy)
            .0
            .map(|address| address.to_string())
    }

    #[test]
    fn without_a_proxy_only_the_peer_counts() {
        assert_eq!(address(&["203.0.113.7"], false).as_deref(), Some("10.0.0.9"));
    }

    #[test]
    fn behind_a_proxy_the_right_end_counts() {
        for (lines, expected) in [
            (&["203.0.113.7"][..], "203.0.113.7"),
            (&["198.51.100.1, 203.0.113.7"], "203.0.113.7"),
            (&["198.51.100.1", "203.0.113.7"], "203.0.113.7"),
            (&["198.51.100.1, ::ffff:203.0.113.7"], "203.0.113.7"),
            (&["[2001:db8::1]:4711"], "2001:db8::1"),
            (&["203.0.113.7:4711"], "203.0.113.7"),
            (&[], "10.0.0.9"),
            (&["203.0.113.7, garbage"], "10.0.0.9"),
            (&["203.0.113.7,"], "10.0.0.9"),
        ] {
            assert_eq!(address(lines, true).as_deref(), Some(expected), "{lines:?}");
        }
    }
}
