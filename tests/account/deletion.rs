use reqwest::Method;
use riley_auth::audit::Actor;
use serde_json::{Value, json};
use time::Duration;

use super::{count, delete_account, events, events_of};
use crate::common::provider::PAGES;
use crate::common::{Browser, TestClient, TestProvider};

async fn make_admin(op: &TestProvider, browser: &Browser) {
    sqlx::query("UPDATE users SET role = 'admin' WHERE user_id = $1")
        .bind(browser.user_id().await.parse::<uuid::Uuid>().unwrap())
        .execute(op.db())
        .await
        .unwrap();
}

async fn telling_app(op: &TestProvider) -> TestClient {
    op.client_with(|client| client.backchannel_logout_uri = Some("https://app.test/logout".to_owned()))
        .await
}

/// AC-10, §4.7: every session and token is dead at once, offline ones too; cookies go; the same identity is somebody new.
#[tokio::test]
async fn a_deleted_account_opens_nothing_any_more() {
    let op = TestProvider::start().await;
    let other = op.second_instance().await;
    let app = op.client().await;
    let (here, there, alan) = (
        op.signed_in("ada").await,
        op.signed_in("ada").await,
        op.signed_in("alan").await,
    );
    let sub = here.user_id().await;
    let online = app.tokens_of(&here, "ada", "openid").await;
    let offline = app.tokens_of(&there, "ada", "openid offline_access").await;
    let under_way = here.authorize(&app).code().await;
    let stolen = here.copy();
    let answer = delete_account(&here).await;
    assert_eq!(
        answer.is(200).json()["redirect_to"],
        format!("{PAGES}/signed-out")
    );
    for cookie in ["refresh", "access", "browser", "setup"] {
        assert_eq!(here.cookie(cookie), None, "{cookie}");
    }
    for browser in [&there, &stolen] {
        assert!(!browser.is_signed_in().await);
        browser.renew().await.refused_with(401, "unauthenticated");
    }
    for instance in [&op, &other] {
        let app = app.at(instance);
        for tokens in [&online, &offline] {
            assert!(!app.is_active(&tokens.access_token).await && !app.is_active(tokens.refresh()).await);
            app.userinfo(&tokens.access_token).await.is(401);
            app.refresh(tokens.refresh()).await.refused("invalid_grant");
        }
        app.redeem(&under_way).await.refused("invalid_grant");
    }
    assert!(alan.is_signed_in().await);

    op.upstream().sign_everybody_out();
    let again = op.signed_in("ada").await;
    assert_ne!(again.user_id().await, sub);
    let name = again.me().await.json()["username"].clone();
    assert_ne!(name, "ada", "the name is held");
}

/// §6: the name of a deleted account is held like any other that was given up.
#[tokio::test]
async fn the_name_of_a_deleted_account_is_free_after_the_hold() {
    let op = TestProvider::start().await;
    delete_account(&op.signed_in("ada").await).await.is(200);
    let take = async |person: &str, status: u16| {
        let browser = op.signed_in(person).await;
        let body = json!({ "username": "Ada" });
        browser
            .call(Method::PATCH, "/auth/me/username", Some(&body))
            .await
            .is(status);
    };
    take("alan", 409).await;
    op.advance(Duration::days(90) - Duration::minutes(1));
    take("alan", 409).await;
    op.advance(Duration::minutes(1));
    take("alan", 200).await;
}

/// AC-10: which names are held a copy of the database does not tell, whatever names are tried: the hash is made under a secret of
/// the configuration. A secret that was replaced still tells it, and so do holds of before there was a key.
#[tokio::test]
async fn a_held_name_cannot_be_guessed_from_the_database() {
    let op = TestProvider::start().await;
    delete_account(&op.signed_in("ada").await).await.is(200);
    let guessed = "SELECT count(*) FROM held_username_hashes WHERE username_hash = sha256('ada')";
    assert_eq!(count(&op, "SELECT count(*) FROM held_username_hashes").await, 1);
    assert_eq!(count(&op, guessed).await, 0);
    sqlx::query("INSERT INTO held_username_hashes VALUES (sha256('grace'), now() + interval '1 year')")
        .execute(op.db())
        .await
        .unwrap();
    let rotated = op
        .reconfigured(|config| {
            let old = std::mem::replace(
                &mut config.database.secret_key,
                "another-secret-key-of-the-tests-0123".into(),
            );
            config.database.previous_secret_keys = vec![old];
        })
        .await;
    for instance in [&op, &rotated] {
        let alan = instance.signed_in("alan").await;
        for name in ["ada", "grace"] {
            let body = json!({ "username": name });
            let answer = alan.call(Method::PATCH, "/auth/me/username", Some(&body)).await;
            answer.refused_with(409, "username_taken");
        }
        // A name is derived from what is free.
        let newcomer = instance.signed_in("ada").await;
        assert_ne!(newcomer.me().await.json()["username"], "ada");
    }
}

/// AC-10, WH-13: apps that follow events and apps that are told of logouts hear of it; nothing that was told before names
/// the person any more (WH-11).
#[tokio::test]
async fn apps_are_told_and_what_they_were_told_before_names_nobody() {
    let op = TestProvider::start().await;
    let (app, late) = (telling_app(&op).await, telling_app(&op).await);
    let ada = op.signed_in("ada").await;
    let user_id = ada.user_id().await;
    app.tokens_of(&ada, "ada", "openid").await;
    // Its session has ended, and it still has offline access.
    let elsewhere = op.signed_in("ada").await;
    late.tokens_of(&elsewhere, "ada", "openid offline_access").await;
    elsewhere.call(Method::POST, "/auth/logout", None).await.is(200);
    sqlx::query("DELETE FROM deliveries")
        .execute(op.db())
        .await
        .unwrap();
    assert!(
        events(&op)
            .await
            .iter()
            .any(|(_, data)| data["username"] == "ada")
    );

    delete_account(&ada).await.is(200);
    let deleted = events_of(&op, "user.deleted").await;
    assert_eq!(deleted, [json!({ "user_id": user_id })]);
    let revoked = events_of(&op, "session.revoked").await;
    assert_eq!(revoked.last().unwrap()["reason"], "user_deleted");
    let mut told: Vec<String> =
        sqlx::query_scalar("SELECT client_id FROM deliveries WHERE kind = 'backchannel_logout'")
            .fetch_all(op.db())
            .await
            .unwrap();
    told.sort();
    let mut expected = [app.client_id().to_owned(), late.client_id().to_owned()];
    expected.sort();
    assert_eq!(told, expected);
    for (event_type, data) in events(&op).await {
        assert!(data.get("username").is_none(), "{event_type}: {data}");
    }
}

/// A browser that was left open cannot delete the account of whoever left it: the sign-in may be ten minutes old at most.
#[tokio::test]
async fn a_deletion_needs_a_recent_sign_in() {
    let op = TestProvider::start().await;
    let ada = op.signed_in("ada").await;
    op.advance(Duration::minutes(10) + Duration::seconds(1));
    delete_account(&ada)
        .await
        .refused_with(403, "reauthentication_required");
    assert!(ada.is_signed_in().await);
    let user_id = ada.user_id().await;
    ada.sign_in("ada").await;
    assert_eq!(ada.user_id().await, user_id);
    op.advance(Duration::minutes(10));
    delete_account(&ada).await.is(200);
}

/// SE-5: another site cannot delete anybody.
#[tokio::test]
async fn a_forged_deletion_is_refused() {
    let op = TestProvider::start().await;
    let ada = op.signed_in("ada").await;
    let cookie = format!("__Host-auth_refresh={}", ada.cookie("refresh").unwrap());
    for (method, path) in [
        (Method::DELETE, "/auth/me"),
        (Method::PATCH, "/auth/me"),
        (Method::PATCH, "/auth/me/username"),
        (Method::DELETE, "/auth/sessions"),
        (Method::DELETE, "/auth/sessions/x"),
        (Method::DELETE, "/auth/me/consents/x"),
    ] {
        let request = op
            .request(method.clone(), path)
            .header("cookie", &cookie)
            .header("sec-fetch-site", "cross-site");
        crate::common::Answer::of(request)
            .await
            .refused_with(403, "csrf_refused");
    }
    assert!(ada.is_signed_in().await);
}

/// AC-9: the last administrator stays, and a refused deletion has no side effect at all.
#[tokio::test]
async fn the_last_administrator_cannot_go() {
    let op = TestProvider::start().await;
    let app = telling_app(&op).await;
    let (ada, alan) = (op.signed_in("ada").await, op.signed_in("alan").await);
    make_admin(&op, &ada).await;
    make_admin(&op, &alan).await;
    // A disabled administrator cannot act, so they do not count.
    sqlx::query("UPDATE users SET disabled_at = now() WHERE username = 'alan'")
        .execute(op.db())
        .await
        .unwrap();
    let tokens = app.tokens_of(&ada, "ada", "openid").await;
    let before = (
        events(&op).await,
        count(&op, "SELECT count(*) FROM deliveries").await,
    );
    delete_account(&ada).await.refused_with(409, "last_admin");
    let after = (
        events(&op).await,
        count(&op, "SELECT count(*) FROM deliveries").await,
    );
    assert_eq!(before, after);
    assert!(ada.is_signed_in().await && app.is_active(&tokens.access_token).await);
    assert_eq!(count(&op, "SELECT count(*) FROM audit_entries").await, 0);

    sqlx::query("UPDATE users SET disabled_at = NULL")
        .execute(op.db())
        .await
        .unwrap();
    delete_account(&ada).await.is(200);
}

/// The row stays, empty, and the trail says who did it without saying who it was.
#[tokio::test]
async fn what_remains_is_an_empty_row_and_an_entry_that_names_nobody() {
    let op = TestProvider::start().await;
    let ada = op.signed_in("ada").await;
    let user_id = ada.user_id().await;
    delete_account(&ada).await.is(200);
    let rows: Vec<Value> = sqlx::query_scalar("SELECT to_jsonb(u) FROM users u")
        .fetch_all(op.db())
        .await
        .unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0]["user_id"], json!(user_id));
    for (column, value) in rows[0].as_object().unwrap() {
        let kept = [
            "user_id",
            "role",
            "created_at",
            "updated_at",
            "deleted_at",
            "upstream_claims",
        ];
        assert!(
            kept.contains(&column.as_str()) || value.is_null(),
            "{column}: {value}"
        );
    }
    assert_eq!(
        (&rows[0]["role"], &rows[0]["upstream_claims"]),
        (&json!("user"), &json!({}))
    );
    let entries: Vec<Value> = sqlx::query_scalar(
        "SELECT jsonb_build_array(action, actor, actor_personal, actor_salt, target_personal, target_salt) FROM audit_entries",
    )
    .fetch_all(op.db())
    .await
    .unwrap();
    assert_eq!(entries, [json!(["user_deleted", "user", null, null, null, null])]);
}

/// AD-7: an entry of somebody else who deletes an account keeps where that came from, and forgets whom.
#[tokio::test]
async fn a_deletion_by_somebody_else_keeps_what_the_trail_says_of_them() {
    let op = TestProvider::start().await;
    let (ada, alan) = (op.signed_in("ada").await, op.signed_in("alan").await);
    let id = async |browser: &Browser| browser.user_id().await.parse().unwrap();
    let actor = Actor::User {
        user_id: id(&alan).await,
        ip_address: Some("203.0.113.5".to_owned()),
    };
    let deletion = riley_auth::accounts::Deletion {
        user_id: id(&ada).await,
        actor: &actor,
        session_id: None,
        usernames: &op.state().config.usernames,
    };
    let mut tx = op.db().begin().await.unwrap();
    let state = op.state();
    riley_auth::accounts::delete(&mut tx, &deletion, &state.keyring, &state.rng, op.clock().now())
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let kept: (Option<String>, Option<String>) =
        sqlx::query_as("SELECT actor_personal, target_personal FROM audit_entries")
            .fetch_one(op.db())
            .await
            .unwrap();
    assert_eq!(kept, (Some(r#"{"ip_address":"203.0.113.5"}"#.to_owned()), None));
    assert!(!ada.is_signed_in().await && alan.is_signed_in().await);
}
