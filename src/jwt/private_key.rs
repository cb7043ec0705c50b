//! Private keys: read from PEM once, kept parsed, used by aws-lc-rs alone.
//!
//! The `rsa` crate's private-key operations leak timing (RUSTSEC-2023-0071) and `p256` is several times slower, so both
//! only read formats here. Parsing per signature would cost more than an ES256 signature itself.

use std::fmt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use p256::pkcs8::{EncodePrivateKey as _, PrivateKeyInfoRef};

use super::jwk::{
    EC_PUBLIC_KEY, HUGE_RSA, P256_CURVE, PublicKey, RSA_ENCRYPTION, Unusable, WEAK_RSA, WRONG_CURVE,
    WRONG_KIND,
};
use super::pem::{PemBlock, blocks};

const PRIVATE_FORM: Unusable = Unusable {
    problem: "the private key is not PEM of the form `PRIVATE KEY`, `EC PRIVATE KEY` or `RSA PRIVATE KEY`",
    mend: "name the private key's file, or make a key with `riley-auth generate-keys`",
};
const PUBLIC_GIVEN: Unusable = Unusable {
    problem: "the file named as private key holds a public key",
    mend: "name the private key's file, or give the file as public_key_path alone for an entry that only verifies",
};
const ENCRYPTED: Unusable = Unusable {
    problem: "the private key is encrypted with a passphrase, which a server that starts by itself cannot type",
    mend: "decrypt it with `openssl pkey -in FILE -out NEW_FILE` and protect the file by its mode (chmod 600)",
};
const PRIVATE_BROKEN: Unusable = Unusable {
    problem: "the private key cannot be read; the file seems damaged",
    mend: "restore the file from its backup, or make a key with `riley-auth generate-keys`",
};

/// A parsed key pair. Its `Debug` shows the kind and nothing else.
pub(super) enum PrivateKey {
    Ec(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ec(_) => "PrivateKey::Ec",
            Self::Rsa(_) => "PrivateKey::Rsa",
        })
    }
}

impl PrivateKey {
    /// Reads `PRIVATE KEY` (PKCS#8, RFC 5958), `EC PRIVATE KEY` (RFC 5915) or `RSA PRIVATE KEY` (RFC 8017 A.1.2).
    pub(super) fn from_pem(pem: &str) -> Result<Self, Unusable> {
        let Some(block) = PemBlock::find(pem, &["PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY"]) else {
            return Err(
                match blocks(pem)
                    .find(|block| block.label.contains("KEY"))
                    .map(|block| block.label)
                {
                    Some("ENCRYPTED PRIVATE KEY") => ENCRYPTED,
                    Some("PUBLIC KEY" | "RSA PUBLIC KEY") => PUBLIC_GIVEN,
                    _ => PRIVATE_FORM,
                },
            );
        };
        if block.has_encryption_headers() {
            return Err(ENCRYPTED);
        }
        let document = block.der().ok_or(PRIVATE_BROKEN)?;
        let der = document.as_bytes();
        match block.label {
            "EC PRIVATE KEY" => Self::from_sec1(der),
            "RSA PRIVATE KEY" => RsaKeyPair::from_der(der).map(Self::Rsa).map_err(rsa_problem),
            _ => Self::from_pkcs8(der),
        }
    }

    fn from_pkcs8(der: &[u8]) -> Result<Self, Unusable> {
        let info = PrivateKeyInfoRef::try_from(der).map_err(|_| PRIVATE_BROKEN)?;
        if info.algorithm.oid == RSA_ENCRYPTION {
            return RsaKeyPair::from_pkcs8(der).map(Self::Rsa).map_err(rsa_problem);
        }
        if info.algorithm.oid != EC_PUBLIC_KEY {
            return Err(WRONG_KIND);
        }
        if info.algorithm.parameters_oid() != Ok(P256_CURVE) {
            return Err(WRONG_CURVE);
        }
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der)
            .map(Self::Ec)
            .map_err(|_| PRIVATE_BROKEN)
    }

    /// aws-lc-rs prefers PKCS#8, so the SEC1 form is rewritten by `p256`, which also refuses other curves.
    fn from_sec1(der: &[u8]) -> Result<Self, Unusable> {
        /// How the names of the other curves in use begin, in DER: 1.3.132.0 (SEC 2 appendix A.2).
        const OTHER_CURVES: &[u8] = &[6, 5, 0x2b, 0x81, 4, 0];
        let names_other_curve = || {
            der.windows(OTHER_CURVES.len())
                .any(|window| window == OTHER_CURVES)
        };
        let key = p256::SecretKey::from_sec1_der(der).map_err(|_| {
            if names_other_curve() {
                WRONG_CURVE
            } else {
                PRIVATE_BROKEN
            }
        })?;
        let pkcs8 = key.to_pkcs8_der().map_err(|_| PRIVATE_BROKEN)?;
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_bytes())
            .map(Self::Ec)
            .map_err(|_| PRIVATE_BROKEN)
    }

    /// The public half.
    pub(super) fn public_key(&self) -> PublicKey {
        match self {
            Self::Ec(pair) => PublicKey::from_point(pair.public_key().as_ref())
                .expect("aws-lc-rs gives P-256 public keys as uncompressed points"),
            Self::Rsa(pair) => {
                let PublicKeyComponents::<Vec<u8>> { n, e } = pair.public_key().into();
                PublicKey::Rsa { n, e }
            }
        }
    }

    /// Signs: 64 bytes R and S for ES256 (RFC 7518 §3.4), as long as the modulus for RS256. `None` on failure of the
    /// library, which none of its documented conditions allows here.
    pub(super) fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        let rng = SystemRandom::new();
        match self {
            Self::Ec(pair) => pair
                .sign(&rng, message)
                .ok()
                .map(|signature| signature.as_ref().to_vec()),
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &rng, message, &mut signature).ok()?;
                Some(signature)
            }
        }
    }
}

/// aws-lc-rs tells the reason only by a word; its tests and ours pin these two.
fn rsa_problem(rejected: aws_lc_rs::error::KeyRejected) -> Unusable {
    match rejected.to_string().as_str() {
        "TooSmall" => WEAK_RSA,
        "TooLarge" => HUGE_RSA,
        _ => PRIVATE_BROKEN,
    }
}
