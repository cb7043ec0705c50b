//! Signing in over HTTP: the production router, a simulated upstream, a person with a cookie jar.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it like the test itself"
)]

#[path = "common/database.rs"]
mod database;

use std::collections::BTreeMap;

use database::TestDatabase;
use reqwest::{Method, Response, StatusCode, header};
use riley_auth::clock::Clock;
use riley_auth::config::Config;
use riley_auth::db;
use riley_auth::dev::simulated_upstream::{
    Options, SigningAlgorithm as UpstreamAlgorithm, SimulatedUpstream,
};
use riley_auth::http::state::AppState;
use riley_auth::jwt::{KeySet, KeySource, generate};
use riley_auth::protocol::algorithm::SigningAlgorithm;
use riley_auth::protocol::client::{Client, ClientType, GrantType};
use riley_auth::protocol::ids::ClientId;
use riley_auth::protocol::scope::ScopeSet;
use riley_auth::server;
use serde_json::{Value, json};
use time::Duration;
use tokio::net::TcpListener;

/// A running server, its upstream and its database.
struct Server {
    issuer: String,
    state: AppState,
    clock: Clock,
    _upstream: SimulatedUpstream,
    _database: TestDatabase,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.state.shutdown.cancel();
    }
}

/// A person's browser: one cookie jar for this one server.
#[derive(Clone)]
struct Browser {
    http: reqwest::Client,
    issuer: String,
    cookies: BTreeMap<String, String>,
}

impl Server {
    async fn start(oauth: Value) -> Self {
        let database = TestDatabase::create().await;
        let clock = Clock::default();
        let upstream = SimulatedUpstream::start(Options {
            signing_algorithm: UpstreamAlgorithm::Es256,
            clock: clock.clone(),
            ..Options::default()
        })
        .await
        .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let mut oauth = oauth;
        oauth["providers"] = json!({ "it": {
            "issuer": upstream.issuer(),
            "client_id": "app",
            "client_secret": upstream.client_secret(),
            "allow_insecure_http": true,
        }});
        let config: Config = serde_json::from_value(json!({
            "server": { "first_party_origins": ["https://app.example.com"] },
            "database": { "url": database.url },
            "jwt": { "issuer": issuer },
            "oauth": oauth,
        }))
        .unwrap();
        let key = generate::generate(SigningAlgorithm::Es256, None).unwrap();
        let keys = KeySet::new(vec![KeySource {
            algorithm: key.algorithm,
            private_key_pem: Some(key.private_key_pem),
            public_key_pem: None,
            kid: None,
            signs_from: None,
            origin: "test".to_owned(),
        }])
        .unwrap();
        let state = server::state(config, keys, clock.clone()).unwrap();
        tokio::spawn(server::run(state.clone(), vec![listener]));
        Self {
            issuer,
            state,
            clock,
            _upstream: upstream,
            _database: database,
        }
    }

    fn browser(&self) -> Browser {
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .unwrap();
        Browser {
            http,
            issuer: self.issuer.clone(),
            cookies: BTreeMap::new(),
        }
    }
}

impl Browser {
    async fn send(&mut self, method: Method, path: &str, body: Option<Value>) -> Response {
        let cookies: Vec<String> = self
            .cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let mut request = self
            .http
            .request(method, format!("{}{path}", self.issuer))
            .header(header::COOKIE, cookies.join("; "))
            .header("x-requested-with", "fetch");
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        for line in response.headers().get_all(header::SET_COOKIE) {
            let line = line.to_str().unwrap();
            let (name, value) = line.split(';').next().unwrap().split_once('=').unwrap();
            if value.is_empty() {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        response
    }

    async fn get(&mut self, path: &str) -> Response {
        self.send(Method::GET, path, None).await
    }

    async fn post(&mut self, path: &str) -> Response {
        self.send(Method::POST, path, None).await
    }

    /// Starts a login and signs in at the upstream as `person`; the path of the callback with its query.
    async fn to_callback(&mut self, person: &str, query: &str) -> String {
        let start = self.get(&format!("/auth/it{query}")).await;
        assert_eq!(start.status(), StatusCode::SEE_OTHER);
        let page = self.http.get(location(&start)).send().await.unwrap();
        let page = page.text().await.unwrap();
        let action = page.split_once("action=\"").unwrap().1.split_once('"').unwrap().0;
        let action = action.replace("&amp;", "&");
        let form = [("person", person)];
        let back = self.http.post(action).form(&form).send().await.unwrap();
        location(&back).strip_prefix(&self.issuer).unwrap().to_owned()
    }

    async fn sign_in(&mut self, person: &str) -> Response {
        let callback = self.to_callback(person, "").await;
        self.get(&callback).await
    }

    async fn me(&mut self) -> Value {
        self.get("/auth/me").await.json().await.unwrap()
    }
}

fn location(response: &Response) -> String {
    response.headers()[header::LOCATION].to_str().unwrap().to_owned()
}

fn auto() -> Value {
    json!({ "onboarding": "auto", "default_return_to": "https://app.example.com/home" })
}

#[tokio::test]
async fn a_newcomer_is_in_and_comes_back_to_the_same_account() {
    let server = Server::start(auto()).await;
    let mut browser = server.browser();
    let done = browser.sign_in("alice").await;
    assert_eq!(done.status(), StatusCode::SEE_OTHER);
    assert_eq!(location(&done), "https://app.example.com/home");
    let me = browser.me().await;
    assert!(me["user_id"].is_string(), "{me}");

    let mut elsewhere = server.browser();
    let callback = elsewhere
        .to_callback("alice", "?return_to=https://app.example.com/inbox")
        .await;
    assert_eq!(
        location(&elsewhere.get(&callback).await),
        "https://app.example.com/inbox"
    );
    assert_eq!(elsewhere.me().await["user_id"], me["user_id"]);
}

#[tokio::test]
async fn a_callback_counts_once_and_in_its_own_browser() {
    let server = Server::start(auto()).await;
    let mut browser = server.browser();
    let callback = browser.to_callback("alice", "").await;

    let mut stranger = server.browser();
    stranger.get("/auth/it").await;
    assert_eq!(stranger.get(&callback).await.status(), StatusCode::BAD_REQUEST);
    let head = browser.send(Method::HEAD, &callback, None).await;
    assert_eq!(head.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(browser.get(&callback).await.status(), StatusCode::SEE_OTHER);
    assert_eq!(browser.get(&callback).await.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_form_post_callback_goes_on_by_a_get_that_has_the_cookies() {
    let server = Server::start(auto()).await;
    let mut browser = server.browser();
    let callback = browser.to_callback("alice", "").await;
    let (path, query) = callback.split_once('?').unwrap();
    let response = browser
        .http
        .post(format!("{}{path}", server.issuer))
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(query.to_owned())
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    let next = location(&response);
    assert!(!next.contains("code="));
    let done = browser.get(next.strip_prefix(&server.issuer).unwrap()).await;
    assert_eq!(location(&done), "https://app.example.com/home");
}

#[tokio::test]
async fn nobody_is_sent_to_a_place_that_is_not_ours() {
    let server = Server::start(auto()).await;
    for url in ["https://evil.example", "//evil.example", "/%5Cevil.example"] {
        let response = server.browser().get(&format!("/auth/it?return_to={url}")).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{url}");
    }
}

#[tokio::test]
async fn a_newcomer_picks_a_name_and_a_refused_one_costs_nothing() {
    let server = Server::start(json!({ "onboarding_url": "https://app.example.com/welcome" })).await;
    let mut browser = server.browser();
    let done = browser.sign_in("alice").await;
    assert_eq!(location(&done), "https://app.example.com/welcome");
    assert_eq!(browser.get("/auth/me").await.status(), StatusCode::UNAUTHORIZED);
    let known: Value = browser.get("/auth/setup").await.json().await.unwrap();
    assert!(known["suggested_username"].is_string(), "{known}");
    assert_eq!(
        server.browser().get("/auth/setup").await.status(),
        StatusCode::NOT_FOUND
    );

    for body in [
        json!({ "username": "1" }),
        json!({ "username": "alice", "role": "admin" }),
        json!({ "username": "al ice" }),
    ] {
        let refused = browser.send(Method::POST, "/auth/setup", Some(body)).await;
        assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
    }
    let choice = json!({ "username": "Alice_1" });
    let done = browser
        .send(Method::POST, "/auth/setup", Some(choice.clone()))
        .await;
    assert_eq!(done.status(), StatusCode::OK);
    assert_eq!(browser.me().await["username"], "Alice_1");
    assert_eq!(browser.me().await["role"], "user");
    let again = browser.send(Method::POST, "/auth/setup", Some(choice)).await;
    assert_eq!(again.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_renewal_gives_the_same_cookie_to_two_tabs_and_ends_the_session_of_a_thief() {
    let server = Server::start(auto()).await;
    let mut tab = server.browser();
    tab.sign_in("alice").await;
    let (mut other_tab, mut thief) = (tab.clone(), tab.clone());

    assert_eq!(tab.post("/auth/refresh").await.status(), StatusCode::OK);
    assert_eq!(other_tab.post("/auth/refresh").await.status(), StatusCode::OK);
    assert_eq!(tab.cookies["auth_refresh"], other_tab.cookies["auth_refresh"]);
    server.clock.advance(Duration::seconds(11));
    assert!(tab.me().await["user_id"].is_string());

    let refused = thief.post("/auth/refresh").await;
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    assert!(refused.headers().get(header::SET_COOKIE).is_none());
    assert_eq!(tab.get("/auth/me").await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_logout_ends_the_session_and_leaves_no_cookie() {
    let server = Server::start(auto()).await;
    let mut browser = server.browser();
    browser.sign_in("alice").await;
    let before = browser.clone();

    let forged = browser
        .http
        .post(format!("{}/auth/logout", server.issuer))
        .header(
            header::COOKIE,
            format!("auth_refresh={}", before.cookies["auth_refresh"]),
        )
        .header("origin", "https://evil.example")
        .send()
        .await
        .unwrap();
    assert_eq!(forged.status(), StatusCode::FORBIDDEN);
    assert_eq!(
        browser.post("/auth/logout").await.status(),
        StatusCode::NO_CONTENT
    );
    assert!(browser.cookies.is_empty());
    assert_eq!(
        before.clone().get("/auth/me").await.status(),
        StatusCode::UNAUTHORIZED
    );
}

/// The same person keeps the session with a new cookie value; another person ends it.
#[tokio::test]
async fn signing_in_again_renews_the_session_and_another_person_ends_it() {
    let server = Server::start(auto()).await;
    let mut browser = server.browser();
    browser.sign_in("alice").await;
    let first = browser.clone();
    browser.sign_in("alice").await;
    assert_ne!(first.cookies["auth_refresh"], browser.cookies["auth_refresh"]);
    assert_eq!(
        first.clone().get("/auth/me").await.status(),
        StatusCode::UNAUTHORIZED
    );
    let sessions = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM sessions");
    assert_eq!(sessions.fetch_one(&server.state.db).await.unwrap(), 1);

    let second = browser.clone();
    browser.sign_in("bob").await;
    assert_eq!(
        second.clone().get("/auth/me").await.status(),
        StatusCode::UNAUTHORIZED
    );
    assert!(browser.me().await["user_id"].is_string());
}

/// An authorization request of a public client, as its app sends it.
const AUTHORIZE: &str = "/oauth/authorize?response_type=code&client_id=app&scope=openid&state=s\
&redirect_uri=https://app.example/callback&code_challenge_method=S256\
&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

async fn register_client(server: &Server) {
    let client = Client {
        client_id: ClientId("app".to_owned()),
        name: "App".to_owned(),
        client_type: ClientType::Public,
        secrets: Vec::new(),
        redirect_uris: vec!["https://app.example/callback".to_owned()],
        post_logout_redirect_uris: Vec::new(),
        backchannel_logout_uri: None,
        backchannel_logout_session_required: false,
        scope: ScopeSet::default(),
        grant_types: GrantType::ALL.to_vec(),
        auto_approve: true,
        require_pkce: true,
        token_endpoint_auth_method: None,
        id_token_signed_response_alg: None,
        claims_in_id_token: false,
        audience: None,
        request_object_jwks: None,
        refresh_reuse_leeway_secs: None,
        disabled: false,
        generation: 0,
    };
    db::clients::insert(&server.state.db, &client, server.clock.now())
        .await
        .unwrap();
}

/// Sends the app's request and gives the query that starts the login for it.
async fn request_login(server: &Server, browser: &mut Browser, more: &str) -> String {
    let response = browser.get(&format!("{AUTHORIZE}{more}")).await;
    let start = location(&response);
    let query = start.strip_prefix(&format!("{}/auth/it", server.issuer)).unwrap();
    query.to_owned()
}

/// OpenID Connect Core §3.1.2.1: `prompt=login` is satisfied by the login that was started for the request, once.
#[tokio::test]
async fn a_login_for_a_request_ends_with_a_code_at_the_app() {
    let server = Server::start(auto()).await;
    register_client(&server).await;
    let mut browser = server.browser();
    browser.sign_in("alice").await;

    let query = request_login(&server, &mut browser, "&prompt=login").await;
    let unknown = server.browser().get(&format!("/auth/it{query}")).await;
    assert_eq!(unknown.status(), StatusCode::BAD_REQUEST);
    let callback = browser.to_callback("alice", &query).await;
    let resume = location(&browser.get(&callback).await);
    let done = browser.get(resume.strip_prefix(&server.issuer).unwrap()).await;
    let url = location(&done);
    assert!(url.starts_with("https://app.example/callback?code="), "{url}");
}

/// RFC 6749 §4.1.2.1: a login that the person cancels is `access_denied` at the app; nothing of the upstream's words.
#[tokio::test]
async fn a_cancelled_login_is_access_denied() {
    let server = Server::start(auto()).await;
    register_client(&server).await;
    let mut browser = server.browser();
    let denied = |callback: &str| {
        let state = callback
            .split_once("state=")
            .unwrap()
            .1
            .split('&')
            .next()
            .unwrap();
        format!("/auth/it/callback?error=access_denied&error_description=evil&state={state}")
    };

    let query = request_login(&server, &mut browser, "").await;
    let callback = browser.to_callback("alice", &query).await;
    let resume = location(&browser.get(&denied(&callback)).await);
    let done = browser.get(resume.strip_prefix(&server.issuer).unwrap()).await;
    let url = location(&done);
    assert!(
        url.contains("error=access_denied") && !url.contains("evil"),
        "{url}"
    );

    let callback = browser.to_callback("alice", "").await;
    let url = location(&browser.get(&denied(&callback)).await);
    assert_eq!(url, "https://app.example.com/home?error=access_denied");
    assert_eq!(browser.get("/auth/me").await.status(), StatusCode::UNAUTHORIZED);
}
