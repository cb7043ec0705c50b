//! What no well-behaved browser or app sends: paths around a login, values that no database keeps, cookies that are spent.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it like the test itself"
)]

mod common;

use common::cookies::Context;
use common::provider::{CALLBACK, ISSUER, PAGES};
use common::{Answer, Outcome, TestProvider};
use reqwest::Method;
use riley_auth::config::oauth::Onboarding;
use riley_auth::maintenance;
use serde_json::{Value, json};
use url::Url;

/// The claims of a token, unverified.
fn claims(token: &str) -> Value {
    use base64::Engine;
    let payload = token.split('.').nth(1).unwrap();
    let json = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(payload)
        .unwrap();
    serde_json::from_slice(&json).unwrap()
}

/// OpenID Connect Core §3.1.2.1: a POST is judged when it is resumed. Who goes to the upstream before that is asked to log
/// in there all the same.
#[tokio::test]
async fn a_request_that_was_never_resumed_asks_the_upstream_for_its_login_all_the_same() {
    let op = TestProvider::start().await;
    let app = op.client().await;
    let browser = op.signed_in("ada").await;
    for (name, value) in [("prompt", "login"), ("max_age", "0")] {
        let request = browser.authorize(&app).with(name, value);
        let authorize = Url::parse(&request.url()).unwrap();
        let cookies = browser
            .jar()
            .header(&authorize, Context::SameSite, op.clock().now())
            .unwrap();
        let form: Vec<(String, String)> = authorize.query_pairs().into_owned().collect();
        let answer = op
            .request(Method::POST, "/oauth/authorize")
            .header("cookie", cookies)
            .form(&form)
            .send()
            .await
            .unwrap();
        let resume = Url::parse(answer.headers()["location"].to_str().unwrap()).unwrap();
        let handle = common::browser::query(&resume, "request").unwrap();

        let visit = browser
            .open(&format!("{ISSUER}/auth/simulated?request_id={handle}"))
            .await;
        let (upstream, _) = visit
            .hops
            .iter()
            .find(|(url, _)| url.query_pairs().any(|(name, _)| name == "code_challenge"))
            .expect("the upstream is asked");
        assert_eq!(
            common::browser::query(upstream, "prompt").as_deref(),
            Some("login"),
            "{name}"
        );
    }
}

/// OpenID Connect Core §2, `auth_time`: when the person logged in, not when they had found a name.
#[tokio::test]
async fn the_auth_time_of_a_newcomer_is_that_of_the_login() {
    let op = TestProvider::with(|config| config.oauth.onboarding = Onboarding::Prompt).await;
    let app = op.client().await;
    let browser = op.browser();
    let visit = browser.open(&format!("{ISSUER}/auth/simulated")).await;
    let visit = browser.pass_upstream(visit, "ada").await;
    assert_eq!(visit.url.as_str(), format!("{PAGES}/welcome"));
    let logged_in_at = op.now();

    op.advance_secs(1200);
    let choice = json!({ "username": "ada" });
    let headers = [("x-requested-with", "fetch")];
    let chosen = browser
        .fetch(
            visit.url.as_str(),
            Method::POST,
            &format!("{ISSUER}/auth/setup"),
            &headers,
            Some(&choice),
        )
        .await
        .unwrap();
    assert_eq!(chosen.status, 200, "{}", chosen.text);
    let granted = browser.authorize(&app).max_age(3600).code().await;
    let tokens = app.redeem(&granted).await.tokens();
    let auth_time = claims(tokens.id())["auth_time"].as_i64().unwrap();
    assert!(
        (logged_in_at - 5..=logged_in_at + 5).contains(&auth_time),
        "{auth_time}"
    );
}

#[tokio::test]
async fn a_callback_for_a_provider_with_nul_in_its_name_is_refused_and_no_failure() {
    let op = TestProvider::start().await;
    let state = "A".repeat(43);
    let form = [("state", state.as_str()), ("code", "c")];
    let answer = op.post("/auth/a%00b/callback", &form).await;
    assert_eq!(answer.status, 404, "{}", answer.text);
}

/// Values that are asked for are kept as JSON, and PostgreSQL has no JSON with NUL.
#[tokio::test]
async fn claims_with_nul_are_an_invalid_request() {
    let op = TestProvider::start().await;
    let app = op.client().await;
    let browser = op.signed_in("ada").await;
    let wish = r#"{"userinfo":{"name":{"value":"\u0000"}}}"#;
    browser
        .authorize(&app)
        .with("claims", wish)
        .send()
        .await
        .refused("invalid_request");
}

/// A browser can hold a spent value: the answer with its successor was lost. Who signs out is signed out.
#[tokio::test]
async fn a_logout_with_a_spent_cookie_value_ends_the_session() {
    let op = TestProvider::start().await;
    let browser = op.signed_in("ada").await;
    let lost = browser.copy();
    let (home, headers) = (format!("{PAGES}/home"), [("x-requested-with", "fetch")]);
    let post = |path: &str| format!("{ISSUER}{path}");
    let renewed = browser
        .fetch(&home, Method::POST, &post("/auth/refresh"), &headers, None)
        .await;
    assert_eq!(renewed.unwrap().status, 200);
    op.advance_secs(11);
    let left = lost
        .fetch(&home, Method::POST, &post("/auth/logout"), &headers, None)
        .await;
    assert_eq!(left.unwrap().status, 200);
    let me = browser
        .fetch(&home, Method::GET, &post("/auth/me"), &[], None)
        .await;
    assert_eq!(me.unwrap().status, 401);
}

/// A stranger can fill the tables: the oldest of what nobody has signed in for give way, and nobody is turned away. Who has
/// just begun goes on.
#[tokio::test]
async fn strangers_who_fill_the_tables_keep_nobody_from_signing_in() {
    let op = TestProvider::start().await;
    let app = op.client().await;
    let now = op.clock().now();
    for statement in [
        "INSERT INTO authorization_requests (request_hash, client_id, sealed, created_at, expires_at)
         SELECT sha256(convert_to(i::text, 'UTF8')), $1, '', $2, $2 + make_interval(secs => 599 + i / 1000000.0)
         FROM generate_series(1, 100500) i",
        "INSERT INTO upstream_flows (state_hash, browser_hash, provider, kind, sealed, created_at, expires_at)
         SELECT sha256(convert_to(i::text, 'UTF8')), convert_to($1, 'UTF8'), 'simulated', 'login', '', $2,
                $2 + make_interval(secs => 599 + i / 1000000.0)
         FROM generate_series(1, 100500) i",
    ] {
        // A stranger takes longer than one statement may.
        let mut tx = op.db().begin().await.unwrap();
        sqlx::query("SET LOCAL statement_timeout = 0").execute(&mut *tx).await.unwrap();
        let insert = sqlx::query(statement).bind(app.client_id()).bind(now);
        insert.execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
    }
    let browser = op.browser();
    let visit = browser.authorize(&app).send().await;
    assert!(matches!(visit, Outcome::Page(_)), "{visit:?}");

    let evicted = maintenance::evict_surplus(op.state()).await.unwrap();
    // One of the hundred thousand that stay is the browser's own.
    assert_eq!(evicted, 501 + 500);
    for table in ["authorization_requests", "upstream_flows"] {
        let statement = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
        let left: i64 = sqlx::query_scalar(statement).fetch_one(op.db()).await.unwrap();
        assert_eq!(left, 100_000, "{table}");
    }
    browser.authorize(&app).code_as("ada").await;
}

/// The pool may be as small as one connection.
#[tokio::test]
async fn the_clean_up_needs_one_connection() {
    let op = TestProvider::with(|config| {
        config.database.max_connections = 1;
        config.database.acquire_timeout_secs = 2;
    })
    .await;
    maintenance::clean_up(op.state(), op.clock().now()).await.unwrap();
}

/// RFC 6749 §4.1.2.1, rule AZ-1: as long as it is not settled who asks and where to answer, the answer is a page of ours. It
/// leads nowhere, sets nothing and repeats nothing, however it is asked for, with a session and without.
#[tokio::test]
async fn what_is_refused_before_the_client_is_known_leads_nowhere_and_sets_nothing() {
    let op = TestProvider::start().await;
    let (app, disabled) = (op.client().await, op.client().await);
    sqlx::query("UPDATE oauth_clients SET disabled_at = now() WHERE client_id = $1")
        .bind(disabled.client_id())
        .execute(op.db())
        .await
        .unwrap();
    let ada = op.signed_in("ada").await;
    let refused: [&[(&str, &str)]; 13] = [
        &[],
        &[("client_id", "")],
        &[("client_id", "echo-unknown")],
        &[("client_id", "echo-<script>")],
        &[("client_id", "echo'; DROP TABLE users; --")],
        &[("client_id", disabled.client_id()), ("redirect_uri", CALLBACK)],
        &[("client_id", app.client_id())],
        &[("client_id", app.client_id()), ("redirect_uri", "")],
        &[
            ("client_id", app.client_id()),
            ("redirect_uri", "https://echo.test/callback"),
        ],
        &[
            ("client_id", app.client_id()),
            ("redirect_uri", "javascript:echo()"),
        ],
        &[
            ("client_id", app.client_id()),
            ("redirect_uri", "https://app.test/callback?echo=1"),
        ],
        &[
            ("client_id", app.client_id()),
            ("client_id", app.client_id()),
            ("redirect_uri", CALLBACK),
        ],
        &[
            ("client_id", app.client_id()),
            ("redirect_uri", CALLBACK),
            ("redirect_uri", CALLBACK),
        ],
    ];
    let common = [
        ("response_type", "code"),
        ("scope", "openid echo"),
        ("state", "echo"),
        ("prompt", "none"),
    ];
    let authorize = Url::parse(&format!("{ISSUER}/oauth/authorize")).unwrap();
    let cookies = ada
        .jar()
        .header(&authorize, Context::SameSite, op.clock().now())
        .unwrap();
    for case in refused {
        let parameters: Vec<_> = case.iter().chain(&common).copied().collect();
        for method in [Method::GET, Method::POST] {
            for cookies in [None, Some(&cookies)] {
                let encoded = url::form_urlencoded::Serializer::new(String::new())
                    .extend_pairs(&parameters)
                    .finish();
                let mut request = if method == Method::GET {
                    op.request(Method::GET, &format!("/oauth/authorize?{encoded}"))
                } else {
                    op.request(Method::POST, "/oauth/authorize").form(&parameters)
                };
                if let Some(cookies) = cookies {
                    request = request.header("cookie", cookies);
                }
                let answer = Answer::of(request).await;
                answer.is(400);
                for header in ["location", "refresh", "set-cookie"] {
                    assert!(answer.header(header).is_none(), "{header} after {case:?}");
                }
                answer.is_not_stored();
                assert!(answer.header("content-type").unwrap().starts_with("text/html"));
                assert!(!answer.text.contains("echo"), "{case:?}: {}", answer.text);
                assert!(!answer.text.contains("<script"), "{case:?}");
            }
        }
    }
}

/// RD-4: a place that a caller names is gone to as it is, with a query at most: no path is put behind it.
#[tokio::test]
async fn nothing_but_a_query_is_added_to_a_place_that_a_caller_named() {
    let op = TestProvider::start().await;
    let registered = [
        "https://app.test/callback",
        "https://app.test/a/b?x=%2F..",
        "https://app.test/c/",
    ];
    let app = op
        .client_with(|client| {
            client.redirect_uris = registered.map(str::to_owned).to_vec();
            client.post_logout_redirect_uris = registered.map(str::to_owned).to_vec();
        })
        .await;
    let same_place = |arrived: &Url, named: &str| {
        let (arrived, named) = (arrived.as_str(), named);
        let added = arrived
            .strip_prefix(named)
            .unwrap_or_else(|| panic!("{arrived} is not {named}"));
        let separator = if named.contains('?') { '&' } else { '?' };
        assert!(
            added.is_empty() || added.starts_with(separator),
            "{added:?} is added to {named}"
        );
        assert_eq!(
            Url::parse(arrived).unwrap().path(),
            Url::parse(named).unwrap().path()
        );
    };
    for redirect_uri in registered {
        let ada = op.signed_in("ada").await;
        for scope in ["openid", "unknown-to-all"] {
            let request = ada
                .authorize(&app)
                .with("redirect_uri", redirect_uri)
                .scope(scope);
            same_place(&request.visit().await.url, redirect_uri);
        }
        let code = ada
            .authorize(&app)
            .with("redirect_uri", redirect_uri)
            .visit()
            .await;
        let granted = common::Granted {
            code: common::browser::query(&code.url, "code").unwrap(),
            state: None,
            iss: None,
            nonce: None,
            verifier: None,
            redirect_uri: redirect_uri.to_owned(),
            params: Vec::new(),
            posted: false,
        };
        let tokens = app.redeem(&granted).await.tokens();
        let mut logout = Url::parse(&format!("{ISSUER}/oauth/logout")).unwrap();
        logout
            .query_pairs_mut()
            .append_pair("id_token_hint", tokens.id())
            .append_pair("post_logout_redirect_uri", redirect_uri)
            .append_pair("state", "s");
        same_place(&ada.open(logout.as_str()).await.url, redirect_uri);
    }
    for return_to in [
        "https://pages.op.test/a/b?x=%2F..",
        "https://pages.op.test/c/",
        "/d/e",
    ] {
        let browser = op.browser();
        let mut start = Url::parse(&format!("{ISSUER}/auth/simulated")).unwrap();
        start.query_pairs_mut().append_pair("return_to", return_to);
        let visit = browser.open(start.as_str()).await;
        let visit = browser.pass_upstream(visit, "ada").await;
        let named = Url::parse(ISSUER).unwrap().join(return_to).unwrap();
        assert_eq!(visit.url, named);
    }
}
