//! RP-initiated logout, over HTTP.
//!
//! | file | what |
//! | --- | --- |
//! | `rp_initiated` | who is asked and who is not, where it leads, what is refused (OpenID Connect RP-Initiated Logout 1.0) |
//! | `effects` | what ends with a session, by every route, under races |
//! | `modules` | the plans for logout of the official conformance suite, module by module |

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

#[path = "logout/effects.rs"]
mod effects;
#[path = "logout/modules.rs"]
mod modules;
#[path = "logout/rp_initiated.rs"]
mod rp_initiated;

use common::{Browser, TestClient, TestProvider, Tokens};

/// Where apps want people back.
pub(crate) const AFTER: &str = "https://app.test/signed-out";

/// An app with a place to come back to.
pub(crate) async fn leaving_client(op: &TestProvider) -> TestClient {
    op.client_with(|client| client.post_logout_redirect_uris = vec![AFTER.to_owned()])
        .await
}

/// Somebody signed in to an app, with the tokens that it got.
pub(crate) async fn signed_in_to(app: &TestClient, person: &str) -> (Browser, Tokens) {
    let browser = app.op.browser();
    let tokens = app.tokens_of(&browser, person, "openid").await;
    (browser, tokens)
}

/// The URL of a logout with these parameters.
pub(crate) fn logout_url(params: &[(&str, &str)]) -> String {
    let mut url = url::Url::parse(&format!("{}/oauth/logout", common::provider::ISSUER)).unwrap();
    if !params.is_empty() {
        url.query_pairs_mut().extend_pairs(params);
    }
    url.into()
}
