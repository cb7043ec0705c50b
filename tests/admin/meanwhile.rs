use uuid::Uuid;

use super::writes::World;
use crate::common::TestProvider;

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

/// AD-1, SE-4: an administrator who is demoted, disabled, deleted or signed out after a request of theirs was let in and before it
/// wrote anything has nothing done: 403 or 401, whatever they asked for, and not a row has changed.
#[tokio::test(flavor = "multi_thread")]
async fn who_falls_while_their_request_waits_has_nothing_done() {
    let world = World::start().await;
    for (how, fall) in FALLS {
        for write in world.writes() {
            let name = write.action;
            let root = world.op.administrator(&format!("root {how} {name}")).await;
            let root_id: Uuid = root.user_id().await.parse().unwrap();
            let mut falling = world.op.db().begin().await.unwrap();
            sqlx::query(fall)
                .bind(root_id)
                .execute(&mut *falling)
                .await
                .unwrap();
            let before = world.everything().await;
            let asked = write.send(&root);
            let fallen = async {
                while !waits(&world.op).await {
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
