//! The rules that a type cannot state: what the values of a configuration may be, alone and together.
//!
//! Each table's rules stand beside its struct; here they are run, and here is what several of them need.

use std::path::Path;

use url::Url;

use super::finding::Finding;
use super::tree::join;
use super::{Config, is_loopback};
use crate::protocol::scope::{STANDARD, is_scope_token};

/// Collects findings, each about a key.
#[derive(Default)]
pub(super) struct Check(Vec<Finding>);

impl Check {
    pub(super) fn error(
        &mut self,
        key: impl Into<String>,
        problem: impl Into<String>,
        mend: impl Into<String>,
    ) {
        self.0.push(Finding::error(key, problem, mend));
    }

    pub(super) fn warning(
        &mut self,
        key: impl Into<String>,
        problem: impl Into<String>,
        mend: impl Into<String>,
    ) {
        self.0.push(Finding::warning(key, problem, mend));
    }

    /// The number must lie between `low` and `high`.
    pub(super) fn range(&mut self, key: &str, number: u64, low: u64, high: u64) {
        if !(low..=high).contains(&number) {
            self.error(
                key,
                format!("the number is out of range ({low} to {high})"),
                format!("write a number from {low} to {high}"),
            );
        }
    }

    /// A page's URL: https, or http on loopback; people are sent there.
    pub(super) fn page(&mut self, key: &str, url: Option<&Url>) {
        if let Some(url) = url
            && url.scheme() != "https"
            && !(url.scheme() == "http" && is_loopback(url))
        {
            self.error(
                key,
                "a page must be https, or http on loopback",
                "write its https:// URL",
            );
        }
    }
}

/// The origin that `text` is, if it is exactly one: scheme, host, port where it is not the scheme's own, nothing else.
pub(super) fn is_origin(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https") && url.origin().ascii_serialization() == text
    })
}

impl Config {
    /// Everything that is wrong with the values.
    pub(super) fn check(&self) -> Vec<Finding> {
        let mut check = Check::default();
        self.server.check(&self.jwt.issuer, &mut check);
        self.database.check(&mut check);
        self.jwt.check(&mut check);
        self.oauth.check(&mut check);
        let loopback = Url::parse(&self.jwt.issuer).is_ok_and(|issuer| is_loopback(&issuer));
        for (name, provider) in &self.oauth.providers {
            provider.check(name, loopback, &mut check);
        }
        self.check_scopes(&mut check);
        self.usernames.check(&mut check);
        self.claims.check(&mut check);
        self.webhooks.check(loopback, &mut check);
        check.range(
            "maintenance.interval_secs",
            self.maintenance.interval_secs,
            1,
            86_400,
        );
        self.rate_limiting.check(&mut check);
        self.metrics.check(&mut check);
        self.telemetry.check(&mut check);
        check.range(
            "maintenance.deliveries_kept_days",
            self.maintenance.deliveries_kept_days.into(),
            1,
            3650,
        );
        self.log.check(&mut check);
        check.0
    }

    /// Makes relative paths start at the configuration file.
    pub(super) fn resolve_paths(&mut self, directory: &Path) {
        let jwt = &mut self.jwt;
        let flat = [&mut jwt.private_key_path, &mut jwt.public_key_path].into_iter();
        let listed = jwt
            .keys
            .iter_mut()
            .flat_map(|key| [&mut key.private_key_path, &mut key.public_key_path]);
        let providers = self
            .oauth
            .providers
            .values_mut()
            .map(|provider| &mut provider.apple_private_key_path);
        for path in flat.chain(listed).chain(providers).flatten() {
            *path = directory.join(&*path);
        }
    }

    fn check_scopes(&self, check: &mut Check) {
        for (name, scope) in &self.scopes.0 {
            let key = join("scopes", name);
            if !is_scope_token(name) {
                check.error(
                    &key,
                    "a scope's name is made of printable ASCII without spaces, quotes and backslashes (RFC 6749 §3.3)",
                    "choose another name",
                );
            }
            if STANDARD.contains(&name.as_str()) {
                check.error(
                    &key,
                    "OpenID Connect defines this scope already",
                    "remove the table; the scope works without it",
                );
            }
            if scope.description.trim().is_empty() {
                check.error(
                    format!("{key}.description"),
                    "the description is empty",
                    "say what the app may do with it: people read it when they are asked for consent",
                );
            }
        }
    }
}
