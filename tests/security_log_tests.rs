//! What the log says of security: each event once, by ids, and a panic in one line like everything else (OB-3, OB-4).
//!
//! A process of its own, since a subscriber and a panic hook are the process's.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::process::{Command, Stdio};

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::routing::get;
use common::front_end::with_param;
use common::linking::{link, unlink};
use common::log::Lines;
use common::upstreams::with_upstreams;
use common::{Directory, TestProvider, app};
use reqwest::Method;
use riley_auth::cli::logging;
use riley_auth::clock::Clock;
use riley_auth::config::log::LogConfig;
use riley_auth::config::oauth::AccountMergePolicy;
use riley_auth::dev::simulated_upstream::{Flavour, Misbehaviour};
use riley_auth::outbound::{Client, Policy};
use riley_auth::server::{panics, routes};
use serde_json::{Value, json};
use tower::ServiceExt as _;

/// What the log has said, as events.
trait Events {
    fn take(&self) -> Vec<Value>;
    fn hold(&self, event: &str) -> Value;
}

impl Events for Lines {
    /// What has come since this was last asked.
    fn take(&self) -> Vec<Value> {
        self.taken()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Of what has come, exactly one line is this event, and it names nobody by anything but an id.
    fn hold(&self, event: &str) -> Value {
        let lines = self.take();
        let found: Vec<&Value> = lines.iter().filter(|line| line["event"] == event).collect();
        let [line] = found[..] else {
            panic!("{event}: {found:#?} of {lines:#?}");
        };
        for personal in ["wilhelmina", "ottokar", "127.0.0.1", "@"] {
            assert!(!line.to_string().contains(personal), "{line}");
        }
        line.clone()
    }
}

/// OB-4.
#[tokio::test]
async fn every_security_event_is_one_line_with_ids_only() {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_max_level(tracing::Level::INFO)
        .with_writer(lines.clone())
        .finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let list = [
        ("github", Flavour::GitHub, json!({})),
        ("google", Flavour::Google, json!({})),
    ];
    let (op, _upstreams) = with_upstreams(&list, |config| {
        config.oauth.account_merge_policy = AccountMergePolicy::VerifiedEmail;
    })
    .await;
    lines.take();

    let ada = op.browser();
    ada.sign_in_amid("github", "wilhelmina", &[]).await;
    let line = lines.hold("sign_in.succeeded");
    let account = ada.user_id().await;
    assert_eq!(line["user.id"], account);
    op.browser()
        .sign_in_amid("google", "wilhelmina", &[Misbehaviour::WrongNonce])
        .await;
    lines.hold("sign_in.failed");
    let browser = op.browser();
    let callback = browser.up_to_callback("google", "wilhelmina").await;
    let declined = with_param(&callback, "code", None);
    let declined = with_param(&declined, "error", Some("access_denied"));
    browser.open(declined.as_str()).await;
    lines.hold("sign_in.declined");

    // By an address that both providers vouch for; then by hand.
    op.browser().sign_in_amid("google", "wilhelmina", &[]).await;
    let line = lines.hold("account.merged");
    assert_eq!(line["user.id"], account);
    // A merge ends what was open before.
    let ada = op.browser();
    ada.sign_in_amid("github", "wilhelmina", &[]).await;
    unlink(&ada, "google").await.is(200);
    lines.hold("link.deleted");
    link(&ada, "google", "ottokar").await;
    lines.hold("link.created");

    let client = op.client().await;
    lines.take();
    let guess = op
        .request(Method::POST, "/oauth/token")
        .header("authorization", app::basic(client.client_id(), "wrong"))
        .form(&[("grant_type", "refresh_token"), ("refresh_token", "x")]);
    assert_eq!(guess.send().await.unwrap().status(), 401);
    lines.hold("client_authentication.failed");
    let nobody = op
        .request(Method::POST, "/oauth/token")
        .header("authorization", app::basic("wilhelmina@example.com", "wrong"))
        .form(&[("grant_type", "refresh_token"), ("refresh_token", "x")]);
    assert_eq!(nobody.send().await.unwrap().status(), 401);
    lines.hold("client_authentication.failed");

    let forged = op.request(Method::POST, "/auth/logout").send().await.unwrap();
    assert_eq!(forged.status(), 403);
    lines.hold("csrf.refused");

    let granted = ada.authorize(&client).scope("openid offline_access").code().await;
    let tokens = client.redeem(&granted).await.tokens();
    lines.take();
    client.redeem(&granted).await.refused("invalid_grant");
    let line = lines.hold("authorization_code.replayed");
    assert_eq!(line["client.id"], client.client_id());
    client.refresh(tokens.refresh()).await.refused("invalid_grant");
    let granted = ada.authorize(&client).scope("openid offline_access").code().await;
    let tokens = client.redeem(&granted).await.tokens();
    let newer = client.refresh(tokens.refresh()).await.tokens();
    client.refresh(newer.refresh()).await.tokens();
    lines.take();
    client.refresh(tokens.refresh()).await.refused("invalid_grant");
    assert_eq!(lines.hold("refresh_token.reused")["clock_apart"], false);
    // For the sake of a clock that is an hour behind, what would be a repetition is taken for one, too, and the line says so.
    let granted = ada.authorize(&client).scope("openid offline_access").code().await;
    let tokens = client.redeem(&granted).await.tokens();
    client.refresh(tokens.refresh()).await.tokens();
    let behind = Clock::held();
    behind.set_wall_clock(-time::Duration::HOUR);
    let behind = op.at_another_time(&behind).await;
    lines.take();
    let there = client.at(&behind);
    there.refresh(tokens.refresh()).await.refused("invalid_grant");
    assert_eq!(lines.hold("refresh_token.reused")["clock_apart"], true);

    let admin = op.browser();
    admin.sign_in_amid("google", "kunigunde", &[]).await;
    sqlx::query("UPDATE users SET role = 'admin' WHERE user_id <> $1::uuid")
        .bind(&account)
        .execute(op.db())
        .await
        .unwrap();
    admin.renew().await.is(200);
    lines.take();
    admin
        .send(
            Method::PATCH,
            &format!("/admin/users/{account}/role"),
            &json!({ "role": "admin" }),
        )
        .await
        .is(200);
    lines.hold("user.role_changed");

    let thief = ada.copy();
    ada.renew().await.is(200);
    ada.renew().await.is(200);
    lines.take();
    thief.renew().await.is(401);
    assert_eq!(lines.hold("session_token.reused")["clock_apart"], false);

    admin
        .send(
            Method::PATCH,
            &format!("/admin/users/{account}"),
            &json!({ "disabled": true }),
        )
        .await
        .is(200);
    lines.hold("user.disabled");
    op.browser().sign_in_amid("github", "wilhelmina", &[]).await;
    lines.hold("sign_in.refused");

    let guarded = Client::new(Policy {
        allow_private_ips: false,
    })
    .unwrap();
    let url = "https://localhost/hook".parse().unwrap();
    let headers = axum::http::HeaderMap::new();
    let blocked = guarded.post(&url, "text/plain", headers, String::new());
    assert!(blocked.await.is_err());
    lines.hold("outbound.blocked");
}

/// OB-4: which keys a process has begun with, and which a reload brings.
#[tokio::test]
async fn the_keys_are_named_when_they_are_loaded() {
    let op = TestProvider::start().await;
    let directory = Directory::with_key(&op.configuration_text());
    let process = directory.serve().await;
    process.logs("keys.loaded").await;
    let log = process.log();
    let line = log.lines().find(|line| line.contains("keys.loaded")).unwrap();
    let kid = op.served_at(process.address).get("/.well-known/jwks.json").await;
    let kid = kid.json()["keys"][0]["kid"].as_str().unwrap().to_owned();
    assert!(line.contains(&format!("{kid} ES256 may sign")), "{line}");
    assert!(!line.contains("PRIVATE"), "{line}");
}

const IN_ITS_OWN_PROCESS: &str = "RILEY_AUTH_TEST_HAS_PANICS";
/// What a handler holds when it panics.
const PERSONAL: &str = "wilhelmina@example.com\n{\"level\":\"ERROR\",\"message\":\"forged\"}\u{1b}[2J";

/// A process that logs as `serve` does, and has panics.
async fn have_panics() {
    logging::init(&LogConfig::default());
    panics::log_panics();
    let op = TestProvider::start().await;
    let state = op.state();
    let router = Router::new()
        .route(
            "/literal",
            get(async || -> () { panic!("a text of our sources") }),
        )
        .route("/formatted", get(async || -> () { panic!("{PERSONAL}") }))
        .route(
            "/unwrap",
            get(async || {
                PERSONAL.parse::<u32>().map_err(|_| PERSONAL).unwrap();
            }),
        );
    let router = routes::with_layers(router, state).with_state(state.clone());
    for path in ["/literal", "/formatted", "/unwrap"] {
        let request = Request::get(path)
            .header("host", "op.test")
            .body(Body::empty())
            .unwrap();
        assert_eq!(router.clone().oneshot(request).await.unwrap().status(), 500);
    }
    let task = tokio::spawn(async { panic!("{}", PERSONAL.repeat(1000)) });
    assert!(task.await.is_err());
}

/// OB-3: a panic is one line of JSON with its place, and nothing of what it was about.
#[test]
fn a_panic_is_one_line_and_repeats_nothing_that_came_in() {
    // The hook and standard error are the process's, so the test runs itself in one of its own.
    if std::env::var_os(IN_ITS_OWN_PROCESS).is_some() {
        return tokio::runtime::Runtime::new().unwrap().block_on(have_panics());
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "a_panic_is_one_line_and_repeats_nothing_that_came_in",
            "--nocapture",
        ])
        .env(IN_ITS_OWN_PROCESS, "yes")
        .env_remove("RUST_LOG")
        .env_remove("RUST_BACKTRACE")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{log}");
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")))
        .collect();
    let panics: Vec<&Value> = lines.iter().filter(|line| line["event"] == "panic").collect();
    assert_eq!(panics.len(), 4, "{log}");
    for panic in &panics {
        assert!(
            panic["file"].as_str().unwrap().ends_with("security_log_tests.rs"),
            "{panic}"
        );
        assert!(panic["line"].as_u64().unwrap() > 0, "{panic}");
    }
    assert_eq!(panics[0]["text"], "a text of our sources");
    assert!(!log.contains("wilhelmina") && !log.contains("forged"), "{log}");
}
