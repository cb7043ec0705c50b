//! The upstream providers.

use crate::clock::Clock;
use crate::config::Config;
use crate::config::finding::Finding;
use crate::upstream::Upstreams;

/// Asks every provider that has a discovery document for it, as the server will. Providers without one (GitHub, Discord,
/// plain OAuth 2.0) cannot be asked anything before somebody signs in.
pub(super) async fn check(config: &Config) -> Vec<Finding> {
    let upstreams = match Upstreams::new(config, Clock::default()) {
        Ok(upstreams) => upstreams,
        Err(error) => {
            let problem = format!("{error:#}");
            return vec![Finding::error(
                "oauth.providers",
                problem,
                "mend the key that is named",
            )];
        }
    };
    let mut findings = Vec::new();
    for provider in upstreams.list() {
        if let Err(error) = provider.probe().await {
            // An upstream that is down does not stop the server, so it does not make the configuration wrong either.
            findings.push(Finding::warning(
                format!("oauth.providers.{}", provider.name()),
                format!("the provider cannot be used now: {}", error.detail()),
                "see that this machine reaches the provider, and that the issuer is written as the provider writes it",
            ));
        }
    }
    findings
}
