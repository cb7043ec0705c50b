//! When a failed attempt is repeated: exponentially later, and never everything at once.

use aws_lc_rs::rand::SecureRandom;
use time::Duration;

/// After the first failure.
const FIRST: Duration = Duration::seconds(10);
/// Each wait is this many times the one before.
const FACTOR: i32 = 5;
/// The longest wait.
const LONGEST: Duration = Duration::HOUR;

/// How long to wait after so many `attempts` (from 1): half of the step for certain, and by chance up to as much again.
pub fn delay(attempts: u32, rng: &dyn SecureRandom) -> Duration {
    let step = step(attempts);
    let mut bytes = [0; 4];
    rng.fill(&mut bytes)
        .expect("the operating system provides randomness");
    let chance = f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX);
    step / 2 + step * chance
}

fn step(attempts: u32) -> Duration {
    let mut step: Duration = FIRST;
    for _ in 1..attempts {
        step = LONGEST.min(step * FACTOR);
    }
    step
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;

    use super::*;

    #[test]
    fn each_wait_is_five_times_the_one_before_up_to_an_hour() {
        let steps: Vec<i64> = (1..=7).map(|attempts| step(attempts).whole_seconds()).collect();
        assert_eq!(steps, [10, 50, 250, 1250, 3600, 3600, 3600]);
    }

    #[test]
    fn what_failed_together_is_not_repeated_together() {
        let waits: Vec<Duration> = (0..100).map(|_| delay(1, &SystemRandom::new())).collect();
        assert!(
            waits
                .iter()
                .all(|wait| (5.0..=15.0).contains(&wait.as_seconds_f64()))
        );
        let spread = *waits.iter().max().unwrap() - *waits.iter().min().unwrap();
        assert!(spread > Duration::seconds(5), "{spread}");
    }
}
