//! The deployer's own pages on another site, the hosted ones off: each is handed one opaque id, and does the rest by the
//! JSON API (CO-2, CO-4, CO-5, CR-1).

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use common::browser::CorsRefused;
use common::provider::{APP, ISSUER};
use common::{Answer, Browser, Outcome, TestClient, TestProvider, Visit};
use reqwest::Method;
use riley_auth::config::Config;
use riley_auth::config::oauth::Onboarding;
use riley_auth::config::server::CookieSameSite;
use serde_json::{Value, json};
use url::Url;

/// Another site than the provider's, so that its scripts send cookies only under `cookie_same_site = "none"`.
const PAGES: &str = "https://pages.test";

fn pages_elsewhere(config: &mut Config) {
    config.server.first_party_origins = vec![PAGES.to_owned()];
    config.server.cors_origins = vec![APP.to_owned()];
    config.server.cookie_same_site = CookieSameSite::None;
    let page = |path: &str| Some(format!("{PAGES}{path}").parse().unwrap());
    let oauth = &mut config.oauth;
    oauth.login_url = page("/login");
    oauth.consent_url = page("/consent");
    oauth.onboarding_url = page("/welcome");
    oauth.link_url = page("/link");
    oauth.error_url = page("/error");
    oauth.signed_out_url = page("/signed-out");
    oauth.default_return_to = page("/home");
    oauth.onboarding = Onboarding::Prompt;
}

/// A script of this page calls the API.
async fn call(
    browser: &Browser,
    page: &Url,
    method: Method,
    path: &str,
    json: Option<Value>,
) -> Result<Answer, CorsRefused> {
    let headers: &[(&str, &str)] = if method == Method::GET {
        &[]
    } else {
        &[("x-requested-with", "fetch")]
    };
    browser
        .fetch(
            page.as_str(),
            method,
            &format!("{ISSUER}{path}"),
            headers,
            json.as_ref(),
        )
        .await
}

/// The page that a visit ended on, and the one id that it was handed.
fn handed(visit: &Visit, path: &str, name: &str) -> String {
    assert_eq!(
        visit.url.origin().ascii_serialization(),
        PAGES,
        "{}",
        visit.text()
    );
    assert_eq!(visit.url.path(), path);
    let pairs: Vec<(String, String)> = visit.url.query_pairs().into_owned().collect();
    assert_eq!(pairs.len(), 1, "one id and nothing else: {}", visit.url);
    assert_eq!(pairs[0].0, name);
    assert_eq!(pairs[0].1.len(), 43, "256 bits");
    pairs[0].1.clone()
}

/// A visit to the consent page of a fresh request.
async fn at_consent(browser: &Browser, app: &TestClient, scope: &str) -> Visit {
    browser.authorize(app).scope(scope).visit().await
}

/// Somebody who is signed in and has a name, by the pages.
async fn member(op: &TestProvider, person: &str) -> Browser {
    let browser = op.browser();
    let visit = browser.sign_in_amid("simulated", person, &[]).await;
    let setup = call(
        &browser,
        &visit.url,
        Method::POST,
        "/auth/setup",
        Some(json!({ "username": person })),
    )
    .await;
    setup.unwrap().is(200);
    browser
}

/// §4.8 from end to end: login, onboarding, consent, and the code at the app.
#[tokio::test]
async fn pages_on_another_site_take_a_person_from_the_app_and_back() {
    let op = TestProvider::with(pages_elsewhere).await;
    let app = op.asking_client().await;
    let ada = op.browser();
    let request = ada.authorize(&app).scope("openid profile email");

    // The login page.
    let login = request.visit().await;
    let request_id = handed(&login, "/login", "request_id");
    let providers = call(&ada, &login.url, Method::GET, "/auth/providers", None)
        .await
        .unwrap()
        .is(200)
        .json();
    let start = format!(
        "{}?request_id={request_id}",
        providers[0]["start_url"].as_str().unwrap()
    );
    let upstream = ada.follow(login.url.as_str(), &start).await;
    let welcome = ada.submit(&upstream, &[("person", "ada")]).await;

    // The welcome page is handed nothing at all: the handle is in a cookie.
    assert_eq!(welcome.url.as_str(), format!("{PAGES}/welcome"));
    let known = call(&ada, &welcome.url, Method::GET, "/auth/setup", None)
        .await
        .unwrap()
        .is(200)
        .json();
    let choice = json!({ "username": known["suggested_username"] });
    let done = call(&ada, &welcome.url, Method::POST, "/auth/setup", Some(choice))
        .await
        .unwrap()
        .is(200)
        .json();

    // The consent page.
    let consent = ada
        .follow(welcome.url.as_str(), done["redirect_to"].as_str().unwrap())
        .await;
    let consent_id = handed(&consent, "/consent", "consent_id");
    let path = format!("/oauth/consent?consent_id={consent_id}");
    let context = call(&ada, &consent.url, Method::GET, &path, None).await.unwrap();
    context.is_not_stored();
    let context = context.is(200).json();
    assert_eq!(
        context["client"],
        json!({ "client_id": app.client_id(), "name": "The App", "redirect_host": "app.test" })
    );
    let scopes: Vec<&str> = context["scopes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|scope| scope["name"].as_str().unwrap())
        .collect();
    assert_eq!(scopes, ["openid", "profile", "email"]);
    assert!(
        context["scopes"]
            .as_array()
            .unwrap()
            .iter()
            .all(|scope| scope["description"].is_string())
    );
    assert_eq!(context["user"]["username"], "ada");
    assert!(context["expires_at"].as_str().unwrap().ends_with('Z'));
    let mut members: Vec<&String> = context.as_object().unwrap().keys().collect();
    members.sort();
    assert_eq!(members, ["client", "expires_at", "scopes", "user"]);

    // The decision, in both shapes that the id may travel in, ends at the app.
    let decided = call(
        &ada,
        &consent.url,
        Method::POST,
        &path,
        Some(json!({ "approved": true })),
    )
    .await
    .unwrap();
    let next = decided.is(200).json();
    assert_eq!(next.as_object().unwrap().len(), 1);
    let visit = ada
        .follow(consent.url.as_str(), next["redirect_to"].as_str().unwrap())
        .await;
    let granted = request.read(visit).await.code();
    let tokens = app.redeem(&granted).await.tokens();
    app.userinfo(&tokens.access_token).await.is(200);

    // It is remembered, and the session can be renewed and left from there.
    ada.authorize(&app).scope("openid profile email").code().await;
    call(&ada, &consent.url, Method::POST, "/auth/refresh", None)
        .await
        .unwrap()
        .is(200);
    let left = call(&ada, &consent.url, Method::POST, "/auth/logout", None)
        .await
        .unwrap()
        .is(200)
        .json();
    assert_eq!(left["redirect_to"], format!("{PAGES}/signed-out"));
    assert!(
        ada.jar()
            .live(op.clock().now())
            .all(|cookie| !cookie.name.contains("auth_"))
    );
}

/// §4.3: a refusal is `access_denied` at the app.
#[tokio::test]
async fn a_person_who_declines_is_access_denied_at_the_app() {
    let op = TestProvider::with(pages_elsewhere).await;
    let app = op.asking_client().await;
    let ada = member(&op, "ada").await;
    let request = ada.authorize(&app);
    let consent = request.visit().await;
    let id = handed(&consent, "/consent", "consent_id");
    let body = json!({ "consent_id": id, "approved": false });
    let next = call(&ada, &consent.url, Method::POST, "/oauth/consent", Some(body))
        .await
        .unwrap()
        .is(200)
        .json();
    let visit = ada
        .follow(consent.url.as_str(), next["redirect_to"].as_str().unwrap())
        .await;
    let refused = request.read(visit).await.refused("access_denied");
    assert_eq!(refused.state, request.param("state"));
}

/// CO-2: ids of others, unknown, expired and decided ones answer alike, to the byte.
#[tokio::test]
async fn an_id_that_is_not_ones_own_answers_as_if_it_did_not_exist() {
    let op = TestProvider::with(pages_elsewhere).await;
    let app = op.asking_client().await;
    let (ada, eve) = (member(&op, "ada").await, member(&op, "eve").await);
    let ids = async |browser: &Browser| {
        let visit = at_consent(browser, &app, "openid profile").await;
        (visit.url.clone(), handed(&visit, "/consent", "consent_id"))
    };
    let ask = async |browser: &Browser, page: &Url, id: &str| {
        let path = format!("/oauth/consent?consent_id={id}");
        let context = call(browser, page, Method::GET, &path, None).await.unwrap();
        let body = json!({ "approved": true });
        let decision = call(browser, page, Method::POST, &path, Some(body))
            .await
            .unwrap();
        [context, decision].map(|answer| (answer.status.as_u16(), answer.text))
    };
    let (page, adas) = ids(&ada).await;
    let missing = ask(&ada, &page, &"A".repeat(43)).await;
    assert_eq!(missing[0].0, 404);
    assert_eq!(missing[1].0, 404);
    for id in ["", "x", "../../x", "' OR 1=1 --", &"A".repeat(5000)] {
        let path: String = url::form_urlencoded::byte_serialize(id.as_bytes()).collect();
        let answers = ask(&ada, &page, &path).await;
        assert_eq!(answers[0], missing[0], "{id:.20}");
    }
    assert_eq!(ask(&eve, &page, &adas).await, missing, "another person's");
    let elsewhere = op.browser();
    elsewhere.sign_in_amid("simulated", "ada", &[]).await;
    assert_eq!(
        ask(&elsewhere, &page, &adas).await,
        missing,
        "one's own of another browser"
    );

    let context = call(
        &ada,
        &page,
        Method::GET,
        &format!("/oauth/consent?consent_id={adas}"),
        None,
    )
    .await
    .unwrap();
    context.is(200);
    let body = json!({ "consent_id": adas, "approved": true });
    call(&ada, &page, Method::POST, "/oauth/consent", Some(body))
        .await
        .unwrap()
        .is(200);
    assert_eq!(ask(&ada, &page, &adas).await, missing, "decided already");

    let (page, eves) = ids(&eve).await;
    op.advance_secs(600);
    assert_eq!(ask(&eve, &page, &eves).await, missing, "expired");
    let nobody = op.browser();
    let path = format!("/oauth/consent?consent_id={eves}");
    call(&nobody, &page, Method::GET, &path, None)
        .await
        .unwrap()
        .is(401);
}

/// CO-4: a decision is JSON with a boolean, with the header that forms cannot send; anything else costs nothing.
#[tokio::test]
async fn a_decision_is_a_boolean_and_no_form() {
    let op = TestProvider::with(pages_elsewhere).await;
    let app = op.asking_client().await;
    let ada = member(&op, "ada").await;
    let consent = at_consent(&ada, &app, "openid").await;
    let id = handed(&consent, "/consent", "consent_id");
    for body in [
        json!({ "consent_id": id }),
        json!({ "consent_id": id, "approved": "true" }),
        json!({ "consent_id": id, "approved": 1 }),
        json!({ "consent_id": id, "approved": null }),
        json!({ "consent_id": id, "approved": true, "scope": "openid email" }),
        json!([true]),
    ] {
        let refused = call(
            &ada,
            &consent.url,
            Method::POST,
            "/oauth/consent",
            Some(body.clone()),
        )
        .await
        .unwrap();
        assert_eq!(refused.status, 400, "{body}");
    }
    let form = vec![
        ("consent_id".to_owned(), id.clone()),
        ("approved".to_owned(), "true".to_owned()),
    ];
    let forged = ada
        .post_form("https://evil.test/", &format!("{ISSUER}/oauth/consent"), form)
        .await;
    assert_eq!(forged.status().unwrap(), 403);
    let body = json!({ "consent_id": id, "approved": true });
    call(&ada, &consent.url, Method::POST, "/oauth/consent", Some(body))
        .await
        .unwrap()
        .is(200);
}

/// CR-1: exactly `first_party_origins` read the cookie APIs, and `cors_origins` is another list.
#[tokio::test]
async fn scripts_of_other_origins_read_nothing() {
    let op = TestProvider::with(pages_elsewhere).await;
    let ada = member(&op, "ada").await;
    let apis = [
        (Method::GET, "/auth/me"),
        (Method::GET, "/auth/providers"),
        (Method::GET, "/auth/setup"),
        (Method::POST, "/auth/setup"),
        (Method::POST, "/auth/refresh"),
        (Method::POST, "/auth/logout-all"),
        (Method::GET, "/oauth/consent?consent_id=x"),
        (Method::POST, "/oauth/consent"),
    ];
    for origin in [
        "https://evil.test",
        "https://pages.test.evil.test",
        "https://notpages.test",
        "https://sub.pages.test",
        "https://pages.test:8443",
        "http://pages.test",
        APP,
    ] {
        let page: Url = format!("{origin}/").parse().unwrap();
        for (method, path) in &apis {
            let body = (*method == Method::POST).then(|| json!({}));
            let answer = call(&ada, &page, method.clone(), path, body).await;
            assert_eq!(answer.err(), Some(CorsRefused), "{origin} {path}");
            let plain = op.request(method.clone(), path).header("origin", origin);
            let plain = Answer::of(plain).await;
            assert!(
                plain.header("access-control-allow-origin").is_none(),
                "{origin} {path}"
            );
        }
    }
    let null = Answer::of(op.request(Method::GET, "/auth/me").header("origin", "null")).await;
    assert!(null.header("access-control-allow-origin").is_none());
    let home: Url = format!("{PAGES}/home").parse().unwrap();
    let me = call(&ada, &home, Method::GET, "/auth/me", None).await.unwrap();
    assert_eq!(
        me.is(200).json()["username"],
        "ada",
        "nothing of this ended the session"
    );
    assert!(
        me.headers.get_all("vary").iter().any(|line| line
            .to_str()
            .unwrap()
            .to_ascii_lowercase()
            .contains("origin"))
    );

    // Neither list opens what the other does, and nobody reads where browsers navigate.
    for path in [
        "/oauth/token",
        "/oauth/userinfo",
        "/oauth/revoke",
        "/oauth/introspect",
    ] {
        let answer = Answer::of(op.request(Method::POST, path).header("origin", PAGES)).await;
        assert!(answer.header("access-control-allow-origin").is_none(), "{path}");
        let answer = Answer::of(op.request(Method::POST, path).header("origin", APP)).await;
        assert_eq!(answer.header("access-control-allow-origin"), Some(APP), "{path}");
        assert!(
            answer.header("access-control-allow-credentials").is_none(),
            "{path}"
        );
    }
    for path in [
        "/oauth/authorize",
        "/oauth/authorize/resume",
        "/auth/simulated",
        "/auth/simulated/callback",
    ] {
        for origin in [PAGES, APP] {
            let answer = Answer::of(op.request(Method::GET, path).header("origin", origin)).await;
            assert!(answer.header("access-control-allow-origin").is_none(), "{path}");
        }
    }
}

/// Under `cookie_same_site = "lax"` pages of another site are strangers; of the same site they are not.
#[tokio::test]
async fn lax_cookies_leave_pages_of_another_site_without_a_session() {
    let op = TestProvider::with(|config| {
        pages_elsewhere(config);
        config.server.cookie_same_site = CookieSameSite::Lax;
        config
            .server
            .first_party_origins
            .push("https://pages.op.test".to_owned());
        config.oauth.onboarding = Onboarding::Auto;
    })
    .await;
    let ada = op.browser();
    ada.sign_in_amid("simulated", "ada", &[]).await;
    let home: Url = format!("{PAGES}/home").parse().unwrap();
    call(&ada, &home, Method::GET, "/auth/me", None)
        .await
        .unwrap()
        .is(401);
    ada.me().await.is(200);
}

/// §4.8: no `consent_url` is `consent_required` at the app; no way to sign in is `login_required`.
#[tokio::test]
async fn without_a_page_the_app_hears_what_was_needed() {
    let op = TestProvider::with(|config| {
        pages_elsewhere(config);
        config.oauth.onboarding = Onboarding::Auto;
        config.oauth.consent_url = None;
        config.oauth.login_url = None;
        config.oauth.default_provider = Some("none".to_owned());
    })
    .await;
    let app = op.asking_client().await;
    let ada = op.browser();
    ada.authorize(&app).send().await.refused("login_required");
    ada.sign_in_amid("simulated", "ada", &[]).await;
    ada.authorize(&app).send().await.refused("consent_required");
    let trusted = op.client().await;
    assert!(matches!(ada.authorize(&trusted).send().await, Outcome::Code(_)));
}

/// The deployer's own error page is linked to, with the id and nothing else; the refusal itself stays a refusal here.
#[tokio::test]
async fn an_error_page_leads_to_the_deployers_page_with_the_id_alone() {
    let page = "https://pages.op.test/error";
    let op = TestProvider::with(|config| config.oauth.error_url = page.parse().ok()).await;
    let refused = op.get("/oauth/authorize?client_id=nobody&state=secret").await;
    let text = &refused.text;
    let id = common::html::text_of(text, "error-id").expect("the page has an id");
    assert_eq!((refused.status.as_u16(), refused.header("location")), (400, None));
    assert!(text.contains(&format!("href=\"{page}?error_id={id}\"")), "{text}");
    assert!(!text.contains("secret"), "{text}");
}
