//! An ID token of ours, shown back to us as a hint: it may have expired, everything else about it has to be right.

use time::OffsetDateTime;

use crate::jwt::{Expectation, KeySet};
use crate::protocol::claims::{ID_TOKEN_TYP, IdTokenClaims};

/// The claims of the hint, or `None` if it is no ID token of this issuer (OpenID Connect Core §3.1.2.1).
pub fn verify(keys: &KeySet, issuer: &str, hint: &str, now: OffsetDateTime) -> Option<IdTokenClaims> {
    keys.verify(
        hint,
        &Expectation {
            typ: ID_TOKEN_TYP,
            issuer,
            audience: None,
            now,
            leeway_secs: 0,
            allow_expired: true,
            required_claims: &["sub"],
        },
    )
    .ok()
}
