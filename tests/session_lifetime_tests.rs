//! How long a session lasts: it slides with use, by whatever app, and ends at its cap.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use common::{Answer, TestProvider};
use reqwest::Method;

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

/// The server itself counts: a copy of the cookie's value, kept by whatever does not heed `Max-Age`, opens nothing either.
#[tokio::test]
async fn an_expired_session_is_opened_by_no_copy_of_its_cookie() {
    let op = TestProvider::start().await;
    let ada = op.signed_in("ada").await;
    let jar = ada.jar();
    let cookie = jar
        .live(op.clock().now())
        .find(|cookie| cookie.name.ends_with("_refresh"))
        .unwrap();
    let cookie = format!("{}={}", cookie.name, cookie.value);
    let me = || Answer::of(op.request(Method::GET, "/auth/me").header("cookie", &cookie));
    op.advance_secs(29 * DAY_SECS);
    me().await.is(200);
    op.advance_secs(2 * DAY_SECS);
    me().await.is(401);
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
