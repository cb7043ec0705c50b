//! Where a request may go: what its URL looks like, and which addresses are behind it.

use std::net::{IpAddr, SocketAddr};

use url::{Host, Url};

use super::address::is_public;

/// The longest URL that is taken.
pub const MAX_URL_BYTES: usize = 2048;
/// The most addresses of a name that are looked at; more are a refusal, since none may stay unjudged.
const MAX_ADDRESSES: usize = 64;

/// What is allowed. `allow_private_ips` is for development: plain http, every port, every address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    pub allow_private_ips: bool,
}

/// Why a URL is not asked, in our own words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub &'static str);

/// Whether a URL may be registered or asked. For a name this says nothing of the addresses behind it: [`resolve`] does, at
/// each connection.
pub fn check_url(url: &Url, policy: Policy) -> Result<(), Refused> {
    if url.as_str().len() > MAX_URL_BYTES {
        return Err(Refused("the URL is longer than 2048 bytes"));
    }
    match url.scheme() {
        "https" => {}
        "http" if policy.allow_private_ips => {}
        _ => return Err(Refused("the URL is not https")),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Refused("the URL holds a user name"));
    }
    if url.fragment().is_some() {
        return Err(Refused("the URL has a fragment"));
    }
    let port = url.port_or_known_default().unwrap_or(0);
    // Ports below 1024 belong to services that may take a request for one of their own.
    if !policy.allow_private_ips && port != 443 && port < 1024 {
        return Err(Refused("the port is neither 443 nor from 1024 on"));
    }
    match url.host() {
        None => Err(Refused("the URL has no host")),
        Some(Host::Domain(name)) if is_local_name(name) && !policy.allow_private_ips => {
            Err(Refused("the host is this machine or no public name"))
        }
        Some(Host::Domain(_)) => Ok(()),
        Some(Host::Ipv4(address)) => literal(address.into(), policy),
        Some(Host::Ipv6(address)) => literal(address.into(), policy),
    }
}

fn literal(address: IpAddr, policy: Policy) -> Result<(), Refused> {
    if policy.allow_private_ips || is_public(address) {
        Ok(())
    } else {
        Err(Refused("the address is not a public one"))
    }
}

/// `localhost` and what is below it (RFC 6761 §6.3), with or without the dot of the root.
fn is_local_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || name.to_ascii_lowercase().ends_with(".localhost")
}

/// The addresses behind a URL, looked up once: the connection goes to one of these. `None`: there are none, or one of them
/// is not public. Which of both whoever asked is not told: that a name leads into a private network is nobody's business. The
/// operator's log has an event of it.
pub async fn resolve(url: &Url, policy: Policy) -> Option<Vec<SocketAddr>> {
    let port = url.port_or_known_default()?;
    let found: Vec<SocketAddr> = match url.host()? {
        Host::Ipv4(address) => vec![(address, port).into()],
        Host::Ipv6(address) => vec![(address, port).into()],
        Host::Domain(name) => tokio::net::lookup_host((name, port))
            .await
            .ok()?
            .take(MAX_ADDRESSES + 1)
            .collect(),
    };
    if found.is_empty() {
        return None;
    }
    let allowed = all_allowed(found, policy);
    if allowed.is_none() {
        note_blocked("no_public_address");
    }
    allowed
}

/// Tells the operator that a request was not made because of where it would have gone.
pub fn note_blocked(code: &'static str) {
    tracing::warn!(
        event = "outbound.blocked",
        code,
        "a request to an address that is not public was not made"
    );
}

/// The addresses, unless there is none, there are too many, or one of them may not be asked: a name that leads to both kinds
/// of addresses is up to no good.
pub fn all_allowed(found: Vec<SocketAddr>, policy: Policy) -> Option<Vec<SocketAddr>> {
    let all = !found.is_empty() && found.len() <= MAX_ADDRESSES;
    let allowed = all && found.iter().all(|address| is_allowed(*address, policy));
    allowed.then_some(found)
}

/// Whether this address may be asked.
pub fn is_allowed(address: SocketAddr, policy: Policy) -> bool {
    policy.allow_private_ips || is_public(address.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUARDED: Policy = Policy {
        allow_private_ips: false,
    };
    const OPEN: Policy = Policy {
        allow_private_ips: true,
    };

    fn check(url: &str, policy: Policy) -> bool {
        Url::parse(url).is_ok_and(|url| check_url(&url, policy).is_ok())
    }

    #[test]
    fn https_to_a_public_host_on_a_harmless_port() {
        for url in [
            "https://app.example/hook",
            "https://app.example:443/hook?a=b",
            "https://app.example:8443/",
            "https://app.example:1024/",
            "https://93.184.216.34/",
            "https://[2606:4700::1]/",
        ] {
            assert!(check(url, GUARDED), "{url}");
        }
        for url in [
            "http://app.example/hook",
            "ftp://app.example/",
            "https://user@app.example/",
            "https://:password@app.example/",
            "https://app.example/#part",
            "https://app.example:80/",
            "https://app.example:22/",
            "https://app.example:1023/",
            "https://localhost/",
            "https://LOCALHOST./",
            "https://a.localhost:8443/",
        ] {
            assert!(!check(url, GUARDED), "{url}");
        }
        assert!(!check(
            &format!("https://app.example/{}", "a".repeat(2048)),
            GUARDED
        ));
    }

    /// Every spelling of an address that a URL parser reads as one.
    #[test]
    fn an_ip_literal_is_judged_however_it_is_written() {
        for url in [
            "https://127.0.0.1/",
            "https://127.1/",
            "https://0x7f.1/",
            "https://2130706433/",
            "https://0177.0.0.1/",
            "https://%31%32%37.0.0.1/",
            "https://127.0.0.1./",
            "https://[::1]/",
            "https://[::ffff:127.0.0.1]/",
            "https://[::ffff:7f00:1]/",
            "https://[64:ff9b::7f00:1]/",
            "https://[2002:7f00:1::]/",
            "https://[fe80::1]/",
            "https://169.254.169.254/latest/meta-data/",
            "https://10.0.0.1/",
        ] {
            assert!(!check(url, GUARDED), "{url}");
            assert!(check(url, OPEN), "{url}");
        }
    }

    #[test]
    fn one_private_address_among_public_ones_blocks_them_all() {
        let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        let public = ["93.184.216.34:443", "[2606:4700::1]:443"];
        assert!(all_allowed(addresses(&public), GUARDED).is_some());
        for private in ["127.0.0.1:443", "[::1]:443", "[::ffff:10.0.0.1]:443"] {
            let mixed = [public[0], private, public[1]];
            assert!(all_allowed(addresses(&mixed), GUARDED).is_none(), "{private}");
            assert!(all_allowed(addresses(&mixed), OPEN).is_some(), "{private}");
        }
        assert!(all_allowed(Vec::new(), OPEN).is_none());
        assert!(all_allowed(vec![([1, 1, 1, 1], 443).into(); 65], GUARDED).is_none());
    }

    #[tokio::test]
    async fn a_name_that_leads_to_this_machine_has_no_address() {
        let url = Url::parse("https://localhost:8443/").unwrap();
        assert!(resolve(&url, GUARDED).await.is_none());
        assert!(resolve(&url, OPEN).await.is_some());
        let nowhere = Url::parse("https://nowhere.invalid/").unwrap();
        assert!(resolve(&nowhere, OPEN).await.is_none());
    }
}
