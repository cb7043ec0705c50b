//! How long a session lasts: it slides with use, by whatever app, and ends at its cap.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use common::TestProvider;

const DAY_SECS: i64 = 86_400;

/// The default of `refresh_token_ttl_secs` is thirty days. Whoever signs in to an app every twenty days stays signed in, and
/// the browser keeps the cookie for it.
#[tokio::test]
async fn a_session_that_is_used_is_never_lost() {
    let op = TestProvider::start().await;
    let app = op.client().await;
    let ada = op.signed_in("ada").await;
    for _ in 0..4 {
        op.advance_secs(20 * DAY_SECS);
        ada.authorize(&app).prompt("none").code().await;
    }
}

/// A session that nobody uses for thirty days is over.
#[tokio::test]
async fn a_session_that_is_not_used_expires() {
    let op = TestProvider::start().await;
    let app = op.client().await;
    let ada = op.signed_in("ada").await;
    op.advance_secs(31 * DAY_SECS);
    ada.authorize(&app)
        .prompt("none")
        .send()
        .await
        .refused("login_required");
}

/// `session_absolute_ttl_secs` ends a session however often it is used.
#[tokio::test]
async fn the_absolute_limit_ends_a_session_in_use() {
    let op = TestProvider::with(|config| config.jwt.session_absolute_ttl_secs = 40 * 86_400).await;
    let app = op.client().await;
    let ada = op.signed_in("ada").await;
    op.advance_secs(20 * DAY_SECS);
    ada.authorize(&app).prompt("none").code().await;
    op.advance_secs(21 * DAY_SECS);
    ada.authorize(&app)
        .prompt("none")
        .send()
        .await
        .refused("login_required");
}
