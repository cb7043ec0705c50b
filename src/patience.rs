//! How long a request is worked on before it is given up.
//!
//! Whoever waits for a database that is gone without a word would wait until the operating system gives up its connection, which
//! takes a quarter of an hour. A statement's limit is the server's, who is not there; so the request has one of its own. Its
//! time stands still while it waits for somebody else whose answer has an end of its own: the client's body, an upstream.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

tokio::task_local! {
    static OF_THIS_REQUEST: Patience;
}

/// The time that is left for one request. A clone is the same.
#[derive(Clone, Debug)]
pub struct Patience(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    ends_at: Instant,
    /// How many things are waited for that do not count.
    standing: usize,
    standing_since: Instant,
}

impl Patience {
    /// This long, from now on.
    pub fn new(patience: Duration) -> Self {
        let now = Instant::now();
        Self(Arc::new(Mutex::new(State {
            ends_at: now + patience,
            standing: 0,
            standing_since: now,
        })))
    }

    /// What `work` comes to; `None`: it took too long and was dropped.
    pub async fn bound<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let work = OF_THIS_REQUEST.scope(self.clone(), work);
        tokio::select! {
            done = work => Some(done),
            () = self.runs_out() => None,
        }
    }

    /// Lets the time stand still until the returned value is dropped.
    pub fn stand_still(&self) -> StandingStill {
        let mut state = self.state();
        if state.standing == 0 {
            state.standing_since = Instant::now();
        }
        state.standing += 1;
        StandingStill(self.clone())
    }

    /// When the time is over, as far as is known now; `None`: it stands still.
    fn ends_at(&self) -> Option<Instant> {
        let state = self.state();
        (state.standing == 0).then_some(state.ends_at)
    }

    /// Looks again when the time would have been over, and a little later while it stands still.
    async fn runs_out(&self) {
        const PAUSE: Duration = Duration::from_millis(100);
        loop {
            let now = Instant::now();
            match self.ends_at() {
                Some(ends_at) if ends_at <= now => return,
                Some(ends_at) => sleep_until(ends_at).await,
                None => sleep_until(now + PAUSE).await,
            }
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// While it lives, a request's time stands still.
#[derive(Debug)]
pub struct StandingStill(Patience);

impl Drop for StandingStill {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.standing -= 1;
        if state.standing == 0 {
            let stood = state.standing_since.elapsed();
            state.ends_at += stood;
        }
    }
}

/// Waits for somebody whose answer has an end of its own, which is not counted. Beside requests it is as if it were not there.
pub async fn elsewhere<T>(waiting: impl Future<Output = T>) -> T {
    let _standing = OF_THIS_REQUEST.try_with(Patience::stand_still).ok();
    waiting.await
}

/// From now on this request may take so long at least.
pub fn extend(by: Duration) {
    // Beside requests there is nothing to extend.
    let _ = OF_THIS_REQUEST.try_with(|patience| {
        let mut state = patience.state();
        state.ends_at = state.ends_at.max(Instant::now() + by);
    });
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    const WHILE: Duration = Duration::from_millis(200);

    #[tokio::test]
    async fn what_takes_too_long_is_given_up() {
        let started = Instant::now();
        assert_eq!(Patience::new(WHILE).bound(sleep(WHILE * 50)).await, None);
        assert!((WHILE..WHILE * 20).contains(&started.elapsed()));
        assert_eq!(Patience::new(WHILE * 50).bound(sleep(WHILE)).await, Some(()));
    }

    #[tokio::test]
    async fn waiting_for_somebody_else_is_not_counted() {
        let work = async {
            elsewhere(elsewhere(sleep(WHILE * 3))).await;
            sleep(WHILE / 4).await;
        };
        assert_eq!(Patience::new(WHILE).bound(work).await, Some(()));
        let work = async {
            elsewhere(sleep(WHILE)).await;
            sleep(WHILE * 50).await;
        };
        let started = Instant::now();
        assert_eq!(Patience::new(WHILE).bound(work).await, None);
        assert!((WHILE * 2..WHILE * 20).contains(&started.elapsed()));
    }

    #[tokio::test]
    async fn what_is_known_to_take_long_has_its_time() {
        let work = async {
            extend(WHILE * 50);
            extend(WHILE);
            sleep(WHILE * 3).await;
        };
        assert_eq!(Patience::new(WHILE).bound(work).await, Some(()));
    }
}
