use std::collections::BTreeSet;

use reqwest::Method;
use riley_auth::dev::simulated_upstream::{Flavour, SimulatedUpstream};
use serde_json::{Value, json};
use uuid::Uuid;

use super::delete_account;
use crate::common::linking::{link, proposal, sign_in, wait_for_confirmation};
use crate::common::upstreams::with_upstreams;
use crate::common::{Browser, TestClient, TestProvider};

/// What may happen to somebody while a request of theirs waits for whoever has their account; `$1` is their id.
const FALLS: [(&str, &str); 3] = [
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
        "UPDATE users SET deleted_at = now(), username = NULL, username_folded = NULL WHERE user_id = $1",
    ),
];

/// An operation's name in the document, and a request that would succeed.
struct Write {
    name: &'static str,
    method: Method,
    path: String,
    body: Option<Value>,
}

/// Three providers, and an app that people let in.
struct World {
    op: TestProvider,
    app: TestClient,
    _others: Vec<SimulatedUpstream>,
}

/// Somebody who has something of everything that can be changed: a second identity, one that waits for their confirmation, an
/// app that they let in, another session.
struct Member {
    browser: Browser,
    user_id: Uuid,
    app: String,
    other_session: String,
    confirmation_id: String,
}

impl World {
    async fn start() -> Self {
        let list = [
            ("github", Flavour::GitHub, json!({})),
            ("google", Flavour::Google, json!({})),
            ("gitlab", Flavour::GitLab, json!({})),
        ];
        let (op, others) = with_upstreams(&list, |_| ()).await;
        Self {
            app: op.asking_client().await,
            op,
            _others: others,
        }
    }

    async fn member(&self, person: &str) -> Member {
        let signed_in = async || {
            let browser = self.op.browser();
            sign_in(&browser, "github", person).await;
            browser
        };
        signed_in().await;
        let browser = signed_in().await;
        link(&browser, "google", &format!("{person} at google")).await;
        self.app.tokens_of(&browser, person, "openid").await;
        wait_for_confirmation(&browser, "gitlab", &format!("{person} at gitlab")).await;
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let sessions = browser.read("/auth/sessions").await;
        let other = sessions["sessions"]
            .as_array()
            .unwrap()
            .iter()
            .find(|own| own["current"] == false);
        Member {
            user_id: browser.user_id().await.parse().unwrap(),
            app: self.app.client_id().to_owned(),
            other_session: text(&other.unwrap()["session_id"]),
            confirmation_id: text(&proposal(&browser).await.is(200).json()["confirmation_id"]),
            browser,
        }
    }

    /// Every row of every table that a write of a person could change.
    async fn everything(&self) -> Vec<String> {
        let mut rows = Vec::new();
        for table in [
            "users",
            "sessions",
            "oauth_links",
            "pending_identities",
            "consents",
            "grants",
            "held_usernames",
            "held_username_hashes",
            "deliveries",
            "events",
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
}

impl Member {
    fn writes(&self) -> Vec<Write> {
        let write = |name, method, path: &str, body| Write {
            name,
            method,
            path: path.to_owned(),
            body,
        };
        let below = |path: &str, rest: &str| format!("{path}/{rest}");
        let app = below("/auth/me/consents", &self.app);
        let session = below("/auth/sessions", &self.other_session);
        vec![
            write(
                "change_account",
                Method::PATCH,
                "/auth/me",
                Some(json!({ "display_name": "Another" })),
            ),
            write(
                "rename_account",
                Method::PATCH,
                "/auth/me/username",
                Some(json!({ "username": format!("n{}", &self.user_id.simple().to_string()[..12]) })),
            ),
            write(
                "confirm_link",
                Method::POST,
                "/auth/link/confirm",
                Some(json!({ "confirmation_id": self.confirmation_id })),
            ),
            write("unlink", Method::DELETE, "/auth/link/google", None),
            write("withdraw_consent", Method::DELETE, &app, None),
            write("sign_out_session", Method::DELETE, &session, None),
            write("end_other_sessions", Method::DELETE, "/auth/sessions", None),
            write("sign_out_everywhere", Method::POST, "/auth/logout-all", None),
            write("delete_account", Method::DELETE, "/auth/me", None),
        ]
    }
}

/// Whether anybody waits for a lock of somebody else's.
pub(crate) async fn waits(op: &TestProvider) -> bool {
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM pg_stat_activity
                        WHERE datname = current_database() AND wait_event_type = 'Lock')",
    )
    .fetch_one(op.db())
    .await
    .unwrap()
}

/// SE-4: somebody who is signed out, disabled or deleted after a request of theirs was let in and before it wrote anything has
/// nothing done: 401, whatever they asked for, and not a row has changed. So a stranger who is put out of an account takes
/// nothing of it along.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_put_out_while_their_request_waits_has_nothing_done() {
    let world = World::start().await;
    for (how, fall) in FALLS {
        let names: Vec<&str> = world
            .member(how)
            .await
            .writes()
            .iter()
            .map(|write| write.name)
            .collect();
        for (at, name) in names.into_iter().enumerate() {
            let member = world.member(&format!("{how} {name}")).await;
            let Write {
                method, path, body, ..
            } = member.writes().swap_remove(at);
            let mut falling = world.op.db().begin().await.unwrap();
            sqlx::query(fall)
                .bind(member.user_id)
                .execute(&mut *falling)
                .await
                .unwrap();
            let before = world.everything().await;
            let asked = member.browser.call(method, &path, body.as_ref());
            let fallen = async {
                while !waits(&world.op).await {
                    tokio::task::yield_now().await;
                }
                falling.commit().await.unwrap();
                world.everything().await
            };
            let (answer, as_it_was) = tokio::join!(asked, fallen);
            answer.refused_with(401, "unauthenticated");
            let after = world.everything().await;
            assert_eq!(after, as_it_was, "{name}, {how}");
            assert_ne!(
                before, as_it_was,
                "the fall itself shows: the look would find a change"
            );
        }
    }
}

/// The list above is whole: every operation on an account that is no GET stands there, but for the beginning of a link, which
/// changes nothing of the account and leads nowhere without the session; and each of them would have been done.
#[tokio::test]
async fn every_write_to_an_account_is_among_them() {
    let world = World::start().await;
    let document = world.op.get("/openapi.json").await.is(200).json();
    let paths = document["paths"].as_object().unwrap();
    let documented: BTreeSet<&str> = paths
        .values()
        .flat_map(|operations| operations.as_object().unwrap())
        .filter(|(method, _)| ["post", "put", "patch", "delete"].contains(&method.as_str()))
        .filter(|(_, operation)| operation["tags"] == json!(["account"]))
        .map(|(_, operation)| operation["operationId"].as_str().unwrap())
        .chain(["sign_out_everywhere"])
        .filter(|name| *name != "start_link")
        .collect();
    let writes = world.member("somebody").await.writes();
    assert_eq!(
        writes.iter().map(|write| write.name).collect::<BTreeSet<_>>(),
        documented
    );
    for (at, Write { name, .. }) in writes.iter().enumerate() {
        let member = world.member(name).await;
        let Write {
            method, path, body, ..
        } = member.writes().swap_remove(at);
        let answer = member.browser.call(method, &path, body.as_ref()).await;
        assert!(
            answer.status.is_success(),
            "{name}: {} {}",
            answer.status,
            answer.text
        );
    }
}

/// AC-9, DB-7: a deletion may take long. Meanwhile administrators sign in and work, and others delete their accounts, whoever
/// asked for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_that_takes_long_keeps_nobody_else_waiting() {
    let op = TestProvider::start().await;
    let root = op.administrator("root").await;
    let other = op.administrator("other").await;
    let app = op.client().await;
    for by_root in [false, true] {
        let ada = op.signed_in(&format!("ada {by_root}")).await;
        let alan = op.signed_in(&format!("alan {by_root}")).await;
        let user_id: Uuid = ada.user_id().await.parse().unwrap();
        // What a deletion comes to at its end.
        let mut slow = op.db().begin().await.unwrap();
        sqlx::query("SELECT FROM oauth_links WHERE user_id = $1 FOR UPDATE")
            .bind(user_id)
            .execute(&mut *slow)
            .await
            .unwrap();
        let deletion = async {
            if by_root {
                root.remove(&format!("/admin/users/{user_id}")).await
            } else {
                delete_account(&ada).await
            }
        };
        let meanwhile = async {
            while !waits(&op).await {
                tokio::task::yield_now().await;
            }
            let again = op.signed_in("root").await;
            let client = format!("/admin/clients/{}", app.client_id());
            for administrator in [&again, &other] {
                let change = json!({ "name": format!("Renamed by {by_root}") });
                administrator.send(Method::PATCH, &client, &change).await.is(200);
            }
            let disabled = format!("/admin/users/{}", alan.user_id().await);
            for change in [json!({ "disabled": true }), json!({ "disabled": false })] {
                other.send(Method::PATCH, &disabled, &change).await.is(200);
            }
            let alan = op.signed_in(&format!("alan {by_root}")).await;
            delete_account(&alan).await.is(200);
            assert!(waits(&op).await, "the long one was still going on");
            slow.rollback().await.unwrap();
        };
        let (deleted, ()) = tokio::join!(deletion, meanwhile);
        deleted.is(if by_root { 204 } else { 200 });
    }
}
