//! UserInfo (OpenID Connect Core §5.3) and its Bearer errors (RFC 6750 §3), over HTTP.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use common::provider::ISSUER;
use common::{Answer, Browser, TestClient, TestProvider, Tokens};
use reqwest::Method;
use serde_json::Value;

struct Fixture {
    op: TestProvider,
    app: TestClient,
    ada: Browser,
}

async fn start() -> Fixture {
    let op = TestProvider::start().await;
    let (app, ada) = (op.client().await, op.signed_in("ada").await);
    Fixture { op, app, ada }
}

impl Fixture {
    async fn tokens(&self, scope: &str) -> Tokens {
        self.app.tokens_of(&self.ada, "ada", scope).await
    }

    fn request(&self, method: Method) -> reqwest::RequestBuilder {
        self.op.request(method, "/oauth/userinfo")
    }

    async fn with_header(&self, authorization: &str) -> Answer {
        Answer::of(self.request(Method::GET).header("authorization", authorization)).await
    }
}

/// A refusal by this status with exactly this header.
#[track_caller]
fn refused(answer: &Answer, status: u16, attributes: &str) {
    assert_eq!(answer.status.as_u16(), status, "{}", answer.text);
    let expected = format!("Bearer realm=\"{ISSUER}\"{attributes}");
    assert_eq!(answer.header("www-authenticate"), Some(expected.as_str()));
    answer.is_not_stored();
}

const INVALID: &str = ", error=\"invalid_token\"";
const EXPIRED: &str = ", error=\"invalid_token\", error_description=\"token expired\"";

/// RFC 6750 §3.1: a request without a token is told the scheme and no error.
#[tokio::test]
async fn no_token_is_answered_by_the_bare_scheme() {
    let fixture = start().await;
    refused(&Answer::of(fixture.request(Method::GET)).await, 401, "");
    refused(&Answer::of(fixture.request(Method::POST)).await, 401, "");
    refused(&fixture.with_header("Basic eDp5").await, 401, "");
}

#[tokio::test]
async fn an_expired_token_is_called_expired() {
    let fixture = start().await;
    let tokens = fixture.tokens("openid").await;
    fixture.op.advance_secs(899);
    fixture.app.userinfo(&tokens.access_token).await.is(200);
    fixture.op.advance_secs(2);
    refused(&fixture.app.userinfo(&tokens.access_token).await, 401, EXPIRED);
}

#[tokio::test]
async fn a_malformed_or_forged_token_is_invalid() {
    let fixture = start().await;
    let token = fixture.tokens("openid").await.access_token;
    let (head, signature) = token.rsplit_once('.').unwrap();
    let (header, payload) = head.split_once('.').unwrap();
    // {"alg":"none","typ":"at+jwt"}
    let unsigned = format!("eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0.{payload}.");
    let long = "a".repeat(9000);
    let other_payload = format!("{header}.{}.{signature}", payload.replacen('e', "f", 1));
    for token in ["x", "a.b.c", "..", &unsigned, head, &other_payload, &long] {
        refused(&fixture.app.userinfo(token).await, 401, INVALID);
    }
}

#[tokio::test]
async fn a_token_without_openid_has_too_little_scope() {
    let fixture = start().await;
    let tokens = fixture.tokens("profile email").await;
    let answer = fixture.app.userinfo(&tokens.access_token).await;
    refused(&answer, 403, ", error=\"insufficient_scope\", scope=\"openid\"");
}

/// Security rule UI-3: only access tokens of clients open it.
#[tokio::test]
async fn no_other_token_or_cookie_opens_it() {
    let fixture = start().await;
    let tokens = fixture.tokens("openid").await;
    let now = fixture.op.clock().now();
    let cookie = |name: &str| fixture.ada.jar().find(name, now).unwrap().value.clone();
    let (access, session) = (cookie("__Host-auth_access"), cookie("__Host-auth_refresh"));
    for token in [
        tokens.id(),
        tokens.refresh(),
        &access,
        &session,
        fixture.app.secret(),
    ] {
        refused(&fixture.app.userinfo(token).await, 401, INVALID);
    }
    let url = format!("{ISSUER}/oauth/userinfo");
    let by_cookie = fixture
        .ada
        .fetch(&url, Method::GET, &url, &[], None)
        .await
        .unwrap();
    refused(&by_cookie, 401, "");
}

/// RFC 6750 §2: one way to send the token, and never the query.
#[tokio::test]
async fn the_token_comes_one_way_and_never_in_the_query() {
    let fixture = start().await;
    let token = fixture.tokens("openid").await.access_token;
    let in_query = fixture
        .op
        .request(Method::GET, &format!("/oauth/userinfo?access_token={token}"));
    assert_eq!(Answer::of(in_query).await.status, 400);
    let both = fixture
        .request(Method::POST)
        .bearer_auth(&token)
        .form(&[("access_token", &token)]);
    assert_eq!(Answer::of(both).await.status, 400);
    let twice = fixture
        .request(Method::POST)
        .form(&[("access_token", &token), ("access_token", &token)]);
    assert_eq!(Answer::of(twice).await.status, 400);
    let headers = fixture
        .request(Method::GET)
        .bearer_auth(&token)
        .header("authorization", format!("Bearer {token}"));
    assert_eq!(Answer::of(headers).await.status, 400);
    fixture.with_header(&format!("bearer {token}")).await.is(200);
    fixture.with_header(&format!("BEARER {token}")).await.is(200);
}

/// OpenID Connect Core §5.4: each scope gives its claims, `sub` is always there.
#[tokio::test]
async fn each_scope_gives_its_claims_and_no_others() {
    let fixture = start().await;
    let cases: [(&str, &[&str]); 4] = [
        ("openid", &["sub"]),
        ("openid email", &["email", "email_verified", "sub"]),
        ("openid phone", &["phone_number", "phone_number_verified", "sub"]),
        ("openid address", &["address", "sub"]),
    ];
    for (scope, expected) in cases {
        let tokens = fixture.tokens(scope).await;
        let answer = fixture.app.userinfo(&tokens.access_token).await;
        answer.is_not_stored();
        let Value::Object(claims) = answer.is(200).json() else {
            panic!("an object")
        };
        let mut names: Vec<&str> = claims.keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, expected, "{scope}");
    }
}

/// What the upstream says is passed on as it says it.
#[tokio::test]
async fn the_claims_are_the_persons_own() {
    let fixture = start().await;
    let tokens = fixture.tokens("openid profile email").await;
    let claims = fixture.app.userinfo(&tokens.access_token).await.json();
    assert_eq!(claims["given_name"], "Ada");
    assert_eq!(claims["email_verified"], true);
    assert!(claims["email"].as_str().unwrap().contains('@'));
    assert!(claims["picture"].as_str().unwrap().starts_with("https://"));
    assert_eq!(claims["birthdate"], "1985-12-10");
}

/// Not every upstream is believed about addresses.
#[tokio::test]
async fn an_address_is_verified_only_if_its_provider_is_trusted() {
    let op = TestProvider::with(|config| {
        config.oauth.providers.get_mut("simulated").unwrap().email_trust = None;
    })
    .await;
    let (app, ada) = (op.client().await, op.browser());
    let tokens = app.tokens_of(&ada, "ada", "openid email").await;
    assert_eq!(
        app.userinfo(&tokens.access_token).await.json()["email_verified"],
        false
    );
}

/// What is not asked for is not stored: without `[claims] passthrough` the account answers alone.
#[tokio::test]
async fn nothing_is_passed_on_that_is_not_listed() {
    let op = TestProvider::with(|config| config.claims.passthrough.clear()).await;
    let (app, ada) = (op.client().await, op.browser());
    let tokens = app.tokens_of(&ada, "ada", "openid profile address phone").await;
    let Value::Object(claims) = app.userinfo(&tokens.access_token).await.json() else {
        panic!("an object")
    };
    let mut names: Vec<&str> = claims.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        ["name", "picture", "preferred_username", "sub", "updated_at"]
    );
}

/// Security rule UI-4: 401, not 404, and at once.
#[tokio::test]
async fn the_token_of_a_person_who_is_gone_is_invalid_at_once() {
    for end in [
        "update users set disabled_at = now()",
        "update sessions set ended_at = now()",
        "update grants set revoked_at = now()",
        "update oauth_clients set disabled_at = now()",
    ] {
        let fixture = start().await;
        let tokens = fixture.tokens("openid").await;
        sqlx::query(end).execute(fixture.op.db()).await.unwrap();
        refused(&fixture.app.userinfo(&tokens.access_token).await, 401, INVALID);
    }
}

/// OpenID Connect Core §5.5: asked for by name, given where it is asked for, within what the scope allows or not at all.
#[tokio::test]
async fn claims_that_are_asked_for_are_given_where_they_are_asked_for() {
    let fixture = start().await;
    let claims = r#"{"userinfo":{"given_name":null},"id_token":{"name":{"essential":true}}}"#;
    let request = fixture
        .ada
        .authorize(&fixture.app)
        .scope("openid profile")
        .with("claims", claims);
    let tokens = fixture.app.redeem(&request.code().await).await.tokens();
    assert!(common::checks::peek(tokens.id())["name"].is_string());
    assert_eq!(
        fixture.app.userinfo(&tokens.access_token).await.json()["given_name"],
        "Ada"
    );
}

/// CORS for apps: the configured origins alone, and never with credentials.
#[tokio::test]
async fn only_configured_origins_may_read_it_and_never_with_credentials() {
    let op =
        TestProvider::with(|config| config.server.cors_origins = vec!["https://spa.test".to_owned()]).await;
    for (origin, allowed) in [
        ("https://spa.test", Some("https://spa.test")),
        ("https://evil.test", None),
    ] {
        for method in [Method::GET, Method::OPTIONS] {
            let request = op.request(method, "/oauth/userinfo").header("origin", origin);
            let answer = Answer::of(request.header("access-control-request-method", "GET")).await;
            assert_eq!(answer.header("access-control-allow-origin"), allowed);
            assert_eq!(answer.header("access-control-allow-credentials"), None);
        }
    }
}

/// Any `Host` and proxy header: what we say of ourselves comes from the configuration (security rule DI-2).
#[tokio::test]
async fn the_realm_is_the_issuer_whatever_host_is_asked() {
    let fixture = start().await;
    let request = fixture
        .request(Method::GET)
        .header("x-forwarded-host", "evil.test")
        .header("forwarded", "host=evil.test");
    refused(&Answer::of(request).await, 401, "");
}
