//! Records in the database which keys are published and which of them sign, and announces when another one takes over.
//!
//! A key takes over at a reload, at a start, or when its `signs_from` comes; several instances see it at different moments
//! and the first one records it.

use std::time::{Duration, Instant};

use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use crate::db;
use crate::db::signing_keys::KeyInUse;
use crate::events::Event;
use crate::http::state::AppState;
use crate::jwt::KeySet;

/// How often the keys in use are compared with those recorded last. In memory, unless they differ.
const INTERVAL: Duration = Duration::from_secs(5);
/// What recording may take: the database may be gone without a word.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is noted for how long apps are told to keep the list of keys.
pub const MAX_AGE_INTERVAL: Duration = Duration::from_mins(1);

/// Records until `shutdown`. A database that is away is tried again.
pub async fn run(state: AppState, shutdown: CancellationToken) {
    let mut timer = tokio::time::interval(INTERVAL);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut recorded: Option<Vec<(String, bool)>> = None;
    let mut max_age_noted: Option<Instant> = None;
    loop {
        tokio::select! {
            _ = timer.tick() => {}
            () = shutdown.cancelled() => return,
        }
        let now = state.clock.now();
        if max_age_noted.is_none_or(|at| at.elapsed() >= MAX_AGE_INTERVAL) {
            match db::in_time(PATIENCE, note_max_age(&state, now)).await {
                Ok(()) => max_age_noted = Some(Instant::now()),
                Err(error) => tracing::debug!(error = %error, "the max-age of the keys could not be noted"),
            }
        }
        let current = in_use(&state.keys.current(), now);
        if recorded.as_ref() == Some(&current) {
            continue;
        }
        match db::in_time(PATIENCE, record(&state, now)).await {
            Ok(()) => recorded = Some(current),
            Err(error) => {
                tracing::debug!(error = %error, "the keys in use could not be recorded and are tried again");
            }
        }
    }
}

async fn note_max_age(state: &AppState, now: OffsetDateTime) -> sqlx::Result<()> {
    let max_age_secs = i32::try_from(state.config.jwt.jwks_cache_max_age_secs).unwrap_or(i32::MAX);
    db::signing_keys::serve_max_age(&state.background_db, max_age_secs, now).await
}

/// Records the keys as they are now, and announces those that began to sign.
pub async fn record(state: &AppState, now: OffsetDateTime) -> sqlx::Result<()> {
    let keys = state.keys.current();
    let rows: Vec<KeyInUse<'_>> = keys
        .entries()
        .iter()
        .map(|entry| KeyInUse {
            kid: entry.kid(),
            algorithm: entry.algorithm().as_str(),
            signs: signs(&keys, entry.kid(), now),
        })
        .collect();
    let mut tx = state.background_db.begin().await?;
    let started = db::signing_keys::record(&mut tx, &rows, now).await?;
    let events: Vec<Event> = started
        .into_iter()
        .map(|key| {
            tracing::info!(
                event = "key.rotated",
                kid = key.kid,
                algorithm = key.algorithm,
                "a key has begun to sign"
            );
            Event::KeyRotated {
                algorithm: key.algorithm,
                kid: key.kid,
                previous_kid: key.previous_kid,
            }
        })
        .collect();
    db::events::emit(&mut tx, &events, now).await?;
    tx.commit().await
}

fn in_use(keys: &KeySet, now: OffsetDateTime) -> Vec<(String, bool)> {
    keys.entries()
        .iter()
        .map(|entry| (entry.kid().to_owned(), signs(keys, entry.kid(), now)))
        .collect()
}

/// Whether the key signs whatever is signed with its algorithm.
fn signs(keys: &KeySet, kid: &str, now: OffsetDateTime) -> bool {
    keys.find(kid).is_some_and(|entry| {
        keys.active(Some(entry.algorithm()), now)
            .is_some_and(|active| active.kid() == kid)
    })
}
