//! The signature algorithms this provider signs with (RFC 7518 §3.1).
//!
//! Two and no more: ES256 because it is fast and small, RS256 because OpenID Connect Discovery §3 wants it listed and
//! some client libraries know nothing else. What upstreams and clients may sign with is `jwt::foreign`'s subject.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An algorithm with which own tokens are signed.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
    utoipa::ToSchema,
)]
pub enum SigningAlgorithm {
    /// ECDSA with P-256 and SHA-256 (RFC 7518 §3.4). What new keys are made for unless told otherwise.
    #[default]
    #[serde(rename = "ES256")]
    Es256,
    /// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 7518 §3.3).
    #[serde(rename = "RS256")]
    Rs256,
}

impl SigningAlgorithm {
    /// Every algorithm, in the order in which documents list them.
    pub const ALL: &[Self] = &[Self::Es256, Self::Rs256];

    /// The name as it stands in the `alg` header, the JWKS and the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Rs256 => "RS256",
        }
    }
}

impl fmt::Display for SigningAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The name is none of [`SigningAlgorithm::ALL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signature algorithms are ES256 and RS256")]
pub struct UnknownAlgorithm;

impl FromStr for SigningAlgorithm {
    type Err = UnknownAlgorithm;

    /// Reads the exact name: algorithm names are case-sensitive (RFC 7515 §4.1.1).
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .iter()
            .copied()
            .find(|algorithm| algorithm.as_str() == name)
            .ok_or(UnknownAlgorithm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7515 §4.1.1.
    #[test]
    fn names_read_back_and_are_case_sensitive() {
        for algorithm in SigningAlgorithm::ALL.iter().copied() {
            assert_eq!(algorithm.as_str().parse(), Ok(algorithm));
            assert_eq!(serde_json::to_value(algorithm).unwrap(), algorithm.as_str());
            assert_eq!(
                serde_json::from_value::<SigningAlgorithm>(algorithm.as_str().into()).unwrap(),
                algorithm
            );
        }
        for name in ["es256", "ES384", "HS256", "none", ""] {
            assert_eq!(name.parse::<SigningAlgorithm>(), Err(UnknownAlgorithm));
        }
    }
}
