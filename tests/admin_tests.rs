//! Administration. It has no HTTP API yet; until it has, nothing of it may answer, whoever asks.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use common::TestProvider;
use reqwest::Method;

const PATHS: [&str; 5] = [
    "/admin/users",
    "/admin/clients",
    "/admin/webhooks",
    "/admin/audit",
    "/admin/reserved-usernames",
];

/// An unknown route is 404 in the one shape of errors, for strangers and for an administrator alike.
#[tokio::test]
async fn no_administration_answers_before_it_exists() {
    let op = TestProvider::start().await;
    let ada = op.signed_in("ada").await;
    sqlx::query("UPDATE users SET role = 'admin'")
        .execute(op.db())
        .await
        .unwrap();
    for path in PATHS {
        for method in [Method::GET, Method::POST] {
            let stranger = common::Answer::of(op.request(method.clone(), path)).await;
            stranger.refused_with(404, "not_found");
            let url = format!("{}{path}", common::provider::ISSUER);
            let admin = ada
                .fetch(common::provider::ISSUER, method.clone(), &url, &[], None)
                .await
                .unwrap();
            admin.refused_with(404, "not_found");
        }
    }
}

/// A role in the body of a sign-up changes nothing: an account starts as a user.
#[tokio::test]
async fn a_new_account_is_no_administrator() {
    let op = TestProvider::start().await;
    op.signed_in("ada").await;
    let role: String = sqlx::query_scalar("SELECT role FROM users")
        .fetch_one(op.db())
        .await
        .unwrap();
    assert_eq!(role, "user");
}
