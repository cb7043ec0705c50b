//! The providers that lead to an account: adding one, confirming it, taking one away, and what a newcomer is suggested whose
//! proved address belongs to an account (SE-6, AC-1 to AC-4, AC-7 to AC-9, AC-13, UP-1, UP-2).

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::sync::Arc;

use common::provider::{ISSUER, PAGES};
use common::upstreams::with_upstreams;
use common::{Answer, Browser, TestProvider, Visit};
use reqwest::Method;
use riley_auth::config::Config;
use riley_auth::dev::simulated_upstream::{Endpoint, Flavour, Misbehaviour, SimulatedUpstream};
use serde_json::{Value, json};
use time::Duration;
use tokio::sync::Barrier;
use url::Url;

/// How often a race is run.
const ROUNDS: usize = 100;

/// GitHub, by which people are in, and Google, which they add. Nothing is merged by itself.
struct World {
    op: TestProvider,
    google: SimulatedUpstream,
}

impl World {
    async fn start() -> Self {
        Self::with(|_| ()).await
    }

    async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let list = [
            ("github", Flavour::GitHub, json!({})),
            ("google", Flavour::Google, json!({})),
        ];
        let (op, mut others) = with_upstreams(&list, change).await;
        Self {
            op,
            google: others.remove(0),
        }
    }

    /// Somebody who is in by GitHub.
    async fn member(&self, person: &str) -> Browser {
        let browser = self.op.browser();
        sign_in(&browser, "github", person).await;
        browser
    }

    async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(self.op.db()).await.unwrap()
    }

    async fn change(&self, sql: &'static str) {
        sqlx::query(sql).execute(self.op.db()).await.unwrap();
    }

    /// Types of events with their data, oldest first, of those that begin so.
    async fn events(&self, of: &str) -> Vec<(String, Value)> {
        let events: Vec<(String, Value)> =
            sqlx::query_as("SELECT event_type, data FROM events ORDER BY created_at, event_id")
                .fetch_all(self.op.db())
                .await
                .unwrap();
        events
            .into_iter()
            .filter(|(name, _)| name.starts_with(of))
            .collect()
    }
}

/// Signs in by a provider, answering its page if it shows one.
async fn sign_in(browser: &Browser, provider: &str, person: &str) {
    let visit = begin_and_pass(browser, provider, person).await;
    assert_eq!(visit.url.as_str(), format!("{PAGES}/home"), "{}", visit.text());
}

async fn begin_and_pass(browser: &Browser, provider: &str, person: &str) -> Visit {
    let page = browser.start(provider).await;
    if page.form().is_none() {
        return page;
    }
    browser.submit(&page, &[("person", person)]).await
}

/// Asks to link a provider.
async fn ask(browser: &Browser, provider: &str) -> Answer {
    browser
        .call(Method::POST, &format!("/auth/link/{provider}"), None)
        .await
}

/// The upstream's page, by way of the URL that asking gave.
async fn at_upstream(browser: &Browser, provider: &str) -> Visit {
    let asked = ask(browser, provider).await;
    asked.is_not_stored();
    let url = asked.is(200).json()["authorization_url"]
        .as_str()
        .unwrap()
        .to_owned();
    browser.follow(&format!("{PAGES}/account"), &url).await
}

/// Proves to be this person there; the callback is not visited yet.
async fn up_to_callback(browser: &Browser, provider: &str, person: &str) -> Url {
    let page = at_upstream(browser, provider).await;
    browser.callback_url(&page, person, &[]).await
}

/// The same and the callback.
async fn prove(browser: &Browser, provider: &str, person: &str) -> Visit {
    let callback = up_to_callback(browser, provider, person).await;
    browser.open(callback.as_str()).await
}

/// Proves it and ends on the page that asks.
async fn wait_for_confirmation(browser: &Browser, provider: &str, person: &str) {
    let visit = prove(browser, provider, person).await;
    assert_eq!(
        visit.url.as_str(),
        format!("{PAGES}/link"),
        "nothing stands in the URL: {}",
        visit.text()
    );
    names_no_address(&visit);
}

async fn proposal(browser: &Browser) -> Answer {
    browser.call(Method::GET, "/auth/link/confirm", None).await
}

async fn confirm_id(browser: &Browser, confirmation_id: &str) -> Answer {
    let body = json!({ "confirmation_id": confirmation_id });
    browser
        .call(Method::POST, "/auth/link/confirm", Some(&body))
        .await
}

/// Confirms what is shown.
async fn confirm(browser: &Browser) -> Answer {
    let shown = proposal(browser).await.is(200).json();
    confirm_id(browser, shown["confirmation_id"].as_str().unwrap()).await
}

async fn link(browser: &Browser, provider: &str, person: &str) {
    wait_for_confirmation(browser, provider, person).await;
    confirm(browser).await.is(200);
}

async fn unlink(browser: &Browser, provider: &str) -> Answer {
    browser
        .call(Method::DELETE, &format!("/auth/link/{provider}"), None)
        .await
}

async fn links(browser: &Browser) -> Value {
    browser
        .call(Method::GET, "/auth/me/links", None)
        .await
        .is(200)
        .json()
}

async fn linked_providers(browser: &Browser) -> Vec<String> {
    let links = links(browser).await;
    let name = |link: &Value| link["provider"].as_str().unwrap().to_owned();
    links.as_array().unwrap().iter().map(name).collect()
}

/// AC-13: no address stands in any URL on the way.
fn names_no_address(visit: &Visit) {
    for url in visit.hops.iter().map(|(url, _)| url).chain([&visit.url]) {
        assert!(
            !url.as_str().contains('@') && !url.as_str().contains("%40"),
            "{url}"
        );
    }
}

/// §3.2 from end to end: asked for by POST, proved upstream, shown, confirmed; from then on both lead there.
#[tokio::test]
async fn a_person_adds_a_provider_and_signs_in_by_either() {
    let world = World::start().await;
    let ada = world.member("ada").await;
    let account = ada.user_id().await;
    wait_for_confirmation(&ada, "google", "alan").await;

    let shown = proposal(&ada).await;
    shown.is_not_stored();
    let shown = shown.is(200).json();
    assert_eq!(
        shown["provider"],
        json!({ "name": "google", "display_name": "Google" })
    );
    assert_eq!(shown["username"], "ada");
    assert_eq!(shown["reauthentication_required"], false);
    let email = shown["email"].as_str().unwrap();
    assert!(email.starts_with("a***@"), "{email}");
    assert!(!shown["display"].as_str().unwrap().is_empty());
    assert_eq!(
        linked_providers(&ada).await,
        ["github"],
        "nothing is linked before the person says so"
    );

    let done = confirm(&ada).await.is(200).json();
    assert_eq!(done["provider"], "google");
    assert_eq!(done["redirect_to"], format!("{PAGES}/home"));
    assert_eq!(ada.cookie("setup"), None, "the handle is used up");
    assert_eq!(world.count("SELECT count(*) FROM pending_identities").await, 0);
    assert_eq!(ada.user_id().await, account);

    let links = links(&ada).await;
    assert_eq!(links[0]["provider"], "github");
    assert_eq!(links[1]["provider"], "google");
    assert_eq!(links[1]["provider_display_name"], "Google");
    assert_eq!(links[1]["link_id"], done["link_id"]);
    assert_eq!(
        (&links[0]["is_primary"], &links[1]["is_primary"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(links[1]["email_verified"], true);
    for (provider, person) in [("github", "ada"), ("google", "alan")] {
        let browser = world.op.browser();
        sign_in(&browser, provider, person).await;
        assert_eq!(browser.user_id().await, account, "{provider}");
    }
    // AC-7: apps hear of it.
    let created = world.events("link.created").await;
    assert_eq!(created[1].1["provider"], "google");
    assert_eq!(created[1].1["user_id"], json!(account));
}

/// SE-6: a link cannot be started by a navigation, nor by a foreign page, nor by nobody.
#[tokio::test]
async fn linking_is_started_by_a_protected_post_alone() {
    let world = World::start().await;
    let ada = world.member("ada").await;
    let url = format!("{ISSUER}/auth/link/google");
    for method in [Method::GET, Method::HEAD, Method::PUT] {
        let answer = ada
            .fetch(&format!("{ISSUER}/"), method.clone(), &url, &[], None)
            .await
            .unwrap();
        assert_eq!(answer.status, 405, "{method}");
    }
    assert_eq!(ada.open(&url).await.status().unwrap(), 405);
    let form = ada.post_form("https://evil.test/", &url, Vec::new()).await;
    assert!(form.status().unwrap().is_client_error());
    let form = ada.post_form(&format!("{PAGES}/"), &url, Vec::new()).await;
    assert_eq!(
        form.status().unwrap(),
        403,
        "a form of our own site sends no header"
    );
    ask(&world.op.browser(), "google")
        .await
        .refused_with(401, "unauthenticated");
    assert_eq!(world.count("SELECT count(*) FROM upstream_flows").await, 0);
    ask(&ada, "google").await.is(200);
    assert_eq!(
        world
            .count("SELECT count(*) FROM upstream_flows WHERE kind = 'link' AND user_id IS NOT NULL")
            .await,
        1
    );
}

/// What a page may ask for, and what it may not.
#[tokio::test]
async fn a_start_that_cannot_come_to_anything_is_refused() {
    let world = World::start().await;
    let ada = world.member("ada").await;
    ask(&ada, "github").await.refused_with(409, "provider_linked");
    for name in [
        "gitlab",
        "GOOGLE",
        "google%00",
        "google%2fconfirm",
        "a%F0%9F%92%A9",
    ] {
        ask(&ada, name).await.refused_with(404, "not_found");
    }
    let with = async |body: Value| ada.call(Method::POST, "/auth/link/google", Some(&body)).await;
    for body in [
        json!([]),
        json!(null),
        json!({ "return_to": ["x"] }),
        json!({ "return_to": "/", "role": "admin" }),
        json!({ "user_id": "00000000-0000-4000-8000-000000000000" }),
    ] {
        with(body.clone()).await.refused_with(400, "invalid_request");
    }
    let endless = format!("{PAGES}/{}", "a".repeat(2048));
    for place in ["https://evil.test/", "//evil.test", "/\\evil.test", &endless] {
        with(json!({ "return_to": place }))
            .await
            .refused_with(400, "invalid_return_to");
    }
    // NUL is refused in every body alike.
    with(json!({ "return_to": "/\u{0}" }))
        .await
        .refused_with(400, "invalid_request");
    assert_eq!(world.count("SELECT count(*) FROM upstream_flows").await, 0);
    with(json!({ "return_to": format!("{PAGES}/account?tab=links") }))
        .await
        .is(200);
    with(json!({})).await.is(200);

    let without_page = world.op.reconfigured(|config| config.oauth.link_url = None).await;
    ask(&ada.at(&without_page), "google")
        .await
        .refused_with(403, "interaction_required");
}

/// `return_to` leads on after the confirmation, and nothing is appended to it.
#[tokio::test]
async fn a_link_ends_where_it_was_started_for() {
    let world = World::start().await;
    let ada = world.member("ada").await;
    let place = format!("{PAGES}/account?tab=links");
    let asked = ada
        .call(
            Method::POST,
            "/auth/link/google",
            Some(&json!({ "return_to": place })),
        )
        .await;
    let url = asked.is(200).json()["authorization_url"]
        .as_str()
        .unwrap()
        .to_owned();
    let page = ada.open(&url).await;
    let callback = ada.callback_url(&page, "ada", &[]).await;
    ada.open(callback.as_str()).await;
    assert_eq!(confirm(&ada).await.is(200).json()["redirect_to"], place);
}

/// AC-2, UP-2: a callback counts for the person and session that began, and no upstream is asked before that is certain.
#[tokio::test]
async fn a_link_ends_with_the_person_and_the_session_that_began_it() {
    let world = World::start().await;
    let changed = format!("{PAGES}/link?error=session_changed");
    let token_requests = || world.google.requests_to(Endpoint::Token).len();

    // Signed out meanwhile.
    let ada = world.member("ada").await;
    let callback = up_to_callback(&ada, "google", "ada").await;
    let before = token_requests();
    ada.call(Method::POST, "/auth/logout", None).await.is(200);
    let browser_again = ada.cookie("browser");
    assert_eq!(browser_again, None, "a logout takes the browser's name away, too");
    assert_eq!(ada.open(callback.as_str()).await.status().unwrap(), 400);

    // Another session of the same person in this browser.
    let ada = world.member("ada").await;
    let callback = up_to_callback(&ada, "google", "ada").await;
    world
        .change("UPDATE sessions SET ended_at = now(), ended_reason = 'test'")
        .await;
    sign_in(&ada, "github", "ada").await;
    assert_eq!(ada.open(callback.as_str()).await.url.as_str(), changed);
    assert_eq!(
        ada.open(callback.as_str()).await.status().unwrap(),
        400,
        "it is used up all the same"
    );

    // Another person in this browser.
    let browser = world.member("ada").await;
    let callback = up_to_callback(&browser, "google", "ada").await;
    world.op.upstream().sign_everybody_out();
    sign_in(&browser, "github", "emmy").await;
    assert_eq!(browser.open(callback.as_str()).await.url.as_str(), changed);

    // No session at all, the browser's name still there.
    let ada = world.member("ada").await;
    let callback = up_to_callback(&ada, "google", "ada").await;
    world
        .change("UPDATE sessions SET ended_at = now(), ended_reason = 'test'")
        .await;
    assert_eq!(ada.open(callback.as_str()).await.url.as_str(), changed);

    // Another browser.
    let ada = world.member("ada").await;
    let callback = up_to_callback(&ada, "google", "ada").await;
    let emmy = world.member("emmy").await;
    assert_eq!(emmy.open(callback.as_str()).await.status().unwrap(), 400);
    assert_eq!(token_requests(), before, "no code was sent to the upstream");
    assert_eq!(
        ada.open(callback.as_str()).await.url.as_str(),
        format!("{PAGES}/link")
    );
    assert_eq!(
        world
            .count("SELECT count(*) FROM oauth_links WHERE provider = 'google'")
            .await,
        0
    );
}

/// UP-1: the callback of a link comes within ten minutes and at its own provider.
#[tokio::test]
async fn the_callback_of_a_link_is_bound_to_its_time_and_provider() {
    let world = World::start().await;
    let ada = world.member("ada").await;
    let callback = up_to_callback(&ada, "google", "ada").await;
    let elsewhere = callback.as_str().replace("/auth/google/", "/auth/github/");
    assert_eq!(ada.open(&elsewhere).await.status().unwrap(), 400);
    let callback = up_to_callback(&ada, "google", "ada").await;
    world.op.advance(Duration::minutes(11));
    assert_eq!(ada.open(callback.as_str()).await.status().unwrap(), 400);
    assert_eq!(linked_providers(&ada).await, ["github"]);
}

/// AC-1, AC-4: what waits is confirmed by its starter, in their session, in their browser, and by nobody else.
#[tokio::test]
async fn only_its_starter_confirms_what_waits() {
    let world = World::start().await;
    let ada = world.member("ada").await;
    wait_for_confirmation(&ada, "google", "ada").await;
    let id = proposal(&ada).await.json()["confirmation_id"]
        .as_str()
        .unwrap()
        .to_owned();

    let refuse = async |browser: &Browser, status: u16, code: &str, why: &str| {
        let seen = proposal(browser).await;
        assert_eq!(seen.json()["error"], code, "{why}");
        seen.refused_with(status, code);
        confirm_id(browser, &id).await.refused_with(status, code);
        assert_eq!(
            world.count("SELECT count(*) FROM pending_identities").await,
            1,
            "{why}"
        );
    };
    // A thief of the one cookie, signed in as somebody else or not at all.
    let setup = |from: &Browser, to: &Browser, names: &[&str]| {
        for name in names {
            let name = format!("__Host-auth_{name}");
            let jar = from.jar();
            let cookie = jar.find(&name, world.op.clock().now()).unwrap();
            let line = format!("{name}={}; Path=/; Secure; HttpOnly", cookie.value);
            let url = Url::parse(&format!("{ISSUER}/")).unwrap();
            to.change_cookies(|jar| {
                jar.store(
                    &url,
                    &line,
                    common::cookies::Context::SameSite,
                    world.op.clock().now(),
                );
            });
        }
    };
    let stranger = world.op.browser();
    setup(&ada, &stranger, &["setup", "browser"]);
    refuse(&stranger, 401, "unauthenticated", "nobody is signed in").await;
    let emmy = world.member("emmy").await;
    setup(&ada, &emmy, &["setup"]);
    refuse(&emmy, 404, "no_link", "another person, another browser").await;
    setup(&ada, &emmy, &["setup", "browser"]);
    refuse(&emmy, 404, "no_link", "another person with the browser's name").await;
    let elsewhere = world.member("ada").await;
    setup(&ada, &elsewhere, &["setup", "browser"]);
    refuse(&elsewhere, 404, "no_link", "another session of the same person").await;

    confirm(&ada).await.is(200);
}

/// AC-3: a confirmation counts once, names what it confirms, and waits for ten minutes.
#[tokio::test]
async fn a_confirmation_counts_once_and_for_what_was_shown() {
    let world = World::start().await;
    let ada = world.member("ada").await;
    wait_for_confirmation(&ada, "google", "ada").await;
    let first = proposal(&ada).await.json()["confirmation_id"]
        .as_str()
        .unwrap()
        .to_owned();
    // Another tab has begun anew: the page that shows the first one confirms nothing.
    wait_for_confirmation(&ada, "google", "alan").await;
    confirm_id(&ada, &first).await.refused_with(404, "no_link");
    let second = proposal(&ada).await.json()["confirmation_id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_ne!(first, second);
    for body in [
        json!({}),
        json!([second]),
        json!({ "confirmation_id": [second] }),
        json!({ "confirmation_id": second, "role": "admin" }),
        json!({ "confirmation_id": second, "email_verified": true }),
        json!({ "confirmation_id": second, "user_id": "00000000-0000-4000-8000-000000000000" }),
    ] {
        ada.call(Method::POST, "/auth/link/confirm", Some(&body))
            .await
            .refused_with(400, "invalid_request");
    }
    confirm_id(&ada, "\u{0}")
        .await
        .refused_with(400, "invalid_request");
    for id in ["", "x", "\u{202e}", &"A".repeat(43), &"A".repeat(5000)] {
        confirm_id(&ada, id).await.refused_with(404, "no_link");
    }
    ada.call(Method::POST, "/auth/link/confirm", None)
        .await
        .refused_with(415, "unsupported_media_type");
    let unprotected = ada
        .fetch(
            &format!("{PAGES}/link"),
            Method::POST,
            &format!("{ISSUER}/auth/link/confirm"),
            &[],
            Some(&json!({ "confirmation_id": second })),
        )
        .await
        .unwrap();
    unprotected.refused_with(403, "csrf_refused");
    assert_eq!(linked_providers(&ada).await, ["github"]);

    let copy = ada.copy();
    let (one, two) = tokio::join!(confirm_id(&ada, &second), confirm_id(&copy, &second));
    let mut statuses = [one.status.as_u16(), two.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 404], "a double click links once");
    confirm_id(&ada, &second).await.refused_with(404, "no_link");
    confirm_id(&copy, &second).await.refused_with(404, "no_link");

    let emmy = world.member("emmy").await;
    wait_for_confirmation(&emmy, "google", "emmy").await;
    world.op.advance(Duration::minutes(10));
    proposal(&emmy).await.refused_with(404, "no_link");
}

/// AC-3: who signed in more than ten minutes ago does it again, and then confirms the same identity.
#[tokio::test]
async fn a_confirmation_needs_a_fresh_session() {
    let world = World::start().await;
    let ada = world.member("ada").await;
    world.op.advance(Duration::minutes(9));
    wait_for_confirmation(&ada, "google", "ada").await;
    world.op.advance(Duration::seconds(61));
    let shown = proposal(&ada).await.is(200).json();
    assert_eq!(shown["reauthentication_required"], true);
    let id = shown["confirmation_id"].as_str().unwrap();
    confirm_id(&ada, id)
        .await
        .refused_with(403, "reauthentication_required");
    ada.renew().await.is(200);
    confirm_id(&ada, id)
        .await
        .refused_with(403, "reauthentication_required");
    assert_eq!(linked_providers(&ada).await, ["github"]);

    let visit = begin_and_pass(&ada, &format!("github?return_to={PAGES}/link"), "ada").await;
    assert_eq!(visit.url.as_str(), format!("{PAGES}/link"));
    assert_eq!(proposal(&ada).await.json()["reauthentication_required"], false);
    confirm_id(&ada, id).await.is(200);
    assert_eq!(linked_providers(&ada).await, ["github", "google"]);
}

/// §3.2: an answer by form_post comes without cookies and is fetched by a GET that has them, a link's, too.
#[tokio::test]
async fn a_provider_that_answers_by_form_post_is_linked_like_any_other() {
    let list = [
        ("github", Flavour::GitHub, json!({})),
        ("apple", Flavour::Apple, json!({})),
    ];
    let (op, _apple) = with_upstreams(&list, |_| ()).await;
    let ada = op.browser();
    sign_in(&ada, "github", "ada").await;
    let page = at_upstream(&ada, "apple").await;
    let answer = ada.submit(&page, &[("person", "ada")]).await;
    let visit = ada.submit(&answer, &[]).await;
    assert_eq!(visit.url.as_str(), format!("{PAGES}/link"), "{}", visit.text());
    confirm(&ada).await.is(200);
    assert_eq!(linked_providers(&ada).await, ["github", "apple"]);
}

/// AC-8: an identity that leads to another account stays there, and only who has proved it hears that.
#[tokio::test]
async fn an_identity_of_another_account_is_not_taken() {
    let world = World::start().await;
    let emmy = world.member("emmy").await;
    link(&emmy, "google", "emmy").await;
    let ada = world.member("ada").await;
    let visit = prove(&ada, "google", "emmy").await;
    assert_eq!(visit.url.as_str(), format!("{PAGES}/link?error=identity_linked"));
    assert_eq!(ada.cookie("setup"), None);
    proposal(&ada).await.refused_with(404, "no_link");

    // It was free when it was proved.
    wait_for_confirmation(&ada, "google", "alan").await;
    let alan = world.member("alan").await;
    link(&alan, "google", "alan").await;
    confirm(&ada).await.refused_with(409, "identity_linked");
    proposal(&ada).await.refused_with(404, "no_link");
    assert_eq!(linked_providers(&ada).await, ["github"]);
}

/// One identity of each provider, and one's own is nothing new.
#[tokio::test]
async fn a_second_identity_of_a_provider_is_refused_and_ones_own_leads_back() {
    let world = World::start().await;
    let ada = world.member("ada").await;
    let (tab, late) = (
        up_to_callback(&ada, "google", "ada").await,
        up_to_callback(&ada, "google", "alan").await,
    );
    link(&ada, "google", "ada").await;
    assert_eq!(
        ada.open(tab.as_str()).await.url.as_str(),
        format!("{PAGES}/home"),
        "there is nothing to confirm"
    );
    assert_eq!(
        ada.open(late.as_str()).await.url.as_str(),
        format!("{PAGES}/link"),
        "another identity of that provider"
    );
    confirm(&ada).await.refused_with(409, "provider_linked");
    assert_eq!(linked_providers(&ada).await, ["github", "google"]);
    assert_eq!(world.count("SELECT count(*) FROM pending_identities").await, 0);
}

/// UP-4: whatever goes wrong upstream links nothing; the page hears of it by a fixed code.
#[tokio::test]
async fn a_link_that_fails_upstream_leaves_everything_as_it_was() {
    let world = World::start().await;
    let ada = world.member("ada").await;
    for (wrong, code) in [
        (Misbehaviour::WrongNonce, "sign_in_failed"),
        (Misbehaviour::UnpublishedKey, "sign_in_failed"),
        (Misbehaviour::TokenFails, "upstream_unavailable"),
    ] {
        let page = at_upstream(&ada, "google").await;
        let callback = ada.callback_url(&page, "ada", &[wrong]).await;
        let visit = ada.open(callback.as_str()).await;
        assert_eq!(
            visit.url.as_str(),
            format!("{PAGES}/link?error={code}"),
            "{wrong:?}"
        );
    }
    assert!(ada.is_signed_in().await);
    assert_eq!(linked_providers(&ada).await, ["github"]);
    assert_eq!(world.count("SELECT count(*) FROM upstream_flows").await, 0);
}

/// A link is taken away; sessions that were opened by it end, others go on, and apps hear of both.
#[tokio::test]
async fn unlinking_ends_what_was_opened_by_that_provider() {
    let world = World::start().await;
    let ada = world.member("ada").await;
    link(&ada, "google", "ada").await;
    let by_google = world.op.browser();
    sign_in(&by_google, "google", "ada").await;
    let account = ada.user_id().await;

    let done = unlink(&ada, "google").await;
    done.is_not_stored();
    assert_eq!(done.is(200).json(), json!({ "signed_out": false }));
    assert!(ada.is_signed_in().await);
    assert!(!by_google.is_signed_in().await);
    assert_eq!(
        world
            .count("SELECT count(*) FROM sessions WHERE ended_reason = 'unlinked'")
            .await,
        1
    );
    let deleted = world.events("link.deleted").await;
    assert_eq!(deleted.len(), 1);
    assert_eq!(deleted[0].1["user_id"], json!(account));
    assert_eq!(deleted[0].1["provider"], "google");
    assert_eq!(world.events("session.revoked").await[0].1["reason"], "unlinked");
    unlink(&ada, "google").await.refused_with(404, "not_found");

    // The identity is nobody's now: whoever comes by it is new.
    let newcomer = world.op.browser();
    let visit = begin_and_pass(&newcomer, "google", "ada").await;
    assert_eq!(visit.url.as_str(), format!("{PAGES}/link"));
    assert!(!newcomer.is_signed_in().await);

    // Who takes away what they are signed in by is signed out.
    link(&ada, "google", "alan").await;
    let here = world.op.browser();
    sign_in(&here, "google", "alan").await;
    assert_eq!(
        unlink(&here, "google").await.is(200).json(),
        json!({ "signed_out": true })
    );
    assert!(!here.is_signed_in().await);
    assert_eq!((here.cookie("refresh"), here.cookie("access")), (None, None));
}

/// AC-9: nobody locks themselves out, also not with a provider that cannot be used any more.
#[tokio::test]
async fn the_last_link_stays() {
    let world = World::start().await;
    let ada = world.member("ada").await;
    unlink(&ada, "github").await.refused_with(409, "last_link");
    for name in ["google", "gitlab", "GITHUB", "github%00", "github%20"] {
        unlink(&ada, name).await.refused_with(404, "not_found");
    }
    unlink(&world.op.browser(), "github")
        .await
        .refused_with(401, "unauthenticated");
    let unprotected = ada
        .fetch(
            &format!("{PAGES}/account"),
            Method::DELETE,
            &format!("{ISSUER}/auth/link/github"),
            &[],
            None,
        )
        .await
        .unwrap();
    unprotected.refused_with(403, "csrf_refused");

    link(&ada, "google", "ada").await;
    let without_google = world
        .op
        .reconfigured(|config| {
            config.oauth.providers.remove("google");
        })
        .await;
    let there = ada.at(&without_google);
    unlink(&there, "github").await.refused_with(409, "last_link");
    let listed = links(&there).await;
    assert_eq!(
        (&listed[0]["usable"], &listed[1]["usable"]),
        (&json!(true), &json!(false))
    );
    unlink(&there, "google").await.is(200);
    assert_eq!(linked_providers(&ada).await, ["github"]);
}

/// AC-3: taking a link away makes void whatever was begun before, in every browser of that person.
#[tokio::test]
async fn unlinking_makes_void_what_waits() {
    let world = World::start().await;
    let ada = world.member("ada").await;
    let phone = world.member("ada").await;
    let tablet = world.member("ada").await;
    link(&ada, "google", "ada").await;
    // Nothing else is to be proved there, so what waits is put where it would be.
    world
        .change("UPDATE oauth_links SET provider = 'parked' WHERE provider = 'google'")
        .await;
    wait_for_confirmation(&phone, "google", "alan").await;
    let under_way = up_to_callback(&tablet, "google", "alan").await;
    world
        .change("UPDATE oauth_links SET provider = 'google' WHERE provider = 'parked'")
        .await;

    unlink(&ada, "google").await.is(200);
    proposal(&phone).await.refused_with(404, "no_link");
    assert_eq!(tablet.open(under_way.as_str()).await.status().unwrap(), 400);
    assert_eq!(world.count("SELECT count(*) FROM pending_identities").await, 0);
    assert_eq!(world.count("SELECT count(*) FROM upstream_flows").await, 0);
}

/// §4.6: without its link a primary address gives way to the next one by the rule, and apps hear of it.
#[tokio::test]
async fn the_primary_address_falls_back_by_the_rule() {
    let world = World::start().await;
    let app = world.op.client().await;
    let ada = world.member("ada").await;
    link(&ada, "google", "alan").await;
    assert_eq!(
        world.events("user.updated").await,
        [],
        "the oldest verified one stays"
    );
    let before = links(&ada).await;
    assert_eq!(before[0]["is_primary"], true);
    world
        .change(
            "UPDATE users SET primary_link_id = (SELECT link_id FROM oauth_links WHERE provider = 'google')",
        )
        .await;
    assert_eq!(links(&ada).await[1]["is_primary"], true, "the owner's choice");

    let granted = ada.authorize(&app).scope("openid email").code().await;
    let tokens = app.redeem(&granted).await.tokens();
    let email = async || app.userinfo(&tokens.access_token).await.is(200).json()["email"].clone();
    assert_eq!(email().await, before[1]["email"]);
    unlink(&ada, "google").await.is(200);
    assert_eq!(email().await, before[0]["email"]);
    let updated = world.events("user.updated").await;
    assert_eq!(updated.len(), 1);
    assert_eq!(updated[0].1["changed"], json!(["email"]));
}

/// A link that brings the first verified address makes it the primary one.
#[tokio::test]
async fn the_first_verified_address_becomes_the_primary_one() {
    let world = World::start().await;
    let ada = world.member("ada").await;
    world
        .change("UPDATE oauth_links SET email_verified = false")
        .await;
    link(&ada, "google", "alan").await;
    assert_eq!(links(&ada).await[1]["is_primary"], true);
    assert_eq!(
        world.events("user.updated").await[0].1["changed"],
        json!(["email"])
    );
}

/// §5: a newcomer whose proved address belongs to an account signs in there, in the same browser, and confirms.
#[tokio::test]
async fn a_newcomer_with_a_known_address_is_shown_the_way_to_their_account() {
    let world = World::start().await;
    let account = world.member("ada").await.user_id().await;
    let ada = world.op.browser();
    let visit = begin_and_pass(&ada, "google", "ada").await;
    assert_eq!(visit.url.as_str(), format!("{PAGES}/link"));
    names_no_address(&visit);
    assert_eq!(ada.setup().await.is(200).json()["link_suggested"], true);
    proposal(&ada).await.refused_with(401, "unauthenticated");

    let visit = begin_and_pass(&ada, &format!("github?return_to={PAGES}/link"), "ada").await;
    assert_eq!(visit.url.as_str(), format!("{PAGES}/link"), "the way back");
    names_no_address(&visit);
    assert_eq!(ada.user_id().await, account);
    assert_eq!(
        linked_providers(&ada).await,
        ["github"],
        "signing in is not confirming"
    );
    let shown = proposal(&ada).await.is(200).json();
    assert_eq!(shown["provider"]["name"], "google");
    assert_eq!(shown["email"], "a***@engine.example");
    assert_eq!(shown["reauthentication_required"], false);
    let done = confirm(&ada).await.is(200).json();
    assert_eq!(done["redirect_to"], format!("{PAGES}/home"));
    assert_eq!(
        ada.user_id().await,
        account,
        "the session goes on under a new cookie"
    );
    assert_eq!(linked_providers(&ada).await, ["github", "google"]);
    assert_eq!(world.count("SELECT count(*) FROM users").await, 1);
    assert_eq!(
        world
            .count("SELECT count(*) FROM sessions WHERE ended_at IS NULL")
            .await,
        2
    );
    ada.setup().await.refused_with(404, "no_setup");
    proposal(&ada).await.refused_with(404, "no_link");
}

/// The app that waited gets its code: the sign-in that it asked for is finished by the confirmation.
#[tokio::test]
async fn an_app_that_waits_is_answered_after_the_confirmation() {
    let world = World::start().await;
    let app = world.op.client().await;
    let account = world.member("ada").await.user_id().await;
    let ada = world.op.browser();
    let request = ada.authorize(&app).prompt("login");
    let login = request.visit().await;
    let request_id = login.query("request_id").unwrap();
    let visit = begin_and_pass(&ada, &format!("google?request_id={request_id}"), "ada").await;
    assert_eq!(visit.url.as_str(), format!("{PAGES}/link"));
    world.op.advance(Duration::minutes(1));
    begin_and_pass(&ada, &format!("github?return_to={PAGES}/link"), "ada").await;
    let next = confirm(&ada).await.is(200).json()["redirect_to"]
        .as_str()
        .unwrap()
        .to_owned();
    let granted = request
        .read(ada.follow(&format!("{PAGES}/link"), &next).await)
        .await
        .code();
    let tokens = app.redeem(&granted).await.tokens();
    assert_eq!(
        app.userinfo(&tokens.access_token).await.json()["sub"],
        json!(account)
    );
}

/// AC-13: whose account has the address is not said, and an account of one's own can be had instead.
#[tokio::test]
async fn a_newcomer_may_go_on_to_an_account_of_their_own() {
    let world = World::start().await;
    let account = world.member("ada").await.user_id().await;
    let ada = world.op.browser();
    begin_and_pass(&ada, "google", "ada").await;
    let known = ada.setup().await.is(200).text.clone();
    assert!(!known.contains(&account));
    ada.choose("another-ada").await.is(200);
    assert_ne!(ada.user_id().await, account);
    proposal(&ada).await.refused_with(404, "no_link");
}

/// AC-4, AC-13: an identity that nothing was suggested for is not linked by way of the onboarding's handle, and nobody else
/// confirms one that something was.
#[tokio::test]
async fn what_was_not_suggested_is_not_confirmed() {
    use riley_auth::config::oauth::Onboarding;
    let world = World::with(|config| config.oauth.onboarding = Onboarding::Prompt).await;
    let ada = world.op.browser();
    begin_and_pass(&ada, "github", "ada").await;
    ada.choose("ada").await.is(200);
    world.op.upstream().sign_everybody_out();

    // A newcomer without any account's address, then a member in the same browser.
    let shared = world.op.browser();
    let visit = begin_and_pass(&shared, "google", "emmy").await;
    assert_eq!(visit.url.as_str(), format!("{PAGES}/welcome"));
    sign_in(&shared, "github", "ada").await;
    proposal(&shared).await.refused_with(404, "no_link");
    confirm_id(&shared, &"A".repeat(43))
        .await
        .refused_with(404, "no_link");
    assert_eq!(linked_providers(&shared).await, ["github"]);

    // What was suggested because of one account is not another one's, whoever sits there.
    let alan = world.op.browser();
    begin_and_pass(&alan, "github", "alan").await;
    alan.choose("alan").await.is(200);
    world.op.upstream().sign_everybody_out();
    let kiosk = world.op.browser();
    begin_and_pass(&kiosk, "google", "ada").await;
    assert_eq!(kiosk.setup().await.json()["link_suggested"], true);
    sign_in(&kiosk, "github", "alan").await;
    proposal(&kiosk).await.refused_with(404, "no_link");
    assert_eq!(linked_providers(&kiosk).await, ["github"]);

    // Suggested in one browser, asked for in another.
    let newcomer = world.op.browser();
    begin_and_pass(&newcomer, "google", "ada").await;
    proposal(&ada).await.refused_with(404, "no_link");
    // A cookie of the newcomer's in the member's browser is bound to the browser that it came from.
    assert_eq!(newcomer.setup().await.json()["link_suggested"], true);
}

/// AC-9, behind a barrier: of two unlinks at once, one at most succeeds, and one link always stays.
#[tokio::test]
async fn two_unlinks_at_once_leave_one_link() {
    let world = World::start().await;
    let ada = Arc::new(world.member("ada").await);
    link(&ada, "google", "ada").await;
    world
        .change("CREATE TABLE kept AS SELECT * FROM oauth_links")
        .await;
    // The session itself shall outlive every round.
    world.change("UPDATE sessions SET link_id = NULL").await;
    let mut won = std::collections::BTreeMap::new();
    for round in 0..ROUNDS {
        let barrier = Arc::new(Barrier::new(2));
        let racers = ["github", "google"].map(|provider| {
            let (barrier, ada) = (Arc::clone(&barrier), Arc::clone(&ada));
            tokio::spawn(async move {
                barrier.wait().await;
                (provider, unlink(&ada, provider).await)
            })
        });
        let mut outcomes = Vec::new();
        for racer in racers {
            let (provider, answer) = racer.await.unwrap();
            match answer.status.as_u16() {
                200 => *won.entry(provider).or_insert(0) += 1,
                409 => answer.refused_with(409, "last_link"),
                other => panic!("{other}: {}", answer.text),
            }
            outcomes.push(answer.status.as_u16());
        }
        outcomes.sort_unstable();
        assert_eq!(outcomes, [200, 409], "round {round}");
        assert_eq!(
            world.count("SELECT count(*) FROM oauth_links").await,
            1,
            "round {round}"
        );
        world
            .change("INSERT INTO oauth_links SELECT * FROM kept ON CONFLICT DO NOTHING")
            .await;
    }
    assert_eq!(won.values().sum::<usize>(), ROUNDS);
    assert_eq!(
        world.events("link.deleted").await.len(),
        ROUNDS,
        "as many as were told of"
    );
}

/// AC-8, behind a barrier: of two accounts that link one identity at once one gets it, and the other one is told.
#[tokio::test]
async fn one_identity_linked_by_two_accounts_at_once_leads_to_one() {
    let world = World::start().await;
    let people = [
        Arc::new(world.member("ada").await),
        Arc::new(world.member("alan").await),
    ];
    for round in 0..ROUNDS {
        let barrier = Arc::new(Barrier::new(2));
        let mut racers = Vec::new();
        for person in &people {
            wait_for_confirmation(person, "google", "emmy").await;
            let id = proposal(person).await.is(200).json()["confirmation_id"]
                .as_str()
                .unwrap()
                .to_owned();
            let (barrier, person) = (Arc::clone(&barrier), Arc::clone(person));
            racers.push(tokio::spawn(async move {
                barrier.wait().await;
                confirm_id(&person, &id).await
            }));
        }
        let mut statuses = Vec::new();
        for racer in racers {
            let answer = racer.await.unwrap();
            if answer.status == 409 {
                answer.refused_with(409, "identity_linked");
            }
            statuses.push(answer.status.as_u16());
        }
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 409], "round {round}");
        assert_eq!(
            world
                .count("SELECT count(*) FROM oauth_links WHERE provider = 'google'")
                .await,
            1,
            "round {round}"
        );
        world
            .change("DELETE FROM oauth_links WHERE provider = 'google'")
            .await;
    }
}

/// AC-3, AC-9, behind a barrier: a confirmation and an unlink of the same person at once, in two browsers, leave something
/// to sign in with and nothing that waits.
#[tokio::test]
async fn a_confirmation_and_an_unlink_at_once_leave_an_account_that_can_be_entered() {
    let world = World::start().await;
    let (here, there) = (
        Arc::new(world.member("ada").await),
        Arc::new(world.member("ada").await),
    );
    world
        .change("CREATE TABLE kept AS SELECT * FROM oauth_links")
        .await;
    for round in 0..ROUNDS {
        world.change("UPDATE sessions SET link_id = NULL").await;
        wait_for_confirmation(&here, "google", "ada").await;
        let id = proposal(&here).await.is(200).json()["confirmation_id"]
            .as_str()
            .unwrap()
            .to_owned();
        let barrier = Arc::new(Barrier::new(2));
        let (one, two) = (Arc::clone(&barrier), barrier);
        let (confirmer, unlinker) = (Arc::clone(&here), Arc::clone(&there));
        let (confirmed, unlinked) = tokio::join!(
            tokio::spawn(async move {
                one.wait().await;
                confirm_id(&confirmer, &id).await
            }),
            tokio::spawn(async move {
                two.wait().await;
                unlink(&unlinker, "github").await
            }),
        );
        let statuses = (
            confirmed.unwrap().status.as_u16(),
            unlinked.unwrap().status.as_u16(),
        );
        // Confirmed first: GitHub may go. Unlinked first: that was the last one.
        assert!(
            matches!(statuses, (200, 200 | 409)),
            "round {round}: {statuses:?}"
        );
        let left = world.count("SELECT count(*) FROM oauth_links").await;
        assert_eq!(left, if statuses.1 == 200 { 1 } else { 2 }, "round {round}");
        assert_eq!(world.count("SELECT count(*) FROM pending_identities").await, 0);
        world.change("DELETE FROM oauth_links").await;
        world.change("INSERT INTO oauth_links SELECT * FROM kept").await;
    }
}
