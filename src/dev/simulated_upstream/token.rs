//! The token endpoint (RFC 6749 §4.1.3, OpenID Connect Core §3.1.3).

use std::sync::Arc;

use axum::Extension;
use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};
use time::Duration;

use super::claims;
use super::client_auth;
use super::flavour::Flavour;
use super::github;
use super::memory::Grant;
use super::misbehaviour::Misbehaviour;
use super::options::Client;
use super::people::sha256;
use super::request_log::LoggedRequest;
use super::simulation::Simulation;

const CODE_TTL: Duration = Duration::minutes(10);
const ACCESS_TOKEN_TTL_SECS: i64 = 3600;

/// Why no tokens are given, by the codes of RFC 6749 §5.2.
#[derive(Debug)]
pub(super) struct TokenError {
    pub(super) error: &'static str,
    pub(super) description: &'static str,
}

/// `POST /token`
pub(super) async fn token(
    State(simulation): State<Simulation>,
    Extension(received): Extension<Arc<LoggedRequest>>,
) -> Response {
    if simulation.misbehaves(Misbehaviour::TokenRedirects, &received.carried) {
        let location = [(header::LOCATION, simulation.url("/elsewhere"))];
        return (StatusCode::TEMPORARY_REDIRECT, location).into_response();
    }
    if simulation.misbehaves(Misbehaviour::TokenNotJson, &received.carried) {
        return Html("<!DOCTYPE html><title>Welcome</title><p>This is no JSON.").into_response();
    }
    let answer = match redeem(&simulation, &received) {
        Ok((client, grant)) => tokens(&simulation, &client, grant).await,
        Err(error) => Err(error),
    };
    if simulation.flavour() == Flavour::GitHub {
        return github::token_response(&received, answer);
    }
    let no_store = [(header::CACHE_CONTROL, "no-store"), (header::PRAGMA, "no-cache")];
    match answer {
        Ok(answer) => (no_store, Json(answer)).into_response(),
        Err(error) => (error.status(), no_store, Json(error.body())).into_response(),
    }
}

fn redeem(simulation: &Simulation, received: &LoggedRequest) -> Result<(Client, Grant), TokenError> {
    let client = client_auth::authenticate(simulation, received).map_err(|description| TokenError {
        error: "invalid_client",
        description,
    })?;
    // GitHub's documentation knows no grant_type.
    match received.form("grant_type") {
        Some("authorization_code") => {}
        None if simulation.flavour() == Flavour::GitHub => {}
        None => {
            return Err(TokenError {
                error: "invalid_request",
                description: "grant_type is missing",
            });
        }
        Some(_) => {
            let description = "only authorization_code is simulated";
            return Err(TokenError {
                error: "unsupported_grant_type",
                description,
            });
        }
    }
    let refused = |description| TokenError {
        error: "invalid_grant",
        description,
    };
    let code = received.form("code").ok_or(TokenError {
        error: "invalid_request",
        description: "code is missing",
    })?;
    let grant = simulation
        .take_code(code)
        .ok_or_else(|| refused("the code is unknown or was used"))?;
    if simulation.misbehaves(Misbehaviour::CodeRefused, &grant.carried) {
        return Err(refused("the code is refused, as asked"));
    }
    if grant.client_id != client.client_id {
        return Err(refused("the code was issued to another client"));
    }
    if simulation.now() - grant.issued_at > CODE_TTL {
        return Err(refused("the code has expired"));
    }
    let redirect_uri = received.form("redirect_uri");
    let may_leave_it_out = simulation.flavour() == Flavour::GitHub;
    if redirect_uri != Some(grant.redirect_uri.as_str()) && !(redirect_uri.is_none() && may_leave_it_out) {
        return Err(refused("redirect_uri differs from the authorization request"));
    }
    verify_pkce(grant.code_challenge.as_deref(), received.form("code_verifier")).map_err(refused)?;
    Ok((client, grant))
}

/// RFC 7636 §4.6; a verifier without a challenge means that the challenge was stripped on the way (RFC 9700 §2.1.1).
fn verify_pkce(challenge: Option<&str>, verifier: Option<&str>) -> Result<(), &'static str> {
    match (challenge, verifier) {
        (None, None) => Ok(()),
        (Some(_), None) => Err("code_verifier is missing"),
        (None, Some(_)) => Err("there was no code_challenge"),
        (Some(challenge), Some(verifier)) if URL_SAFE_NO_PAD.encode(sha256(verifier)) == challenge => Ok(()),
        (Some(_), Some(_)) => Err("code_verifier does not match"),
    }
}

async fn tokens(
    simulation: &Simulation,
    client: &Client,
    grant: Grant,
) -> Result<Map<String, Value>, TokenError> {
    let mut answer = Map::new();
    let missing = simulation.misbehaves(Misbehaviour::MissingIdToken, &grant.carried);
    if simulation.habits().id_token && !missing {
        let id_token = claims::id_token(simulation, &grant, &client.client_secret)
            .await
            .map_err(|error| {
                tracing::error!(%error, "the simulated upstream cannot sign");
                TokenError {
                    error: "server_error",
                    description: "the ID token cannot be signed",
                }
            })?;
        answer.insert("id_token".to_owned(), json!(id_token));
    }
    let prefix = if simulation.flavour() == Flavour::GitHub {
        "gho_"
    } else {
        ""
    };
    let token_type = if simulation.flavour() == Flavour::GitHub {
        "bearer"
    } else {
        "Bearer"
    };
    let scope = match simulation.flavour() {
        Flavour::GitHub => grant.scopes().join(","),
        _ => grant.scopes().join(" "),
    };
    answer.insert(
        "access_token".to_owned(),
        json!(simulation.insert_access_token(prefix, grant)),
    );
    answer.insert("token_type".to_owned(), json!(token_type));
    answer.insert("scope".to_owned(), json!(scope));
    if simulation.flavour() != Flavour::GitHub {
        answer.insert("expires_in".to_owned(), json!(ACCESS_TOKEN_TTL_SECS));
    }
    Ok(answer)
}

impl TokenError {
    fn status(&self) -> StatusCode {
        match self.error {
            "invalid_client" => StatusCode::UNAUTHORIZED,
            "server_error" => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    fn body(&self) -> Value {
        json!({ "error": self.error, "error_description": self.description })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7636 Appendix B.
    #[test]
    fn the_published_verifier_matches_its_challenge_and_no_other() {
        let challenge = Some("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
        assert!(verify_pkce(challenge, Some("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")).is_ok());
        assert!(verify_pkce(challenge, Some("another")).is_err());
        assert!(verify_pkce(challenge, None).is_err());
        assert!(verify_pkce(None, Some("another")).is_err());
    }
}
