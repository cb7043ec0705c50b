//! What an operator counts on: headers, ids, readiness, reloads, an orderly end, outages, clean-up.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

#[path = "operation/answers.rs"]
mod answers;
#[path = "operation/clean_up.rs"]
mod clean_up;
#[path = "operation/connections.rs"]
mod connections;
#[path = "operation/cors.rs"]
mod cors;
#[path = "operation/direct_url.rs"]
mod direct_url;
#[path = "operation/key_record.rs"]
mod key_record;
#[path = "operation/outage.rs"]
mod outage;
#[path = "operation/process.rs"]
mod process;
#[path = "operation/reload.rs"]
mod reload;
#[path = "operation/schema.rs"]
mod schema;
