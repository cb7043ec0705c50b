//! What a logout token must say, once its signature is known to hold (OpenID Connect Back-Channel Logout 1.0 §2.6).

use serde_json::{Map, Value};
use time::OffsetDateTime;

/// The event of §2.4.
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
/// How far two clocks may differ, in seconds.
const LEEWAY_SECS: i64 = 60;

/// Who is signed out: of one session, or everywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedOut {
    pub sub: Option<String>,
    pub sid: Option<String>,
    /// A token counts once.
    pub jti: String,
}

/// What the claims say; `Err` is the first rule that they break.
pub fn check(
    claims: &Map<String, Value>,
    issuer: &str,
    client_id: &str,
    now: OffsetDateTime,
) -> Result<LoggedOut, &'static str> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let secs = |name: &str| claims.get(name).and_then(Value::as_i64);
    let now = now.unix_timestamp();
    if text("iss") != Some(issuer) {
        return Err("iss is not the issuer");
    }
    let is_meant_for_us = match claims.get("aud") {
        Some(Value::String(one)) => one == client_id,
        Some(Value::Array(several)) => several.iter().any(|aud| aud.as_str() == Some(client_id)),
        _ => false,
    };
    if !is_meant_for_us {
        return Err("aud does not name this app");
    }
    if secs("exp").is_none_or(|exp| exp + LEEWAY_SECS <= now) {
        return Err("exp is missing or past");
    }
    if secs("iat").is_none_or(|iat| iat - LEEWAY_SECS > now) {
        return Err("iat is missing or in the future");
    }
    if !claims
        .get("events")
        .and_then(|events| events.get(EVENT))
        .is_some_and(Value::is_object)
    {
        return Err("the logout event is missing");
    }
    if claims.contains_key("nonce") {
        return Err("there is a nonce, as in an ID token");
    }
    let (sub, sid) = (text("sub"), text("sid"));
    if sub.is_none() && sid.is_none() {
        return Err("neither sub nor sid is there");
    }
    Ok(LoggedOut {
        sub: sub.map(str::to_owned),
        sid: sid.map(str::to_owned),
        jti: text("jti").ok_or("jti is missing")?.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn judge(change: &[(&str, Value)]) -> Result<LoggedOut, &'static str> {
        let mut claims = json!({
            "iss": "http://localhost:8081", "aud": "demo", "iat": 900, "exp": 1020, "jti": "j", "sub": "u", "sid": "s",
            "events": { EVENT: {} },
        });
        for (name, value) in change {
            if value.is_null() {
                claims.as_object_mut().unwrap().remove(*name);
            } else {
                claims[*name] = value.clone();
            }
        }
        let now = OffsetDateTime::from_unix_timestamp(950).unwrap();
        check(claims.as_object().unwrap(), "http://localhost:8081", "demo", now)
    }

    /// Back-Channel Logout §2.6, one rule at a time.
    #[test]
    fn each_claim_that_is_wrong_or_missing_is_refused() {
        assert_eq!(judge(&[]).unwrap().sid.as_deref(), Some("s"));
        assert!(judge(&[("sub", Value::Null)]).is_ok() && judge(&[("sid", Value::Null)]).is_ok());
        for (name, value) in [
            ("iss", json!("http://localhost:8081/")),
            ("aud", json!("another")),
            ("exp", json!(880)),
            ("exp", Value::Null),
            ("iat", json!(1011)),
            ("iat", Value::Null),
            ("jti", Value::Null),
            ("events", Value::Null),
            ("events", json!({ EVENT: true })),
            ("nonce", json!("n")),
        ] {
            assert!(judge(&[(name, value.clone())]).is_err(), "{name}: {value}");
        }
        assert!(judge(&[("sub", Value::Null), ("sid", Value::Null)]).is_err());
    }
}
