//! Turns to sign: how much of the machine slow signatures (RSA) take at once.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinError;

use crate::patience::elsewhere;

/// As many at once as the machine has processors, on threads that serve no connection. More would not be faster, and would
/// keep requests that sign nothing waiting; who waits for a turn waits within the time of its request.
pub struct SigningTurns(Arc<Semaphore>);

impl Default for SigningTurns {
    fn default() -> Self {
        Self::of(std::thread::available_parallelism().map_or(1, std::num::NonZero::get))
    }
}

impl SigningTurns {
    fn of(turns: usize) -> Self {
        Self(Arc::new(Semaphore::new(turns)))
    }

    /// Does the work when it is its turn.
    ///
    /// # Errors
    /// The work panicked.
    pub async fn take<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        // Neither the wait nor the work is the database's: a queue of signatures is bounded by the whole request's time.
        elsewhere(self.take_in_turn(work)).await
    }

    async fn take_in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        let turn = Arc::clone(&self.0)
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        // A request that is given up meanwhile does not stop the work, so the turn goes with that, and with a panic.
        tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work()
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    /// RS-5: however many want to sign at once, and also when they have given up waiting.
    #[tokio::test]
    async fn no_more_signatures_are_made_at_once_than_there_are_turns() {
        let turns = Arc::new(SigningTurns::of(2));
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..64 {
            let (turns, running, most) = (Arc::clone(&turns), Arc::clone(&running), Arc::clone(&most));
            let work = move || {
                let now = running.fetch_add(1, Ordering::SeqCst) + 1;
                most.fetch_max(now, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(5));
                running.fetch_sub(1, Ordering::SeqCst);
            };
            let task = tasks.spawn(async move { turns.take(work).await });
            if number % 3 == 0 {
                tokio::task::yield_now().await;
                task.abort();
            }
        }
        while tasks.join_next().await.is_some() {}
        assert_eq!(most.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_panic_gives_its_turn_back() {
        let turns = SigningTurns::of(1);
        turns.take(|| panic!("a signature")).await.unwrap_err();
        assert_eq!(turns.take(|| 7).await.unwrap(), 7);
    }
}
