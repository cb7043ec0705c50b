use reqwest::Method;
use serde_json::{Value, json};
use time::Duration;

use super::events_of;
use crate::common::{Answer, Browser, TestProvider, checks};

async fn rename(browser: &Browser, username: &str) -> Answer {
    let body = json!({ "username": username });
    browser
        .call(Method::PATCH, "/auth/me/username", Some(&body))
        .await
}

async fn name_of(browser: &Browser) -> Value {
    browser.me().await.is(200).json()["username"].clone()
}

fn name_in_access_cookie(browser: &Browser) -> Value {
    checks::peek(&browser.cookie("access").unwrap())["username"].clone()
}

/// §6: a rename re-issues the access cookie of the same session, and tells the old and the new name.
#[tokio::test]
async fn a_rename_shows_at_once_and_is_told_with_both_names() {
    let op = TestProvider::start().await;
    let app = op.client().await;
    let ada = op.signed_in("ada").await;
    let before = checks::peek(&ada.cookie("access").unwrap());
    assert_eq!(
        rename(&ada, "Countess").await.is(200).json()["username"],
        "Countess"
    );
    let after = checks::peek(&ada.cookie("access").unwrap());
    assert_eq!(
        (&after["sid"], &after["auth_time"]),
        (&before["sid"], &before["auth_time"])
    );
    assert_eq!(after["username"], "Countess");
    assert_eq!(name_of(&ada).await, "Countess");
    let tokens = app.tokens_of(&ada, "ada", "openid profile").await;
    let userinfo = app.userinfo(&tokens.access_token).await.json();
    assert_eq!(userinfo["preferred_username"], "Countess");
    let changed = events_of(&op, "user.username_changed").await;
    assert_eq!(changed.len(), 1);
    assert_eq!(
        (&changed[0]["old_username"], &changed[0]["new_username"]),
        (&json!("ada"), &json!("Countess"))
    );
}

/// AC-11: each rule has its own code, and a refusal changes nothing.
#[tokio::test]
async fn every_rule_of_names_is_applied() {
    let op = TestProvider::with(|config| config.usernames.reserved = vec!["Postmaster".to_owned()]).await;
    sqlx::query("INSERT INTO reserved_usernames (username_folded, created_at) VALUES ('root', now())")
        .execute(op.db())
        .await
        .unwrap();
    let (ada, _alan) = (op.signed_in("ada").await, op.signed_in("alan").await);
    for (name, status, code) in [
        ("", 400, "username_too_short"),
        ("al", 400, "username_too_short"),
        ("a234567890123456789012345", 400, "username_too_long"),
        ("1ada", 400, "username_invalid"),
        ("ada\n", 400, "username_invalid"),
        ("ada lovelace", 400, "username_invalid"),
        ("\u{430}da", 400, "username_invalid"),
        ("ad\u{200b}a", 400, "username_invalid"),
        ("ada\u{0}", 400, "invalid_request"),
        ("postMASTER", 400, "username_reserved"),
        ("ROOT", 409, "username_reserved"),
        ("alan", 409, "username_taken"),
        ("ALAN", 409, "username_taken"),
    ] {
        rename(&ada, name).await.refused_with(status, code);
    }
    let endless = rename(&ada, &"a".repeat(60_000)).await;
    endless.refused_with(400, "username_too_long");
    assert_eq!(name_of(&ada).await, "ada");
    assert_eq!(events_of(&op, "user.username_changed").await, Vec::<Value>::new());
}

/// §6: thirty days between changes; the refusal says from when on.
#[tokio::test]
async fn names_are_changed_once_in_a_while() {
    let op = TestProvider::start().await;
    let ada = op.signed_in("ada").await;
    rename(&ada, "countess").await.is(200);
    let me = ada.me().await.json();
    assert!(me["username_change_allowed_at"].is_string(), "{me}");
    op.advance(Duration::days(30) - Duration::minutes(1));
    let ada = op.signed_in("ada").await;
    rename(&ada, "lovelace")
        .await
        .refused_with(409, "username_changed_recently");
    assert_eq!(
        (name_of(&ada).await, name_in_access_cookie(&ada)),
        (json!("countess"), json!("countess"))
    );
    op.advance(Duration::minutes(1));
    rename(&ada, "lovelace").await.is(200);
    assert_eq!(name_of(&ada).await, "lovelace");
}

/// Another case of the same name: no wait before it and none after it, and nothing is held.
#[tokio::test]
async fn a_change_of_case_alone_is_always_possible() {
    let op = TestProvider::start().await;
    let ada = op.signed_in("ada").await;
    for name in ["ADA", "Ada", "Ada"] {
        rename(&ada, name).await.is(200);
        assert_eq!(
            (name_of(&ada).await, name_in_access_cookie(&ada)),
            (json!(name), json!(name))
        );
    }
    assert_eq!(super::count(&op, "SELECT count(*) FROM held_usernames").await, 0);
    assert_eq!(events_of(&op, "user.username_changed").await.len(), 2);
    rename(&ada, "countess").await.is(200);
    rename(&ada, "COUNTESS").await.is(200);
}

/// §6: an old name is held for ninety days, for its former owner alone.
#[tokio::test]
async fn an_old_name_is_held_and_only_its_former_owner_may_take_it_back() {
    let op = TestProvider::with(|config| config.usernames.days_between_changes = 0).await;
    let (ada, alan) = (op.signed_in("ada").await, op.signed_in("alan").await);
    rename(&ada, "countess").await.is(200);
    rename(&alan, "Ada").await.refused_with(409, "username_taken");
    rename(&ada, "ADA").await.is(200);
    rename(&alan, "countess")
        .await
        .refused_with(409, "username_taken");
    assert_eq!(
        super::count(&op, "SELECT count(*) FROM held_usernames").await,
        1,
        "what is in use again is not held"
    );
    rename(&ada, "lovelace").await.is(200);
    op.advance(Duration::days(90) - Duration::minutes(1));
    let (ada, alan) = (op.signed_in("ada").await, op.signed_in("alan").await);
    rename(&alan, "ada").await.refused_with(409, "username_taken");
    op.advance(Duration::minutes(1));
    rename(&alan, "ada").await.is(200);
    rename(&ada, "ada").await.refused_with(409, "username_taken");
}

#[tokio::test]
async fn a_deployer_can_forbid_changes_and_hold_nothing() {
    let op = TestProvider::with(|config| config.usernames.changes_allowed = false).await;
    let ada = op.signed_in("ada").await;
    rename(&ada, "countess")
        .await
        .refused_with(403, "username_changes_disabled");
    rename(&ada, "ADA")
        .await
        .refused_with(403, "username_changes_disabled");
    rename(&ada, "ada").await.is(200);
    assert_eq!(ada.me().await.json()["username_changes_allowed"], false);

    let op = TestProvider::with(|config| config.usernames.old_name_held_days = 0).await;
    let (ada, alan) = (op.signed_in("ada").await, op.signed_in("alan").await);
    rename(&ada, "countess").await.is(200);
    rename(&alan, "ada").await.is(200);
}

/// A disabled account has no session any more, and no name to change.
#[tokio::test]
async fn a_disabled_account_is_not_renamed() {
    let op = TestProvider::start().await;
    let ada = op.signed_in("ada").await;
    sqlx::query("UPDATE users SET disabled_at = now()")
        .execute(op.db())
        .await
        .unwrap();
    rename(&ada, "countess")
        .await
        .refused_with(401, "unauthenticated");
}
