//! A browser without a screen: it keeps cookies, follows redirects, reads and sends forms, fetches under CORS.
//!
//! Host names are mapped to the sockets of the test. At a host that nobody serves (an app's, the deployer's pages) it stops,
//! and the test looks at the URL.

use std::sync::Mutex;

use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};
use serde_json::Value;
use time::OffsetDateTime;
use url::Url;

use super::answer::Answer;
use super::cookies::{Context, CookieJar, site};
use super::html::{self, Form};
use super::provider::TestProvider;

const MAX_REDIRECTS: usize = 20;

/// Somebody's browser. Several tabs may use it at once.
pub(crate) struct Browser {
    pub(crate) op: TestProvider,
    jar: Mutex<CookieJar>,
    /// Headers of every request: what the browser says of itself, what a proxy before it adds.
    always: HeaderMap,
}

/// Where a navigation ended.
#[derive(Clone, Debug)]
pub(crate) struct Visit {
    pub(crate) url: Url,
    /// What a form sent there, when nobody serves that host.
    pub(crate) posted: Vec<(String, String)>,
    /// `None`: nobody serves that host.
    pub(crate) answer: Option<Answer>,
    /// Every answer on the way, the last one included.
    pub(crate) hops: Vec<(Url, Answer)>,
}

/// A top-level navigation.
#[derive(Clone, Debug)]
pub(crate) struct Navigation {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) form: Vec<(String, String)>,
    /// The page it was started from; `None`: typed in.
    pub(crate) initiator: Option<Url>,
    /// That page's `Referrer-Policy` is `no-referrer`.
    pub(crate) hides_origin: bool,
}

/// Why a page's script does not see an answer (Fetch §3.3).
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct CorsRefused;

impl Visit {
    /// The status, where somebody answered.
    pub(crate) fn status(&self) -> Option<StatusCode> {
        self.answer.as_ref().map(|answer| answer.status)
    }

    pub(crate) fn text(&self) -> &str {
        self.answer.as_ref().map_or("", |answer| answer.text.as_str())
    }

    /// The first form of the page.
    pub(crate) fn form(&self) -> Option<Form> {
        html::forms(self.text()).into_iter().next()
    }

    /// A parameter of the URL.
    pub(crate) fn query(&self, name: &str) -> Option<String> {
        query(&self.url, name)
    }
}

/// A parameter of the URL, which has to stand there at most once.
pub(crate) fn query(url: &Url, name: &str) -> Option<String> {
    let mut values = url
        .query_pairs()
        .filter(|(own, _)| own == name)
        .map(|(_, value)| value.into_owned());
    let value = values.next();
    assert_eq!(values.next(), None, "{name} stands twice in {url}");
    value
}

impl Browser {
    pub(crate) fn new(op: &TestProvider) -> Self {
        Self {
            op: op.clone(),
            jar: Mutex::new(CookieJar::default()),
            always: HeaderMap::new(),
        }
    }

    /// The same, with a header on everything that it sends.
    pub(crate) fn saying(mut self, name: &str, value: &str) -> Self {
        put(&mut self.always, name, value);
        self
    }

    /// The same cookies in a browser that goes its own way from here: a stolen profile.
    pub(crate) fn copy(&self) -> Self {
        Self {
            op: self.op.clone(),
            jar: Mutex::new(self.jar()),
            always: self.always.clone(),
        }
    }

    /// The same browser, sent to another instance.
    pub(crate) fn at(&self, op: &TestProvider) -> Self {
        Self {
            op: op.clone(),
            jar: Mutex::new(self.jar()),
            always: self.always.clone(),
        }
    }

    /// The cookies as they are now.
    pub(crate) fn jar(&self) -> CookieJar {
        self.jar.lock().unwrap().clone()
    }

    pub(crate) fn change_cookies(&self, change: impl FnOnce(&mut CookieJar)) {
        change(&mut self.jar.lock().unwrap());
    }

    fn now(&self) -> OffsetDateTime {
        self.op.clock().now()
    }

    /// Types a URL in.
    pub(crate) async fn open(&self, url: &str) -> Visit {
        self.navigate(Navigation::get(url, None)).await
    }

    /// Follows a link on a page.
    pub(crate) async fn follow(&self, from: &str, url: &str) -> Visit {
        self.navigate(Navigation::get(url, Some(from))).await
    }

    /// Sends a form of a page somewhere.
    pub(crate) async fn post_form(&self, from: &str, url: &str, form: Vec<(String, String)>) -> Visit {
        let navigation = Navigation {
            method: Method::POST,
            form,
            ..Navigation::get(url, Some(from))
        };
        self.navigate(navigation).await
    }

    /// Fills in the page's first form, pressing the button or overwriting the fields in `with`.
    pub(crate) async fn submit(&self, page: &Visit, with: &[(&str, &str)]) -> Visit {
        let form = page
            .form()
            .unwrap_or_else(|| panic!("there is no form: {}", page.text()));
        let action = page.url.join(&form.action).expect("the action is a URL");
        let mut fields = form.fields;
        for (name, value) in with {
            fields.retain(|(own, _)| own != name);
            fields.push(((*name).to_owned(), (*value).to_owned()));
        }
        let policy = page
            .answer
            .as_ref()
            .and_then(|answer| answer.headers.get("referrer-policy").cloned());
        let mut navigation = Navigation::get(action.as_str(), Some(page.url.as_str()));
        navigation.hides_origin = policy.is_some_and(|policy| policy == "no-referrer");
        if form.method == "post" {
            navigation.method = Method::POST;
            navigation.form = fields;
        } else {
            navigation.url.query_pairs_mut().clear().extend_pairs(fields);
        }
        self.navigate(navigation).await
    }

    /// Goes there and wherever it is sent on to.
    pub(crate) async fn navigate(&self, navigation: Navigation) -> Visit {
        let Navigation {
            mut method,
            mut url,
            mut form,
            initiator,
            hides_origin,
        } = navigation;
        let mut crossed = false;
        let mut hops: Vec<(Url, Answer)> = Vec::new();
        for _ in 0..MAX_REDIRECTS {
            let same_site = initiator.as_ref().is_none_or(|from| site(from) == site(&url));
            crossed |= !same_site;
            let Some((address, host)) = self.op.locate(&url) else {
                return Visit {
                    url,
                    posted: form,
                    answer: None,
                    hops,
                };
            };
            let context = match (same_site, &method) {
                (true, _) => Context::SameSite,
                (false, &Method::GET) => Context::CrossSiteNavigation,
                (false, _) => Context::CrossSite,
            };
            let mut request = self.op.http().request(method.clone(), address);
            let mut headers = self.always.clone();
            put(&mut headers, "host", &host);
            put(
                &mut headers,
                "accept",
                "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            );
            put(&mut headers, "sec-fetch-mode", "navigate");
            put(&mut headers, "sec-fetch-dest", "document");
            put(
                &mut headers,
                "sec-fetch-site",
                fetch_site(initiator.as_ref(), &url, crossed),
            );
            if method == Method::POST {
                let origin = initiator
                    .as_ref()
                    .map_or_else(|| "null".to_owned(), |from| from.origin().ascii_serialization());
                put(
                    &mut headers,
                    "origin",
                    if hides_origin { "null" } else { &origin },
                );
                request = request.form(&form);
            }
            if let Some(cookies) = self.jar.lock().unwrap().header(&url, context, self.now()) {
                put(&mut headers, "cookie", &cookies);
            }
            let answer = Answer::of(request.headers(headers)).await;
            // A top-level navigation may set any cookie, wherever it came from.
            self.keep_cookies(&url, &answer, Context::CrossSiteNavigation);
            hops.push((url.clone(), answer.clone()));
            let Some(location) = answer
                .header("location")
                .filter(|_| answer.status.is_redirection())
            else {
                return Visit {
                    url,
                    posted: Vec::new(),
                    answer: Some(answer),
                    hops,
                };
            };
            url = url.join(location).expect("Location is a URL");
            if !matches!(answer.status.as_u16(), 307 | 308) {
                method = Method::GET;
                form.clear();
            }
        }
        let way: Vec<&str> = hops.iter().map(|(url, _)| url.as_str()).collect();
        panic!("too many redirects: {way:#?}");
    }

    /// A script on `page` fetches a URL with credentials. Redirects are answers here.
    pub(crate) async fn fetch(
        &self,
        page: &str,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        json: Option<&Value>,
    ) -> Result<Answer, CorsRefused> {
        let (page, url) = (Url::parse(page).unwrap(), Url::parse(url).unwrap());
        let cross_origin = page.origin() != url.origin();
        let origin = page.origin().ascii_serialization();
        let context = if site(&page) == site(&url) {
            Context::SameSite
        } else {
            Context::CrossSite
        };
        let (address, host) = self.op.locate(&url).expect("somebody serves what is fetched");
        let simple = matches!(method, Method::GET | Method::POST | Method::HEAD)
            && headers.is_empty()
            && json.is_none();
        if cross_origin && !simple {
            self.preflight(&address, &host, &origin, &method, headers, json.is_some())
                .await?;
        }
        let mut sent = self.always.clone();
        put(&mut sent, "host", &host);
        put(&mut sent, "sec-fetch-mode", "cors");
        put(&mut sent, "sec-fetch-dest", "empty");
        put(
            &mut sent,
            "sec-fetch-site",
            fetch_site(Some(&page), &url, context == Context::CrossSite),
        );
        if cross_origin || method != Method::GET {
            put(&mut sent, "origin", &origin);
        }
        for (name, value) in headers {
            put(&mut sent, name, value);
        }
        if let Some(cookies) = self.jar.lock().unwrap().header(&url, context, self.now()) {
            put(&mut sent, "cookie", &cookies);
        }
        let mut request = self.op.http().request(method, address).headers(sent);
        if let Some(json) = json {
            request = request.json(json);
        }
        let answer = Answer::of(request).await;
        self.keep_cookies(&url, &answer, context);
        if cross_origin {
            allows(&answer, &origin)?;
        }
        Ok(answer)
    }

    async fn preflight(
        &self,
        address: &str,
        host: &str,
        origin: &str,
        method: &Method,
        headers: &[(&str, &str)],
        json: bool,
    ) -> Result<(), CorsRefused> {
        let mut names: Vec<String> = headers
            .iter()
            .map(|(name, _)| name.to_ascii_lowercase())
            .collect();
        if json && !names.contains(&"content-type".to_owned()) {
            names.push("content-type".to_owned());
        }
        names.sort();
        let request = self
            .op
            .http()
            .request(Method::OPTIONS, address)
            .header("host", host)
            .header("origin", origin);
        let request = request
            .header("access-control-request-method", method.as_str())
            .header("access-control-request-headers", names.join(","));
        let answer = Answer::of(request).await;
        allows(&answer, origin)?;
        let list = |name: &str| answer.header(name).unwrap_or_default().to_ascii_lowercase();
        let contains = |list: &str, item: &str| list.split(',').any(|own| own.trim() == item);
        let methods = list("access-control-allow-methods");
        let allowed = list("access-control-allow-headers");
        let simple = matches!(*method, Method::GET | Method::POST | Method::HEAD);
        let fits = answer.status.is_success()
            && (simple || contains(&methods, &method.as_str().to_ascii_lowercase()))
            && names.iter().all(|name| contains(&allowed, name));
        if fits { Ok(()) } else { Err(CorsRefused) }
    }

    fn keep_cookies(&self, url: &Url, answer: &Answer, context: Context) {
        let now = self.now();
        let mut jar = self.jar.lock().unwrap();
        for value in answer.headers.get_all("set-cookie") {
            jar.store(url, value.to_str().expect("a cookie is text"), context, now);
        }
    }
}

impl Navigation {
    pub(crate) fn get(url: &str, initiator: Option<&str>) -> Self {
        Self {
            method: Method::GET,
            url: Url::parse(url).unwrap_or_else(|_| panic!("{url} is no URL")),
            form: Vec::new(),
            initiator: initiator.map(|from| Url::parse(from).expect("a page has a URL")),
            hides_origin: false,
        }
    }
}

/// Whether a script of `origin` sees this answer to a request with credentials (Fetch §4.9).
fn allows(answer: &Answer, origin: &str) -> Result<(), CorsRefused> {
    let fits = answer.header("access-control-allow-origin") == Some(origin)
        && answer.header("access-control-allow-credentials") == Some("true");
    if fits { Ok(()) } else { Err(CorsRefused) }
}

fn fetch_site(initiator: Option<&Url>, url: &Url, crossed: bool) -> &'static str {
    match initiator {
        None => "none",
        Some(_) if crossed => "cross-site",
        Some(from) if from.origin() == url.origin() => "same-origin",
        Some(_) => "same-site",
    }
}

fn put(headers: &mut HeaderMap, name: &str, value: &str) {
    let name: reqwest::header::HeaderName = name.parse().expect("a header name");
    headers.insert(name, value.parse().expect("a header value"));
}
