//! The rules of keys and tokens, each as a test. Keys are made by the program's own generator; the other file forms by
//! `p256` and `rsa`, as other tools would write them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::LazyLock;

use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair};
use p256::pkcs8::{DecodePrivateKey as _, LineEnding, SecretDocument};
use proptest::prelude::*;
use rsa::pkcs1::{EncodeRsaPrivateKey as _, EncodeRsaPublicKey as _};
use rsa::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, EncodePublicKey as _};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use time::Duration;
use time::macros::datetime;

use super::generate::{GeneratedKey, generate, write_pair};
use super::*;
use crate::protocol::algorithm::SigningAlgorithm::{Es256, Rs256};

const NOW: OffsetDateTime = datetime!(2026-03-01 12:00 UTC);
const ISSUER: &str = "https://auth.example.com";

static EC: LazyLock<GeneratedKey> = LazyLock::new(|| generate(Es256, None).unwrap());
static OTHER_EC: LazyLock<GeneratedKey> = LazyLock::new(|| generate(Es256, None).unwrap());
static RSA: LazyLock<GeneratedKey> = LazyLock::new(|| generate(Rs256, Some(2048)).unwrap());

fn source(key: &GeneratedKey) -> KeySource {
    KeySource {
        algorithm: key.algorithm,
        private_key_pem: Some(key.private_key_pem.clone()),
        public_key_pem: None,
        kid: None,
        signs_from: None,
        origin: "keys/test.pem".into(),
    }
}

fn private(algorithm: SigningAlgorithm, pem: &str) -> KeySource {
    KeySource {
        algorithm,
        private_key_pem: Some(SecretString::from(pem)),
        ..source(&EC)
    }
}

fn verify_only(key: &GeneratedKey) -> KeySource {
    KeySource {
        private_key_pem: None,
        public_key_pem: Some(key.public_key_pem.clone()),
        ..source(key)
    }
}

fn both() -> KeySet {
    KeySet::new(vec![source(&EC), source(&RSA)]).unwrap()
}

/// The only finding about a list of keys.
fn finding(sources: Vec<KeySource>) -> KeyError {
    let mut findings = KeySet::new(sources).unwrap_err();
    assert_eq!(findings.len(), 1, "{findings:?}");
    findings.remove(0)
}

fn expected() -> Expectation<'static> {
    Expectation {
        typ: "at+jwt",
        issuer: ISSUER,
        audience: Some("https://api.example.com"),
        now: NOW,
        leeway_secs: 0,
        allow_expired: false,
        required_claims: &["sub"],
    }
}

fn good_claims() -> Value {
    let now = NOW.unix_timestamp();
    json!({"iss": ISSUER, "aud": "https://api.example.com", "sub": "u", "iat": now, "exp": now + 900})
}

fn verify(keys: &KeySet, token: &str) -> Result<Value, VerifyError> {
    keys.verify(token, &expected())
}

fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Signs any header, as somebody with the key but without our rules would.
fn forge(key: &GeneratedKey, header: &Value, claims: &Value) -> String {
    let input = format!("{}.{}", b64(header.to_string()), b64(claims.to_string()));
    let key = PrivateKey::from_pem(key.private_key_pem.expose_secret()).unwrap();
    let signature = key.sign(input.as_bytes()).unwrap();
    format!("{input}.{}", b64(signature))
}

fn verify_claims(change: impl FnOnce(&mut Value)) -> Result<Value, VerifyError> {
    let keys = both();
    let mut claims = good_claims();
    change(&mut claims);
    verify(&keys, &keys.sign("at+jwt", &claims, None, NOW).unwrap())
}

fn reason<T: std::fmt::Debug>(result: Result<T, VerifyError>) -> &'static str {
    match result {
        Err(VerifyError::Invalid(reason)) => reason,
        other => panic!("not invalid: {other:?}"),
    }
}

mod key_files {
    use super::*;

    /// Whether a token signed by the one form verifies with the published key of the generated one.
    fn signs_like(original: &GeneratedKey, pem: &str) -> bool {
        let keys = KeySet::new(vec![private(original.algorithm, pem)]).unwrap();
        let token = keys.sign("at+jwt", &good_claims(), None, NOW).unwrap();
        verify(&KeySet::new(vec![source(original)]).unwrap(), &token).is_ok()
    }

    fn p256_of(key: &GeneratedKey) -> p256::SecretKey {
        p256::SecretKey::from_pkcs8_pem(key.private_key_pem.expose_secret()).unwrap()
    }

    fn rsa_of(key: &GeneratedKey) -> rsa::RsaPrivateKey {
        rsa::RsaPrivateKey::from_pkcs8_pem(key.private_key_pem.expose_secret()).unwrap()
    }

    #[test]
    fn a_private_key_loads_as_pkcs8() {
        assert!(
            EC.private_key_pem
                .expose_secret()
                .starts_with("-----BEGIN PRIVATE KEY-----\n")
        );
        assert!(signs_like(&EC, EC.private_key_pem.expose_secret()));
        assert!(signs_like(&RSA, RSA.private_key_pem.expose_secret()));
    }

    #[test]
    fn a_private_key_loads_as_ec_private_key_also_behind_its_parameters() {
        let sec1 = p256_of(&EC).to_sec1_pem(LineEnding::LF).unwrap();
        assert!(sec1.starts_with("-----BEGIN EC PRIVATE KEY-----"));
        assert!(signs_like(&EC, &sec1));
        let parameters = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n";
        assert!(signs_like(&EC, &format!("{parameters}{}", &*sec1)));
    }

    #[test]
    fn a_private_key_loads_with_windows_line_ends() {
        assert!(signs_like(
            &EC,
            &EC.private_key_pem.expose_secret().replace('\n', "\r\n")
        ));
    }

    #[test]
    fn a_private_key_loads_as_rsa_private_key() {
        let pkcs1 = rsa_of(&RSA).to_pkcs1_pem(rsa::pkcs8::LineEnding::LF).unwrap();
        assert!(pkcs1.starts_with("-----BEGIN RSA PRIVATE KEY-----"));
        assert!(signs_like(&RSA, &pkcs1));
    }

    #[test]
    fn a_public_key_loads_as_public_key_and_as_rsa_public_key() {
        let pkcs1 = rsa_of(&RSA)
            .to_public_key()
            .to_pkcs1_pem(rsa::pkcs8::LineEnding::LF)
            .unwrap();
        assert!(pkcs1.starts_with("-----BEGIN RSA PUBLIC KEY-----"));
        for (key, public) in [
            (&*EC, &EC.public_key_pem),
            (&*RSA, &RSA.public_key_pem),
            (&*RSA, &pkcs1),
        ] {
            let given = KeySource {
                public_key_pem: Some(public.clone()),
                ..source(key)
            };
            assert_eq!(KeySet::new(vec![given]).unwrap().entries()[0].kid(), key.kid);
        }
    }

    #[test]
    fn a_public_key_of_another_pair_is_refused() {
        let given = KeySource {
            public_key_pem: Some(OTHER_EC.public_key_pem.clone()),
            ..source(&EC)
        };
        let finding = finding(vec![given]);
        assert!(finding.problem.contains("does not belong"), "{finding}");
        assert_eq!(
            (finding.entry, finding.origin.as_str()),
            (Some(0), "keys/test.pem")
        );
    }

    #[test]
    fn an_algorithm_that_does_not_fit_the_key_is_refused() {
        for (algorithm, key) in [(Rs256, &*EC), (Es256, &*RSA)] {
            let finding = finding(vec![KeySource {
                algorithm,
                ..source(key)
            }]);
            assert!(finding.problem.starts_with("the algorithm is"), "{finding}");
        }
    }

    /// RFC 7518 §3.3.
    #[test]
    fn an_rsa_key_below_2048_bits_is_refused_in_every_form() {
        #[expect(
            clippy::disallowed_methods,
            reason = "aws-lc-rs makes no weak keys; this one only tests the refusal"
        )]
        let weak = rsa::RsaPrivateKey::new(&mut rsa::rand_core::OsRng, 1024).unwrap();
        let pkcs8 = weak.to_pkcs8_pem(rsa::pkcs8::LineEnding::LF).unwrap();
        let pkcs1 = weak.to_pkcs1_pem(rsa::pkcs8::LineEnding::LF).unwrap();
        for pem in [&pkcs8, &pkcs1] {
            assert!(
                finding(vec![private(Rs256, pem)])
                    .problem
                    .contains("shorter than 2048")
            );
        }
        let spki = weak
            .to_public_key()
            .to_public_key_pem(rsa::pkcs8::LineEnding::LF)
            .unwrap();
        let alone = KeySource {
            public_key_pem: Some(spki),
            ..verify_only(&RSA)
        };
        assert!(
            finding(vec![source(&EC), alone])
                .problem
                .contains("shorter than 2048")
        );
    }

    /// RFC 7518 §3.4.
    #[test]
    fn a_key_on_another_curve_is_refused() {
        let pair = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
        let pkcs8 = SecretDocument::try_from(pair.to_pkcs8v1().unwrap().as_ref()).unwrap();
        let pem = pkcs8.to_pem("PRIVATE KEY", LineEnding::LF).unwrap();
        assert!(finding(vec![private(Es256, &pem)]).problem.contains("not P-256"));

        let sec1: aws_lc_rs::encoding::EcPrivateKeyRfc5915Der<'_> =
            aws_lc_rs::encoding::AsDer::as_der(&pair.private_key()).unwrap();
        let sec1 = SecretDocument::try_from(sec1.as_ref()).unwrap();
        let pem = sec1.to_pem("EC PRIVATE KEY", LineEnding::LF).unwrap();
        assert!(finding(vec![private(Es256, &pem)]).problem.contains("not P-256"));

        let spki: aws_lc_rs::encoding::PublicKeyX509Der<'_> =
            aws_lc_rs::encoding::AsDer::as_der(aws_lc_rs::signature::KeyPair::public_key(&pair)).unwrap();
        let spki = SecretDocument::try_from(spki.as_ref()).unwrap();
        let public_key_pem = Some(spki.to_pem("PUBLIC KEY", LineEnding::LF).unwrap().to_string());
        let alone = KeySource {
            public_key_pem,
            ..verify_only(&EC)
        };
        assert!(finding(vec![source(&EC), alone]).problem.contains("not P-256"));
    }

    #[test]
    fn what_is_no_usable_private_key_is_refused_with_its_reason() {
        let ed25519 = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n\
                       -----END PRIVATE KEY-----\n";
        let old_encryption =
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END RSA PRIVATE KEY-----";
        let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----";
        let damaged = "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----";
        for (pem, word) in [
            (ed25519, "neither"),
            (old_encryption, "passphrase"),
            (encrypted, "passphrase"),
            (damaged, "damaged"),
            (&damaged.replace("PRIVATE", "EC PRIVATE"), "damaged"),
            (&damaged.replace("PRIVATE", "RSA PRIVATE"), "damaged"),
            (EC.public_key_pem.as_str(), "holds a public key"),
            ("", "not PEM"),
        ] {
            let finding = finding(vec![private(Es256, pem)]);
            assert!(finding.problem.contains(word), "{finding}");
        }
    }

    #[test]
    fn a_private_key_readable_by_group_or_others_is_refused_unless_allowed() {
        let dir = tempfile::tempdir().unwrap();
        let (private_path, public_path) = write_pair(dir.path(), &EC).unwrap();
        let files = || KeyFiles {
            algorithm: Es256,
            private_key_path: Some(private_path.clone()),
            public_key_path: Some(public_path.clone()),
            kid: Some("2026-01".into()),
            signs_from: None,
        };
        assert_eq!(
            KeySet::load(vec![files()], false).unwrap().entries()[0].kid(),
            "2026-01"
        );
        for mode in [0o640, 0o604, 0o620] {
            fs::set_permissions(&private_path, fs::Permissions::from_mode(mode)).unwrap();
            let findings = KeySet::load(vec![files()], false).unwrap_err();
            assert!(findings[0].mend.contains("chmod 600"), "{findings:?}");
            assert!(findings[0].origin.contains(private_path.to_str().unwrap()));
            assert!(KeySet::load(vec![files()], true).is_ok());
        }
    }

    #[test]
    fn a_missing_file_is_told_with_its_name_and_the_other_findings() {
        let missing = |name: &str| KeyFiles {
            algorithm: Es256,
            private_key_path: Some(Path::new("/nonexistent").join(name)),
            public_key_path: None,
            kid: None,
            signs_from: None,
        };
        let nothing = KeyFiles {
            private_key_path: None,
            ..missing("")
        };
        let findings = KeySet::load(vec![missing("a.pem"), nothing, missing("b.pem")], false).unwrap_err();
        let text: Vec<_> = findings.iter().map(ToString::to_string).collect();
        assert_eq!(text.len(), 3, "{text:?}");
        assert!(text[0].starts_with("jwt.keys[0] (/nonexistent/a.pem): the file does not exist; "));
        assert!(text[1].starts_with("jwt.keys[1]: the entry names no key; "));
        assert!(text[2].starts_with("jwt.keys[2] (/nonexistent/b.pem): "));
    }

    #[test]
    fn no_finding_and_no_debug_output_shows_a_key() {
        let pem = EC
            .private_key_pem
            .expose_secret()
            .replace("PRIVATE KEY", "SECRET KEY");
        let secret = pem.lines().nth(1).unwrap();
        assert!(!format!("{:?}", finding(vec![private(Es256, &pem)])).contains(secret));
        assert!(!format!("{:?}", source(&EC)).contains(secret));
        assert!(!format!("{:?}", both()).contains(secret));
    }
}

mod list {
    use super::*;

    #[test]
    fn at_least_one_key_is_required() {
        assert!(finding(vec![]).problem.contains("at least one key"));
    }

    #[test]
    fn the_first_key_must_have_a_private_key() {
        assert!(
            finding(vec![verify_only(&EC), source(&RSA)])
                .problem
                .contains("must have a private key")
        );
    }

    #[test]
    fn an_entry_with_signs_from_must_have_a_private_key() {
        let later = KeySource {
            signs_from: Some(NOW + Duration::DAY),
            ..verify_only(&RSA)
        };
        assert!(
            finding(vec![source(&EC), later])
                .problem
                .contains("no private key to sign with")
        );
    }

    #[test]
    fn an_entry_that_only_verifies_may_stand_behind_and_verifies() {
        let old = KeySet::new(vec![source(&RSA)]).unwrap();
        let token = old.sign("at+jwt", &good_claims(), None, NOW).unwrap();
        let keys = KeySet::new(vec![source(&EC), verify_only(&RSA)]).unwrap();
        assert!(verify(&keys, &token).is_ok());
        assert!(keys.active(Some(Rs256), NOW).is_none());
        assert!(matches!(
            keys.sign("at+jwt", &good_claims(), Some(Rs256), NOW),
            Err(SignError::NoKey)
        ));
    }

    #[test]
    fn an_entry_that_has_to_sign_until_the_one_before_does_must_have_a_private_key() {
        let next = KeySource {
            signs_from: Some(NOW + Duration::DAY),
            ..source(&EC)
        };
        let keys = KeySet::new(vec![next.clone(), verify_only(&RSA), source(&OTHER_EC)]).unwrap();
        assert_eq!(keys.require_signer(NOW).unwrap_err().entry, Some(1));
        assert_eq!(keys.require_signer(NOW + Duration::DAY), Ok(()));
        let keys = KeySet::new(vec![next]).unwrap();
        assert_eq!(keys.require_signer(NOW).unwrap_err().entry, None);
        assert!(keys.active(None, NOW).is_none());
        assert_eq!(both().require_signer(NOW), Ok(()));
    }

    #[test]
    fn a_kid_names_one_key_only() {
        let named = |key| KeySource {
            kid: Some("same".into()),
            ..source(key)
        };
        let finding = finding(vec![named(&EC), named(&RSA)]);
        assert_eq!(finding.entry, Some(1));
        assert!(finding.problem.contains("jwt.keys[0]"), "{finding}");
    }

    #[test]
    fn a_kid_is_made_of_harmless_characters() {
        let named = |kid: &str| KeySource {
            kid: Some(kid.into()),
            ..source(&EC)
        };
        for kid in ["2026-01", "a", "A.b_c-9", &"x".repeat(64)] {
            assert_eq!(KeySet::new(vec![named(kid)]).unwrap().entries()[0].kid(), kid);
        }
        for kid in ["", "a/b", "a b", "é", "a\n", "'", &"x".repeat(65)] {
            assert!(finding(vec![named(kid)]).problem.contains("the kid is not"));
        }
    }

    #[test]
    fn all_findings_are_told_at_once_in_the_order_of_the_list() {
        let bad_kid = KeySource {
            kid: Some("a b".into()),
            ..source(&RSA)
        };
        let findings = KeySet::new(vec![private(Es256, ""), source(&EC), bad_kid, source(&EC)]).unwrap_err();
        let entries: Vec<_> = findings.iter().map(|finding| finding.entry).collect();
        assert_eq!(entries, [Some(0), Some(2), Some(3)]);
    }

    #[test]
    fn the_first_key_whose_time_has_come_signs() {
        let from = NOW + Duration::HOUR;
        let next = KeySource {
            signs_from: Some(from),
            ..source(&OTHER_EC)
        };
        let keys = KeySet::new(vec![next, source(&RSA), source(&EC)]).unwrap();
        let kid = |algorithm, now| keys.active(algorithm, now).map(KeyEntry::kid);
        assert_eq!(kid(None, from - Duration::SECOND), Some(RSA.kid.as_str()));
        assert_eq!(kid(Some(Es256), from - Duration::SECOND), Some(EC.kid.as_str()));
        assert_eq!(kid(None, from), Some(OTHER_EC.kid.as_str()));
        assert_eq!(kid(Some(Rs256), from), Some(RSA.kid.as_str()));
    }

    #[test]
    fn the_published_keys_have_public_members_only_in_the_order_of_the_list() {
        let next = KeySource {
            signs_from: Some(NOW + Duration::DAY),
            ..source(&OTHER_EC)
        };
        let keys = KeySet::new(vec![next, source(&RSA), verify_only(&EC)]).unwrap();
        let jwks: Value = serde_json::from_str(keys.jwks_json()).unwrap();
        let published = jwks["keys"].as_array().unwrap();
        let kids: Vec<_> = published.iter().map(|key| key["kid"].as_str().unwrap()).collect();
        assert_eq!(kids, [&OTHER_EC.kid, &RSA.kid, &EC.kid]);
        for key in published {
            let mut members: Vec<_> = key.as_object().unwrap().keys().map(String::as_str).collect();
            members.sort_unstable();
            let (alg, wanted) = match key["kty"].as_str().unwrap() {
                "EC" => ("ES256", vec!["alg", "crv", "kid", "kty", "use", "x", "y"]),
                _ => ("RS256", vec!["alg", "e", "kid", "kty", "n", "use"]),
            };
            assert_eq!(
                (
                    members,
                    key["alg"].as_str().unwrap(),
                    key["use"].as_str().unwrap()
                ),
                (wanted, alg, "sig")
            );
        }
        assert_eq!(keys.algorithms(), [Es256, Rs256]);
    }

    #[test]
    fn replaced_keys_are_seen_by_every_clone_and_not_by_who_holds_the_old_ones() {
        let shared = SharedKeySet::new(KeySet::new(vec![source(&EC)]).unwrap());
        let (clone, held) = (shared.clone(), shared.current());
        shared.replace(KeySet::new(vec![source(&RSA)]).unwrap());
        assert_eq!(clone.current().entries()[0].kid(), RSA.kid);
        assert_eq!(held.entries()[0].kid(), EC.kid);
    }

    #[test]
    fn the_facts_of_a_list_give_its_states() {
        let next = KeySource {
            signs_from: Some(NOW + Duration::DAY),
            ..source(&OTHER_EC)
        };
        let keys = KeySet::new(vec![next, source(&EC), verify_only(&RSA)]).unwrap();
        let stages: Vec<_> = states::states(&keys.facts(|_| None), NOW, 60)
            .into_iter()
            .map(|state| state.stage)
            .collect();
        assert_eq!(
            stages,
            [
                states::KeyStage::Next,
                states::KeyStage::Active,
                states::KeyStage::Retiring
            ]
        );
    }
}

mod tokens {
    use super::*;

    #[test]
    fn a_token_names_algorithm_kind_and_key_and_verifies() {
        let keys = both();
        for (algorithm, alg, kid) in [(None, "ES256", &EC.kid), (Some(Rs256), "RS256", &RSA.kid)] {
            let token = keys.sign("at+jwt", &good_claims(), algorithm, NOW).unwrap();
            let header = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
            assert_eq!(
                serde_json::from_slice::<Value>(&header).unwrap(),
                json!({"alg": alg, "typ": "at+jwt", "kid": kid})
            );
            assert_eq!(verify(&keys, &token).unwrap(), good_claims());
        }
    }

    /// An implementation that is not ours reads the published keys and accepts the tokens.
    #[test]
    fn an_independent_library_verifies_by_the_published_keys() {
        install_crypto_provider();
        install_crypto_provider();
        let keys = both();
        let jwks: jsonwebtoken::jwk::JwkSet = serde_json::from_str(keys.jwks_json()).unwrap();
        for algorithm in [Es256, Rs256] {
            let token = keys.sign("JWT", &good_claims(), Some(algorithm), NOW).unwrap();
            let jwk = jwks
                .find(keys.active(Some(algorithm), NOW).unwrap().kid())
                .unwrap();
            let mut validation = jsonwebtoken::Validation::new(match algorithm {
                Es256 => jsonwebtoken::Algorithm::ES256,
                Rs256 => jsonwebtoken::Algorithm::RS256,
            });
            validation.validate_exp = false;
            validation.set_audience(&["https://api.example.com"]);
            validation.set_issuer(&[ISSUER]);
            let key = jsonwebtoken::DecodingKey::from_jwk(jwk).unwrap();
            assert_eq!(
                jsonwebtoken::decode::<Value>(&token, &key, &validation)
                    .unwrap()
                    .claims,
                good_claims()
            );
            assert_eq!(
                jwk.thumbprint(jsonwebtoken::jwk::ThumbprintHash::SHA256).unwrap(),
                jwk.common.key_id.clone().unwrap()
            );
        }
    }

    /// RFC 8725 §2.1, §3.1.
    #[test]
    fn a_public_key_used_as_hmac_secret_is_refused() {
        let keys = both();
        let spki = EC.public_key_pem.as_bytes();
        for secret in [spki, keys.jwks_json().as_bytes()] {
            for header in [
                json!({"alg": "HS256", "typ": "at+jwt", "kid": EC.kid}),
                json!({"alg": "HS256", "typ": "at+jwt"}),
            ] {
                let input = format!("{}.{}", b64(header.to_string()), b64(good_claims().to_string()));
                let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret);
                let token = format!("{input}.{}", b64(aws_lc_rs::hmac::sign(&key, input.as_bytes())));
                assert_eq!(reason(verify(&keys, &token)), "the algorithm is none of ours");
            }
        }
    }

    /// RFC 8725 §2.1, RFC 7515 appendix A.5.
    #[test]
    fn an_unsigned_token_is_refused() {
        let keys = both();
        for alg in ["none", "None", "NONE", "nOnE", ""] {
            let header = json!({"alg": alg, "typ": "at+jwt", "kid": EC.kid});
            let token = format!("{}.{}.", b64(header.to_string()), b64(good_claims().to_string()));
            assert_eq!(reason(verify(&keys, &token)), "the algorithm is none of ours");
        }
        let signed = keys.sign("at+jwt", &good_claims(), None, NOW).unwrap();
        let stripped = &signed[..=signed.rfind('.').unwrap()];
        assert_eq!(reason(verify(&keys, stripped)), "the signature does not hold");
    }

    /// RFC 8725 §3.1: the algorithm is the key's.
    #[test]
    fn the_kid_of_an_rsa_key_with_an_es256_header_is_refused_before_any_cryptography() {
        let keys = both();
        let token = forge(
            &EC,
            &json!({"alg": "ES256", "typ": "at+jwt", "kid": RSA.kid}),
            &good_claims(),
        );
        assert_eq!(reason(verify(&keys, &token)), "the algorithm is not the key's");
        let token = forge(
            &RSA,
            &json!({"alg": "RS256", "typ": "at+jwt", "kid": EC.kid}),
            &good_claims(),
        );
        assert_eq!(reason(verify(&keys, &token)), "the algorithm is not the key's");
    }

    #[test]
    fn an_unknown_kid_is_refused_even_if_a_key_would_verify() {
        let header = json!({"alg": "ES256", "typ": "at+jwt", "kid": "other"});
        assert_eq!(
            reason(verify(&both(), &forge(&EC, &header, &good_claims()))),
            "the kid is none of ours"
        );
        for kid in [json!(null), json!(7), json!([EC.kid])] {
            let header = json!({"alg": "ES256", "typ": "at+jwt", "kid": kid});
            let token = forge(&EC, &header, &good_claims());
            assert_eq!(reason(verify(&both(), &token)), "the header is not a JOSE header");
        }
    }

    #[test]
    fn a_missing_kid_tries_the_keys_of_the_headers_algorithm() {
        let keys = KeySet::new(vec![source(&OTHER_EC), source(&RSA), verify_only(&EC)]).unwrap();
        for (key, alg) in [(&*EC, "ES256"), (&*OTHER_EC, "ES256"), (&*RSA, "RS256")] {
            assert!(
                verify(
                    &keys,
                    &forge(key, &json!({"alg": alg, "typ": "at+jwt"}), &good_claims())
                )
                .is_ok()
            );
        }
        let stranger = generate(Es256, None).unwrap();
        let token = forge(
            &stranger,
            &json!({"alg": "ES256", "typ": "at+jwt"}),
            &good_claims(),
        );
        assert_eq!(reason(verify(&keys, &token)), "the signature does not hold");
    }

    /// RFC 7515 §4.1.11.
    #[test]
    fn a_critical_extension_is_refused_whatever_its_value() {
        for crit in [json!(["b64"]), json!([]), json!(null)] {
            let header = json!({"alg": "ES256", "typ": "at+jwt", "kid": EC.kid, "crit": crit, "b64": true});
            assert_eq!(
                reason(verify(&both(), &forge(&EC, &header, &good_claims()))),
                "the header has crit"
            );
        }
    }

    /// RFC 8725 §3.10: a token cannot bring its key.
    #[test]
    fn a_key_in_the_header_is_ignored() {
        let attacker = KeySet::new(vec![source(&OTHER_EC)]).unwrap();
        let jwk = serde_json::to_value(attacker.entries()[0].jwk()).unwrap();
        let mut header = json!({"alg": "ES256", "typ": "at+jwt", "kid": EC.kid, "jwk": jwk,
            "jku": "https://evil.example/jwks", "x5u": "https://evil.example/x5u", "x5c": ["AAAA"]});
        assert_eq!(
            reason(verify(&both(), &forge(&OTHER_EC, &header, &good_claims()))),
            "the signature does not hold"
        );
        assert!(verify(&both(), &forge(&EC, &header, &good_claims())).is_ok());
        header["alg"] = json!(["ES256"]);
        assert!(verify(&both(), &forge(&EC, &header, &good_claims())).is_err());
    }

    #[test]
    fn a_changed_payload_header_or_signature_is_refused() {
        let keys = both();
        let token = keys.sign("at+jwt", &good_claims(), None, NOW).unwrap();
        let parts: Vec<&str> = token.split('.').collect();
        let mut claims = good_claims();
        claims["sub"] = json!("admin");
        let other = b64(claims.to_string());
        assert_eq!(
            reason(verify(&keys, &[parts[0], &other, parts[2]].join("."))),
            "the signature does not hold"
        );
        let header = b64(json!({"typ": "at+jwt", "alg": "ES256", "kid": EC.kid, "x": 1}).to_string());
        assert!(verify(&keys, &[&header, parts[1], parts[2]].join(".")).is_err());
        for changed in [
            format!("{token}="),
            format!("{token}."),
            format!(" {token}"),
            token.replace('.', ""),
        ] {
            assert!(verify(&keys, &changed).is_err());
        }
        // 64 bytes end in a character of which two bits are unused: other spellings of the same bytes are refused.
        let mut signature = URL_SAFE_NO_PAD.decode(parts[2]).unwrap();
        assert_eq!(signature.len(), 64);
        signature[63] ^= 1;
        assert!(verify(&keys, &[parts[0], parts[1], &b64(signature)].join(".")).is_err());
        let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let last = alphabet.find(token.chars().last().unwrap()).unwrap();
        let sibling = format!("{}{}", &token[..token.len() - 1], &alphabet[last + 1..last + 2]);
        assert_eq!(reason(verify(&keys, &sibling)), "the signature is not base64url");
    }

    /// RFC 8725 §3.11.
    #[test]
    fn a_token_of_another_kind_is_refused() {
        let keys = both();
        for typ in ["JWT", "logout+jwt", "at", "", "application/JWT"] {
            let token = keys.sign(typ, &good_claims(), None, NOW).unwrap();
            assert_eq!(
                reason(verify(&keys, &token)),
                "the typ is that of another kind of token"
            );
        }
        let token = forge(&EC, &json!({"alg": "ES256", "kid": EC.kid}), &good_claims());
        assert_eq!(reason(verify(&keys, &token)), "the header has no typ");
    }

    /// RFC 7515 §4.1.9.
    #[test]
    fn typ_is_compared_without_case_and_without_application() {
        let keys = both();
        for typ in ["at+jwt", "AT+JWT", "application/at+jwt", "Application/At+Jwt"] {
            assert!(
                verify(&keys, &keys.sign(typ, &good_claims(), None, NOW).unwrap()).is_ok(),
                "{typ}"
            );
        }
    }

    /// RFC 7519 §4.1.4; CVE-2026-25537 is a string that skipped this check elsewhere.
    #[test]
    fn exp_must_be_there_and_be_a_whole_number() {
        let far = NOW.unix_timestamp() + 900;
        for exp in [
            json!(far.to_string()),
            json!(null),
            json!([far]),
            json!(true),
            json!(1e300),
            json!(u64::MAX),
        ] {
            assert_eq!(
                reason(verify_claims(|claims| claims["exp"] = exp)),
                "exp is missing or no whole number"
            );
        }
        let without = verify_claims(|claims| drop(claims.as_object_mut().unwrap().remove("exp")));
        assert_eq!(reason(without), "exp is missing or no whole number");
    }

    #[test]
    fn iat_must_be_there_and_be_a_whole_number() {
        let without = verify_claims(|claims| drop(claims.as_object_mut().unwrap().remove("iat")));
        assert_eq!(reason(without), "iat is missing or no whole number");
        for iat in [json!("1"), json!(null), json!(1.5)] {
            assert_eq!(
                reason(verify_claims(|claims| claims["iat"] = iat)),
                "iat is missing or no whole number"
            );
        }
    }

    #[test]
    fn nbf_may_be_missing_but_must_be_a_reached_number_if_there() {
        let now = NOW.unix_timestamp();
        assert!(verify_claims(|claims| claims["nbf"] = json!(now)).is_ok());
        assert_eq!(
            reason(verify_claims(|claims| claims["nbf"] = json!(now + 1))),
            "nbf is not reached"
        );
        for nbf in [json!("0"), json!(null)] {
            assert_eq!(
                reason(verify_claims(|claims| claims["nbf"] = nbf)),
                "nbf is no whole number"
            );
        }
    }

    #[test]
    fn iss_must_be_ours_byte_for_byte() {
        for iss in [
            json!("https://auth.example.com/"),
            json!("HTTPS://auth.example.com"),
            json!([ISSUER]),
            json!(null),
        ] {
            assert_eq!(
                reason(verify_claims(|claims| claims["iss"] = iss)),
                "iss is missing or not ours"
            );
        }
    }

    #[test]
    fn aud_must_be_or_contain_the_one_expected() {
        assert!(verify_claims(|claims| claims["aud"] = json!(["x", "https://api.example.com"])).is_ok());
        for aud in [json!("https://other.example.com"), json!(["x"])] {
            assert_eq!(
                reason(verify_claims(|claims| claims["aud"] = aud)),
                "aud names somebody else"
            );
        }
        let malformed = "aud is missing or neither a string nor strings";
        for aud in [
            json!(null),
            json!([]),
            json!(1),
            json!(["https://api.example.com", 1]),
            json!({}),
        ] {
            assert_eq!(reason(verify_claims(|claims| claims["aud"] = aud)), malformed);
        }
        // Without a wanted audience it must still be there and well formed.
        let keys = both();
        let any = Expectation {
            audience: None,
            ..expected()
        };
        let mut claims = good_claims();
        claims["aud"] = json!("anybody");
        let token = keys.sign("at+jwt", &claims, None, NOW).unwrap();
        assert!(keys.verify::<Value>(&token, &any).is_ok());
        claims.as_object_mut().unwrap().remove("aud");
        let token = keys.sign("at+jwt", &claims, None, NOW).unwrap();
        assert_eq!(reason(keys.verify::<Value>(&token, &any)), malformed);
    }

    #[test]
    fn a_required_claim_must_be_there_and_not_null() {
        assert_eq!(
            reason(verify_claims(|claims| claims["sub"] = json!(null))),
            "a required claim is missing"
        );
    }

    /// RFC 7519 §4.1.4: on or after `exp` a token must not be accepted.
    #[test]
    fn a_token_expires_at_exp_by_the_time_that_is_passed() {
        let keys = both();
        let token = keys.sign("at+jwt", &good_claims(), None, NOW).unwrap();
        let at = |secs, leeway_secs, allow_expired| {
            let now = NOW + Duration::seconds(secs);
            keys.verify::<Value>(
                &token,
                &Expectation {
                    now,
                    leeway_secs,
                    allow_expired,
                    ..expected()
                },
            )
        };
        assert!(at(899, 0, false).is_ok());
        assert_eq!(at(900, 0, false), Err(VerifyError::Expired));
        assert!(at(904, 5, false).is_ok());
        assert_eq!(at(905, 5, false), Err(VerifyError::Expired));
        assert!(at(1_000_000, 0, true).is_ok());
    }

    /// An expired token of somebody else is invalid, not expired: `Expired` says that all else is right.
    #[test]
    fn expiry_is_told_only_of_tokens_that_are_good_otherwise() {
        let past = NOW.unix_timestamp() - 1;
        assert_eq!(
            verify_claims(|claims| claims["exp"] = json!(past)),
            Err(VerifyError::Expired)
        );
        let other = verify_claims(|claims| {
            claims["exp"] = json!(past);
            claims["aud"] = json!("other");
        });
        assert_eq!(reason(other), "aud names somebody else");
    }

    #[test]
    fn claims_of_another_form_are_refused() {
        #[derive(Debug, serde::Deserialize)]
        struct Claims {
            #[expect(dead_code, reason = "only its absence matters")]
            client_id: String,
        }
        let keys = both();
        let token = keys.sign("at+jwt", &good_claims(), None, NOW).unwrap();
        assert_eq!(
            reason(keys.verify::<Claims>(&token, &expected())),
            "the claims are not of this kind"
        );
        for claims in [json!([]), json!("x"), json!(null)] {
            let token = keys.sign("at+jwt", &claims, None, NOW).unwrap();
            assert_eq!(
                reason(verify(&keys, &token)),
                "the payload is not a JSON object of the expected form"
            );
        }
    }

    #[test]
    fn a_token_of_more_than_8_kib_is_refused_before_decoding() {
        let keys = both();
        let mut claims = good_claims();
        claims["pad"] = json!("x".repeat(7_000));
        let token = keys.sign("at+jwt", &claims, None, NOW).unwrap();
        assert!(token.len() > MAX_TOKEN_BYTES);
        assert_eq!(reason(verify(&keys, &token)), "longer than a token may be");
    }

    static KEYS: LazyLock<KeySet> = LazyLock::new(both);

    proptest! {
        #[test]
        fn random_text_neither_panics_nor_verifies(token in ".{0,200}") {
            prop_assert!(verify(&KEYS, &token).is_err());
        }

        #[test]
        fn random_parts_neither_panic_nor_verify(
            header in proptest::sample::select(vec![
                r#"{"alg":"ES256","typ":"at+jwt"}"#, r#"{"alg":"RS256","typ":"at+jwt"}"#, r#"{"alg":"none"}"#, "{}", "[]",
            ]),
            payload in proptest::collection::vec(any::<u8>(), 0..80),
            signature in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let token = format!("{}.{}.{}", b64(header), b64(payload), b64(signature));
            prop_assert!(verify(&KEYS, &token).is_err());
        }

        #[test]
        fn no_single_changed_byte_of_a_token_verifies(index in any::<proptest::sample::Index>(), byte in any::<u8>()) {
            let token = KEYS.sign("at+jwt", &good_claims(), None, NOW).unwrap();
            let mut changed = token.clone().into_bytes();
            let index = index.index(changed.len());
            prop_assume!(changed[index] != byte);
            changed[index] = byte;
            if let Ok(changed) = String::from_utf8(changed) {
                prop_assert!(verify(&KEYS, &changed).is_err());
            }
        }

        #[test]
        fn random_text_around_pem_lines_never_panics(text in "(-----(BEGIN|END) (EC |RSA |)(PRIVATE|PUBLIC) KEY-----|[A-Za-z0-9+/=\n]{0,40}|.){0,6}") {
            prop_assert!(PrivateKey::from_pem(&text).is_err());
            prop_assert!(jwk::PublicKey::from_pem(&text).is_err());
        }
    }
}
