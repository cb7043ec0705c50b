use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::common::{Answer, Browser, TestProvider};

/// What may happen to an administrator while a request of theirs waits; `$1` is their id.
const FALLS: [(&str, &str); 4] = [
    ("demoted", "UPDATE users SET role = 'user' WHERE user_id = $1"),
    (
        "signed out",
        "WITH held AS (SELECT user_id FROM users WHERE user_id = $1 FOR NO KEY UPDATE)
         UPDATE sessions SET ended_at = now(), ended_reason = 'administrator'
         WHERE user_id IN (SELECT user_id FROM held) AND ended_at IS NULL",
    ),
    (
        "disabled",
        "UPDATE users SET disabled_at = now() WHERE user_id = $1",
    ),
    (
        "deleted",
        "UPDATE users SET deleted_at = now(), role = 'user', username = NULL, username_folded = NULL WHERE user_id = $1",
    ),
];

/// Everything that administrators can write to, ready to be written.
struct World {
    op: TestProvider,
    ada: String,
    client_id: String,
    webhook_id: String,
    /// An identity that was merged into ada's account.
    merged_link: Uuid,
}

impl World {
    async fn start() -> Self {
        let op = TestProvider::start().await;
        // Whoever falls is not the last one.
        let staying = op.administrator("staying").await;
        let ada = op.signed_in("ada").await.user_id().await;
        let merged_link: Uuid = sqlx::query_scalar(
            "INSERT INTO oauth_links (link_id, user_id, provider, issuer, subject, merged_at, created_at, last_login_at)
             SELECT gen_random_uuid(), user_id, 'google', 'https://accounts.google.com', '1', now(), now(), now()
             FROM users WHERE user_id = $1::text::uuid RETURNING link_id",
        )
        .bind(&ada)
        .fetch_one(op.db())
        .await
        .unwrap();
        let client_id = op.client().await.client_id().to_owned();
        let made =
            async |path: &str, body: Value| staying.send(Method::POST, path, &body).await.is(201).json();
        let webhook = made(
            "/admin/webhooks",
            json!({ "url": "https://hook.example/", "event_types": ["webhook.ping"] }),
        )
        .await;
        made("/admin/reserved-usernames", json!({ "username": "pope" })).await;
        let webhook_id = webhook["webhook_id"].as_str().unwrap().to_owned();
        Self {
            op,
            ada,
            client_id,
            webhook_id,
            merged_link,
        }
    }

    /// Every write: the operation's name in the document, and a request that would succeed. One after the other, they all do.
    fn writes(&self) -> Vec<(&'static str, Method, String, Option<Value>)> {
        let user = format!("/admin/users/{}", self.ada);
        let client = format!("/admin/clients/{}", self.client_id);
        let webhook = format!("/admin/webhooks/{}", self.webhook_id);
        let app = json!({ "name": "Notes", "redirect_uris": ["https://a.example/"] });
        let below = |path: &str, rest: &str| format!("{path}/{rest}");
        vec![
            (
                "disable_or_enable_user",
                Method::PATCH,
                user.clone(),
                Some(json!({ "disabled": true })),
            ),
            (
                "change_role",
                Method::PATCH,
                below(&user, "role"),
                Some(json!({ "role": "admin" })),
            ),
            (
                "revoke_user_sessions",
                Method::DELETE,
                below(&user, "sessions"),
                None,
            ),
            (
                "unmerge_link",
                Method::POST,
                below(&user, &format!("links/{}/unmerge", self.merged_link)),
                None,
            ),
            (
                "create_client",
                Method::POST,
                "/admin/clients".to_owned(),
                Some(app),
            ),
            (
                "change_client",
                Method::PATCH,
                client.clone(),
                Some(json!({ "name": "Other" })),
            ),
            (
                "rotate_client_secret",
                Method::POST,
                below(&client, "secret"),
                Some(json!({})),
            ),
            (
                "redeliver_logout",
                Method::POST,
                below(&client, "redeliver"),
                Some(json!({ "failed_since": "2020-01-01T00:00:00Z" })),
            ),
            (
                "create_webhook",
                Method::POST,
                "/admin/webhooks".to_owned(),
                Some(json!({ "url": "https://other.example/" })),
            ),
            (
                "change_webhook",
                Method::PATCH,
                webhook.clone(),
                Some(json!({ "disabled": true })),
            ),
            (
                "rotate_webhook_secret",
                Method::POST,
                below(&webhook, "secret"),
                Some(json!({})),
            ),
            (
                "redeliver",
                Method::POST,
                below(&webhook, "redeliver"),
                Some(json!({ "failed_since": "2020-01-01T00:00:00Z" })),
            ),
            ("ping_webhook", Method::POST, below(&webhook, "ping"), None),
            (
                "reserve_username",
                Method::POST,
                "/admin/reserved-usernames".to_owned(),
                Some(json!({ "username": "king" })),
            ),
            (
                "release_username",
                Method::DELETE,
                "/admin/reserved-usernames/pope".to_owned(),
                None,
            ),
            ("remove_webhook", Method::DELETE, webhook, None),
            ("delete_client", Method::DELETE, client, None),
            ("delete_user", Method::DELETE, user, None),
        ]
    }

    /// Every row of every table that a write of an administrator could change.
    async fn everything(&self) -> Vec<String> {
        let mut rows = Vec::new();
        for table in [
            "users",
            "oauth_links",
            "sessions",
            "grants",
            "oauth_clients",
            "webhooks",
            "deliveries",
            "events",
            "reserved_usernames",
            "audit_entries",
        ] {
            let sql = format!("SELECT t::text FROM {table} t ORDER BY 1");
            let found: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
                .fetch_all(self.op.db())
                .await
                .unwrap();
            rows.extend(found);
        }
        rows
    }

    async fn waits(&self) -> bool {
        sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM pg_stat_activity
                            WHERE datname = current_database() AND wait_event_type = 'Lock')",
        )
        .fetch_one(self.op.db())
        .await
        .unwrap()
    }
}

async fn send(root: &Browser, method: Method, path: &str, body: Option<&Value>) -> Answer {
    root.call(method, path, body).await
}

/// AD-1, SE-4: an administrator who is demoted, disabled, deleted or signed out after a request of theirs was let in and before it
/// wrote anything has nothing done: 403 or 401, whatever they asked for, and not a row has changed.
#[tokio::test(flavor = "multi_thread")]
async fn who_falls_while_their_request_waits_has_nothing_done() {
    let world = World::start().await;
    for (how, fall) in FALLS {
        for (name, method, path, body) in world.writes() {
            let root = world.op.administrator(&format!("root {how} {name}")).await;
            let root_id: Uuid = root.user_id().await.parse().unwrap();
            let mut falling = world.op.db().begin().await.unwrap();
            sqlx::query(fall)
                .bind(root_id)
                .execute(&mut *falling)
                .await
                .unwrap();
            let before = world.everything().await;
            let asked = send(&root, method, &path, body.as_ref());
            let fallen = async {
                while !world.waits().await {
                    tokio::task::yield_now().await;
                }
                falling.commit().await.unwrap();
                world.everything().await
            };
            let (answer, as_it_was) = tokio::join!(asked, fallen);
            if how == "signed out" {
                answer.refused_with(401, "unauthenticated");
            } else {
                answer.refused_with(403, "forbidden");
            }
            let after = world.everything().await;
            assert_eq!(after, as_it_was, "{name}, {how}");
            assert_ne!(
                before, as_it_was,
                "the fall itself shows: the look would find a change"
            );
        }
    }
}

/// The list above is whole: every operation of the administration that is no GET stands there, and each of them would have
/// been done for an administrator who stays one.
#[tokio::test]
async fn every_write_of_the_administration_is_among_them() {
    let world = World::start().await;
    let document = world.op.get("/openapi.json").await.is(200).json();
    let paths = document["paths"].as_object().unwrap();
    let documented: BTreeSet<&str> = paths
        .iter()
        .filter(|(path, _)| path.starts_with("/admin"))
        .flat_map(|(_, operations)| operations.as_object().unwrap())
        .filter(|(method, _)| ["post", "put", "patch", "delete"].contains(&method.as_str()))
        .map(|(_, operation)| operation["operationId"].as_str().unwrap())
        .collect();
    let listed: BTreeSet<&str> = world.writes().iter().map(|write| write.0).collect();
    assert_eq!(listed, documented);
    let root = world.op.administrator("root").await;
    for (name, method, path, body) in world.writes() {
        let answer = send(&root, method, &path, body.as_ref()).await;
        assert!(
            answer.status.is_success(),
            "{name}: {} {}",
            answer.status,
            answer.text
        );
    }
}
