//! Request objects by value (OpenID Connect Core §6.1, RFC 9101): unsigned, or signed by a key registered for the client.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::{Map, Value};
use time::OffsetDateTime;

use super::authorization::{OAuthErrorCode, OAuthRefusal, PARAMETERS};
use super::client::Client;
use super::params::Params;
use crate::jwt::foreign::{ForeignAlgorithm, ForeignKeys};

/// `alg` values that are understood; `none` only from clients that have registered no keys.
pub const ALGORITHMS: [&str; 3] = ["none", "RS256", "ES256"];

/// Those of them that sign.
const SIGNED: [ForeignAlgorithm; 2] = [ForeignAlgorithm::RS256, ForeignAlgorithm::ES256];

/// A longer request object is refused before it is decoded.
pub const MAX_BYTES: usize = 16 * 1024;

/// How far the clock of a client may be off, where `exp` and `nbf` are judged.
const CLOCK_SKEW_SECS: f64 = 60.0;

/// A key that a request object is verified with has members of this kind only; these would be secrets (RFC 7518 §6).
const PRIVATE_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// The parameters with those of the request object in place of the query's, when there is a `request`; else unchanged.
/// `request_uri` is `request_uri_not_supported`, `registration` is `registration_not_supported`. `client_id` and
/// `response_type` must agree with the query; no nesting; no duplicate members; a client with registered keys accepts only
/// objects signed by them; `iss`, `aud`, `exp`, `nbf` are judged when present.
pub fn read(
    params: &Params,
    client: &Client,
    issuer: &str,
    now: OffsetDateTime,
) -> Result<Params, OAuthRefusal> {
    refuse_unsupported(params)?;
    let Some(jwt) = params.get("request")? else {
        return Ok(params.clone());
    };
    params.refuse_repeated(&PARAMETERS)?; // before the object hides a repetition
    let claims = verify(jwt, client)?;
    require_for_us(&claims, client, issuer, now)?;
    require_agreement(&claims, params)?;
    let mut read = params.clone();
    read.set("request", "");
    for name in PARAMETERS {
        if let Some(value) = claims.get(name) {
            read.set(name, &parameter_text(name, value)?);
        }
    }
    Ok(read)
}

/// Whether `jwks` may be registered as a client's keys for request objects: a JWK set by value (RFC 7517 §5) of public keys,
/// at least one of them for an algorithm that is understood. The text is for the operator.
pub fn validate_jwks(jwks: &Value) -> Result<(), &'static str> {
    let Some(keys) = jwks.get("keys").and_then(Value::as_array) else {
        return Err("the JWK set has no member keys that is an array");
    };
    if keys
        .iter()
        .any(|key| PRIVATE_MEMBERS.iter().any(|member| key.get(member).is_some()))
    {
        return Err("the JWK set contains private or symmetric keys; register the public ones");
    }
    if !keys_of(jwks).has_key_for(&SIGNED) {
        return Err("the JWK set has no key for RS256 or ES256");
    }
    Ok(())
}

/// OpenID Connect Core §3.1.2.6. Nothing is ever fetched.
fn refuse_unsupported(params: &Params) -> Result<(), OAuthRefusal> {
    if params.get("request_uri")?.is_some() {
        return Err(OAuthRefusal::new(
            OAuthErrorCode::RequestUriNotSupported,
            "request_uri is not supported; send the request object as request",
        ));
    }
    if params.get("registration")?.is_some() {
        return Err(OAuthRefusal::new(
            OAuthErrorCode::RegistrationNotSupported,
            "registration is not supported",
        ));
    }
    Ok(())
}

/// The members of the request object, once its signature is what the client's registration demands.
fn verify(jwt: &str, client: &Client) -> Result<Map<String, Value>, OAuthRefusal> {
    if jwt.len() > MAX_BYTES {
        return Err(invalid("the request object is longer than 16 KiB"));
    }
    let [header, payload, signature] = jwt.split('.').collect::<Vec<_>>()[..] else {
        return Err(invalid("the request object is no signed or unsigned JWT"));
    };
    let header = decode_object(header)?;
    if header.contains_key("crit") {
        return Err(invalid("the request object has critical header members"));
    }
    match (
        header.get("alg").and_then(Value::as_str),
        &client.request_object_jwks,
    ) {
        (Some("none"), None) if signature.is_empty() => {}
        (Some("none"), None) => return Err(invalid("the request object has alg none and a signature")),
        (Some("none"), Some(_)) => {
            return Err(invalid(
                "this client has registered keys: its request objects have to be signed",
            ));
        }
        (Some("RS256" | "ES256"), Some(jwks)) => {
            if keys_of(jwks).verify(jwt, &SIGNED).is_err() {
                return Err(invalid("the request object is not signed by a registered key"));
            }
        }
        (Some("RS256" | "ES256"), None) => {
            return Err(invalid(
                "the request object is signed, but this client has registered no keys",
            ));
        }
        _ => return Err(invalid("the request object has an alg that is not offered")),
    }
    decode_object(payload)
}

/// The keys of a set that can be used; a set may hold others (RFC 7517 §5). The algorithm is a matter of the key, never of the
/// token alone (RFC 8725 §3.1).
fn keys_of(jwks: &Value) -> ForeignKeys {
    ForeignKeys::from_jwks(jwks).unwrap_or_default()
}

/// RFC 9101 §4, §10: what the object says of its sender, its receiver and its time has to be true.
fn require_for_us(
    claims: &Map<String, Value>,
    client: &Client,
    issuer: &str,
    now: OffsetDateTime,
) -> Result<(), OAuthRefusal> {
    if claims
        .get("iss")
        .is_some_and(|iss| iss != client.client_id.as_str())
    {
        return Err(invalid("the iss of the request object is not the client_id"));
    }
    let is_for_us = |aud: &Value| match aud {
        Value::Array(several) => several.iter().any(|one| one == issuer),
        one => one == issuer,
    };
    if !claims.get("aud").is_none_or(is_for_us) {
        return Err(invalid("the aud of the request object does not hold the issuer"));
    }
    #[expect(
        clippy::cast_precision_loss,
        reason = "seconds since the epoch are far below 2^52"
    )]
    let now_secs = now.unix_timestamp() as f64;
    let not_past = |exp: &Value| exp.as_f64().is_some_and(|exp| now_secs < exp + CLOCK_SKEW_SECS);
    if !claims.get("exp").is_none_or(not_past) {
        return Err(invalid("the request object has expired"));
    }
    let not_ahead = |nbf: &Value| nbf.as_f64().is_some_and(|nbf| now_secs + CLOCK_SKEW_SECS >= nbf);
    if !claims.get("nbf").is_none_or(not_ahead) {
        return Err(invalid("the request object is not valid yet"));
    }
    Ok(())
}

/// OpenID Connect Core §6.1: `client_id` and `response_type` are the same inside and outside; RFC 9101 §4: no nesting.
fn require_agreement(claims: &Map<String, Value>, params: &Params) -> Result<(), OAuthRefusal> {
    for name in ["client_id", "response_type"] {
        let (inside, outside) = (claims.get(name), params.get(name)?);
        if let (Some(inside), Some(outside)) = (inside, outside)
            && inside != outside
        {
            return Err(invalid(
                "client_id or response_type of the request object differs from that of the query",
            ));
        }
    }
    if claims.contains_key("request") || claims.contains_key("request_uri") {
        return Err(invalid("the request object contains another one"));
    }
    if claims.contains_key("registration") {
        return Err(OAuthRefusal::new(
            OAuthErrorCode::RegistrationNotSupported,
            "registration is not supported",
        ));
    }
    Ok(())
}

/// A member as the parameter that it stands for: text, but for `max_age` and `claims` (OpenID Connect Core §6.1).
fn parameter_text(name: &str, value: &Value) -> Result<String, OAuthRefusal> {
    match (name, value) {
        (_, Value::String(text)) if !text.contains('\0') => Ok(text.clone()),
        ("max_age", Value::Number(secs)) => Ok(secs.to_string()),
        ("claims", Value::Object(_)) => Ok(value.to_string()),
        _ => Err(invalid(
            "a member of the request object has a value of the wrong type",
        )),
    }
}

/// A base64url part that is a JSON object.
fn decode_object(part: &str) -> Result<Map<String, Value>, OAuthRefusal> {
    let json = URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| invalid("the request object is not base64url without padding"))?;
    let UniqueMembers(members) = serde_json::from_slice(&json)
        .map_err(|_| invalid("the request object is no JSON object, or names a member twice"))?;
    Ok(members)
}

fn invalid(description: &'static str) -> OAuthRefusal {
    OAuthRefusal::new(OAuthErrorCode::InvalidRequestObject, description)
}

/// A JSON object in which no member stands twice: two readers could each believe another one (RFC 7519 §4).
struct UniqueMembers(Map<String, Value>);

impl<'de> Deserialize<'de> for UniqueMembers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = UniqueMembers;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
                let mut members = Map::new();
                while let Some((name, value)) = entries.next_entry::<String, Value>()? {
                    if members.insert(name, value).is_some() {
                        return Err(A::Error::custom("a member stands twice"));
                    }
                }
                Ok(UniqueMembers(members))
            }
        }

        deserializer.deserialize_map(Members)
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
    };
    use serde_json::json;

    use super::super::fixtures::{CALLBACK, ISSUER, NOW, at, authorization_params, client};
    use super::*;

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
}
