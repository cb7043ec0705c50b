//! Clocks: tokens say when they begin and end, so everybody has to agree what time it is.

use std::time::Duration;

use crate::config::finding::Finding;

/// Client libraries that judge `iat` strictly allow about this much.
const WARN_SECS: i64 = 5;
/// What riley-auth itself allows to upstream providers; beyond it nobody can sign in.
const ERROR_SECS: i64 = 60;
const MEND: &str = "keep the clock by NTP (systemd-timesyncd, chrony) on every machine";

/// Readings of clocks against this machine's.
#[derive(Default)]
pub(super) struct Clocks(Vec<(String, i64)>);

impl Clocks {
    /// `theirs`: what the clock said in answer to a question of `asked_at`, which took `took`; all since the epoch, in
    /// microseconds. A reading anywhere within the exchange counts as equal.
    pub(super) fn note(&mut self, whose: &str, theirs: i64, asked_at: i64, took: Duration) {
        let took = i64::try_from(took.as_micros()).unwrap_or(i64::MAX);
        let ahead = theirs - asked_at;
        let beyond = if ahead < 0 { ahead } else { (ahead - took).max(0) };
        self.0.push((whose.to_owned(), beyond / 1_000_000));
    }

    /// When most other clocks disagree with this machine in the same way, it is this machine's that is wrong.
    pub(super) fn judge(&self) -> Vec<Finding> {
        let off: Vec<&(String, i64)> = self
            .0
            .iter()
            .filter(|(_, secs)| secs.abs() >= WARN_SECS)
            .collect();
        let agree = |(_, secs): &(String, i64)| off.iter().all(|(_, other)| (other - secs).abs() < WARN_SECS);
        if off.len() > 1 && off.len() == self.0.len() && off.iter().all(|reading| agree(reading)) {
            let secs = off[0].1;
            return vec![Finding::warning(
                "clock",
                format!("this machine's clock is {}: all others agree", by(-secs)),
                MEND,
            )];
        }
        let findings = off.iter().map(|(whose, secs)| {
            let problem = format!("the clock of {whose} is {} of this machine's", by(*secs));
            if secs.abs() >= ERROR_SECS {
                Finding::error("clock", problem, MEND)
            } else {
                Finding::warning("clock", problem, MEND)
            }
        });
        findings.collect()
    }
}

fn by(secs: i64) -> String {
    format!(
        "{} seconds {}",
        secs.abs(),
        if secs < 0 { "behind" } else { "ahead" }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(readings: &[(&str, i64)]) -> Vec<Finding> {
        let mut clocks = Clocks::default();
        for (whose, secs) in readings {
            clocks.note(whose, secs * 1_000_000, 0, Duration::from_secs(1));
        }
        clocks.judge()
    }

    #[test]
    fn a_clock_that_is_off_is_named_with_its_distance() {
        assert_eq!(
            judged(&[("the server", 0), ("the database", 4), ("google", -4)]),
            []
        );
        let found = judged(&[("the server", 31), ("the database", 0)]);
        assert!(
            found[0].problem.contains("the server is 30 seconds ahead"),
            "{}",
            found[0]
        );
        assert!(!found[0].is_error());
        let found = judged(&[("the server", -70), ("the database", 0)]);
        assert!(
            found[0].is_error() && found[0].problem.contains("70 seconds behind"),
            "{}",
            found[0]
        );
    }

    #[test]
    fn when_all_others_agree_it_is_this_machine() {
        let found = judged(&[("the server", -20), ("the database", -20), ("google", -21)]);
        assert_eq!(found.len(), 1);
        assert!(
            found[0]
                .problem
                .contains("this machine's clock is 20 seconds ahead"),
            "{}",
            found[0]
        );
    }
}
