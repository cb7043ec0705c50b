//! Webhooks are not offered yet; nothing may suggest that they are.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use common::TestProvider;

/// A configuration that asks for webhooks is refused rather than silently ignored.
#[test]
fn a_webhooks_table_is_an_unknown_key() {
    let source = riley_auth::config::Source {
        path: None,
        text: "[jwt]\nissuer = \"https://op.test\"\n[webhooks]\nmax_attempts = 5\n".to_owned(),
        environment: std::collections::BTreeMap::new(),
        offline: true,
    };
    let (_, findings) = source.check();
    assert!(
        findings
            .iter()
            .any(|finding| finding.to_string().contains("webhooks")),
        "{findings:?}"
    );
}

/// No webhook route answers.
#[tokio::test]
async fn no_webhook_route_answers_before_it_exists() {
    let op = TestProvider::start().await;
    op.get("/admin/webhooks")
        .await
        .refused_with(401, "unauthenticated");
}
