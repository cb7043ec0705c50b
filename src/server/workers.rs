//! What runs beside requests for as long as the server does: a mistake of ours that ends a worker must not be the end of its
//! work.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// Before a worker that has ended begins again.
const PAUSE: Duration = Duration::from_secs(1);

/// Runs `worker` until the server stops, again whenever it ends before. `name`: for the log.
pub async fn keep_running<F>(
    name: &'static str,
    metrics: Metrics,
    shutdown: CancellationToken,
    worker: impl Fn() -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    while !shutdown.is_cancelled() {
        // A set, so that the worker ends with whoever keeps it running.
        let mut running = JoinSet::new();
        running.spawn(worker());
        if let Some(Err(error)) = running.join_next().await
            && error.is_panic()
        {
            metrics.panicked();
            // What it panicked with may hold anything; where stands in a line of its own.
            tracing::error!(
                event = "worker.panicked",
                worker = name,
                "a worker ended by a mistake of ours and begins again"
            );
        }
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::metrics::Asked;

    #[tokio::test]
    async fn a_worker_that_panics_begins_again_and_is_counted() {
        let (metrics, shutdown, begun) = (Metrics::default(), CancellationToken::new(), Arc::default());
        let (token, count): (_, Arc<AtomicUsize>) = (shutdown.clone(), Arc::clone(&begun));
        let worker = move || {
            let (token, count) = (token.clone(), Arc::clone(&count));
            async move {
                assert!(count.fetch_add(1, Ordering::SeqCst) >= 2, "a mistake of ours");
                token.cancelled().await;
            }
        };
        let kept = tokio::spawn(keep_running(
            "of a test",
            metrics.clone(),
            shutdown.clone(),
            worker,
        ));
        while begun.load(Ordering::SeqCst) < 3 {
            tokio::time::sleep(PAUSE / 10).await;
        }
        let counted = metrics.render(&Asked::default());
        assert!(counted.contains("\nriley_auth_panics_total 2\n"), "{counted}");
        shutdown.cancel();
        kept.await.unwrap();
        assert_eq!(begun.load(Ordering::SeqCst), 3, "it ended with the server");
    }
}
