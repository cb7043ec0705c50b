//! The keys of the simulated upstream, and compact signatures made with them (RFC 7515 §3.1).

use anyhow::anyhow;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::memory::random_token;
use super::options::SigningAlgorithm;

/// A key pair with its `kid`.
pub(super) struct SigningKey {
    kid: String,
    pair: Pair,
}

enum Pair {
    Rsa(Box<RsaKeyPair>),
    Ec(Box<EcdsaKeyPair>),
}

impl SigningKey {
    /// Makes a new key. An RSA key takes a tenth of a second or more.
    pub(super) fn generate(algorithm: SigningAlgorithm) -> anyhow::Result<Self> {
        let failed = |_| anyhow!("generate a key for the simulated upstream");
        let pair = match algorithm {
            SigningAlgorithm::Rs256 => {
                Pair::Rsa(Box::new(RsaKeyPair::generate(KeySize::Rsa2048).map_err(failed)?))
            }
            SigningAlgorithm::Es256 => Pair::Ec(Box::new(
                EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(failed)?,
            )),
        };
        Ok(Self {
            kid: random_token(9),
            pair,
        })
    }

    /// The public half as a JWK (RFC 7517 §4).
    pub(super) fn jwk(&self, with_alg: bool) -> Value {
        let mut jwk = match &self.pair {
            Pair::Rsa(pair) => {
                let public = pair.public_key();
                json!({
                    "kty": "RSA",
                    "n": URL_SAFE_NO_PAD.encode(public.modulus().big_endian_without_leading_zero()),
                    "e": URL_SAFE_NO_PAD.encode(public.exponent().big_endian_without_leading_zero()),
                })
            }
            Pair::Ec(pair) => {
                let (x, y) = coordinates(pair);
                json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y })
            }
        };
        jwk["kid"] = json!(self.kid);
        jwk["use"] = json!("sig");
        if with_alg {
            jwk["alg"] = json!(self.alg());
        }
        jwk
    }

    /// The claims as a signed token.
    pub(super) fn sign(&self, claims: &Value) -> anyhow::Result<String> {
        self.sign_as("JWT", claims)
    }

    /// The claims as a signed token of this `typ`.
    pub(super) fn sign_as(&self, typ: &str, claims: &Value) -> anyhow::Result<String> {
        let input = signing_input(&json!({ "alg": self.alg(), "kid": self.kid, "typ": typ }), claims);
        let rng = SystemRandom::new();
        let failed = |_| anyhow!("sign an ID token of the simulated upstream");
        let signature = match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &rng, input.as_bytes(), &mut signature)
                    .map_err(failed)?;
                signature
            }
            Pair::Ec(pair) => pair
                .sign(&rng, input.as_bytes())
                .map_err(failed)?
                .as_ref()
                .to_vec(),
        };
        Ok(format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    fn alg(&self) -> &'static str {
        match self.pair {
            Pair::Rsa(_) => SigningAlgorithm::Rs256.name(),
            Pair::Ec(_) => SigningAlgorithm::Es256.name(),
        }
    }
}

fn coordinates(pair: &EcdsaKeyPair) -> (String, String) {
    // 0x04, then both coordinates of 32 bytes (SEC 1 §2.3.3).
    let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
    (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y))
}

/// The claims as a token without a signature (RFC 7519 §6.1).
pub(super) fn unsigned(claims: &Value) -> String {
    format!(
        "{}.",
        signing_input(&json!({ "alg": "none", "typ": "JWT" }), claims)
    )
}

/// The claims as a token signed with a shared secret.
pub(super) fn signed_with_secret(secret: &str, claims: &Value) -> String {
    let input = signing_input(&json!({ "alg": "HS256", "typ": "JWT" }), claims);
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    format!(
        "{input}.{}",
        URL_SAFE_NO_PAD.encode(hmac::sign(&key, input.as_bytes()))
    )
}

fn signing_input(header: &Value, claims: &Value) -> String {
    format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header.to_string()),
        URL_SAFE_NO_PAD.encode(claims.to_string())
    )
}
