//! `[claims]`: upstream claims that are passed on.

use schemars::JsonSchema;
use serde::Deserialize;

use super::check::Check;

/// `[claims]`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClaimsConfig {
    /// Standard claims of OpenID Connect Core §5.1 that are kept from the upstream and given on; what is not listed is not stored.
    pub passthrough: Vec<String>,
}

/// The claims of OpenID Connect Core §5.1 that an upstream may state for us. Not `sub`, `name`, `picture`, `email`, `email_verified`,
/// `preferred_username` and `updated_at`: those are the account's own.
pub const PASSTHROUGH_CLAIMS: [&str; 13] = [
    "address",
    "birthdate",
    "family_name",
    "gender",
    "given_name",
    "locale",
    "middle_name",
    "nickname",
    "phone_number",
    "phone_number_verified",
    "profile",
    "website",
    "zoneinfo",
];

impl ClaimsConfig {
    /// The rules of this table.
    pub(super) fn check(&self, check: &mut Check) {
        for (index, claim) in self.passthrough.iter().enumerate() {
            let key = format!("claims.passthrough[{index}]");
            if !PASSTHROUGH_CLAIMS.contains(&claim.as_str()) {
                check.error(
                    key,
                    "this is no standard claim that can be passed on",
                    format!("write one of {}", PASSTHROUGH_CLAIMS.join(", ")),
                );
            } else if self.passthrough[..index].contains(claim) {
                check.error(key, "the claim is listed twice", "remove one of the two");
            }
        }
    }
}
