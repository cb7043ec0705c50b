//! `[database]`: the one PostgreSQL.

use schemars::JsonSchema;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use sqlx::postgres::PgConnectOptions;

use super::check::Check;
use crate::sealing::MIN_SECRET_KEY_BYTES;

/// `[database]`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DatabaseConfig {
    /// `postgres://user:password@host/database`.
    #[schemars(with = "String", extend("x-secret" = true))]
    pub url: SecretString,
    /// The same database, past a pooler that `url` leads through: for migrations, workers, commands, and whatever else needs a
    /// session of its own. Unset, `url` is used for that, too. It may name another role.
    #[serde(default)]
    #[schemars(with = "Option<String>", extend("x-secret" = true))]
    pub direct_url: Option<SecretString>,
    /// At least 32 random characters. Keys derived from it seal webhook secrets and chain the audit trail, so that a copy of
    /// the database gives away neither.
    #[schemars(with = "String", extend("x-secret" = true))]
    pub secret_key: SecretString,
    /// What `secret_key` was before, newest first: still opens what was made under it. On several instances the next value
    /// stands here everywhere before it becomes `secret_key` anywhere. Names that deleted accounts hold are found by a value for
    /// as long as it stands here, so keep one for at least `usernames.old_name_held_days`.
    #[serde(default)]
    #[schemars(with = "Vec<String>", extend("x-secret" = true))]
    pub previous_secret_keys: Vec<SecretString>,
    /// Connections that requests may hold at once.
    #[serde(default = "default_max_connections")]
    pub max_connections: u32,
    /// Seconds that a request waits for a connection before it is answered 503.
    #[serde(default = "default_acquire_timeout_secs")]
    pub acquire_timeout_secs: u64,
    /// Whether `serve` migrates before it starts.
    #[serde(default = "default_migrate")]
    pub migrate: bool,
}

fn default_max_connections() -> u32 {
    20
}

fn default_acquire_timeout_secs() -> u64 {
    3
}

fn default_migrate() -> bool {
    true
}

/// Which way a connection goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// `url`: a pooler may give each transaction another session, so nothing is kept in one beyond a transaction.
    Pooled,
    /// `direct_url`, if there is one: what is set, locked or listened to in the session stays there.
    Direct,
}

impl DatabaseConfig {
    /// The key that this way is named by, and its URL.
    pub fn url_by(&self, route: Route) -> (&'static str, &SecretString) {
        match (route, &self.direct_url) {
            (Route::Direct, Some(direct_url)) => ("database.direct_url", direct_url),
            _ => ("database.url", &self.url),
        }
    }

    /// The rules of this table.
    pub(super) fn check(&self, check: &mut Check) {
        for route in [Route::Pooled, Route::Direct] {
            let (key, url) = self.url_by(route);
            let is_same = route == Route::Direct && self.direct_url.is_none();
            if !is_same && !is_postgres_url(url.expose_secret()) {
                check.error(
                    key,
                    // The parser's own words are kept to ourselves: they may repeat a part of the URL.
                    "this is no PostgreSQL URL",
                    "write postgres://user:password@host/database, with special characters of the password percent-encoded",
                );
            }
        }
        self.check_secret_keys(check);
        check.range("database.max_connections", self.max_connections.into(), 1, 10_000);
        check.range("database.acquire_timeout_secs", self.acquire_timeout_secs, 1, 60);
    }

    fn check_secret_keys(&self, check: &mut Check) {
        let previous = self.previous_secret_keys.iter().enumerate();
        let previous = previous.map(|(index, key)| (format!("database.previous_secret_keys[{index}]"), key));
        for (key, secret) in
            std::iter::once(("database.secret_key".to_owned(), &self.secret_key)).chain(previous)
        {
            if secret.expose_secret().len() < MIN_SECRET_KEY_BYTES {
                check.error(
                    key,
                    format!("the secret is shorter than {MIN_SECRET_KEY_BYTES} characters"),
                    "write \"env:NAME\" or \"file:/path\", and there what `openssl rand -base64 32` prints",
                );
            }
        }
    }
}

fn is_postgres_url(url: &str) -> bool {
    ["postgres://", "postgresql://"]
        .iter()
        .any(|scheme| url.starts_with(scheme))
        && url.parse::<PgConnectOptions>().is_ok()
}
