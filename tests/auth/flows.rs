use reqwest::Method;
use riley_auth::dev::simulated_upstream::{Endpoint, Flavour, Options};
use serde_json::json;
use time::Duration;
use url::Url;

use crate::common::cookies::Context;
use crate::common::front_end::{param, with_param};
use crate::common::html;
use crate::common::provider::{ISSUER, PAGES, start_upstream};
use crate::common::{Answer, Browser, TestProvider};
use riley_auth::clock::Clock;

/// A callback that has to be refused: a page with an id, no session, and not a word to the upstream.
async fn refused(op: &TestProvider, browser: &Browser, callback: &str, why: &str) {
    op.upstream().forget_requests();
    let visit = browser.follow("https://idp.example/", callback).await;
    assert_eq!(visit.status().unwrap(), 400, "{why}: {}", visit.text());
    assert!(
        html::text_of(visit.text(), "error-id").is_some(),
        "{why}: {}",
        visit.text()
    );
    assert!(!browser.is_signed_in().await, "{why}");
    let cookies = visit
        .hops
        .iter()
        .filter_map(|(_, answer)| answer.header("set-cookie"));
    assert!(
        cookies.into_iter().all(|line| !line.contains("_refresh=")),
        "{why}"
    );
    assert!(
        op.upstream().requests_to(Endpoint::Token).is_empty(),
        "{why}: the upstream was asked"
    );
}

/// A provider that has two upstreams, the second of them called `other`.
async fn with_two_upstreams() -> (
    TestProvider,
    riley_auth::dev::simulated_upstream::SimulatedUpstream,
) {
    let clock = Clock::held();
    let upstream = start_upstream(Options::default(), &clock).await;
    let options = Options {
        cookie_name: "other_session".to_owned(),
        ..Options::of(Flavour::Oidc)
    };
    let other = start_upstream(options, &clock).await;
    let issuer = other.issuer();
    let op = TestProvider::beside(clock, upstream, |config| {
        let mut second = config.oauth.providers["simulated"].clone();
        second.issuer = Some(issuer);
        config.oauth.providers.insert("other".to_owned(), second);
    })
    .await;
    (op, other)
}

/// UP-2: a callback in a browser that did not start it (login CSRF), with or without a flow of its own.
#[tokio::test]
async fn a_callback_without_our_cookie_reaches_nobody() {
    let op = TestProvider::start().await;
    let ada = op.browser();
    let callback = ada.up_to_callback("simulated", "ada").await;
    refused(&op, &op.browser(), callback.as_str(), "no cookie at all").await;
    let stranger = op.browser();
    let own = stranger.up_to_callback("simulated", "alan").await;
    refused(&op, &stranger, callback.as_str(), "another browser's state").await;
    let mixed = with_param(&own, "state", Some(&param(&callback, "state")));
    refused(&op, &stranger, mixed.as_str(), "own code, other state").await;
    // Neither attempt used up what belongs to others.
    assert_eq!(
        ada.open(callback.as_str()).await.url.as_str(),
        format!("{PAGES}/home")
    );
    assert_eq!(
        stranger.open(own.as_str()).await.url.as_str(),
        format!("{PAGES}/home")
    );
}

/// UP-2: missing, doubled, malformed and unknown state.
#[tokio::test]
async fn a_callback_with_a_wrong_state_reaches_nobody() {
    let op = TestProvider::start().await;
    let ada = op.browser();
    let callback = ada.up_to_callback("simulated", "ada").await;
    let unknown = "A".repeat(43);
    for state in [
        None,
        Some(""),
        Some("x"),
        Some(unknown.as_str()),
        Some("' OR 1=1 --"),
    ] {
        refused(
            &op,
            &ada,
            with_param(&callback, "state", state).as_str(),
            &format!("state {state:?}"),
        )
        .await;
    }
    let doubled = format!("{callback}&state={}", param(&callback, "state"));
    refused(&op, &ada, &doubled, "state twice").await;
    let doubled = format!("{callback}&code=other");
    refused(&op, &ada, &doubled, "code twice").await;
    assert_eq!(
        ada.open(callback.as_str()).await.url.as_str(),
        format!("{PAGES}/home")
    );
}

/// UP-1, UP-2: a callback counts once, whatever came of it.
#[tokio::test]
async fn a_callback_counts_once() {
    let op = TestProvider::start().await;
    let ada = op.browser();
    let callback = ada.up_to_callback("simulated", "ada").await;
    ada.open(callback.as_str()).await;
    ada.call(Method::POST, "/auth/logout", None).await.is(200);
    refused(&op, &ada, callback.as_str(), "replayed after the logout").await;

    let ada = op.browser();
    let callback = ada.up_to_callback("simulated", "ada").await;
    let failed = with_param(&callback, "code", Some("not-a-code"));
    ada.open(failed.as_str()).await;
    refused(&op, &ada, callback.as_str(), "used up by the failure").await;
}

/// UP-2: what was started ten minutes ago is over.
#[tokio::test]
async fn a_callback_that_comes_too_late_reaches_nobody() {
    let op = TestProvider::start().await;
    let (ada, alan) = (op.browser(), op.browser());
    let callback = ada.up_to_callback("simulated", "ada").await;
    let slower = alan.up_to_callback("simulated", "alan").await;
    op.advance(Duration::minutes(9));
    assert_eq!(
        ada.open(callback.as_str()).await.url.as_str(),
        format!("{PAGES}/home")
    );
    op.advance(Duration::minutes(1));
    refused(&op, &alan, slower.as_str(), "after ten minutes").await;
}

/// UP-2, UP-3: a response of one provider at the callback of another (mix-up, RFC 9700 §4.4).
#[tokio::test]
async fn a_callback_at_another_providers_path_reaches_nobody() {
    let (op, other) = with_two_upstreams().await;
    let ada = op.browser();
    let callback = ada.up_to_callback("simulated", "ada").await;
    let crossed = callback.as_str().replace("/auth/simulated/", "/auth/other/");
    refused(&op, &ada, &crossed, "the path of another provider").await;
    assert!(other.requests_to(Endpoint::Token).is_empty());
    refused(&op, &ada, callback.as_str(), "used up by the attempt").await;
    let nowhere = callback.as_str().replace("/auth/simulated/", "/auth/nobody/");
    refused(&op, &ada, &nowhere, "a provider that is not there").await;
}

/// UP-3: `iss` of the response is compared where the provider announces it (RFC 9207), before any code is sent anywhere.
#[tokio::test]
async fn a_response_of_another_issuer_is_refused_before_its_code_is_sent() {
    let op = TestProvider::start().await;
    for iss in [None, Some("https://evil.example"), Some("")] {
        let ada = op.browser();
        let callback = ada.up_to_callback("simulated", "ada").await;
        op.upstream().forget_requests();
        let visit = ada.open(with_param(&callback, "iss", iss).as_str()).await;
        assert_eq!(
            visit.url.as_str(),
            format!("{PAGES}/login?error=sign_in_failed"),
            "{iss:?}"
        );
        assert!(op.upstream().requests_to(Endpoint::Token).is_empty(), "{iss:?}");
        assert!(!ada.is_signed_in().await);
    }
}

/// SE-12: abandoned starts do not stand in the way; of one browser's flows the newest five count.
#[tokio::test]
async fn a_browser_has_five_sign_ins_under_way_and_the_oldest_gives_way() {
    let op = TestProvider::start().await;
    let ada = op.browser();
    let mut callbacks: Vec<Url> = Vec::new();
    for _ in 0..6 {
        callbacks.push(ada.up_to_callback("simulated", "ada").await);
        op.advance_secs(1);
    }
    let stranger = op.browser();
    let strangers = stranger.up_to_callback("simulated", "alan").await;
    refused(&op, &ada, callbacks[0].as_str(), "the oldest of six").await;
    assert_eq!(
        ada.open(callbacks[1].as_str()).await.url.as_str(),
        format!("{PAGES}/home")
    );
    assert_eq!(
        stranger.open(strangers.as_str()).await.url.as_str(),
        format!("{PAGES}/home")
    );
    for _ in 0..50 {
        ada.start("simulated").await;
    }
    let flows: i64 = sqlx::query_scalar("SELECT count(*) FROM upstream_flows")
        .fetch_one(op.db())
        .await
        .unwrap();
    assert_eq!(flows, 5);
}

/// RD-1 to RD-3: a place that is not ours is refused when the login starts, and nobody is ever sent there.
#[tokio::test]
async fn nobody_is_sent_to_a_place_that_is_not_ours() {
    let op = TestProvider::start().await;
    for target in [
        "https://evil.example/",
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/\t/evil.example",
        "/\r\nLocation: https://evil.example",
        "https:/\\evil.example",
        "https://pages.op.test.evil.example/",
        "https://pages.op.test@evil.example/",
        "https://user:pass@pages.op.test/",
        "https://pages.op.test:8443/",
        "http://pages.op.test/",
        "https://PAGES.op.test\u{0}/",
        "https://app.test/callback",
        "javascript:alert(1)",
        "data:text/html,hello",
        "blob:https://pages.op.test/1",
        "pages.op.test",
    ] {
        let browser = op.browser();
        let mut url = Url::parse(&format!("{ISSUER}/auth/simulated")).unwrap();
        url.query_pairs_mut().append_pair("return_to", target);
        let visit = browser.open(url.as_str()).await;
        assert_eq!(visit.status().unwrap(), 400, "{target:?} leads to {}", visit.url);
        assert!(!visit.text().contains("evil"), "{target:?} is repeated");
    }
    let doubled = format!("{ISSUER}/auth/simulated?return_to=/a&return_to=/b");
    assert_eq!(op.browser().open(&doubled).await.status().unwrap(), 400);
}

/// RD-1: places of our own, written as we write them. RD-3: the target belongs to its flow alone.
#[tokio::test]
async fn a_login_ends_where_it_was_started_for() {
    let op = TestProvider::start().await;
    let ada = op.browser();
    for (target, place) in [
        (
            "https://pages.op.test/inbox%3Fa=b",
            "https://pages.op.test/inbox?a=b",
        ),
        ("HTTPS://PAGES.op.test:443/x/../y", "https://pages.op.test/y"),
        ("/account", "https://op.test/account"),
        ("https://op.test/account", "https://op.test/account"),
    ] {
        op.upstream().sign_everybody_out();
        let visit = ada
            .sign_in_amid(&format!("simulated?return_to={target}"), "ada", &[])
            .await;
        assert_eq!(visit.url.as_str(), place, "{target}");
    }
    let visit = ada.sign_in_amid("simulated", "ada", &[]).await;
    assert_eq!(
        visit.url.as_str(),
        format!("{PAGES}/home"),
        "a flow without return_to knows of no earlier one"
    );
    let callback = ada
        .up_to_callback("simulated?return_to=https://pages.op.test/a", "ada")
        .await;
    let pushed = with_param(&callback, "return_to", Some("https://evil.example"));
    assert_eq!(
        ada.open(pushed.as_str()).await.url.as_str(),
        "https://pages.op.test/a"
    );
}

/// UP-4, §4.1: a form_post comes from another site, without our cookies; it is kept and fetched by a GET that has them.
#[tokio::test]
async fn a_form_post_callback_goes_on_by_a_get_that_has_the_cookies() {
    let op = TestProvider::start().await;
    let ada = op.browser();
    let callback = ada.up_to_callback("simulated", "ada").await;
    let endpoint = format!("{ISSUER}/auth/simulated/callback");
    let form: Vec<(String, String)> = callback.query_pairs().into_owned().collect();
    let visit = ada
        .post_form("https://idp.example/authorize", &endpoint, form.clone())
        .await;
    assert_eq!(visit.url.as_str(), format!("{PAGES}/home"), "{}", visit.text());
    let hop = &visit.hops[1].0;
    assert!(
        hop.query().is_some_and(|query| !query.contains("code=")),
        "the code is not in the URL: {hop}"
    );
    assert!(ada.is_signed_in().await);

    let again = ada.copy();
    again.call(Method::POST, "/auth/logout", None).await.is(200);
    let visit = again
        .post_form("https://idp.example/authorize", &endpoint, form)
        .await;
    assert_eq!(visit.status().unwrap(), 400, "a post counts once");
    let garbage = vec![
        ("state".to_owned(), "A".repeat(43)),
        ("code".to_owned(), "x".to_owned()),
    ];
    assert_eq!(
        again
            .post_form("https://evil.example/", &endpoint, garbage)
            .await
            .status()
            .unwrap(),
        400
    );
}

/// UP-2: whoever posts somebody's answer gains nothing: it is finished in the browser that started the flow, or not at all.
#[tokio::test]
async fn a_posted_callback_of_another_browser_signs_nobody_in() {
    let op = TestProvider::start().await;
    let (mallory, victim) = (op.browser(), op.browser());
    let callback = mallory.up_to_callback("simulated", "mallory").await;
    let form: Vec<(String, String)> = callback.query_pairs().into_owned().collect();
    op.upstream().forget_requests();
    let endpoint = format!("{ISSUER}/auth/simulated/callback");
    let visit = victim.post_form("https://evil.example/", &endpoint, form).await;
    assert_eq!(visit.status().unwrap(), 400);
    assert!(!victim.is_signed_in().await);
    assert!(op.upstream().requests_to(Endpoint::Token).is_empty());
}

/// `GET /auth/providers`: what a login page shows.
#[tokio::test]
async fn a_login_page_learns_which_providers_there_are() {
    let (op, _other) = with_two_upstreams().await;
    let list = op
        .browser()
        .call(Method::GET, "/auth/providers", None)
        .await
        .is(200)
        .json();
    let view = |name: &str| json!({ "name": name, "display_name": name, "start_url": format!("{ISSUER}/auth/{name}") });
    assert_eq!(list, json!([view("other"), view("simulated")]));
    op.get("/auth/nobody").await.is(404);
}

/// §4.8: the login page is handed an id that only its own browser can use.
#[tokio::test]
async fn a_request_id_is_of_use_in_its_own_browser_alone() {
    let op = TestProvider::start().await;
    let app = op.client().await;
    let ada = op.browser();
    let page = ada.authorize(&app).send().await.page("/login");
    let start = format!(
        "{ISSUER}/auth/simulated?request_id={}",
        param(&page, "request_id")
    );
    let stranger = op.browser();
    stranger.start("simulated").await;
    for url in [
        &start,
        &format!("{ISSUER}/auth/simulated?request_id=x"),
        &format!("{start}&request_id=x"),
    ] {
        assert_eq!(stranger.open(url).await.status().unwrap(), 400, "{url}");
    }
    let planted = format!(
        "__Host-auth_browser={}; Secure; Path=/; HttpOnly; SameSite=Lax",
        "B".repeat(43)
    );
    stranger.change_cookies(|jar| {
        jar.store(
            &ISSUER.parse().unwrap(),
            &planted,
            Context::SameSite,
            op.clock().now(),
        );
    });
    assert_eq!(stranger.open(&start).await.status().unwrap(), 400);
    let json = Answer::of(op.request(Method::GET, "/auth/simulated?request_id=x")).await;
    assert_eq!(
        json.is(400).json()["error"],
        "unknown_request",
        "a program is answered in JSON"
    );
    let visit = ada.sign_in_at(&page, "ada").await;
    assert!(
        visit.url.as_str().starts_with(app.redirect_uri()),
        "{}",
        visit.url
    );
}

/// §3.2: where nobody has said where a login leads, it ends on a page that says so; a program reads JSON.
#[tokio::test]
async fn a_login_that_leads_nowhere_says_that_it_is_done() {
    let op = TestProvider::with(|config| config.oauth.default_return_to = None).await;
    let ada = op.browser();
    let visit = ada.sign_in_amid("simulated", "ada", &[]).await;
    assert_eq!(visit.status().unwrap(), 200);
    assert!(visit.text().contains("You are signed in"), "{}", visit.text());
    assert!(html::text_of(visit.text(), "error-id").is_none());
    assert!(ada.is_signed_in().await);

    let alan = op.browser();
    let callback = alan.up_to_callback("simulated", "alan").await;
    let cookie = format!("__Host-auth_browser={}", alan.cookie("browser").unwrap());
    let path = &callback.as_str()[ISSUER.len()..];
    let answer = Answer::of(op.request(Method::GET, path).header("cookie", cookie)).await;
    assert_eq!(answer.is(200).json(), json!({ "signed_in": true }));
}
