//! The configuration and the keys are read again on SIGHUP and when a file changes: a rotation needs no restart. Keys, the
//! numbers of the rate limits and the level of the log are taken over; of everything else that has changed the log says that it
//! waits for the next start. What is broken is refused as a whole and the old kept.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use secrecy::{ExposeSecret as _, SecretString};
use time::format_description::well_known::Rfc3339;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::load_keys;
use crate::config::log::LogConfig;
use crate::config::{Config, Source};
use crate::http::state::AppState;
use crate::jwt::{KeyEntry, KeySet};

/// Editors write a file in several steps; what follows a change within this time belongs to it.
const SETTLE: Duration = Duration::from_millis(300);

/// Lets the log follow another configuration; `true`: something about it is different.
pub type LogChange = fn(&LogConfig) -> bool;

/// What SIGHUP asks for. From now on it ends no process that has not come to reading it yet.
pub fn requests() -> Option<Signal> {
    let requests = signal(SignalKind::hangup());
    if requests.is_err() {
        tracing::error!("SIGHUP cannot be received: restart to load new keys");
    }
    requests.ok()
}

/// Reads again whenever it is asked to, until the server stops.
pub fn spawn(
    state: AppState,
    path: Option<PathBuf>,
    mut requests: Option<Signal>,
    change_log: LogChange,
) -> JoinHandle<()> {
    let changed = Arc::new(Notify::new());
    let mut files = watched_files(&state.config, path.as_deref());
    let mut _watcher = watch(&files, Arc::clone(&changed));
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = asked(&mut requests) => {}
                () = changed.notified() => tokio::time::sleep(SETTLE).await,
                () = state.shutdown.cancelled() => return,
            }
            let config = reload(&state, path.as_deref(), change_log);
            let named =
                config.map_or_else(|| files.clone(), |config| watched_files(&config, path.as_deref()));
            let others = named != files;
            files = named;
            // Each time: a directory may be another one by now, under the same name.
            _watcher = watch(&files, Arc::clone(&changed));
            if others {
                changed.notify_one();
            }
        }
    })
}

async fn asked(requests: &mut Option<Signal>) {
    match requests {
        Some(requests) => {
            requests.recv().await;
        }
        None => std::future::pending().await,
    }
}

/// The files that a configuration consists of, or names.
fn watched_files(config: &Config, path: Option<&Path>) -> BTreeSet<PathBuf> {
    let keys = config.jwt.key_files();
    let keys = keys
        .iter()
        .flat_map(|key| [&key.private_key_path, &key.public_key_path]);
    let keys = keys.filter_map(Option::as_deref);
    path.into_iter().chain(keys).map(Path::to_owned).collect()
}

/// Tells of changes to the files, by watching their directories, because editors replace files.
fn watch(files: &BTreeSet<PathBuf>, changed: Arc<Notify>) -> Option<RecommendedWatcher> {
    let directories: BTreeSet<PathBuf> = files
        .iter()
        .filter_map(|path| path.parent())
        .map(|directory| {
            if directory.as_os_str().is_empty() {
                PathBuf::from(".")
            } else {
                directory.to_owned()
            }
        })
        .collect();
    let names: BTreeSet<_> = files
        .iter()
        .filter_map(|path| path.file_name().map(ToOwned::to_owned))
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
    for directory in directories {
        if let Err(error) = watcher.watch(&directory, RecursiveMode::NonRecursive) {
            tracing::warn!(error = %error, "a directory cannot be watched: send SIGHUP to load new keys");
        }
    }
    Some(watcher)
}

/// Reads configuration and keys anew and gives back the configuration, unless it cannot be read; takes over the keys, the limits
/// and the level of the log, unless the keys are refused. Everything else of it counts after a restart.
pub fn reload(state: &AppState, path: Option<&Path>, change_log: LogChange) -> Option<Config> {
    let _told = super::systemd::Reloading::begin();
    // From the same kind of source as at the start: a file that lies here by now is not looked for.
    let loaded = match path
        .map_or_else(Source::environment, |path| Source::find(Some(path)))
        .and_then(|source| source.load())
    {
        Ok(loaded) => loaded,
        Err(findings) => {
            tracing::error!(findings = %findings, "the new configuration is refused, the old one stays");
            return None;
        }
    };
    match load_keys(&loaded.config, &state.clock) {
        Ok(keys) => take_over_keys(state, keys),
        Err(error) => {
            tracing::error!(error = %error, "the new keys are refused, the old ones stay, and so does everything else");
            // The files that it names may still be on their way.
            return Some(loaded.config);
        }
    }
    if let Some(before) = state.limits.take_over(&loaded.config.rate_limiting) {
        let now = loaded.config.rate_limiting.numbers();
        tracing::info!(
            event = "rate_limiting.changed",
            before,
            now,
            "the numbers of [rate_limiting] have changed and are taken over"
        );
    }
    if change_log(&loaded.config.log) {
        let now = loaded.config.log.level.as_deref().unwrap_or("the default");
        tracing::info!(
            event = "log.changed",
            now,
            "log.level has changed and is taken over"
        );
    }
    for section in changed_sections(&state.config, &loaded.config) {
        tracing::warn!(
            config.section = section,
            "{section} has changed and is taken over at the next start; keys, the numbers of [rate_limiting] and log.level are while running"
        );
    }
    Some(loaded.config)
}

fn take_over_keys(state: &AppState, keys: KeySet) {
    let [before, now] = [&*state.keys.current(), &keys].map(outline);
    if before == now {
        tracing::debug!("the keys are as they were");
    } else {
        tracing::info!(
            event = "keys.loaded",
            before = before.join("; "),
            now = now.join("; "),
            "the signing keys were loaded anew"
        );
    }
    for kid in signing_too_soon(state, &keys) {
        tracing::warn!(
            event = "keys.too_soon",
            kid,
            max_age_secs = state.config.jwt.jwks_cache_max_age_secs,
            "a new key signs before every app has fetched it: those that keep the list of keys as long as this server says \
             refuse its tokens meanwhile"
        );
    }
    state.keys.replace(keys);
}

/// The new keys that sign before a list without them, given out just now, is fetched anew. The time is the one that this server
/// says, whatever the file says by now.
fn signing_too_soon(state: &AppState, keys: &KeySet) -> Vec<String> {
    let max_age = time::Duration::seconds(state.config.jwt.jwks_cache_max_age_secs.into());
    let now = state.clock.now();
    let published = state.keys.current();
    let is_too_soon = |key: &&KeyEntry| {
        key.can_sign()
            && published.find(key.kid()).is_none()
            && key.signs_from().unwrap_or(now) < now + max_age
            && keys
                .active(Some(key.algorithm()), now + max_age)
                .is_some_and(|active| active.kid() == key.kid())
            && published.active(Some(key.algorithm()), now).is_some()
    };
    keys.entries()
        .iter()
        .filter(is_too_soon)
        .map(|key| key.kid().to_owned())
        .collect()
}

/// Of each key what decides about its use, in the order of the list.
pub fn outline(keys: &KeySet) -> Vec<String> {
    let describe = |key: &KeyEntry| {
        let signs = match (key.can_sign(), key.signs_from()) {
            (false, _) => "never signs".to_owned(),
            (true, None) => "may sign".to_owned(),
            (true, Some(from)) => {
                format!("signs from {}", from.format(&Rfc3339).unwrap_or_default())
            }
        };
        format!("{} {} {signs}", key.kid(), key.algorithm())
    };
    keys.entries().iter().map(describe).collect()
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
    let shown =
        |secret: &Option<SecretString>| secret.as_ref().map(|secret| secret.expose_secret().to_owned());
    let database_urls = (
        config.database.url.expose_secret(),
        shown(&config.database.direct_url),
    );
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
            format!("{:?} {database_urls:?} {secret_keys:?}", config.database),
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
        ("log.format", format!("{:?}", config.log.format)),
    ]
}
