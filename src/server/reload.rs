//! The configuration and the keys are read again on SIGHUP and when a file changes: a rotation needs no restart. Keys and the
//! numbers of the rate limits are taken over; of everything else that has changed the log says that it waits for the next
//! start. What is broken is refused as a whole and the old kept.

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

use super::load_keys;
use crate::config::{Config, Source};
use crate::http::state::AppState;

/// Editors write a file in several steps; what follows a change within this time belongs to it.
const SETTLE: Duration = Duration::from_millis(300);

/// Watches until the server stops. The watcher works for as long as the returned value lives.
pub fn spawn(state: AppState, path: Option<PathBuf>) -> Option<RecommendedWatcher> {
    let changed = Arc::new(Notify::new());
    let watcher = watch(&state.config, path.as_deref(), Arc::clone(&changed));
    tokio::spawn(async move {
        let Ok(mut hangup) = signal(SignalKind::hangup()) else {
            tracing::error!("SIGHUP cannot be received: restart to load new keys");
            return;
        };
        loop {
            tokio::select! {
                _ = hangup.recv() => {}
                () = changed.notified() => tokio::time::sleep(SETTLE).await,
                () = state.shutdown.cancelled() => return,
            }
            reload(&state, path.as_deref());
        }
    });
    watcher
}

/// Tells of changes in the directories of the configuration and the keys: a directory, because editors replace files.
fn watch(config: &Config, path: Option<&Path>, changed: Arc<Notify>) -> Option<RecommendedWatcher> {
    let keys = config.jwt.key_files();
    let names: HashSet<OsString> = path
        .into_iter()
        .chain(keys.iter().filter_map(|key| key.private_key_path.as_deref()))
        .chain(keys.iter().filter_map(|key| key.public_key_path.as_deref()))
        .filter_map(|path| path.file_name().map(OsString::from))
        .collect();
    // A log beside the configuration is none of our business. What begins with two dots is how Kubernetes swaps a volume.
    let concerns_us = move |path: &PathBuf| {
        path.file_name()
            .is_some_and(|name| names.contains(name) || name.as_encoded_bytes().starts_with(b".."))
    };
    let handler = move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|event| {
            !event.kind.is_access() && (event.paths.is_empty() || event.paths.iter().any(&concerns_us))
        }) {
            changed.notify_one();
        }
    };
    let mut watcher = match notify::recommended_watcher(handler) {
        Ok(watcher) => watcher,
        Err(error) => {
            tracing::warn!(error = %error, "files cannot be watched: send SIGHUP to load new keys");
            return None;
        }
    };
    let mut directories: Vec<&Path> = path
        .into_iter()
        .chain(keys.iter().filter_map(|key| key.private_key_path.as_deref()))
        .chain(keys.iter().filter_map(|key| key.public_key_path.as_deref()))
        .filter_map(Path::parent)
        .map(|directory| {
            if directory.as_os_str().is_empty() {
                Path::new(".")
            } else {
                directory
            }
        })
        .collect();
    directories.sort_unstable();
    directories.dedup();
    for directory in directories {
        if let Err(error) = watcher.watch(directory, RecursiveMode::NonRecursive) {
            tracing::warn!(error = %error, "a directory cannot be watched: send SIGHUP to load new keys");
        }
    }
    Some(watcher)
}

/// Reads configuration and keys anew; takes over the keys and the limits. Everything else of it counts after a restart.
pub fn reload(state: &AppState, path: Option<&Path>) {
    let _told = super::systemd::Reloading::begin();
    // From the same kind of source as at the start: a file that lies here by now is not looked for.
    let loaded = match path
        .map_or_else(Source::environment, |path| Source::find(Some(path)))
        .and_then(|source| source.load())
    {
        Ok(loaded) => loaded,
        Err(findings) => {
            tracing::error!(findings = %findings, "the new configuration is refused, the old one stays");
            return;
        }
    };
    match load_keys(&loaded.config, &state.clock) {
        Ok(keys) => {
            let now_published: Vec<&str> = keys.entries().iter().map(crate::jwt::KeyEntry::kid).collect();
            let old = state.keys.current();
            let before: Vec<&str> = old.entries().iter().map(crate::jwt::KeyEntry::kid).collect();
            if now_published == before {
                tracing::debug!("the keys are as they were");
            } else {
                tracing::info!(?before, now = ?now_published, "the signing keys were loaded anew");
            }
            state.keys.replace(keys);
        }
        Err(error) => {
            tracing::error!(error = %error, "the new keys are refused, the old ones stay, and so does everything else");
            return;
        }
    }
    if state.limits.take_over(&loaded.config.rate_limiting) {
        tracing::info!("the numbers of [rate_limiting] have changed and are taken over");
    }
    for section in changed_sections(&state.config, &loaded.config) {
        tracing::warn!(
            config.section = section,
            "{section} has changed and is taken over at the next start; keys and the numbers of [rate_limiting] are while running"
        );
    }
}

/// The sections that differ in more than what is taken over while running.
fn changed_sections(old: &Config, new: &Config) -> Vec<&'static str> {
    let [old, new] = [old, new].map(comparable);
    let changed = old.into_iter().zip(new).filter(|(old, new)| old != new);
    changed.map(|((section, _), _)| section).collect()
}

/// Every section as text. Secrets print alike, so they are compared apart; nobody sees the text.
fn comparable(config: &Config) -> [(&'static str, String); 13] {
    let mut jwt = config.jwt.clone();
    jwt.keys.clear();
    jwt.private_key_path = None;
    jwt.public_key_path = None;
    let database_url = config.database.url.expose_secret();
    let shown =
        |secret: &Option<SecretString>| secret.as_ref().map(|secret| secret.expose_secret().to_owned());
    let secret_keys: Vec<&str> = std::iter::once(&config.database.secret_key)
        .chain(&config.database.previous_secret_keys)
        .map(SecretString::expose_secret)
        .collect();
    let client_secrets: Vec<Option<String>> = config
        .oauth
        .providers
        .values()
        .map(|provider| shown(&provider.client_secret))
        .collect();
    [
        ("[server]", format!("{:?}", config.server)),
        (
            "[database]",
            format!("{:?} {database_url} {secret_keys:?}", config.database),
        ),
        ("[jwt]", format!("{jwt:?}")),
        ("[oauth]", format!("{:?} {client_secrets:?}", config.oauth)),
        ("[scopes]", format!("{:?}", config.scopes)),
        ("[usernames]", format!("{:?}", config.usernames)),
        ("[claims]", format!("{:?}", config.claims)),
        ("[maintenance]", format!("{:?}", config.maintenance)),
        (
            "rate_limiting.redis_url",
            format!("{:?}", shown(&config.rate_limiting.redis_url)),
        ),
        (
            "[metrics]",
            format!("{:?} {:?}", config.metrics, shown(&config.metrics.bearer_token)),
        ),
        ("[webhooks]", format!("{:?}", config.webhooks)),
        (
            "[telemetry]",
            format!("{:?} {:?}", config.telemetry, shown(&config.telemetry.headers)),
        ),
        ("[log]", format!("{:?}", config.log)),
    ]
}
