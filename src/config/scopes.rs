//! `[scopes]`: scopes that the deployer defines.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

/// `[scopes]`: scope name to its definition.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct ScopesConfig(pub BTreeMap<String, ScopeConfig>);

/// `[scopes.NAME]`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScopeConfig {
    /// What a person reads when asked for consent.
    pub description: String,
}
