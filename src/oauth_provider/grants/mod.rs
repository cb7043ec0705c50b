//! The grants of the token endpoint: load, decide by [`crate::protocol::grant`], write, issue.
//!
//! | `grant_type` | file | specification |
//! | --- | --- | --- |
//! | `authorization_code` | [`authorization_code`] | RFC 6749 §4.1.3, RFC 7636 §4.6 |
//! | `refresh_token` | [`refresh_token`] | RFC 6749 §6, RFC 9700 §4.14 |
//!
//! A decision is written by a statement that does nothing if the world has changed since it was loaded; then it is loaded
//! and decided anew.

use crate::error::{OAuthError, OAuthErrorCode};
use crate::protocol::client::{Client, GrantType};

pub mod authorization_code;
pub mod refresh_token;

/// How often a decision is made anew before the client is asked to come back.
const MAX_ATTEMPTS: usize = 5;

/// What is answered when somebody else was faster every time.
fn contended() -> OAuthError {
    OAuthError::new(OAuthErrorCode::TemporarilyUnavailable, "try again in a moment")
}

/// For a registration that was loaded anew: what it no longer has is refused.
fn require_grant_type(client: &Client, grant_type: GrantType) -> Result<(), OAuthError> {
    if client.may_use(grant_type) {
        return Ok(());
    }
    Err(OAuthError::new(
        OAuthErrorCode::UnauthorizedClient,
        "this client is not registered for this grant type",
    ))
}

/// The outcome of a writing statement: a deadlock or serialization failure (classes 40), and a row that it refers to and
/// that has just been deleted (23503), mean that the world has changed, as zero rows do.
fn written(result: sqlx::Result<bool>) -> sqlx::Result<bool> {
    match result {
        Err(sqlx::Error::Database(error))
            if error
                .code()
                .is_some_and(|code| code.starts_with("40") || code == "23503") =>
        {
            Ok(false)
        }
        other => other,
    }
}
