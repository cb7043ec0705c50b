//! `GET /metrics`: the names, types and labels that are promised, figures that agree with what was sent and with the database,
//! and who may read them.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(clippy::float_cmp, reason = "counts are whole numbers")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::http::Request;
use axum::routing::get;
use common::receiver::{Behaviour, Receiver};
use common::webhooks::on_loopback;
use common::{Answer, Directory, TestProvider};
use hyper::body::Frame;
use reqwest::Method;
use riley_auth::db::deliveries::Delivery;
use riley_auth::server::{self, key_record, routes};
use secrecy::SecretString;
use tower::ServiceExt as _;

/// Every series with its value.
#[derive(Debug, Default, PartialEq)]
struct Scrape {
    series: BTreeMap<String, f64>,
    /// Of each metric's name.
    types: BTreeMap<String, String>,
}

impl Scrape {
    fn parse(text: &str) -> Self {
        let mut scrape = Self::default();
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                let again = scrape.types.insert(name.to_owned(), kind.to_owned());
                assert_eq!(again, None, "{name} is described twice");
            } else if !line.starts_with('#') {
                let (series, value) = line.rsplit_once(' ').unwrap();
                let again = scrape.series.insert(series.to_owned(), value.parse().unwrap());
                assert_eq!(again, None, "{series} stands twice");
            }
        }
        scrape
    }

    async fn of(op: &TestProvider) -> Self {
        Self::parse(&op.get("/metrics").await.is(200).text)
    }

    /// A series that has never been counted is 0.
    fn value(&self, series: &str) -> f64 {
        self.series.get(series).copied().unwrap_or(0.0)
    }

    /// The names of the labels that a metric has.
    fn labels(&self, name: &str) -> BTreeSet<String> {
        let of_name = self.series.keys().filter_map(|series| {
            let rest = series.strip_prefix(name)?.strip_prefix('{')?;
            rest.strip_suffix('}')
        });
        of_name
            .flat_map(|labels| {
                labels
                    .split("\",")
                    .map(|label| label.split('=').next().unwrap().to_owned())
            })
            .collect()
    }
}

async fn count(op: &TestProvider, rows: &str) -> f64 {
    let statement = sqlx::AssertSqlSafe(format!("SELECT count(*)::float8 FROM {rows}"));
    sqlx::query_scalar(statement).fetch_one(op.db()).await.unwrap()
}

#[tokio::test]
async fn the_metrics_have_the_promised_names_types_and_labels() {
    let op = TestProvider::with(|config| {
        config.rate_limiting.enabled = true;
        config.rate_limiting.public_per_minute = 1;
    })
    .await;
    let app = op.client().await;
    key_record::record(op.state(), op.clock().now()).await.unwrap();
    let tokens = app.tokens_of(&op.browser(), "ada", "openid offline_access").await;
    app.userinfo(&tokens.access_token).await.is(200);
    op.get("/.well-known/jwks.json").await.is(200);
    op.get("/.well-known/jwks.json").await.is(429);
    op.state().metrics.webhook_delivery(true);
    let answer = op.get("/metrics").await;
    assert_eq!(
        answer.header("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    let scrape = Scrape::parse(&answer.text);
    for (name, kind, labels) in [
        (
            "riley_auth_http_requests_total",
            "counter",
            &["method", "path", "status"][..],
        ),
        ("riley_auth_tokens_issued_total", "counter", &["type"]),
        ("riley_auth_token_verifications_total", "counter", &["result"]),
        ("riley_auth_webhook_deliveries_total", "counter", &["status"]),
        ("riley_auth_rate_limit_hits_total", "counter", &["tier"]),
        ("riley_auth_active_sessions", "gauge", &[]),
        ("riley_auth_signing_key_age_seconds", "gauge", &["kid"]),
        ("riley_auth_open_connections", "gauge", &[]),
        ("riley_auth_database_connections", "gauge", &["state"]),
        ("riley_auth_database_max_connections", "gauge", &[]),
    ] {
        assert_eq!(scrape.types.get(name).map(String::as_str), Some(kind), "{name}");
        let labels: BTreeSet<String> = labels.iter().map(|&label| label.to_owned()).collect();
        assert_eq!(scrape.labels(name), labels, "{name}");
    }
    let duration = "riley_auth_http_request_duration_seconds";
    assert_eq!(scrape.types[duration], "histogram");
    let labels = scrape.labels(&format!("{duration}_count"));
    assert_eq!(labels, ["method", "path"].map(str::to_owned).into());
    // Every value, and no other: there from the start, so that the first of a kind is an increase.
    for (name, label, values) in [
        (
            "riley_auth_tokens_issued_total",
            "type",
            &["access", "refresh", "id"][..],
        ),
        (
            "riley_auth_token_verifications_total",
            "result",
            &["ok", "expired", "invalid"],
        ),
        (
            "riley_auth_webhook_deliveries_total",
            "status",
            &["success", "failed"],
        ),
        (
            "riley_auth_rate_limit_hits_total",
            "tier",
            &[
                "auth",
                "standard",
                "public",
                "unmatched",
                "client",
                "secret_guessing",
            ],
        ),
        (
            "riley_auth_connections_refused_total",
            "reason",
            &["prefix", "accept"],
        ),
    ] {
        let expected: BTreeSet<String> = values
            .iter()
            .map(|value| format!("{name}{{{label}=\"{value}\"}}"))
            .collect();
        let series: BTreeSet<String> = scrape
            .series
            .keys()
            .filter(|series| series.starts_with(&format!("{name}{{")))
            .cloned()
            .collect();
        assert_eq!(series, expected);
    }
    for kind in ["access", "refresh", "id"] {
        assert_eq!(
            scrape.value(&format!("riley_auth_tokens_issued_total{{type=\"{kind}\"}}")),
            1.0
        );
    }
    for series in [
        "riley_auth_webhook_deliveries_total{status=\"success\"}",
        "riley_auth_rate_limit_hits_total{tier=\"public\"}",
    ] {
        assert_eq!(scrape.value(series), 1.0, "{series}");
    }
    assert!(
        scrape
            .series
            .contains_key("riley_auth_webhook_deliveries_total{status=\"failed\"}")
    );
    for name in [
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "process_open_fds",
    ] {
        assert!(scrape.value(name) > 0.0, "{name}");
    }
}

/// What was sent, what the database holds, what is counted: the same.
#[tokio::test]
async fn the_figures_agree_with_what_was_sent_and_with_the_database() {
    let op = TestProvider::start().await;
    let app = op.client().await;
    let mut access_tokens = Vec::new();
    for person in ["ada", "grace", "edith"] {
        let browser = op.browser();
        let tokens = app.tokens_of(&browser, person, "openid offline_access").await;
        let refreshed = app.refresh(tokens.refresh()).await.tokens();
        access_tokens.extend([tokens.access_token.clone(), refreshed.access_token.clone()]);
        // Within the leeway the same refresh token is given again: a token response, and no new row.
        app.refresh(tokens.refresh()).await.tokens();
    }
    app.post(
        "/oauth/token",
        &[("grant_type", "authorization_code"), ("code", "made-up")],
    )
    .await
    .is(400);
    for token in &access_tokens {
        app.userinfo(token).await.is(200);
        assert!(app.is_active(token).await);
    }
    app.userinfo("made-up").await.is(401);
    assert!(!app.is_active("made-up").await);
    app.revoke(&access_tokens[0]).await.is(200);
    app.userinfo(&access_tokens[0]).await.is(401);
    op.advance_secs(901);
    app.userinfo(&access_tokens[2]).await.is(401);

    let scrape = Scrape::of(&op).await;
    let [access, refresh, id] = ["access", "refresh", "id"]
        .map(|kind| scrape.value(&format!("riley_auth_tokens_issued_total{{type=\"{kind}\"}}")));
    assert_eq!((access, refresh, id), (9.0, 9.0, 9.0));
    let repeated = 3.0;
    assert_eq!(refresh - repeated, count(&op, "refresh_tokens").await);
    let verified = |result: &str| {
        scrape.value(&format!(
            "riley_auth_token_verifications_total{{result=\"{result}\"}}"
        ))
    };
    assert_eq!(
        (verified("ok"), verified("expired"), verified("invalid")),
        (12.0, 1.0, 3.0)
    );
    let requests = |method: &str, path: &str, status: u16| {
        scrape.value(&format!(
            "riley_auth_http_requests_total{{method=\"{method}\",path=\"{path}\",status=\"{status}\"}}"
        ))
    };
    assert_eq!(requests("POST", "/oauth/token", 200), 9.0);
    assert_eq!(requests("POST", "/oauth/token", 400), 1.0);
    assert_eq!(requests("POST", "/oauth/introspect", 200), 7.0);
    assert_eq!(requests("GET", "/oauth/userinfo", 200), 6.0);
    assert_eq!(requests("GET", "/oauth/userinfo", 401), 3.0);
    assert_eq!(
        requests("GET", "/auth/{provider}/callback", 303),
        count(&op, "sessions").await
    );
    let measured = "riley_auth_http_request_duration_seconds_count{method=\"POST\",path=\"/oauth/token\"}";
    assert_eq!(scrape.value(measured), 10.0);
    let beyond =
        "riley_auth_http_request_duration_seconds_bucket{method=\"POST\",path=\"/oauth/token\",le=\"+Inf\"}";
    assert_eq!(scrape.value(beyond), 10.0);
}

/// Attempts of deliveries, as the receiver saw them and as the database has them.
#[tokio::test]
async fn deliveries_are_counted_by_what_came_of_each_attempt() {
    let op = TestProvider::with(on_loopback).await;
    let receiver = Receiver::start().await;
    let hook = op.webhook(&receiver).await;
    for _ in 0..3 {
        op.ping(hook.id()).await;
    }
    op.deliveries_become(hook.id(), |all| all.iter().all(|one| one.status == "delivered"))
        .await;
    receiver.behave(Behaviour::Status(500));
    op.ping(hook.id()).await;
    let attempted = |all: &[Delivery]| all.iter().map(|one| one.attempts.len()).sum::<usize>() == 4;
    op.deliveries_become(hook.id(), attempted).await;
    assert_eq!(receiver.received().len(), 4);
    let scrape = Scrape::of(&op).await;
    for (status, expected) in [("success", 3.0), ("failed", 1.0)] {
        let series = format!("riley_auth_webhook_deliveries_total{{status=\"{status}\"}}");
        assert_eq!(scrape.value(&series), expected, "{status}");
    }
    assert_eq!(count(&op, "deliveries WHERE status = 'delivered'").await, 3.0);
}

/// A body of which nothing ever comes.
struct Silent;

impl HttpBody for Silent {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Pending
    }
}

/// What is answered in a handler's place is counted twice: as a request, and as what it is. An app in a browser can read it. This
/// takes the thirty seconds that production gives.
#[tokio::test]
async fn a_body_that_never_comes_is_cut_off_and_counted() {
    let op =
        TestProvider::with(|config| config.server.cors_origins = vec!["https://spa.test".to_owned()]).await;
    let request = Request::post("/oauth/token")
        .header("host", "op.test")
        .header("origin", "https://spa.test")
        .header("content-type", "application/x-www-form-urlencoded");
    let router = server::build(op.state().clone());
    let cut = router
        .oneshot(request.body(Body::new(Silent)).unwrap())
        .await
        .unwrap();
    assert_eq!(cut.status(), 408);
    assert_eq!(cut.headers()["access-control-allow-origin"], "https://spa.test");
    let scrape = Scrape::of(&op).await;
    assert_eq!(scrape.value("riley_auth_request_timeouts_total"), 1.0);
    let series = "riley_auth_http_requests_total{method=\"POST\",path=\"/oauth/token\",status=\"408\"}";
    assert_eq!(scrape.value(series), 1.0);
    let took = "riley_auth_http_request_duration_seconds_sum{method=\"POST\",path=\"/oauth/token\"}";
    assert!((30.0..60.0).contains(&scrape.value(took)));
}

/// The number of live sessions is the database's: after a restart, and wherever it is asked for.
#[tokio::test]
async fn active_sessions_are_counted_in_the_database() {
    let op = TestProvider::start().await;
    let series = "riley_auth_active_sessions";
    assert_eq!(Scrape::of(&op).await.value(series), 0.0);
    let ada = op.signed_in("ada").await;
    op.signed_in("grace").await;
    op.signed_in("edith").await;
    // For five seconds the last count is told again.
    assert_eq!(Scrape::of(&op).await.value(series), 0.0);
    let restarted = op.second_instance().await;
    assert_eq!(Scrape::of(&restarted).await.value(series), 3.0);
    op.advance_secs(5);
    assert_eq!(Scrape::of(&op).await.value(series), 3.0);
    let left = ada.call(Method::POST, "/auth/logout", None).await;
    assert!(left.status.is_success());
    op.advance_secs(5);
    for instance in [&op, &restarted] {
        assert_eq!(Scrape::of(instance).await.value(series), 2.0);
    }
    op.advance_secs(31 * 86_400);
    assert_eq!(Scrape::of(&op).await.value(series), 0.0);
}

/// Neither paths nor methods nor hosts of strangers add a series.
/// How near the bound on connections to the database is, without asking the database.
#[tokio::test]
async fn connections_to_the_database_are_told_by_what_holds_them() {
    let op = TestProvider::with(|config| config.database.max_connections = 4).await;
    let told = async || {
        let scrape = Scrape::of(&op).await;
        let in_use = scrape.series["riley_auth_database_connections{state=\"in_use\"}"];
        (in_use, scrape.series["riley_auth_database_max_connections"])
    };
    let pool = &op.state().db;
    let held = [pool.acquire().await.unwrap(), pool.acquire().await.unwrap()];
    assert_eq!(told().await, (2.0, 4.0));
    drop(held);
    let deadline = Instant::now() + Duration::from_secs(5);
    while told().await != (0.0, 4.0) {
        assert!(Instant::now() < deadline, "they do not come back");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn ten_thousand_random_paths_and_methods_add_no_series() {
    let op = TestProvider::start().await;
    let one = |n: u32| {
        let op = op.clone();
        async move {
            let text = common::random_text(12);
            let (method, path) = match n % 5 {
                0 => (Method::GET, format!("/{text}")),
                1 => (
                    Method::from_bytes(text.as_bytes()).unwrap(),
                    "/oauth/token".to_owned(),
                ),
                2 => (Method::GET, format!("/auth/{text}")),
                3 => (
                    Method::from_bytes(text.as_bytes()).unwrap(),
                    format!("/oauth/{text}?{text}={text}"),
                ),
                _ => (Method::POST, format!("/auth/{text}/callback/../{text}%2F{text}")),
            };
            Answer::of(op.request(method, &path)).await.status
        }
    };
    let send = async |times: u32| {
        for start in (0..times).step_by(20) {
            let all: Vec<_> = (start..start + 20).map(|n| tokio::spawn(one(n))).collect();
            for sent in all {
                sent.await.unwrap();
            }
        }
    };
    // The ages of keys are told once their first use is recorded, which the server does when it comes to it.
    key_record::record(op.state(), op.clock().now()).await.unwrap();
    send(20).await;
    op.get("/metrics").await.is(200);
    let before: BTreeSet<String> = Scrape::of(&op).await.series.into_keys().collect();
    send(10_000).await;
    let after: BTreeSet<String> = Scrape::of(&op).await.series.into_keys().collect();
    assert_eq!(before, after);
}

/// OB-6.
#[tokio::test]
async fn a_token_is_asked_for_where_one_is_configured() {
    let token = "0123456789abcdef";
    let op = TestProvider::with(|config| config.metrics.bearer_token = Some(SecretString::from(token))).await;
    let refused = op.get("/metrics").await;
    refused.is(401);
    assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
    for wrong in [
        "Bearer",
        "Bearer ",
        "Bearer 0123456789abcdeF",
        "Bearer 0123456789abcde",
        "Bearer 0123456789abcdef0",
        "Basic 0123456789abcdef",
        "0123456789abcdef",
    ] {
        let request = op.request(Method::GET, "/metrics").header("authorization", wrong);
        assert_eq!(Answer::of(request).await.status, 401, "{wrong}");
    }
    let twice = op
        .request(Method::GET, "/metrics")
        .bearer_auth(token)
        .bearer_auth(token);
    assert_eq!(Answer::of(twice).await.status, 401);
    assert_eq!(
        op.get(&format!("/metrics?access_token={token}")).await.status,
        401
    );
    for scheme in ["Bearer", "bearer", "BEARER"] {
        let request = op.request(Method::GET, "/metrics");
        let request = request.header("authorization", format!("{scheme} {token}"));
        assert_eq!(Answer::of(request).await.status, 200, "{scheme}");
    }
}

#[tokio::test]
async fn metrics_that_are_switched_off_are_not_there() {
    let op = TestProvider::with(|config| config.metrics.enabled = false).await;
    op.get("/metrics").await.is(404);
}

/// An address of their own: there and nowhere else.
#[tokio::test]
async fn metrics_with_an_address_of_their_own_are_only_there() {
    let op = TestProvider::start().await;
    let directory = Directory::with_key(&op.configuration_text());
    directory.write(&format!(
        "{}\n[metrics]\nlisten = \"127.0.0.1:0\"\n",
        directory.configuration()
    ));
    let process = directory.serve().await;
    let served = op.served_at(process.address);
    served.get("/metrics").await.is(404);
    process.logs("metrics listen").await;
    let log = process.log();
    let line = log.lines().find(|line| line.contains("metrics listen")).unwrap();
    let event: serde_json::Value = serde_json::from_str(line).unwrap();
    let own = op.served_at(event["address"].as_str().unwrap().parse().unwrap());
    let scrape = Scrape::of(&own).await;
    let series = "riley_auth_http_requests_total{method=\"GET\",path=\"unmatched\",status=\"404\"}";
    assert_eq!(scrape.value(series), 1.0);
    own.get("/health").await.is(404);
}

/// There as well errors have the one shape, and the headers of every answer.
#[tokio::test]
async fn the_metrics_own_address_answers_in_the_common_shape() {
    let op = TestProvider::with(|config| config.metrics.listen = Some("127.0.0.1:0".to_owned())).await;
    let router = routes::metrics_router(op.state());
    for (method, path, status) in [
        ("GET", "/metrics", 200),
        ("GET", "/nobody", 404),
        ("POST", "/metrics", 405),
    ] {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "op.test")
            .body(Body::empty())
            .unwrap();
        let answer = router.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.status(), status, "{method} {path}");
        assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
        assert!(answer.headers().contains_key("x-request-id"));
        if status != 200 {
            assert_eq!(answer.headers()["content-type"], "application/json");
        }
    }
}

/// The age of a key is told by its date, and a key that was removed is gone from the metrics, too.
#[tokio::test]
async fn the_age_of_each_signing_key_is_told_until_it_is_removed() {
    let op = TestProvider::start().await;
    let directory = Directory::with_key(&op.configuration_text());
    directory.edit(
        "algorithm = \"ES256\"",
        "algorithm = \"ES256\"\nkid = \"2026-01-31\"",
    );
    let made = directory.run(&["generate-keys", "--prepend-to", "riley-auth.toml"]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let process = directory.serve().await;
    let served = op.served_at(process.address);
    let scrape = Scrape::of(&served).await;
    let ages: Vec<(&String, &f64)> = scrape
        .series
        .iter()
        .filter(|(series, _)| series.starts_with("riley_auth_signing_key_age_seconds{kid="))
        .collect();
    assert_eq!(ages.len(), 2, "{ages:?}");
    let since_2026 = op.now() - time::macros::datetime!(2026-01-31 0:00 UTC).unix_timestamp();
    let dated = scrape.value("riley_auth_signing_key_age_seconds{kid=\"2026-01-31\"}");
    #[expect(clippy::cast_precision_loss, reason = "a span of seconds")]
    let off = (dated - since_2026 as f64).abs();
    assert!(off < 60.0, "{dated}");
    // The new one signs from an hour on.
    assert!(ages.iter().any(|(_, age)| **age == 0.0), "{ages:?}");
}

/// Keys without a date in their name and without a file, as in these tests, are as old as their first recorded use: the same
/// on every instance.
#[tokio::test]
async fn the_age_of_a_nameless_key_is_that_of_its_first_use_on_every_instance() {
    let op = TestProvider::start().await;
    key_record::record(op.state(), op.clock().now()).await.unwrap();
    op.advance_secs(3600);
    let signing = op.state().keys.current().entries()[0].kid().to_owned();
    let series = format!("riley_auth_signing_key_age_seconds{{kid=\"{signing}\"}}");
    for instance in [op.second_instance().await, op.second_instance().await] {
        let age = Scrape::of(&instance).await.value(&series);
        assert!((3600.0..3660.0).contains(&age), "{age}");
    }
}

async fn panics() {
    panic!("as a test wants it");
}

fn of_this_host(path: &str) -> Request<Body> {
    let request = Request::get(path).header("host", "op.test");
    request.body(Body::empty()).unwrap()
}

/// OB-8: a panic costs one request, which is counted, as is the panic; the next is answered.
#[tokio::test]
async fn a_panic_is_a_500_and_counted() {
    let op = TestProvider::start().await;
    let state = op.state();
    let router =
        routes::with_layers(Router::new().route("/panics", get(panics)), state).with_state(state.clone());
    for _ in 0..2 {
        let request = of_this_host("/panics");
        assert_eq!(router.clone().oneshot(request).await.unwrap().status(), 500);
    }
    let scrape = Scrape::of(&op).await;
    assert_eq!(scrape.value("riley_auth_panics_total"), 2.0);
    let series = "riley_auth_http_requests_total{method=\"GET\",path=\"/panics\",status=\"500\"}";
    assert_eq!(scrape.value(series), 2.0);
}

/// At the metrics' own address as well: a panic costs its request, and what never ends is cut off, with the common headers. This
/// takes the thirty seconds that production gives.
#[tokio::test]
async fn at_the_metrics_own_address_panics_and_what_never_ends_are_answered_and_counted() {
    let op = TestProvider::with(|config| config.metrics.listen = Some("127.0.0.1:0".to_owned())).await;
    let own = Router::new()
        .route("/panics", get(panics))
        .route("/hangs", get(std::future::pending::<()>))
        .merge(server::metrics::routes(op.state(), true));
    let own = routes::with_metrics_layers(own, op.state());
    for (path, status, error) in [
        ("/panics", 500, "server_error"),
        ("/hangs", 503, "temporarily_unavailable"),
        ("/panics", 500, "server_error"),
    ] {
        let answer = own.clone().oneshot(of_this_host(path)).await.unwrap();
        assert_eq!(answer.status(), status, "{path}");
        assert_eq!(answer.headers()["x-content-type-options"], "nosniff", "{path}");
        assert!(answer.headers().contains_key("x-request-id"), "{path}");
        let body = axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["error"], error, "{path}");
    }
    let answer = own.oneshot(of_this_host("/metrics")).await.unwrap();
    assert_eq!(answer.status(), 200);
    let text = axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap();
    let scrape = Scrape::parse(std::str::from_utf8(&text).unwrap());
    assert_eq!(scrape.value("riley_auth_panics_total"), 2.0);
    assert_eq!(scrape.value("riley_auth_request_timeouts_total"), 1.0);
}

/// Two providers in one process keep their figures apart.
#[tokio::test]
async fn each_server_counts_for_itself() {
    let (one, other) = (TestProvider::start().await, TestProvider::start().await);
    one.get("/health").await.is(200);
    let series = "riley_auth_http_requests_total{method=\"GET\",path=\"/health\",status=\"200\"}";
    assert_eq!(Scrape::of(&one).await.value(series), 1.0);
    assert_eq!(Scrape::of(&other).await.value(series), 0.0);
}

/// OB-5: nothing that a stranger writes into a head becomes a label: not below a path of the issuer, not in what an upstream is
/// said to answer, not at an address of the metrics' own.
#[tokio::test]
async fn no_header_and_no_callback_adds_a_series() {
    let op = TestProvider::with(|config| {
        config.jwt.issuer = format!("{}/id", common::provider::ISSUER);
        config.server.cors_origins = vec!["*".to_owned()];
        config.metrics.listen = Some("127.0.0.1:0".to_owned());
    })
    .await;
    let own = routes::metrics_router(op.state());
    let scrape = async || {
        let request = of_this_host("/metrics");
        let answer = own.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.status(), 200);
        let text = axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        Scrape::parse(std::str::from_utf8(&text).unwrap())
    };
    let send = async |rounds: usize| {
        for _ in 0..rounds {
            let text = common::random_text(10);
            for path in [
                format!("/id/auth/simulated/callback?state={text}&code={text}&error={text}"),
                format!("/id/auth/{text}/callback?state={text}"),
                "/id/.well-known/openid-configuration".to_owned(),
                format!("/.well-known/openid-configuration/id/{text}"),
                format!("/{text}/oauth/token"),
                "/id/oauth/userinfo".to_owned(),
            ] {
                let request = op
                    .http()
                    .get(format!("http://{}{path}", op.address()))
                    .header("host", format!("{text}.test"))
                    .header("origin", format!("https://{text}.test"))
                    .header("user-agent", &text)
                    .header("x-forwarded-for", &text)
                    .header("x-request-id", &text)
                    .header("authorization", format!("Bearer {text}"))
                    .header("cookie", format!("{text}={text}"));
                Answer::of(request).await;
                // At the metrics' own address nothing is counted at all.
                let other = Request::get(format!("/{text}")).header("host", format!("{text}.test"));
                let other = own.clone().oneshot(other.body(Body::empty()).unwrap());
                assert_eq!(other.await.unwrap().status(), 404);
            }
        }
    };
    key_record::record(op.state(), op.clock().now()).await.unwrap();
    send(1).await;
    let before: BTreeSet<String> = scrape().await.series.into_keys().collect();
    assert!(
        before
            .iter()
            .any(|series| series.contains("path=\"/id/auth/{provider}/callback\""))
    );
    send(100).await;
    let after: BTreeSet<String> = scrape().await.series.into_keys().collect();
    assert_eq!(before, after);
}

/// A logout that an app is told of is counted as a webhook is.
#[tokio::test]
async fn deliveries_of_logouts_are_counted() {
    let op = TestProvider::with(on_loopback).await;
    let receiver = Receiver::start().await;
    let app = op
        .client_with(|client| client.backchannel_logout_uri = Some(receiver.url()))
        .await;
    let browser = op.signed_in("ada").await;
    app.tokens_of(&browser, "ada", "openid").await;
    browser.call(Method::POST, "/auth/logout", None).await;
    receiver.waits_for(1).await;
    let series = "riley_auth_webhook_deliveries_total{status=\"success\"}";
    let deadline = Instant::now() + Duration::from_secs(20);
    while Scrape::of(&op).await.value(series) < 1.0 {
        assert!(Instant::now() < deadline, "it is not counted");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(Scrape::of(&op).await.value(series), 1.0);
}
