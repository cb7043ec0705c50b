//! Public keys: read from PEM, shown as JSON Web Keys (RFC 7517, RFC 7518 §6), named by their thumbprint (RFC 7638).
//!
//! Only public members exist here, so no private one can be published by mistake.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use p256::elliptic_curve::sec1::ToSec1Point as _;
use p256::pkcs8::{DecodePublicKey as _, ObjectIdentifier, SubjectPublicKeyInfoRef};
use rsa::pkcs1::DecodeRsaPublicKey as _;
use rsa::traits::PublicKeyParts as _;
use serde::Serialize;

use super::pem::PemBlock;
use crate::protocol::algorithm::SigningAlgorithm;

/// `rsaEncryption` (RFC 8017 appendix A.1).
pub(super) const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
/// `id-ecPublicKey` (RFC 5480 §2.1.1).
pub(super) const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
/// `secp256r1`, also called P-256 (RFC 5480 §2.1.1.1).
pub(super) const P256_CURVE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");

/// The smallest RSA modulus that RS256 allows (RFC 7518 §3.3).
pub(super) const MIN_RSA_BITS: usize = 2048;
/// The largest one that the cryptographic library verifies.
pub(super) const MAX_RSA_BITS: usize = 8192;

/// A public key of one of the two kinds own tokens are signed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PublicKey {
    /// A point on P-256, both coordinates big-endian and padded to 32 bytes.
    Ec { x: Vec<u8>, y: Vec<u8> },
    /// Modulus and exponent, big-endian without leading zeros.
    Rsa { n: Vec<u8>, e: Vec<u8> },
}

/// Why a key cannot be used; the sentence goes to the operator together with the name of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unusable {
    pub(super) problem: &'static str,
    pub(super) mend: &'static str,
}

pub(super) const WRONG_CURVE: Unusable = Unusable {
    problem: "the elliptic curve is not P-256, which ES256 needs (RFC 7518 §3.4)",
    mend: "make a key with `riley-auth generate-keys --algorithm es256`",
};
pub(super) const WEAK_RSA: Unusable = Unusable {
    problem: "the RSA key is shorter than 2048 bits (RFC 7518 §3.3)",
    mend: "make a key with `riley-auth generate-keys --algorithm rs256 --key-size 3072`",
};
pub(super) const HUGE_RSA: Unusable = Unusable {
    problem: "the RSA key is longer than 8192 bits",
    mend: "make a key with `riley-auth generate-keys --algorithm rs256 --key-size 4096`",
};
pub(super) const WRONG_KIND: Unusable = Unusable {
    problem: "the key is neither an RSA nor an elliptic curve key",
    mend: "make a key with `riley-auth generate-keys`",
};
const PUBLIC_FORM: Unusable = Unusable {
    problem: "the public key is not PEM of the form `PUBLIC KEY` or `RSA PUBLIC KEY`",
    mend: "leave public_key_path out, it is derived from the private key",
};
const PUBLIC_BROKEN: Unusable = Unusable {
    problem: "the public key cannot be read; the file seems damaged",
    mend: "leave public_key_path out, it is derived from the private key",
};

impl PublicKey {
    /// Reads `PUBLIC KEY` (RFC 5280 §4.1) or `RSA PUBLIC KEY` (RFC 8017 appendix A.1.1).
    pub(super) fn from_pem(pem: &str) -> Result<Self, Unusable> {
        let block = PemBlock::find(pem, &["PUBLIC KEY", "RSA PUBLIC KEY"]).ok_or(PUBLIC_FORM)?;
        let document = block.der().ok_or(PUBLIC_BROKEN)?;
        let der = document.as_bytes();
        if block.label == "RSA PUBLIC KEY" {
            let key = rsa::RsaPublicKey::from_pkcs1_der(der).map_err(|_| PUBLIC_BROKEN)?;
            return Self::from_rsa(&key);
        }
        let info = SubjectPublicKeyInfoRef::try_from(der).map_err(|_| PUBLIC_BROKEN)?;
        if info.algorithm.oid == RSA_ENCRYPTION {
            let key = <rsa::RsaPublicKey as rsa::pkcs8::DecodePublicKey>::from_public_key_der(der)
                .map_err(|_| PUBLIC_BROKEN)?;
            return Self::from_rsa(&key);
        }
        if info.algorithm.oid != EC_PUBLIC_KEY {
            return Err(WRONG_KIND);
        }
        if info.algorithm.parameters_oid() != Ok(P256_CURVE) {
            return Err(WRONG_CURVE);
        }
        let key = p256::PublicKey::from_public_key_der(der).map_err(|_| PUBLIC_BROKEN)?;
        Self::from_point(key.to_sec1_point(false).as_bytes()).ok_or(PUBLIC_BROKEN)
    }

    fn from_rsa(key: &rsa::RsaPublicKey) -> Result<Self, Unusable> {
        match key.n().bits() {
            ..MIN_RSA_BITS => Err(WEAK_RSA),
            MIN_RSA_BITS..=MAX_RSA_BITS => Ok(Self::Rsa {
                n: key.n().to_bytes_be(),
                e: key.e().to_bytes_be(),
            }),
            _ => Err(HUGE_RSA),
        }
    }

    /// Reads an uncompressed point of P-256 (SEC 1 §2.3.3): 4, then both coordinates.
    pub(super) fn from_point(point: &[u8]) -> Option<Self> {
        match point.split_first() {
            Some((4, coordinates)) if coordinates.len() == 64 => {
                let (x, y) = coordinates.split_at(32);
                Some(Self::Ec {
                    x: x.to_vec(),
                    y: y.to_vec(),
                })
            }
            _ => None,
        }
    }

    pub(super) const fn algorithm(&self) -> SigningAlgorithm {
        match self {
            Self::Ec { .. } => SigningAlgorithm::Es256,
            Self::Rsa { .. } => SigningAlgorithm::Rs256,
        }
    }

    /// The key ready to verify signatures, parsed once; `None` if it is no valid key (a point off the curve).
    pub(super) fn verifier(&self) -> Option<ParsedPublicKey> {
        match self {
            Self::Ec { x, y } => {
                let point = [&[4], x.as_slice(), y.as_slice()].concat();
                ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).ok()
            }
            Self::Rsa { n, e } => PublicKeyComponents { n, e }
                .to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256)
                .ok(),
        }
    }

    /// The SHA-256 thumbprint in base64url (RFC 7638 §3): the required members only, sorted, without spaces.
    pub(super) fn thumbprint(&self) -> String {
        // Base64url needs no escaping in JSON, so the canonical form can be written directly.
        let canonical = match self {
            Self::Ec { x, y } => format!(
                r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#,
                b64(x),
                b64(y)
            ),
            Self::Rsa { n, e } => format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, b64(e), b64(n)),
        };
        b64(digest(&SHA256, canonical.as_bytes()).as_ref())
    }

    /// The key as it is published.
    pub(super) fn to_jwk(&self, kid: &str) -> PublicJwk {
        PublicJwk {
            kid: kid.to_owned(),
            alg: self.algorithm(),
            key_use: "sig",
            members: match self {
                Self::Ec { x, y } => JwkMembers::Ec {
                    crv: "P-256",
                    x: b64(x),
                    y: b64(y),
                },
                Self::Rsa { n, e } => JwkMembers::Rsa { n: b64(n), e: b64(e) },
            },
        }
    }
}

fn b64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// One member of the published `keys` (RFC 7517 §4): public by construction.
#[derive(Clone, Debug, Serialize)]
pub struct PublicJwk {
    kid: String,
    alg: SigningAlgorithm,
    #[serde(rename = "use")]
    key_use: &'static str,
    #[serde(flatten)]
    members: JwkMembers,
}

#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kty")]
enum JwkMembers {
    #[serde(rename = "EC")]
    Ec { crv: &'static str, x: String, y: String },
    #[serde(rename = "RSA")]
    Rsa { n: String, e: String },
}

/// A JWK set (RFC 7517 §5).
#[derive(Serialize)]
pub(super) struct PublicJwkSet<'a> {
    pub(super) keys: Vec<&'a PublicJwk>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7638 §3.1, the published example.
    #[test]
    fn the_thumbprint_is_that_of_rfc_7638() {
        let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRX\
                 jBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqz\
                 s8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-\
                 G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
        let key = PublicKey::Rsa {
            n: URL_SAFE_NO_PAD.decode(n).unwrap(),
            e: URL_SAFE_NO_PAD.decode("AQAB").unwrap(),
        };
        assert_eq!(key.thumbprint(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    }

    /// A point that is not on the curve must not become a key (RFC 8725 §3.4).
    #[test]
    fn a_point_off_the_curve_is_no_key() {
        assert!(
            PublicKey::Ec {
                x: vec![1; 32],
                y: vec![1; 32]
            }
            .verifier()
            .is_none()
        );
        assert!(PublicKey::from_point(&[2; 33]).is_none());
        assert!(PublicKey::from_point(&[]).is_none());
    }
}
