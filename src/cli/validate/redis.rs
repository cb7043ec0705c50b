//! Redis or Valkey, where `rate_limiting.redis_url` names one.

use crate::config::Config;
use crate::config::finding::Finding;
use crate::limits::{self, StoreProblem};

/// Judges one request there, by the server's own script and within its time, without counting it.
pub(super) async fn check(config: &Config) -> Option<Finding> {
    let url = config.rate_limiting.redis_url.as_ref()?;
    if !config.rate_limiting.enabled {
        return Some(Finding::warning(
            "rate_limiting.redis_url",
            "there is a place to count requests, but nothing is counted",
            "set rate_limiting.enabled = true, or remove this key",
        ));
    }
    limits::try_store(url).await.err().map(judge)
}

/// While the store does not answer every instance counts by itself, so that is no error.
fn judge(problem: StoreProblem) -> Finding {
    let key = "rate_limiting.redis_url";
    match problem {
        StoreProblem::Silent(kind) => Finding::warning(
            key,
            format!(
                "Redis does not answer within a quarter of a second ({kind}); meanwhile each instance counts by itself"
            ),
            "start it, correct host and port, and see that this machine reaches it; with rediss://, that it speaks TLS and this \
             machine trusts its certificate",
        ),
        StoreProblem::Refused(kind) => Finding::error(
            key,
            format!("Redis answers, but refuses ({kind}); each instance would count by itself"),
            "correct user and password in the URL, and give that user the rights +evalsha +script|load +get +set +time \
             ~riley_auth:limit:*",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_is_away_is_a_warning_and_one_that_refuses_an_error() {
        assert!(!judge(StoreProblem::Silent("Io".to_owned())).is_error());
        let refused = judge(StoreProblem::Refused("AuthenticationFailed".to_owned()));
        assert!(refused.is_error());
        assert!(refused.mend.contains("password"), "{refused}");
        // What the program sends, and what its script calls.
        let rights = "+evalsha +script|load +get +set +time ~riley_auth:limit:*";
        assert!(refused.mend.contains(rights), "{refused}");
    }
}
