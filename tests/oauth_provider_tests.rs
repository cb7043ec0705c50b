//! What registered clients may and may not do at authorize, token, revocation and introspection, over HTTP.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use common::app::basic;
use common::checks;
use common::provider::{APP, CALLBACK, ISSUER, PAGES};
use common::{Answer, Browser, Granted, Outcome, TestClient, TestProvider, Tokens, random_text};
use reqwest::Method;
use riley_auth::protocol::scope::ScopeSet;
use serde_json::json;

/// RFC 7636 Appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const OTHER_VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXl";

/// A provider, an app, a person who is signed in.
async fn start() -> (TestProvider, TestClient, Browser) {
    let op = TestProvider::start().await;
    let app = op.client().await;
    let ada = op.signed_in("ada").await;
    (op, app, ada)
}

async fn tokens(app: &TestClient, browser: &Browser, scope: &str) -> Tokens {
    let granted = browser.authorize(app).scope(scope).code().await;
    app.redeem(&granted).await.tokens()
}

fn code_form(granted: &Granted) -> Vec<(&str, &str)> {
    vec![
        ("grant_type", "authorization_code"),
        ("code", &granted.code),
        ("redirect_uri", &granted.redirect_uri),
    ]
}

async fn count(op: &TestProvider, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(op.db()).await.unwrap()
}

const LIVE_REFRESH_TOKENS: &str = "select count(*) from refresh_tokens r join grants g using (grant_id)
    where r.consumed_at is null and g.revoked_at is null";

/// Codes: single use, bound to client and redirect URI (RFC 6749 §4.1.2, security TK-4 to TK-10).
#[path = "oauth_provider/codes.rs"]
mod codes;

/// PKCE (RFC 7636, security AZ-7, TK-6).
#[path = "oauth_provider/pkce.rs"]
mod pkce;

/// Refresh tokens: rotation, scope, what is carried on (RFC 6749 §6, security RT).
#[path = "oauth_provider/refreshing.rs"]
mod refreshing;

/// Refreshes and revocations at once (security RT-3, RT-8, RT-10).
#[path = "oauth_provider/races.rs"]
mod races;

/// How clients prove who they are (RFC 6749 §2.3, security CA).
#[path = "oauth_provider/client_authentication.rs"]
mod client_authentication;

/// What the token endpoint reads, refuses and answers (RFC 6749 §3.2, §5, security TK).
#[path = "oauth_provider/token_requests.rs"]
mod token_requests;

/// Revocation and introspection (RFC 7009, RFC 7662, security RV).
#[path = "oauth_provider/revocation_and_introspection.rs"]
mod revocation_and_introspection;

/// Authorization requests and their answers (RFC 6749 §4.1, OpenID Connect Core §3.1.2, security AZ).
#[path = "oauth_provider/authorize.rs"]
mod authorize;

/// Request objects by value (OpenID Connect Core §6.1, security AZ-9).
#[path = "oauth_provider/request_objects.rs"]
mod request_objects;

/// `prompt`, `max_age` and `id_token_hint` (OpenID Connect Core §3.1.2.1, security AZ-16 to AZ-21).
#[path = "oauth_provider/prompts.rs"]
mod prompts;
