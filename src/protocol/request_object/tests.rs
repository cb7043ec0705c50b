use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use serde_json::json;

use super::*;
use crate::protocol::fixtures::{CALLBACK, ISSUER, NOW, at, authorization_params, client};

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn unsigned(claims: &Value) -> String {
    format!("{}.{}.", part(&json!({"alg": "none"})), part(claims))
}

fn read_for(client: &Client, more: &[(&str, &str)]) -> Result<Params, OAuthRefusal> {
    read(&authorization_params(more), client, ISSUER, at(NOW))
}

fn read_claims(claims: &Value) -> Result<Params, OAuthRefusal> {
    read_for(&client(), &[("request", &unsigned(claims))])
}

fn refused(request: &str) -> OAuthErrorCode {
    let refusal = read_for(&client(), &[("request", request)]).err();
    refusal.expect("the request object is refused").code
}

/// A key with its `kid`, and the client that registered it.
struct Signer {
    key: EcdsaKeyPair,
    jwk: Value,
}

impl Signer {
    fn new(kid: &str) -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let point = key.public_key().as_ref();
        let (x, y) = (
            URL_SAFE_NO_PAD.encode(&point[1..33]),
            URL_SAFE_NO_PAD.encode(&point[33..65]),
        );
        let jwk = json!({"kty": "EC", "crv": "P-256", "kid": kid, "x": x, "y": y});
        Self { key, jwk }
    }

    fn client(&self) -> Client {
        Client {
            request_object_jwks: Some(json!({"keys": [{"kty": "unheard-of"}, self.jwk]})),
            ..client()
        }
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let signed = format!("{}.{}", part(header), part(claims));
        let signature = self.key.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

#[test]
fn without_a_request_object_the_parameters_stay_as_they_are() {
    let read = read_for(&client(), &[]).unwrap();
    assert_eq!(read.get("state"), Ok(Some("xyz")));
}

/// OpenID Connect Core §6.1: the object's values replace the query's; what only the query has stays.
#[test]
fn the_values_of_the_object_replace_those_of_the_query() {
    let claims = json!({"client_id": "app", "response_type": "code", "redirect_uri": CALLBACK, "state": "inner",
        "nonce": "n", "max_age": 60, "claims": {"userinfo": {"name": null}}, "prompt": "", "jti": ["ignored"]});
    let more = [
        ("redirect_uri", "https://app.example/cb_invalid"),
        ("ui_locales", "de"),
        ("request", &unsigned(&claims)),
    ];
    let read = read_for(&client(), &more).unwrap();
    for (name, value) in [
        ("redirect_uri", Some(CALLBACK)),
        ("state", Some("inner")),
        ("nonce", Some("n")),
        ("max_age", Some("60")),
        ("claims", Some(r#"{"userinfo":{"name":null}}"#)),
        ("ui_locales", Some("de")),
        ("prompt", None),
        ("request", None),
    ] {
        assert_eq!(read.get(name), Ok(value), "{name}");
    }
}

#[test]
fn request_uri_and_registration_are_not_supported() {
    for (name, code) in [
        ("request_uri", OAuthErrorCode::RequestUriNotSupported),
        ("registration", OAuthErrorCode::RegistrationNotSupported),
    ] {
        assert_eq!(read_for(&client(), &[(name, "x")]).err().unwrap().code, code);
    }
}

#[test]
fn client_id_and_response_type_agree_inside_and_outside() {
    for claims in [
        json!({"client_id": "other"}),
        json!({"response_type": "token"}),
        json!({"client_id": 1}),
    ] {
        let refusal = read_claims(&claims).err().unwrap();
        assert_eq!(refusal.code, OAuthErrorCode::InvalidRequestObject, "{claims}");
    }
}

#[test]
fn nothing_is_nested() {
    for name in ["request", "request_uri"] {
        let refusal = read_claims(&json!({name: "x"})).err().unwrap();
        assert_eq!(refusal.code, OAuthErrorCode::InvalidRequestObject, "{name}");
    }
    let refusal = read_claims(&json!({"registration": {}})).err().unwrap();
    assert_eq!(refusal.code, OAuthErrorCode::RegistrationNotSupported);
}

#[test]
fn members_have_the_type_of_their_parameter() {
    for claims in [
        json!({"state": 1}),
        json!({"state": null}),
        json!({"scope": ["openid"]}),
        json!({"nonce": "a\u{0}b"}),
        json!({"max_age": true}),
        json!({"claims": [1]}),
    ] {
        let refusal = read_claims(&claims).err().unwrap();
        assert_eq!(refusal.code, OAuthErrorCode::InvalidRequestObject, "{claims}");
    }
}

#[test]
fn what_is_no_jwt_is_refused() {
    let header = part(&json!({"alg": "none"}));
    let payload = part(&json!({}));
    for request in [
        "x".to_owned(),
        format!("{header}.{payload}"),
        format!("{header}.{payload}.."),
        format!("{header}=.{payload}."),
        format!("{header}.{}.", URL_SAFE_NO_PAD.encode("[]")),
        format!("{header}.{}.", URL_SAFE_NO_PAD.encode("not json")),
        format!("{header}.{payload}.c2ln"),
        format!("{}.{payload}.", part(&json!({"alg": "None"}))),
        format!("{}.{payload}.", part(&json!({}))),
        format!("{}.{payload}.", part(&json!({"alg": "none", "crit": ["x"]}))),
        format!("{}.{payload}.c2ln", part(&json!({"alg": "HS256"}))),
        format!(
            "{header}.{}.",
            URL_SAFE_NO_PAD.encode(r#"{"state":"a","state":"b"}"#)
        ),
        format!("{header}.{}.", "A".repeat(MAX_BYTES)),
    ] {
        assert_eq!(
            refused(&request),
            OAuthErrorCode::InvalidRequestObject,
            "{request}"
        );
    }
}

/// RFC 6749 §3.1: an object does not excuse a repeated parameter in the query.
#[test]
fn a_parameter_repeated_in_the_query_is_refused_though_the_object_names_it() {
    let request = unsigned(&json!({"state": "inner"}));
    let params = authorization_params(&[("state", "a"), ("state", "b"), ("request", &request)]);
    let refusal = read(&params, &client(), ISSUER, at(NOW)).err().unwrap();
    assert_eq!(refusal.code, OAuthErrorCode::InvalidRequest);
}

/// RFC 9101 §4, §10.
#[test]
fn issuer_audience_and_time_are_judged_when_they_are_there() {
    for claims in [
        json!({"iss": "app", "aud": ISSUER, "exp": NOW + 1, "nbf": NOW}),
        json!({"aud": ["https://other.example", ISSUER], "exp": NOW - 59, "nbf": NOW + 60}),
        json!({}),
    ] {
        assert!(read_claims(&claims).is_ok(), "{claims}");
    }
    for claims in [
        json!({"iss": "other"}),
        json!({"aud": "https://other.example"}),
        json!({"aud": []}),
        json!({"exp": NOW - 60}),
        json!({"exp": "later"}),
        json!({"nbf": NOW + 61}),
        json!({"nbf": null}),
    ] {
        let refusal = read_claims(&claims).err().unwrap();
        assert_eq!(refusal.code, OAuthErrorCode::InvalidRequestObject, "{claims}");
    }
}

#[test]
fn a_client_with_keys_is_believed_what_they_sign() {
    let signer = Signer::new("k1");
    let claims = json!({"state": "inner"});
    for header in [json!({"alg": "ES256", "kid": "k1"}), json!({"alg": "ES256"})] {
        let request = signer.sign(&header, &claims);
        let read =
            read_for(&signer.client(), &[("request", &request)]).map_err(|refusal| refusal.description);
        assert_eq!(read.unwrap().get("state"), Ok(Some("inner")));
    }
}

#[test]
fn rsa_keys_sign_too() {
    let key = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let (n, e) = (key.public_key().modulus(), key.public_key().exponent());
    let encode = |number: &[u8]| URL_SAFE_NO_PAD.encode(number);
    let jwk = json!({"kty": "RSA", "alg": "RS256", "use": "sig",
        "n": encode(n.big_endian_without_leading_zero()), "e": encode(e.big_endian_without_leading_zero())});
    let client = Client {
        request_object_jwks: Some(json!({"keys": [jwk]})),
        ..client()
    };
    let signed = format!(
        "{}.{}",
        part(&json!({"alg": "RS256"})),
        part(&json!({"state": "inner"}))
    );
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(
        &RSA_PKCS1_SHA256,
        &SystemRandom::new(),
        signed.as_bytes(),
        &mut signature,
    )
    .unwrap();
    let request = format!("{signed}.{}", encode(&signature));
    assert!(read_for(&client, &[("request", &request)]).is_ok());
    signature[7] ^= 1;
    let request = format!("{signed}.{}", encode(&signature));
    assert!(read_for(&client, &[("request", &request)]).is_err());
}

#[test]
fn a_client_with_keys_is_not_believed_anything_else() {
    let (signer, stranger) = (Signer::new("k1"), Signer::new("k1"));
    let claims = json!({"state": "inner"});
    let good = signer.sign(&json!({"alg": "ES256", "kid": "k1"}), &claims);
    let (rest, signature) = good.rsplit_once('.').unwrap();
    let (header, _) = rest.split_once('.').unwrap();
    for request in [
        unsigned(&claims),
        stranger.sign(&json!({"alg": "ES256", "kid": "k1"}), &claims),
        signer.sign(&json!({"alg": "ES256", "kid": "k2"}), &claims),
        signer.sign(&json!({"alg": "RS256", "kid": "k1"}), &claims),
        signer.sign(&json!({"alg": "none"}), &claims),
        format!("{rest}."),
        format!("{header}.{}.{signature}", part(&json!({"state": "altered"}))),
    ] {
        let refusal = read_for(&signer.client(), &[("request", &request)])
            .err()
            .unwrap();
        assert_eq!(refusal.code, OAuthErrorCode::InvalidRequestObject, "{request}");
    }
    assert_eq!(
        refused(&good),
        OAuthErrorCode::InvalidRequestObject,
        "no keys registered"
    );
}

#[test]
fn a_key_for_something_else_verifies_nothing() {
    let signer = Signer::new("k1");
    let request = signer.sign(&json!({"alg": "ES256"}), &json!({}));
    for (member, value) in [("use", "enc"), ("alg", "ES384"), ("alg", "RS256")] {
        let mut jwk = signer.jwk.clone();
        jwk[member] = json!(value);
        let client = Client {
            request_object_jwks: Some(json!({"keys": [jwk]})),
            ..client()
        };
        assert!(
            read_for(&client, &[("request", &request)]).is_err(),
            "{member} {value}"
        );
    }
}

#[test]
fn keys_are_registered_by_value_and_without_their_secrets() {
    let jwk = Signer::new("k1").jwk;
    assert_eq!(validate_jwks(&json!({"keys": [jwk]})), Ok(()));
    let mut private = jwk.clone();
    private["d"] = json!("AA");
    for jwks in [
        json!({}),
        json!([]),
        json!({"keys": []}),
        json!({"keys": [private]}),
        json!({"keys": [jwk, {"kty": "oct", "k": "AA"}]}),
        json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "AA"}]}),
    ] {
        assert!(validate_jwks(&jwks).is_err(), "{jwks}");
    }
}
