use std::sync::Arc;

use reqwest::Method;
use serde_json::json;

use crate::common::races::{ROUNDS, at_once};
use crate::common::{Answer, Browser, TestProvider};

async fn administrators(op: &TestProvider) -> i64 {
    sqlx::query_scalar(
        "SELECT count(*) FROM users WHERE role = 'admin' AND disabled_at IS NULL AND deleted_at IS NULL",
    )
    .fetch_one(op.db())
    .await
    .unwrap()
}

/// Makes everybody who is live an enabled administrator again.
async fn reinstate(op: &TestProvider) {
    sqlx::query("UPDATE users SET role = 'admin', disabled_at = NULL WHERE deleted_at IS NULL")
        .execute(op.db())
        .await
        .unwrap();
}

fn demote(by: &Arc<Browser>, user_id: &str) -> impl Future<Output = Answer> + Send + 'static {
    let (by, path) = (Arc::clone(by), format!("/admin/users/{user_id}/role"));
    async move { by.send(Method::PATCH, &path, &json!({ "role": "user" })).await }
}

fn disable(by: &Arc<Browser>, user_id: &str) -> impl Future<Output = Answer> + Send + 'static {
    let (by, path) = (Arc::clone(by), format!("/admin/users/{user_id}"));
    async move { by.send(Method::PATCH, &path, &json!({ "disabled": true })).await }
}

fn delete(by: &Arc<Browser>, user_id: &str) -> impl Future<Output = Answer> + Send + 'static {
    let (by, path) = (Arc::clone(by), format!("/admin/users/{user_id}"));
    async move { by.remove(&path).await }
}

/// AC-9: of two administrators who demote each other at once, one stays.
#[tokio::test(flavor = "multi_thread")]
async fn two_administrators_who_demote_each_other_leave_one() {
    let op = TestProvider::start().await;
    let one = Arc::new(op.administrator("one").await);
    let other = Arc::new(op.administrator("other").await);
    let (one_id, other_id) = (one.user_id().await, other.user_id().await);
    for _ in 0..ROUNDS {
        let answers = <[Answer; 2]>::from(at_once(demote(&one, &other_id), demote(&other, &one_id)).await);
        let mut statuses = answers.map(|answer| answer.status.as_u16());
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 403]);
        assert_eq!(administrators(&op).await, 1);
        reinstate(&op).await;
    }
}

/// AC-9: of two who demote themselves at once, one stays.
#[tokio::test(flavor = "multi_thread")]
async fn two_administrators_who_step_down_at_once_leave_one() {
    let op = TestProvider::start().await;
    let one = Arc::new(op.administrator("one").await);
    let other = Arc::new(op.administrator("other").await);
    let (one_id, other_id) = (one.user_id().await, other.user_id().await);
    for _ in 0..ROUNDS {
        let answers = <[Answer; 2]>::from(at_once(demote(&one, &one_id), demote(&other, &other_id)).await);
        let mut statuses = answers.map(|answer| answer.status.as_u16());
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 409]);
        assert_eq!(administrators(&op).await, 1);
        reinstate(&op).await;
    }
}

/// AC-9: one is deleted, the other demoted or disabled at the same moment, by each other: one stays.
#[tokio::test(flavor = "multi_thread")]
async fn deleting_and_demoting_at_once_leaves_one() {
    let op = TestProvider::with(|config| config.usernames.old_name_held_days = 0).await;
    let one = Arc::new(op.administrator("one").await);
    let one_id = one.user_id().await;
    for round in 0..ROUNDS {
        let other = Arc::new(op.administrator(&format!("other-{round}")).await);
        let other_id = other.user_id().await;
        let answers = <[Answer; 2]>::from(if round % 2 == 0 {
            at_once(delete(&one, &other_id), demote(&other, &one_id)).await
        } else {
            at_once(delete(&one, &other_id), demote(&one, &one_id)).await
        });
        let done = answers.iter().filter(|answer| answer.status.is_success()).count();
        assert_eq!(done, 1, "{answers:?}");
        assert_eq!(administrators(&op).await, 1);
        sqlx::query("UPDATE users SET role = 'user' WHERE user_id <> $1::text::uuid")
            .bind(&one_id)
            .execute(op.db())
            .await
            .unwrap();
        sqlx::query("UPDATE users SET role = 'admin' WHERE user_id = $1::text::uuid")
            .bind(&one_id)
            .execute(op.db())
            .await
            .unwrap();
    }
}

/// AC-9: one disables the other and is demoted by them at the same moment: one is left who can sign in.
#[tokio::test(flavor = "multi_thread")]
async fn disabling_and_demoting_each_other_at_once_leaves_one() {
    let op = TestProvider::start().await;
    let root = Arc::new(op.administrator("root").await);
    let root_id = root.user_id().await;
    for round in 0..ROUNDS {
        let other = Arc::new(op.administrator(&format!("other-{round}")).await);
        let other_id = other.user_id().await;
        let answers = <[Answer; 2]>::from(at_once(disable(&root, &other_id), demote(&other, &root_id)).await);
        let done = answers.iter().filter(|answer| answer.status.is_success()).count();
        assert_eq!(done, 1, "{answers:?}");
        assert_eq!(administrators(&op).await, 1);
        sqlx::query(
            "UPDATE users SET role = CASE WHEN user_id = $1::text::uuid THEN 'admin' ELSE 'user' END",
        )
        .bind(&root_id)
        .execute(op.db())
        .await
        .unwrap();
    }
}
