//! Tokens signed by others: upstream ID tokens and logout tokens, clients' request objects.
//!
//! Only header and signature are judged here; `iss`, `aud`, `exp`, `nonce` and the rest mean different things in each of
//! them and are judged by who knows what the token is for. The caller also says which algorithms it allows (RFC 8725
//! §3.1); a key is used only with algorithms of its own kind, and HMAC does not exist here, so that no public key can
//! serve as a secret.

#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519,
    EcdsaVerificationAlgorithm, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512,
    RsaParameters, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::compact::Compact;

/// Foreign tokens may be longer than ours (some upstreams list a person's groups in them), but not without bound.
pub const MAX_FOREIGN_TOKEN_BYTES: usize = 32 * 1024;

/// Keys beyond this number are ignored: a key set is a handful, and each may cost a verification.
const MAX_KEYS: usize = 64;

/// The asymmetric signature algorithms of RFC 7518 §3.1 and RFC 8037 §3.1, by their names there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ForeignAlgorithm {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    ES512,
    EdDSA,
}

impl ForeignAlgorithm {
    /// Every algorithm that can be verified.
    pub const ALL: &[Self] = &[
        Self::RS256,
        Self::RS384,
        Self::RS512,
        Self::PS256,
        Self::PS384,
        Self::PS512,
        Self::ES256,
        Self::ES384,
        Self::ES512,
        Self::EdDSA,
    ];

    /// The name as it stands in the `alg` header.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::PS256 => "PS256",
            Self::PS384 => "PS384",
            Self::PS512 => "PS512",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::ES512 => "ES512",
            Self::EdDSA => "EdDSA",
        }
    }
}

impl fmt::Display for ForeignAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A name that is none of [`ForeignAlgorithm::ALL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no asymmetric signature algorithm that can be verified here")]
pub struct UnknownForeignAlgorithm;

impl FromStr for ForeignAlgorithm {
    type Err = UnknownForeignAlgorithm;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .iter()
            .copied()
            .find(|algorithm| algorithm.as_str() == name)
            .ok_or(UnknownForeignAlgorithm)
    }
}

/// What a verified token's header said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignHeader {
    pub algorithm: ForeignAlgorithm,
    pub kid: Option<String>,
    pub typ: Option<String>,
}

/// Why a foreign token is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForeignVerifyError {
    /// No key has this `kid`, or without one none is of this kind: the key set may have changed, fetch it again.
    #[error("no key with the token's kid")]
    UnknownKid,
    #[error("the signature does not hold")]
    BadSignature,
    /// The algorithm is unknown (`None`: `none` and HMAC among them), not allowed here, or not that of the named key.
    #[error("the token's algorithm is not allowed")]
    NotAllowed(Option<ForeignAlgorithm>),
    #[error("malformed: {0}")]
    Malformed(&'static str),
}

/// The value is no JWK set at all; single keys that cannot be used are ignored instead (RFC 7517 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a JWK set: no array `keys`")]
pub struct NotAJwkSet;

#[derive(Clone, Debug)]
struct ForeignKey {
    kid: Option<String>,
    /// The only algorithm the key's owner allows, if said.
    alg: Option<ForeignAlgorithm>,
    material: Material,
}

#[derive(Clone, Debug)]
enum Material {
    Rsa(PublicKeyComponents<Vec<u8>>),
    /// An uncompressed point and the only algorithm of its curve.
    Ec(ForeignAlgorithm, Vec<u8>),
    Ed25519(Vec<u8>),
}

/// Somebody else's published keys.
#[derive(Clone, Debug, Default)]
pub struct ForeignKeys {
    keys: Vec<ForeignKey>,
}

impl ForeignKeys {
    /// Reads a JWK set. Keys of unknown kind, curve or algorithm, or for another use than signatures, are ignored.
    pub fn from_jwks(jwks: &Value) -> Result<Self, NotAJwkSet> {
        let keys = jwks.get("keys").and_then(Value::as_array).ok_or(NotAJwkSet)?;
        Ok(Self {
            keys: keys.iter().filter_map(foreign_key).take(MAX_KEYS).collect(),
        })
    }

    /// How many keys can be used. A registration with none is a mistake of its author.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether one of them verifies signatures by one of `algorithms`.
    pub fn has_key_for(&self, algorithms: &[ForeignAlgorithm]) -> bool {
        self.keys
            .iter()
            .any(|key| algorithms.iter().any(|algorithm| key.fits(*algorithm)))
    }

    /// Verifies header and signature; the claims are for the caller to judge.
    pub fn verify(
        &self,
        token: &str,
        allowed: &[ForeignAlgorithm],
    ) -> Result<(ForeignHeader, Map<String, Value>), ForeignVerifyError> {
        let token = Compact::parse(token, MAX_FOREIGN_TOKEN_BYTES).map_err(ForeignVerifyError::Malformed)?;
        let algorithm = token.header.alg.parse::<ForeignAlgorithm>().ok();
        let Some(algorithm) = algorithm.filter(|algorithm| allowed.contains(algorithm)) else {
            return Err(ForeignVerifyError::NotAllowed(algorithm));
        };
        let named = |key: &&ForeignKey| token.header.kid.is_none() || key.kid == token.header.kid;
        let candidates: Vec<_> = self.keys.iter().filter(named).collect();
        let mut fitting = candidates.iter().filter(|key| key.fits(algorithm)).peekable();
        if fitting.peek().is_none() {
            let kid_is_known = token.header.kid.is_some() && !candidates.is_empty();
            return Err(if kid_is_known {
                ForeignVerifyError::NotAllowed(Some(algorithm))
            } else {
                ForeignVerifyError::UnknownKid
            });
        }
        if !fitting.any(|key| key.verify(algorithm, token.signing_input, &token.signature)) {
            return Err(ForeignVerifyError::BadSignature);
        }
        let claims = token.payload().map_err(ForeignVerifyError::Malformed)?;
        Ok((
            ForeignHeader {
                algorithm,
                kid: token.header.kid,
                typ: token.header.typ,
            },
            claims,
        ))
    }
}

impl ForeignKey {
    /// Whether the key may be used with this algorithm: by its kind, and by its own `alg` if it has one.
    fn fits(&self, algorithm: ForeignAlgorithm) -> bool {
        let of_its_kind = match &self.material {
            Material::Rsa(_) => rsa_parameters(algorithm).is_some(),
            Material::Ec(only, _) => *only == algorithm,
            Material::Ed25519(_) => algorithm == ForeignAlgorithm::EdDSA,
        };
        of_its_kind && self.alg.is_none_or(|only| only == algorithm)
    }

    fn verify(&self, algorithm: ForeignAlgorithm, message: &[u8], signature: &[u8]) -> bool {
        match &self.material {
            Material::Rsa(components) => rsa_parameters(algorithm)
                .is_some_and(|parameters| components.verify(parameters, message, signature).is_ok()),
            Material::Ec(_, point) => ec_parameters(algorithm).is_some_and(|parameters| {
                UnparsedPublicKey::new(parameters, point)
                    .verify(message, signature)
                    .is_ok()
            }),
            Material::Ed25519(x) => UnparsedPublicKey::new(&ED25519, x)
                .verify(message, signature)
                .is_ok(),
        }
    }
}

/// RSA keys of fewer than 2048 bits are refused by these parameters (RFC 7518 §3.3, §3.5).
const fn rsa_parameters(algorithm: ForeignAlgorithm) -> Option<&'static RsaParameters> {
    match algorithm {
        ForeignAlgorithm::RS256 => Some(&RSA_PKCS1_2048_8192_SHA256),
        ForeignAlgorithm::RS384 => Some(&RSA_PKCS1_2048_8192_SHA384),
        ForeignAlgorithm::RS512 => Some(&RSA_PKCS1_2048_8192_SHA512),
        ForeignAlgorithm::PS256 => Some(&RSA_PSS_2048_8192_SHA256),
        ForeignAlgorithm::PS384 => Some(&RSA_PSS_2048_8192_SHA384),
        ForeignAlgorithm::PS512 => Some(&RSA_PSS_2048_8192_SHA512),
        _ => None,
    }
}

const fn ec_parameters(algorithm: ForeignAlgorithm) -> Option<&'static EcdsaVerificationAlgorithm> {
    match algorithm {
        ForeignAlgorithm::ES256 => Some(&ECDSA_P256_SHA256_FIXED),
        ForeignAlgorithm::ES384 => Some(&ECDSA_P384_SHA384_FIXED),
        ForeignAlgorithm::ES512 => Some(&ECDSA_P521_SHA512_FIXED),
        _ => None,
    }
}

/// Reads one JWK (RFC 7517 §4, RFC 7518 §6, RFC 8037 §2); `None` if it is not for us.
fn foreign_key(jwk: &Value) -> Option<ForeignKey> {
    let member = |name: &str| jwk.get(name).and_then(Value::as_str);
    let bytes = |name: &str| URL_SAFE_NO_PAD.decode(member(name)?).ok();
    if jwk.get("use").is_some() && member("use") != Some("sig") {
        return None;
    }
    if let Some(operations) = jwk.get("key_ops") {
        operations
            .as_array()?
            .iter()
            .find(|operation| operation.as_str() == Some("verify"))?;
    }
    let alg = match jwk.get("alg") {
        Some(alg) => Some(alg.as_str()?.parse().ok()?),
        None => None,
    };
    let material = match (member("kty")?, member("crv")) {
        ("RSA", _) => Material::Rsa(PublicKeyComponents {
            n: integer(bytes("n")?),
            e: integer(bytes("e")?),
        }),
        ("EC", Some("P-256")) => {
            Material::Ec(ForeignAlgorithm::ES256, point(&bytes("x")?, &bytes("y")?, 32)?)
        }
        ("EC", Some("P-384")) => {
            Material::Ec(ForeignAlgorithm::ES384, point(&bytes("x")?, &bytes("y")?, 48)?)
        }
        ("EC", Some("P-521")) => {
            Material::Ec(ForeignAlgorithm::ES512, point(&bytes("x")?, &bytes("y")?, 66)?)
        }
        ("OKP", Some("Ed25519")) => Material::Ed25519(bytes("x").filter(|x| x.len() == 32)?),
        _ => return None,
    };
    Some(ForeignKey {
        kid: member("kid").map(str::to_owned),
        alg,
        material,
    })
}

/// RFC 7518 §6.3.1.1 wants no leading zeros, and names senders that have them nevertheless.
fn integer(mut big_endian: Vec<u8>) -> Vec<u8> {
    let zeros = big_endian.iter().take_while(|byte| **byte == 0).count();
    big_endian.drain(..zeros);
    big_endian
}

/// Both coordinates must have the full length of the curve's field (RFC 7518 §6.2.1.2).
fn point(x: &[u8], y: &[u8], length: usize) -> Option<Vec<u8>> {
    (x.len() == length && y.len() == length).then(|| [&[4], x, y].concat())
}
