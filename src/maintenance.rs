//! The clean-up that runs at start and on a timer, on one instance at a time.

use std::time::Duration;

use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use crate::db;
use crate::http::state::AppState;

/// The longest leeway that a client can have: salts older than this serve nobody.
const MAX_LEEWAY: time::Duration = time::Duration::seconds(300);

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
            Ok(rows) => tracing::debug!(rows, "cleaned up"),
            Err(error) => tracing::warn!(
                error = format!("{error:#}"),
                "the clean-up failed and is tried again later"
            ),
        }
    }
}

/// One round: every job until it finds nothing more. Returns the number of rows; 0 also when another instance is at it.
///
/// A batch is a transaction of its own that holds the lock, so that it needs one connection and none stands idle meanwhile:
/// an idle transaction is ended by the database, and the lock with it.
pub async fn clean_up(state: &AppState, now: OffsetDateTime) -> sqlx::Result<u64> {
    let access_tokens_dead = now - time::Duration::seconds(i64::from(state.config.jwt.access_token_ttl_secs));
    let mut rows = 0;
    loop {
        let mut tx = state.db.begin().await?;
        if !db::maintenance::try_lock(&mut *tx).await? {
            return Ok(rows);
        }
        let round = db::maintenance::delete_expired_waiting(&mut *tx, now).await?
            + db::maintenance::delete_dead_grants(&mut *tx, access_tokens_dead, now).await?
            + db::maintenance::delete_dead_codes(&mut *tx, now).await?
            + db::maintenance::delete_dead_sessions(&mut *tx, now).await?
            + db::maintenance::erase_old_salts(&mut *tx, now - MAX_LEEWAY).await?;
        tx.commit().await?;
        rows += round;
        if round == 0 {
            return Ok(rows);
        }
    }
}
