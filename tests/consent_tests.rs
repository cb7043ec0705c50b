//! Consent: what the deployer's page on another origin reads and sends, and what counts (security rules CO-1 to CO-8).

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::collections::HashSet;

use common::browser::CorsRefused;
use common::checks;
use common::provider::{APP, ISSUER, PAGES};
use common::{Answer, Browser, Outcome, TestClient, TestProvider};
use reqwest::Method;
use serde_json::{Value, json};
use url::Url;

const CONSENT: &str = "https://op.test/oauth/consent";

struct Fixture {
    op: TestProvider,
    app: TestClient,
    ada: Browser,
}

async fn start() -> Fixture {
    let op = TestProvider::start().await;
    let (app, ada) = (op.asking_client().await, op.signed_in("ada").await);
    Fixture { op, app, ada }
}

impl Fixture {
    /// The consent page of a fresh request.
    async fn ask(&self, scope: &str) -> Url {
        self.ada
            .authorize(&self.app)
            .scope(scope)
            .send()
            .await
            .page("/consent")
    }

    /// A decision as a script on `page` sends it.
    async fn send(&self, page: &str, headers: &[(&str, &str)], body: &Value) -> Result<Answer, CorsRefused> {
        self.ada
            .fetch(page, Method::POST, CONSENT, headers, Some(body))
            .await
    }

    async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(self.op.db()).await.unwrap()
    }

    async fn change(&self, sql: &'static str) {
        sqlx::query(sql).execute(self.op.db()).await.unwrap();
    }
}

fn id_of(page: &Url) -> String {
    let pairs: Vec<_> = page.query_pairs().collect();
    assert_eq!(pairs.len(), 1, "the page is handed one id and nothing else");
    assert_eq!(pairs[0].0, "consent_id");
    pairs[0].1.clone().into_owned()
}

const FETCH: [(&str, &str); 1] = [("x-requested-with", "fetch")];

/// The contract with a page on another origin, from the question to the code.
#[tokio::test]
async fn a_page_on_another_origin_asks_and_the_app_gets_its_code() {
    let fixture = start().await;
    let request = fixture.ada.authorize(&fixture.app).scope("openid email");
    let page = request.send().await.page("/consent");
    assert_eq!(page.origin().ascii_serialization(), PAGES);
    let context = fixture.ada.consent_context(&page).await;
    context.is_not_stored();
    let context = context.is(200).json();
    assert_eq!(context["client"]["client_id"], fixture.app.client_id());
    assert_eq!(
        (&context["client"]["name"], &context["client"]["redirect_host"]),
        (&json!("The App"), &json!("app.test"))
    );
    let scopes = context["scopes"].as_array().unwrap();
    assert!(
        scopes
            .iter()
            .all(|scope| scope["description"].as_str().is_some_and(|text| !text.is_empty()))
    );
    assert_eq!(
        scopes
            .iter()
            .map(|scope| scope["name"].as_str().unwrap())
            .collect::<HashSet<_>>(),
        HashSet::from(["openid", "email"])
    );
    assert!(context["user"]["username"].is_string() && context["expires_at"].is_string());
    let visit = fixture.ada.decide(&page, true).await;
    let granted = request.read(visit).await.code();
    fixture.app.redeem(&granted).await.tokens();
}

/// CO-5: `{redirect_to}` is the resume URL, so that `fetch` burns no code.
#[tokio::test]
async fn the_answer_to_a_decision_says_where_to_go_and_holds_no_code() {
    let fixture = start().await;
    let page = fixture.ask("openid").await;
    let answer = fixture.ada.send_decision(&page, true).await;
    let next = answer.is(200).json()["redirect_to"].as_str().unwrap().to_owned();
    assert!(
        next.starts_with(&format!("{ISSUER}/oauth/authorize/resume?request=")),
        "{next}"
    );
    assert_eq!(fixture.count("select count(*) from authorization_codes").await, 0);
}

#[tokio::test]
async fn a_refusal_is_access_denied_at_the_app_and_remembered_by_nobody() {
    let fixture = start().await;
    let request = fixture.ada.authorize(&fixture.app);
    let page = request.send().await.page("/consent");
    let visit = fixture.ada.decide(&page, false).await;
    let refused = request.read(visit).await.refused("access_denied");
    checks::error_redirect_is_sound(&refused, request.param("state").as_deref(), &["access_denied"]);
    assert_eq!(fixture.count("select count(*) from consents").await, 0);
    request.send().await.page("/consent");
}

/// CO-8: per person, client and scope set; asked again only for more.
#[tokio::test]
async fn consent_is_remembered_and_asked_again_only_for_more() {
    let fixture = start().await;
    let (ada, app) = (&fixture.ada, &fixture.app);
    ada.authorize(app).scope("openid email").code_as("ada").await;
    ada.authorize(app).scope("openid email").code().await;
    ada.authorize(app).scope("openid").prompt("none").code().await;
    ada.authorize(app)
        .scope("openid phone")
        .prompt("none")
        .send()
        .await
        .refused("consent_required");
    ada.authorize(app).scope("openid phone").code_as("ada").await;
    ada.authorize(app)
        .scope("openid email phone")
        .prompt("none")
        .code()
        .await;
    ada.authorize(app).prompt("consent").send().await.page("/consent");
    let other = fixture.op.asking_client().await;
    ada.authorize(&other).send().await.page("/consent");
    let alan = fixture.op.signed_in("alan").await;
    alan.authorize(app).send().await.page("/consent");
}

/// The deployer vouches for these clients.
#[tokio::test]
async fn nobody_is_asked_about_a_client_that_is_auto_approved() {
    let fixture = start().await;
    let own = fixture.op.client().await;
    fixture.ada.authorize(&own).code().await;
    fixture.ada.authorize(&own).prompt("consent").code().await;
}

/// CO-1: random, never in the order of time.
#[tokio::test]
async fn ids_cannot_be_guessed() {
    let fixture = start().await;
    let (first, second) = (
        id_of(&fixture.ask("openid").await),
        id_of(&fixture.ask("openid").await),
    );
    assert_ne!(first, second);
    assert!(first.len() >= 22 && first[..4] != second[..4], "{first} {second}");
    assert!(checks::entropy_bits(&first) > 96.0);
}

/// CO-2: of others, expired, decided or made up: one and the same answer.
#[tokio::test]
async fn ids_that_are_not_ones_own_answer_as_if_they_did_not_exist() {
    let fixture = start().await;
    let page = fixture.ask("openid").await;
    let alan = fixture.op.signed_in("alan").await;
    let made_up = Url::parse(&format!("{PAGES}/consent?consent_id={}", common::random_text(43))).unwrap();
    let unknown = fixture.ada.consent_context(&made_up).await;
    unknown.is(404);
    let others = alan.consent_context(&page).await;
    let decided = fixture.ask("openid email").await;
    fixture.ada.send_decision(&decided, true).await.is(200);
    let decided = fixture.ada.consent_context(&decided).await;
    fixture.op.advance_secs(601);
    let expired = fixture.ada.consent_context(&page).await;
    for answer in [others, decided, expired] {
        assert_eq!((answer.status, &answer.text), (unknown.status, &unknown.text));
        let names = |answer: &Answer| {
            answer
                .headers
                .keys()
                .map(ToString::to_string)
                .collect::<HashSet<_>>()
        };
        assert_eq!(names(&answer), names(&unknown));
    }
}

#[tokio::test]
async fn nobody_decides_for_another_session() {
    let fixture = start().await;
    let page = fixture.ask("openid").await;
    let alan = fixture.op.signed_in("alan").await;
    alan.send_decision(&page, true).await.is(404);
    // The same person in another browser is another session.
    let elsewhere = fixture.op.signed_in("ada").await;
    elsewhere.send_decision(&page, true).await.is(404);
    let nobody = fixture.op.browser();
    assert!(matches!(
        nobody.send_decision(&page, true).await.status.as_u16(),
        401 | 404
    ));
    fixture.ada.send_decision(&page, true).await.is(200);
}

/// CO-3: a decision counts once, and one code exists.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_parallel_decisions_one_counts() {
    let fixture = std::sync::Arc::new(start().await);
    for _ in 0..10 {
        let page = fixture.ask("openid phone").await;
        let calls: Vec<_> = (0..8)
            .map(|i| {
                let (fixture, page) = (std::sync::Arc::clone(&fixture), page.clone());
                tokio::spawn(
                    async move { fixture.ada.send_decision(&page, i % 2 == 0).await.status.as_u16() },
                )
            })
            .collect();
        let mut won = 0;
        for call in calls {
            let status = call.await.unwrap();
            assert!(matches!(status, 200 | 404), "{status}");
            won += usize::from(status == 200);
        }
        assert_eq!(won, 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_parallel_resumptions_one_gets_the_code() {
    let fixture = std::sync::Arc::new(start().await);
    let page = fixture.ask("openid").await;
    let answer = fixture.ada.send_decision(&page, true).await;
    let next = answer.is(200).json()["redirect_to"].as_str().unwrap().to_owned();
    let calls: Vec<_> = (0..10)
        .map(|_| {
            let (fixture, next) = (std::sync::Arc::clone(&fixture), next.clone());
            tokio::spawn(async move { fixture.ada.follow(PAGES, &next).await.query("code").is_some() })
        })
        .collect();
    let mut codes = 0;
    for call in calls {
        codes += usize::from(call.await.unwrap());
    }
    assert_eq!(codes, 1);
    assert_eq!(fixture.count("select count(*) from authorization_codes").await, 1);
}

/// CO-4: a boolean in JSON; anything else leaves the request as it is.
#[tokio::test]
async fn a_decision_is_a_boolean_in_json() {
    let fixture = start().await;
    let page = fixture.ask("openid").await;
    let id = id_of(&page);
    for body in [
        json!({ "consent_id": id }),
        json!({ "consent_id": id, "approved": "true" }),
        json!({ "consent_id": id, "approved": 1 }),
        json!({ "consent_id": id, "approved": null }),
        json!([id, true]),
        json!("approved"),
    ] {
        fixture.send(page.as_str(), &FETCH, &body).await.unwrap().is(400);
    }
    fixture.ada.send_decision(&page, true).await.is(200);
}

/// CO-4: no form can send it, so no foreign page can.
#[tokio::test]
async fn a_decision_needs_the_json_content_type() {
    let fixture = start().await;
    let page = fixture.ask("openid").await;
    let body = json!({ "consent_id": id_of(&page), "approved": true });
    let headers = [("x-requested-with", "fetch"), ("content-type", "text/plain")];
    let plain = fixture.send(page.as_str(), &headers, &body).await.unwrap();
    assert!(matches!(plain.status.as_u16(), 400 | 415), "{}", plain.status);
    fixture.ada.send_decision(&page, true).await.is(200);
}

/// CO-4, SE-5: another origin of the same site has the cookies, so it has to show that it may.
#[tokio::test]
async fn a_decision_is_taken_from_first_party_pages_alone() {
    let fixture = start().await;
    let page = fixture.ask("openid").await;
    let body = json!({ "consent_id": id_of(&page), "approved": true });
    let without = fixture.send(page.as_str(), &[], &body).await.unwrap();
    assert_eq!(without.status, 403);
    for foreign in ["https://evil.op.test/", &format!("{APP}/"), "https://evil.test/"] {
        assert_eq!(
            fixture.send(foreign, &FETCH, &body).await.unwrap_err(),
            CorsRefused
        );
    }
    // A form needs no preflight, but it cannot send the header either.
    let form = vec![
        ("consent_id".to_owned(), id_of(&page)),
        ("approved".to_owned(), "true".to_owned()),
    ];
    let visit = fixture
        .ada
        .post_form("https://evil.op.test/", CONSENT, form)
        .await;
    assert!(visit.status().unwrap().is_client_error());
    fixture.send(page.as_str(), &FETCH, &body).await.unwrap().is(200);
}

/// CO-6: the world is looked at again when the decision comes.
#[tokio::test]
async fn a_decision_for_a_client_that_has_changed_is_refused_without_a_redirect() {
    for change in [
        "update oauth_clients set redirect_uris = array['https://app.test/other'], generation = generation + 1",
        "update oauth_clients set disabled_at = now(), generation = generation + 1",
        "update oauth_clients set scope = '', generation = generation + 1",
    ] {
        let fixture = start().await;
        let page = fixture.ask("openid phone").await;
        fixture.change(change).await;
        let answer = fixture.ada.send_decision(&page, true).await;
        assert_eq!(answer.is(400).header("location"), None, "{change}");
        assert_eq!(fixture.count("select count(*) from consents").await, 0);
    }
}

/// AZ-24: the same, when the change comes between the decision and the code.
#[tokio::test]
async fn a_client_that_is_disabled_after_the_decision_gets_no_code() {
    let fixture = start().await;
    let request = fixture.ada.authorize(&fixture.app);
    let page = request.send().await.page("/consent");
    let answer = fixture.ada.send_decision(&page, true).await;
    let next = answer.is(200).json()["redirect_to"].as_str().unwrap().to_owned();
    fixture
        .change("update oauth_clients set disabled_at = now(), generation = generation + 1")
        .await;
    let visit = fixture.ada.follow(page.as_str(), &next).await;
    assert!(matches!(
        request.read(visit).await,
        Outcome::ErrorPage { status: 400, .. }
    ));
    assert_eq!(fixture.count("select count(*) from authorization_codes").await, 0);
}

/// CO-6: the session that was asked has to be there still.
#[tokio::test]
async fn a_session_that_has_ended_decides_nothing() {
    let fixture = start().await;
    let page = fixture.ask("openid").await;
    fixture.change("update sessions set ended_at = now()").await;
    assert!(
        fixture
            .ada
            .send_decision(&page, true)
            .await
            .status
            .is_client_error()
    );
    assert_eq!(fixture.count("select count(*) from consents").await, 0);
}

/// A decision that was made for one person is not used by the next one at the same browser.
#[tokio::test]
async fn another_person_at_the_same_browser_is_asked_anew() {
    let fixture = start().await;
    let request = fixture.ada.authorize(&fixture.app);
    let page = request.send().await.page("/consent");
    let answer = fixture.ada.send_decision(&page, true).await;
    let next = answer.is(200).json()["redirect_to"].as_str().unwrap().to_owned();
    fixture.op.upstream().sign_everybody_out();
    fixture.ada.sign_in("alan").await;
    let visit = fixture.ada.follow(page.as_str(), &next).await;
    assert!(!matches!(request.read(visit).await, Outcome::Code(_)));
}

/// Security rule CO-1: at most twenty wait in one browser; the oldest goes.
#[tokio::test]
async fn at_most_twenty_requests_wait_in_one_browser() {
    let fixture = start().await;
    let oldest = fixture.ask("openid").await;
    let mut latest = oldest.clone();
    for _ in 0..20 {
        fixture.op.advance_secs(1);
        latest = fixture.ask("openid").await;
    }
    fixture.ada.consent_context(&oldest).await.is(404);
    fixture.ada.consent_context(&latest).await.is(200);
    assert_eq!(
        fixture.count("select count(*) from authorization_requests").await,
        20
    );
}

/// No page, so the app is told.
#[tokio::test]
async fn without_a_consent_page_it_is_consent_required() {
    let op = TestProvider::with(|config| config.oauth.consent_url = None).await;
    let (app, ada) = (op.asking_client().await, op.signed_in("ada").await);
    ada.authorize(&app).send().await.refused("consent_required");
}

/// Offline access needs consent, remembered or given, or a client that the deployer vouches for.
#[tokio::test]
async fn offline_access_comes_with_consent() {
    let fixture = start().await;
    let scope = "openid offline_access";
    let granted = fixture
        .ada
        .authorize(&fixture.app)
        .scope(scope)
        .code_as("ada")
        .await;
    let tokens = fixture.app.redeem(&granted).await.tokens();
    assert!(tokens.scope.split(' ').any(|scope| scope == "offline_access"));
    let again = fixture
        .ada
        .authorize(&fixture.app)
        .scope(scope)
        .prompt("none")
        .code()
        .await;
    assert!(
        fixture
            .app
            .redeem(&again)
            .await
            .tokens()
            .scope
            .contains("offline_access")
    );
}

/// CO-8: remembered for as long as it is remembered.
#[tokio::test]
async fn consent_that_is_gone_is_asked_for_again() {
    let fixture = start().await;
    fixture.ada.authorize(&fixture.app).code_as("ada").await;
    fixture.ada.authorize(&fixture.app).prompt("none").code().await;
    fixture.change("delete from consents").await;
    fixture
        .ada
        .authorize(&fixture.app)
        .prompt("none")
        .send()
        .await
        .refused("consent_required");
    fixture.ada.authorize(&fixture.app).send().await.page("/consent");
}
