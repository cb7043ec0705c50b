//! `grant_type=refresh_token` (RFC 6749 §6, RFC 9700 §4.14.2, OpenID Connect Core §12).

use std::sync::Arc;

use time::OffsetDateTime;

use super::{MAX_ATTEMPTS, contended, require_grant_type, written};
use crate::db;
use crate::db::grants::RevocationReason;
use crate::db::refresh_tokens::NewRotation;
use crate::db::retry::retrying;
use crate::error::OAuthError;
use crate::events::Event;
use crate::http::client::ClientRequest;
use crate::http::state::AppState;
use crate::oauth_provider::tokens::{self, Issuer, TokenResponse};
use crate::protocol::client::GrantType;
use crate::protocol::grant::{self, RefreshRequest, Rotation, UNKNOWN_REFRESH_TOKEN};
use crate::protocol::ids::{ClientId, GrantId};
use crate::protocol::opaque::Salt;

/// Rotates a refresh token: one statement that loads, one that uses it up and stores its successor.
///
/// The successor is derived from the presented token and a salt. A request that is repeated within the leeway finds the
/// salt and comes to the same successor, so a lost response costs nobody the session and the family never branches.
pub async fn rotate(
    state: &AppState,
    request: &mut ClientRequest,
    refresh_request: &RefreshRequest,
    now: OffsetDateTime,
) -> Result<TokenResponse, OAuthError> {
    let presented = refresh_request
        .refresh_token
        .as_ref()
        .ok_or(UNKNOWN_REFRESH_TOKEN)?;
    let token_hash = presented.hash();
    let mut connection = state.db.acquire().await?;
    for _ in 0..MAX_ATTEMPTS {
        let client = &request.client;
        let loaded = db::refresh_tokens::load(
            &mut *connection,
            &token_hash,
            &client.client_id,
            client.claims_in_id_token,
        )
        .await?
        .ok_or(UNKNOWN_REFRESH_TOKEN)?;
        if request
            .still_current(state, &mut *connection, loaded.caller_generation, now)
            .await?
        {
            require_grant_type(&request.client, GrantType::RefreshToken)?;
            continue; // what was loaded was loaded for another registration
        }
        let client = &request.client;
        let leeway_secs = client
            .refresh_reuse_leeway_secs
            .unwrap_or(state.config.oauth.refresh_reuse_leeway_secs);
        match grant::rotate(&loaded.token, refresh_request, client, leeway_secs, now)? {
            Rotation::Rotate(grant) => {
                let issuer = Issuer::new(state, Arc::clone(client), now)?;
                let salt = Salt::generate(&state.rng);
                let successor = presented.successor(&salt);
                let cap = loaded.token.absolute_expires_at;
                let rotation = NewRotation {
                    token_hash,
                    grant_id: grant.grant_id,
                    successor_salt: (leeway_secs > 0).then_some(salt),
                    successor: tokens::new_refresh_token(state, successor.hash(), cap, now),
                    generation: client.generation,
                };
                if !written(db::refresh_tokens::rotate(&mut *connection, &rotation, now).await)? {
                    continue;
                }
                drop(connection);
                return issuer.issue(&grant, &loaded.person, Some(&successor)).await;
            }
            Rotation::Repeat(grant, salt) => {
                drop(connection);
                tracing::warn!(
                    event = "refresh_token.repeated",
                    grant.id = %grant.grant_id,
                    client.id = %client.client_id,
                    "refresh token of grant {} presented again within the leeway",
                    grant.grant_id
                );
                let issuer = Issuer::new(state, Arc::clone(client), now)?;
                let successor = presented.successor(&salt);
                return issuer.issue(&grant, &loaded.person, Some(&successor)).await;
            }
            Rotation::Reused {
                grant_id,
                clock_apart,
            } => {
                drop(connection);
                revoke_reused(state, &client.client_id, grant_id, now).await?;
                tracing::warn!(
                    event = "refresh_token.reused",
                    grant.id = %grant_id,
                    client.id = %client.client_id,
                    clock_apart,
                    "spent refresh token presented, grant {grant_id} revoked"
                );
                return Err(UNKNOWN_REFRESH_TOKEN.into());
            }
        }
    }
    Err(contended())
}

/// Ends the grant of a token that was presented again, and announces it; committed before the refusal goes out.
async fn revoke_reused(
    state: &AppState,
    client_id: &ClientId,
    grant_id: GrantId,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    retrying(&state.rng, || async {
        let mut tx = state.db.begin().await?;
        let reason = RevocationReason::RefreshTokenReused;
        if let Some(user_id) = db::grants::revoke(&mut *tx, grant_id, reason, now).await? {
            let reused = Event::RefreshTokenReused {
                user_id,
                client_id: client_id.clone(),
                grant_id,
            };
            db::events::emit(&mut tx, &[reused], now).await?;
        }
        tx.commit().await
    })
    .await
}
