//! Cookies: names, attributes, how they are read. The names stand nowhere else.
//!
//! | cookie | what | sent to |
//! | --- | --- | --- |
//! | `{prefix}_refresh` | the session: opaque, the only one that riley-auth believes | this host |
//! | `{prefix}_access` | a signed JWT for apps on sibling hosts | this host, or the parent domain |
//! | `{prefix}_browser` | names this browser: pending requests and flows are bound to it | this host |
//! | `{prefix}_setup` | the handle of an identity that waits for a username or a confirmation | this host |
//!
//! Host-only names carry `__Host-`, the parent domain's `__Secure-`; neither, nor `Secure`, while the issuer is http on
//! loopback (RFC 6265bis §4.1.3).

use axum::http::{HeaderMap, HeaderValue, header};
use axum_extra::extract::cookie::{Cookie, SameSite};
use time::Duration;

use crate::config::Config;
use crate::config::server::CookieSameSite;
use crate::protocol::opaque::Opaque;

/// One of our cookies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CookieKind {
    Refresh,
    Access,
    Browser,
    Setup,
}

/// What a request carries under one cookie name.
#[derive(Clone, Debug)]
pub enum CookieValue {
    Absent,
    One(String),
    /// Two different values of one name: somebody has planted one of them, so neither is believed.
    Conflicting,
}

impl CookieValue {
    /// The value as an opaque token, when there is exactly one and we can have issued it.
    pub fn opaque(&self) -> Option<Opaque> {
        match self {
            Self::One(value) => Opaque::parse(value),
            Self::Absent | Self::Conflicting => None,
        }
    }
}

/// The cookies of one deployment.
#[derive(Clone, Copy)]
pub struct Cookies<'a> {
    config: &'a Config,
}

impl<'a> Cookies<'a> {
    /// The names and attributes that `config` asks for.
    pub fn new(config: &'a Config) -> Self {
        Self { config }
    }

    /// The full name of a cookie.
    pub fn name(self, kind: CookieKind) -> String {
        let stem = match kind {
            CookieKind::Refresh => "refresh",
            CookieKind::Access => "access",
            CookieKind::Browser => "browser",
            CookieKind::Setup => "setup",
        };
        let prefix = match (self.secure(), self.domain(kind)) {
            (false, _) => "",
            (true, None) => "__Host-",
            (true, Some(_)) => "__Secure-",
        };
        format!("{prefix}{}_{stem}", self.config.server.cookie_prefix)
    }

    /// What the request carries.
    pub fn read(self, headers: &HeaderMap, kind: CookieKind) -> CookieValue {
        let name = self.name(kind);
        let mut found = CookieValue::Absent;
        for value in values(headers, &name) {
            found = match found {
                CookieValue::Absent => CookieValue::One(value.to_owned()),
                CookieValue::One(first) if first == value => CookieValue::One(first),
                CookieValue::One(_) | CookieValue::Conflicting => CookieValue::Conflicting,
            };
        }
        found
    }

    /// A cookie that lives for `max_age`, or until the browser closes.
    pub fn set(self, kind: CookieKind, value: String, max_age: Option<Duration>) -> HeaderValue {
        let mut cookie = self.build(kind, value);
        cookie.set_max_age(max_age);
        encode(&cookie)
    }

    /// The removal of a cookie: its exact name, path and domain, no value, no age.
    pub fn clear(self, kind: CookieKind) -> HeaderValue {
        let mut cookie = self.build(kind, String::new());
        cookie.set_max_age(Duration::ZERO);
        encode(&cookie)
    }

    /// The removal of every cookie of ours: what a logout leaves.
    pub fn clear_all(self) -> [HeaderValue; 4] {
        [
            CookieKind::Refresh,
            CookieKind::Access,
            CookieKind::Setup,
            CookieKind::Browser,
        ]
        .map(|kind| self.clear(kind))
    }

    fn build(self, kind: CookieKind, value: String) -> Cookie<'static> {
        let mut cookie = Cookie::new(self.name(kind), value);
        cookie.set_path("/");
        cookie.set_http_only(true);
        cookie.set_secure(self.secure());
        cookie.set_same_site(self.same_site());
        if let Some(domain) = self.domain(kind) {
            cookie.set_domain(domain.to_owned());
        }
        cookie
    }

    /// Only the access cookie ever goes to the parent domain: every host of that domain can read and replay it.
    fn domain(self, kind: CookieKind) -> Option<&'a str> {
        (kind == CookieKind::Access)
            .then_some(self.config.server.cookie_domain.as_deref())
            .flatten()
    }

    fn secure(self) -> bool {
        self.config.jwt.issuer.starts_with("https://")
    }

    /// One choice for all of them: pages on another site need the browser's name and the setup handle as much as the session.
    fn same_site(self) -> SameSite {
        if self.secure() && self.config.server.cookie_same_site == CookieSameSite::None {
            SameSite::None
        } else {
            SameSite::Lax
        }
    }
}

/// Every value under `name`, over all `Cookie` headers.
fn values<'h>(headers: &'h HeaderMap, name: &'h str) -> impl Iterator<Item = &'h str> {
    headers
        .get_all(header::COOKIE)
        .into_iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter_map(move |(own, value)| (own == name).then_some(value))
}

fn encode(cookie: &Cookie<'_>) -> HeaderValue {
    HeaderValue::from_str(&cookie.to_string()).expect("our names and values are visible ASCII")
}
