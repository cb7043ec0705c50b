//! The discovery document (OpenID Connect Discovery §3, RFC 8414 §2): nothing in it that is not implemented.

use serde_json::{Map, Value};

use super::algorithm::SigningAlgorithm;

/// What the document depends on.
pub struct MetadataInput<'a> {
    pub issuer: &'a str,
    pub algorithms: &'a [SigningAlgorithm],
    /// Scopes of the configuration, beside the standard ones.
    pub configured_scopes: &'a [String],
    pub acr_values: &'a [String],
    pub passthrough_claims: &'a [String],
    pub ui_locales: &'a [String],
}

/// The document, in the order of the specification.
pub fn metadata(input: &MetadataInput<'_>) -> Map<String, Value> {
    let _ = input;
    todo!()
}
