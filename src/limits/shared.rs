//! The shared store, with a rest after each failure: while it is away, a request now and then finds out whether it is back,
//! and none of the others waits for that.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use secrecy::SecretString;

use super::redis::Redis;
use super::rules::{Bucket, Verdict};

/// After a failure the store is left alone for this long.
const REST: Duration = Duration::from_secs(1);

/// Redis, and whether it answers.
pub(super) struct Shared {
    redis: Redis,
    /// Until when it is left alone, in milliseconds of the monotonic clock; 0: it answers.
    resting_until_millis: AtomicU64,
}

impl Shared {
    pub(super) fn new(url: &SecretString) -> anyhow::Result<Self> {
        Ok(Self {
            redis: Redis::new(url)?,
            resting_until_millis: AtomicU64::new(0),
        })
    }

    /// What the store says; `None` when it does not answer, or did not a moment ago.
    pub(super) async fn take(&self, buckets: &[Bucket], now: Duration) -> Option<Verdict> {
        let resting_until = self.resting_until_millis.load(Ordering::Relaxed);
        // Zero stands for "it answers", so no moment may be zero.
        let wake_at = millis(now + REST).max(1);
        if resting_until > 0 {
            let claimed = millis(now) >= resting_until
                && self
                    .resting_until_millis
                    .compare_exchange(resting_until, wake_at, Ordering::Relaxed, Ordering::Relaxed)
                    .is_ok();
            if !claimed {
                return None;
            }
        }
        match self.redis.take(buckets).await {
            Ok(verdict) => {
                if self.resting_until_millis.swap(0, Ordering::Relaxed) > 0 {
                    tracing::info!("Redis answers again: the instances share their rate limits");
                }
                Some(verdict)
            }
            Err(error) => {
                if self.resting_until_millis.swap(wake_at, Ordering::Relaxed) == 0 {
                    // The error's own words may hold the URL.
                    tracing::warn!(
                        error.kind = ?error.kind(),
                        "Redis does not answer: each instance counts its rate limits by itself meanwhile"
                    );
                }
                None
            }
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
