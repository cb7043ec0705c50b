//! What becomes of a value of the session cookie that is presented for renewal: the rule of refresh tokens (RFC 9700
//! §4.14.2), with one difference: there is no client to compare.

use time::OffsetDateTime;

use crate::protocol::grant::{is_clock_apart, is_within_leeway};
use crate::protocol::opaque::Salt;

/// What the decision depends on.
#[derive(Clone, Copy, Debug)]
pub struct TokenFacts {
    /// The session has neither ended nor expired, its user is live.
    pub alive: bool,
    pub consumed_at: Option<OffsetDateTime>,
    /// Present from consumption until the successor is first used.
    pub successor_salt: Option<Salt>,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug)]
pub enum SessionRotation {
    /// Spend it, store its successor.
    Rotate,
    /// A lost answer or a second tab: the same successor again, nothing is written.
    Repeat(Salt),
    /// Somebody uses a value that was replaced: end the session. `clock_apart`: see [`is_clock_apart`].
    Reused { clock_apart: bool },
    /// The session is over anyway.
    Dead,
}

/// Decides. `leeway_secs`: for how long a spent value gives its unused successor again; 0 is strict.
pub fn decide(token: &TokenFacts, leeway_secs: u32, now: OffsetDateTime) -> SessionRotation {
    if !token.alive {
        return SessionRotation::Dead;
    }
    let Some(consumed_at) = token.consumed_at else {
        return SessionRotation::Rotate;
    };
    match token.successor_salt {
        Some(salt) if is_within_leeway(consumed_at, leeway_secs, now) => SessionRotation::Repeat(salt),
        _ => SessionRotation::Reused {
            clock_apart: is_clock_apart(consumed_at, now),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::Duration;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-01-01 12:00 UTC);

    fn outcome(alive: bool, consumed_secs_ago: Option<i64>, salt: bool, leeway_secs: u32) -> &'static str {
        let facts = TokenFacts {
            alive,
            consumed_at: consumed_secs_ago.map(|secs| NOW - Duration::seconds(secs)),
            successor_salt: salt.then_some(Salt([7; 32])),
        };
        match decide(&facts, leeway_secs, NOW) {
            SessionRotation::Rotate => "rotate",
            SessionRotation::Repeat(_) => "repeat",
            SessionRotation::Reused { clock_apart: false } => "reused",
            SessionRotation::Reused { clock_apart: true } => "reused, clocks apart",
            SessionRotation::Dead => "dead",
        }
    }

    #[test]
    fn an_unspent_value_rotates() {
        assert_eq!(outcome(true, None, false, 10), "rotate");
        assert_eq!(outcome(true, None, false, 0), "rotate");
    }

    #[test]
    fn a_spent_value_gives_the_same_successor_within_the_leeway_while_that_is_unused() {
        assert_eq!(outcome(true, Some(0), true, 10), "repeat");
        assert_eq!(outcome(true, Some(9), true, 10), "repeat");
        assert_eq!(outcome(true, Some(10), true, 10), "reused");
        assert_eq!(outcome(true, Some(1), false, 10), "reused");
        assert_eq!(outcome(true, Some(-60), true, 10), "repeat");
        // The clock was set back, or another instance's is far ahead.
        for ahead in [-61, -3600] {
            assert_eq!(outcome(true, Some(ahead), true, 10), "reused, clocks apart");
        }
    }

    #[test]
    fn without_leeway_every_second_use_is_reuse() {
        assert_eq!(outcome(true, Some(0), true, 0), "reused");
    }

    #[test]
    fn a_session_that_is_over_is_over_and_raises_no_alarm() {
        assert_eq!(outcome(false, None, false, 10), "dead");
        assert_eq!(outcome(false, Some(100), false, 10), "dead");
    }
}
