use riley_auth::config::oauth::Reauth;
use riley_auth::config::providers::{Preset, ReauthenticationMeans};
use riley_auth::dev::simulated_upstream::{Endpoint, LoggedRequest, Misbehaviour};
use time::Duration;

use crate::common::TestProvider;
use crate::common::checks;
use crate::common::front_end::param;
use crate::common::person::Authorize;
use crate::common::provider::{ISSUER, PAGES};

/// What the upstream was asked when the person went there for this request.
async fn asked(op: &TestProvider, request: &Authorize<'_>) -> LoggedRequest {
    let login = request.send().await.page("/login");
    op.upstream().forget_requests();
    let browser = request.browser();
    browser
        .start(&format!("simulated?request_id={}", param(&login, "request_id")))
        .await;
    op.upstream()
        .requests_to(Endpoint::Authorize)
        .pop()
        .expect("the upstream was asked")
}

/// §4.1: `login_hint` and `ui_locales` are passed on, and no request leaves without state, nonce and PKCE.
#[tokio::test]
async fn what_the_app_says_of_the_person_is_passed_on() {
    let op = TestProvider::start().await;
    let app = op.client().await;
    let browser = op.browser();
    let request = browser
        .authorize(&app)
        .with("login_hint", "ada@engine.example")
        .with("ui_locales", "de en");
    let asked_for = asked(&op, &request).await;
    assert_eq!(asked_for.query("login_hint"), Some("ada@engine.example"));
    assert_eq!(asked_for.query("ui_locales"), Some("de en"));
    assert_eq!(asked_for.query("prompt"), None);
    assert_eq!(asked_for.query("max_age"), None);
    assert_eq!(asked_for.query("code_challenge_method"), Some("S256"));
    assert_eq!(
        asked_for.query("redirect_uri"),
        Some("https://op.test/auth/simulated/callback")
    );
    for own in ["state", "nonce", "code_challenge"] {
        assert!(
            asked_for.query(own).is_some_and(|value| value.len() >= 43),
            "{own}"
        );
        assert_ne!(
            asked_for.query(own),
            request.param(own).as_deref(),
            "{own} is ours, not the app's"
        );
    }

    let other = op.browser();
    let plain = asked(&op, &other.authorize(&app)).await;
    assert_eq!(
        (plain.query("login_hint"), plain.query("ui_locales")),
        (None, None)
    );
    for own in ["state", "nonce", "code_challenge"] {
        assert_ne!(plain.query(own), asked_for.query(own), "{own} is used once");
    }
}

/// AZ-18: what the app demands is asked of an upstream that honours it.
#[tokio::test]
async fn a_demanded_login_is_demanded_of_the_upstream() {
    let op = TestProvider::start().await;
    let app = op.client().await;
    let ada = op.browser();
    ada.sign_in("ada").await;
    op.advance(Duration::minutes(5));
    let asks = async |request: Authorize<'_>| {
        let asked_for = asked(&op, &request).await;
        (
            asked_for.query("prompt").map(str::to_owned),
            asked_for.query("max_age").map(str::to_owned),
        )
    };
    let some = |value: &str| Some(value.to_owned());
    assert_eq!(
        asks(ada.authorize(&app).prompt("login")).await,
        (some("login"), some("0"))
    );
    assert_eq!(
        asks(ada.authorize(&app).max_age(0)).await,
        (some("login"), some("0"))
    );
    assert_eq!(
        asks(ada.authorize(&app).max_age(60)).await,
        (some("login"), some("0"))
    );
    assert_eq!(
        asks(ada.authorize(&app).prompt("select_account")).await,
        (some("select_account"), None)
    );
    ada.authorize(&app).max_age(3600).code().await;
}

/// AZ-18: a provider is asked for nothing that it would ignore, as its table of the configuration says.
#[tokio::test]
async fn a_provider_is_asked_for_what_its_configuration_says_alone() {
    use ReauthenticationMeans::{Login, MaxAge, SelectAccount};
    for (means, prompt, max_age) in [
        (vec![], None, None),
        (vec![Login], Some("login"), None),
        (vec![SelectAccount], Some("select_account"), None),
        (vec![MaxAge], None, Some("0")),
        (vec![Login, MaxAge], Some("login"), Some("0")),
    ] {
        let op = TestProvider::with(|config| {
            let provider = config.oauth.providers.get_mut("simulated").unwrap();
            provider.reauthentication = Some(means.clone());
        })
        .await;
        let app = op.client().await;
        let ada = op.signed_in("ada").await;
        let asked_for = asked(&op, &ada.authorize(&app).prompt("login")).await;
        assert_eq!(
            (asked_for.query("prompt"), asked_for.query("max_age")),
            (prompt, max_age),
            "{means:?}"
        );
    }
}

/// AZ-17: the sign-in that was started for the request satisfies it once; its `auth_time` is new.
#[tokio::test]
async fn a_demanded_login_is_satisfied_by_the_login_that_was_started_for_it() {
    let op = TestProvider::start().await;
    let app = op.client().await;
    let ada = op.browser();
    let before = checks::peek(app.tokens_of(&ada, "ada", "openid").await.id());
    for change in [
        ("prompt", "login"),
        ("max_age", "0"),
        ("max_age", "60"),
        ("prompt", "select_account"),
    ] {
        op.advance(Duration::minutes(5));
        let request = ada.authorize(&app).with(change.0, change.1);
        let granted = request.code_as("ada").await;
        let after = checks::peek(app.redeem(&granted).await.tokens().id());
        assert!(op.now() - after["auth_time"].as_i64().unwrap() <= 5, "{change:?}");
        assert_eq!(after["sid"], before["sid"]);
    }
}

/// AZ-17: a login for something else, an edited return and an earlier login do not count.
#[tokio::test]
async fn a_demanded_login_cannot_be_walked_around() {
    let op = TestProvider::start().await;
    let app = op.client().await;
    let ada = op.signed_in("ada").await;
    let request = ada.authorize(&app).prompt("login");
    let login = request.send().await.page("/login");
    let resume = format!(
        "{ISSUER}/oauth/authorize/resume?request={}",
        param(&login, "request_id")
    );
    assert_eq!(
        ada.follow(login.as_str(), &resume).await.url,
        login,
        "without a login there is none"
    );

    ada.sign_in("ada").await;
    assert_eq!(
        ada.follow(login.as_str(), &resume).await.url,
        login,
        "a login for nobody does not count"
    );
    ada.authorize(&app).prompt("login").code_as("ada").await;
    assert_eq!(
        ada.follow(login.as_str(), &resume).await.url,
        login,
        "a login for another request does not count"
    );
    let sideways = ada.start(&format!("simulated?return_to={resume}")).await;
    assert_eq!(sideways.url, login, "nor one that merely returns there");
    let visit = ada.sign_in_at(&login, "ada").await;
    request.read(visit).await.code();
    let again = ada.follow(login.as_str(), &resume).await;
    assert_eq!(again.status().unwrap(), 400, "a request is answered once");
}

/// §4.1: where the upstream states an `auth_time` it must be fresh, whatever `reauth` says.
#[tokio::test]
async fn an_upstream_that_ignores_the_demand_and_says_so_is_login_required() {
    for reauth in [Reauth::RoundTrip, Reauth::Proven] {
        let op = TestProvider::with(|config| config.oauth.reauth = reauth).await;
        let app = op.client().await;
        let ada = op.signed_in("ada").await;
        op.advance(Duration::minutes(5));
        op.upstream().misbehave(Misbehaviour::IgnoresReauthentication);
        let request = ada.authorize(&app).prompt("login");
        let login = request.send().await.page("/login");
        let visit = ada.sign_in_at(&login, "ada").await;
        let refused = request.read(visit).await.refused("login_required");
        assert_eq!(refused.state, request.param("state"), "{reauth:?}");
        assert!(ada.is_signed_in().await, "the session that was there stays");
        op.upstream().behave();
        ada.authorize(&app).prompt("login").code_as("ada").await;
    }
}

/// §4.1: an upstream that states no `auth_time` satisfies `round_trip` and not `proven`.
#[tokio::test]
async fn an_upstream_without_auth_time_proves_nothing() {
    for (reauth, proves) in [(Reauth::RoundTrip, true), (Reauth::Proven, false)] {
        let op = without_auth_time(reauth).await;
        let app = op.client().await;
        let ada = op.browser();
        ada.sign_in_amid("simulated", "ada", &[]).await;
        let request = ada.authorize(&app).prompt("login");
        let asked_for = asked(&op, &request).await;
        assert_eq!(
            asked_for.query("prompt"),
            Some("select_account"),
            "the most that Google can be asked for"
        );
        assert_eq!(asked_for.query("max_age"), None);
        let request = ada.authorize(&app).prompt("login");
        let login = request.send().await.page("/login");
        let start = format!("simulated?request_id={}", param(&login, "request_id"));
        let visit = ada.sign_in_amid(&start, "ada", &[]).await;
        let outcome = request.read(visit).await;
        if proves {
            outcome.code();
        } else {
            outcome.refused("login_required");
        }
        assert!(ada.is_signed_in().await);
    }
}

async fn without_auth_time(reauth: Reauth) -> TestProvider {
    use riley_auth::clock::Clock;
    use riley_auth::dev::simulated_upstream::{Flavour, Options};
    let clock = Clock::held();
    let upstream = crate::common::provider::start_upstream(Options::of(Flavour::Google), &clock).await;
    TestProvider::beside(clock, upstream, |config| {
        config.oauth.reauth = reauth;
        let provider = config.oauth.providers.get_mut("simulated").unwrap();
        provider.preset = Some(Preset::Google);
        provider.scopes = None;
    })
    .await
}

/// §4.1: a sign-in that was demanded by nobody needs no proof.
#[tokio::test]
async fn a_login_that_nobody_demanded_needs_no_proof() {
    let op = without_auth_time(Reauth::Proven).await;
    let app = op.client().await;
    let ada = op.browser();
    let visit = ada.sign_in_amid("simulated", "ada", &[]).await;
    assert_eq!(visit.url.as_str(), format!("{PAGES}/home"));
    ada.authorize(&app).code().await;
}
