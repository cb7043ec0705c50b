//! What the official OpenID conformance suite checks in many of its modules, as functions. A warning there is a failure here.

use std::collections::{HashMap, HashSet};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use riley_auth::jwt::install_crypto_provider;
use serde_json::{Map, Value};
use time::macros::format_description;
use url::Url;

use super::answer::{Answer, Tokens};
use super::app::TestClient;
use super::person::{Granted, Refused};
use super::provider::{ISSUER, TestProvider};

/// Clocks may differ by this much.
const SKEW_SECS: i64 = 300;
const YEAR_SECS: i64 = 31_536_000;

/// The discovery document and the keys, after the checks that precede every module.
pub(crate) struct Discovery {
    pub(crate) metadata: Value,
    pub(crate) jwks: Value,
}

/// One flow from code to UserInfo, checked at every step.
pub(crate) struct Flow {
    pub(crate) tokens: Tokens,
    pub(crate) id_token: Map<String, Value>,
    pub(crate) userinfo: Map<String, Value>,
}

impl Flow {
    pub(crate) fn sub(&self) -> &str {
        self.id_token["sub"].as_str().unwrap()
    }

    pub(crate) fn auth_time(&self) -> i64 {
        self.id_token["auth_time"]
            .as_i64()
            .expect("auth_time is there and a number")
    }
}

/// The checks before every module: discovery, endpoints, keys, ways to authenticate.
pub(crate) async fn preamble(op: &TestProvider) -> Discovery {
    let answer = op.get("/.well-known/openid-configuration").await;
    let metadata = answer.is(200).json();
    for endpoint in [
        "authorization_endpoint",
        "token_endpoint",
        "issuer",
        "userinfo_endpoint",
        "jwks_uri",
    ] {
        Url::parse(metadata[endpoint].as_str().unwrap_or_default())
            .unwrap_or_else(|_| panic!("{endpoint} is a URL"));
    }
    let methods = metadata["token_endpoint_auth_methods_supported"]
        .as_array()
        .expect("an array");
    for method in ["client_secret_basic", "client_secret_post"] {
        assert!(methods.iter().any(|own| own == method), "{method} is advertised");
    }
    let jwks = op.get(path_of(&metadata, "jwks_uri")).await.is(200).json();
    keys_are_sound(&jwks);
    Discovery { metadata, jwks }
}

/// The path of an endpoint, below our own origin.
pub(crate) fn path_of<'a>(metadata: &'a Value, endpoint: &str) -> &'a str {
    metadata[endpoint]
        .as_str()
        .unwrap()
        .strip_prefix(ISSUER)
        .expect("the endpoint is below the issuer")
}

/// Public keys alone, whole, with distinct names.
pub(crate) fn keys_are_sound(jwks: &Value) {
    let keys = jwks["keys"].as_array().expect("keys is an array");
    assert!(!keys.is_empty());
    let mut names = HashSet::new();
    for key in keys {
        for member in ["d", "p", "q", "dp", "dq", "qi", "oth", "k"] {
            assert!(key.get(member).is_none(), "{member} is private");
        }
        let coordinates: &[&str] = match key["kty"].as_str() {
            Some("RSA") => &["n", "e"],
            Some("EC") => &["x", "y"],
            other => panic!("kty {other:?}"),
        };
        for member in coordinates {
            let text = key[member]
                .as_str()
                .unwrap_or_else(|| panic!("{member} is missing"));
            URL_SAFE_NO_PAD
                .decode(text)
                .unwrap_or_else(|_| panic!("{member} is not unpadded base64url"));
        }
        assert!(
            matches!(key["alg"].as_str(), Some("RS256" | "ES256")),
            "alg {}",
            key["alg"]
        );
        assert_eq!(key["use"], "sig");
        let kid = key["kid"].as_str().expect("kid is there");
        assert!(
            !kid.trim().is_empty() && names.insert(kid.to_owned()),
            "kid {kid:?} is blank or doubled"
        );
        assert!(
            serde_json::from_value::<jsonwebtoken::jwk::Jwk>(key.clone()).is_ok(),
            "a library can read {key}"
        );
    }
}

/// The answer at the callback.
pub(crate) fn callback_is_sound(granted: &Granted, state: Option<&str>) {
    assert_eq!(granted.iss.as_deref(), Some(ISSUER));
    assert_eq!(granted.state.as_deref(), state);
    for (name, _) in &granted.params {
        assert!(
            ["code", "state", "iss"].contains(&name.as_str()),
            "{name} is not expected"
        );
    }
    assert!(
        granted.code.len() >= 16 && entropy_bits(&granted.code) > 96.0,
        "the code can be guessed"
    );
}

/// Redeems the code and asks UserInfo: everything that every module checks on the way.
pub(crate) async fn finish(app: &TestClient, discovery: &Discovery, granted: &Granted) -> Flow {
    let answer = app.redeem(granted).await;
    finish_with(app, discovery, granted, &answer).await
}

/// The same, given the answer of the token endpoint.
pub(crate) async fn finish_with(
    app: &TestClient,
    discovery: &Discovery,
    granted: &Granted,
    answer: &Answer,
) -> Flow {
    let tokens = answer.tokens();
    token_response_is_sound(&tokens);
    let id_token = id_token_is_sound(app, discovery, &tokens);
    assert_eq!(
        id_token.get("nonce").and_then(Value::as_str),
        granted.nonce.as_deref()
    );
    let userinfo = userinfo_is_sound(&app.userinfo(&tokens.access_token).await, &id_token);
    Flow {
        tokens,
        id_token,
        userinfo,
    }
}

pub(crate) fn token_response_is_sound(tokens: &Tokens) {
    let expires_in = tokens.json["expires_in"]
        .as_i64()
        .expect("expires_in is there and a number");
    assert!((1..=YEAR_SECS).contains(&expires_in), "{expires_in}");
    assert!(entropy_bits(&tokens.access_token) > 96.0 && is_printable(&tokens.access_token));
    if let Some(refresh_token) = &tokens.refresh_token {
        assert!(
            refresh_token.len() >= 16 && entropy_bits(refresh_token) > 96.0 && is_printable(refresh_token)
        );
    }
}

/// The ID token's claims, after `PerformStandardIdTokenChecks`.
pub(crate) fn id_token_is_sound(
    app: &TestClient,
    discovery: &Discovery,
    tokens: &Tokens,
) -> Map<String, Value> {
    let claims = verify(tokens.id(), &discovery.jwks);
    let now = app.op.now();
    let number = |name: &str| {
        claims[name]
            .as_i64()
            .unwrap_or_else(|| panic!("{name} is no number"))
    };
    assert_eq!(claims["iss"], ISSUER);
    assert_eq!(discovery.metadata["issuer"], ISSUER);
    assert_eq!(claims["aud"], app.client_id());
    assert!(number("exp") > now - SKEW_SECS && number("exp") < now + 50 * YEAR_SECS);
    assert!((number("iat") - now).abs() <= SKEW_SECS);
    assert!(
        number("auth_time") > now - YEAR_SECS && number("auth_time") <= now,
        "auth_time is in the past"
    );
    if let Some(acr) = claims.get("acr") {
        assert!(acr.as_str().is_some_and(|acr| !acr.is_empty()));
    }
    let sub = claims["sub"].as_str().expect("sub is a string");
    assert!((1..=255).contains(&sub.len()) && sub.bytes().all(|byte| byte.is_ascii_graphic()));
    if let Some(at_hash) = claims.get("at_hash") {
        assert_eq!(at_hash, &half_hash(&tokens.access_token), "at_hash");
    }
    claim_types_are_right(&claims, now);
    claims
}

/// The claims of a JWT whose signature verifies by the one fitting key.
pub(crate) fn verify(token: &str, jwks: &Value) -> Map<String, Value> {
    install_crypto_provider();
    let header = jsonwebtoken::decode_header(token).expect("the header can be read");
    let alg = match header.alg {
        Algorithm::ES256 => "ES256",
        Algorithm::RS256 => "RS256",
        other => panic!("{other:?} is not ours"),
    };
    let fits = |key: &&Value| key["kid"] == header.kid.as_deref().unwrap_or_default() && key["alg"] == alg;
    let keys: Vec<&Value> = jwks["keys"].as_array().unwrap().iter().filter(fits).collect();
    assert_eq!(keys.len(), 1, "exactly one key fits");
    let key = serde_json::from_value(keys[0].clone()).expect("the key is a JWK");
    let mut validation = Validation::new(header.alg);
    // Times are judged by the clock of the test.
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    let key = DecodingKey::from_jwk(&key).expect("the key can be used");
    jsonwebtoken::decode::<Map<String, Value>>(token, &key, &validation)
        .expect("the signature verifies")
        .claims
}

/// The claims of a JWT, unverified.
pub(crate) fn peek(token: &str) -> Value {
    let payload = token.split('.').nth(1).expect("a JWT has three parts");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).expect("base64url")).expect("JSON")
}

/// A UserInfo answer that belongs to the ID token.
pub(crate) fn userinfo_is_sound(answer: &Answer, id_token: &Map<String, Value>) -> Map<String, Value> {
    let Value::Object(claims) = answer.is(200).json() else {
        panic!("UserInfo is an object")
    };
    assert_eq!(claims["sub"], id_token["sub"]);
    assert!(!claims.contains_key("_claim_names") && !claims.contains_key("_claim_sources"));
    claim_types_are_right(&claims, i64::MAX - SKEW_SECS);
    claims
}

/// Standard claims have the types of OpenID Connect Core §5.1, and are left out rather than empty.
pub(crate) fn claim_types_are_right(claims: &Map<String, Value>, now: i64) {
    let texts = [
        "sub",
        "name",
        "given_name",
        "family_name",
        "middle_name",
        "nickname",
        "preferred_username",
        "profile",
        "picture",
        "website",
        "email",
        "gender",
        "zoneinfo",
        "locale",
        "phone_number",
    ];
    for name in texts {
        claims
            .get(name)
            .into_iter()
            .for_each(|value| is_text(name, value));
    }
    for name in ["email_verified", "phone_number_verified"] {
        assert!(
            claims.get(name).is_none_or(Value::is_boolean),
            "{name} is a boolean"
        );
    }
    if let Some(birthdate) = claims.get("birthdate") {
        assert!(
            is_birthdate(birthdate.as_str().expect("birthdate is text")),
            "{birthdate}"
        );
    }
    if let Some(address) = claims.get("address") {
        let members = address.as_object().expect("address is an object");
        assert!(!members.is_empty());
        for name in [
            "formatted",
            "street_address",
            "locality",
            "region",
            "postal_code",
            "country",
        ] {
            members
                .get(name)
                .into_iter()
                .for_each(|value| is_text(name, value));
        }
    }
    if let Some(updated_at) = claims.get("updated_at") {
        let updated_at = updated_at.as_i64().expect("updated_at is a number");
        assert!(
            updated_at > 631_152_000 && updated_at <= now + SKEW_SECS,
            "{updated_at}"
        );
    }
}

fn is_text(name: &str, value: &Value) {
    let text = value
        .as_str()
        .unwrap_or_else(|| panic!("{name} is no string: {value}"));
    assert!(!text.trim().is_empty() && text != "null", "{name} is {text:?}");
}

fn is_birthdate(text: &str) -> bool {
    let date = format_description!("[year]-[month]-[day]");
    let year =
        |text: &str| text.len() == 4 && text.parse().is_ok_and(|year: u32| (1850..=2100).contains(&year));
    match text.strip_prefix("0000") {
        Some(rest) => time::Date::parse(&format!("2000{rest}"), &date).is_ok(),
        None if text.len() == 4 => year(text),
        None => time::Date::parse(text, &date).is_ok() && year(&text[..4]),
    }
}

/// An error at the callback (RFC 6749 §4.1.2.1).
pub(crate) fn error_redirect_is_sound(refused: &Refused, state: Option<&str>, allowed: &[&str]) {
    assert!(
        allowed.contains(&refused.error.as_str()),
        "{} is none of {allowed:?}",
        refused.error
    );
    assert_eq!(refused.state.as_deref(), state);
    assert_eq!(refused.iss.as_deref(), Some(ISSUER));
    let known = ["error", "error_description", "error_uri", "state", "iss"];
    for (name, _) in &refused.params {
        assert!(known.contains(&name.as_str()), "{name} is not expected");
    }
    refused
        .description
        .iter()
        .for_each(|description| description_is_legal(description));
}

/// RFC 6749 §4.1.2.1: printable ASCII without quotes and backslashes.
pub(crate) fn description_is_legal(description: &str) {
    assert!(
        description
            .bytes()
            .all(|byte| matches!(byte, 0x20..=0x21 | 0x23..=0x5B | 0x5D..=0x7E)),
        "{description:?}"
    );
}

/// Claims that an ID token for the scope `openid` may hold.
pub(crate) fn id_token_holds_nothing_else(id_token: &Map<String, Value>) {
    let known = [
        "iss",
        "sub",
        "aud",
        "exp",
        "iat",
        "auth_time",
        "nonce",
        "acr",
        "amr",
        "azp",
        "at_hash",
        "c_hash",
        "nbf",
        "jti",
        "sid",
        "s_hash",
    ];
    for name in id_token.keys() {
        assert!(
            known.contains(&name.as_str()),
            "{name} has no place in this ID token"
        );
    }
}

/// The scopes are advertised; otherwise the suite skips the module.
pub(crate) fn scopes_are_supported(discovery: &Discovery, scopes: &str) {
    let supported = discovery.metadata["scopes_supported"]
        .as_array()
        .expect("an array");
    for scope in scopes.split(' ') {
        assert!(supported.iter().any(|own| own == scope), "{scope}");
    }
}

/// Shannon's entropy of the characters times the length.
pub(crate) fn entropy_bits(text: &str) -> f64 {
    let mut counts: HashMap<char, u32> = HashMap::new();
    text.chars()
        .for_each(|character| *counts.entry(character).or_default() += 1);
    let length = f64::from(u32::try_from(text.chars().count()).unwrap());
    let per_character: f64 = counts
        .values()
        .map(|count| f64::from(*count) / length)
        .map(|share| -share * share.log2())
        .sum();
    per_character * length
}

fn is_printable(text: &str) -> bool {
    text.bytes().all(|byte| (0x20..=0x7E).contains(&byte))
}

fn half_hash(token: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
    URL_SAFE_NO_PAD.encode(&digest.as_ref()[..16])
}
