//! Who claims what is due, how many at once, when it wakes up, how it stops.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::postgres::PgListener;
use tokio::sync::Notify;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::attempt::{self, Finished};
use super::endpoints::Endpoints;
use super::ledger::Ledger;
use crate::config::Config;
use crate::db;
use crate::db::deliveries::Claim;
use crate::http::state::AppState;
use crate::server::FOR_WORK;

/// How often the worker looks by itself: a notification may be lost, a retry is announced by nobody.
const POLL: Duration = Duration::from_secs(1);
/// How long it waits when the database does not answer.
const AFTER_FAILURE: Duration = Duration::from_secs(1);
/// What has been due for so long is given up when its endpoint still does not answer.
const GIVE_UP_AFTER: time::Duration = time::Duration::DAY;
/// After so much silence the one that listens is asked whether anybody is at its other end, and given so long to answer.
const SILENCE: Duration = Duration::from_secs(30);

/// Delivers until `shutdown`, then finishes what is under way and gives back what it cannot finish.
pub async fn run(state: AppState, shutdown: CancellationToken) {
    let db = match db::connect_deliveries(&state.config.database, db::DELIVERY_CONNECTIONS) {
        Ok(db) => db,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "nothing can be delivered");
            return;
        }
    };
    let wake = Arc::new(Notify::new());
    let mut listener = JoinSet::new();
    listener.spawn(listen(Arc::clone(&state.config), Arc::clone(&wake)));
    let mut worker = Worker {
        state,
        ledger: Ledger::new(db),
        endpoints: Endpoints::default(),
        under_way: HashMap::new(),
        tasks: JoinSet::new(),
        chores: JoinSet::new(),
    };
    worker.work(&wake, &shutdown).await;
    listener.shutdown().await;
    worker.drain().await;
    worker.ledger.close().await;
}

/// Wakes the worker whenever something is enqueued anywhere.
async fn listen(config: Arc<Config>, wake: Arc<Notify>) {
    loop {
        // A pool of its own: a connection that is gone without a word takes nobody's place.
        if let Ok(db) = db::connect_deliveries(&config.database, 1)
            && let Ok(Ok(mut listener)) = timeout(SILENCE, db.listener()).await
            && let Ok(Ok(())) = timeout(SILENCE, listener.listen(db::events::CHANNEL)).await
        {
            // What was enqueued while nobody listened is due, too.
            wake.notify_one();
            hear(&mut listener, &wake).await;
        }
        tokio::time::sleep(AFTER_FAILURE).await;
    }
}

/// Listens until the connection breaks.
async fn hear(listener: &mut PgListener, wake: &Notify) {
    loop {
        match timeout(SILENCE, listener.recv()).await {
            Ok(Ok(_)) => wake.notify_one(),
            Ok(Err(_)) => return,
            Err(_) => {
                if !matches!(timeout(SILENCE, db::events::ping(listener)).await, Ok(Ok(()))) {
                    return;
                }
            }
        }
    }
}

/// One instance's worker.
struct Worker {
    state: AppState,
    ledger: Ledger,
    endpoints: Endpoints,
    /// What each task is at.
    under_way: HashMap<Id, UnderWay>,
    tasks: JoinSet<Finished>,
    /// What nobody waits for.
    chores: JoinSet<()>,
}

/// A delivery that is being sent.
struct UnderWay {
    delivery_id: Uuid,
    lease_id: Uuid,
    endpoint: String,
    since: Instant,
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
                Some(finished) = self.tasks.join_next_with_id() => self.finished(finished),
                () = wake.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
            // Several may have finished: one claim fills all their places.
            while let Some(finished) = self.tasks.try_join_next_with_id() {
                self.finished(finished);
            }
            while self.chores.try_join_next().is_some() {}
        }
    }

    /// Claims as much as may be under way, and begins to send it.
    async fn claim(&mut self) -> sqlx::Result<()> {
        let config = &self.state.config.webhooks;
        let (now, at) = (self.state.clock.now(), Instant::now());
        let places = self.endpoints.places(
            config.max_concurrent_deliveries as usize,
            config.max_concurrent_per_endpoint as usize,
            at,
            now,
        );
        if places.most == 0 {
            return Ok(());
        }
        let claim = Claim {
            lease_id: Uuid::new_v4(),
            leased_until: now + time::Duration::seconds(config.stuck_after_secs.into()),
            most: places.most,
            most_unknown: places.most_unknown,
            most_slow: places.most_slow,
            per_endpoint: places.per_endpoint,
            known: &places.known,
        };
        let claimed = self.ledger.claim(&claim, now).await?;
        let since = Instant::now();
        for delivery in claimed {
            let under_way = UnderWay {
                delivery_id: delivery.delivery_id,
                lease_id: claim.lease_id,
                endpoint: delivery.endpoint.clone(),
                since,
            };
            self.endpoints.began(&under_way.endpoint, since);
            let (state, ledger) = (self.state.clone(), self.ledger.clone());
            let task = self
                .tasks
                .spawn(attempt::run(state, ledger, delivery, claim.lease_id));
            self.under_way.insert(task.id(), under_way);
        }
        Ok(())
    }

    fn finished(&mut self, finished: Result<(Id, Finished), JoinError>) {
        let (id, finished) = match finished {
            Ok((id, finished)) => (id, Some(finished)),
            Err(error) => {
                // Its lease runs out and somebody else takes it over.
                self.state.metrics.panicked();
                tracing::error!("what came of a delivery could not be written, because of a panic");
                (error.id(), None)
            }
        };
        let Some(under_way) = self.under_way.remove(&id) else {
            return;
        };
        let (endpoint, since, at) = (under_way.endpoint, under_way.since, Instant::now());
        let Some(finished) = finished else {
            self.endpoints.left(&endpoint, since, at);
            return;
        };
        if self
            .endpoints
            .ended(&endpoint, since, finished, at, self.state.clock.now())
        {
            self.give_up(endpoint);
        }
    }

    /// The endpoint was tried just now, after a pause, and does not answer: what has waited for a day has failed.
    fn give_up(&mut self, endpoint: String) {
        let (ledger, now) = (self.ledger.clone(), self.state.clock.now());
        self.chores.spawn(async move {
            match ledger.give_up(&endpoint, now - GIVE_UP_AFTER, now).await {
                Ok(0) => {}
                Ok(rows) => tracing::warn!(endpoint, rows, "deliveries that were due for a day are given up"),
                Err(error) => tracing::warn!(error = %error, "deliveries could not be given up"),
            }
        });
    }

    /// Waits for what is under way, as long as the grace period lasts; the rest is given back, so that another instance
    /// sends it at once.
    async fn drain(&mut self) {
        let grace = Duration::from_secs(self.state.config.server.shutdown_grace_secs).mul_f64(FOR_WORK);
        let all = async {
            while let Some(finished) = self.tasks.join_next_with_id().await {
                if let Ok((id, _)) = finished {
                    self.under_way.remove(&id);
                }
            }
        };
        let _ = timeout(grace, all).await;
        self.tasks.shutdown().await;
        self.chores.shutdown().await;
        if self.under_way.is_empty() {
            return;
        }
        let (delivery_ids, lease_ids): (Vec<Uuid>, Vec<Uuid>) = self
            .under_way
            .values()
            .map(|one| (one.delivery_id, one.lease_id))
            .unzip();
        match self.ledger.release(&delivery_ids, &lease_ids).await {
            Ok(rows) => tracing::info!(rows, "deliveries under way were given back"),
            Err(error) => tracing::warn!(error = %error, "deliveries under way were not given back"),
        }
    }
}
