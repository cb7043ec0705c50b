//! `[claims]`: upstream claims that are passed on.

use schemars::JsonSchema;
use serde::Deserialize;

/// `[claims]`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClaimsConfig {
    /// Standard claims of OpenID Connect Core §5.1 that are kept from the upstream and given on; what is not listed is not stored.
    pub passthrough: Vec<String>,
}
