//! The time, read at the edges and passed on as a value.
//!
//! Requests read it once (the `Now` extractor), workers once per round. Rules and queries receive it as an argument, so
//! that one clock decides everything and a test can move it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Instant;

use time::{Duration, OffsetDateTime};

/// The source of the current time.
#[derive(Clone, Debug)]
pub struct Clock {
    /// Milliseconds by which a test has moved the clock; always zero in production.
    offset_millis: Arc<AtomicI64>,
    /// The latest reading, in microseconds since the epoch: a wall clock that is set back must not revive what has expired.
    high_water_micros: Arc<AtomicI64>,
    /// Where [`monotonic`](Self::monotonic) counts from.
    made_at: Instant,
    /// A test holds the monotonic time still.
    held: Arc<AtomicBool>,
}

impl Default for Clock {
    fn default() -> Self {
        Self {
            offset_millis: Arc::default(),
            high_water_micros: Arc::default(),
            made_at: Instant::now(),
            held: Arc::default(),
        }
    }
}

impl Clock {
    /// The current time in UTC, never earlier than any reading before it, in whole microseconds as PostgreSQL keeps them.
    pub fn now(&self) -> OffsetDateTime {
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the edge where the clock is read"
        )]
        let wall =
            OffsetDateTime::now_utc() + Duration::milliseconds(self.offset_millis.load(Ordering::Relaxed));
        let micros = i64::try_from(wall.unix_timestamp_nanos() / 1_000).unwrap_or(i64::MAX);
        let latest = self
            .high_water_micros
            .fetch_max(micros, Ordering::Relaxed)
            .max(micros);
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(latest) * 1_000).unwrap_or(wall)
    }

    /// The time since the clock was made, which no step of the wall clock changes: for durations, such as those of limits.
    pub fn monotonic(&self) -> std::time::Duration {
        let moved = self.offset_millis.load(Ordering::Relaxed);
        let moved = std::time::Duration::from_millis(u64::try_from(moved).unwrap_or(0));
        if self.held.load(Ordering::Relaxed) {
            return moved;
        }
        self.made_at.elapsed() + moved
    }

    /// From now on monotonic time passes by [`advance`](Self::advance) alone. For tests of limits, whose figures would
    /// otherwise depend on how fast the machine is.
    pub fn hold(&self) {
        self.held.store(true, Ordering::Relaxed);
    }

    /// Moves the clock forward. For tests: everything that expires does so without anybody waiting.
    pub fn advance(&self, by: Duration) {
        let millis = i64::try_from(by.whole_milliseconds()).unwrap_or(i64::MAX);
        self.offset_millis.fetch_add(millis, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_moves_only_forward() {
        let clock = Clock::default();
        let before = clock.now();
        clock.advance(Duration::hours(1));
        let after = clock.now();
        assert!(after - before >= Duration::hours(1));
        clock.advance(Duration::hours(-2));
        assert!(clock.now() >= after);
    }
}
