//! The providers that lead to an account: adding one, confirming it, taking one away, and what a newcomer is suggested whose
//! proved address belongs to an account (SE-6, AC-1 to AC-4, AC-7 to AC-9, AC-13, UP-1, UP-2).

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use common::linking::sign_in;
use common::upstreams::with_upstreams;
use common::{Browser, TestProvider};
use riley_auth::config::Config;
use riley_auth::dev::simulated_upstream::{Flavour, SimulatedUpstream};
use serde_json::{Value, json};

/// Asked for, proved, confirmed; and what cannot come to anything (SE-6, AC-8).
#[path = "link/adding.rs"]
mod adding;

/// Who a link and its confirmation belong to, and for how long (AC-1 to AC-4).
#[path = "link/binding.rs"]
mod binding;

/// What ends with a link, and that the last one stays (AC-9).
#[path = "link/taking_away.rs"]
mod taking_away;

/// What a newcomer is suggested whose proved address belongs to an account (AC-13).
#[path = "link/suggestions.rs"]
mod suggestions;

/// Two at once, behind a barrier, a hundred rounds.
#[path = "link/races.rs"]
mod races;

/// GitHub, by which people are in, and Google, which they add. Nothing is merged by itself.
struct World {
    op: TestProvider,
    google: SimulatedUpstream,
}

impl World {
    async fn start() -> Self {
        Self::with(|_| ()).await
    }

    async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let list = [
            ("github", Flavour::GitHub, json!({})),
            ("google", Flavour::Google, json!({})),
        ];
        let (op, mut others) = with_upstreams(&list, change).await;
        Self {
            op,
            google: others.remove(0),
        }
    }

    /// Somebody who is in by GitHub.
    async fn member(&self, person: &str) -> Browser {
        let browser = self.op.browser();
        sign_in(&browser, "github", person).await;
        browser
    }

    async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(self.op.db()).await.unwrap()
    }

    async fn change(&self, sql: &'static str) {
        sqlx::query(sql).execute(self.op.db()).await.unwrap();
    }

    /// Types of events with their data, oldest first, of those that begin so.
    async fn events(&self, of: &str) -> Vec<(String, Value)> {
        let events: Vec<(String, Value)> =
            sqlx::query_as("SELECT event_type, data FROM events ORDER BY created_at, event_id")
                .fetch_all(self.op.db())
                .await
                .unwrap();
        events
            .into_iter()
            .filter(|(name, _)| name.starts_with(of))
            .collect()
    }
}
