//! Request objects by value (OpenID Connect Core §6.1, RFC 9101): unsigned, or signed by a key registered for the client. Signatures
//! are judged by [`crate::jwt::foreign`], as everybody else's are.

#[cfg(test)]
mod tests;

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
