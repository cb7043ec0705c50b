//! Apps that never stop: each refreshes its tokens, asks UserInfo and introspection, and verifies what it was given.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{DecodingKey, Validation};
use reqwest::{Method, RequestBuilder, StatusCode};
use tokio::task::JoinSet;

use crate::common::{TestClient, TestProvider, app::basic};

/// What the apps met, counted by them.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) sent: AtomicU64,
    pub(crate) answered: AtomicU64,
    /// 503 with `Retry-After`: asked again later.
    pub(crate) unavailable: AtomicU64,
    /// 503 without `Retry-After`, 500, or a refusal of something good.
    pub(crate) wrong: AtomicU64,
    /// Introspection called a token inactive that had just been issued.
    pub(crate) wrong_about_tokens: AtomicU64,
    /// No answer: refused, reset, timed out.
    pub(crate) unanswered: AtomicU64,
    pub(crate) verified: AtomicU64,
    /// Signed by a key that the app's copy of the JWKS does not have.
    pub(crate) unverifiable: AtomicU64,
    /// Apps whose refresh token is good for nothing any more.
    pub(crate) lost: AtomicU64,
    /// When each app last got new tokens.
    pub(crate) refreshed: Mutex<Vec<Instant>>,
    /// When somebody was last told to come back.
    pub(crate) last_unavailable: Mutex<Option<Instant>>,
    /// The keys by which access tokens and ID tokens were verified.
    pub(crate) kids: Mutex<BTreeSet<String>>,
}

impl Counts {
    pub(crate) fn of(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }

    /// Every request that was sent came to something that is counted.
    fn are_complete(&self) -> bool {
        let met = [&self.answered, &self.unavailable, &self.wrong, &self.unanswered];
        Self::of(&self.sent) == met.into_iter().map(Self::of).sum::<u64>()
    }

    /// All of it in one line.
    pub(crate) fn summary(&self) -> String {
        format!(
            "{} sent, {} answered well, {} told to come back, {} answered wrongly, {} not answered, {} apps lost",
            Self::of(&self.sent),
            Self::of(&self.answered),
            Self::of(&self.unavailable),
            Self::of(&self.wrong),
            Self::of(&self.unanswered),
            Self::of(&self.lost),
        )
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// How the apps behave.
#[derive(Clone, Copy)]
pub(crate) struct Manner {
    /// For how long an app uses its copy of the JWKS, as `Cache-Control` says.
    pub(crate) jwks_max_age: Duration,
    /// Whether connections are used again.
    pub(crate) keep_alive: bool,
    /// An app does something this often.
    pub(crate) pause: Duration,
}

impl Default for Manner {
    fn default() -> Self {
        Self {
            jwks_max_age: Duration::from_hours(1),
            keep_alive: true,
            pause: Duration::from_millis(5),
        }
    }
}

/// Apps at work until [`stop`](Self::stop).
pub(crate) struct Load {
    pub(crate) counts: Arc<Counts>,
    stop: Arc<AtomicBool>,
    apps: JoinSet<()>,
}

impl Load {
    /// Signs `apps` people in at `home` and lets their apps work at `at`.
    pub(crate) async fn start(home: &TestProvider, at: &TestProvider, apps: usize, manner: Manner) -> Self {
        let counts = Arc::new(Counts::default());
        *counts.refreshed.lock().unwrap() = vec![Instant::now(); apps];
        let stop = Arc::new(AtomicBool::new(false));
        let mut running = JoinSet::new();
        for index in 0..apps {
            let client = home.client().await;
            let browser = home.signed_in(&format!("person-{index}")).await;
            let scope = "openid profile offline_access";
            let tokens = client
                .tokens_of(&browser, &format!("person-{index}"), scope)
                .await;
            let app = App {
                index,
                client: client.at(at),
                http: http(manner.keep_alive),
                manner,
                counts: Arc::clone(&counts),
                refresh_token: tokens.refresh().to_owned(),
                access_token: tokens.access_token.clone(),
                id_token: tokens.id().to_owned(),
                jwks: None,
            };
            let stop = Arc::clone(&stop);
            running.spawn(async move { app.work(&stop).await });
        }
        Self {
            counts,
            stop,
            apps: running,
        }
    }

    /// Lets every app finish what it is at.
    pub(crate) async fn stop(self) -> Arc<Counts> {
        self.stop.store(true, Ordering::Relaxed);
        self.apps.join_all().await;
        assert!(self.counts.are_complete(), "{}", self.counts.summary());
        assert_eq!(Counts::of(&self.counts.wrong_about_tokens), 0);
        self.counts
    }
}

fn http(keep_alive: bool) -> reqwest::Client {
    let builder = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .timeout(Duration::from_secs(20));
    let builder = if keep_alive {
        builder
    } else {
        builder.pool_max_idle_per_host(0)
    };
    builder.build().unwrap()
}

struct App {
    index: usize,
    client: TestClient,
    http: reqwest::Client,
    manner: Manner,
    counts: Arc<Counts>,
    refresh_token: String,
    access_token: String,
    id_token: String,
    jwks: Option<(Instant, JwkSet)>,
}

/// What a request came to.
enum Met {
    Good(String),
    /// Come back, or ask again: nobody answered.
    Again,
    Bad,
}

impl App {
    async fn work(mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            let form = [
                ("grant_type", "refresh_token"),
                ("refresh_token", &self.refresh_token.clone()),
            ];
            match self.send(self.post("/oauth/token").form(&form)).await {
                Met::Good(text) => {
                    let tokens: serde_json::Value = serde_json::from_str(&text).unwrap();
                    self.refresh_token = tokens["refresh_token"].as_str().unwrap().to_owned();
                    self.access_token = tokens["access_token"].as_str().unwrap().to_owned();
                    self.id_token = tokens["id_token"].as_str().unwrap().to_owned();
                    self.counts.refreshed.lock().unwrap()[self.index] = Instant::now();
                    self.verify().await;
                }
                // A client that had no answer presents the same token again, for as long as the leeway lasts.
                Met::Again => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
                Met::Bad => {
                    count(&self.counts.lost);
                    return;
                }
            }
            let bearer = self
                .request(Method::GET, "/oauth/userinfo")
                .bearer_auth(&self.access_token);
            self.send(bearer).await;
            let form = [("token", self.access_token.clone())];
            if let Met::Good(text) = self.send(self.post("/oauth/introspect").form(&form)).await
                && !text.contains("\"active\":true")
            {
                println!("a new token is called {text}");
                count(&self.counts.wrong_about_tokens);
            }
            tokio::time::sleep(self.manner.pause).await;
        }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http
            .request(method, format!("http://{}{path}", self.client.op.address()))
            .header("host", "op.test")
    }

    fn post(&self, path: &str) -> RequestBuilder {
        let authorization = basic(self.client.client_id(), self.client.secret());
        self.request(Method::POST, path)
            .header("authorization", authorization)
    }

    async fn send(&self, request: RequestBuilder) -> Met {
        count(&self.counts.sent);
        let Ok(response) = request.send().await else {
            count(&self.counts.unanswered);
            return Met::Again;
        };
        let status = response.status();
        let comes_back = response.headers().contains_key("retry-after");
        let Ok(text) = response.text().await else {
            count(&self.counts.unanswered);
            return Met::Again;
        };
        match status {
            StatusCode::OK => {
                count(&self.counts.answered);
                Met::Good(text)
            }
            StatusCode::SERVICE_UNAVAILABLE if comes_back => {
                count(&self.counts.unavailable);
                *self.counts.last_unavailable.lock().unwrap() = Some(Instant::now());
                Met::Again
            }
            _ => {
                println!("answered {status}: {text}");
                count(&self.counts.wrong);
                if status == StatusCode::BAD_REQUEST {
                    Met::Bad
                } else {
                    Met::Again
                }
            }
        }
    }

    /// Verifies the access token and the ID token by a copy of the JWKS that is kept for its whole max-age and never fetched
    /// again before, not even for a key that it does not have: the strictest of caches.
    async fn verify(&mut self) {
        let fresh = |(fetched, _): &(Instant, JwkSet)| fetched.elapsed() < self.manner.jwks_max_age;
        if !self.jwks.as_ref().is_some_and(fresh) {
            let fetched = Instant::now();
            match self
                .send(self.request(Method::GET, "/.well-known/jwks.json"))
                .await
            {
                Met::Good(text) => self.jwks = Some((fetched, serde_json::from_str(&text).unwrap())),
                Met::Again | Met::Bad => return,
            }
        }
        let Some((_, jwks)) = &self.jwks else { return };
        for token in [&self.access_token, &self.id_token] {
            if let Some(kid) = verified_by(token, jwks) {
                count(&self.counts.verified);
                self.counts.kids.lock().unwrap().insert(kid);
            } else {
                count(&self.counts.unverifiable);
            }
        }
    }
}

/// The key whose signature it is, if the set has it.
fn verified_by(token: &str, jwks: &JwkSet) -> Option<String> {
    let header = jsonwebtoken::decode_header(token).unwrap();
    let kid = header.kid.unwrap();
    let key = DecodingKey::from_jwk(jwks.find(&kid)?).unwrap();
    let mut validation = Validation::new(header.alg);
    validation.validate_aud = false;
    jsonwebtoken::decode::<serde_json::Value>(token, &key, &validation)
        .is_ok()
        .then_some(kid)
}
