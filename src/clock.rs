//! The time, read at the edges and passed on as a value.
//!
//! Requests read it once (the `Now` extractor), workers once per round. Rules and queries receive it as an argument, so
//! that one clock decides everything and a test can move it.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime, UtcOffset};

/// The source of the current time.
///
/// It follows the wall clock and never runs back, so that a wall clock that is set back revives nothing. Meanwhile it must not
/// stand still either: leeways, codes, tokens and leases would last for as long as the step. And it must not go on as if nothing
/// had happened: it would be ahead of everybody else for good. So as long as the wall clock is behind, time goes on at half the pace
/// of the monotonic clock: whatever lasts a while lasts twice as long at most, and the wall clock has caught up after twice the
/// step.
#[derive(Clone, Debug)]
pub struct Clock {
    /// Milliseconds by which a test has moved the wall clock; always zero in production.
    wall_offset_millis: Arc<AtomicI64>,
    /// And by which it has let time pass.
    passed_millis: Arc<AtomicI64>,
    /// The latest reading that was the wall clock's.
    latest: Arc<Mutex<Reading>>,
    /// Where [`monotonic`](Self::monotonic) counts from.
    made_at: Instant,
    /// A test's clock stands still.
    held: Option<Arc<Held>>,
}

/// What both clocks said at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Reading {
    /// Since the epoch.
    wall_micros: i64,
    monotonic: std::time::Duration,
}

impl Reading {
    /// What time it is in microseconds since the epoch, and the reading to judge the next one by. `self`: the latest one at which
    /// the wall clock was not behind; `now`: what the clocks say.
    fn followed_by(self, now: Self) -> (i64, Self) {
        let elapsed = now.monotonic.saturating_sub(self.monotonic);
        let half = i64::try_from(elapsed.as_micros() / 2).unwrap_or(i64::MAX);
        let at_half_the_pace = self.wall_micros.saturating_add(half);
        if now.wall_micros >= at_half_the_pace {
            (now.wall_micros, now)
        } else {
            (at_half_the_pace, self)
        }
    }
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
            wall_offset_millis: Arc::default(),
            passed_millis: Arc::default(),
            latest: Arc::default(),
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
        // Read under the lock, so that readings are judged in the order in which they are made.
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let wall = self.held.as_deref().map_or_else(wall_clock, Held::read)
            + Duration::milliseconds(self.wall_offset_millis.load(Ordering::Relaxed));
        let now = Reading {
            wall_micros: i64::try_from(wall.unix_timestamp_nanos() / 1_000).unwrap_or(i64::MAX),
            monotonic: self.monotonic(),
        };
        let (micros, reading) = latest.followed_by(now);
        *latest = reading;
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1_000).unwrap_or(wall)
    }

    /// The time since the clock was made, which no step of the wall clock changes: for durations, such as those of limits.
    pub fn monotonic(&self) -> std::time::Duration {
        let passed = self.passed_millis.load(Ordering::Relaxed);
        let passed = std::time::Duration::from_millis(u64::try_from(passed).unwrap_or(0));
        if self.held.is_some() {
            return passed;
        }
        self.made_at.elapsed() + passed
    }

    /// Lets time pass, for all clocks alike. For tests: everything that expires does so without anybody waiting.
    pub fn advance(&self, by: Duration) {
        let millis = i64::try_from(by.whole_milliseconds()).unwrap_or(i64::MAX);
        self.passed_millis.fetch_add(millis, Ordering::Relaxed);
        self.wall_offset_millis.fetch_add(millis, Ordering::Relaxed);
    }

    /// Sets the wall clock, forward or back, while no time passes: as whoever sets a machine's time. For tests.
    pub fn set_wall_clock(&self, by: Duration) {
        let millis = i64::try_from(by.whole_milliseconds()).unwrap_or(i64::MAX);
        self.wall_offset_millis.fetch_add(millis, Ordering::Relaxed);
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
        clock.set_wall_clock(Duration::hours(-2));
        assert!(clock.now() >= after);
    }

    fn reading(wall_secs: i64, monotonic_secs: u64) -> Reading {
        Reading {
            wall_micros: wall_secs * 1_000_000,
            monotonic: std::time::Duration::from_secs(monotonic_secs),
        }
    }

    /// Each is judged by what the one before left. The seconds that it was.
    fn read_one_after_the_other(readings: &[Reading]) -> Vec<i64> {
        let mut latest = Reading::default();
        let seconds = readings.iter().map(|now| {
            let (micros, next) = latest.followed_by(*now);
            latest = next;
            micros / 1_000_000
        });
        seconds.collect()
    }

    #[test]
    fn the_wall_clock_is_followed_as_long_as_it_is_not_behind() {
        let told = read_one_after_the_other(&[
            reading(1_000_000, 0),
            reading(1_000_010, 10),
            // Somebody sets it forward; then it is slewed, at less than the pace of the monotonic clock.
            reading(1_003_610, 10),
            reading(1_003_620, 21),
        ]);
        assert_eq!(told, [1_000_000, 1_000_010, 1_003_610, 1_003_620]);
    }

    /// Durations at most double, and after twice the step it is as late as everybody says.
    #[test]
    fn a_wall_clock_that_was_set_back_is_waited_for_at_half_the_pace() {
        let start = 1_000_000;
        let told = read_one_after_the_other(&[
            reading(start, 0),
            reading(start - 3600, 0),
            reading(start - 3600 + 20, 20),
            // Set back once more meanwhile: nothing changes but how long it takes.
            reading(start - 7200 + 40, 40),
            reading(start - 3600 + 7198, 7198),
            reading(start + 3600, 7200),
            reading(start + 3601, 7201),
        ]);
        let told: Vec<i64> = told.iter().map(|second| second - start).collect();
        assert_eq!(told, [0, 0, 10, 20, 3599, 3600, 3601]);
    }

    /// However often it is read, no time is lost by that.
    #[test]
    fn half_the_pace_is_kept_between_the_readings_of_a_busy_server() {
        let mut latest = reading(1_000_000, 0);
        let mut told = 0;
        for micros in 0..=1001 {
            let now = Reading {
                wall_micros: 0,
                monotonic: std::time::Duration::from_micros(micros),
            };
            (told, latest) = latest.followed_by(now);
        }
        assert_eq!(told, 1_000_000_000_500);
    }

    #[test]
    fn a_clock_that_was_set_back_goes_on_and_never_runs_back() {
        let clock = Clock::held();
        let before = clock.now();
        clock.set_wall_clock(-Duration::HOUR);
        assert_eq!(clock.now(), before);
        clock.advance(Duration::seconds(30));
        assert_eq!(clock.now(), before + Duration::seconds(15));
        clock.advance(Duration::hours(2));
        let after = clock.now() - before - Duration::hours(1) - Duration::seconds(30);
        assert!(after.abs() < Duration::milliseconds(1), "{after}");
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
