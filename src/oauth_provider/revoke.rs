//! `POST /oauth/revoke` (RFC 7009).

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Router, routing};
use time::OffsetDateTime;

use crate::db;
use crate::db::grants::Revocation;
use crate::error::{OAuthError, OAuthErrorCode};
use crate::http::api_doc::{ClientRefused, TokenQueryForm};
use crate::http::bearer;
use crate::http::client::ClientRequest;
use crate::http::no_store::NoStore;
use crate::http::now::Now;
use crate::http::state::AppState;
use crate::protocol::ids::GrantId;
use crate::protocol::opaque::{Opaque, TokenHash};

/// How often the client's registration may change under one request.
const MAX_ATTEMPTS: usize = 5;

/// The route of this file.
pub fn routes() -> Router<AppState> {
    Router::new().route("/oauth/revoke", routing::post(revoke))
}

/// Ends the family of a refresh token, or the grant of an access token, with everything issued under it.
///
/// A token that is unknown, expired or another client's is answered alike and changes nothing (§2.1, §2.2).
#[utoipa::path(post, path = "/oauth/revoke", tag = "openid connect", operation_id = "revoke_token",
    request_body(content = TokenQueryForm, content_type = "application/x-www-form-urlencoded"),
    security(("client_secret_basic" = []), ()),
    responses((status = 200, description = "Revoked, or unknown"), ClientRefused))]
pub async fn revoke(
    State(state): State<AppState>,
    Now(now): Now,
    mut request: ClientRequest,
) -> Result<NoStore<StatusCode>, OAuthError> {
    let token = request
        .params
        .get("token")?
        .ok_or_else(|| OAuthError::invalid_request("token is missing"))?;
    // §2.1: the hint is no more than that; the form of a token tells what it is.
    let target = match Opaque::parse(token) {
        Some(token) => Target::Family(token.hash()),
        None => match bearer::verify(&state, token, now) {
            Ok(claims) if claims.client_id == request.client.client_id => Target::Grant(claims.grant),
            _ => return Ok(NoStore(StatusCode::OK)),
        },
    };
    for _ in 0..MAX_ATTEMPTS {
        let ended = target.revoke(&state, &request, now).await?;
        if !request
            .still_current(&state, &state.db, ended.caller_generation, now)
            .await?
        {
            if let Some(grant_id) = ended.grant_id {
                tracing::info!(
                    grant.id = %grant_id,
                    client.id = %request.client.client_id,
                    "grant {grant_id} revoked by its client"
                );
            }
            return Ok(NoStore(StatusCode::OK));
        }
    }
    Err(OAuthError::new(
        OAuthErrorCode::TemporarilyUnavailable,
        "try again in a moment",
    ))
}

/// What a token leads to.
enum Target {
    Family(TokenHash),
    Grant(GrantId),
}

impl Target {
    /// One statement, which does nothing if the client's registration is no longer the one that authenticated.
    async fn revoke(
        &self,
        state: &AppState,
        request: &ClientRequest,
        now: OffsetDateTime,
    ) -> sqlx::Result<Revocation> {
        let (client_id, generation) = (&request.client.client_id, request.client.generation);
        match self {
            Self::Family(hash) => {
                db::refresh_tokens::revoke_family(&state.db, hash, client_id, generation, now).await
            }
            Self::Grant(grant_id) => {
                db::grants::revoke_of_client(&state.db, *grant_id, client_id, generation, now).await
            }
        }
    }
}
