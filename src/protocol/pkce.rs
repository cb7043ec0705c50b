//! Proof Key for Code Exchange, S256 alone (RFC 7636).

use aws_lc_rs::{constant_time, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::authorization::OAuthRefusal;

/// SHA-256 in base64url without padding.
const CHALLENGE_LENGTH: usize = 43;

/// RFC 7636 §4.1.
const VERIFIER_LENGTHS: std::ops::RangeInclusive<usize> = 43..=128;

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
        let Some(challenge) = challenge else {
            return match (method, required) {
                (Some(_), _) => Err(OAuthRefusal::invalid_request(
                    "code_challenge_method is sent without code_challenge",
                )),
                (None, true) => Err(OAuthRefusal::invalid_request(
                    "this client has to send code_challenge with code_challenge_method=S256 (PKCE)",
                )),
                (None, false) => Ok(None),
            };
        };
        if method != Some("S256") {
            return Err(OAuthRefusal::invalid_request(
                "code_challenge_method has to be S256; plain, which its absence means, is not offered",
            ));
        }
        if challenge.len() != CHALLENGE_LENGTH || !challenge.bytes().all(is_base64url) {
            return Err(OAuthRefusal::invalid_request(
                "code_challenge has to be 43 characters of base64url without padding",
            ));
        }
        Ok(Some(Self(challenge.to_owned())))
    }

    /// From a stored value that [`parse`](Self::parse) accepted once.
    pub fn from_stored(text: String) -> Self {
        Self(text)
    }

    /// As it is stored.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `verifier` is the one that this challenge was made of (§4.6).
    pub fn is_met_by(&self, verifier: &CodeVerifier) -> bool {
        constant_time::verify_slices_are_equal(self.0.as_bytes(), verifier.challenge().0.as_bytes()).is_ok()
    }
}

impl CodeVerifier {
    /// Refuses what is not 43 to 128 characters of the unreserved set.
    pub fn parse(text: &str) -> Option<Self> {
        let well_formed = VERIFIER_LENGTHS.contains(&text.len()) && text.bytes().all(is_unreserved);
        well_formed.then(|| Self(text.to_owned()))
    }

    /// The challenge that belongs to this verifier (§4.2).
    pub fn challenge(&self) -> CodeChallenge {
        let hash = digest::digest(&digest::SHA256, self.0.as_bytes());
        CodeChallenge(URL_SAFE_NO_PAD.encode(hash))
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

fn is_base64url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

/// RFC 3986 §2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

    /// RFC 7636 App. B.
    #[test]
    fn the_published_verifier_gives_the_published_challenge() {
        let verifier = CodeVerifier::parse(VERIFIER).unwrap();
        assert_eq!(verifier.challenge().as_str(), CHALLENGE);
        assert!(CodeChallenge::from_stored(CHALLENGE.to_owned()).is_met_by(&verifier));
    }

    #[test]
    fn another_verifier_does_not_meet_the_challenge() {
        let other = CodeVerifier::parse(&VERIFIER.replace('d', "e")).unwrap();
        assert!(!CodeChallenge::from_stored(CHALLENGE.to_owned()).is_met_by(&other));
    }

    /// RFC 7636 §4.3: an absent method means plain, which is not offered.
    #[test]
    fn plain_said_or_implied_is_refused() {
        for method in [None, Some("plain"), Some("s256"), Some("S512")] {
            assert!(
                CodeChallenge::parse(Some(CHALLENGE), method, false).is_err(),
                "{method:?}"
            );
        }
    }

    #[test]
    fn a_method_without_a_challenge_is_refused_and_neither_only_where_pkce_is_required() {
        assert!(CodeChallenge::parse(None, Some("S256"), false).is_err());
        assert!(CodeChallenge::parse(None, None, true).is_err());
        assert_eq!(CodeChallenge::parse(None, None, false), Ok(None));
    }

    #[test]
    fn a_challenge_that_is_no_sha256_in_base64url_is_refused() {
        for challenge in [
            "short",
            &"a".repeat(42),
            &"a".repeat(44),
            &"=".repeat(43),
            &"+".repeat(43),
        ] {
            assert!(
                CodeChallenge::parse(Some(challenge), Some("S256"), true).is_err(),
                "{challenge}"
            );
        }
        assert!(
            CodeChallenge::parse(Some(CHALLENGE), Some("S256"), true)
                .unwrap()
                .is_some()
        );
    }

    /// RFC 7636 §4.1.
    #[test]
    fn a_verifier_has_43_to_128_unreserved_characters() {
        for text in [
            "",
            &"a".repeat(42),
            &"a".repeat(129),
            &"+".repeat(43),
            &"\u{e9}".repeat(43),
        ] {
            assert!(CodeVerifier::parse(text).is_none(), "{text}");
        }
        for text in ["-._~".repeat(32), "a".repeat(43)] {
            assert!(CodeVerifier::parse(&text).is_some());
        }
    }
}
