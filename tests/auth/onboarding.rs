use reqwest::Method;
use riley_auth::config::Config;
use riley_auth::config::oauth::Onboarding;
use riley_auth::config::providers::Signup;
use serde_json::json;
use time::Duration;

use crate::common::provider::{ISSUER, PAGES};
use crate::common::{Browser, TestProvider};

fn prompt(config: &mut Config) {
    config.oauth.onboarding = Onboarding::Prompt;
    config.usernames.reserved = vec!["Root".to_owned()];
}

/// A newcomer before the page that asks for a name.
async fn newcomer(op: &TestProvider, person: &str) -> Browser {
    let browser = op.browser();
    let visit = browser.sign_in_amid("simulated", person, &[]).await;
    assert_eq!(
        visit.url.as_str(),
        format!("{PAGES}/welcome"),
        "nothing stands in the URL"
    );
    browser
}

async fn count(op: &TestProvider, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(op.db()).await.unwrap()
}

/// §6 `onboarding = "auto"`: a free name is derived, no page is needed.
#[tokio::test]
async fn a_newcomer_is_in_at_once_under_a_derived_name() {
    let op = TestProvider::start().await;
    let ada = op.signed_in("ada").await;
    let me = ada.me().await.is(200).json();
    assert_eq!(
        (me["username"].as_str(), me["role"].as_str()),
        (Some("ada"), Some("user"))
    );
    assert_eq!(me["display_name"], "Ada King Lovelace");
    assert!(me["picture"].as_str().unwrap().starts_with("https://"));
    ada.me().await.is_not_stored();

    let elsewhere = op.signed_in("ada").await;
    assert_eq!(
        elsewhere.user_id().await,
        ada.user_id().await,
        "the same account by the same identity"
    );
}

/// §6: usernames differ in more than case; somebody else of the same name gets another.
#[tokio::test]
async fn a_derived_name_that_is_taken_gets_a_number() {
    let op = TestProvider::start().await;
    op.signed_in("ada").await;
    sqlx::query("UPDATE users SET username = 'EMMY', username_folded = 'emmy'")
        .execute(op.db())
        .await
        .unwrap();
    let emmy = op.signed_in("emmy").await;
    assert_eq!(emmy.me().await.json()["username"], "emmy2");
}

/// §6 `onboarding = "prompt"`: nobody is signed in before the name is chosen; the suggestion is free.
#[tokio::test]
async fn a_newcomer_is_suggested_a_free_name_and_picks_their_own() {
    let op = TestProvider::with(prompt).await;
    let ada = newcomer(&op, "ada").await;
    assert!(!ada.is_signed_in().await);
    let known = ada.setup().await.is(200).json();
    assert_eq!(known["suggested_username"], "ada");
    assert_eq!(known["provider"]["name"], "simulated");
    assert_eq!(known["name"], "Ada King Lovelace");
    assert_eq!(known["email"], "ada@engine.example");
    assert_eq!(known["link_suggested"], false);
    assert_eq!(known["username_rules"]["min_length"], 3);
    ada.setup().await.is_not_stored();

    let done = ada.choose("Countess_1").await.is(200).json();
    assert_eq!(done["user"]["username"], "Countess_1");
    assert_eq!(done["redirect_to"], format!("{PAGES}/home"));
    assert_eq!(ada.me().await.json()["username"], "Countess_1");
    assert_eq!(ada.cookie("setup"), None, "the handle is used up");
    assert_eq!(count(&op, "SELECT count(*) FROM pending_identities").await, 0);
}

/// §6: what is suggested is to be had at this moment.
#[tokio::test]
async fn a_name_that_somebody_has_is_not_suggested() {
    let op = TestProvider::with(prompt).await;
    let alan = newcomer(&op, "alan").await;
    alan.choose("ADA").await.is(200);
    let ada = newcomer(&op, "ada").await;
    assert_eq!(ada.setup().await.json()["suggested_username"], "ada2");
}

/// AC-11, AC-12: a refusal names the rule and uses nothing up.
#[tokio::test]
async fn a_refused_name_names_its_rule_and_costs_nothing() {
    let op = TestProvider::with(prompt).await;
    let alan = newcomer(&op, "alan").await;
    alan.choose("alan").await.is(200);
    sqlx::query("INSERT INTO reserved_usernames VALUES ('support', now())")
        .execute(op.db())
        .await
        .unwrap();

    let ada = newcomer(&op, "ada").await;
    let endless = "a".repeat(25);
    for (name, status, code) in [
        ("alan", 409, "username_taken"),
        ("ALAN", 409, "username_taken"),
        ("root", 400, "username_reserved"),
        ("ROOT", 400, "username_reserved"),
        ("Support", 409, "username_reserved"),
        ("ad", 400, "username_too_short"),
        ("", 400, "username_too_short"),
        (endless.as_str(), 400, "username_too_long"),
        ("1ada", 400, "username_invalid"),
        ("ada lovelace", 400, "username_invalid"),
        ("ada\n", 400, "username_invalid"),
        ("adä", 400, "username_invalid"),
        ("\u{212a}ada", 400, "username_invalid"),
        ("ada\u{202e}", 400, "username_invalid"),
    ] {
        let refused = ada.choose(name).await;
        assert_eq!(
            (refused.status.as_u16(), refused.json()["error"].as_str()),
            (status, Some(code)),
            "{name:?}"
        );
        assert!(
            name.is_empty() || !refused.text.contains(name),
            "the input is not repeated"
        );
        refused.is_not_stored();
    }
    for body in [
        json!({ "username": "ada", "role": "admin" }),
        json!({ "username": "ada", "user_id": "00000000-0000-4000-8000-000000000000" }),
        json!({ "username": "ada", "email_verified": true }),
        json!({ "username": ["ada"] }),
        json!({ "display_name": "Ada" }),
        json!([]),
    ] {
        ada.call(Method::POST, "/auth/setup", Some(&body)).await.is(400);
    }
    assert_eq!(count(&op, "SELECT count(*) FROM users").await, 1);
    ada.choose("ada").await.is(200);
    assert_eq!(ada.me().await.json()["role"], "user");
}

/// AC-1: the handle is good for one account, in the browser that proved the identity.
#[tokio::test]
async fn a_setup_counts_once_and_in_its_own_browser() {
    let op = TestProvider::with(prompt).await;
    let ada = newcomer(&op, "ada").await;

    let thief = op.browser();
    thief.start("simulated").await;
    let handle = ada.cookie("setup").unwrap();
    let planted = format!("__Host-auth_setup={handle}; Secure; Path=/; HttpOnly; SameSite=Lax");
    thief.change_cookies(|jar| {
        let (issuer, now) = (ISSUER.parse().unwrap(), op.clock().now());
        jar.store(&issuer, &planted, crate::common::cookies::Context::SameSite, now);
    });
    assert_eq!(thief.cookie("setup"), Some(handle.clone()));
    thief.setup().await.is(404);
    assert_eq!(thief.choose("thief").await.is(404).json()["error"], "no_setup");
    op.browser().setup().await.is(404);

    let before = ada.copy();
    ada.choose("ada").await.is(200);
    before.choose("ada2").await.is(404);
    before.setup().await.is(404);
    assert_eq!(count(&op, "SELECT count(*) FROM users").await, 1);
}

/// AC-1: what waits for a name does not wait for ever.
#[tokio::test]
async fn a_setup_ends_after_half_an_hour() {
    let op = TestProvider::with(prompt).await;
    let ada = newcomer(&op, "ada").await;
    let copy = ada.copy();
    op.advance(Duration::minutes(29));
    ada.setup().await.is(200);
    op.advance(Duration::minutes(1));
    copy.choose("ada").await.is(404);
    assert_eq!(ada.cookie("setup"), None, "the browser forgets the handle, too");
}

/// §4.8: the app's request goes on after the name is chosen.
#[tokio::test]
async fn the_apps_request_goes_on_once_the_account_is_there() {
    let op = TestProvider::with(prompt).await;
    let app = op.client().await;
    let ada = op.browser();
    let request = ada.authorize(&app);
    let login = request.send().await.page("/login");
    let visit = ada.sign_in_at(&login, "ada").await;
    assert_eq!(visit.url.as_str(), format!("{PAGES}/welcome"));
    let done = ada.choose("ada").await.is(200).json();
    let next = done["redirect_to"].as_str().unwrap();
    assert!(
        next.starts_with(&format!("{ISSUER}/oauth/authorize/resume?request=")),
        "{next}"
    );
    let visit = ada.follow(&format!("{PAGES}/welcome"), next).await;
    let granted = request.read(visit).await.code();
    app.redeem(&granted).await.tokens();
}

/// §4.8: onboarding needed and no page for it is `interaction_required` at the app, and words for a person without one.
#[tokio::test]
async fn without_a_page_for_newcomers_the_app_hears_of_it() {
    let op = TestProvider::with(|config| {
        prompt(config);
        config.oauth.onboarding_url = None;
    })
    .await;
    let app = op.client().await;
    let ada = op.browser();
    let request = ada.authorize(&app);
    let login = request.send().await.page("/login");
    let visit = ada.sign_in_at(&login, "ada").await;
    let refused = request.read(visit).await.refused("interaction_required");
    assert_eq!(refused.state, request.param("state"));

    let visit = op.browser().sign_in_amid("simulated", "ada", &[]).await;
    assert_eq!(visit.status().unwrap(), 403);
    assert_eq!(count(&op, "SELECT count(*) FROM users").await, 0);
}

/// §6: who may join can have changed while the person was thinking; a refusal then uses nothing up.
#[tokio::test]
async fn a_door_that_closes_meanwhile_stays_closed() {
    let op = TestProvider::with(prompt).await;
    let ada = newcomer(&op, "ada").await;
    let closed = op
        .reconfigured(|config| config.oauth.providers.get_mut("simulated").unwrap().signup = Signup::Closed)
        .await;
    assert_eq!(
        ada.at(&closed).choose("ada").await.is(403).json()["error"],
        "signup_closed"
    );
    assert_eq!(count(&op, "SELECT count(*) FROM users").await, 0);
    ada.choose("ada").await.is(200);
}
