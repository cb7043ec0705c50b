//! The address a request comes from.
//!
//! Without `behind_proxy` only the socket's peer counts and every header is ignored. With it, the address is read from the
//! right end of all `X-Forwarded-For` lines: the end that our own proxy wrote, where the left end is the client's to invent.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, FromRef, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap};
use ipnet::IpNet;

use super::state::AppState;
use crate::config::server::ServerConfig;

const X_FORWARDED_FOR: &str = "x-forwarded-for";

/// The client's address; an IPv4 address in IPv6 clothes is IPv4. `None` if nobody told the server who its peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientIp(pub Option<IpAddr>);

/// Whose word about addresses is believed.
#[derive(Clone, Debug, Default)]
pub struct AddressRule {
    behind_proxy: bool,
    trusted: Vec<IpNet>,
}

impl AddressRule {
    /// What the configuration says; it was checked before.
    pub fn new(config: &ServerConfig) -> Self {
        Self {
            behind_proxy: config.behind_proxy,
            trusted: config
                .trusted_proxies
                .iter()
                .filter_map(|network| parse_network(network))
                .collect(),
        }
    }

    /// The client's address. `peer`: the other end of the socket.
    ///
    /// Without `trusted_proxies` there is one proxy, whatever its address, and it wrote the last entry. With them, entries are
    /// believed as long as trusted proxies wrote them: the first from the right that is not a trusted proxy is the client.
    /// What is no address leads back to the peer, since what stands to its left was written by somebody further away.
    pub fn client_ip(&self, headers: &HeaderMap, peer: Option<IpAddr>) -> ClientIp {
        let peer = peer.map(|address| address.to_canonical());
        let forwarded = if self.believes(peer) {
            self.forwarded(headers)
        } else {
            None
        };
        ClientIp(forwarded.or(peer))
    }

    /// Whether what this peer says of others counts.
    fn believes(&self, peer: Option<IpAddr>) -> bool {
        self.behind_proxy && (self.trusted.is_empty() || peer.is_some_and(|peer| self.trusts(peer)))
    }

    /// Whether a request with these extensions came by a proxy whose word counts.
    pub fn believes_sender(&self, extensions: &Extensions) -> bool {
        self.believes(peer(extensions).map(|address| address.to_canonical()))
    }

    fn forwarded(&self, headers: &HeaderMap) -> Option<IpAddr> {
        // As bytes: what a client wrote to the left of a proxy's entry must not spoil that.
        let entries: Vec<&[u8]> = headers
            .get_all(X_FORWARDED_FOR)
            .iter()
            .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
            .collect();
        let mut found = None;
        for entry in entries.iter().rev() {
            let address = parse_entry(std::str::from_utf8(entry).ok()?.trim())?;
            found = Some(address);
            if !self.trusts(address) {
                break;
            }
        }
        found
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(&address))
    }

    /// The address of a request whose extensions and headers these are.
    pub fn of_request(&self, extensions: &Extensions, headers: &HeaderMap) -> ClientIp {
        if let Some(known) = extensions.get::<ClientIp>() {
            return *known;
        }
        self.client_ip(headers, peer(extensions))
    }
}

/// The other end of the socket.
fn peer(extensions: &Extensions) -> Option<IpAddr> {
    let peer = extensions.get::<ConnectInfo<SocketAddr>>();
    peer.map(|ConnectInfo(peer)| peer.ip())
}

impl<S> FromRequestParts<S> for ClientIp
where
    S: Send + Sync,
    AppState: FromRef<S>,
{
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let app = AppState::from_ref(state);
        let found = app.addresses.of_request(&parts.extensions, &parts.headers);
        parts.extensions.insert(found);
        Ok(found)
    }
}

/// A network such as `10.0.0.0/8`, or a single address.
pub fn parse_network(text: &str) -> Option<IpNet> {
    let network = text.parse::<IpNet>();
    network.or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).ok()
}

/// An address, as proxies write it: with or without port.
fn parse_entry(entry: &str) -> Option<IpAddr> {
    let address = entry
        .parse::<IpAddr>()
        .or_else(|_| entry.parse::<SocketAddr>().map(|address| address.ip()));
    address.ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(X_FORWARDED_FOR, line.parse().unwrap());
        }
        headers
    }

    fn address(lines: &[&str], behind_proxy: bool, trusted: &[&str], peer: &str) -> String {
        let rule = AddressRule::new(&ServerConfig {
            behind_proxy,
            trusted_proxies: trusted.iter().map(|&network| network.to_owned()).collect(),
            ..ServerConfig::default()
        });
        let found = rule.client_ip(&headers(lines), peer.parse().ok()).0;
        found.map_or_else(String::new, |address| address.to_string())
    }

    #[test]
    fn without_a_proxy_only_the_peer_counts() {
        assert_eq!(address(&["203.0.113.7"], false, &[], "10.0.0.9"), "10.0.0.9");
        assert_eq!(
            address(&["203.0.113.7"], false, &["10.0.0.0/8"], "10.0.0.9"),
            "10.0.0.9"
        );
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
            assert_eq!(address(lines, true, &[], "10.0.0.9"), expected, "{lines:?}");
        }
    }

    /// The walk goes on over proxies that are trusted, and no further.
    #[test]
    fn with_trusted_proxies_the_first_stranger_from_the_right_counts() {
        let trusted = ["10.0.0.0/8", "192.0.2.7", "2001:db8:f::/48"];
        for (lines, expected) in [
            (&["203.0.113.7"][..], "203.0.113.7"),
            (&["203.0.113.7, 10.1.2.3"], "203.0.113.7"),
            (
                &["198.51.100.1, 203.0.113.7, 192.0.2.7", "10.1.2.3"],
                "203.0.113.7",
            ),
            (&["203.0.113.7, ::ffff:10.1.2.3"], "203.0.113.7"),
            (&["203.0.113.7, 2001:db8:f::1"], "203.0.113.7"),
            // A stranger's claim to be behind one of our proxies.
            (&["10.6.6.6, 203.0.113.7, 10.1.2.3"], "203.0.113.7"),
            (&["10.6.6.6, 10.1.2.3"], "10.6.6.6"),
            (&["203.0.113.7, garbage, 10.1.2.3"], "10.0.0.9"),
            (&["203.0.113.7, 192.0.2.8"], "192.0.2.8"),
            (&[], "10.0.0.9"),
        ] {
            assert_eq!(address(lines, true, &trusted, "10.0.0.9"), expected, "{lines:?}");
        }
    }

    /// Who comes past the proxies cannot pass for somebody else.
    #[test]
    fn a_direct_connection_from_elsewhere_has_the_header_ignored() {
        for peer in ["198.51.100.66", "2001:db8:e::1"] {
            assert_eq!(
                address(&["203.0.113.7"], true, &["10.0.0.0/8", "2001:db8:f::/48"], peer),
                peer
            );
        }
        assert_eq!(
            address(&["203.0.113.7"], true, &["10.0.0.0/8"], "::ffff:10.1.2.3"),
            "203.0.113.7"
        );
    }

    proptest::proptest! {
        /// Whatever stands on the left is of no consequence.
        #[test]
        fn what_the_client_wrote_changes_nothing(invented in "[ -~]{0,60}") {
            let line = format!("{invented}, 203.0.113.7, 10.1.2.3");
            proptest::prop_assert_eq!(address(&[&line], true, &["10.0.0.0/8"], "10.0.0.9"), "203.0.113.7");
        }
    }
}
