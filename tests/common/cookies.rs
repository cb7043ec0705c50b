//! A cookie jar by the rules of browsers (RFC 6265bis §5): host-only and Domain, Path, Secure, prefixes, SameSite, Max-Age.

use time::{Duration, OffsetDateTime};
use url::{Host, Url};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SameSite {
    None,
    Lax,
    Strict,
}

/// How a request comes about, which decides what cookies it carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Context {
    /// Started from a page of the same site, or typed in.
    SameSite,
    /// A top-level navigation by a safe method, from another site.
    CrossSiteNavigation,
    /// Anything else from another site: a form that is posted, a `fetch`, a frame.
    CrossSite,
}

#[derive(Clone, Debug)]
pub(crate) struct StoredCookie {
    pub(crate) name: String,
    pub(crate) value: String,
    pub(crate) domain: String,
    pub(crate) host_only: bool,
    pub(crate) path: String,
    pub(crate) secure: bool,
    pub(crate) http_only: bool,
    pub(crate) same_site: SameSite,
    pub(crate) expires_at: Option<OffsetDateTime>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct CookieJar {
    cookies: Vec<StoredCookie>,
}

impl CookieJar {
    /// What the request carries, as one header value.
    pub(crate) fn header(&self, url: &Url, context: Context, now: OffsetDateTime) -> Option<String> {
        let sent: Vec<String> = self
            .cookies
            .iter()
            .filter(|cookie| cookie.is_sent(url, context, now))
            .map(|cookie| format!("{}={}", cookie.name, cookie.value))
            .collect();
        (!sent.is_empty()).then(|| sent.join("; "))
    }

    /// Takes in a `Set-Cookie` of an answer from `url`; what a browser would reject is not kept.
    pub(crate) fn store(&mut self, url: &Url, set_cookie: &str, context: Context, now: OffsetDateTime) {
        let Some(cookie) = parse(url, set_cookie, now) else {
            return;
        };
        // §5.7: an answer to a cross-site subrequest cannot set a cookie that it would not have been sent.
        if context == Context::CrossSite && cookie.same_site != SameSite::None {
            return;
        }
        self.cookies.retain(|old| {
            (&old.name, &old.domain, &old.path) != (&cookie.name, &cookie.domain, &cookie.path)
        });
        if cookie.expires_at.is_none_or(|expires_at| expires_at > now) {
            self.cookies.push(cookie);
        }
    }

    /// A live cookie by its full name.
    pub(crate) fn find(&self, name: &str, now: OffsetDateTime) -> Option<&StoredCookie> {
        self.live(now).find(|cookie| cookie.name == name)
    }

    pub(crate) fn live(&self, now: OffsetDateTime) -> impl Iterator<Item = &StoredCookie> {
        self.cookies.iter().filter(move |cookie| cookie.is_live(now))
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.cookies.retain(|cookie| cookie.name != name);
    }

    /// Overwrites a value, as somebody who sits at the browser may.
    pub(crate) fn tamper(&mut self, name: &str, value: &str) {
        for cookie in self.cookies.iter_mut().filter(|cookie| cookie.name == name) {
            value.clone_into(&mut cookie.value);
        }
    }
}

impl StoredCookie {
    fn is_live(&self, now: OffsetDateTime) -> bool {
        self.expires_at.is_none_or(|expires_at| expires_at > now)
    }

    fn is_sent(&self, url: &Url, context: Context, now: OffsetDateTime) -> bool {
        let host = url.host_str().unwrap_or_default();
        let host_matches = host == self.domain || (!self.host_only && is_below(host, &self.domain));
        let path = url.path();
        let path_matches = path == self.path
            || path
                .strip_prefix(self.path.as_str())
                .is_some_and(|rest| self.path.ends_with('/') || rest.starts_with('/'));
        let site_matches = match context {
            Context::SameSite => true,
            Context::CrossSiteNavigation => self.same_site != SameSite::Strict,
            Context::CrossSite => self.same_site == SameSite::None,
        };
        self.is_live(now)
            && host_matches
            && path_matches
            && site_matches
            && (!self.secure || url.scheme() == "https")
    }
}

fn parse(url: &Url, set_cookie: &str, now: OffsetDateTime) -> Option<StoredCookie> {
    let mut parts = set_cookie.split(';').map(str::trim);
    let (name, value) = parts.next()?.split_once('=')?;
    let host = url.host_str()?.to_owned();
    let mut cookie = StoredCookie {
        name: name.to_owned(),
        value: value.to_owned(),
        domain: host.clone(),
        host_only: true,
        path: default_path(url),
        secure: false,
        http_only: false,
        // Chromium's default for cookies that do not say.
        same_site: SameSite::Lax,
        expires_at: None,
    };
    for part in parts {
        let (attribute, value) = part.split_once('=').unwrap_or((part, ""));
        match attribute.to_ascii_lowercase().as_str() {
            "domain" => {
                value.trim_start_matches('.').clone_into(&mut cookie.domain);
                cookie.host_only = false;
            }
            "path" if value.starts_with('/') => value.clone_into(&mut cookie.path),
            "secure" => cookie.secure = true,
            "httponly" => cookie.http_only = true,
            "max-age" => cookie.expires_at = Some(now + Duration::seconds(value.parse().ok()?)),
            "samesite" => {
                cookie.same_site = match value.to_ascii_lowercase().as_str() {
                    "none" => SameSite::None,
                    "strict" => SameSite::Strict,
                    _ => SameSite::Lax,
                };
            }
            "expires" => panic!("the jar knows Max-Age only"),
            _ => {}
        }
    }
    is_acceptable(&cookie, &host, url.scheme() == "https").then_some(cookie)
}

fn is_acceptable(cookie: &StoredCookie, host: &str, secure_origin: bool) -> bool {
    let domain_fits = cookie.host_only || cookie.domain == host || is_below(host, &cookie.domain);
    let is_suffix = !cookie.host_only && !cookie.domain.contains('.');
    let secure_fits = !cookie.secure || secure_origin;
    let none_fits = cookie.same_site != SameSite::None || cookie.secure;
    let lower = cookie.name.to_ascii_lowercase();
    let prefix_fits = if lower.starts_with("__host-") {
        cookie.secure && cookie.host_only && cookie.path == "/"
    } else {
        !lower.starts_with("__secure-") || cookie.secure
    };
    domain_fits
        && !is_suffix
        && secure_fits
        && none_fits
        && prefix_fits
        && cookie.name.len() + cookie.value.len() <= 4096
}

fn default_path(url: &Url) -> String {
    match url.path().rfind('/') {
        Some(at) if at > 0 => url.path()[..at].to_owned(),
        _ => "/".to_owned(),
    }
}

fn is_below(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'))
}

/// Scheme and registrable domain. In the names of the tests the public suffix is the last label.
pub(crate) fn site(url: &Url) -> String {
    let host = match url.host() {
        Some(Host::Domain(name)) => {
            let labels: Vec<&str> = name.rsplitn(3, '.').take(2).collect();
            labels.into_iter().rev().collect::<Vec<_>>().join(".")
        }
        Some(address) => address.to_string(),
        None => String::new(),
    };
    format!("{}://{host}", url.scheme())
}
