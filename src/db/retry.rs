//! Transactions that the database gave up although nothing was wrong with them: two waited for each other (40P01), or one
//! could not be put in order with another (40001). PostgreSQL rolls such a transaction back as a whole, so it is tried again
//! as a whole: what it read before may not hold any more.
//!
//! One order of locks keeps this rare: administrators by id, the account, its sessions, what hangs on them (codes, grants,
//! links, requests), the audit trail's end.

use std::time::Duration;

use aws_lc_rs::rand::SecureRandom;

/// How often a transaction is tried in all.
const ATTEMPTS: u32 = 4;
/// The longest pause before the first repetition; each further one may be twice as long.
const FIRST_PAUSE_MILLIS: u32 = 20;

/// An error that the database may stand behind.
pub trait Failure {
    /// The database's own error, if it is one.
    fn of_database(&self) -> Option<&sqlx::Error>;
}

impl Failure for sqlx::Error {
    fn of_database(&self) -> Option<&sqlx::Error> {
        Some(self)
    }
}

/// What the database said may stand anywhere behind what is said of it.
impl Failure for anyhow::Error {
    fn of_database(&self) -> Option<&sqlx::Error> {
        self.chain().find_map(|cause| cause.downcast_ref())
    }
}

/// Whether the transaction was given up and may succeed when it is tried again: class 40 of SQLSTATE, but for a commit of
/// which nobody knows whether it was done (40003).
pub fn was_given_up(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code)
        .is_some_and(|code| code.starts_with("40") && code != "40003")
}

/// Runs a transaction, from its beginning to its commit, until the database does not give it up; four times at most, with
/// pauses of random length in between, so that two that met do not meet again.
pub async fn retrying<T, E, F>(
    rng: &(dyn SecureRandom + Sync),
    mut transaction: impl FnMut() -> F,
) -> Result<T, E>
where
    E: Failure,
    F: Future<Output = Result<T, E>>,
{
    for attempt in 1..ATTEMPTS {
        let done = transaction().await;
        match &done {
            Err(error) if error.of_database().is_some_and(was_given_up) => {
                tracing::warn!(
                    event = "transaction.repeated",
                    attempt,
                    "the database gave up a transaction, which is tried again"
                );
                tokio::time::sleep(pause(attempt, rng)).await;
            }
            _ => return done,
        }
    }
    transaction().await
}

/// Up to `FIRST_PAUSE_MILLIS`, doubled for each attempt that failed before.
fn pause(attempt: u32, rng: &dyn SecureRandom) -> Duration {
    let mut random = [0; 4];
    rng.fill(&mut random)
        .expect("the operating system provides randomness");
    let longest = FIRST_PAUSE_MILLIS << (attempt - 1);
    Duration::from_millis(u64::from(u32::from_be_bytes(random) % (longest + 1)))
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;

    use super::*;

    #[tokio::test]
    async fn what_the_database_did_not_give_up_is_done_once() {
        let mut runs = 0;
        let done: sqlx::Result<()> = retrying(&SystemRandom::new(), || {
            runs += 1;
            async { Err(sqlx::Error::PoolTimedOut) }
        })
        .await;
        assert!(done.is_err());
        assert_eq!(runs, 1);
    }

    #[test]
    fn pauses_grow_and_stay_short() {
        for attempt in 1..ATTEMPTS {
            for _ in 0..100 {
                assert!(pause(attempt, &SystemRandom::new()) <= Duration::from_millis(80));
            }
        }
    }
}
