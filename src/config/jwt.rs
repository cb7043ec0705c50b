//! `[jwt]`: the issuer, lifetimes, signing keys.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;
use time::OffsetDateTime;

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
    #[schemars(with = "Option<String>")]
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
