//! A provider on a database, an upstream and a clock of its own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use aws_lc_rs::rand::SystemRandom;
use reqwest::Method;
use riley_auth::clock::Clock;
use riley_auth::config::Config;
use riley_auth::db;
use riley_auth::db::Pool;
use riley_auth::dev::simulated_upstream::{
    Options, SigningAlgorithm as UpstreamAlgorithm, SimulatedUpstream,
};
use riley_auth::http::state::AppState;
use riley_auth::jwt::{KeySet, KeySource, generate};
use riley_auth::protocol::algorithm::SigningAlgorithm;
use riley_auth::protocol::client::{Client, ClientSecret, ClientType, GrantType};
use riley_auth::protocol::ids::ClientId;
use riley_auth::protocol::opaque::Opaque;
use riley_auth::protocol::scope::ScopeSet;
use riley_auth::server;
use time::Duration;
use tokio::net::TcpListener;
use url::Url;

use super::answer::Answer;
use super::app::TestClient;
use super::browser::Browser;
use super::database::TestDatabase;
use super::random_text;

/// The issuer: https, as in production, while the socket is plain.
pub(crate) const ISSUER: &str = "https://op.test";
/// The origin of the deployer's own pages: another origin of the same site, so that it is sent `SameSite=Lax` cookies.
pub(crate) const PAGES: &str = "https://pages.op.test";
/// The origin of the apps: another site.
pub(crate) const APP: &str = "https://app.test";
/// The redirect URI that clients are registered with.
pub(crate) const CALLBACK: &str = "https://app.test/callback";

/// A running provider. Clones are the same one.
#[derive(Clone)]
pub(crate) struct TestProvider(Arc<Inner>);

struct Inner {
    state: AppState,
    address: SocketAddr,
    http: reqwest::Client,
    shared: Arc<Shared>,
}

/// What several instances over one database have in common.
struct Shared {
    clock: Clock,
    upstream: SimulatedUpstream,
    database: TestDatabase,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.state.shutdown.cancel();
    }
}

impl TestProvider {
    /// A provider as most tests want it: one upstream, the deployer's pages elsewhere, usernames derived.
    pub(crate) async fn start() -> Self {
        Self::with(|_| ()).await
    }

    /// The same with another configuration.
    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        // A second that passes by itself must not decide which side of a limit a test falls on.
        let clock = Clock::held();
        let upstream = start_upstream(Options::default(), &clock).await;
        Self::beside(clock, upstream, change).await
    }

    /// The same with an upstream of the test's making. More of them may be named in the configuration: browsers find
    /// whatever listens on loopback.
    pub(crate) async fn beside(
        clock: Clock,
        upstream: SimulatedUpstream,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let database = TestDatabase::create().await;
        let mut config = configuration(&database.url, &upstream.issuer());
        change(&mut config);
        let shared = Shared {
            clock,
            upstream,
            database,
        };
        Self::run(config, Arc::new(shared)).await
    }

    /// Another process's equivalent: the same configuration, keys and database, memory and connections of its own.
    pub(crate) async fn second_instance(&self) -> Self {
        self.reconfigured(|_| ()).await
    }

    /// The same with another configuration, as after a restart; this instance goes on.
    pub(crate) async fn reconfigured(&self, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = (*self.0.state.config).clone();
        change(&mut config);
        Self::run(config, Arc::clone(&self.0.shared)).await
    }

    /// The same by another clock, as after a restart on a machine whose clock was set.
    pub(crate) async fn at_another_time(&self, clock: &Clock) -> Self {
        let config = (*self.0.state.config).clone();
        Self::run_by(config, clock, Arc::clone(&self.0.shared)).await
    }

    /// The configuration as a file has it, for a process of its own over the same database. Its upstream is out of reach,
    /// since a real process insists on https: people sign in here, and use the process with the session they have.
    pub(crate) fn configuration_text(&self) -> String {
        configuration_text(&self.0.shared.database.url, "https://upstream.test")
            .replace("allow_insecure_http = true", "")
    }

    /// Browsers and clients of this one talk to the process that listens at `address`.
    pub(crate) fn served_at(&self, address: SocketAddr) -> Self {
        self.reached(address, reqwest::Client::builder())
    }

    /// The same with a connection for each request, which a balancer at `address` hands to one instance after the other.
    pub(crate) fn spread_from(&self, address: SocketAddr) -> Self {
        self.reached(address, reqwest::Client::builder().pool_max_idle_per_host(0))
    }

    fn reached(&self, address: SocketAddr, http: reqwest::ClientBuilder) -> Self {
        let shared = Arc::clone(&self.0.shared);
        let state = state((*self.0.state.config).clone(), &shared.clock);
        Self::with_address(state, address, shared, http)
    }

    /// Stops server and workers, and waits for their end. What is left are the means of the kit: database, clock, browsers.
    pub(crate) async fn stopped(&self) -> Self {
        self.0.state.shutdown.cancel();
        while !self.0.state.db.is_closed() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        self.served_at(self.0.address)
    }

    async fn run(config: Config, shared: Arc<Shared>) -> Self {
        let clock = shared.clock.clone();
        Self::run_by(config, &clock, shared).await
    }

    async fn run_by(config: Config, clock: &Clock, shared: Arc<Shared>) -> Self {
        let state = state(config, clock);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("a bound socket has an address");
        tokio::spawn(server::run(state.clone(), vec![listener]));
        Self::with_address(state, address, shared, reqwest::Client::builder())
    }

    fn with_address(
        state: AppState,
        address: SocketAddr,
        shared: Arc<Shared>,
        http: reqwest::ClientBuilder,
    ) -> Self {
        let http = http
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(std::time::Duration::from_mins(1))
            .build()
            .expect("an HTTP client can be made");
        Self(Arc::new(Inner {
            state,
            address,
            http,
            shared,
        }))
    }

    /// A browser that nobody has used.
    pub(crate) fn browser(&self) -> Browser {
        Browser::new(self)
    }

    /// A browser in which this person has signed in.
    pub(crate) async fn signed_in(&self, person: &str) -> Browser {
        let browser = self.browser();
        browser.sign_in(person).await;
        browser
    }

    /// A confidential client that needs neither PKCE nor consent.
    pub(crate) async fn client(&self) -> TestClient {
        self.client_with(|_| ()).await
    }

    /// The same, changed before it is registered.
    pub(crate) async fn client_with(&self, change: impl FnOnce(&mut Client)) -> TestClient {
        let secret = Opaque::generate(&SystemRandom::new());
        let mut client = Client {
            client_id: ClientId(format!("app-{}", random_text(12))),
            name: "The App".to_owned(),
            client_type: ClientType::Confidential,
            secrets: vec![ClientSecret {
                hash: secret.hash(),
                expires_at: None,
            }],
            redirect_uris: vec![CALLBACK.to_owned()],
            post_logout_redirect_uris: Vec::new(),
            backchannel_logout_uri: None,
            backchannel_logout_session_required: false,
            scope: ScopeSet::parse("address phone offline_access").expect("these are scopes"),
            grant_types: vec![GrantType::AuthorizationCode, GrantType::RefreshToken],
            auto_approve: true,
            require_pkce: false,
            token_endpoint_auth_method: None,
            id_token_signed_response_alg: None,
            claims_in_id_token: false,
            audience: None,
            request_object_jwks: None,
            refresh_reuse_leeway_secs: None,
            disabled: false,
            generation: 0,
        };
        change(&mut client);
        let secret = (client.client_type == ClientType::Confidential).then(|| secret.expose());
        if secret.is_none() {
            client.secrets.clear();
        }
        db::clients::insert(self.db(), &client, self.clock().now())
            .await
            .expect("the client can be registered");
        TestClient::new(self, client, secret)
    }

    /// A client that asks people for consent.
    pub(crate) async fn asking_client(&self) -> TestClient {
        self.client_with(|client| client.auto_approve = false).await
    }

    /// A public client: PKCE, no secret.
    pub(crate) async fn public_client(&self) -> TestClient {
        self.client_with(|client| client.client_type = ClientType::Public)
            .await
    }

    /// The database, for what cannot be seen from outside.
    pub(crate) fn db(&self) -> &Pool {
        &self.0.state.db
    }

    /// The clock of provider and upstream.
    pub(crate) fn clock(&self) -> &Clock {
        &self.0.shared.clock
    }

    /// Lets time pass.
    pub(crate) fn advance(&self, by: Duration) {
        self.0.shared.clock.advance(by);
    }

    /// Lets whole seconds pass.
    pub(crate) fn advance_secs(&self, secs: i64) {
        self.advance(Duration::seconds(secs));
    }

    /// Seconds since the epoch.
    pub(crate) fn now(&self) -> i64 {
        self.clock().now().unix_timestamp()
    }

    /// The upstream.
    pub(crate) fn upstream(&self) -> &SimulatedUpstream {
        &self.0.shared.upstream
    }

    /// The keys as the server has them.
    pub(crate) fn state(&self) -> &AppState {
        &self.0.state
    }

    pub(crate) fn http(&self) -> &reqwest::Client {
        &self.0.http
    }

    /// Where requests for this URL really go, and the `Host` they carry; `None`: nobody serves that host.
    pub(crate) fn locate(&self, url: &Url) -> Option<(String, String)> {
        let host = url.host_str()?;
        let authority = url
            .port()
            .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let query = url.query().map_or_else(String::new, |query| format!("?{query}"));
        let issuer = Url::parse(&self.0.state.config.jwt.issuer).expect("the issuer is a URL");
        if url.origin() == issuer.origin() {
            Some((
                format!("http://{}{}{query}", self.0.address, url.path()),
                authority,
            ))
        } else if url.scheme() == "http" && host == "127.0.0.1" && listens(url) {
            Some((url.to_string(), authority))
        } else {
            None
        }
    }

    /// A request of a program, which has no cookies.
    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.0
            .http
            .request(method, format!("http://{}{path}", self.0.address))
            .header("host", "op.test")
    }

    /// `GET`.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::GET, path)).await
    }

    /// `POST` of a form.
    pub(crate) async fn post(&self, path: &str, form: &[(&str, &str)]) -> Answer {
        Answer::of(self.request(Method::POST, path).form(form)).await
    }

    /// The address of the socket, for requests that no HTTP client would send.
    pub(crate) fn address(&self) -> SocketAddr {
        self.0.address
    }
}

fn state(config: Config, clock: &Clock) -> AppState {
    let keys = KeySet::new(key_sources().clone()).expect("the keys of the tests are sound");
    server::state(config, keys, clock.clone()).expect("the state can be made")
}

/// An upstream on the clock of a provider, with keys that are quickly made.
pub(crate) async fn start_upstream(options: Options, clock: &Clock) -> SimulatedUpstream {
    let options = Options {
        signing_algorithm: UpstreamAlgorithm::Es256,
        clock: clock.clone(),
        ..options
    };
    SimulatedUpstream::start(options)
        .await
        .expect("the simulated upstream starts")
}

fn configuration(database_url: &str, upstream_issuer: &str) -> Config {
    toml::from_str(&configuration_text(database_url, upstream_issuer))
        .expect("the configuration of the tests is sound")
}

/// The configuration of the tests, as a file has it.
fn configuration_text(database_url: &str, upstream_issuer: &str) -> String {
    format!(
        r#"
        [server]
        first_party_origins = ["{PAGES}"]
        shutdown_grace_secs = 1
        [database]
        url = "{database_url}"
        secret_key = "a-secret-key-of-the-tests-0123456789"
        max_connections = 8
        acquire_timeout_secs = 30
        [rate_limiting]
        enabled = false
        [jwt]
        issuer = "{ISSUER}"
        [oauth]
        login_url = "{PAGES}/login"
        consent_url = "{PAGES}/consent"
        onboarding_url = "{PAGES}/welcome"
        link_url = "{PAGES}/link"
        error_url = "{PAGES}/error"
        signed_out_url = "{PAGES}/signed-out"
        default_return_to = "{PAGES}/home"
        onboarding = "auto"
        [oauth.providers.simulated]
        issuer = "{upstream_issuer}"
        client_id = "simulated-client"
        client_secret = "simulated-secret"
        scopes = ["openid", "profile", "email", "address", "phone"]
        email_trust = "verified"
        allow_insecure_http = true
        [claims]
        passthrough = ["given_name", "family_name", "middle_name", "nickname", "profile", "website", "gender",
            "birthdate", "zoneinfo", "locale", "address", "phone_number", "phone_number_verified"]
        "#
    )
}

/// The keys, made once: an RSA key takes its time.
fn key_sources() -> &'static Vec<KeySource> {
    static KEYS: OnceLock<Vec<KeySource>> = OnceLock::new();
    KEYS.get_or_init(|| {
        let sizes = BTreeMap::from([("ES256", None), ("RS256", Some(2048))]);
        let make = |algorithm: SigningAlgorithm| {
            let key = generate::generate(algorithm, sizes[algorithm.as_str()]).expect("a key can be made");
            KeySource {
                algorithm,
                private_key_pem: Some(key.private_key_pem),
                public_key_pem: None,
                kid: None,
                signs_from: None,
                origin: algorithm.to_string(),
            }
        };
        vec![make(SigningAlgorithm::Es256), make(SigningAlgorithm::Rs256)]
    })
}

/// Whether anything answers there: an app's loopback redirect is followed no further than that.
fn listens(url: &Url) -> bool {
    let address = SocketAddr::from(([127, 0, 0, 1], url.port_or_known_default().unwrap_or(80)));
    std::net::TcpStream::connect_timeout(&address, std::time::Duration::from_secs(1)).is_ok()
}
