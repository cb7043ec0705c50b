//! What a service manager is told (sd_notify(3)): ready, reloading, stopping, alive. Without one, as on a terminal or in a
//! container, nothing is sent.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;

/// The server listens. From now on the manager hears of the shutdown, and of every half period that its watchdog asks for.
pub fn ready(shutdown: CancellationToken) {
    tell(&[NotifyState::Ready]);
    tokio::spawn(async move {
        let period = sd_notify::watchdog_enabled().map_or(Duration::MAX, |period| period / 2);
        while tokio::time::timeout(period, shutdown.cancelled()).await.is_err() {
            tell(&[NotifyState::Watchdog]);
        }
        tell(&[NotifyState::Stopping]);
    });
}

/// The configuration is read anew for as long as this lives.
#[derive(Debug)]
pub struct Reloading(());

impl Reloading {
    /// Tells so.
    pub fn begin() -> Self {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => tell(&[NotifyState::Reloading, now]),
            Err(error) => tracing::debug!(error = %error, "there is no monotonic clock"),
        }
        Self(())
    }
}

impl Drop for Reloading {
    fn drop(&mut self) {
        tell(&[NotifyState::Ready]);
    }
}

fn tell(what: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(what) {
        tracing::warn!(error = %error, "the service manager cannot be told");
    }
}
