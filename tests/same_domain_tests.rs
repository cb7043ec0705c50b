//! Same-domain mode: apps on sibling hosts read the access cookie, and it opens nothing here (SE-1, SE-4).

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::collections::BTreeSet;

use common::checks;
use common::cookies::{Context, CookieJar};
use common::{Answer, Browser, TestProvider};
use reqwest::Method;
use riley_auth::config::Config;
use serde_json::json;
use url::Url;

const AUTH: &str = "https://auth.example.test";
const SHOP: &str = "https://shop.example.test/";

fn same_domain(config: &mut Config) {
    AUTH.clone_into(&mut config.jwt.issuer);
    config.server.cookie_domain = Some("example.test".to_owned());
    config.server.first_party_origins = vec!["https://shop.example.test".to_owned()];
    config.oauth.default_return_to = Some(SHOP.parse().unwrap());
}

struct SignedIn {
    op: TestProvider,
    ada: Browser,
    set_cookies: Vec<String>,
}

async fn signed_in() -> SignedIn {
    let op = TestProvider::with(same_domain).await;
    let ada = op.browser();
    let page = ada.follow(SHOP, &format!("{AUTH}/auth/simulated")).await;
    let visit = ada.submit(&page, &[("person", "ada")]).await;
    assert_eq!(visit.url.as_str(), SHOP, "{}", visit.text());
    let callback = &visit.hops.last().unwrap().1;
    let set_cookies = callback.headers.get_all("set-cookie").iter();
    let set_cookies = set_cookies
        .map(|line| line.to_str().unwrap().to_owned())
        .collect();
    SignedIn { op, ada, set_cookies }
}

/// Name and value of each cookie that a request to this page carries.
fn sent_to(browser: &Browser, page: &str) -> Vec<(String, String)> {
    let header = browser.jar().header(
        &Url::parse(page).unwrap(),
        Context::SameSite,
        browser.op.clock().now(),
    );
    let pairs = header.unwrap_or_default();
    let pairs = pairs.split("; ").filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn names(cookies: &[(String, String)]) -> BTreeSet<&str> {
    cookies.iter().map(|(name, _)| name.as_str()).collect()
}

/// §4.2: the access cookie alone goes to the parent domain.
#[tokio::test]
async fn a_sibling_host_gets_the_access_cookie_and_nothing_else() {
    let SignedIn {
        op: _op,
        ada,
        set_cookies,
    } = signed_in().await;
    assert_eq!(
        names(&sent_to(&ada, SHOP)),
        BTreeSet::from(["__Secure-auth_access"])
    );
    assert_eq!(
        names(&sent_to(&ada, "https://example.test/")),
        BTreeSet::from(["__Secure-auth_access"])
    );
    for stranger in [
        "https://notexample.test/",
        "https://example.test.evil.test/",
        "http://shop.example.test/",
    ] {
        assert!(sent_to(&ada, stranger).is_empty(), "{stranger}");
    }
    let own = sent_to(&ada, AUTH);
    assert_eq!(
        names(&own),
        BTreeSet::from([
            "__Host-auth_browser",
            "__Host-auth_refresh",
            "__Secure-auth_access"
        ])
    );
    let attributes = |name: &str| {
        let line = set_cookies.iter().find(|line| line.starts_with(name)).unwrap();
        line.split("; ")
            .skip(1)
            .map(str::to_owned)
            .collect::<BTreeSet<_>>()
    };
    let expected = |list: &[&str]| list.iter().map(|own| (*own).to_owned()).collect::<BTreeSet<_>>();
    let common = ["HttpOnly", "Secure", "SameSite=Lax", "Path=/"];
    assert_eq!(
        attributes("__Secure-auth_access"),
        expected(&[&common[..], &["Domain=example.test", "Max-Age=900"]].concat())
    );
    assert_eq!(
        attributes("__Host-auth_refresh"),
        expected(&[&common[..], &["Max-Age=2592000"]].concat())
    );
}

/// §4.2: single sign-on for a sibling app that knows nothing of us but the JWKS.
#[tokio::test]
async fn a_sibling_app_verifies_the_access_cookie_by_the_jwks() {
    let SignedIn { op, ada, .. } = signed_in().await;
    let cookies = sent_to(&ada, SHOP);
    let jwks = op.get("/.well-known/jwks.json").await.json();
    let claims = checks::verify(&cookies[0].1, &jwks);
    assert_eq!((&claims["iss"], &claims["aud"]), (&json!(AUTH), &json!(AUTH)));
    assert_eq!(claims["username"], "ada");
    assert_eq!(claims["role"], "user");
    assert!(claims["exp"].as_i64().unwrap() - op.now() <= 900);
    let header = jsonwebtoken::decode_header(&cookies[0].1).unwrap();
    assert_eq!(
        header.typ.as_deref(),
        Some("session+jwt"),
        "no ID token and no access token of a client"
    );
}

/// SE-4: every host of the domain can read and replay the access cookie, so it opens nothing here.
#[tokio::test]
async fn the_cookie_of_the_parent_domain_opens_nothing_here() {
    let SignedIn { op, ada, .. } = signed_in().await;
    let stolen = sent_to(&ada, SHOP)[0].1.clone();
    let app = op.client().await;
    for cookie in [
        format!("__Secure-auth_access={stolen}"),
        format!("__Host-auth_access={stolen}"),
        format!("__Secure-auth_refresh={stolen}"),
        format!("__Host-auth_refresh={stolen}"),
    ] {
        let with = |method, path: &str| {
            op.request(method, path)
                .header("cookie", &cookie)
                .header("x-requested-with", "fetch")
        };
        for (method, path) in [
            (Method::GET, "/auth/me"),
            (Method::POST, "/auth/refresh"),
            (Method::POST, "/auth/logout-all"),
            (Method::GET, "/oauth/consent?consent_id=x"),
            (Method::GET, "/oauth/userinfo"),
        ] {
            Answer::of(with(method, path)).await.is(401);
        }
    }
    for path in ["/auth/me", "/oauth/userinfo"] {
        Answer::of(op.request(Method::GET, path).bearer_auth(&stolen))
            .await
            .is(401);
    }
    assert!(!app.is_active(&stolen).await);
}

/// SE-7: a sibling host can plant cookies for the whole domain. None of them is read.
#[tokio::test]
async fn what_a_sibling_plants_is_not_believed() {
    let SignedIn { op, ada, .. } = signed_in().await;
    let mallory = op.browser();
    let page = mallory.follow(SHOP, &format!("{AUTH}/auth/simulated")).await;
    mallory.submit(&page, &[("person", "mallory")]).await;
    let own = sent_to(&mallory, AUTH);
    let value = &own
        .iter()
        .find(|(name, _)| name == "__Host-auth_refresh")
        .unwrap()
        .1;
    let shop = Url::parse(SHOP).unwrap();
    ada.change_cookies(|jar: &mut CookieJar| {
        for name in [
            "__Host-auth_refresh",
            "__Secure-auth_refresh",
            "auth_refresh",
            "__Secure-auth_browser",
        ] {
            let line = format!("{name}={value}; Domain=example.test; Path=/; Secure");
            jar.store(&shop, &line, Context::SameSite, op.clock().now());
        }
    });
    assert!(
        sent_to(&ada, AUTH).iter().any(|(name, _)| name == "auth_refresh"),
        "the browser does send it"
    );
    let cookies = ada
        .jar()
        .header(&Url::parse(AUTH).unwrap(), Context::SameSite, op.clock().now())
        .unwrap();
    let me = Answer::of(op.request(Method::GET, "/auth/me").header("cookie", cookies)).await;
    assert_eq!(me.is(200).json()["username"], "ada");
}

/// SE-2: a logout takes the cookie of the parent domain back, too; a renewal writes it anew.
#[tokio::test]
async fn a_logout_takes_the_cookie_of_the_parent_domain_back() {
    let SignedIn { op, ada, .. } = signed_in().await;
    let call = async |path: &str| {
        let url = format!("{AUTH}{path}");
        ada.fetch(SHOP, Method::POST, &url, &[("x-requested-with", "fetch")], None)
            .await
            .unwrap()
    };
    let before = sent_to(&ada, SHOP);
    op.advance_secs(60);
    call("/auth/refresh").await.is(200);
    let after = sent_to(&ada, SHOP);
    assert_eq!(names(&after), names(&before));
    assert_ne!(after, before);

    let answer = call("/auth/logout").await;
    answer.is(200);
    assert!(sent_to(&ada, SHOP).is_empty() && sent_to(&ada, AUTH).is_empty());
    let lines = answer.headers.get_all("set-cookie").iter();
    let with_domain: Vec<_> = lines
        .filter(|line| line.to_str().unwrap().contains("Domain="))
        .collect();
    assert_eq!(
        with_domain,
        ["__Secure-auth_access=; HttpOnly; SameSite=Lax; Secure; Path=/; Domain=example.test; Max-Age=0"]
    );
}
