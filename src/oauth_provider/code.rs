//! Issuing an authorization code: the one place where it is done (RFC 6749 §4.1.2).

use sqlx::PgTransaction;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::db;
use crate::db::authorization_codes::NewCode;
use crate::db::sessions::LiveSession;
use crate::http::state::AppState;
use crate::protocol::authorization::AuthorizationRequest;
use crate::protocol::ids::GrantId;
use crate::protocol::opaque::Opaque;
use crate::protocol::scope::ScopeSet;

/// A code for what `request` asked, limited to `scope`, on the word of `session`; stored when `tx` commits.
///
/// `auth_time` is the session's: a code that is issued on a session of last week says so.
pub async fn issue(
    tx: &mut PgTransaction<'_>,
    state: &AppState,
    request: &AuthorizationRequest,
    session: &LiveSession,
    scope: &ScopeSet,
    now: OffsetDateTime,
) -> sqlx::Result<Opaque> {
    let code = Opaque::generate(&state.rng);
    let lifetime = Duration::seconds(i64::from(state.config.jwt.authorization_code_ttl_secs));
    db::authorization_codes::insert(
        &mut **tx,
        &NewCode {
            code_hash: code.hash(),
            grant_id: GrantId(Uuid::now_v7()),
            client_id: &request.client_id,
            user_id: session.user_id,
            session_id: session.session_id,
            redirect_uri: request.callback.redirect_uri(),
            scope,
            nonce: request.nonce.as_deref(),
            code_challenge: request.code_challenge.as_ref(),
            auth_time: session.auth_time,
            acr: session.acr.as_deref(),
            amr: session.amr.as_deref(),
            claims: request.claims.as_ref(),
            issued_at: now,
            expires_at: now + lifetime,
        },
    )
    .await?;
    Ok(code)
}
