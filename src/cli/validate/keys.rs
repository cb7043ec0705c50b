//! The signing keys.

use crate::cli::keys::finding;
use crate::clock::Clock;
use crate::config::Config;
use crate::config::finding::Finding;
use crate::jwt::KeySet;
use crate::protocol::algorithm::SigningAlgorithm;

/// Loads them as the server will.
pub(super) fn check(config: &Config) -> Vec<Finding> {
    let keys = match KeySet::load(config.jwt.key_files(), false) {
        Ok(keys) => keys,
        Err(errors) => return errors.iter().map(finding).collect(),
    };
    let mut findings: Vec<Finding> = keys
        .require_signer(Clock::default().now())
        .err()
        .iter()
        .map(finding)
        .collect();
    if !keys.algorithms().contains(&SigningAlgorithm::Rs256) {
        findings.push(Finding::warning(
            "jwt.keys",
            "no RS256 key is configured; OpenID Connect Discovery §3 wants RS256 listed, and some libraries know nothing else",
            "add one behind the others: `riley-auth generate-keys --algorithm rs256`",
        ));
    }
    findings
}
