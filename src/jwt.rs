//! Keys. (Placeholder until the key set is merged.)

use std::sync::Arc;

use serde::Serialize;
use time::OffsetDateTime;

use crate::protocol::algorithm::SigningAlgorithm;

/// Placeholder.
#[derive(Clone)]
pub struct SharedKeySet(Arc<KeySet>);

/// Placeholder.
pub struct KeySet;

/// Placeholder.
#[derive(Debug, thiserror::Error)]
#[error("there is no key")]
pub struct SignError;

impl SharedKeySet {
    /// Placeholder.
    pub fn current(&self) -> Arc<KeySet> {
        Arc::clone(&self.0)
    }
}

impl KeySet {
    /// Placeholder.
    pub fn sign(
        &self,
        _typ: &str,
        _claims: &impl Serialize,
        _algorithm: Option<SigningAlgorithm>,
        _now: OffsetDateTime,
    ) -> Result<String, SignError> {
        Err(SignError)
    }
}
