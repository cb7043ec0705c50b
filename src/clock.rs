//! The time, read at the edges and passed on as a value.
//!
//! Requests read it once (the `Now` extractor), workers once per round. Rules and queries receive it as an argument, so
//! that one clock decides everything and a test can move it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime, UtcOffset};

/// The source of the current time.
#[derive(Clone, Debug)]
pub struct Clock {
    /// Milliseconds by which a test has moved the clock; always zero in production.
    offset_millis: Arc<AtomicI64>,
    /// The latest reading, in microseconds since the epoch: a wall clock that is set back must not revive what has expired.
    high_water_micros: Arc<AtomicI64>,
    /// Where [`monotonic`](Self::monotonic) counts from.
    made_at: Instant,
    /// A test's clock stands still.
    held: Option<Arc<Held>>,
}

/// A clock that stands still.
#[derive(Debug)]
struct Held {
    /// A whole second, so that the readings do not reach the next one.
    wall: OffsetDateTime,
    readings: AtomicI64,
}

impl Held {
    /// A microsecond after the reading before: what is done one after the other is kept in that order.
    fn read(&self) -> OffsetDateTime {
        self.wall + Duration::microseconds(self.readings.fetch_add(1, Ordering::Relaxed))
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self {
            offset_millis: Arc::default(),
            high_water_micros: Arc::default(),
            made_at: Instant::now(),
            held: None,
        }
    }
}

/// A moment that somebody wrote down as RFC 3339 says, in UTC. `None`: it is written otherwise, or it has no year of four
/// digits in UTC, which PostgreSQL's driver cannot be given.
pub fn written_moment(text: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(text, &Rfc3339)
        .ok()?
        .checked_to_offset(UtcOffset::UTC)
}

impl Clock {
    /// A clock on which time passes by [`advance`](Self::advance) alone, apart from a microsecond at each reading. For tests,
    /// whose outcome would otherwise depend on how fast the machine is.
    pub fn held() -> Self {
        Self {
            held: Some(Arc::new(Held {
                wall: wall_clock().truncate_to_second(),
                readings: AtomicI64::default(),
            })),
            ..Self::default()
        }
    }

    /// The current time in UTC, never earlier than any reading before it, in whole microseconds as PostgreSQL keeps them.
    pub fn now(&self) -> OffsetDateTime {
        let wall = self.held.as_deref().map_or_else(wall_clock, Held::read)
            + Duration::milliseconds(self.offset_millis.load(Ordering::Relaxed));
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
        if self.held.is_some() {
            return moved;
        }
        self.made_at.elapsed() + moved
    }

    /// Moves the clock forward. For tests: everything that expires does so without anybody waiting.
    pub fn advance(&self, by: Duration) {
        let millis = i64::try_from(by.whole_milliseconds()).unwrap_or(i64::MAX);
        self.offset_millis.fetch_add(millis, Ordering::Relaxed);
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the edge where the clock is read"
)]
fn wall_clock() -> OffsetDateTime {
    OffsetDateTime::now_utc()
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

    #[test]
    fn a_held_clock_moves_when_it_is_told_to_alone() {
        let clock = Clock::held();
        let (wall, monotonic) = (clock.now(), clock.monotonic());
        std::thread::sleep(std::time::Duration::from_millis(2));
        assert_eq!(clock.now(), wall + Duration::microseconds(1));
        assert_eq!(clock.monotonic(), monotonic);
        clock.advance(Duration::seconds(1));
        assert_eq!(
            clock.now(),
            wall + Duration::seconds(1) + Duration::microseconds(2)
        );
        assert_eq!(clock.monotonic(), monotonic + std::time::Duration::from_secs(1));
    }
}
