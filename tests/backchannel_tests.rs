//! Back-channel logout, in both directions: apps are told that a session has ended, and an upstream tells us of its own.
//!
//! | file | what |
//! | --- | --- |
//! | `notices` | who is told, what the logout token says, what each answer leads to (OpenID Connect Back-Channel Logout 1.0 §2) |
//! | `upstream` | `POST /auth/{provider}/backchannel-logout` |
//! | `receiver` | an app's back-channel logout URI |

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

#[path = "backchannel/notices.rs"]
mod notices;
#[path = "backchannel/receiver.rs"]
mod receiver;
#[path = "backchannel/upstream.rs"]
mod upstream;

use common::{Browser, TestClient, TestProvider};
use receiver::Receiver;

/// A provider whose notices reach a receiver on this machine.
pub(crate) async fn provider() -> TestProvider {
    TestProvider::with(|config| config.webhooks.allow_private_ips = true).await
}

/// An app that wants to hear of logouts.
pub(crate) async fn listening_client(op: &TestProvider, receiver: &Receiver) -> TestClient {
    op.client_with(|client| client.backchannel_logout_uri = Some(receiver.uri()))
        .await
}

/// The `sid` of the browser's session.
pub(crate) fn sid(browser: &Browser) -> String {
    let claims = common::checks::peek(&browser.cookie("access").unwrap());
    claims["sid"].as_str().unwrap().to_owned()
}

/// Why sessions ended, oldest first; `None` for those that go on.
pub(crate) async fn ended_reasons(op: &TestProvider) -> Vec<Option<String>> {
    let sql = "SELECT ended_reason FROM sessions ORDER BY created_at, session_id";
    sqlx::query_scalar(sql).fetch_all(op.db()).await.unwrap()
}
