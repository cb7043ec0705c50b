//! Whether everybody reads the metrics at the public URL.

use super::outside::{Answer, Outside};
use crate::config::Config;
use crate::config::finding::Finding;

/// Asks as a stranger does. With a token or a listener of their own nobody gets them there.
pub(super) async fn check(config: &Config, outside: &Outside) -> Option<Finding> {
    if !config.metrics.enabled {
        return None;
    }
    let answer = outside.get("/metrics", &[]).await.ok()?;
    judge(&answer)
}

fn judge(answer: &Answer) -> Option<Finding> {
    let says_ours = String::from_utf8_lossy(&answer.body).contains("riley_auth_");
    (answer.status == 200 && says_ours).then(|| {
        Finding::warning(
            "metrics.bearer_token",
            "everybody can read /metrics at the public URL: how many people are signed in, and how often what fails",
            "set metrics.bearer_token or metrics.listen, or let the proxy answer /metrics with 404",
        )
    })
}
