//! `[webhooks]`: how events and logout notices are delivered.

use schemars::JsonSchema;
use serde::Deserialize;

use super::check::Check;
use crate::outbound::Policy;

/// What an attempt may take when receiver and database are as slow as they may be, from the claim to the result that is written
/// at the second try. A shorter lease would send such a delivery twice. A test beside the attempt holds it to its parts.
pub const LEAST_STUCK_AFTER_SECS: u32 = 60;

/// `[webhooks]`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WebhooksConfig {
    /// Deliveries that one instance sends at once. Receivers that take longer than a second share half of them.
    pub max_concurrent_deliveries: u32,
    /// Of these, how many to one webhook or app: a slow one does not hold up the others.
    pub max_concurrent_per_endpoint: u32,
    /// How often an event is sent before its delivery has failed.
    pub max_attempts: u32,
    /// How often a logout notice is sent before its delivery has failed.
    pub backchannel_max_attempts: u32,
    /// Seconds after which a delivery that somebody took and never finished is taken over.
    pub stuck_after_secs: u32,
    /// Seconds for which the previous secret of a webhook signs, too, unless a rotation says otherwise.
    pub secret_overlap_secs: u32,
    /// Admits private addresses, plain http and every port, for development.
    pub allow_private_ips: bool,
}

impl Default for WebhooksConfig {
    fn default() -> Self {
        Self {
            max_concurrent_deliveries: 10,
            max_concurrent_per_endpoint: 2,
            max_attempts: 5,
            backchannel_max_attempts: 3,
            stuck_after_secs: 300,
            secret_overlap_secs: 86_400,
            allow_private_ips: false,
        }
    }
}

impl WebhooksConfig {
    /// Where requests may go.
    pub fn policy(&self) -> Policy {
        Policy {
            allow_private_ips: self.allow_private_ips,
        }
    }

    /// The rules of this table.
    pub(super) fn check(&self, issuer_is_loopback: bool, check: &mut Check) {
        let ranges = [
            (
                "max_concurrent_deliveries",
                self.max_concurrent_deliveries,
                1,
                1000,
            ),
            (
                "max_concurrent_per_endpoint",
                self.max_concurrent_per_endpoint,
                1,
                1000,
            ),
            ("max_attempts", self.max_attempts, 1, 20),
            ("backchannel_max_attempts", self.backchannel_max_attempts, 1, 20),
            (
                "stuck_after_secs",
                self.stuck_after_secs,
                LEAST_STUCK_AFTER_SECS,
                86_400,
            ),
            ("secret_overlap_secs", self.secret_overlap_secs, 0, 7_776_000),
        ];
        for (key, value, least, greatest) in ranges {
            check.range(&format!("webhooks.{key}"), value.into(), least.into(), greatest);
        }
        if self.allow_private_ips && !issuer_is_loopback {
            check.warning(
                "webhooks.allow_private_ips",
                "whoever may register a webhook or an app can make this server send requests into its own network",
                "leave it out, unless this is a development machine",
            );
        }
    }
}
