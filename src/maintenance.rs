//! The clean-up that runs at start and on a timer, on one instance at a time; and the bound on what strangers can leave.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use crate::db;
use crate::db::maintenance::BATCH_ROWS;
use crate::http::state::AppState;

/// The longest leeway that a client can have: salts older than this serve nobody.
const MAX_LEEWAY: time::Duration = time::Duration::seconds(300);
/// What a batch may take. Each of its statements has a limit of the database's own, unless the database is gone without a word.
const BATCH_PATIENCE: Duration = Duration::from_secs(15);

/// Cleans up until `shutdown`.
pub async fn run(state: AppState, shutdown: CancellationToken) {
    let mut timer = tokio::time::interval(Duration::from_secs(state.config.maintenance.interval_secs.max(1)));
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = timer.tick() => {}
            () = shutdown.cancelled() => return,
        }
        match clean_up(&state, state.clock.now()).await {
            Ok(round) => tracing::debug!(rows = round.rows, "cleaned up"),
            Err(error) => tracing::warn!(
                error = format!("{error:#}"),
                "the clean-up failed and is tried again later"
            ),
        }
    }
}

/// What a round came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Round {
    /// Deleted or erased.
    pub rows: u64,
    /// Another instance was at it for a part of the time, and has done or will do what this one left.
    pub shared: bool,
}

/// One round: every job until it finds nothing more, or until the server stops.
///
/// Each batch is a transaction of its own that first takes the lock: none is left idle while another batch runs, and one
/// connection is enough.
pub async fn clean_up(state: &AppState, now: OffsetDateTime) -> sqlx::Result<Round> {
    let mut round = Round::default();
    let mut failed = None;
    for job in JOBS {
        loop {
            // What a long backlog leaves is done after the next start: nobody waits for it to stop.
            if state.shutdown.is_cancelled() {
                return Ok(round);
            }
            match db::in_time(BATCH_PATIENCE, run_batch(state, job, now)).await {
                Ok(Some(0)) => break,
                Ok(Some(rows)) => round.rows += rows,
                Ok(None) => {
                    round.shared = true;
                    break;
                }
                // A statement that fails does not keep the other jobs from being done.
                Err(error @ sqlx::Error::Database(_)) => {
                    failed.get_or_insert(error);
                    break;
                }
                Err(error) => return Err(error),
            }
        }
    }
    failed.map_or(Ok(round), Err)
}

/// What is cleaned up, in this order: codes are kept for their grants, sessions for both, events for
/// their deliveries.
#[derive(Clone, Copy)]
enum Job {
    ExpiredWaiting,
    DeadGrants,
    DeadCodes,
    DeadSessions,
    OldSalts,
    OldDeliveries,
    OldEvents,
}

const JOBS: [Job; 7] = [
    Job::ExpiredWaiting,
    Job::DeadGrants,
    Job::DeadCodes,
    Job::DeadSessions,
    Job::OldSalts,
    Job::OldDeliveries,
    Job::OldEvents,
];

/// The rows of one batch; `None` when another instance is at it.
async fn run_batch(state: &AppState, job: Job, now: OffsetDateTime) -> sqlx::Result<Option<u64>> {
    let mut tx = state.background_db.begin().await?;
    if !db::maintenance::try_lock(&mut *tx).await? {
        return Ok(None);
    }
    let access_tokens_dead = now - time::Duration::seconds(i64::from(state.config.jwt.access_token_ttl_secs));
    let kept_since = now - time::Duration::days(i64::from(state.config.maintenance.deliveries_kept_days));
    let rows = match job {
        Job::ExpiredWaiting => db::maintenance::delete_expired_waiting(&mut *tx, now).await?,
        Job::DeadGrants => db::maintenance::delete_dead_grants(&mut *tx, access_tokens_dead, now).await?,
        Job::DeadCodes => db::maintenance::delete_dead_codes(&mut *tx, now).await?,
        Job::DeadSessions => db::maintenance::delete_dead_sessions(&mut *tx, now).await?,
        Job::OldSalts => db::maintenance::erase_old_salts(&mut *tx, now - MAX_LEEWAY).await?,
        Job::OldDeliveries => db::maintenance::delete_old_deliveries(&mut *tx, kept_since).await?,
        Job::OldEvents => db::maintenance::delete_old_events(&mut *tx, kept_since).await?,
    };
    tx.commit().await?;
    Ok(Some(rows))
}

/// After this many stored rows an instance looks whether there are too many in all.
const ROWS_BETWEEN_LOOKS: u32 = 1000;

/// What waits for people who may never come: authorization requests and sign-ins, which anybody can start without showing
/// who they are.
///
/// When there are too many, the oldest give way: whoever fills the table shortens the time that others have for signing in,
/// and keeps nobody out. The counting is done here, beside requests, and only after many rows: inside the storing statement
/// it would cost each of them more the more there are.
#[derive(Debug, Default)]
pub struct Waiting {
    stored_rows: AtomicU32,
}

impl Waiting {
    /// A request or a sign-in was stored.
    pub fn stored(&self, state: &AppState) {
        if self.stored_rows.fetch_add(1, Ordering::Relaxed) % ROWS_BETWEEN_LOOKS != ROWS_BETWEEN_LOOKS - 1 {
            return;
        }
        let state = state.clone();
        tokio::spawn(async move {
            match db::in_time(BATCH_PATIENCE, evict_surplus(&state)).await {
                Ok(0) => {}
                Ok(rows) => tracing::warn!(
                    rows,
                    "too many sign-ins are under way: the oldest have given way, people may have to start again"
                ),
                Err(error) => tracing::warn!(error = %error, "surplus sign-ins could not be deleted"),
            }
        });
    }
}

/// Deletes what waits beyond the bounds, the oldest first; how many rows it was.
pub async fn evict_surplus(state: &AppState) -> sqlx::Result<u64> {
    let (db, mut rows) = (&state.background_db, 0);
    loop {
        let requests =
            db::authorization_requests::evict_surplus(db, db::authorization_requests::MAX_IN_ALL, BATCH_ROWS);
        let flows = db::upstream_flows::evict_surplus(db, db::upstream_flows::MAX_IN_ALL, BATCH_ROWS);
        let evicted = requests.await? + flows.await?;
        if evicted == 0 {
            return Ok(rows);
        }
        rows += evicted;
    }
}
