//! Proof Key for Code Exchange, S256 alone (RFC 7636).

use serde::{Deserialize, Serialize};

use super::authorization::OAuthRefusal;

/// A `code_challenge` of method S256: 43 characters of base64url.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CodeChallenge(String);

/// A `code_verifier`: 43 to 128 unreserved characters (RFC 7636 §4.1).
#[derive(Clone)]
pub struct CodeVerifier(String);

impl CodeChallenge {
    /// Reads `code_challenge` and `code_challenge_method`. An absent method means `plain` (§4.3) and is refused like it.
    /// `Ok(None)` when neither was sent; `required` makes that an `invalid_request`.
    pub fn parse(
        challenge: Option<&str>,
        method: Option<&str>,
        required: bool,
    ) -> Result<Option<Self>, OAuthRefusal> {
        let _ = (challenge, method, required);
        todo!()
    }

    /// From a stored value that [`parse`](Self::parse) accepted once.
    pub fn from_stored(text: String) -> Self {
        Self(text)
    }

    /// As it is stored.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl CodeVerifier {
    /// Refuses what is not 43 to 128 characters of the unreserved set.
    pub fn parse(text: &str) -> Option<Self> {
        let _ = text;
        todo!()
    }

    /// The challenge that belongs to this verifier (§4.2).
    pub fn challenge(&self) -> CodeChallenge {
        todo!()
    }

    /// A fresh verifier, for our own requests to upstream providers.
    pub fn generate(rng: &dyn aws_lc_rs::rand::SecureRandom) -> Self {
        Self(super::opaque::Opaque::generate(rng).expose())
    }

    /// The verifier as it goes to the upstream's token endpoint.
    pub fn expose(&self) -> &str {
        &self.0
    }
}
