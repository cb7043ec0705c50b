//! Requests that set out at the same moment.

use std::sync::Arc;

use tokio::sync::Barrier;

/// How often a race is run.
pub(crate) const ROUNDS: usize = 100;

/// Both at the same moment, each in a task of its own.
pub(crate) async fn at_once<A, B>(one: A, other: B) -> (A::Output, B::Output)
where
    A: Future + Send + 'static,
    B: Future + Send + 'static,
    A::Output: Send,
    B::Output: Send,
{
    let barrier = Arc::new(Barrier::new(2));
    let first = Arc::clone(&barrier);
    let one = tokio::spawn(async move {
        first.wait().await;
        one.await
    });
    let other = tokio::spawn(async move {
        barrier.wait().await;
        other.await
    });
    (one.await.unwrap(), other.await.unwrap())
}

/// All of them at the same moment; what came of each, in their order.
pub(crate) async fn all_at_once<F>(racers: Vec<F>) -> Vec<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    let barrier = Arc::new(Barrier::new(racers.len()));
    let started: Vec<_> = racers
        .into_iter()
        .map(|racer| {
            let barrier = Arc::clone(&barrier);
            tokio::spawn(async move {
                barrier.wait().await;
                racer.await
            })
        })
        .collect();
    let mut done = Vec::new();
    for racer in started {
        done.push(racer.await.unwrap());
    }
    done
}
