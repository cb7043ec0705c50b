use reqwest::Method;
use riley_auth::db::Transaction;
use serde_json::json;
use uuid::Uuid;

use super::writes::World;
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

async fn waits(op: &TestProvider) -> bool {
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM pg_stat_activity
                        WHERE datname = current_database() AND wait_event_type = 'Lock')",
    )
    .fetch_one(op.db())
    .await
    .unwrap()
}

/// Lets what is `asked` begin, and commits `falling` once it waits. The answer; not a row has changed beyond what fell.
async fn once_it_waits(
    world: &World,
    falling: Transaction,
    asked: impl Future<Output = Answer>,
    what: &str,
) -> Answer {
    let before = world.everything().await;
    let fallen = async {
        while !waits(&world.op).await {
            tokio::task::yield_now().await;
        }
        falling.commit().await.unwrap();
        world.everything().await
    };
    let (answer, as_it_was) = tokio::join!(asked, fallen);
    assert_eq!(world.everything().await, as_it_was, "{what}");
    assert_ne!(
        before, as_it_was,
        "the fall itself shows: the look would find a change"
    );
    answer
}

/// What befalls `root`, begun.
async fn falling(world: &World, root: &Browser, fall: &'static str) -> Transaction {
    let root_id: Uuid = root.user_id().await.parse().unwrap();
    let mut falling = world.op.db().begin().await.unwrap();
    sqlx::query(fall)
        .bind(root_id)
        .execute(&mut *falling)
        .await
        .unwrap();
    falling
}

fn is_refused(how: &str, answer: &Answer) {
    if how == "signed out" {
        answer.refused_with(401, "unauthenticated");
    } else {
        answer.refused_with(403, "forbidden");
    }
}

/// AD-1, SE-4: an administrator who is demoted, disabled, deleted or signed out after a request of theirs was let in and before it
/// wrote anything has nothing done: 403 or 401, whatever they asked for, and not a row has changed.
#[tokio::test(flavor = "multi_thread")]
async fn who_falls_while_their_request_waits_has_nothing_done() {
    let world = World::start().await;
    for (how, fall) in FALLS {
        for write in world.writes() {
            let name = write.action;
            let root = world.op.administrator(&format!("root {how} {name}")).await;
            let falling = falling(&world, &root, fall).await;
            let answer = once_it_waits(&world, falling, write.send(&root), &format!("{name}, {how}")).await;
            is_refused(how, &answer);
        }
    }
}

/// The same of what they do to their own account: that it ends their session is no reason to believe one that ended before.
#[tokio::test(flavor = "multi_thread")]
async fn who_falls_has_nothing_done_to_their_own_account_either() {
    let world = World::start().await;
    let writes = [
        (Method::DELETE, "", None),
        (Method::DELETE, "/sessions", None),
        (Method::PATCH, "", Some(json!({ "disabled": true }))),
        (Method::PATCH, "/role", Some(json!({ "role": "user" }))),
    ];
    for (how, fall) in FALLS {
        for (number, (method, rest, body)) in writes.iter().enumerate() {
            let root = world.op.administrator(&format!("own {how} {number}")).await;
            let path = format!("/admin/users/{}{rest}", root.user_id().await);
            let falling = falling(&world, &root, fall).await;
            let asked = root.call(method.clone(), &path, body.as_ref());
            let what = format!("{method} {path}, {how}");
            let answer = once_it_waits(&world, falling, asked, &what).await;
            is_refused(how, &answer);
        }
    }
}

/// And who is signed out only while what they write to is waited for.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_signed_out_while_what_they_write_to_is_waited_for_has_nothing_done() {
    let world = World::start().await;
    let held = [
        ("change_client", "SELECT client_id FROM oauth_clients FOR UPDATE"),
        ("delete_client", "SELECT client_id FROM oauth_clients FOR UPDATE"),
        ("change_webhook", "SELECT webhook_id FROM webhooks FOR UPDATE"),
        ("remove_webhook", "SELECT webhook_id FROM webhooks FOR UPDATE"),
    ];
    for (operation, hold) in held {
        let writes = world.writes();
        let write = writes.iter().find(|write| write.operation == operation).unwrap();
        let root = world.op.administrator(&format!("root {operation}")).await;
        let root_id: Uuid = root.user_id().await.parse().unwrap();
        let mut holding = world.op.db().begin().await.unwrap();
        sqlx::query(hold).execute(&mut *holding).await.unwrap();
        sqlx::query("UPDATE sessions SET ended_at = now(), ended_reason = 'logout' WHERE user_id = $1")
            .bind(root_id)
            .execute(&mut *holding)
            .await
            .unwrap();
        let answer = once_it_waits(&world, holding, write.send(&root), operation).await;
        answer.refused_with(401, "unauthenticated");
    }
}

/// A merge is undone for the account that the path names: if the identity is another's by then, it is as if it were not there.
#[tokio::test(flavor = "multi_thread")]
async fn an_identity_that_changes_hands_meanwhile_stays_where_it_is() {
    let world = World::start().await;
    let writes = world.writes();
    let unmerge = writes
        .iter()
        .find(|write| write.operation == "unmerge_link")
        .unwrap();
    let root = world.op.administrator("root").await;
    let alan: Uuid = world.op.signed_in("alan").await.user_id().await.parse().unwrap();
    let mut moving = world.op.db().begin().await.unwrap();
    sqlx::query("SELECT user_id FROM users WHERE role = 'admin' FOR NO KEY UPDATE")
        .execute(&mut *moving)
        .await
        .unwrap();
    sqlx::query("UPDATE oauth_links SET user_id = $1 WHERE merged_at IS NOT NULL")
        .bind(alan)
        .execute(&mut *moving)
        .await
        .unwrap();
    let answer = once_it_waits(&world, moving, unmerge.send(&root), "moved").await;
    answer.refused_with(404, "not_found");
}
