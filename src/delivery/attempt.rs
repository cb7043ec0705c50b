//! One attempt: sends what was claimed, and records what came of it.

use std::time::{Duration, Instant};

use time::OffsetDateTime;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::ledger::Ledger;
use super::{Outcome, backchannel_logout, backoff, webhook};
use crate::db::deliveries::{Claimed, Recorded, Work};
use crate::http::state::AppState;

/// How often a result is written when the database does not answer; then the delivery is taken over and sent again.
const RECORD_ATTEMPTS: usize = 5;
/// How long between two of these.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// What is tried: a delivery under a lease.
#[derive(Clone, Copy, Debug)]
struct Tried {
    delivery_id: Uuid,
    lease_id: Uuid,
    /// Which attempt it is, from 1.
    number: u32,
    /// How many there may be.
    most: u32,
    at: OffsetDateTime,
}

/// What an attempt came to.
#[derive(Clone, Copy, Debug)]
pub struct Finished {
    pub outcome: Outcome,
    /// How long the receiver took, or kept us waiting.
    pub took: Duration,
}

/// Sends one delivery and records what came of it.
pub async fn run(state: AppState, ledger: Ledger, delivery: Claimed, lease_id: Uuid) -> Finished {
    let started = Instant::now();
    let config = &state.config.webhooks;
    let tried = Tried {
        delivery_id: delivery.delivery_id,
        lease_id,
        number: delivery.attempts_made + 1,
        most: match delivery.work {
            Work::Event(_) => config.max_attempts,
            Work::Logout(_) => config.backchannel_max_attempts,
        },
        at: state.clock.now(),
    };
    let sending = {
        let (state, ledger) = (state.clone(), ledger.clone());
        async move {
            match &delivery.work {
                Work::Event(notice) => webhook::send(&state, notice, tried.at).await,
                Work::Logout(notice) => backchannel_logout::send(&state, &ledger, notice, tried.at).await,
            }
        }
    };
    let outcome = even_if_it_panics(sending).await;
    let finished = Finished {
        outcome,
        took: started.elapsed(),
    };
    if let Outcome::NotAttempted { code } = outcome {
        postpone(&state, &ledger, tried, &delivery.endpoint, code).await;
        return finished;
    }
    let recorded = recorded(&state, tried, outcome, finished.took);
    record(&ledger, &delivery.endpoint, &recorded).await;
    state
        .metrics
        .webhook_delivery(matches!(outcome, Outcome::Delivered { .. }));
    finished
}

/// A mistake of ours in sending one thing is a failed attempt like any other: it gives its place back and is not repeated
/// without end. What was under way ends with this.
async fn even_if_it_panics(sending: impl Future<Output = Outcome> + Send + 'static) -> Outcome {
    let mut task = JoinSet::new();
    task.spawn(sending);
    if let Some(Ok(outcome)) = task.join_next().await {
        outcome
    } else {
        tracing::error!("an attempt to deliver panicked");
        Outcome::Retry {
            code: "internal_error",
            status_code: None,
        }
    }
}

/// What is written of an attempt: whether it is the last one, and when the next one is due.
fn recorded(state: &AppState, tried: Tried, outcome: Outcome, took: Duration) -> Recorded {
    let now = state.clock.now();
    let (status, next_attempt_at) = match outcome {
        Outcome::Delivered { .. } => ("delivered", now),
        Outcome::Permanent { .. } => ("failed", now),
        Outcome::Retry { .. } if tried.number >= tried.most => ("failed", now),
        Outcome::Retry { .. } | Outcome::NotAttempted { .. } => {
            ("pending", now + backoff::delay(tried.number, &state.rng))
        }
    };
    Recorded {
        delivery_id: tried.delivery_id,
        lease_id: tried.lease_id,
        status,
        next_attempt_at,
        completed_at: (status != "pending").then_some(now),
        attempted_at: tried.at,
        duration_ms: i32::try_from(took.as_millis()).unwrap_or(i32::MAX),
        status_code: outcome
            .status_code()
            .map(|code| i16::try_from(code).unwrap_or(i16::MAX)),
        error: outcome.code(),
    }
}

/// Nothing was sent, for a reason of our own: it is due again soon, and has lost no attempt.
async fn postpone(state: &AppState, ledger: &Ledger, tried: Tried, endpoint: &str, code: &'static str) {
    let next_attempt_at = state.clock.now() + backoff::delay(1, &state.rng);
    match ledger
        .postpone(tried.delivery_id, tried.lease_id, next_attempt_at)
        .await
    {
        Ok(_) => tracing::error!(
            event = "delivery.not_attempted",
            delivery.id = %tried.delivery_id,
            endpoint,
            code,
            "a delivery could not be sent for a reason of our own; it is tried again and loses no attempt"
        ),
        Err(error) => {
            tracing::warn!(error = %error, code, "a delivery that was not sent waits until its lease ends");
        }
    }
}

async fn record(ledger: &Ledger, endpoint: &str, recorded: &Recorded) {
    for attempt in 1..=RECORD_ATTEMPTS {
        match ledger.record(recorded).await {
            Ok(true) => {
                if let Some(error) = recorded.error {
                    tracing::warn!(
                        event = "delivery.attempt_failed",
                        delivery.id = %recorded.delivery_id,
                        endpoint,
                        status = recorded.status,
                        code = error,
                        "a delivery did not succeed"
                    );
                }
                return;
            }
            Ok(false) => {
                tracing::warn!(
                    event = "delivery.fenced",
                    delivery.id = %recorded.delivery_id,
                    "a result came after the delivery had been taken over, and is not counted"
                );
                return;
            }
            Err(error) => {
                tracing::warn!(error = %error, attempt, "the result of a delivery could not be written");
                tokio::time::sleep(AFTER_FAILURE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::ledger::PATIENCE;
    use super::*;
    use crate::config::database::DatabaseConfig;
    use crate::config::webhooks::LEAST_STUCK_AFTER_SECS;
    use crate::outbound::client::Limits;

    /// The lease begins before the claim; each statement may have to wait for a connection, as long as is the default.
    #[test]
    fn the_shortest_lease_outlasts_the_longest_attempt() {
        let least = "url = \"postgres://a@b/c\"\nsecret_key = \"k\"";
        let database: DatabaseConfig = toml::from_str(least).unwrap();
        // The claim, the app that is told, the result, once more after a failure.
        let statement = Duration::from_secs(database.acquire_timeout_secs) + PATIENCE;
        let longest = 4 * statement + AFTER_FAILURE + Limits::default().longest();
        let lease = Duration::from_secs(LEAST_STUCK_AFTER_SECS.into());
        assert!(lease > longest, "{longest:?}");
    }

    #[tokio::test]
    async fn a_panic_is_a_failed_attempt() {
        let delivered = Outcome::Delivered { status_code: 204 };
        assert_eq!(even_if_it_panics(async move { delivered }).await, delivered);
        let panicking = async { panic!("a mistake of ours, on purpose") };
        assert_eq!(
            even_if_it_panics(panicking).await,
            Outcome::Retry {
                code: "internal_error",
                status_code: None
            }
        );
    }
}
