use std::time::Instant;

use riley_auth::clock::Clock;
use riley_auth::dev::simulated_upstream::{Endpoint, Flavour, Misbehaviour, Options};
use riley_auth::server::build;
use time::Duration;

use crate::common::front_end::param;
use crate::common::html;
use crate::common::provider::{ISSUER, PAGES, start_upstream};
use crate::common::{Answer, TestProvider, Visit};

/// Words of upstreams that must never reach a person or an app.
const UPSTREAM_WORDS: [&str; 6] = [
    "<script",
    "alert",
    "denied access",
    "onerror",
    "Set-Cookie",
    "The user has",
];

fn says_nothing_of_the_upstream(visit: &Visit) {
    for (url, answer) in visit
        .hops
        .iter()
        .filter(|(url, _)| url.as_str().starts_with(ISSUER))
    {
        for word in UPSTREAM_WORDS {
            assert!(
                !answer.text.contains(word),
                "{url} says {word:?}: {}",
                answer.text
            );
        }
    }
    // The callback's own URL is what the upstream wrote; wherever we send the person on is ours.
    let sent_on = visit
        .hops
        .iter()
        .filter_map(|(url, answer)| Some((url, answer.header("location")?)));
    for (_, location) in sent_on.filter(|(url, _)| url.as_str().starts_with(ISSUER)) {
        assert!(
            !UPSTREAM_WORDS.iter().any(|word| location.contains(word)),
            "{location}"
        );
    }
}

/// What a person meets when nobody's app waits: back at the login page, with a fixed code.
const FAULTS: &[(Misbehaviour, &str)] = &[
    (Misbehaviour::TokenFails, "upstream_unavailable"),
    (Misbehaviour::JwksFails, "upstream_unavailable"),
    (Misbehaviour::TokenRedirects, "sign_in_failed"),
    (Misbehaviour::HugeBody, "upstream_unavailable"),
    (Misbehaviour::TokenNotJson, "sign_in_failed"),
    (Misbehaviour::HostileErrorDescription, "upstream_unavailable"),
    (Misbehaviour::CodeRefused, "sign_in_failed"),
    (Misbehaviour::WrongNonce, "sign_in_failed"),
    (Misbehaviour::MissingNonce, "sign_in_failed"),
    (Misbehaviour::WrongIssuer, "sign_in_failed"),
    (Misbehaviour::WrongAudience, "sign_in_failed"),
    (Misbehaviour::WrongAuthorizedParty, "sign_in_failed"),
    (Misbehaviour::ExpiredIdToken, "sign_in_failed"),
    (Misbehaviour::FutureIat, "sign_in_failed"),
    (Misbehaviour::AlgNone, "sign_in_failed"),
    (Misbehaviour::SignedWithClientSecret, "sign_in_failed"),
    (Misbehaviour::UnpublishedKey, "sign_in_failed"),
    (Misbehaviour::MissingIdToken, "sign_in_failed"),
    (Misbehaviour::WrongIssParameter, "sign_in_failed"),
    (Misbehaviour::MissingIssParameter, "sign_in_failed"),
    (Misbehaviour::UserinfoOtherSubject, "sign_in_failed"),
    (Misbehaviour::SubjectAsFloat, "sign_in_failed"),
    (Misbehaviour::SubjectEmpty, "sign_in_failed"),
    (Misbehaviour::SubjectAsObject, "sign_in_failed"),
    (Misbehaviour::SubjectMissing, "sign_in_failed"),
    (Misbehaviour::Cancelled, "access_denied"),
];

/// UP-3 to UP-8, UP-12: whatever an upstream does wrong, nobody is signed in, and the person reads our words alone.
#[tokio::test]
async fn whatever_an_upstream_does_wrong_signs_nobody_in() {
    let op = TestProvider::start().await;
    for (misbehaviour, code) in FAULTS {
        let ada = op.browser();
        let page = ada.start("simulated").await;
        if misbehaviour.is_per_sign_in() {
            let callback = ada.callback_url(&page, "ada", &[*misbehaviour]).await;
            let visit = ada.follow(page.url.as_str(), callback.as_str()).await;
            assert_eq!(
                visit.url.as_str(),
                format!("{PAGES}/login?error={code}"),
                "{misbehaviour:?}"
            );
            says_nothing_of_the_upstream(&visit);
        } else {
            let callback = ada.callback_url(&page, "ada", &[]).await;
            op.upstream().misbehave(*misbehaviour);
            let visit = ada.follow(page.url.as_str(), callback.as_str()).await;
            op.upstream().behave();
            // Keys that could not be had are asked for again after a while.
            op.advance(Duration::minutes(1));
            assert_eq!(
                visit.url.as_str(),
                format!("{PAGES}/login?error={code}"),
                "{misbehaviour:?}"
            );
        }
        assert!(
            !ada.is_signed_in().await && ada.cookie("refresh").is_none(),
            "{misbehaviour:?}"
        );
    }
    assert!(
        op.upstream().requests_to(Endpoint::Elsewhere).is_empty(),
        "our secret was taken somewhere else"
    );
    for sql in [
        "SELECT count(*) FROM users",
        "SELECT count(*) FROM sessions",
        "SELECT count(*) FROM upstream_flows",
    ] {
        let left: i64 = sqlx::query_scalar(sql).fetch_one(op.db()).await.unwrap();
        assert_eq!(left, 0, "{sql}");
    }
}

/// UP-2: a state that is not the flow's is not even looked at.
#[tokio::test]
async fn a_response_with_another_state_is_refused_on_our_own_page() {
    let op = TestProvider::start().await;
    let ada = op.browser();
    let page = ada.start("simulated").await;
    let callback = ada.callback_url(&page, "ada", &[Misbehaviour::WrongState]).await;
    op.upstream().forget_requests();
    let visit = ada.follow(page.url.as_str(), callback.as_str()).await;
    assert_eq!(visit.status().unwrap(), 400);
    assert!(html::text_of(visit.text(), "error-id").is_some());
    assert!(op.upstream().requests().is_empty());
}

/// The same with no page configured at all: a status, a sentence and an id for the operator; JSON for a program.
#[tokio::test]
async fn without_pages_a_failed_sign_in_is_a_page_of_ours() {
    let op = TestProvider::with(|config| {
        config.oauth.login_url = None;
        config.oauth.default_return_to = None;
    })
    .await;
    for (misbehaviour, status, words) in [
        (Misbehaviour::TokenFails, 503, "cannot be reached"),
        (Misbehaviour::HostileErrorDescription, 503, "cannot be reached"),
        (Misbehaviour::WrongNonce, 403, "did not confirm"),
        (Misbehaviour::Cancelled, 403, "cancelled"),
    ] {
        let ada = op.browser();
        let visit = ada.sign_in_amid("simulated", "ada", &[misbehaviour]).await;
        assert_eq!(visit.status().unwrap(), status, "{misbehaviour:?}");
        assert!(visit.text().contains(words), "{misbehaviour:?}: {}", visit.text());
        assert!(
            html::text_of(visit.text(), "error-id").is_some(),
            "{misbehaviour:?}"
        );
        says_nothing_of_the_upstream(&visit);
        let answer = visit.answer.as_ref().unwrap();
        assert_eq!(answer.header("retry-after").is_some(), status == 503);
        let policy = answer.header("content-security-policy").unwrap();
        assert!(
            policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
            "{policy}"
        );
        answer.is_not_stored();
    }
}

/// §4.1: a login that failed leads back to the login page with the request intact, so that the person may try again, and with
/// a fixed code, so that the page can say what happened.
#[tokio::test]
async fn a_cancelled_login_leads_back_to_the_login_page_with_the_request_intact() {
    let op = TestProvider::start().await;
    let app = op.client().await;
    for (wrong, code) in [
        (Misbehaviour::Cancelled, "access_denied"),
        (Misbehaviour::TokenFails, "upstream_unavailable"),
        (Misbehaviour::WrongNonce, "sign_in_failed"),
    ] {
        let ada = op.browser();
        let request = ada.authorize(&app);
        let login = request.send().await.page("/login");
        let start = format!("simulated?request_id={}", param(&login, "request_id"));
        let visit = ada.sign_in_amid(&start, "ada", &[wrong]).await;
        assert_eq!(visit.url.as_str(), format!("{login}&error={code}"), "{wrong:?}");
        let visit = ada.sign_in_at(&visit.url, "ada").await;
        let granted = request.read(visit).await.code();
        assert_eq!(granted.state, request.param("state"));
    }
}

/// §4.1: when there is no login page the app hears of it, with its state and in our words.
#[tokio::test]
async fn without_a_login_page_a_failed_login_is_an_error_at_the_app() {
    let op = TestProvider::with(|config| config.oauth.login_url = None).await;
    let app = op.client().await;
    for (wrong, error) in [
        (Misbehaviour::Cancelled, "access_denied"),
        (Misbehaviour::WrongNonce, "access_denied"),
        (Misbehaviour::TokenFails, "temporarily_unavailable"),
        (Misbehaviour::HostileErrorDescription, "temporarily_unavailable"),
    ] {
        let ada = op.browser();
        let request = ada.authorize(&app);
        let page = request.visit().await;
        let callback = ada.callback_url(&page, "ada", &[wrong]).await;
        let visit = ada.follow(page.url.as_str(), callback.as_str()).await;
        says_nothing_of_the_upstream(&visit);
        let refused = request.read(visit).await.refused(error);
        assert_eq!(
            (refused.state, refused.iss.as_deref()),
            (request.param("state"), Some(ISSUER))
        );
    }
}

/// UP-12: an upstream that does not answer costs ten seconds and nothing else.
#[tokio::test]
async fn a_slow_upstream_is_given_up() {
    let op = TestProvider::start().await;
    let ada = op.browser();
    let started = Instant::now();
    let visit = ada.sign_in_amid("simulated", "ada", &[Misbehaviour::Slow]).await;
    assert_eq!(
        visit.url.as_str(),
        format!("{PAGES}/login?error=upstream_unavailable")
    );
    assert!(started.elapsed().as_secs() < 14, "{:?}", started.elapsed());
    assert!(!ada.is_signed_in().await);
}

/// UP-14: a provider that is down at the start or later harms itself alone, says 503, and is back within a minute.
#[tokio::test]
async fn a_provider_that_is_down_harms_itself_alone_and_recovers() {
    let clock = Clock::held();
    let upstream = start_upstream(Options::default(), &clock).await;
    let options = Options {
        cookie_name: "other_session".to_owned(),
        ..Options::of(Flavour::Oidc)
    };
    let other = start_upstream(options, &clock).await;
    other.misbehave(Misbehaviour::DiscoveryFails);
    let issuer = other.issuer();
    let op = TestProvider::beside(clock, upstream, |config| {
        let mut second = config.oauth.providers["simulated"].clone();
        second.issuer = Some(issuer);
        config.oauth.providers.insert("other".to_owned(), second);
    })
    .await;

    let visit = op.browser().open(&format!("{ISSUER}/auth/other")).await;
    assert_eq!(visit.status().unwrap(), 503);
    assert!(visit.answer.as_ref().unwrap().header("retry-after").is_some());
    assert!(visit.text().contains("cannot be reached"), "{}", visit.text());
    let answer = op.get("/auth/other").await;
    assert_eq!(answer.is(503).json()["error"], "upstream_unavailable");
    op.signed_in("ada").await;
    op.get("/ready").await.is(200);

    other.behave();
    op.advance(Duration::seconds(60));
    let visit = op.browser().sign_in_amid("other", "grace", &[]).await;
    assert_eq!(visit.url.as_str(), format!("{PAGES}/home"));

    other.misbehave(Misbehaviour::DiscoveryOtherIssuer);
    op.advance(Duration::days(2));
    let visit = op.browser().sign_in_amid("other", "alan", &[]).await;
    assert_eq!(
        visit.url.as_str(),
        format!("{PAGES}/home"),
        "what was learnt before outlives a failure to renew it"
    );
}

/// UP-6, UP-14: nothing listens at the provider's address; the server starts, and says what it can.
#[tokio::test]
async fn a_provider_that_is_not_there_does_not_stop_the_server() {
    let clock = Clock::held();
    let upstream = start_upstream(Options::default(), &clock).await;
    let gone = start_upstream(Options::default(), &clock).await;
    let issuer = gone.issuer();
    gone.stop().await;
    let op = TestProvider::beside(clock, upstream, |config| {
        let mut second = config.oauth.providers["simulated"].clone();
        second.issuer = Some(issuer);
        config.oauth.providers.insert("gone".to_owned(), second);
    })
    .await;
    let _same_router_as_production = build(op.state().clone());
    op.get("/auth/gone").await.is(503);
    op.signed_in("ada").await;
    // An app's person is not stranded: the request is kept, and another provider can finish it.
    let app = op.client().await;
    let alan = op.browser();
    let request = alan.authorize(&app);
    let login = request.send().await.page("/login");
    let start = format!("{ISSUER}/auth/gone?request_id={}", param(&login, "request_id"));
    assert_eq!(alan.open(&start).await.status().unwrap(), 503);
    let visit = alan.sign_in_at(&login, "alan").await;
    request.read(visit).await.code();
}

/// UP-13: an upstream may rotate its keys at any time; forged key ids do not make us ask again and again.
#[tokio::test]
async fn a_rotated_key_is_fetched_and_a_flood_of_unknown_ones_is_not() {
    let op = TestProvider::start().await;
    op.signed_in("ada").await;
    op.advance(Duration::minutes(2));
    op.upstream().rotate_key().unwrap();
    let visit = op.browser().sign_in_amid("simulated", "alan", &[]).await;
    assert_eq!(visit.url.as_str(), format!("{PAGES}/home"));
    op.advance(Duration::minutes(2));
    op.upstream().forget_requests();
    for _ in 0..5 {
        let visit = op
            .browser()
            .sign_in_amid("simulated", "ada", &[Misbehaviour::UnpublishedKey])
            .await;
        assert!(visit.url.as_str().ends_with("error=sign_in_failed"));
    }
    assert_eq!(op.upstream().requests_to(Endpoint::Jwks).len(), 1);
}

/// UP-8: a number and its digits are the same subject of one provider.
#[tokio::test]
async fn a_subject_that_is_a_number_is_a_subject() {
    let op = TestProvider::start().await;
    let (here, there) = (op.browser(), op.browser());
    for browser in [&here, &there] {
        let visit = browser
            .sign_in_amid("simulated", "ada", &[Misbehaviour::SubjectAsNumber])
            .await;
        // UserInfo states the same number.
        assert_eq!(visit.url.as_str(), format!("{PAGES}/home"), "{}", visit.text());
    }
    assert_eq!(here.user_id().await, there.user_id().await);
}

/// UP-9: an address is verified by JSON `true` alone; what is not verified is told to apps as such.
#[tokio::test]
async fn an_address_is_verified_by_the_boolean_alone() {
    let op = TestProvider::start().await;
    let app = op.client().await;
    for (person, wrong, expected) in [
        ("ada", None, Some(true)),
        ("alan", Some(Misbehaviour::UnverifiedEmail), Some(false)),
        ("grace", Some(Misbehaviour::EmailVerifiedAsString), Some(false)),
        ("emmy", Some(Misbehaviour::NoEmail), None),
        ("mallory", None, Some(false)),
    ] {
        let browser = op.browser();
        browser.sign_in_amid("simulated", person, wrong.as_slice()).await;
        let granted = browser.authorize(&app).scope("openid email").code().await;
        let tokens = app.redeem(&granted).await.tokens();
        let userinfo: Answer = app.userinfo(&tokens.access_token).await;
        let userinfo = userinfo.is(200).json();
        assert_eq!(
            userinfo["email_verified"].as_bool(),
            expected,
            "{person} {wrong:?}: {userinfo}"
        );
        assert_eq!(userinfo.get("email").is_some(), expected.is_some(), "{person}");
    }
}

/// UP-5: the ID token proves the person. A UserInfo that fails costs what only it would have said, and nothing that was
/// known already.
#[tokio::test]
async fn a_userinfo_that_fails_costs_nobody_the_login_or_the_profile() {
    let op = TestProvider::start().await;
    let app = op.client().await;
    let ada = op.signed_in("ada").await;
    let scope = "openid profile email address";
    let before = app.tokens_of(&ada, "ada", scope).await;
    let before = app.userinfo(&before.access_token).await.is(200).json();
    assert_eq!(before["given_name"], "Ada");

    op.advance(Duration::minutes(5));
    let later = op.browser();
    let visit = later
        .sign_in_amid("simulated", "ada", &[Misbehaviour::UserinfoFails])
        .await;
    assert_eq!(visit.url.as_str(), format!("{PAGES}/home"));
    let after = app.tokens_of(&later, "ada", scope).await;
    let after = app.userinfo(&after.access_token).await.is(200).json();
    assert_eq!(after, before);
}
