//! What must hold of a token of ours besides its signature (RFC 7519 §4.1, RFC 8725 §3.8 to §3.12).
//!
//! A claim that is missing or of the wrong JSON type fails its check, it is never skipped: a string `exp` must not make a
//! token immortal. The time is an argument; the system clock is not read.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use time::OffsetDateTime;

use super::compact::Compact;

/// What a verifier demands. Every verifier of the program fills in all of it.
#[derive(Clone, Debug)]
pub struct Expectation<'a> {
    /// The header's `typ`, such as `at+jwt`; required, compared without case and without `application/` (RFC 7515 §4.1.9).
    pub typ: &'a str,
    /// `iss`, byte for byte.
    pub issuer: &'a str,
    /// What `aud` must be or contain. `None`: `aud` must still be there and be well formed, and the caller judges it.
    pub audience: Option<&'a str>,
    /// The time of the request.
    pub now: OffsetDateTime,
    /// How far other instances' clocks may be off; 0 to 5 for own tokens.
    pub leeway_secs: u64,
    /// For `id_token_hint`, which may be expired (OpenID Connect RP-Initiated Logout 1.0 §2); `exp` must still be there.
    pub allow_expired: bool,
    /// Further claims that must be there and not be null, such as `sub`.
    pub required_claims: &'a [&'a str],
}

/// Why a token is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// Everything else about it is right.
    #[error("the token has expired")]
    Expired,
    /// The reason is for logs: fixed words, nothing of the token. Who sent it learns only that it is invalid.
    #[error("the token is invalid: {0}")]
    Invalid(&'static str),
}

use VerifyError::Invalid;

/// Compares media types as RFC 7515 §4.1.9 says: `at+jwt` and `application/AT+JWT` are the same.
pub(super) fn require_typ(typ: Option<&str>, expected: &str) -> Result<(), VerifyError> {
    let typ = typ.ok_or(Invalid("the header has no typ"))?;
    if subtype(typ).eq_ignore_ascii_case(subtype(expected)) {
        Ok(())
    } else {
        Err(Invalid("the typ is that of another kind of token"))
    }
}

fn subtype(typ: &str) -> &str {
    const PREFIX: &str = "application/";
    match typ.split_at_checked(PREFIX.len()) {
        Some((prefix, rest)) if prefix.eq_ignore_ascii_case(PREFIX) => rest,
        _ => typ,
    }
}

/// Judges the claims of a token whose signature holds. Expiry comes last, so that `Expired` says: once it was good.
pub(super) fn claims<T: DeserializeOwned>(
    token: &Compact<'_>,
    expected: &Expectation<'_>,
) -> Result<T, VerifyError> {
    let claims: Map<String, Value> = token.payload().map_err(Invalid)?;
    let now = expected.now.unix_timestamp();
    let leeway = i64::try_from(expected.leeway_secs).unwrap_or(i64::MAX);

    if claims.get("iss").and_then(Value::as_str) != Some(expected.issuer) {
        return Err(Invalid("iss is missing or not ours"));
    }
    require_audience(claims.get("aud"), expected.audience)?;
    let exp = seconds(&claims, "exp").ok_or(Invalid("exp is missing or no whole number"))?;
    seconds(&claims, "iat").ok_or(Invalid("iat is missing or no whole number"))?;
    if claims.contains_key("nbf") {
        let nbf = seconds(&claims, "nbf").ok_or(Invalid("nbf is no whole number"))?;
        if nbf > now.saturating_add(leeway) {
            return Err(Invalid("nbf is not reached"));
        }
    }
    if expected
        .required_claims
        .iter()
        .any(|name| claims.get(*name).is_none_or(Value::is_null))
    {
        return Err(Invalid("a required claim is missing"));
    }
    // RFC 7519 §4.1.4: on or after `exp` it must not be accepted.
    let expired = exp.saturating_add(leeway) <= now;
    let claims =
        T::deserialize(Value::Object(claims)).map_err(|_| Invalid("the claims are not of this kind"))?;
    if expired && !expected.allow_expired {
        return Err(VerifyError::Expired);
    }
    Ok(claims)
}

/// `aud` is a string or an array of strings (RFC 7519 §4.1.3), here never empty.
fn require_audience(aud: Option<&Value>, expected: Option<&str>) -> Result<(), VerifyError> {
    let matches = |value: &str| expected.is_none_or(|expected| expected == value);
    let found = match aud {
        Some(Value::String(one)) => matches(one),
        Some(Value::Array(many)) if !many.is_empty() && many.iter().all(Value::is_string) => {
            many.iter().filter_map(Value::as_str).any(matches)
        }
        _ => return Err(Invalid("aud is missing or neither a string nor strings")),
    };
    if found {
        Ok(())
    } else {
        Err(Invalid("aud names somebody else"))
    }
}

/// Whole seconds since the epoch: own tokens have no fractions, so nothing else is accepted.
fn seconds(claims: &Map<String, Value>, name: &str) -> Option<i64> {
    claims.get(name).and_then(Value::as_i64)
}
