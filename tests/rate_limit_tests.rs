//! Rate limits over HTTP: which requests count together, who is not held up, what a refusal says. When a request is one too
//! many is tested beside the rule, in `src/limits/rules.rs`; the clock is the providers' and moves when a test says so.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::net::IpAddr;

use common::app::basic;
use common::provider::PAGES;
use common::{Answer, Outcome, TestClient, TestProvider};
use reqwest::{Method, RequestBuilder};
use riley_auth::config::Config;

const SPA: &str = "https://spa.test";
/// Addresses as the proxy of these tests writes them.
const ADDRESS: &str = "203.0.113.9";
const ANOTHER: &str = "203.0.113.10";

/// A provider behind a proxy, with limits as they are by default.
async fn provider() -> TestProvider {
    provider_with(|_| ()).await
}

async fn provider_with(change: impl FnOnce(&mut Config)) -> TestProvider {
    TestProvider::with(|config| {
        config.server.behind_proxy = true;
        config.server.cors_origins = vec![SPA.to_owned()];
        config.rate_limiting.enabled = true;
        change(config);
    })
    .await
}

fn from(op: &TestProvider, address: &str, method: Method, path: &str) -> RequestBuilder {
    op.request(method, path).header("x-forwarded-for", address)
}

async fn get(op: &TestProvider, address: &str, path: &str) -> Answer {
    Answer::of(from(op, address, Method::GET, path)).await
}

/// How many of `times` requests are not refused for their number.
async fn admitted(times: u32, mut send: impl AsyncFnMut() -> Answer) -> u32 {
    let mut admitted = 0;
    for _ in 0..times {
        admitted += u32::from(send().await.status != 429);
    }
    admitted
}

/// A token request of this client from there; the grant is none.
async fn ask(app: &TestClient, address: &str, secret: &str) -> Answer {
    let request = from(&app.op, address, Method::POST, "/oauth/token")
        .header("authorization", basic(app.client_id(), secret))
        .form(&[("grant_type", "refresh_token"), ("refresh_token", "made-up")]);
    Answer::of(request).await
}

/// The tiers of the specification: sign-ins 15, the rest 60, what is public 300, per minute and address.
#[tokio::test]
async fn each_tier_has_its_limit() {
    let op = provider().await;
    for (path, limit) in [
        ("/auth/simulated", 15),
        ("/oauth/authorize", 60),
        ("/.well-known/jwks.json", 300),
        ("/no/such/path", 300),
    ] {
        let sent = admitted(limit + 5, async || get(&op, ADDRESS, path).await).await;
        assert_eq!(sent, limit, "{path}");
        assert_ne!(get(&op, ANOTHER, path).await.status, 429, "{path}");
    }
}

/// What is used up comes back evenly, and the answer says when.
#[tokio::test]
async fn a_refusal_says_when_to_come_back_and_that_is_true() {
    let op = provider().await;
    admitted(15, async || get(&op, ADDRESS, "/auth/simulated").await).await;
    let refused = get(&op, ADDRESS, "/auth/simulated").await;
    refused.is(429);
    assert_eq!(refused.json()["error"], "too_many_requests");
    assert_eq!(refused.header("cache-control"), Some("no-store"));
    let secs: i64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=4).contains(&secs), "{secs}");
    op.advance_secs(secs);
    assert_eq!(
        admitted(5, async || get(&op, ADDRESS, "/auth/simulated").await).await,
        1
    );
    op.advance_secs(60);
    assert_eq!(
        admitted(20, async || get(&op, ADDRESS, "/auth/simulated").await).await,
        15
    );
}

/// A person reads a page, a program JSON.
#[tokio::test]
async fn a_browser_that_navigates_gets_a_page() {
    let op = provider().await;
    admitted(15, async || get(&op, ADDRESS, "/auth/simulated").await).await;
    let request = from(&op, ADDRESS, Method::GET, "/auth/simulated");
    let page = Answer::of(request.header("accept", "text/html,application/xhtml+xml,*/*;q=0.8")).await;
    page.is(429);
    assert!(page.text.contains("Please wait a moment"), "{}", page.text);
    assert!(page.header("content-type").unwrap().starts_with("text/html"));
    assert!(page.header("retry-after").is_some());
}

/// RL-5: the routes of a tier share one bucket, and no way of writing path or method leads to another.
#[tokio::test]
async fn the_tier_is_the_matched_routes_however_the_request_is_written() {
    let op = provider().await;
    admitted(15, async || get(&op, ADDRESS, "/auth/simulated").await).await;
    for path in [
        "/auth/simulated",
        "/auth/simulated?a=b",
        "/auth/other",
        "/auth/simulated/callback",
        "/auth/%73imulated",
    ] {
        get(&op, ADDRESS, path).await.is(429);
    }
    for method in [Method::HEAD, Method::DELETE, Method::from_bytes(b"ODD").unwrap()] {
        let answer = Answer::of(from(&op, ADDRESS, method.clone(), "/auth/simulated")).await;
        assert_eq!(answer.status, 429, "{method}");
    }
    // Other routes have other buckets, and what is no route has one of its own.
    get(&op, ADDRESS, "/auth/me").await.is(401);
    for path in [
        "/auth/simulated/",
        "//auth/simulated",
        "/AUTH/simulated",
        "/auth/simulated/callback/x",
    ] {
        get(&op, ADDRESS, path).await.is(404);
    }
    admitted(300, async || get(&op, ADDRESS, "/scanner").await).await;
    get(&op, ADDRESS, "//auth/simulated").await.is(429);
    get(&op, ADDRESS, "/auth/me").await.is(401);
}

/// RL-5, for the clients' endpoints, which count by themselves.
#[tokio::test]
async fn requests_of_nobody_to_the_clients_endpoints_count_by_address() {
    let op = provider().await;
    let send = async |index: u32| {
        let request = match index % 5 {
            0 => from(&op, ADDRESS, Method::POST, "/oauth/token").form(&[("client_id", "made-up")]),
            1 => from(&op, ADDRESS, Method::GET, "/oauth/userinfo").bearer_auth("made-up"),
            2 => from(&op, ADDRESS, Method::DELETE, "/oauth/introspect"),
            3 => from(&op, ADDRESS, Method::POST, "/oauth/revoke").body("no form"),
            _ => from(&op, ADDRESS, Method::POST, "/oauth/token").body(vec![b'a'; 100_000]),
        };
        Answer::of(request).await.status
    };
    for index in 0..60 {
        assert_ne!(send(index).await, 429, "{index}");
    }
    for index in 0..5 {
        assert_eq!(send(index).await, 429, "{index}");
    }
}

/// A backend that has proved who it is does not count by its address, and has no limit unless one is set.
#[tokio::test]
async fn an_authenticated_client_is_not_limited_by_its_address() {
    let op = provider().await;
    let app = op.client().await;
    for _ in 0..100 {
        ask(&app, ADDRESS, app.secret()).await.is(400);
    }
    // What strangers of the same address used up is not its share, either.
    admitted(100, async || get(&op, ADDRESS, "/oauth/authorize").await).await;
    get(&op, ADDRESS, "/oauth/authorize").await.is(429);
    ask(&app, ADDRESS, app.secret()).await.is(400);
}

/// UserInfo counts by the client of the token.
#[tokio::test]
async fn userinfo_with_a_good_token_is_not_limited_by_address() {
    let op = provider_with(|config| config.rate_limiting.standard_per_minute = 20).await;
    let app = op.client().await;
    let granted = op.browser().authorize(&app).scope("openid").code_as("ada").await;
    let tokens = app.redeem(&granted).await.tokens();
    for _ in 0..40 {
        let request = from(&op, ADDRESS, Method::GET, "/oauth/userinfo").bearer_auth(&tokens.access_token);
        Answer::of(request).await.is(200);
    }
}

/// A limit on clients is each client's own, from whatever address.
#[tokio::test]
async fn a_limit_on_clients_counts_each_client_by_itself() {
    let op = provider_with(|config| config.rate_limiting.client_per_minute = 10).await;
    let (app, other) = (op.client().await, op.client().await);
    let mut address = 0;
    let sent = admitted(20, async || {
        address += 1;
        ask(&app, &format!("198.51.100.{address}"), app.secret()).await
    });
    assert_eq!(sent.await, 10);
    ask(&other, ADDRESS, other.secret()).await.is(400);
    ask(&app, ADDRESS, app.secret()).await.is(429);
    op.advance_secs(6);
    ask(&app, ADDRESS, app.secret()).await.is(400);
}

/// A public client has proved nothing: anybody can write its id.
#[tokio::test]
async fn a_public_client_counts_by_address() {
    let op = provider().await;
    let app = op.public_client().await;
    let form = [
        ("client_id", app.client_id()),
        ("grant_type", "refresh_token"),
        ("refresh_token", "x"),
    ];
    let send = async |address| Answer::of(from(&op, address, Method::POST, "/oauth/token").form(&form)).await;
    assert_eq!(admitted(70, async || send(ADDRESS).await).await, 60);
    send(ANOTHER).await.is(400);
}

/// CA-7: a guesser is slowed down, at that client and from that source, even when the next guess would be right; the client
/// itself, which comes from elsewhere, notices nothing.
#[tokio::test]
async fn guessing_a_secret_is_limited_and_does_not_lock_the_client_out() {
    let op = provider().await;
    let (app, other) = (op.client().await, op.client().await);
    for _ in 0..15 {
        ask(&app, ADDRESS, "a-guess").await.is(401);
    }
    ask(&app, ADDRESS, "a-guess").await.is(429);
    ask(&app, ADDRESS, app.secret()).await.is(429);
    ask(&app, ANOTHER, app.secret()).await.is(400);
    ask(&other, ADDRESS, other.secret()).await.is(400);
    op.advance_secs(4);
    ask(&app, ADDRESS, app.secret()).await.is(400);
}

/// Whoever knows a client's id and shows no secret is a stranger: over the limit of its address it does not reach the database.
#[tokio::test]
async fn a_known_client_id_without_its_secret_costs_no_statement_over_the_limit() {
    let op = provider().await;
    let app = op.client().await;
    ask(&app, ADDRESS, app.secret()).await.is(400);
    let send = async || {
        let form = [("client_id", app.client_id()), ("grant_type", "refresh_token")];
        Answer::of(from(&op, ADDRESS, Method::POST, "/oauth/token").form(&form)).await
    };
    assert_eq!(admitted(70, send).await, 60);
    let mut tx = op.db().begin().await.unwrap();
    sqlx::query("LOCK TABLE oauth_clients IN ACCESS EXCLUSIVE MODE")
        .execute(&mut *tx)
        .await
        .unwrap();
    // A statement would wait for the lock, and then be 503.
    for _ in 0..10 {
        send().await.is(429);
    }
    tx.rollback().await.unwrap();
    ask(&app, ADDRESS, app.secret()).await.is(400);
}

/// RL-3: whoever has an IPv6 network has many addresses. The /64 counts as one; the /48 around it, as four.
#[tokio::test]
async fn ipv6_counts_by_network() {
    let op = provider().await;
    let mut host = 0;
    let sent = admitted(30, async || {
        host += 1;
        get(&op, &format!("2001:db8:1:1::{host:x}"), "/auth/simulated").await
    });
    assert_eq!(sent.await, 15);
    let mut subnet = 1;
    let sent = admitted(100, async || {
        subnet += 1;
        get(&op, &format!("2001:db8:1:{subnet:x}::1"), "/auth/simulated").await
    });
    assert_eq!(sent.await, 3 * 15);
    assert_ne!(get(&op, "2001:db8:2:1::1", "/auth/simulated").await.status, 429);
    assert_ne!(get(&op, "2001:db8:2:1::1", "/auth/simulated").await.status, 429);
    admitted(15, async || {
        get(&op, "::ffff:203.0.113.9", "/auth/simulated").await
    })
    .await;
    get(&op, ADDRESS, "/auth/simulated").await.is(429);
}

/// RL-6: an app in a browser can read the refusal, and preflights count nothing.
#[tokio::test]
async fn a_refusal_can_be_read_by_allowed_origins_and_preflights_are_exempt() {
    let op = provider().await;
    let preflight = async |path: &str, origin: &str| {
        let request = from(&op, ADDRESS, Method::OPTIONS, path)
            .header("origin", origin)
            .header("access-control-request-method", "POST");
        Answer::of(request).await
    };
    for (path, origin) in [("/oauth/token", SPA), ("/auth/refresh", PAGES)] {
        for _ in 0..100 {
            preflight(path, origin).await.is(200);
        }
        let request = || from(&op, ADDRESS, Method::POST, path).header("origin", origin);
        admitted(60, async || Answer::of(request()).await).await;
        let refused = Answer::of(request()).await;
        refused.is(429);
        assert_eq!(
            refused.header("access-control-allow-origin"),
            Some(origin),
            "{path}"
        );
        let exposed = refused
            .header("access-control-expose-headers")
            .unwrap_or_default();
        assert!(exposed.contains("retry-after"), "{path}: {exposed}");
        preflight(path, origin).await.is(200);
        op.advance_secs(60);
    }
}

/// A supervisor that is refused would take the instance for dead.
#[tokio::test]
async fn health_and_metrics_are_never_refused() {
    let op = provider().await;
    for path in ["/health", "/ready", "/metrics"] {
        assert_eq!(
            admitted(400, async || get(&op, ADDRESS, path).await).await,
            400,
            "{path}"
        );
    }
}

/// A person who signs in as people do meets no limit.
#[tokio::test]
async fn a_few_sign_ins_in_a_row_are_no_abuse() {
    let op = provider().await;
    let app = op.client().await;
    for person in ["ada", "grace", "edith"] {
        let browser = op.browser();
        browser.authorize(&app).scope("openid").code_as(person).await;
        assert!(matches!(browser.authorize(&app).send().await, Outcome::Code(_)));
    }
}

/// What is refused is counted, by the limit's name.
#[tokio::test]
async fn refusals_are_counted_by_tier() {
    let op = provider().await;
    let app = op.client().await;
    admitted(20, async || get(&op, ADDRESS, "/auth/simulated").await).await;
    admitted(302, async || get(&op, ADDRESS, "/nowhere").await).await;
    admitted(16, async || ask(&app, ANOTHER, "a-guess").await).await;
    let metrics = op.get("/metrics").await.text;
    for (tier, times) in [("auth", 5), ("unmatched", 2), ("secret_guessing", 1)] {
        let line = format!("\nriley_auth_rate_limit_hits_total{{tier=\"{tier}\"}} {times}\n");
        assert!(metrics.contains(&line), "{line} in {metrics}");
    }
}

/// A session says where it was opened from: the peer of the connection.
#[tokio::test]
async fn a_session_records_the_address_of_the_connection() {
    let op = TestProvider::start().await;
    op.signed_in("ada").await;
    let recorded: String = sqlx::query_scalar("SELECT ip_address FROM sessions")
        .fetch_one(op.db())
        .await
        .unwrap();
    assert_eq!(
        recorded.parse::<IpAddr>().unwrap(),
        "127.0.0.1".parse::<IpAddr>().unwrap()
    );
}

/// RL-1: without a proxy the headers are anybody's to write, and writing them escapes nothing.
#[tokio::test]
async fn without_a_proxy_no_header_escapes_the_limit() {
    let op = provider_with(|config| config.server.behind_proxy = false).await;
    let mut host = 0;
    let sent = admitted(30, async || {
        host += 1;
        let address = format!("198.51.100.{host}");
        let request = op
            .request(Method::GET, "/auth/simulated")
            .header("x-forwarded-for", &address)
            .header("x-real-ip", &address)
            .header("cf-connecting-ip", &address)
            .header("forwarded", format!("for={address}"));
        Answer::of(request).await
    });
    assert_eq!(sent.await, 15);
}

/// RL-2: behind a proxy only what it wrote counts, at the right end.
#[tokio::test]
async fn behind_a_proxy_what_the_client_wrote_escapes_nothing() {
    let op = provider().await;
    let mut host = 0;
    let sent = admitted(30, async || {
        host += 1;
        get(&op, &format!("198.51.100.{host}, {ADDRESS}"), "/auth/simulated").await
    });
    assert_eq!(sent.await, 15);
}

/// RL-2: over trusted proxies the walk goes on; the tests connect from 127.0.0.1.
#[tokio::test]
async fn trusted_proxies_are_walked_over_and_strangers_are_not_believed() {
    let trusting = |networks: &[&str]| {
        let networks: Vec<String> = networks.iter().map(|&network| network.to_owned()).collect();
        provider_with(|config| config.server.trusted_proxies = networks)
    };
    let op = trusting(&["127.0.0.1", "10.0.0.0/8"]).await;
    let through_two = format!("{ADDRESS}, 10.1.2.3");
    assert_eq!(
        admitted(30, async || get(&op, &through_two, "/auth/simulated").await).await,
        15
    );
    let another = format!("{ADDRESS}, {ANOTHER}, 10.1.2.4");
    assert_ne!(get(&op, &another, "/auth/simulated").await.status, 429);

    // Whoever comes past the proxies is only what it is.
    let op = trusting(&["10.0.0.0/8"]).await;
    let mut host = 0;
    let sent = admitted(30, async || {
        host += 1;
        get(&op, &format!("198.51.100.{host}"), "/auth/simulated").await
    });
    assert_eq!(sent.await, 15);
}
