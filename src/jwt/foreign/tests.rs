//! Other people's tokens are made here as other people make them: by aws-lc-rs's signers and hand-written JWKs.

use std::sync::LazyLock;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING,
    EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512,
    RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding, RsaKeyPair,
};
use proptest::prelude::*;
use serde_json::json;

use super::ForeignAlgorithm::*;
use super::*;

enum Signer {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

static RSA: LazyLock<Signer> = LazyLock::new(|| Signer::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()));
static P256: LazyLock<Signer> =
    LazyLock::new(|| Signer::Ec(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap()));
static P384: LazyLock<Signer> =
    LazyLock::new(|| Signer::Ec(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap()));
static P521: LazyLock<Signer> =
    LazyLock::new(|| Signer::Ec(EcdsaKeyPair::generate(&ECDSA_P521_SHA512_FIXED_SIGNING).unwrap()));
static ED: LazyLock<Signer> = LazyLock::new(|| Signer::Ed(Ed25519KeyPair::generate().unwrap()));

impl Signer {
    fn jwk(&self, kid: &str) -> Value {
        match self {
            Self::Rsa(pair) => {
                let PublicKeyComponents::<Vec<u8>> { n, e } = pair.public_key().into();
                json!({"kty": "RSA", "kid": kid, "n": b64(n), "e": b64(e)})
            }
            Self::Ec(pair) => {
                let (x, y) = pair.public_key().as_ref()[1..].split_at(pair.public_key().as_ref().len() / 2);
                let crv = match x.len() {
                    32 => "P-256",
                    48 => "P-384",
                    _ => "P-521",
                };
                json!({"kty": "EC", "crv": crv, "kid": kid, "x": b64(x), "y": b64(y)})
            }
            Self::Ed(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": b64(pair.public_key())})
            }
        }
    }

    fn sign(&self, algorithm: ForeignAlgorithm, message: &[u8]) -> Vec<u8> {
        let rng = SystemRandom::new();
        match self {
            Self::Rsa(pair) => {
                let encoding: &'static dyn RsaEncoding = match algorithm {
                    RS384 => &RSA_PKCS1_SHA384,
                    RS512 => &RSA_PKCS1_SHA512,
                    PS256 => &RSA_PSS_SHA256,
                    PS384 => &RSA_PSS_SHA384,
                    PS512 => &RSA_PSS_SHA512,
                    _ => &RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(encoding, &rng, message, &mut signature).unwrap();
                signature
            }
            Self::Ec(pair) => pair.sign(&rng, message).unwrap().as_ref().to_vec(),
            Self::Ed(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }

    fn token(&self, header: &Value) -> String {
        let algorithm = header["alg"].as_str().unwrap().parse().unwrap_or(RS256);
        let input = format!(
            "{}.{}",
            b64(header.to_string()),
            b64(json!({"sub": "u"}).to_string())
        );
        format!("{input}.{}", b64(self.sign(algorithm, input.as_bytes())))
    }
}

fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn all_signers() -> [(&'static Signer, &'static str); 5] {
    [
        (&RSA, "rsa"),
        (&P256, "p256"),
        (&P384, "p384"),
        (&P521, "p521"),
        (&ED, "ed"),
    ]
}

fn all_keys() -> ForeignKeys {
    let keys: Vec<_> = all_signers()
        .iter()
        .map(|(signer, kid)| signer.jwk(kid))
        .collect();
    ForeignKeys::from_jwks(&json!({ "keys": keys })).unwrap()
}

fn signer_for(algorithm: ForeignAlgorithm) -> (&'static Signer, &'static str) {
    match algorithm {
        ES256 => (&P256, "p256"),
        ES384 => (&P384, "p384"),
        ES512 => (&P521, "p521"),
        EdDSA => (&ED, "ed"),
        _ => (&RSA, "rsa"),
    }
}

#[test]
fn every_algorithm_verifies_with_its_key_named_or_not() {
    let keys = all_keys();
    assert_eq!(keys.len(), 5);
    for algorithm in ForeignAlgorithm::ALL.iter().copied() {
        let (signer, kid) = signer_for(algorithm);
        let token = signer.token(&json!({"alg": algorithm, "kid": kid, "typ": "JWT"}));
        let (header, claims) = keys.verify(&token, &[algorithm]).unwrap();
        assert_eq!(
            header,
            ForeignHeader {
                algorithm,
                kid: Some(kid.into()),
                typ: Some("JWT".into())
            }
        );
        assert_eq!(claims["sub"], "u");
        let unnamed = signer.token(&json!({"alg": algorithm}));
        assert!(
            keys.verify(&unnamed, ForeignAlgorithm::ALL).is_ok(),
            "{algorithm}"
        );
    }
}

/// An independent library signs, we verify.
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the other party's library; speed is no matter here"
)]
fn a_token_of_an_independent_library_verifies() {
    crate::jwt::install_crypto_provider();
    let Signer::Rsa(pair) = &*RSA else { unreachable!() };
    let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
    let pem = p256::pkcs8::SecretDocument::try_from(der.as_ref())
        .unwrap()
        .to_pem("PRIVATE KEY", p256::pkcs8::LineEnding::LF)
        .unwrap();
    let key = jsonwebtoken::EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap();
    let algorithm = jsonwebtoken::Algorithm::PS384;
    let token = jsonwebtoken::encode(&jsonwebtoken::Header::new(algorithm), &json!({"a": 1}), &key).unwrap();
    assert_eq!(all_keys().verify(&token, &[PS384]).unwrap().1["a"], 1);
}

/// RFC 8725 §3.1: the caller says which algorithms it allows.
#[test]
fn an_algorithm_that_is_not_allowed_or_not_known_is_refused() {
    let keys = all_keys();
    let token = P256.token(&json!({"alg": "ES256", "kid": "p256"}));
    assert_eq!(
        keys.verify(&token, &[RS256]),
        Err(ForeignVerifyError::NotAllowed(Some(ES256)))
    );
    assert_eq!(
        keys.verify(&token, &[]),
        Err(ForeignVerifyError::NotAllowed(Some(ES256)))
    );
    for alg in ["none", "HS256", "HS512", "es256", "RSA-OAEP", ""] {
        let token = P256.token(&json!({"alg": alg, "kid": "p256"}));
        assert_eq!(
            keys.verify(&token, ForeignAlgorithm::ALL),
            Err(ForeignVerifyError::NotAllowed(None))
        );
    }
}

#[test]
fn a_key_is_used_with_algorithms_of_its_own_kind_only() {
    let keys = all_keys();
    for (kid, alg) in [
        ("rsa", "ES256"),
        ("p256", "RS256"),
        ("p256", "ES384"),
        ("ed", "ES256"),
        ("p384", "EdDSA"),
    ] {
        let algorithm = alg.parse().unwrap();
        let token = signer_for(algorithm).0.token(&json!({"alg": alg, "kid": kid}));
        assert_eq!(
            keys.verify(&token, ForeignAlgorithm::ALL),
            Err(ForeignVerifyError::NotAllowed(Some(algorithm)))
        );
    }
    let mut jwk = RSA.jwk("a");
    jwk["alg"] = json!("RS256");
    let bound = ForeignKeys::from_jwks(&json!({"keys": [jwk]})).unwrap();
    assert!(
        bound
            .verify(
                &RSA.token(&json!({"alg": "RS256", "kid": "a"})),
                ForeignAlgorithm::ALL
            )
            .is_ok()
    );
    assert_eq!(
        bound.verify(
            &RSA.token(&json!({"alg": "PS256", "kid": "a"})),
            ForeignAlgorithm::ALL
        ),
        Err(ForeignVerifyError::NotAllowed(Some(PS256)))
    );
}

#[test]
fn an_unknown_kid_is_told_apart_so_that_the_keys_can_be_fetched_again() {
    let keys = all_keys();
    let token = P256.token(&json!({"alg": "ES256", "kid": "new"}));
    assert_eq!(keys.verify(&token, &[ES256]), Err(ForeignVerifyError::UnknownKid));
    let token = P256.token(&json!({"alg": "ES256"}));
    let none = ForeignKeys::from_jwks(&json!({"keys": [RSA.jwk("rsa")]})).unwrap();
    assert_eq!(none.verify(&token, &[ES256]), Err(ForeignVerifyError::UnknownKid));
}

#[test]
fn a_wrong_or_missing_signature_is_refused() {
    let keys = all_keys();
    let stranger = Signer::Ec(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap());
    let token = stranger.token(&json!({"alg": "ES256", "kid": "p256"}));
    assert_eq!(
        keys.verify(&token, &[ES256]),
        Err(ForeignVerifyError::BadSignature)
    );
    let stripped = &token[..=token.rfind('.').unwrap()];
    assert_eq!(
        keys.verify(stripped, &[ES256]),
        Err(ForeignVerifyError::BadSignature)
    );
}

#[test]
fn what_is_no_signed_token_is_malformed() {
    let keys = all_keys();
    let critical = P256.token(&json!({"alg": "ES256", "kid": "p256", "crit": ["exp"]}));
    let long = format!("{}.{}", "a".repeat(MAX_FOREIGN_TOKEN_BYTES), "b.c");
    for token in ["", "..", "a.b", "a.b.c.d", "a.b.c.d.e", &critical, &long] {
        assert!(matches!(
            keys.verify(token, ForeignAlgorithm::ALL),
            Err(ForeignVerifyError::Malformed(_))
        ));
    }
}

/// RFC 7517 §4.2, §4.3, §5: what is not understood or not for signatures is ignored, not an error.
#[test]
fn keys_that_are_not_for_us_are_ignored() {
    let with = |name: &str, value: Value| {
        let mut jwk = P256.jwk("x");
        jwk[name] = value;
        jwk
    };
    let ignored = [
        with("use", json!("enc")),
        with("use", json!(7)),
        with("key_ops", json!(["encrypt"])),
        with("alg", json!("ES256K")),
        with("alg", json!("HS256")),
        with("crv", json!("secp256k1")),
        with("kty", json!("AKP")),
        with("x", json!("AAAA")),
        with("y", json!(null)),
        json!({"kty": "oct", "k": "c2VjcmV0"}),
        json!({"kty": "RSA", "n": "!", "e": "AQAB"}),
        json!("text"),
        json!(null),
    ];
    for jwk in ignored {
        assert!(
            ForeignKeys::from_jwks(&json!({"keys": [jwk]}))
                .unwrap()
                .is_empty(),
            "{jwk}"
        );
    }
    for jwk in [
        with("use", json!("sig")),
        with("key_ops", json!(["verify"])),
        with("x5c", json!(["AAAA"])),
    ] {
        assert_eq!(
            ForeignKeys::from_jwks(&json!({"keys": [jwk]})).unwrap().len(),
            1,
            "{jwk}"
        );
    }
    for no_set in [json!({}), json!([]), json!({"keys": {}}), json!(null)] {
        assert_eq!(ForeignKeys::from_jwks(&no_set).unwrap_err(), NotAJwkSet);
    }
}

/// RFC 7518 §6.3.1.1: some write the sign octet of ASN.1 into the modulus.
#[test]
fn a_modulus_with_leading_zeros_is_understood() {
    let mut jwk = RSA.jwk("rsa");
    let n = URL_SAFE_NO_PAD.decode(jwk["n"].as_str().unwrap()).unwrap();
    jwk["n"] = json!(b64([&[0], n.as_slice()].concat()));
    let keys = ForeignKeys::from_jwks(&json!({"keys": [jwk]})).unwrap();
    assert!(
        keys.verify(&RSA.token(&json!({"alg": "RS256", "kid": "rsa"})), &[RS256])
            .is_ok()
    );
}

proptest! {
    #[test]
    fn random_keys_and_tokens_neither_panic_nor_verify(
        kty in proptest::sample::select(vec!["RSA", "EC", "OKP"]),
        crv in proptest::sample::select(vec!["P-256", "P-384", "P-521", "Ed25519"]),
        members in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..70), 4),
        alg in proptest::sample::select(ForeignAlgorithm::ALL),
        signature in proptest::collection::vec(any::<u8>(), 0..140),
    ) {
        let [n, e, x, y] = members.try_into().unwrap();
        let length = match crv { "P-384" => 48, "P-521" => 66, _ => 32 };
        let fit = |mut bytes: Vec<u8>| { bytes.resize(length, 1); b64(bytes) };
        let jwk = json!({"kty": kty, "crv": crv, "n": b64(n), "e": b64(e), "x": fit(x), "y": fit(y)});
        let keys = ForeignKeys::from_jwks(&json!({"keys": [jwk]})).unwrap();
        let token = format!("{}.{}.{}", b64(json!({"alg": alg}).to_string()), b64("{}"), b64(signature));
        prop_assert!(keys.verify(&token, ForeignAlgorithm::ALL).is_err());
    }
}
