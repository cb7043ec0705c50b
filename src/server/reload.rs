//! The configuration and the keys are read again on SIGHUP and when a file changes: a rotation needs no restart. Keys, the
//! numbers of the rate limits and the level of the log are taken over; of everything else that has changed the log says that it
//! waits for the next start. What is broken is refused as a whole and the old kept.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use secrecy::{ExposeSecret as _, SecretString};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::key_record::MAX_AGE_INTERVAL;
use super::load_keys;
use crate::config::log::LogConfig;
use crate::config::{Config, Source};
use crate::db;
use crate::http::state::AppState;
use crate::jwt::{KeyEntry, KeySet};
use crate::protocol::algorithm::SigningAlgorithm;

/// Editors write a file in several steps; what follows a change within this time belongs to it.
const SETTLE: Duration = Duration::from_millis(300);
/// How long the database may take to say what it knows of keys. What is done with them does not wait for that.
const PATIENCE: Duration = Duration::from_secs(2);

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

/// The files that are watched, and whether one of them has changed since somebody last asked.
pub struct Watched {
    files: BTreeSet<PathBuf>,
    changed: Arc<Notify>,
    _watcher: Option<RecommendedWatcher>,
}

impl Watched {
    /// From now on: before the keys are loaded, so that nothing can change unseen between that and the end of a long migration.
    pub fn begin(config: &Config, path: Option<&Path>) -> Self {
        Self::of(watched_files(config, path), Arc::default())
    }

    fn of(files: BTreeSet<PathBuf>, changed: Arc<Notify>) -> Self {
        Self {
            _watcher: watch(&files, Arc::clone(&changed)),
            files,
            changed,
        }
    }

    /// Anew after each reload: a directory may be another one by now, under the same name. `config`: what was read, if it could
    /// be.
    fn after(self, config: Option<&Config>, path: Option<&Path>) -> Self {
        let files = config.map_or_else(|| self.files.clone(), |config| watched_files(config, path));
        let others = files != self.files;
        let watched = Self::of(files, self.changed);
        if others {
            watched.changed.notify_one();
        }
        watched
    }
}

/// Reads again whenever it is asked to, until the server stops.
pub fn spawn(
    state: AppState,
    path: Option<PathBuf>,
    mut watched: Watched,
    mut requests: Option<Signal>,
    change_log: LogChange,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = asked(&mut requests) => {}
                () = watched.changed.notified() => tokio::time::sleep(SETTLE).await,
                () = state.shutdown.cancelled() => return,
            }
            let config = reload(&state, path.as_deref(), change_log).await;
            watched = watched.after(config.as_ref(), path.as_deref());
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
pub async fn reload(state: &AppState, path: Option<&Path>, change_log: LogChange) -> Option<Config> {
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
        Ok(keys) => take_over_keys(state, keys).await,
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

async fn take_over_keys(state: &AppState, keys: KeySet) {
    let published = state.keys.current();
    let [before, now] = [&*published, &keys].map(outline);
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
    state.keys.replace(keys);
    let at = state.clock.now();
    let signs = |algorithm: &&SigningAlgorithm| published.active(Some(**algorithm), at).is_some();
    let known = Known {
        kids: kids_of(&published),
        algorithms: SigningAlgorithm::ALL
            .iter()
            .filter(signs)
            .map(ToString::to_string)
            .collect(),
    };
    // Others got the list as it was until a moment ago, and keep it for as long as was said.
    let max_age_secs = state.config.jwt.jwks_cache_max_age_secs;
    let own = at + time::Duration::seconds(max_age_secs.into());
    // A list that was given out before the number was lowered is kept for as long as was said then.
    let above = i32::try_from(max_age_secs).unwrap_or(i32::MAX);
    let noted = || lists_kept_until(state, above);
    warn_of_keys_too_soon(state, &known, async || {
        Some(noted().await.map_or(own, |noted| noted.max(own)))
    })
    .await;
}

/// Until when lists are kept that were given out with a `max-age` above this one. `None`: none was, or the database does not say.
async fn lists_kept_until(state: &AppState, above_secs: i32) -> Option<OffsetDateTime> {
    let noted = db::signing_keys::lists_kept_until(&state.background_db, above_secs);
    db::in_time(PATIENCE, noted).await.ok().flatten()
}

fn kids_of(keys: &KeySet) -> BTreeSet<String> {
    keys.entries().iter().map(|key| key.kid().to_owned()).collect()
}

/// At a start: says of a key that nobody has ever published and that signs before every app can have fetched it. What was
/// published, and for how long the lists without the key are kept, the database knows. While no instance ran, nobody got a list. Which keys the last list had, the database does not know: one that was taken out and comes
/// back is not new.
pub async fn warn_of_keys_since_the_last_run(state: &AppState) {
    let recorded = db::in_time(PATIENCE, db::signing_keys::list(&state.background_db)).await;
    let Ok(recorded) = recorded else { return };
    let signed = recorded.iter().filter(|key| key.first_signed_at.is_some());
    let known = Known {
        algorithms: signed.map(|key| key.algorithm.clone()).collect(),
        kids: recorded.iter().map(|key| key.kid.clone()).collect(),
    };
    warn_of_keys_too_soon(state, &known, async || {
        // Where keys have signed and nobody knows what was said of their lists, it is what is said now.
        let own = time::Duration::seconds(state.config.jwt.jwks_cache_max_age_secs.into());
        let noted = lists_kept_until(state, -1).await;
        // The last list may have been given out after the last note.
        let until = noted.map_or_else(|| state.clock.now() + own, |noted| noted + MAX_AGE_INTERVAL);
        Some(until)
    })
    .await;
}

/// What apps may have in their lists of keys.
struct Known {
    kids: BTreeSet<String>,
    /// Those that something was signed with: apps wait for no first key.
    algorithms: BTreeSet<String>,
}

/// `kept_until`: when the last list without the new keys is fetched anew, asked only if there are any; `None`: there is none.
async fn warn_of_keys_too_soon(
    state: &AppState,
    known: &Known,
    kept_until: impl AsyncFnOnce() -> Option<OffsetDateTime>,
) {
    let keys = state.keys.current();
    if kids_of(&keys).is_subset(&known.kids) {
        return;
    }
    let Some(kept_until) = kept_until().await else {
        return;
    };
    let now = state.clock.now();
    for kid in signing_too_soon(&keys, known, now, kept_until) {
        tracing::warn!(
            event = "keys.too_soon",
            kid,
            kept_until = kept_until.format(&Rfc3339).unwrap_or_default(),
            "a new key signs before every app has fetched it: those that keep the list of keys as long as they were told to \
             refuse its tokens meanwhile"
        );
    }
}

/// The new keys that sign before `kept_until`, when the last list without them is fetched anew.
fn signing_too_soon(
    keys: &KeySet,
    known: &Known,
    now: OffsetDateTime,
    kept_until: OffsetDateTime,
) -> Vec<String> {
    let is_too_soon = |key: &&KeyEntry| {
        key.can_sign()
            && !known.kids.contains(key.kid())
            && key.signs_from().unwrap_or(now) < kept_until
            && keys
                .active(Some(key.algorithm()), kept_until)
                .is_some_and(|active| active.kid() == key.kid())
            && known.algorithms.contains(key.algorithm().as_str())
    };
    let too_soon = keys.entries().iter().filter(is_too_soon);
    too_soon.map(|key| key.kid().to_owned()).collect()
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
