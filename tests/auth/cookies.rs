use std::collections::{BTreeMap, BTreeSet};

use reqwest::Method;
use riley_auth::config::server::CookieSameSite;
use serde_json::json;

use crate::common::checks;
use crate::common::provider::{ISSUER, PAGES};
use crate::common::{Answer, Browser, TestProvider, Visit};

/// Each cookie that is set on the way: its value and its attributes.
fn set_cookies(answers: &[&Answer]) -> BTreeMap<String, (String, BTreeSet<String>)> {
    let lines = answers
        .iter()
        .flat_map(|answer| answer.headers.get_all("set-cookie"));
    lines
        .map(|line| {
            let mut parts = line.to_str().unwrap().split(';').map(str::trim);
            let (name, value) = parts.next().unwrap().split_once('=').unwrap();
            (
                name.to_owned(),
                (value.to_owned(), parts.map(str::to_owned).collect()),
            )
        })
        .collect()
}

fn of_visit(visit: &Visit) -> BTreeMap<String, (String, BTreeSet<String>)> {
    let ours = visit
        .hops
        .iter()
        .filter(|(url, _)| url.as_str().starts_with(ISSUER));
    set_cookies(&ours.map(|(_, answer)| answer).collect::<Vec<_>>())
}

fn attributes(list: &[&str]) -> BTreeSet<String> {
    list.iter().map(|attribute| (*attribute).to_owned()).collect()
}

/// SE-1, SE-12: host-only cookies with `__Host-`, nothing that a script or another host could read.
#[tokio::test]
async fn cookies_bear_exactly_the_attributes_of_the_rule() {
    let op = TestProvider::start().await;
    let browser = op.browser();
    let start = browser.start("simulated").await;
    let callback = browser.callback_url(&start, "ada", &[]).await;
    let end = browser.open(callback.as_str()).await;

    let mut cookies = of_visit(&start);
    cookies.extend(of_visit(&end));
    let common = ["HttpOnly", "Secure", "SameSite=Lax", "Path=/"];
    let with = |more: &str| attributes(&[&common[..], &[more]].concat());
    let named = |name: &str| {
        cookies
            .get(name)
            .unwrap_or_else(|| panic!("{name} is not set: {:?}", cookies.keys()))
    };
    assert_eq!(named("__Host-auth_browser").1, attributes(&common));
    assert_eq!(named("__Host-auth_refresh").1, with("Max-Age=2592000"));
    assert_eq!(named("__Host-auth_access").1, with("Max-Age=900"));
    assert_eq!(cookies.len(), 3, "{:?}", cookies.keys());
    let sum: usize = cookies
        .iter()
        .map(|(name, (value, _))| name.len() + value.len())
        .sum();
    assert!(
        sum < 8192 && cookies.values().all(|(value, _)| value.len() < 4000),
        "{sum}"
    );
    assert!(checks::entropy_bits(&named("__Host-auth_refresh").0) > 128.0);
}

/// SE-1: on an http issuer of this machine neither prefix nor `Secure`, which browsers would not keep.
#[tokio::test]
async fn a_developers_issuer_has_plain_names() {
    let op = TestProvider::with(|config| config.jwt.issuer = "http://localhost:8081".to_owned()).await;
    let answer = op.get("/auth/simulated").await;
    let cookies = set_cookies(&[&answer]);
    assert_eq!(
        cookies["auth_browser"].1,
        attributes(&["HttpOnly", "SameSite=Lax", "Path=/"])
    );
}

/// §4.2: `cookie_prefix` names all of them, `cookie_same_site` opens all of them to pages on another site.
#[tokio::test]
async fn prefix_and_same_site_are_the_deployers_choice() {
    let op = TestProvider::with(|config| {
        config.server.cookie_prefix = "club".to_owned();
        config.server.cookie_same_site = CookieSameSite::None;
    })
    .await;
    let browser = op.browser();
    let start = browser.start("simulated").await;
    let callback = browser.callback_url(&start, "ada", &[]).await;
    let mut cookies = of_visit(&start);
    cookies.extend(of_visit(&browser.open(callback.as_str()).await));
    let names: Vec<_> = cookies.keys().collect();
    assert_eq!(
        names,
        ["__Host-club_access", "__Host-club_browser", "__Host-club_refresh"]
    );
    for (name, (_, attributes)) in &cookies {
        assert!(
            attributes.contains("SameSite=None") && attributes.contains("Secure"),
            "{name}"
        );
    }
}

/// §4.5: the access cookie is a JWT of its own type for apps on sibling hosts, verified by the JWKS.
#[tokio::test]
async fn the_access_cookie_says_who_is_there_and_nothing_else() {
    let op = TestProvider::start().await;
    let ada = op.signed_in("ada").await;
    let me = ada.me().await.json();
    let token = ada.cookie("access").unwrap();
    let header = jsonwebtoken::decode_header(&token).unwrap();
    assert_eq!(header.typ.as_deref(), Some("session+jwt"));
    let jwks = op.get("/.well-known/jwks.json").await.json();
    let claims = checks::verify(&token, &jwks);
    let names: Vec<&str> = claims.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "aud",
            "auth_time",
            "exp",
            "iat",
            "iss",
            "jti",
            "picture",
            "role",
            "sid",
            "sub",
            "username"
        ]
    );
    assert_eq!((&claims["iss"], &claims["aud"]), (&json!(ISSUER), &json!(ISSUER)));
    assert_eq!(
        (&claims["sub"], &claims["username"]),
        (&me["user_id"], &me["username"])
    );
    assert_eq!(
        (&claims["role"], &claims["picture"]),
        (&json!("user"), &me["picture"])
    );
    assert_eq!(
        claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(),
        900
    );
    assert!((claims["auth_time"].as_i64().unwrap() - op.now()).abs() <= 5);
}

/// A cookie header and a bearer token of our choice, against everything that knows sessions or tokens.
async fn opens_nothing(op: &TestProvider, what: &str, cookie: Option<&str>, bearer: Option<&str>) {
    let request = |method: Method, path: &str| {
        let mut request = op.request(method, path).header("x-requested-with", "fetch");
        if let Some(cookie) = cookie {
            request = request.header("cookie", cookie);
        }
        match bearer {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    };
    let me = Answer::of(request(Method::GET, "/auth/me")).await;
    assert_eq!(me.status, 401, "{what} opens /auth/me: {}", me.text);
    for path in ["/auth/refresh", "/auth/logout-all"] {
        assert_eq!(
            Answer::of(request(Method::POST, path)).await.status,
            401,
            "{what} opens {path}"
        );
    }
    assert_eq!(
        Answer::of(request(Method::GET, "/oauth/consent?consent_id=x"))
            .await
            .status,
        401,
        "{what} opens consent"
    );
    let userinfo = Answer::of(request(Method::GET, "/oauth/userinfo")).await;
    assert_eq!(userinfo.status, 401, "{what} opens UserInfo: {}", userinfo.text);
    assert!(userinfo.header("www-authenticate").unwrap().starts_with("Bearer"));
}

/// SE-9, UI-3: no token is taken for another kind, in whatever place it is presented.
#[tokio::test]
async fn no_token_passes_for_another_kind() {
    let op = TestProvider::start().await;
    let app = op.client().await;
    let ada = op.browser();
    let tokens = app.tokens_of(&ada, "ada", "openid offline_access").await;
    let (access, refresh) = (ada.cookie("access").unwrap(), ada.cookie("refresh").unwrap());

    for (what, token) in [
        ("the access cookie", access.as_str()),
        ("a client's access token", &tokens.access_token),
        ("an ID token", tokens.id()),
        ("a refresh token", tokens.refresh()),
        ("the client's secret", app.secret()),
    ] {
        opens_nothing(&op, what, Some(&format!("__Host-auth_refresh={token}")), None).await;
        opens_nothing(&op, what, Some(&format!("__Host-auth_access={token}")), None).await;
        opens_nothing(
            &op,
            what,
            Some(&format!("auth_refresh={refresh}; auth_access={token}")),
            None,
        )
        .await;
        if what != "a client's access token" {
            opens_nothing(&op, what, None, Some(token)).await;
            app.userinfo(token).await.is(401);
        }
        if !matches!(what, "a client's access token" | "a refresh token") {
            assert!(!app.is_active(token).await, "{what} is active");
        }
    }
    opens_nothing(&op, "the session cookie", None, Some(&refresh)).await;
    assert!(!app.is_active(&refresh).await);
    app.refresh(&refresh).await.refused("invalid_grant");
    app.userinfo(&tokens.access_token).await.is(200);
    let me = Answer::of(
        op.request(Method::GET, "/auth/me")
            .bearer_auth(&tokens.access_token),
    )
    .await;
    me.is(401);
    let cookie = format!("__Host-auth_refresh={refresh}");
    Answer::of(op.request(Method::GET, "/auth/me").header("cookie", cookie))
        .await
        .is(200);
}

/// SE-7: two values under one name, and somebody has planted one of them: neither is believed.
#[tokio::test]
async fn two_values_of_one_cookie_are_nobody() {
    let op = TestProvider::start().await;
    let (ada, mallory) = (op.signed_in("ada").await, op.signed_in("mallory").await);
    let (own, planted) = (ada.cookie("refresh").unwrap(), mallory.cookie("refresh").unwrap());
    let status = async |cookies: &[String]| {
        let mut request = op.request(Method::GET, "/auth/me");
        for line in cookies {
            request = request.header("cookie", line);
        }
        Answer::of(request).await.status.as_u16()
    };
    let name = "__Host-auth_refresh";
    assert_eq!(status(&[format!("{name}={own}")]).await, 200);
    assert_eq!(
        status(&[format!("{name}={own}; {name}={own}")]).await,
        200,
        "the same value twice is one value"
    );
    assert_eq!(status(&[format!("{name}={own}; {name}={planted}")]).await, 401);
    assert_eq!(status(&[format!("{name}={planted}; {name}={own}")]).await, 401);
    assert_eq!(
        status(&[format!("{name}={own}"), format!("{name}={planted}")]).await,
        401
    );
    assert_eq!(status(&[format!("{name}={own}; {name}=x")]).await, 401);
    assert_eq!(
        status(&[format!("auth_refresh={own}; __Secure-auth_refresh={own}")]).await,
        401,
        "names are exact"
    );
    assert!(ada.is_signed_in().await, "nothing of this ended the session");

    // A second browser name binds nothing either: the callback belongs to neither.
    let browser = op.browser();
    let callback = browser.up_to_callback("simulated", "ada").await;
    let (own, other) = (browser.cookie("browser").unwrap(), ada.cookie("browser").unwrap());
    let tossed = format!("__Host-auth_browser={own}; __Host-auth_browser={other}");
    let path = &callback.as_str()[ISSUER.len()..];
    let answer = Answer::of(op.request(Method::GET, path).header("cookie", tossed)).await;
    answer.is(400);
}

/// SE-3: a value that was there before the login is never adopted.
#[tokio::test]
async fn a_planted_session_cookie_is_not_adopted() {
    let op = TestProvider::start().await;
    let browser = op.browser();
    let planted = "A".repeat(43);
    let line = format!("__Host-auth_refresh={planted}; Secure; Path=/; HttpOnly; SameSite=Lax");
    browser.change_cookies(|jar| {
        let (issuer, now) = (ISSUER.parse().unwrap(), op.clock().now());
        jar.store(&issuer, &line, crate::common::cookies::Context::SameSite, now);
    });
    browser.sign_in("ada").await;
    assert_ne!(browser.cookie("refresh").unwrap(), planted);
}

/// SE-11: what is personal is not stored; redirects tell the next host nothing.
#[tokio::test]
async fn every_step_of_a_sign_in_is_kept_by_nobody() {
    let op = TestProvider::start().await;
    let browser: Browser = op.browser();
    let visit = browser.sign_in_amid("simulated", "ada", &[]).await;
    assert_eq!(visit.url.as_str(), format!("{PAGES}/home"));
    let (_, callback) = visit.hops.last().unwrap();
    callback.is_not_stored();
    assert_eq!(callback.status, 303);
    assert_eq!(callback.header("referrer-policy"), Some("no-referrer"));
    assert_eq!(callback.header("x-content-type-options"), Some("nosniff"));
    assert!(callback.header("strict-transport-security").is_some());
    let renewed = browser.renew().await;
    renewed.is_not_stored();
    assert!(
        !renewed.text.contains(&browser.cookie("refresh").unwrap()),
        "tokens travel in cookies alone"
    );
}
