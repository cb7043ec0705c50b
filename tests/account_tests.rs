//! The account that its owner sees, changes, exports and deletes, over HTTP: the production router, people with browsers.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use common::{Answer, TestProvider};
use reqwest::Method;
use serde_json::Value;

/// What a person says of themselves, and their addresses (§3.2, §4.6, AC-12).
#[path = "account/profile.rs"]
mod profile;

/// Another username under the rules of `[usernames]` (§6, AC-11).
#[path = "account/username.rs"]
mod username;

/// Where a person is signed in, and ending it from here (SE-4, SE-8).
#[path = "account/sessions.rs"]
mod sessions;

/// The apps that a person let in, and taking it back (CO-8, WH-13).
#[path = "account/consents.rs"]
mod consents;

/// The end of an account (AC-9, AC-10, WH-11).
#[path = "account/deletion.rs"]
mod deletion;

/// Everything that is held of a person; every column of the catalogue is accounted for.
#[path = "account/export.rs"]
mod export;

/// The same by the command line (§8).
#[path = "account/command_line.rs"]
mod command_line;

/// Two at once, behind a barrier, a hundred rounds.
#[path = "account/races.rs"]
mod races;

/// Who is put out while a request of theirs waits, and who else waits for a deletion (SE-4, AC-9).
#[path = "account/meanwhile.rs"]
mod meanwhile;

/// What is not understood or belongs to somebody else: a clear 4xx, nothing changed.
#[path = "account/bad_input.rs"]
mod bad_input;

/// The events that were written, oldest first: type and data.
async fn events(op: &TestProvider) -> Vec<(String, Value)> {
    sqlx::query_as("SELECT event_type, data FROM events ORDER BY created_at, event_id")
        .fetch_all(op.db())
        .await
        .unwrap()
}

/// The data of the events of one type, oldest first.
async fn events_of(op: &TestProvider, event_type: &str) -> Vec<Value> {
    let all = events(op).await;
    let of_type = all.into_iter().filter(|(own, _)| own == event_type);
    of_type.map(|(_, data)| data).collect()
}

async fn count(op: &TestProvider, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(op.db()).await.unwrap()
}

/// `DELETE /auth/me`.
async fn delete_account(browser: &common::Browser) -> Answer {
    browser.call(Method::DELETE, "/auth/me", None).await
}
