//! The rules of ID tokens and logout tokens, as pure functions over claims whose signature has been verified.

use serde::Serialize;
use serde_json::{Map, Value};
use time::OffsetDateTime;

use super::discovery::IssuerRule;
use super::{CLOCK_SKEW_SECS, profile};

/// The event of OpenID Connect Back-Channel Logout 1.0 §2.4.
const LOGOUT_EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// What a token of this provider must say.
pub(super) struct Rules<'a> {
    pub(super) issuer: &'a IssuerRule,
    /// The `issuer` of the discovery document.
    pub(super) metadata_issuer: &'a str,
    pub(super) client_id: &'a str,
    pub(super) now: OffsetDateTime,
}

/// Who an ID token speaks of.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Verified {
    pub(super) issuer: String,
    pub(super) subject: String,
}

/// A verified logout token: it ends one session (`sid`) or all of a person's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LogoutToken {
    pub issuer: String,
    pub subject: Option<String>,
    pub sid: Option<String>,
    /// To be remembered until `expires_at`: a token counts once.
    pub jti: String,
    /// Seconds since the epoch.
    pub issued_at: i64,
    /// Seconds since the epoch.
    pub expires_at: i64,
}

/// Judges an ID token (OpenID Connect Core §3.1.3.7). An error is the code of the rule that it breaks.
pub(super) fn check_id_token(
    claims: &Map<String, Value>,
    rules: &Rules<'_>,
    nonce: &str,
) -> Result<Verified, &'static str> {
    let issuer = check_issuer(claims, rules)?;
    check_audience(claims, rules.client_id)?;
    check_times(claims, rules.now)?;
    // Item 11; one that is missing is as wrong as another's, because ours was sent.
    if nonce.is_empty() || claims.get("nonce").and_then(Value::as_str) != Some(nonce) {
        return Err("id_token_nonce");
    }
    let subject = profile::subject(claims.get("sub")).ok_or("subject_invalid")?;
    Ok(Verified { issuer, subject })
}

/// Judges a logout token (Back-Channel Logout 1.0 §2.6). An ID token passes for none: it has no event, and this no nonce.
pub(super) fn check_logout_token(
    claims: &Map<String, Value>,
    rules: &Rules<'_>,
) -> Result<LogoutToken, &'static str> {
    let issuer = check_issuer(claims, rules)?;
    check_audience(claims, rules.client_id)?;
    check_times(claims, rules.now)?;
    if !claims
        .get("events")
        .and_then(|events| events.get(LOGOUT_EVENT))
        .is_some_and(Value::is_object)
    {
        return Err("logout_token_event");
    }
    if claims.contains_key("nonce") {
        return Err("logout_token_nonce");
    }
    // §2.4: as in ID tokens, so a string (OpenID Connect Core §2); a number that is read as one would end another's sessions.
    let subject = match claims.get("sub") {
        None => None,
        given => Some(profile::subject(given.filter(|sub| sub.is_string())).ok_or("subject_invalid")?),
    };
    // One that cannot be read must not widen the logout from a session to all of the person's.
    let sid = match claims.get("sid") {
        None => None,
        given => Some(profile::subject(given.filter(|sid| sid.is_string())).ok_or("logout_token_sid")?),
    };
    if subject.is_none() && sid.is_none() {
        return Err("logout_token_without_sub_and_sid");
    }
    let jti = profile::subject(claims.get("jti").filter(|jti| jti.is_string())).ok_or("logout_token_jti")?;
    let issued_at = seconds(claims, "iat").ok_or("id_token_issued_at")?;
    let expires_at = seconds(claims, "exp").ok_or("id_token_expired")?;
    Ok(LogoutToken {
        issuer,
        subject,
        sid,
        jti,
        issued_at,
        expires_at,
    })
}

/// Item 2: the issuer, exactly.
fn check_issuer(claims: &Map<String, Value>, rules: &Rules<'_>) -> Result<String, &'static str> {
    let expected = match rules.issuer {
        IssuerRule::Exact(issuer) => issuer.clone(),
        IssuerRule::Microsoft(tenancy) => tenancy.issuer_for(rules.metadata_issuer, claims)?,
    };
    let named = claims.get("iss").and_then(Value::as_str);
    if named == Some(&*expected) {
        Ok(expected)
    } else {
        Err("id_token_issuer")
    }
}

/// Items 3 to 5: we are among the audience, and the authorized party where one is named or several are addressed.
fn check_audience(claims: &Map<String, Value>, client_id: &str) -> Result<(), &'static str> {
    let audience = match claims.get("aud") {
        Some(Value::String(one)) => vec![one.as_str()],
        Some(Value::Array(several)) => several
            .iter()
            .map(Value::as_str)
            .collect::<Option<Vec<_>>>()
            .ok_or("id_token_audience")?,
        _ => return Err("id_token_audience"),
    };
    if !audience.contains(&client_id) {
        return Err("id_token_audience");
    }
    match claims.get("azp") {
        Some(azp) if azp.as_str() == Some(client_id) => Ok(()),
        None if audience.len() == 1 => Ok(()),
        _ => Err("id_token_authorized_party"),
    }
}

/// Items 9 and 10, with a skew of a minute. `exp` and `iat` must be there and be numbers: a check that a wrong type
/// switches off is none.
fn check_times(claims: &Map<String, Value>, now: OffsetDateTime) -> Result<(), &'static str> {
    let now = now.unix_timestamp();
    let expires_at = seconds(claims, "exp").ok_or("id_token_expired")?;
    if expires_at.saturating_add(CLOCK_SKEW_SECS) <= now {
        return Err("id_token_expired");
    }
    let issued_at = seconds(claims, "iat").ok_or("id_token_issued_at")?;
    if issued_at > now + CLOCK_SKEW_SECS {
        return Err("id_token_issued_at");
    }
    match (claims.get("nbf"), seconds(claims, "nbf")) {
        (None, _) => Ok(()),
        (Some(_), Some(from)) if from <= now + CLOCK_SKEW_SECS => Ok(()),
        _ => Err("id_token_not_yet_valid"),
    }
}

/// A NumericDate (RFC 7519 §2) in whole seconds.
pub(super) fn seconds(claims: &Map<String, Value>, name: &str) -> Option<i64> {
    let value = claims.get(name)?;
    #[expect(clippy::cast_possible_truncation, reason = "a cast to an integer saturates")]
    value
        .as_i64()
        .or_else(|| value.as_f64().map(|seconds| seconds as i64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NOW: i64 = 1_800_000_000;

    fn claims() -> Value {
        json!({
            "iss": "https://op.test", "sub": "ada", "aud": "client", "exp": NOW + 600, "iat": NOW, "nonce": "n-1"
        })
    }

    fn check(change: Value) -> Result<Verified, &'static str> {
        let issuer = IssuerRule::new("https://op.test", None);
        let rules = Rules {
            issuer: &issuer,
            metadata_issuer: "https://op.test",
            client_id: "client",
            now: OffsetDateTime::from_unix_timestamp(NOW).unwrap(),
        };
        check_id_token(&changed(claims(), change), &rules, "n-1")
    }

    /// `base` with the members of `change`; null removes one.
    fn changed(base: Value, change: Value) -> Map<String, Value> {
        let (Value::Object(mut base), Value::Object(change)) = (base, change) else {
            panic!("two objects")
        };
        for (name, value) in change {
            if value.is_null() {
                base.remove(&name);
            } else {
                base.insert(name, value);
            }
        }
        base
    }

    #[test]
    fn a_token_that_says_what_it_must_names_issuer_and_subject() {
        let verified = check(json!({})).unwrap();
        assert_eq!(
            (verified.issuer.as_str(), verified.subject.as_str()),
            ("https://op.test", "ada")
        );
    }

    /// OpenID Connect Core §3.1.3.7 item 2.
    #[test]
    fn the_issuer_is_compared_byte_for_byte() {
        for iss in [
            json!("https://op.test/"),
            json!("https://evil.test"),
            json!(["https://op.test"]),
            json!(null),
        ] {
            assert_eq!(check(json!({ "iss": iss })), Err("id_token_issuer"));
        }
    }

    /// Items 3 to 5.
    #[test]
    fn we_are_the_audience_and_of_several_the_authorized_party() {
        for aud in [
            json!("other"),
            json!(["other"]),
            json!([]),
            json!(5),
            json!(null),
            json!(["client", 5]),
        ] {
            assert_eq!(check(json!({ "aud": aud })), Err("id_token_audience"));
        }
        assert!(check(json!({ "aud": ["client"] })).is_ok());
        assert!(check(json!({ "aud": ["client", "other"], "azp": "client" })).is_ok());
        assert_eq!(
            check(json!({ "aud": ["client", "other"] })),
            Err("id_token_authorized_party")
        );
        assert_eq!(check(json!({ "azp": "other" })), Err("id_token_authorized_party"));
    }

    /// Items 9 and 10; a string `exp` once switched the check off elsewhere (CVE-2026-25537).
    #[test]
    fn times_are_numbers_and_within_a_minute_of_ours() {
        assert!(check(json!({ "exp": NOW - 59 })).is_ok());
        for exp in [json!(NOW - 60), json!(0), json!("9999999999"), json!(null)] {
            assert_eq!(check(json!({ "exp": exp })), Err("id_token_expired"));
        }
        assert!(check(json!({ "iat": NOW + 60 })).is_ok());
        for iat in [json!(NOW + 61), json!("1"), json!(null)] {
            assert_eq!(check(json!({ "iat": iat })), Err("id_token_issued_at"));
        }
        assert_eq!(check(json!({ "nbf": NOW + 61 })), Err("id_token_not_yet_valid"));
        assert_eq!(check(json!({ "nbf": "0" })), Err("id_token_not_yet_valid"));
    }

    /// Item 11.
    #[test]
    fn the_nonce_is_there_and_ours() {
        for nonce in [json!("n-2"), json!(""), json!(1), json!(null)] {
            assert_eq!(check(json!({ "nonce": nonce })), Err("id_token_nonce"));
        }
    }

    #[test]
    fn a_token_without_a_usable_subject_is_refused() {
        for sub in [json!(""), json!(1.5), json!({}), json!(null)] {
            assert_eq!(check(json!({ "sub": sub })), Err("subject_invalid"));
        }
    }

    fn check_logout(change: Value) -> Result<LogoutToken, &'static str> {
        let issuer = IssuerRule::new("https://op.test", None);
        let rules = Rules {
            issuer: &issuer,
            metadata_issuer: "https://op.test",
            client_id: "client",
            now: OffsetDateTime::from_unix_timestamp(NOW).unwrap(),
        };
        let logout = json!({ "nonce": null, "jti": "j-1", "sid": "s-1", "events": { LOGOUT_EVENT: {} } });
        let base = Value::Object(changed(claims(), logout));
        check_logout_token(&changed(base, change), &rules)
    }

    /// OpenID Connect Back-Channel Logout 1.0 §2.4, §2.6.
    #[test]
    fn a_logout_token_has_the_event_a_subject_or_session_and_no_nonce() {
        assert_eq!(check_logout(json!({})).unwrap().sid.as_deref(), Some("s-1"));
        assert!(check_logout(json!({ "sub": null })).is_ok());
        assert_eq!(check_logout(json!({ "events": null })), Err("logout_token_event"));
        assert_eq!(
            check_logout(json!({ "events": { LOGOUT_EVENT: true } })),
            Err("logout_token_event")
        );
        for sid in [json!(5), json!(""), json!({}), json!(["s-1"])] {
            assert_eq!(check_logout(json!({ "sid": sid })), Err("logout_token_sid"));
        }
        for sub in [json!(5), json!(""), json!({}), json!(["ada"])] {
            assert_eq!(check_logout(json!({ "sub": sub })), Err("subject_invalid"));
        }
        assert_eq!(check_logout(json!({ "nonce": "n-1" })), Err("logout_token_nonce"));
        assert_eq!(
            check_logout(json!({ "sub": null, "sid": null })),
            Err("logout_token_without_sub_and_sid")
        );
        assert_eq!(check_logout(json!({ "jti": null })), Err("logout_token_jti"));
        assert_eq!(check_logout(json!({ "aud": "other" })), Err("id_token_audience"));
    }
}
