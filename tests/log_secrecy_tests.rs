//! No secret and nothing personal reaches a log line, at whatever level (OB-2, UP-15).
//!
//! One test in a process of its own, since a subscriber is the process's: it takes in everything that the crate says, and
//! what its dependencies say at the level that production admits.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::collections::BTreeSet;

use common::front_end::param;
use common::log::Lines;
use common::provider::ISSUER;
use common::upstreams::with_upstreams;
use common::{Browser, random_text};
use reqwest::Method;
use riley_auth::config::oauth::Onboarding;
use riley_auth::dev::simulated_upstream::{Flavour, Misbehaviour, SimulatedUpstream};
use serde_json::json;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

/// Everything that must stay out, with what it is.
#[derive(Default)]
struct Secrets(BTreeSet<(String, String)>);

impl Secrets {
    fn add(&mut self, what: &str, value: &str) {
        if value.len() >= 6 {
            self.0.insert((value.to_owned(), what.to_owned()));
        }
    }

    /// The parameters of a URL that somebody visited, all but those that name things.
    fn add_url(&mut self, url: &url::Url) {
        const NAMES: [&str; 12] = [
            "client_id",
            "redirect_uri",
            "response_type",
            "scope",
            "prompt",
            "iss",
            "code_challenge_method",
            "max_age",
            "response_mode",
            "error",
            "return_to",
            "action",
        ];
        for (name, value) in url
            .query_pairs()
            .filter(|(name, _)| !NAMES.contains(&name.as_ref()))
        {
            self.add(&format!("the parameter {name}"), &value);
        }
    }

    fn add_cookies(&mut self, browser: &Browser) {
        for cookie in browser.jar().live(browser.op.clock().now()) {
            self.add(&format!("the cookie {}", cookie.name), &cookie.value);
        }
    }

    /// What an upstream was sent.
    fn add_upstream(&mut self, upstream: &SimulatedUpstream) {
        for request in upstream.requests() {
            for (name, value) in request.form.iter().chain(&request.query) {
                let says_nothing = [
                    "grant_type",
                    "client_id",
                    "redirect_uri",
                    "scope",
                    "response_type",
                    "person",
                ];
                let fixed = [
                    "prompt",
                    "max_age",
                    "code_challenge_method",
                    "action",
                    "iss",
                    "misbehaviour",
                    "error",
                ];
                if !says_nothing.contains(&name.as_str()) && !fixed.contains(&name.as_str()) {
                    self.add(&format!("upstream {name}"), value);
                }
            }
            if let Some((_, credentials)) = request
                .header("authorization")
                .and_then(|value| value.split_once(' '))
            {
                self.add("upstream credentials", credentials);
            }
        }
    }
}

const PERSONAL: [&str; 8] = [
    "ada@engine.example",
    "@engine.example",
    "Lovelace",
    "mallory@example.test",
    "@example.test",
    "Ada King",
    "12 St James",
    "simulated-secret",
];

/// OB-2: a journey through everything that handles secrets, successes and failures, and then the log is read.
#[tokio::test]
async fn no_log_line_holds_a_secret_or_an_address() {
    let lines = Lines::default();
    let filter = "info,riley_auth=trace,sqlx=warn,hyper=warn,h2=warn,rustls=warn";
    tracing_subscriber::fmt()
        .json()
        .with_env_filter(EnvFilter::new(filter))
        .with_span_events(FmtSpan::FULL)
        .with_writer(lines.clone())
        .init();

    let list = [
        ("google", Flavour::Google, json!({})),
        ("oidc", Flavour::Oidc, json!({ "email_trust": "verified" })),
    ];
    let (op, others) = with_upstreams(&list, |config| {
        config.oauth.onboarding = Onboarding::Prompt;
        config.jwt.issuer = ISSUER.to_owned();
    })
    .await;
    let app = op.asking_client().await;
    let mut secrets = Secrets::default();
    secrets.add("the client's secret", app.secret());

    // From the app through login, onboarding and consent to tokens, renewed, introspected, revoked.
    let ada = op.browser();
    let verifier = random_text(64);
    let request = ada
        .authorize(&app)
        .scope("openid profile email offline_access")
        .with("login_hint", "ada@engine.example")
        .pkce(&verifier);
    secrets.add_url(&request.url().parse().unwrap());
    secrets.add("the verifier", &verifier);
    let login = request.send().await.page("/login");
    secrets.add_url(&login);
    let page = ada
        .start(&format!("google?request_id={}", param(&login, "request_id")))
        .await;
    secrets.add_url(&page.url);
    let callback = ada.callback_url(&page, "ada", &[]).await;
    secrets.add_url(&callback);
    let welcome = ada.open(callback.as_str()).await;
    secrets.add_cookies(&ada);
    ada.choose("no").await.is(400);
    let done = ada.choose("ada").await.is(200).json();
    let resume = done["redirect_to"].as_str().unwrap().to_owned();
    secrets.add_url(&resume.parse().unwrap());
    let visit = ada.follow(welcome.url.as_str(), &resume).await;
    secrets.add_url(&visit.url);
    let visit = ada.decide(&visit.url.clone(), true).await;
    secrets.add_url(&visit.url);
    let granted = request.read(visit).await.code();
    let tokens = app.redeem(&granted).await.tokens();
    let renewed = app.refresh(tokens.refresh()).await.tokens();
    for tokens in [&tokens, &renewed] {
        secrets.add("an access token", &tokens.access_token);
        secrets.add("a refresh token", tokens.refresh());
        secrets.add("an ID token", tokens.id());
    }
    app.userinfo(&tokens.access_token).await.is(200);
    app.introspect(&tokens.access_token).await.is(200);
    app.userinfo("not-a-token-but-a-secret").await.is(401);
    secrets.add("a wrong token", "not-a-token-but-a-secret");

    // What is refused is tempting to log: replays, reuse, wrong secrets, forged callbacks.
    app.redeem(&granted).await.refused("invalid_grant");
    app.refresh(tokens.refresh()).await.refused("invalid_grant");
    app.revoke(renewed.refresh()).await.is(200);
    let wrong = [
        ("client_id", app.client_id()),
        ("client_secret", "a-wrong-secret-of-mine"),
        ("grant_type", "x"),
    ];
    op.post("/oauth/token", &wrong).await.is_client_error();
    secrets.add("a wrong secret", "a-wrong-secret-of-mine");
    ada.open(callback.as_str()).await;
    op.get(&format!(
        "/oauth/authorize?client_id=nobody&state={}",
        param(&callback, "state")
    ))
    .await
    .is_client_error();
    let thief = ada.copy();
    ada.renew().await.is(200);
    secrets.add_cookies(&ada);
    op.advance_secs(60);
    thief.renew().await.is(401);

    // Upstreams that fail, at every step, and people who decline.
    for wrong in [
        Misbehaviour::TokenFails,
        Misbehaviour::CodeRefused,
        Misbehaviour::WrongNonce,
        Misbehaviour::WrongIssuer,
        Misbehaviour::AlgNone,
        Misbehaviour::UserinfoOtherSubject,
        Misbehaviour::TokenNotJson,
        Misbehaviour::TokenRedirects,
        Misbehaviour::Cancelled,
        Misbehaviour::HostileErrorDescription,
    ] {
        let browser = op.browser();
        let page = browser.start("oidc").await;
        secrets.add_url(&page.url);
        let callback = browser.callback_url(&page, "mallory", &[wrong]).await;
        if wrong != Misbehaviour::HostileErrorDescription {
            secrets.add_url(&callback);
        }
        browser.follow(page.url.as_str(), callback.as_str()).await;
        secrets.add_cookies(&browser);
    }
    // A merge that is suggested, a logout, a disabled account.
    let other = op.browser();
    other.sign_in_amid("oidc", "ada", &[]).await;
    secrets.add_cookies(&other);
    other.choose("other-ada").await.is(200);
    secrets.add_cookies(&other);
    other.call(Method::POST, "/auth/logout", None).await;
    sqlx::query("UPDATE users SET disabled_at = now()")
        .execute(op.db())
        .await
        .unwrap();
    op.browser().sign_in_amid("oidc", "ada", &[]).await;
    secrets.add_upstream(op.upstream());
    secrets.add_upstream(&others[0]);

    let log = lines.text();
    assert!(log.lines().count() > 60, "the log was captured:\n{log}");
    assert!(
        log.contains("/auth/{provider}/callback") && log.contains("an upstream sign-in failed"),
        "{log}"
    );
    assert!(
        secrets.0.len() > 60,
        "there is something to find: {}",
        secrets.0.len()
    );
    let lower = log.to_ascii_lowercase();
    for (value, what) in &secrets.0 {
        let encoded: String = url::form_urlencoded::byte_serialize(value.as_bytes()).collect();
        for text in [value, &encoded] {
            let found = log.lines().find(|line| line.contains(text.as_str()));
            assert!(found.is_none(), "{what} {value} stands in: {}", found.unwrap());
        }
    }
    for personal in PERSONAL {
        let found = lower
            .lines()
            .find(|line| line.contains(&personal.to_ascii_lowercase()));
        assert!(found.is_none(), "{personal} stands in: {}", found.unwrap());
    }
    for word in ["<script", "onerror", "set-cookie", "eyjhbg"] {
        assert!(!lower.contains(word), "{word} stands in the log");
    }
}
