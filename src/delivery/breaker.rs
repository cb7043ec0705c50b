//! When an endpoint that does not answer is left alone, so that it does not hold what others could use.
//!
//! After a few failures in a row nothing is sent to it for a while, then one delivery, as a trial: if it fails, the pause is
//! longer, if it succeeds, everything goes on. Waiting costs a delivery none of its attempts.

use time::{Duration, OffsetDateTime};

/// Failures in a row after which the endpoint is left alone.
const TRIP_AFTER: u32 = 5;
/// The first pause.
const FIRST_PAUSE: Duration = Duration::seconds(5);
/// The longest one.
const LONGEST_PAUSE: Duration = Duration::minutes(1);

/// What is known of one endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Breaker {
    failures: u32,
    closed_until: Option<OffsetDateTime>,
}

impl Breaker {
    /// Something was delivered.
    pub fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// An attempt failed that may work later.
    pub fn failed(&mut self, now: OffsetDateTime) {
        self.failures = self.failures.saturating_add(1);
        if self.failures >= TRIP_AFTER {
            let mut pause: Duration = FIRST_PAUSE;
            for _ in TRIP_AFTER..self.failures {
                pause = LONGEST_PAUSE.min(pause * 2);
            }
            self.closed_until = Some(now + pause);
        }
    }

    /// How many deliveries may be under way at once, of `most`.
    pub fn admits(&self, most: usize, now: OffsetDateTime) -> usize {
        match self.closed_until {
            None => most,
            Some(until) if now < until => 0,
            Some(_) => 1,
        }
    }

    /// Whether the endpoint has failed so often that it is left alone.
    pub fn has_tripped(&self) -> bool {
        self.closed_until.is_some()
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn after_five_failures_in_a_row_it_pauses_then_tries_one() {
        let now = datetime!(2026-01-01 12:00 UTC);
        let mut breaker = Breaker::default();
        for _ in 0..4 {
            breaker.failed(now);
            assert_eq!(breaker.admits(2, now), 2);
        }
        breaker.failed(now);
        assert_eq!(breaker.admits(2, now), 0);
        assert_eq!(breaker.admits(2, now + Duration::seconds(4)), 0);
        assert_eq!(breaker.admits(2, now + Duration::seconds(5)), 1);
        breaker.failed(now + Duration::seconds(5));
        assert_eq!(breaker.admits(2, now + Duration::seconds(14)), 0);
        assert_eq!(breaker.admits(2, now + Duration::seconds(15)), 1);
        breaker.succeeded();
        assert_eq!(breaker.admits(2, now), 2);
    }

    #[test]
    fn the_pause_ends_after_a_minute_however_long_it_has_failed() {
        let now = datetime!(2026-01-01 12:00 UTC);
        let mut breaker = Breaker::default();
        for _ in 0..100 {
            breaker.failed(now);
        }
        assert_eq!(breaker.admits(2, now + Duration::seconds(59)), 0);
        assert_eq!(breaker.admits(2, now + Duration::minutes(1)), 1);
    }
}
