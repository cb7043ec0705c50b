//! Back-channel logout is registered already and sent later; until it is sent, discovery does not promise it.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use common::TestProvider;
use riley_auth::protocol::redirect_uri::validate_backchannel_logout_uri;

/// OpenID Connect Back-Channel Logout §2.1: what is advertised is implemented.
#[tokio::test]
async fn discovery_promises_no_logout_that_is_not_sent() {
    let op = TestProvider::start().await;
    let metadata = op.get("/.well-known/openid-configuration").await.json();
    for member in [
        "backchannel_logout_supported",
        "backchannel_logout_session_supported",
        "end_session_endpoint",
    ] {
        assert!(metadata.get(member).is_none(), "{member}");
    }
    op.get("/oauth/logout").await.refused_with(404, "not_found");
}

/// OpenID Connect Back-Channel Logout §2.2: an absolute https URI without a fragment.
#[test]
fn only_an_https_uri_can_be_told_of_a_logout() {
    assert!(validate_backchannel_logout_uri("https://app.test/logged-out", false).is_ok());
    for refused in [
        "http://app.test/logged-out",
        "https://app.test/logged-out#part",
        "https://user@app.test/logged-out",
        "javascript:alert(1)",
        "/logged-out",
    ] {
        assert!(
            validate_backchannel_logout_uri(refused, false).is_err(),
            "{refused}"
        );
    }
}
