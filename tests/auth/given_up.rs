use reqwest::Method;
use riley_auth::config::oauth::AccountMergePolicy;
use riley_auth::dev::simulated_upstream::Flavour;
use serde_json::json;
use sqlx::{Connection, PgConnection};

use crate::common::linking::sign_in;
use crate::common::receiver::Receiver;
use crate::common::upstreams::with_upstreams;
use crate::common::webhooks::on_loopback;
use crate::common::{Directory, TestProvider};

/// Somebody else's transaction, which holds `held` and, once the other one waits for that, wants `wanted`, which the other
/// one holds. It never gives up itself, so PostgreSQL ends the other one (40P01).
async fn meet<T>(
    op: &TestProvider,
    held: &'static str,
    wanted: &'static str,
    other: impl Future<Output = T>,
) -> T {
    let options = op.db().connect_options();
    let mut connection = PgConnection::connect_with(&options).await.unwrap();
    sqlx::raw_sql(
        "SET deadlock_timeout = '1min'; SET lock_timeout = '1min'; SET statement_timeout = '1min'; BEGIN",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    sqlx::raw_sql(held).execute(&mut connection).await.unwrap();
    let meeting = async {
        let waits = "SELECT EXISTS (SELECT FROM pg_stat_activity
                                    WHERE datname = current_database() AND wait_event_type = 'Lock')";
        while !sqlx::query_scalar::<_, bool>(waits)
            .fetch_one(op.db())
            .await
            .unwrap()
        {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        let look = format!("{wanted} NOWAIT");
        let held = sqlx::raw_sql(sqlx::AssertSqlSafe(look)).execute(op.db()).await;
        assert!(
            held.is_err(),
            "the other one holds what is wanted, so that the two meet"
        );
        sqlx::raw_sql(wanted).execute(&mut connection).await.unwrap();
        sqlx::raw_sql("COMMIT").execute(&mut connection).await.unwrap();
    };
    let (done, ()) = tokio::join!(other, meeting);
    connection.close().await.unwrap();
    done
}

const ONE_USER: &str = "SELECT FROM users FOR UPDATE";
const LINKS: &str = "SELECT FROM oauth_links FOR UPDATE";
const SESSIONS: &str = "SELECT FROM sessions FOR UPDATE";
const COOKIES: &str = "SELECT FROM session_tokens FOR UPDATE";

/// DB-6: a sign-in that the database ended because it met another transaction is tried again as a whole.
#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_that_the_database_gave_up_is_tried_again() {
    let op = TestProvider::start().await;
    let account = op.signed_in("ada").await.user_id().await;
    let browser = op.browser();
    let callback = browser.up_to_callback("simulated", "ada").await;
    meet(&op, LINKS, ONE_USER, browser.open(callback.as_str())).await;
    assert_eq!(browser.user_id().await, account);
    let sessions: i64 = sqlx::query_scalar("SELECT count(*) FROM sessions")
        .fetch_one(op.db())
        .await
        .unwrap();
    assert_eq!(sessions, 2, "nothing of the first attempt is left");
}

/// DB-6: the same of a merge.
#[tokio::test(flavor = "multi_thread")]
async fn a_merge_that_the_database_gave_up_is_tried_again() {
    let list = [
        ("github", Flavour::GitHub, json!({})),
        ("google", Flavour::Google, json!({})),
    ];
    let (op, _google) = with_upstreams(&list, |config| {
        config.oauth.account_merge_policy = AccountMergePolicy::VerifiedEmail;
    })
    .await;
    let owner = op.browser();
    sign_in(&owner, "github", "ada").await;
    let account = owner.user_id().await;
    let browser = op.browser();
    let page = browser.start("google").await;
    let callback = browser.callback_url(&page, "ada", &[]).await;
    // The merge has the account and wants its sessions, which it ends.
    meet(&op, SESSIONS, ONE_USER, browser.open(callback.as_str())).await;
    assert_eq!(browser.user_id().await, account);
    assert_eq!(
        (op.events("account.merged").await.len(), op.trail_length().await),
        (1, 1)
    );
}

/// DB-6: the same of the renewal of a session, of a code, of a refresh, of a change of role and of a deletion.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_database_gave_up_is_tried_again() {
    let op = TestProvider::start().await;
    let ada = op.signed_in("ada").await;
    meet(&op, COOKIES, SESSIONS, ada.renew()).await.is(200);

    let app = op.client().await;
    let request = ada.authorize(&app).scope("openid offline_access");
    let granted = meet(&op, ONE_USER, SESSIONS, request.code()).await;
    let tokens = app.redeem(&granted).await.tokens();

    let token_rows = "SELECT FROM refresh_tokens FOR UPDATE";
    let grants = "SELECT FROM grants FOR UPDATE";
    let refreshed = meet(&op, token_rows, grants, app.refresh(tokens.refresh())).await;
    refreshed.tokens();

    let root = op.administrator("root").await;
    let user = format!("/admin/users/{}", ada.user_id().await);
    let role = json!({ "role": "admin" });
    let path = format!("{user}/role");
    let given = root.call(Method::PATCH, &path, Some(&role));
    let others = "SELECT FROM users WHERE username = 'ada' FOR UPDATE";
    let admins = "SELECT FROM users WHERE role = 'admin' FOR UPDATE";
    meet(&op, others, admins, given).await.is(200);
    assert_eq!(op.trail_length().await, 1);

    let deleted = ada.call(Method::DELETE, "/auth/me", None);
    let links = "SELECT FROM oauth_links WHERE user_id = (SELECT user_id FROM users WHERE username = 'ada') FOR UPDATE";
    meet(
        &op,
        links,
        "SELECT FROM users WHERE username = 'ada' FOR UPDATE",
        deleted,
    )
    .await
    .is(200);
    assert_eq!(op.events("user.deleted").await.len(), 1);
}

/// DB-6: the same of what an administrator does to an app, of what a command does, and of the end that a reused token puts to
/// its grant.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_database_gave_up_of_administration_and_revocation_is_tried_again() {
    let op = TestProvider::with(on_loopback).await;
    let receiver = Receiver::start().await;
    let app = op
        .client_with(|client| client.refresh_reuse_leeway_secs = Some(0))
        .await;
    op.webhook_of(&receiver, Some(app.client_id()), &["refresh_token.reused"])
        .await;
    let root = op.administrator("root").await;
    let (path, name) = (
        format!("/admin/clients/{}", app.client_id()),
        json!({ "name": "Notes" }),
    );
    let changed = root.call(Method::PATCH, &path, Some(&name));
    let clients = "SELECT FROM oauth_clients FOR UPDATE";
    meet(&op, clients, ONE_USER, changed).await.is(200);
    assert_eq!(op.events("client.updated").await.len(), 1);

    let ada = op.signed_in("ada").await;
    let spent = app.tokens_of(&ada, "ada", "openid offline_access").await;
    app.refresh(spent.refresh()).await.tokens();
    let grants = "SELECT FROM grants FOR UPDATE";
    let reused = app.refresh(spent.refresh());
    meet(&op, "SELECT FROM webhooks FOR UPDATE", grants, reused)
        .await
        .refused("invalid_grant");
    assert_eq!(op.events("refresh_token.reused").await.len(), 1);

    let directory = Directory::with_key(&op.configuration_text());
    let disabled = tokio::task::spawn_blocking(move || directory.run(&["disable", "ada"]));
    let others = "SELECT FROM users WHERE username = 'ada' FOR UPDATE";
    let admins = "SELECT FROM users WHERE role = 'admin' FOR UPDATE";
    let done = meet(&op, others, admins, disabled).await.unwrap();
    assert!(done.status.success(), "{done:?}");
    assert!(!ada.is_signed_in().await);
}
