//! `grant_type=authorization_code` (RFC 6749 §4.1.3, OpenID Connect Core §3.1.3).

use std::sync::Arc;

use time::OffsetDateTime;

use super::{MAX_ATTEMPTS, contended, require_grant_type, written};
use crate::db;
use crate::db::grants::RevocationReason;
use crate::error::OAuthError;
use crate::http::client::ClientRequest;
use crate::http::state::AppState;
use crate::oauth_provider::tokens::{self, Issuer, TokenResponse};
use crate::protocol::client::GrantType;
use crate::protocol::grant::{self, CodeRequest, Redemption, UNKNOWN_CODE};
use crate::protocol::opaque::Opaque;

/// Redeems a code: one statement that loads, one that uses the code up and makes the grant with its first refresh token.
pub async fn redeem(
    state: &AppState,
    request: &mut ClientRequest,
    code_request: &CodeRequest,
    now: OffsetDateTime,
) -> Result<TokenResponse, OAuthError> {
    let code = code_request.code.as_ref().ok_or(UNKNOWN_CODE)?;
    let code_hash = code.hash();
    let mut connection = state.db.acquire().await?;
    for _ in 0..MAX_ATTEMPTS {
        let client = &request.client;
        let loaded = db::authorization_codes::load(
            &mut *connection,
            &code_hash,
            &client.client_id,
            client.claims_in_id_token,
        )
        .await?
        .ok_or(UNKNOWN_CODE)?;
        if request
            .still_current(state, &mut *connection, loaded.caller_generation, now)
            .await?
        {
            require_grant_type(&request.client, GrantType::AuthorizationCode)?;
            continue; // what was loaded was loaded for another registration
        }
        let client = &request.client;
        match grant::redeem_code(&loaded.code, code_request, client, now)? {
            Redemption::Granted(grant) => {
                let issuer = Issuer::new(state, Arc::clone(client), now)?;
                let refresh_token = client
                    .may_use(GrantType::RefreshToken)
                    .then(|| Opaque::generate(&state.rng));
                let new_refresh_token = refresh_token.as_ref().map(|token| {
                    let cap = tokens::absolute_expires_at(state, now);
                    tokens::new_refresh_token(state, token.hash(), cap, now)
                });
                let redeemed = db::authorization_codes::redeem(
                    &mut *connection,
                    &code_hash,
                    client.generation,
                    &grant.scope,
                    new_refresh_token.as_ref(),
                    now,
                );
                if !written(redeemed.await)? {
                    continue;
                }
                drop(connection);
                return issuer.issue(&grant, &loaded.person, refresh_token.as_ref()).await;
            }
            Redemption::Replayed(grant_id) => {
                // Committed before the refusal goes out: RFC 6749 §4.1.2 wants both.
                db::grants::revoke(&mut *connection, grant_id, RevocationReason::CodeReplayed, now).await?;
                tracing::warn!(
                    event = "authorization_code.replayed",
                    grant.id = %grant_id,
                    client.id = %client.client_id,
                    "authorization code presented again, grant {grant_id} revoked"
                );
                return Err(UNKNOWN_CODE.into());
            }
            Redemption::Spent => {
                if db::authorization_codes::spend(&mut *connection, &code_hash, now).await? {
                    return Err(OAuthError::invalid_grant(
                        "code_verifier does not belong to the code_challenge",
                    ));
                }
            }
        }
    }
    Err(contended())
}
