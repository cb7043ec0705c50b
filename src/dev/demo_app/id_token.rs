//! What an ID token must say, once its signature is known to hold (OpenID Connect Core §3.1.3.7, §12.2).

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use time::OffsetDateTime;

use crate::jwt::foreign::ForeignAlgorithm;

/// How far two clocks may differ, in seconds.
const LEEWAY_SECS: i64 = 60;

/// What the app knows and the token has to agree with.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    pub issuer: &'a str,
    pub client_id: &'a str,
    /// The `nonce` of the request. `None` after a refresh, where the token may leave it out.
    pub nonce: Option<&'a str>,
    /// The access token that came with it, for `at_hash`.
    pub access_token: &'a str,
    /// After a refresh: the claims of the first ID token.
    pub before: Option<&'a Map<String, Value>>,
    pub now: OffsetDateTime,
}

/// Whether the claims say what was expected; `Err` is the first rule that they break.
pub fn check(
    claims: &Map<String, Value>,
    algorithm: ForeignAlgorithm,
    expected: &Expected<'_>,
) -> Result<(), &'static str> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let secs = |name: &str| claims.get(name).and_then(Value::as_i64);
    let now = expected.now.unix_timestamp();
    if text("iss") != Some(expected.issuer) {
        return Err("iss is not the issuer");
    }
    if text("sub").is_none_or(str::is_empty) {
        return Err("sub is missing");
    }
    let audience: Vec<&str> = match claims.get("aud") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    if !audience.contains(&expected.client_id) {
        return Err("aud does not name this app");
    }
    if audience.len() > 1 && claims.get("azp").is_none() {
        return Err("aud names several, and azp is missing");
    }
    if claims.get("azp").is_some() && text("azp") != Some(expected.client_id) {
        return Err("azp is not this app");
    }
    if secs("exp").is_none_or(|exp| exp + LEEWAY_SECS <= now) {
        return Err("exp is missing or past");
    }
    if secs("iat").is_none_or(|iat| iat - LEEWAY_SECS > now) {
        return Err("iat is missing or in the future");
    }
    if expected.nonce.is_some() && text("nonce") != expected.nonce {
        return Err("nonce is not the one of the request");
    }
    if claims.get("at_hash").is_some()
        && at_hash(algorithm, expected.access_token).as_deref() != text("at_hash")
    {
        return Err("at_hash does not belong to the access token");
    }
    let Some(before) = expected.before else {
        return Ok(());
    };
    if claims.get("sub") != before.get("sub") || claims.get("aud") != before.get("aud") {
        return Err("sub or aud changed in a refresh");
    }
    if claims.get("nonce").is_some() && claims.get("nonce") != before.get("nonce") {
        return Err("nonce changed in a refresh");
    }
    if claims.get("auth_time").is_some() && claims.get("auth_time") != before.get("auth_time") {
        return Err("auth_time changed in a refresh");
    }
    Ok(())
}

/// The left half of the hash that the signature algorithm uses (OpenID Connect Core §3.1.3.6).
fn at_hash(algorithm: ForeignAlgorithm, access_token: &str) -> Option<String> {
    let hash = match algorithm.as_str().get(2..) {
        Some("256") => &digest::SHA256,
        Some("384") => &digest::SHA384,
        // 512, and EdDSA, since Ed25519 hashes by SHA-512.
        _ => &digest::SHA512,
    };
    let digest = digest::digest(hash, access_token.as_bytes());
    let half = digest.as_ref().get(..digest.as_ref().len() / 2)?;
    Some(URL_SAFE_NO_PAD.encode(half))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The access token and `at_hash` of OpenID Connect Core Appendix A.3.
    const ACCESS_TOKEN: &str = "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y";
    const AT_HASH: &str = "77QmUPtjPfzWtF2AnpK9RQ";

    fn good() -> Map<String, Value> {
        json!({
            "iss": "http://localhost:8081", "sub": "u", "aud": "demo", "exp": 1_000, "iat": 900, "nonce": "n",
            "at_hash": AT_HASH, "auth_time": 899,
        })
        .as_object()
        .unwrap()
        .clone()
    }

    fn judge(claims: &Map<String, Value>, before: Option<&Map<String, Value>>) -> Result<(), &'static str> {
        let expected = Expected {
            issuer: "http://localhost:8081",
            client_id: "demo",
            nonce: before.is_none().then_some("n"),
            access_token: ACCESS_TOKEN,
            before,
            now: OffsetDateTime::from_unix_timestamp(950).unwrap(),
        };
        check(claims, ForeignAlgorithm::RS256, &expected)
    }

    #[test]
    fn a_token_that_says_what_was_expected_is_accepted() {
        assert_eq!(judge(&good(), None), Ok(()));
        let mut several = good();
        several.insert("aud".to_owned(), json!(["other", "demo"]));
        several.insert("azp".to_owned(), json!("demo"));
        assert_eq!(judge(&several, None), Ok(()));
    }

    /// OpenID Connect Core §3.1.3.7, one rule at a time.
    #[test]
    fn each_claim_that_is_wrong_or_missing_is_refused() {
        let wrong = [
            ("iss", json!("http://localhost:8081/")),
            ("sub", json!("")),
            ("aud", json!("another")),
            ("aud", json!(["demo", "another"])),
            ("azp", json!("another")),
            ("exp", json!(890)),
            ("exp", json!("1000")),
            ("iat", json!(1_011)),
            ("nonce", json!("m")),
            ("at_hash", json!("77QmUPtjPfzWtF2AnpK9RA")),
        ];
        for (name, value) in wrong {
            let mut claims = good();
            claims.insert(name.to_owned(), value.clone());
            assert!(judge(&claims, None).is_err(), "{name}: {value}");
        }
        for name in ["iss", "sub", "aud", "exp", "iat", "nonce"] {
            let mut claims = good();
            claims.remove(name);
            assert!(judge(&claims, None).is_err(), "{name} is missing");
        }
    }

    /// OpenID Connect Core §12.2.
    #[test]
    fn a_refreshed_token_is_of_the_same_person_app_and_sign_in() {
        assert_eq!(judge(&good(), Some(&good())), Ok(()));
        for name in ["sub", "auth_time", "nonce"] {
            let mut before = good();
            before.insert(name.to_owned(), json!("another"));
            assert!(judge(&good(), Some(&before)).is_err(), "{name}");
        }
    }
}
