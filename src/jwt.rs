//! The keys of this provider, and the tokens signed and verified with them.
//!
//! [`KeySet`] is an ordered list: the first entry that may sign does, all are published and verify. The algorithm always
//! comes from the key, never from the token (RFC 8725 §3.1). [`KeySet::sign`] and [`KeySet::verify`] are generic over
//! the claims; which kind of token is made and accepted where is decided by the types that wrap them.
//!
//! | file | subject |
//! | --- | --- |
//! | `load.rs` | key files to entries, with all findings at once |
//! | `pem.rs`, `private_key.rs`, `jwk.rs` | the forms of keys |
//! | `compact.rs` | taking a token apart (RFC 7515) |
//! | `verify.rs` | what must hold of a token of ours (RFC 7519, RFC 8725) |
//! | [`foreign`] | tokens signed by others: upstreams, clients |
//! | [`generate`](mod@generate) | new key pairs |
//! | [`states`](mod@states) | where a key stands in its life |

mod compact;
pub mod foreign;
pub mod generate;
mod jwk;
mod load;
mod pem;
mod private_key;
pub mod states;
pub mod turns;
mod verify;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use aws_lc_rs::signature::ParsedPublicKey;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde::de::DeserializeOwned;
use time::OffsetDateTime;

pub use self::jwk::PublicJwk;
pub use self::load::{KeyError, KeyFiles, KeySource};
pub use self::verify::{Expectation, VerifyError};

use self::compact::Compact;
use self::private_key::PrivateKey;
use crate::protocol::algorithm::SigningAlgorithm;

/// Tokens of ours that are longer are refused before any decoding.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// One key: published, verifying, and signing if it has its private half and its time has come.
#[derive(Debug)]
pub struct KeyEntry {
    kid: String,
    algorithm: SigningAlgorithm,
    signing: Option<PrivateKey>,
    verifying: ParsedPublicKey,
    jwk: PublicJwk,
    signs_from: Option<OffsetDateTime>,
    file_modified_at: Option<OffsetDateTime>,
    origin: String,
}

impl KeyEntry {
    /// The name under which tokens refer to the key.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    pub const fn algorithm(&self) -> SigningAlgorithm {
        self.algorithm
    }

    /// Whether the private key is there, whatever the time.
    pub const fn can_sign(&self) -> bool {
        self.signing.is_some()
    }

    /// Until then the key is published only, because relying parties cache the JWKS.
    pub const fn signs_from(&self) -> Option<OffsetDateTime> {
        self.signs_from
    }

    /// When the file of the key was last written; `None` for a key that came from no file.
    pub const fn file_modified_at(&self) -> Option<OffsetDateTime> {
        self.file_modified_at
    }

    /// The key as published.
    pub const fn jwk(&self) -> &PublicJwk {
        &self.jwk
    }

    /// The files it was read from, for messages.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    fn due(&self, now: OffsetDateTime) -> bool {
        self.signs_from.is_none_or(|from| from <= now)
    }
}

/// No token was signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    #[error("no key may sign now with the algorithm that is asked for")]
    NoKey,
    #[error("the claims cannot be written as JSON")]
    Claims(#[source] serde_json::Error),
    #[error("the cryptographic library did not sign")]
    Library,
}

/// The header of a token of ours (RFC 7515 §4.1); the order is that of the wire.
#[derive(Serialize)]
struct OwnHeader<'a> {
    alg: SigningAlgorithm,
    typ: &'a str,
    kid: &'a str,
}

/// The ordered keys of this provider. Made once, read by everybody.
#[derive(Debug)]
pub struct KeySet {
    entries: Vec<KeyEntry>,
    index_by_kid: HashMap<String, usize>,
    jwks_json: String,
}

impl KeySet {
    /// Judges and takes over PEM texts. Everything that is wrong is told at once, in the order of the list.
    pub fn new(sources: Vec<KeySource>) -> Result<Self, Vec<KeyError>> {
        Self::from_entries(load::entries(sources.into_iter().map(Ok).collect())?)
    }

    /// Reads key files, then as [`KeySet::new`]. Private keys that group or others may read are refused, unless
    /// `allow_readable_by_others` is set.
    pub fn load(files: Vec<KeyFiles>, allow_readable_by_others: bool) -> Result<Self, Vec<KeyError>> {
        let times: Vec<_> = files.iter().map(load::modified_at).collect();
        let read = |(index, files)| load::read(index, files, allow_readable_by_others);
        let mut entries = load::entries(files.into_iter().enumerate().map(read).collect())?;
        for (entry, time) in entries.iter_mut().zip(times) {
            entry.file_modified_at = time;
        }
        Self::from_entries(entries)
    }

    fn from_entries(entries: Vec<KeyEntry>) -> Result<Self, Vec<KeyError>> {
        let set = jwk::PublicJwkSet {
            keys: entries.iter().map(KeyEntry::jwk).collect(),
        };
        let jwks_json = serde_json::to_string(&set).map_err(|_| {
            vec![KeyError::of_list(
                "the keys cannot be written as JSON",
                "report this as a defect",
            )]
        })?;
        let index_by_kid = entries
            .iter()
            .enumerate()
            .map(|(index, entry)| (entry.kid.clone(), index))
            .collect();
        Ok(Self {
            entries,
            index_by_kid,
            jwks_json,
        })
    }

    /// Says what is wrong if the list, as of `now`, leaves the signing to an entry without private key or to nobody.
    /// For start-up, reload and `validate`: later it cannot become wrong, since `signs_from` only adds signers in front.
    pub fn require_signer(&self, now: OffsetDateTime) -> Result<(), KeyError> {
        match self.entries.iter().enumerate().find(|(_, entry)| entry.due(now)) {
            Some((_, entry)) if entry.can_sign() => Ok(()),
            Some((index, entry)) => Err(KeyError::of_entry(
                index,
                entry,
                "the entry has to sign now, since those before it wait for their signs_from, and has no private key",
                "set private_key_path, or put a key that may sign now before it",
            )),
            None => Err(KeyError::of_list(
                "every key waits for its signs_from, so nothing can be signed now",
                "remove signs_from from one of them, or keep the previous key in the list",
            )),
        }
    }

    /// The key that signs now: the first in the list whose time has come and that has a private key, of `algorithm` if
    /// one is asked for.
    pub fn active(&self, algorithm: Option<SigningAlgorithm>, now: OffsetDateTime) -> Option<&KeyEntry> {
        self.entries.iter().find(|entry| {
            entry.can_sign()
                && entry.due(now)
                && algorithm.is_none_or(|algorithm| algorithm == entry.algorithm)
        })
    }

    /// Signs `claims` as a compact token with the header members `alg`, `typ` and `kid`.
    ///
    /// An RS256 signature takes milliseconds of computing (0.25 for 2048 bits, 1.5 for 4096).
    pub fn sign(
        &self,
        typ: &str,
        claims: &impl Serialize,
        algorithm: Option<SigningAlgorithm>,
        now: OffsetDateTime,
    ) -> Result<String, SignError> {
        let entry = self.active(algorithm, now).ok_or(SignError::NoKey)?;
        let key = entry.signing.as_ref().ok_or(SignError::NoKey)?;
        let header = OwnHeader {
            alg: entry.algorithm,
            typ,
            kid: &entry.kid,
        };
        let header = serde_json::to_vec(&header).map_err(SignError::Claims)?;
        let claims = serde_json::to_vec(claims).map_err(SignError::Claims)?;
        let mut token = URL_SAFE_NO_PAD.encode(header);
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(claims, &mut token);
        let signature = key.sign(token.as_bytes()).ok_or(SignError::Library)?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Ok(token)
    }

    /// Verifies a token of ours and gives its claims, if all that is expected of it holds.
    pub fn verify<T: DeserializeOwned>(
        &self,
        token: &str,
        expected: &Expectation<'_>,
    ) -> Result<T, VerifyError> {
        let token = Compact::parse(token, MAX_TOKEN_BYTES).map_err(VerifyError::Invalid)?;
        verify::require_typ(token.header.typ.as_deref(), expected.typ)?;
        self.verify_signature(&token)?;
        verify::claims(&token, expected)
    }

    /// `alg` is only compared, never followed: unknown names, `none` and HS256 among them, and names that are not the
    /// key's are refused before any cryptography (RFC 8725 §3.1, §3.2).
    fn verify_signature(&self, token: &Compact<'_>) -> Result<(), VerifyError> {
        let algorithm = token
            .header
            .alg
            .parse::<SigningAlgorithm>()
            .map_err(|_| VerifyError::Invalid("the algorithm is none of ours"))?;
        let holds = |entry: &KeyEntry| {
            entry
                .verifying
                .verify_sig(token.signing_input, &token.signature)
                .is_ok()
        };
        let good = match token.header.kid.as_deref() {
            Some(kid) => {
                let entry = self
                    .find(kid)
                    .ok_or(VerifyError::Invalid("the kid is none of ours"))?;
                if entry.algorithm != algorithm {
                    return Err(VerifyError::Invalid("the algorithm is not the key's"));
                }
                holds(entry)
            }
            None => self
                .entries
                .iter()
                .filter(|entry| entry.algorithm == algorithm)
                .any(holds),
        };
        if good {
            Ok(())
        } else {
            Err(VerifyError::Invalid("the signature does not hold"))
        }
    }

    /// The entry of exactly this `kid`.
    pub fn find(&self, kid: &str) -> Option<&KeyEntry> {
        self.index_by_kid
            .get(kid)
            .and_then(|index| self.entries.get(*index))
    }

    /// The JWKS document (RFC 7517 §5): all keys in the order of the list, public members only. Made once, so its bytes
    /// change only with the keys.
    pub fn jwks_json(&self) -> &str {
        &self.jwks_json
    }

    /// The algorithms of the keys, each once, in the order of the list, for the discovery document.
    pub fn algorithms(&self) -> Vec<SigningAlgorithm> {
        let mut algorithms = Vec::new();
        for entry in &self.entries {
            if !algorithms.contains(&entry.algorithm) {
                algorithms.push(entry.algorithm);
            }
        }
        algorithms
    }

    /// All entries in the order of the list.
    pub fn entries(&self) -> &[KeyEntry] {
        &self.entries
    }

    /// What [`states::states`] reads. `first_signed_at`: the first use of the key of this `kid`, as far as it is recorded.
    pub fn facts(&self, first_signed_at: impl Fn(&str) -> Option<OffsetDateTime>) -> Vec<states::KeyFacts> {
        self.entries
            .iter()
            .map(|entry| states::KeyFacts {
                kid: entry.kid.clone(),
                algorithm: entry.algorithm,
                can_sign: entry.can_sign(),
                signs_from: entry.signs_from,
                first_signed_at: first_signed_at(&entry.kid),
            })
            .collect()
    }
}

/// The key set in use: a reload replaces it under the running requests, which keep the one they took.
#[derive(Clone, Debug)]
pub struct SharedKeySet(Arc<RwLock<Arc<KeySet>>>);

impl SharedKeySet {
    pub fn new(keys: KeySet) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(keys))))
    }

    /// The keys as they are now. Take them once per request.
    pub fn current(&self) -> Arc<KeySet> {
        // The lock guards a single pointer, which no panic can leave half written.
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts other keys in place, for every clone of this.
    pub fn replace(&self, keys: KeySet) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
    }
}

/// Makes aws-lc-rs the one cryptographic library of the process: for `jsonwebtoken`, which would panic if a dependency
/// ever enabled its second backend, and for `rustls`. To be called first thing; again does nothing.
pub fn install_crypto_provider() {
    // Both fail only if a provider is installed already, and this is the only place that installs one.
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
