//! Refresh tokens: `refresh_tokens`, one live token per grant.
//!
//! A rotation is one statement that reads ([`load`]) and one that writes ([`rotate`]). The second holds the row of the
//! grant, which is also what a revocation writes: neither can slip through the other.

use serde_json::{Map, Value};
use sqlx::PgExecutor;
use sqlx::types::Json;
use time::OffsetDateTime;

use super::grants::{Revocation, RevocationReason, StoredPerson, stored_person};
use crate::protocol::claims::ClaimsRequest;
use crate::protocol::grant::{Grant, StoredRefreshToken};
use crate::protocol::ids::{ClientId, GrantId, SessionId, UserId};
use crate::protocol::opaque::{Salt, TokenHash};
use crate::protocol::scope::ScopeSet;

/// A refresh token to be stored.
#[derive(Clone, Copy, Debug)]
pub struct NewRefreshToken {
    pub token_hash: TokenHash,
    /// Slides with use, never beyond `absolute_expires_at`.
    pub expires_at: OffsetDateTime,
    /// Of the whole family, where a cap is configured.
    pub absolute_expires_at: Option<OffsetDateTime>,
}

/// A rotation to be written.
#[derive(Clone, Copy, Debug)]
pub struct NewRotation {
    /// The token that is used up.
    pub token_hash: TokenHash,
    pub grant_id: GrantId,
    /// What the successor was derived with, for a repetition within the leeway; `None` where there is no leeway.
    pub successor_salt: Option<Salt>,
    pub successor: NewRefreshToken,
    /// The client's, on which the decision was based.
    pub generation: i64,
}

/// A refresh token with all that its use may need, as of one moment.
#[derive(Debug)]
pub struct LoadedRefreshToken {
    pub token: StoredRefreshToken,
    pub issued_at: OffsetDateTime,
    pub person: StoredPerson,
    /// Of the client that asks; `None`: it is gone.
    pub caller_generation: Option<i64>,
}

/// The token of this hash, spent and expired ones included; `None` when there is none. `caller` is the client that asks,
/// and need not be the token's. The salt is read only while the successor is unused. The address of the person is read
/// `with_email`, or if the `claims` parameter asks for claims in the ID token.
pub async fn load(
    db: impl PgExecutor<'_>,
    token_hash: &TokenHash,
    caller: &ClientId,
    with_email: bool,
) -> sqlx::Result<Option<LoadedRefreshToken>> {
    let row = sqlx::query!(
        r#"
        SELECT t.auth_time, t.issued_at, t.expires_at, t.absolute_expires_at, t.consumed_at,
               CASE WHEN t.successor_salt IS NOT NULL AND EXISTS (
                   SELECT FROM refresh_tokens n WHERE n.parent_hash = t.token_hash AND n.consumed_at IS NULL
               ) THEN t.successor_salt END AS "successor_salt: Salt",
               g.grant_id AS "grant_id: GrantId", g.client_id AS "client_id: ClientId",
               g.session_id AS "session_id: SessionId", g.scope AS "scope: ScopeSet", g.nonce, g.acr, g.amr,
               g.claims AS "claims: Json<ClaimsRequest>",
               (g.revoked_at IS NULL
                AND u.deleted_at IS NULL
                AND u.disabled_at IS NULL
                AND c.disabled_at IS NULL
                AND (g.offline OR s.ended_at IS NULL)) AS "alive!",
               caller.generation AS "caller_generation?",
               u.user_id AS "user_id: UserId", u.username, u.display_name, u.picture, u.updated_at,
               CASE WHEN $3 OR g.claims ? 'id_token' THEN u.upstream_claims END
                   AS "upstream_claims?: Json<Map<String, Value>>",
               e.email AS "email?", e.email_verified AS "email_verified?", e.provider AS "email_provider?",
               e.issuer AS "email_issuer?"
        FROM refresh_tokens t
        JOIN grants g ON g.grant_id = t.grant_id
        JOIN users u ON u.user_id = g.user_id
        JOIN oauth_clients c ON c.client_id = g.client_id
        LEFT JOIN sessions s ON s.session_id = g.session_id
        LEFT JOIN oauth_clients caller ON caller.client_id = $2
        LEFT JOIN LATERAL (
            SELECT l.email, l.email_verified, l.provider, l.issuer
            FROM oauth_links l
            WHERE l.user_id = u.user_id
              AND l.email IS NOT NULL
              AND ($3 OR g.claims ? 'id_token')
            ORDER BY l.link_id IS NOT DISTINCT FROM u.primary_link_id DESC, l.email_verified DESC, l.created_at, l.link_id
            LIMIT 1
        ) e ON true
        WHERE t.token_hash = $1
        "#,
        token_hash as _,
        caller.as_str(),
        with_email,
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| LoadedRefreshToken {
        token: StoredRefreshToken {
            token_hash: *token_hash,
            grant: Grant {
                grant_id: row.grant_id,
                client_id: row.client_id,
                user_id: row.user_id,
                session_id: row.session_id,
                scope: row.scope,
                nonce: row.nonce,
                auth_time: row.auth_time,
                acr: row.acr,
                amr: row.amr,
                claims: row.claims.map(|Json(claims)| claims),
            },
            expires_at: row.expires_at,
            absolute_expires_at: row.absolute_expires_at,
            consumed_at: row.consumed_at,
            successor_salt: row.successor_salt,
            alive: row.alive,
        },
        issued_at: row.issued_at,
        caller_generation: row.caller_generation,
        person: stored_person!(row),
    }))
}

/// Uses a token up and stores its successor, in one statement that first holds the row of the grant. The salt of the
/// token's own predecessor is erased: from now on a second use of that one is reuse. It writes all or nothing, and nothing
/// if the token has been used, the grant is no longer alive or the client is not that of `generation` any more: `false`,
/// load and decide again.
pub async fn rotate(
    db: impl PgExecutor<'_>,
    rotation: &NewRotation,
    now: OffsetDateTime,
) -> sqlx::Result<bool> {
    let issued = sqlx::query_scalar!(
        r#"
        WITH family AS (
            SELECT g.grant_id
            FROM grants g
            JOIN users u ON u.user_id = g.user_id
            JOIN oauth_clients c ON c.client_id = g.client_id
            LEFT JOIN sessions s ON s.session_id = g.session_id
            WHERE g.grant_id = $2
              AND g.revoked_at IS NULL
              AND u.deleted_at IS NULL
              AND u.disabled_at IS NULL
              AND c.disabled_at IS NULL
              AND c.generation = $7
              AND (g.offline OR s.ended_at IS NULL)
            FOR NO KEY UPDATE OF g
        ), spent AS (
            UPDATE refresh_tokens t
            SET consumed_at = $8,
                successor_salt = $3
            FROM family
            WHERE t.token_hash = $1
              AND t.grant_id = family.grant_id
              AND t.consumed_at IS NULL
            RETURNING t.token_hash, t.grant_id, t.auth_time, t.parent_hash
        ), erased AS (
            UPDATE refresh_tokens p
            SET successor_salt = NULL
            FROM spent
            WHERE p.token_hash = spent.parent_hash
              AND p.successor_salt IS NOT NULL
        ), issued AS (
            INSERT INTO refresh_tokens
                (token_hash, grant_id, auth_time, parent_hash, issued_at, expires_at, absolute_expires_at)
            SELECT $4, grant_id, auth_time, token_hash, $8, $5, $6
            FROM spent
            RETURNING token_hash
        )
        SELECT count(*) AS "issued!" FROM issued
        "#,
        rotation.token_hash as _,
        rotation.grant_id as _,
        rotation.successor_salt as Option<Salt>,
        rotation.successor.token_hash as _,
        rotation.successor.expires_at,
        rotation.successor.absolute_expires_at,
        rotation.generation,
        now,
    )
    .fetch_one(db)
    .await?;
    Ok(issued == 1)
}

/// Ends the family of a token on behalf of its client, if that client is still the one of `generation`; other clients'
/// tokens are left alone (RFC 7009 §2.1). Spent tokens count: their family is meant.
pub async fn revoke_family(
    db: impl PgExecutor<'_>,
    token_hash: &TokenHash,
    client_id: &ClientId,
    generation: i64,
    now: OffsetDateTime,
) -> sqlx::Result<Revocation> {
    sqlx::query_as!(
        Revocation,
        r#"
        WITH caller AS (
            SELECT generation FROM oauth_clients WHERE client_id = $2
        ), ended AS (
            UPDATE grants g
            SET revoked_at = $4,
                revoked_reason = $5
            FROM refresh_tokens t
            WHERE t.token_hash = $1
              AND g.grant_id = t.grant_id
              AND g.client_id = $2
              AND g.revoked_at IS NULL
              AND $3 = (SELECT generation FROM caller)
            RETURNING g.grant_id
        )
        SELECT (SELECT generation FROM caller) AS "caller_generation",
               (SELECT grant_id FROM ended) AS "grant_id: _"
        "#,
        token_hash as _,
        client_id.as_str(),
        generation,
        now,
        RevocationReason::Client.as_str(),
    )
    .fetch_one(db)
    .await
}
