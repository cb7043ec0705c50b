use reqwest::Method;
use riley_auth::dev::simulated_upstream::Flavour;
use serde_json::{Value, json};

use super::{events, events_of};
use crate::common::upstreams::with_upstreams;
use crate::common::{Answer, Browser, TestProvider};

async fn change(browser: &Browser, patch: Value) -> Answer {
    browser.call(Method::PATCH, "/auth/me", Some(&patch)).await
}

/// `GET /auth/me`: the account with its primary address, and nothing that a cache may keep.
#[tokio::test]
async fn a_person_sees_their_account() {
    let op = TestProvider::start().await;
    let ada = op.signed_in("ada").await;
    let answer = ada.me().await;
    answer.is_not_stored();
    let me = answer.is(200).json();
    assert_eq!(
        (&me["username"], &me["display_name"], &me["role"]),
        (&json!("ada"), &json!("Ada King Lovelace"), &json!("user"))
    );
    assert_eq!(
        (&me["email"], &me["email_verified"], &me["primary_link_id"]),
        (&json!("ada@engine.example"), &json!(true), &Value::Null)
    );
    assert_eq!(
        (&me["username_changes_allowed"], &me["username_change_allowed_at"]),
        (&json!(true), &Value::Null)
    );
    op.browser().me().await.refused_with(401, "unauthenticated");
}

/// The display name is the owner's: trimmed, removed by null, kept by a later login, told as `user.updated`.
#[tokio::test]
async fn a_person_chooses_how_they_are_shown() {
    let op = TestProvider::start().await;
    let ada = op.signed_in("ada").await;
    let me = change(&ada, json!({ "display_name": "  Countess " })).await;
    assert_eq!(me.is(200).json()["display_name"], "Countess");
    ada.sign_in("ada").await;
    assert_eq!(ada.me().await.json()["display_name"], "Countess");
    let updated = events_of(&op, "user.updated").await;
    assert_eq!(updated.len(), 1, "{updated:?}");
    assert_eq!(updated[0]["changed"], json!(["display_name"]));
    let me = change(&ada, json!({ "display_name": null })).await;
    assert_eq!(me.is(200).json()["display_name"], Value::Null);
    assert_eq!(events_of(&op, "user.updated").await.len(), 2);
}

/// What is the same as before is no change, and nobody hears of it.
#[tokio::test]
async fn what_changes_nothing_is_told_to_nobody() {
    let op = TestProvider::start().await;
    let ada = op.signed_in("ada").await;
    let before = (ada.me().await.json(), events(&op).await);
    for patch in [
        json!({}),
        json!({ "display_name": "Ada King Lovelace" }),
        json!({ "primary_link_id": null }),
    ] {
        change(&ada, patch).await.is(200);
    }
    assert_eq!((ada.me().await.json(), events(&op).await), before);
}

#[tokio::test]
async fn a_display_name_cannot_be_endless_or_turn_the_text_beside_it() {
    let op = TestProvider::start().await;
    let ada = op.signed_in("ada").await;
    change(&ada, json!({ "display_name": "é".repeat(200) }))
        .await
        .is(200);
    let kept = ada.me().await.json();
    let long = change(&ada, json!({ "display_name": "é".repeat(201) })).await;
    long.refused_with(400, "display_name_too_long");
    for name in [
        "a\u{202e}b",
        "a\u{2066}b",
        "two\nlines",
        "nul\u{0}",
        "a\u{200f}b",
        "\u{1b}[31m",
    ] {
        let refused = change(&ada, json!({ "display_name": name })).await;
        // NUL is refused before any rule: PostgreSQL holds none.
        let code = if name.contains('\0') {
            "invalid_request"
        } else {
            "display_name_invalid"
        };
        refused.refused_with(400, code);
    }
    assert_eq!(ada.me().await.json(), kept);
}

/// §4.6: the primary address is the one its owner chose; apps are told that one.
#[tokio::test]
async fn a_person_chooses_their_primary_address() {
    let (op, _google) = with_upstreams(
        &[
            ("github", Flavour::GitHub, json!({})),
            ("google", Flavour::Google, json!({})),
        ],
        |config| {
            config.oauth.account_merge_policy = riley_auth::config::oauth::AccountMergePolicy::VerifiedEmail;
        },
    )
    .await;
    let ada = op.browser();
    ada.sign_in_amid("github", "ada", &[]).await;
    ada.sign_in_amid("google", "ada", &[]).await;
    sqlx::query("UPDATE oauth_links SET email = 'other@example.org' WHERE provider = 'google'")
        .execute(op.db())
        .await
        .unwrap();
    let app = op.client().await;
    let emails = ada.call(Method::GET, "/auth/me/emails", None).await;
    emails.is_not_stored();
    let emails = emails.is(200).json()["emails"].clone();
    let listed = |index: usize| {
        (
            emails[index]["provider"].clone(),
            emails[index]["primary"].clone(),
        )
    };
    assert_eq!(
        listed(0),
        (json!("github"), json!(true)),
        "the oldest verified one"
    );
    assert_eq!(listed(1), (json!("google"), json!(false)));

    let google = emails[1]["link_id"].clone();
    let me = change(&ada, json!({ "primary_link_id": google }))
        .await
        .is(200)
        .json();
    assert_eq!(
        (&me["email"], &me["primary_link_id"]),
        (&json!("other@example.org"), &google)
    );
    let granted = ada.authorize(&app).scope("openid email").code().await;
    let tokens = app.redeem(&granted).await.tokens();
    let userinfo = app.userinfo(&tokens.access_token).await.json();
    assert_eq!(userinfo["email"], "other@example.org");
    assert_eq!(
        events_of(&op, "user.updated").await.last().unwrap()["changed"],
        json!(["email"])
    );

    let me = change(&ada, json!({ "primary_link_id": null }))
        .await
        .is(200)
        .json();
    assert_ne!(me["email"], "other@example.org");
}

/// Somebody else's link and none at all are the same: refused, nothing changed.
#[tokio::test]
async fn nobody_chooses_an_address_of_somebody_else() {
    let op = TestProvider::start().await;
    let (ada, alan) = (op.signed_in("ada").await, op.signed_in("alan").await);
    let emails = alan.call(Method::GET, "/auth/me/emails", None).await.json();
    let before = ada.me().await.json();
    let others = change(&ada, json!({ "primary_link_id": emails["emails"][0]["link_id"] })).await;
    let nobodys = change(&ada, json!({ "primary_link_id": uuid::Uuid::new_v4() })).await;
    others.refused_with(400, "unknown_link");
    assert_eq!((others.status, &others.text), (nobodys.status, &nobodys.text));
    assert_eq!(ada.me().await.json(), before);
}

/// A login that brings something new tells of it; one that does not, does not.
#[tokio::test]
async fn a_login_that_refreshes_the_profile_tells_what_changed() {
    let op = TestProvider::start().await;
    let ada = op.signed_in("ada").await;
    ada.sign_in("ada").await;
    assert_eq!(events_of(&op, "user.updated").await, Vec::<Value>::new());
    for change in [
        "UPDATE users SET picture = 'https://old.example/p.png', upstream_claims = '{}', display_name = NULL",
        "UPDATE oauth_links SET email = 'old@example.org'",
    ] {
        sqlx::query(change).execute(op.db()).await.unwrap();
    }
    op.upstream().sign_everybody_out();
    op.signed_in("ada").await;
    let updated = events_of(&op, "user.updated").await;
    assert_eq!(updated.len(), 1);
    let changed = updated[0]["changed"].as_array().unwrap();
    for member in ["display_name", "email", "claims"] {
        assert!(changed.contains(&json!(member)), "{member}: {changed:?}");
    }
}
