//! `[jwt]`: the issuer, lifetimes, signing keys.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;
use time::OffsetDateTime;
use url::Url;

use super::check::Check;
use super::is_loopback;
use crate::jwt::KeyFiles;
use crate::protocol::algorithm::SigningAlgorithm;

/// `[jwt]`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JwtConfig {
    /// The issuer: this deployment's public URL, byte for byte as clients write it; no trailing slash.
    pub issuer: String,
    #[serde(default = "default_access_token_ttl_secs")]
    pub access_token_ttl_secs: u32,
    #[serde(default = "default_refresh_token_ttl_secs")]
    pub refresh_token_ttl_secs: u32,
    /// Cap on a family of refresh tokens, however often it is used; 0: none.
    #[serde(default)]
    pub refresh_token_absolute_ttl_secs: u32,
    /// Cap on a browser session, however often it is used; 0: none.
    #[serde(default)]
    pub session_absolute_ttl_secs: u32,
    #[serde(default = "default_authorization_code_ttl_secs")]
    pub authorization_code_ttl_secs: u32,
    /// For how long clients may keep the JWKS.
    #[serde(default = "default_jwks_cache_max_age_secs")]
    pub jwks_cache_max_age_secs: u32,
    /// Signing keys in order: the first that may sign does, all are published and verify.
    #[serde(default)]
    pub keys: Vec<KeyConfig>,
    /// The old flat form: one RS256 key.
    pub private_key_path: Option<PathBuf>,
    /// The old flat form: its public half.
    pub public_key_path: Option<PathBuf>,
}

/// `[[jwt.keys]]`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyConfig {
    pub algorithm: SigningAlgorithm,
    /// Without it, the key only verifies.
    pub private_key_path: Option<PathBuf>,
    /// Without it, it is derived from the private key.
    pub public_key_path: Option<PathBuf>,
    /// Without it, the key's RFC 7638 thumbprint.
    pub kid: Option<String>,
    /// Published from now on, signs from then on (RFC 3339).
    #[serde(default, with = "time::serde::rfc3339::option")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub signs_from: Option<OffsetDateTime>,
}

fn default_access_token_ttl_secs() -> u32 {
    900
}

fn default_refresh_token_ttl_secs() -> u32 {
    2_592_000
}

fn default_authorization_code_ttl_secs() -> u32 {
    300
}

fn default_jwks_cache_max_age_secs() -> u32 {
    3600
}

const A_YEAR_SECS: u64 = 366 * 86_400;

impl JwtConfig {
    /// The rules of this table.
    pub(super) fn check(&self, check: &mut Check) {
        if let Some((problem, mend)) = issuer_problem(&self.issuer) {
            check.error("jwt.issuer", problem, mend);
        }
        check.range(
            "jwt.access_token_ttl_secs",
            self.access_token_ttl_secs.into(),
            60,
            86_400,
        );
        check.range(
            "jwt.refresh_token_ttl_secs",
            self.refresh_token_ttl_secs.into(),
            300,
            A_YEAR_SECS,
        );
        check.range(
            "jwt.authorization_code_ttl_secs",
            self.authorization_code_ttl_secs.into(),
            10,
            600,
        );
        check.range(
            "jwt.jwks_cache_max_age_secs",
            self.jwks_cache_max_age_secs.into(),
            0,
            86_400,
        );
        if self.refresh_token_ttl_secs <= self.access_token_ttl_secs {
            check.error(
                "jwt.refresh_token_ttl_secs",
                "a refresh token would not outlive its access token",
                "make it longer than `jwt.access_token_ttl_secs`",
            );
        }
        for (key, cap) in [
            (
                "jwt.refresh_token_absolute_ttl_secs",
                self.refresh_token_absolute_ttl_secs,
            ),
            ("jwt.session_absolute_ttl_secs", self.session_absolute_ttl_secs),
        ] {
            if cap != 0 && cap < self.access_token_ttl_secs {
                check.error(
                    key,
                    "the cap is shorter than the life of one access token",
                    "make it longer than `jwt.access_token_ttl_secs`, or 0 for no cap",
                );
            }
        }
        self.check_keys(check);
    }

    /// What can be said of the list without opening a file; the rest is `jwt::KeySet`'s.
    fn check_keys(&self, check: &mut Check) {
        let flat = self.private_key_path.is_some() || self.public_key_path.is_some();
        match (flat, self.keys.is_empty()) {
            (true, false) => check.error(
                if self.private_key_path.is_some() { "jwt.private_key_path" } else { "jwt.public_key_path" },
                "the old key fields stand beside `[[jwt.keys]]`",
                "make the old pair an entry of the list with algorithm = \"RS256\", after the keys that sign before it",
            ),
            (false, true) => check.error(
                "jwt.keys",
                "at least one key is required",
                "make one with `riley-auth generate-keys --output-dir ./keys` and add the lines it prints",
            ),
            (true, true) if self.private_key_path.is_none() => check.error(
                "jwt.public_key_path",
                "there is a public key and no private key to sign with",
                "set `jwt.private_key_path`",
            ),
            _ => {}
        }
        for (index, entry) in self.keys.iter().enumerate() {
            entry.check(index, check);
            let same = |other: &KeyConfig| entry.kid.is_some() && other.kid == entry.kid;
            if let Some(first) = self.keys[..index].iter().position(same) {
                check.error(
                    format!("jwt.keys[{index}].kid"),
                    format!("the kid is that of jwt.keys[{first}]"),
                    "give every key a kid of its own",
                );
            }
        }
    }

    /// The files of [`key_list`](Self::key_list), for [`KeySet::load`](crate::jwt::KeySet::load).
    pub fn key_files(&self) -> Vec<KeyFiles> {
        let files = |entry: KeyConfig| KeyFiles {
            algorithm: entry.algorithm,
            private_key_path: entry.private_key_path,
            public_key_path: entry.public_key_path,
            kid: entry.kid,
            signs_from: entry.signs_from,
        };
        self.key_list().into_iter().map(files).collect()
    }

    /// The keys in order; the old flat form is one RS256 key.
    pub fn key_list(&self) -> Vec<KeyConfig> {
        if !self.keys.is_empty() || self.private_key_path.is_none() {
            return self.keys.clone();
        }
        vec![KeyConfig {
            algorithm: SigningAlgorithm::Rs256,
            private_key_path: self.private_key_path.clone(),
            public_key_path: self.public_key_path.clone(),
            kid: None,
            signs_from: None,
        }]
    }
}

impl KeyConfig {
    fn check(&self, index: usize, check: &mut Check) {
        let key = format!("jwt.keys[{index}]");
        if self.private_key_path.is_none() && self.public_key_path.is_none() {
            check.error(
                &key,
                "the entry names no key",
                "set private_key_path, or public_key_path alone for an entry that only verifies",
            );
        } else if self.private_key_path.is_none() && index == 0 {
            check.error(
                &key,
                "the first key signs and must have a private key",
                "set private_key_path, or put a key that has one first",
            );
        } else if self.private_key_path.is_none() && self.signs_from.is_some() {
            check.error(
                format!("{key}.signs_from"),
                "the entry has no private key to sign with",
                "set private_key_path, or remove signs_from",
            );
        }
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if let Some(kid) = &self.kid
            && (!(1..=64).contains(&kid.len()) || !kid.bytes().all(plain))
        {
            check.error(
                format!("{key}.kid"),
                "the kid is not 1 to 64 characters out of A-Z a-z 0-9 . _ -",
                "choose another, such as \"2026-01\", or leave it out",
            );
        }
    }
}

/// Why `issuer` cannot be one (OpenID Connect Discovery 1.0 §3, RFC 8414 §2), and how to mend it.
fn issuer_problem(issuer: &str) -> Option<(&'static str, &'static str)> {
    let Ok(url) = Url::parse(issuer) else {
        return Some((
            "this is no URL",
            "write the public URL of this server, such as \"https://auth.example.com\"",
        ));
    };
    if url.scheme() != "https" && !(url.scheme() == "http" && is_loopback(&url)) {
        return Some((
            "the issuer must be https, or http on loopback",
            "write https://; a proxy in front may end TLS",
        ));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Some((
            "the issuer has a query or a fragment",
            "write only scheme, host, port and path",
        ));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Some((
            "the issuer has a user name or password",
            "write only scheme, host, port and path",
        ));
    }
    if issuer.ends_with('/') {
        return Some((
            "the issuer ends in a slash",
            "remove the slash at the end: clients compare byte for byte",
        ));
    }
    // Clients compare bytes, so the one spelling is the one that a URL parser keeps as it is.
    if url.as_str().trim_end_matches('/') != issuer {
        return Some((
            "the issuer is not in its normal spelling",
            "write scheme and host in lower case, leave out the usual port, and do without `.` and `..` segments",
        ));
    }
    None
}
