//! `[server]`: where it listens, how browsers see it.

use schemars::JsonSchema;
use serde::Deserialize;
use url::Url;

use super::check::{Check, is_origin};
use crate::http::client_ip::parse_network;

/// `[server]`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ServerConfig {
    /// Address to listen on.
    pub host: String,
    /// Port to listen on.
    pub port: u16,
    /// Believe the right end of `X-Forwarded-For`. Only behind a proxy that sets it.
    pub behind_proxy: bool,
    /// Networks (CIDR) or addresses of the proxies, where there is more than one: the walk from the right end goes on over
    /// them. A connection from elsewhere has the header ignored.
    pub trusted_proxies: Vec<String>,
    /// Parent domain of the access cookie (same-domain mode); none: host-only.
    pub cookie_domain: Option<String>,
    /// First part of the cookie names.
    pub cookie_prefix: String,
    /// `lax`, or `none` for pages on another registrable domain, whose scripts would otherwise be strangers.
    pub cookie_same_site: CookieSameSite,
    /// Origins of browser apps that may call token, UserInfo, revocation and introspection. `["*"]` admits every origin.
    pub cors_origins: Vec<String>,
    /// Origins of the deployer's own pages: credentialed CORS for the cookie APIs, CSRF, `return_to`.
    pub first_party_origins: Vec<String>,
    /// Seconds that requests in flight are given when the server stops.
    pub shutdown_grace_secs: u64,
}

/// The `SameSite` attribute of our cookies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CookieSameSite {
    #[default]
    Lax,
    None,
}

impl ServerConfig {
    /// What to bind: `host:port`, an IPv6 address in brackets.
    pub fn listen_address(&self) -> String {
        match self.host.parse::<std::net::Ipv6Addr>() {
            Ok(address) => format!("[{address}]:{}", self.port),
            Err(_) => format!("{}:{}", self.host, self.port),
        }
    }
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port: 8081,
            behind_proxy: false,
            trusted_proxies: Vec::new(),
            cookie_domain: None,
            cookie_prefix: "auth".to_owned(),
            cookie_same_site: CookieSameSite::default(),
            cors_origins: Vec::new(),
            first_party_origins: Vec::new(),
            shutdown_grace_secs: 20,
        }
    }
}

impl ServerConfig {
    /// The rules of this table.
    pub(super) fn check(&self, issuer: &str, check: &mut Check) {
        if self.host.is_empty() || self.host.contains(['/', ' ', '[', ']']) {
            check.error(
                "server.host",
                "this is no address to listen on",
                "write an IP address such as 127.0.0.1, 0.0.0.0 or ::1, or a host name; the port is `server.port`",
            );
        }
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        if !(1..=32).contains(&self.cookie_prefix.len()) || !self.cookie_prefix.bytes().all(plain) {
            check.error(
                "server.cookie_prefix",
                "the prefix is not 1 to 32 characters out of A-Z a-z 0-9 _ -",
                "choose another, such as \"auth\"",
            );
        }
        self.check_trusted_proxies(check);
        self.check_cookie_domain(issuer, check);
        self.check_cors_origins(check);
        for (index, origin) in self.first_party_origins.iter().enumerate() {
            let key = format!("server.first_party_origins[{index}]");
            if origin == "*" {
                check.error(
                    key,
                    "`*` would let every site act for signed-in people",
                    "list the origins of your own pages",
                );
            } else {
                check_origin(key, origin, check);
            }
        }
        if self.cookie_same_site == CookieSameSite::None {
            check.warning(
                "server.cookie_same_site",
                "other sites' requests carry the session cookies",
                "leave it at \"lax\" unless your pages live on another registrable domain",
            );
        }
        check.range("server.shutdown_grace_secs", self.shutdown_grace_secs, 0, 600);
    }

    fn check_trusted_proxies(&self, check: &mut Check) {
        for (index, network) in self.trusted_proxies.iter().enumerate() {
            let key = format!("server.trusted_proxies[{index}]");
            match parse_network(network) {
                None => check.error(
                    key,
                    "this is no network and no address",
                    "write one such as \"10.0.0.0/8\", \"2001:db8::/32\" or \"192.0.2.7\"",
                ),
                Some(network) if network.prefix_len() == 0 => check.error(
                    key,
                    "this trusts every address, so anybody could write another's",
                    "list the networks of your own proxies",
                ),
                Some(_) => {}
            }
        }
        if !self.trusted_proxies.is_empty() && !self.behind_proxy {
            check.error(
                "server.trusted_proxies",
                "proxies are listed, but `server.behind_proxy` is false",
                "set `server.behind_proxy = true`, or remove the list",
            );
        }
    }

    /// A browser drops a cookie for a domain that its host is not below (RFC 6265 §5.3).
    fn check_cookie_domain(&self, issuer: &str, check: &mut Check) {
        let Some(domain) = &self.cookie_domain else { return };
        let host = Url::parse(issuer)
            .ok()
            .and_then(|url| url.host_str().map(str::to_owned))
            .unwrap_or_default();
        let is_name = domain.contains('.') && domain.parse::<std::net::IpAddr>().is_err();
        let above = host
            .strip_suffix(domain.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        if domain.starts_with('.') {
            check.error(
                "server.cookie_domain",
                "the domain starts with a dot",
                "leave the dot out",
            );
        } else if !is_name || !above {
            check.error(
                "server.cookie_domain",
                "the issuer's host is not below this domain, so browsers would drop the cookies",
                "write a parent domain of the issuer's host, or remove the key for host-only cookies",
            );
        }
    }

    fn check_cors_origins(&self, check: &mut Check) {
        for (index, origin) in self.cors_origins.iter().enumerate() {
            let key = format!("server.cors_origins[{index}]");
            if origin != "*" {
                check_origin(key, origin, check);
            } else if self.cors_origins.len() > 1 {
                check.error(
                    key,
                    "`*` stands among other origins",
                    "write `[\"*\"]` alone, or list the origins",
                );
            } else {
                check.warning(
                    key,
                    "every site's scripts may call the token endpoint, UserInfo, revocation and introspection",
                    "list the origins of your apps",
                );
            }
        }
    }
}

fn check_origin(key: String, origin: &str, check: &mut Check) {
    if !is_origin(origin) {
        check.error(
            key,
            "this is no origin as browsers send it",
            "write scheme://host, in lower case, with :port unless it is the usual one, without path or trailing slash",
        );
    }
}
