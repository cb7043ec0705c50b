//! What the proxies in front make of a request: whom the server takes for the client, and what else arrives.
//!
//! The question is asked with an `X-Forwarded-For` of our own invention. What stands to its right was written by proxies,
//! one entry each; where it is gone, the outermost one has overwritten it, and everything that arrives was written by
//! proxies. So the first such entry is the client, as the outermost proxy saw it, and all that follow are proxies.

use std::net::{IpAddr, SocketAddr};

use crate::config::finding::Finding;
use crate::server::probe::Seen;

/// What was asked, and by whom.
pub(super) struct Expected<'e> {
    pub(super) scheme: &'e str,
    /// Host and port of the public URL.
    pub(super) authority: String,
    /// What was sent as `X-Forwarded-For`.
    pub(super) forged: IpAddr,
    /// The end of the connection on this machine.
    pub(super) own_address: Option<IpAddr>,
    /// What the operator says that others see.
    pub(super) seen_as: Option<IpAddr>,
}

/// Everything that is wrong with what arrived.
pub(super) fn judge(seen: &Seen, expected: &Expected<'_>) -> Vec<Finding> {
    let mut findings: Vec<Finding> = judge_chain(seen, expected.forged).into_iter().collect();
    if findings.is_empty() {
        findings.extend(judge_client(seen, expected));
    }
    findings.extend(judge_scheme(seen, expected.scheme));
    findings.extend(judge_host(seen, &expected.authority));
    for (arrived, what) in [
        (
            seen.authorization,
            "the Authorization header, with which apps and their tokens prove themselves,",
        ),
        (seen.cookie, "the session cookie"),
        (seen.query, "the query of the URL"),
    ] {
        if !arrived {
            findings.push(Finding::error(
                "headers",
                format!("{what} does not arrive at the server"),
                "let the proxy pass requests on as they are",
            ));
        }
    }
    findings
}

/// Whether the server reads out of the chain of proxies the address that it should.
fn judge_chain(seen: &Seen, forged: IpAddr) -> Option<Finding> {
    let forged_text = forged.to_string();
    let position = seen.forwarded_for.iter().position(|entry| *entry == forged_text);
    let written = &seen.forwarded_for[position.map_or(0, |at| at + 1)..];
    let client = shown(seen.client_address);
    let peer = shown(seen.peer_address);
    let about = |key: &str, problem: String, mend: String| Some(Finding::error(key, problem, mend));
    if !seen.behind_proxy {
        if !written.is_empty() {
            return about(
                "server.behind_proxy",
                format!(
                    "a proxy stands in front and tells who asks, but is not believed: everybody counts as {peer}, so one \
                     client's rate limit is everybody's"
                ),
                "set server.behind_proxy = true".to_owned(),
            );
        }
        let signs: Vec<&str> = seen
            .signs_of_proxies
            .iter()
            .map(String::as_str)
            .filter(|name| *name != "x-forwarded-for")
            .collect();
        return if signs.is_empty() {
            None
        } else {
            about(
                "server.behind_proxy",
                format!(
                    "a proxy stands in front ({} arrives) and does not tell who asks: everybody counts as {peer}",
                    signs.join(", ")
                ),
                "let it set X-Forwarded-For to the client's address, and set server.behind_proxy = true"
                    .to_owned(),
            )
        };
    }
    let Some(first) = written.first() else {
        return if position.is_some() {
            about(
                "server.behind_proxy",
                "X-Forwarded-For arrives as the client wrote it, so anybody can count as somebody else".to_owned(),
                "let the proxy overwrite the header with the client's address; without a proxy, set server.behind_proxy = false"
                    .to_owned(),
            )
        } else {
            about(
                "server.behind_proxy",
                format!("no X-Forwarded-For arrives: everybody counts as {peer}"),
                "let the proxy set X-Forwarded-For to the client's address".to_owned(),
            )
        };
    };
    let Some(origin) = address_of(first) else {
        return about(
            "server.behind_proxy",
            "the proxy writes into X-Forwarded-For what is no address".to_owned(),
            "let it write the client's address".to_owned(),
        );
    };
    if seen.client_address == Some(origin) {
        return None;
    }
    if seen.client_address == Some(forged) {
        return about(
            "server.trusted_proxies",
            "an address that the client wrote itself is believed: trusted_proxies covers addresses of clients".to_owned(),
            "name the addresses of the proxies alone".to_owned(),
        );
    }
    let proxies: Vec<String> = written[1..].iter().map(|entry| format!("\"{entry}\"")).collect();
    about(
        "server.trusted_proxies",
        format!(
            "the request came through {} proxies, and one of them, {client}, is taken for the client",
            written.len()
        ),
        format!(
            "set server.trusted_proxies to the addresses of the inner hops and of {peer}, here {}",
            proxies.join(", ")
        ),
    )
}

/// The chain is in order as far as it shows; an outer proxy that an inner one hides does not show.
fn judge_client(seen: &Seen, expected: &Expected<'_>) -> Option<Finding> {
    let client = seen.client_address?;
    if let Some(known) = expected.seen_as {
        return (client != known.to_canonical()).then(|| {
            Finding::error(
                "server.trusted_proxies",
                format!("the server takes this machine for {client}, and it is {known}"),
                "look for a proxy that overwrites X-Forwarded-For with another proxy's address, and let it append instead",
            )
        });
    }
    let own = expected.own_address?;
    // An address that anybody can be reached at is not translated on the way.
    (is_global(own) && own.is_ipv4() == client.is_ipv4() && own != client).then(|| {
        Finding::warning(
            "server.trusted_proxies",
            format!("the server takes this machine, {own}, for {client}"),
            "if no address translation explains it, a proxy hides another one: let it append to X-Forwarded-For instead of \
             overwriting it; say --seen-as ADDRESS to settle it",
        )
    })
}

fn judge_scheme(seen: &Seen, scheme: &str) -> Option<Finding> {
    let told = seen.forwarded_proto.first()?;
    (told != scheme).then(|| {
        Finding::warning(
            "scheme",
            format!("the proxies tell the server that the request came by {told}, and the issuer is {scheme}"),
            "set X-Forwarded-Proto to the scheme that the client used, at the proxy where TLS ends, and leave it alone behind it",
        )
    })
}

fn judge_host(seen: &Seen, authority: &str) -> Option<Finding> {
    let host = seen.host.as_deref().unwrap_or("none");
    (!host.eq_ignore_ascii_case(authority)).then(|| {
        Finding::warning(
            "host",
            format!("the server is asked for the host {host} in place of {authority}"),
            "let the proxy pass the Host header on",
        )
    })
}

/// An entry as proxies write it, with a port or without.
fn address_of(entry: &str) -> Option<IpAddr> {
    entry
        .parse::<IpAddr>()
        .or_else(|_| entry.parse::<SocketAddr>().map(|address| address.ip()))
        .ok()
        .map(|address| address.to_canonical())
}

fn shown(address: Option<IpAddr>) -> String {
    address.map_or_else(|| "nobody".to_owned(), |address| address.to_string())
}

/// Whether the address is one of the public Internet.
pub(super) fn is_global(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let [first, second, ..] = address.octets();
            let is_shared = first == 100 && (64..128).contains(&second);
            !(address.is_private()
                || address.is_loopback()
                || address.is_link_local()
                || address.is_unspecified()
                || address.is_broadcast()
                || address.is_documentation()
                || address.is_multicast()
                || is_shared)
        }
        IpAddr::V6(address) => {
            !(address.is_loopback()
                || address.is_unspecified()
                || address.is_unique_local()
                || address.is_unicast_link_local()
                || address.is_multicast())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORGED: &str = "192.0.2.77";
    const PERSON: &str = "198.51.100.4";

    /// What arrives through one well-behaved proxy that overwrites.
    fn seen() -> Seen {
        Seen {
            peer_address: Some("10.0.0.2".parse().unwrap()),
            client_address: Some(PERSON.parse().unwrap()),
            behind_proxy: true,
            forwarded_for: vec![PERSON.to_owned()],
            forwarded_proto: vec!["https".to_owned()],
            host: Some("auth.example.com".to_owned()),
            signs_of_proxies: vec!["x-forwarded-for".to_owned()],
            authorization: true,
            cookie: true,
            query: true,
            ..Seen::default()
        }
    }

    fn expected() -> Expected<'static> {
        Expected {
            scheme: "https",
            authority: "auth.example.com".to_owned(),
            forged: FORGED.parse().unwrap(),
            own_address: None,
            seen_as: None,
        }
    }

    fn chain(entries: &[&str], client: &str, behind_proxy: bool) -> Seen {
        Seen {
            forwarded_for: entries.iter().map(|entry| (*entry).to_owned()).collect(),
            client_address: Some(client.parse().unwrap()),
            behind_proxy,
            ..seen()
        }
    }

    #[test]
    fn chains_that_are_read_rightly_give_no_finding() {
        for sound in [
            seen(),
            // One proxy that appends.
            chain(&[FORGED, PERSON], PERSON, true),
            // Two that append, the inner one's peer trusted.
            chain(&[FORGED, PERSON, "10.0.0.3"], PERSON, true),
            // No proxy at all; what the client wrote is ignored.
            Seen {
                signs_of_proxies: vec!["x-forwarded-for".to_owned()],
                forwarded_proto: Vec::new(),
                ..chain(&[FORGED], "10.0.0.2", false)
            },
            // An address that comes in IPv6 clothes or with a port.
            chain(&["::ffff:198.51.100.4"], PERSON, true),
            chain(&["198.51.100.4:4711"], PERSON, true),
        ] {
            assert_eq!(judge(&sound, &expected()), [], "{sound:?}");
        }
    }

    #[test]
    fn every_way_to_misread_the_chain_names_the_key_that_mends_it() {
        for (seen, key, part) in [
            (
                chain(&[FORGED, PERSON], "10.0.0.2", false),
                "server.behind_proxy",
                "everybody counts as 10.0.0.2",
            ),
            (
                Seen {
                    signs_of_proxies: vec!["via".to_owned()],
                    ..chain(&[], "10.0.0.2", false)
                },
                "server.behind_proxy",
                "via arrives",
            ),
            (
                chain(&[FORGED], FORGED, true),
                "server.behind_proxy",
                "as the client wrote it",
            ),
            (
                chain(&[], "10.0.0.2", true),
                "server.behind_proxy",
                "no X-Forwarded-For arrives",
            ),
            (
                chain(&["unknown"], "10.0.0.2", true),
                "server.behind_proxy",
                "no address",
            ),
            (
                chain(&[FORGED, PERSON, "10.0.0.3"], "10.0.0.3", true),
                "server.trusted_proxies",
                "through 2 proxies",
            ),
            (
                chain(&[FORGED, PERSON], FORGED, true),
                "server.trusted_proxies",
                "client wrote itself",
            ),
        ] {
            let found = judge(&seen, &expected());
            assert_eq!(found.len(), 1, "{found:?}");
            assert_eq!(found[0].key, key);
            assert!(found[0].problem.contains(part), "{}", found[0]);
        }
        let two = judge(
            &chain(&[FORGED, PERSON, "10.0.0.3"], "10.0.0.3", true),
            &expected(),
        );
        assert!(two[0].mend.contains("\"10.0.0.3\""), "{}", two[0]);
    }

    #[test]
    fn an_outer_proxy_that_hides_behind_an_inner_one_is_found_by_the_machines_own_address() {
        let told = Expected {
            seen_as: Some("203.0.113.9".parse().unwrap()),
            ..expected()
        };
        assert!(judge(&seen(), &told)[0].is_error());
        let right = Expected {
            seen_as: Some(PERSON.parse().unwrap()),
            ..expected()
        };
        assert_eq!(judge(&seen(), &right), []);
        let guessed = Expected {
            own_address: Some("8.8.4.4".parse().unwrap()),
            ..expected()
        };
        assert!(!judge(&seen(), &guessed)[0].is_error());
        let translated = Expected {
            own_address: Some("192.168.1.7".parse().unwrap()),
            ..expected()
        };
        assert_eq!(judge(&seen(), &translated), []);
    }

    #[test]
    fn scheme_host_and_headers_have_to_arrive() {
        for (seen, part) in [
            (
                Seen {
                    forwarded_proto: vec!["http".to_owned()],
                    ..seen()
                },
                "came by http",
            ),
            (
                Seen {
                    host: Some("127.0.0.1:8081".to_owned()),
                    ..seen()
                },
                "127.0.0.1:8081",
            ),
            (
                Seen {
                    authorization: false,
                    ..seen()
                },
                "Authorization",
            ),
            (
                Seen {
                    cookie: false,
                    ..seen()
                },
                "session cookie",
            ),
            (
                Seen {
                    query: false,
                    ..seen()
                },
                "query",
            ),
        ] {
            let found = judge(&seen, &expected());
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].problem.contains(part), "{}", found[0]);
        }
    }
}
