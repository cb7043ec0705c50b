//! Authorization codes: `authorization_codes`, and their exchange for a grant.
//!
//! An exchange is one statement that reads ([`load`]) and one that writes ([`redeem`]); the second changes something only
//! if what the first told still holds. When it wrote nothing, the caller loads and decides again.

use serde_json::{Map, Value};
use sqlx::PgExecutor;
use sqlx::types::Json;
use time::OffsetDateTime;

use super::grants::{StoredPerson, stored_person};
use super::refresh_tokens::NewRefreshToken;
use crate::protocol::claims::ClaimsRequest;
use crate::protocol::grant::{Grant, StoredCode};
use crate::protocol::ids::{ClientId, GrantId, SessionId, UserId};
use crate::protocol::opaque::TokenHash;
use crate::protocol::pkce::CodeChallenge;
use crate::protocol::scope::ScopeSet;

/// A code to be stored.
pub struct NewCode<'a> {
    pub code_hash: TokenHash,
    /// The id that the grant will have once the code is redeemed: a fresh v7.
    pub grant_id: GrantId,
    pub client_id: &'a ClientId,
    pub user_id: UserId,
    pub session_id: SessionId,
    /// As the authorization request had it.
    pub redirect_uri: &'a str,
    pub scope: &'a ScopeSet,
    pub nonce: Option<&'a str>,
    pub code_challenge: Option<&'a CodeChallenge>,
    /// The session's, seconds since the epoch.
    pub auth_time: i64,
    pub acr: Option<&'a str>,
    pub amr: Option<&'a [String]>,
    pub claims: Option<&'a ClaimsRequest>,
    pub issued_at: OffsetDateTime,
    pub expires_at: OffsetDateTime,
}

/// A code with all that its redemption may need, as of one moment.
#[derive(Debug)]
pub struct LoadedCode {
    pub code: StoredCode,
    pub person: StoredPerson,
    /// Of the client that asks; `None`: it is gone.
    pub caller_generation: Option<i64>,
}

/// Stores a code if its session is still live: `false` when the session has been ended or the user disabled meanwhile.
pub async fn insert(db: impl PgExecutor<'_>, code: &NewCode<'_>) -> sqlx::Result<bool> {
    let result = sqlx::query!(
        r#"
        INSERT INTO authorization_codes
            (code_hash, client_id, user_id, session_id, grant_id, redirect_uri, scope, nonce, code_challenge,
             auth_time, acr, amr, claims, issued_at, expires_at)
        SELECT $1, $2, s.user_id, s.session_id, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15
        FROM sessions s
        JOIN users u ON u.user_id = s.user_id
        WHERE s.session_id = $4
          AND s.user_id = $3
          AND s.ended_at IS NULL
          AND u.deleted_at IS NULL
          AND u.disabled_at IS NULL
        "#,
        code.code_hash as _,
        code.client_id.as_str(),
        code.user_id as _,
        code.session_id as _,
        code.grant_id as _,
        code.redirect_uri,
        code.scope.to_string(),
        code.nonce,
        code.code_challenge.map(CodeChallenge::as_str),
        code.auth_time,
        code.acr,
        code.amr,
        code.claims.map(Json) as _,
        code.issued_at,
        code.expires_at,
    )
    .execute(db)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// The code of this hash, used and expired ones included; `None` when there is none. `caller` is the client that asks, and
/// need not be the code's. The address of the person is read `with_email`, or if the `claims` parameter asks for claims in
/// the ID token.
pub async fn load(
    db: impl PgExecutor<'_>,
    code_hash: &TokenHash,
    caller: &ClientId,
    with_email: bool,
) -> sqlx::Result<Option<LoadedCode>> {
    let row = sqlx::query!(
        r#"
        SELECT a.grant_id AS "grant_id: GrantId", a.client_id AS "client_id: ClientId",
               a.session_id AS "session_id: SessionId", a.redirect_uri, a.scope AS "scope: ScopeSet", a.nonce,
               a.code_challenge, a.auth_time, a.acr, a.amr, a.claims AS "claims: Json<ClaimsRequest>",
               a.expires_at, a.used_at,
               (u.deleted_at IS NULL AND u.disabled_at IS NULL AND s.ended_at IS NULL) AS "alive!",
               caller.generation AS "caller_generation?",
               u.user_id AS "user_id: UserId", u.username, u.display_name, u.picture, u.updated_at,
               CASE WHEN $3 OR a.claims ? 'id_token' THEN u.upstream_claims END
                   AS "upstream_claims?: Json<Map<String, Value>>",
               e.email AS "email?", e.email_verified AS "email_verified?", e.provider AS "email_provider?",
               e.issuer AS "email_issuer?"
        FROM authorization_codes a
        JOIN users u ON u.user_id = a.user_id
        JOIN sessions s ON s.session_id = a.session_id
        LEFT JOIN oauth_clients caller ON caller.client_id = $2
        LEFT JOIN LATERAL (
            SELECT l.email, l.email_verified, l.provider, l.issuer
            FROM oauth_links l
            WHERE l.user_id = u.user_id
              AND l.email IS NOT NULL
              AND ($3 OR a.claims ? 'id_token')
            ORDER BY l.link_id IS NOT DISTINCT FROM u.primary_link_id DESC, l.email_verified DESC, l.created_at, l.link_id
            LIMIT 1
        ) e ON true
        WHERE a.code_hash = $1
        "#,
        code_hash as _,
        caller.as_str(),
        with_email,
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| LoadedCode {
        code: StoredCode {
            grant: Grant {
                grant_id: row.grant_id,
                client_id: row.client_id,
                user_id: row.user_id,
                session_id: Some(row.session_id),
                scope: row.scope,
                nonce: row.nonce,
                auth_time: row.auth_time,
                acr: row.acr,
                amr: row.amr,
                claims: row.claims.map(|Json(claims)| claims),
            },
            redirect_uri: row.redirect_uri,
            code_challenge: row.code_challenge.map(CodeChallenge::from_stored),
            expires_at: row.expires_at,
            used_at: row.used_at,
            alive: row.alive,
        },
        caller_generation: row.caller_generation,
        person: stored_person!(row),
    }))
}

/// Uses the code up and makes its grant, with a first refresh token where one is given, in one statement. It writes all or
/// nothing, and nothing if the code has been used, its session has ended, its user is no longer live or the client is not
/// that of `generation` any more: `false`, load and decide again.
pub async fn redeem(
    db: impl PgExecutor<'_>,
    code_hash: &TokenHash,
    generation: i64,
    scope: &ScopeSet,
    refresh_token: Option<&NewRefreshToken>,
    now: OffsetDateTime,
) -> sqlx::Result<bool> {
    let made = sqlx::query_scalar!(
        r#"
        WITH spent AS (
            UPDATE authorization_codes a
            SET used_at = $3
            FROM users u, sessions s, oauth_clients c
            WHERE a.code_hash = $1
              AND a.used_at IS NULL
              AND u.user_id = a.user_id
              AND u.deleted_at IS NULL
              AND u.disabled_at IS NULL
              AND s.session_id = a.session_id
              AND s.ended_at IS NULL
              AND c.client_id = a.client_id
              AND c.disabled_at IS NULL
              AND c.generation = $2
            RETURNING a.grant_id, a.client_id, a.user_id, a.session_id, a.nonce, a.acr, a.amr, a.claims, a.auth_time
        ), made AS (
            INSERT INTO grants
                (grant_id, client_id, user_id, session_id, scope, offline, nonce, acr, amr, claims, created_at)
            SELECT grant_id, client_id, user_id, session_id, $4, $5, nonce, acr, amr, claims, $3
            FROM spent
            RETURNING grant_id
        ), issued AS (
            INSERT INTO refresh_tokens
                (token_hash, grant_id, auth_time, issued_at, expires_at, absolute_expires_at)
            SELECT $6, grant_id, auth_time, $3, $7, $8
            FROM spent
            WHERE $6::bytea IS NOT NULL
        )
        SELECT count(*) AS "made!" FROM made
        "#,
        code_hash as _,
        generation,
        now,
        scope.to_string(),
        scope.contains("offline_access"),
        refresh_token.map(|token| token.token_hash) as Option<TokenHash>,
        refresh_token.map(|token| token.expires_at),
        refresh_token.and_then(|token| token.absolute_expires_at),
    )
    .fetch_one(db)
    .await?;
    Ok(made == 1)
}

/// Uses the code up without issuing anything. `false`: it had been used before.
pub async fn spend(
    db: impl PgExecutor<'_>,
    code_hash: &TokenHash,
    now: OffsetDateTime,
) -> sqlx::Result<bool> {
    let result = sqlx::query!(
        "UPDATE authorization_codes SET used_at = $2 WHERE code_hash = $1 AND used_at IS NULL",
        code_hash as _,
        now,
    )
    .execute(db)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// Uses up every code that was issued in these sessions, so that none is exchanged for a grant that nobody revokes.
pub async fn spend_of_sessions(
    db: impl PgExecutor<'_>,
    session_ids: &[SessionId],
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        UPDATE authorization_codes
        SET used_at = $2
        WHERE session_id = ANY ($1)
          AND used_at IS NULL
        "#,
        session_ids as _,
        now,
    )
    .execute(db)
    .await?;
    Ok(())
}
