//! Who claims what is due, how many at once, when it wakes up, how it stops.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::PgPool;
use sqlx::postgres::PgListener;
use time::OffsetDateTime;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::breaker::Breaker;
use super::{Outcome, backchannel_logout, backoff, webhook};
use crate::db;
use crate::db::deliveries::{Capacity, Claim, Claimed, Recorded, Work};
use crate::http::state::AppState;

/// How often the worker looks by itself: a notification may be lost, a retry is announced by nobody.
const POLL: Duration = Duration::from_secs(1);
/// How long it waits when the database does not answer.
const AFTER_FAILURE: Duration = Duration::from_secs(1);
/// How often a result is written when the database does not answer; then the delivery is taken over and sent again.
const RECORD_ATTEMPTS: usize = 5;
/// What has been due for so long is given up when its endpoint still does not answer.
const GIVE_UP_AFTER: time::Duration = time::Duration::DAY;
/// Connections of the worker: one listens, the others claim and record.
const CONNECTIONS: u32 = 3;

/// Delivers until `shutdown`, then finishes what is under way and gives back what it cannot finish.
pub async fn run(state: AppState, shutdown: CancellationToken) {
    let db = match db::connect_workers(&state.config.database, CONNECTIONS) {
        Ok(db) => db,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "nothing can be delivered");
            return;
        }
    };
    let wake = Arc::new(Notify::new());
    let mut listener = JoinSet::new();
    listener.spawn(listen(db.clone(), Arc::clone(&wake)));
    let mut worker = Worker {
        state,
        db,
        endpoints: HashMap::new(),
        under_way: HashMap::new(),
        tasks: JoinSet::new(),
    };
    worker.work(&wake, &shutdown).await;
    listener.shutdown().await;
    worker.drain().await;
    worker.db.close().await;
}

/// Wakes the worker whenever something is enqueued anywhere.
async fn listen(db: PgPool, wake: Arc<Notify>) {
    loop {
        if let Ok(mut listener) = PgListener::connect_with(&db).await
            && listener.listen(db::events::CHANNEL).await.is_ok()
        {
            // What was enqueued while nobody listened is due, too.
            wake.notify_one();
            while listener.recv().await.is_ok() {
                wake.notify_one();
            }
        }
        tokio::time::sleep(AFTER_FAILURE).await;
    }
}

/// One instance's worker.
struct Worker {
    state: AppState,
    db: PgPool,
    /// What is known of endpoints that something is under way to, or that have failed lately.
    endpoints: HashMap<String, Endpoint>,
    /// Which delivery is under way under which lease.
    under_way: HashMap<Uuid, Uuid>,
    tasks: JoinSet<Finished>,
}

#[derive(Default)]
struct Endpoint {
    running: usize,
    breaker: Breaker,
}

/// An attempt that has been made, and recorded if that was possible.
struct Finished {
    delivery_id: Uuid,
    endpoint: String,
    outcome: Outcome,
}

impl Worker {
    async fn work(&mut self, wake: &Notify, shutdown: &CancellationToken) {
        while !shutdown.is_cancelled() {
            let wait = match self.claim().await {
                Ok(()) => POLL,
                Err(error) => {
                    tracing::warn!(error = %error, "what is due could not be claimed; it is tried again");
                    AFTER_FAILURE
                }
            };
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                Some(finished) = self.tasks.join_next() => self.finished(finished).await,
                () = wake.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
            // Several may have finished: one claim fills all their places.
            while let Some(finished) = self.tasks.try_join_next() {
                self.finished(finished).await;
            }
        }
    }

    /// Claims as much as may be under way, and begins to send it.
    async fn claim(&mut self) -> sqlx::Result<()> {
        let config = &self.state.config.webhooks;
        let free = (config.max_concurrent_deliveries as usize).saturating_sub(self.tasks.len());
        if free == 0 {
            return Ok(());
        }
        let now = self.state.clock.now();
        let per_endpoint = config.max_concurrent_per_endpoint as usize;
        let capacities: Vec<Capacity> = self
            .endpoints
            .iter()
            .map(|(name, endpoint)| Capacity {
                endpoint: name.clone(),
                deliveries: endpoint
                    .breaker
                    .admits(per_endpoint, now)
                    .saturating_sub(endpoint.running),
            })
            .collect();
        let claim = Claim {
            lease_id: Uuid::new_v4(),
            leased_until: now + time::Duration::seconds(config.stuck_after_secs.into()),
            most: free,
            per_endpoint,
            capacities: &capacities,
        };
        let claimed = db::deliveries::claim(&self.db, &claim, now).await?;
        for delivery in claimed {
            self.under_way.insert(delivery.delivery_id, claim.lease_id);
            self.endpoints
                .entry(delivery.endpoint.clone())
                .or_default()
                .running += 1;
            self.tasks.spawn(attempt(
                self.state.clone(),
                self.db.clone(),
                delivery,
                claim.lease_id,
            ));
        }
        Ok(())
    }

    async fn finished(&mut self, finished: Result<Finished, tokio::task::JoinError>) {
        let Ok(finished) = finished else {
            // Its lease runs out and somebody else takes it over; the place it had stays taken until a restart.
            tracing::error!("an attempt to deliver panicked");
            return;
        };
        self.under_way.remove(&finished.delivery_id);
        let now = self.state.clock.now();
        let endpoint = self.endpoints.entry(finished.endpoint.clone()).or_default();
        endpoint.running = endpoint.running.saturating_sub(1);
        match finished.outcome {
            Outcome::Retry { .. } => {
                let had_tripped = endpoint.breaker.has_tripped();
                endpoint.breaker.failed(now);
                if had_tripped {
                    self.give_up(&finished.endpoint, now).await;
                }
            }
            // A final refusal is an answer, too.
            Outcome::Delivered { .. } | Outcome::Permanent { .. } => {
                endpoint.breaker.succeeded();
                if endpoint.running == 0 {
                    self.endpoints.remove(&finished.endpoint);
                }
            }
        }
    }

    /// The endpoint was tried just now, after a pause, and does not answer: what has waited for a day has failed.
    async fn give_up(&self, endpoint: &str, now: OffsetDateTime) {
        match db::deliveries::give_up(&self.db, endpoint, now - GIVE_UP_AFTER, now).await {
            Ok(0) => {}
            Ok(rows) => tracing::warn!(endpoint, rows, "deliveries that were due for a day are given up"),
            Err(error) => tracing::warn!(error = %error, "deliveries could not be given up"),
        }
    }

    /// Waits for what is under way, as long as the grace period lasts; the rest is given back, so that another instance
    /// sends it at once.
    async fn drain(&mut self) {
        let grace = Duration::from_secs(self.state.config.server.shutdown_grace_secs)
            .saturating_sub(Duration::from_millis(500));
        let all = async {
            while let Some(finished) = self.tasks.join_next().await {
                if let Ok(finished) = finished {
                    self.under_way.remove(&finished.delivery_id);
                }
            }
        };
        let _ = tokio::time::timeout(grace, all).await;
        self.tasks.shutdown().await;
        let leases: Vec<Uuid> = self.under_way.values().copied().collect();
        if leases.is_empty() {
            return;
        }
        match db::deliveries::release(&self.db, &leases).await {
            Ok(rows) => tracing::info!(rows, "deliveries under way were given back"),
            Err(error) => tracing::warn!(error = %error, "deliveries under way were not given back"),
        }
    }
}

/// Sends one delivery and records what came of it.
async fn attempt(state: AppState, db: PgPool, delivery: Claimed, lease_id: Uuid) -> Finished {
    let started = Instant::now();
    let now = state.clock.now();
    let outcome = match &delivery.work {
        Work::Event(notice) => webhook::send(&state, notice, now).await,
        Work::Logout(notice) => backchannel_logout::send(&state, notice, now).await,
    };
    let recorded = recorded(&state, &delivery, lease_id, outcome, now, started.elapsed());
    record(&db, &delivery, &recorded).await;
    state
        .metrics
        .webhook_delivery(matches!(outcome, Outcome::Delivered { .. }));
    Finished {
        delivery_id: delivery.delivery_id,
        endpoint: delivery.endpoint,
        outcome,
    }
}

/// What is written of an attempt: whether it is the last one, and when the next one is due.
fn recorded(
    state: &AppState,
    delivery: &Claimed,
    lease_id: Uuid,
    outcome: Outcome,
    attempted_at: OffsetDateTime,
    took: Duration,
) -> Recorded {
    let config = &state.config.webhooks;
    let most = match delivery.work {
        Work::Event(_) => config.max_attempts,
        Work::Logout(_) => config.backchannel_max_attempts,
    };
    let made = delivery.attempts_made + 1;
    let now = state.clock.now();
    let (status, next_attempt_at) = match outcome {
        Outcome::Delivered { .. } => ("delivered", now),
        Outcome::Permanent { .. } => ("failed", now),
        Outcome::Retry { .. } if made >= most => ("failed", now),
        Outcome::Retry { .. } => ("pending", now + backoff::delay(made, &state.rng)),
    };
    Recorded {
        delivery_id: delivery.delivery_id,
        lease_id,
        status,
        next_attempt_at,
        completed_at: (status != "pending").then_some(now),
        attempted_at,
        duration_ms: i32::try_from(took.as_millis()).unwrap_or(i32::MAX),
        status_code: outcome
            .status_code()
            .map(|code| i16::try_from(code).unwrap_or(i16::MAX)),
        error: outcome.code(),
    }
}

async fn record(db: &PgPool, delivery: &Claimed, recorded: &Recorded) {
    for attempt in 1..=RECORD_ATTEMPTS {
        match db::deliveries::record(db, recorded).await {
            Ok(true) => {
                if let Some(error) = recorded.error {
                    tracing::warn!(
                        event = "delivery.attempt_failed",
                        delivery.id = %delivery.delivery_id,
                        endpoint = delivery.endpoint,
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
                    delivery.id = %delivery.delivery_id,
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
