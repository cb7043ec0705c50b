//! What every answer carries, whoever asked for what.

use reqwest::Method;

use crate::common::html::text_of;
use crate::common::{Answer, Directory, TestProvider};

/// One of each kind: JSON, empty, redirect, page, refusals.
async fn every_kind_of_answer(op: &TestProvider) -> Vec<(u16, Answer)> {
    let app = op.client().await;
    let browser = op.signed_in("alice").await;
    let tokens = app.tokens_of(&browser, "alice", "openid").await;
    let preflight = op.request(Method::OPTIONS, "/oauth/token");
    let large = op
        .request(Method::POST, "/oauth/token")
        .form(&[("token", "A".repeat(1 << 17))]);
    let limited = op
        .reconfigured(|config| {
            config.rate_limiting.enabled = true;
            config.rate_limiting.public_per_minute = 1;
        })
        .await;
    limited.get("/openapi.json").await.is(200);
    let away = op.second_instance().await;
    away.state().db.close().await;
    let mut all = vec![
        (200, op.get("/.well-known/openid-configuration").await),
        (200, op.get("/health").await),
        (200, app.userinfo(&tokens.access_token).await),
        (200, app.revoke(&tokens.access_token).await),
        (
            200,
            Answer::of(preflight.header("access-control-request-method", "POST")).await,
        ),
        (303, op.get("/auth/simulated").await),
        (400, op.get("/oauth/authorize").await),
        (400, app.post("/oauth/token", &[]).await),
        (401, op.get("/oauth/userinfo").await),
        (404, op.get("/nothing").await),
        (404, op.get("/auth/nobody").await),
        (405, op.get("/oauth/token").await),
        (413, Answer::of(large).await),
        (414, op.get(&format!("/health?{}", "A".repeat(17 * 1024))).await),
        (429, limited.get("/openapi.json").await),
        (503, app.at(&away).refresh("made-up").await),
    ];
    // What is a mistake of ours: a schema that nobody migrated like this. The last, since nothing works after it.
    sqlx::query("ALTER TABLE upstream_flows RENAME TO elsewhere")
        .execute(op.db())
        .await
        .unwrap();
    all.push((500, op.get("/auth/simulated").await));
    all
}

#[tokio::test]
async fn every_kind_of_answer_carries_the_security_headers() {
    let op = TestProvider::start().await;
    for (status, answer) in every_kind_of_answer(&op).await {
        answer.is(status);
        assert_eq!(
            answer.header("x-content-type-options"),
            Some("nosniff"),
            "{status}"
        );
        assert_eq!(answer.header("x-frame-options"), Some("DENY"), "{status}");
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"), "{status}");
        let policy = answer.header("content-security-policy").unwrap_or_default();
        assert!(
            policy.starts_with("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
            "{policy}"
        );
        assert_eq!(
            answer.header("strict-transport-security"),
            Some("max-age=63072000"),
            "{status}"
        );
        assert!(
            answer.header("server").is_none() && answer.header("x-powered-by").is_none(),
            "{status}"
        );
    }
}

/// RFC 6797 §7.2: the header is not sent where the issuer is plain http, which only loopback may be.
#[tokio::test]
async fn strict_transport_security_is_for_https_alone() {
    let op = TestProvider::with(|config| config.jwt.issuer = "http://127.0.0.1:8081".to_owned()).await;
    let answer = op.get("/health").await;
    assert_eq!(answer.header("strict-transport-security"), None);
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
}

#[tokio::test]
async fn every_kind_of_answer_has_an_id_of_its_own() {
    let op = TestProvider::start().await;
    let mut ids = std::collections::HashSet::new();
    for (status, answer) in every_kind_of_answer(&op).await {
        let id = answer.header("x-request-id").unwrap_or_default();
        assert!(id.len() >= 16 && ids.insert(id.to_owned()), "{status}: {id:?}");
    }
}

/// A proxy's id is kept if it can stand in a log line as it is, and replaced if not.
#[tokio::test]
async fn a_plain_request_id_is_kept_and_another_replaced() {
    let op = TestProvider::start().await;
    let send =
        async |id: &str| Answer::of(op.request(Method::GET, "/health").header("x-request-id", id)).await;
    assert_eq!(
        send("4bf92f-3577.b3_4d").await.header("x-request-id"),
        Some("4bf92f-3577.b3_4d")
    );
    for id in ["", "a b", "\u{e9}", "<script>", "\"", &"a".repeat(65)] {
        let answer = send(id).await;
        assert_ne!(answer.headers["x-request-id"].as_bytes(), id.as_bytes());
        assert_eq!(answer.header("x-request-id").unwrap().len(), 36);
    }
}

/// The document says where the deployer is, whatever the request claims (Host header attacks).
#[tokio::test]
async fn no_header_changes_what_discovery_says() {
    let op = TestProvider::start().await;
    let expected = op.get("/.well-known/openid-configuration").await.text;
    assert!(!expected.contains("evil"));
    for (name, value) in [
        ("host", "evil.test"),
        ("x-forwarded-host", "evil.test"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-prefix", "/evil"),
        ("x-original-url", "/evil"),
        ("x-rewrite-url", "/evil"),
        ("forwarded", "host=evil.test;proto=http"),
    ] {
        let request = op.http().get(format!(
            "http://{}/.well-known/openid-configuration",
            op.address()
        ));
        assert_eq!(
            Answer::of(request.header(name, value)).await.text,
            expected,
            "{name}: {value}"
        );
    }
    let absolute = b"GET http://evil.test/.well-known/openid-configuration HTTP/1.1\r\nHost: evil.test\r\n\
                     Connection: close\r\n\r\n";
    let reply = crate::common::raw::Reply::to(op.address(), absolute).await;
    assert_eq!((reply.status, reply.body), (200, expected));
}

/// A redirect upstream names the configured callback, not the host that was asked for.
#[tokio::test]
async fn no_header_changes_where_the_upstream_sends_people_back_to() {
    let op = TestProvider::start().await;
    let request = op.http().get(format!("http://{}/auth/simulated", op.address()));
    let request = request
        .header("host", "evil.test")
        .header("x-forwarded-host", "evil.test");
    let answer = Answer::of(request).await;
    let location = answer.is(303).header("location").unwrap();
    assert!(
        location.contains("redirect_uri=https%3A%2F%2Fop.test%2Fauth%2Fsimulated%2Fcallback"),
        "{location}"
    );
}

/// An error page's id leads the operator to what was received and registered, and to nothing personal.
#[tokio::test]
async fn explain_tells_what_an_error_page_stands_for() {
    let op = TestProvider::start().await;
    let app = op.client().await;
    let browser = op.browser();
    let request = browser
        .authorize(&app)
        .with("redirect_uri", "https://app.test/callbacks");
    let request = request
        .with("state", "secret-state")
        .with("login_hint", "alice@example.com")
        .prompt("login");
    let page = request.visit().await;
    let id = text_of(page.text(), "error-id").expect("the page shows an id");

    let explained = Directory::with_key(&op.configuration_text()).run(&["explain", &id]);
    let text = String::from_utf8(explained.stdout).unwrap();
    for told in [
        app.client_id(),
        "https://app.test/callbacks",
        "https://app.test/callback\n",
        "login_hint",
        "redirect_uri",
    ] {
        assert!(text.contains(told), "{told} is missing: {text}");
    }
    for personal in ["secret-state", "alice", request.param("nonce").unwrap().as_str()] {
        assert!(!text.contains(personal), "{personal} is told: {text}");
    }
    let unknown = Directory::with_key(&op.configuration_text()).run(&["explain", "bcdfghjkmn"]);
    assert_eq!(unknown.status.code(), Some(1));
}
