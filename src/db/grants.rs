//! What people let clients have: `grants`, and the person behind a grant.
//!
//! A grant is alive while it is not revoked, its user is neither deleted nor disabled, its client is not disabled and,
//! unless it is offline, its session has not been ended. That is read by joins at every use, so ending a session or
//! disabling a user needs no second write here. A session that is merely idle or expired ends nothing.

use serde_json::{Map, Value};
use sqlx::PgExecutor;
use sqlx::types::Json;
use time::OffsetDateTime;

use crate::db::Transaction;
use crate::protocol::claims::ClaimsRequest;
use crate::protocol::ids::{ClientId, GrantId, SessionId, UserId};

/// Why a grant was revoked, as the column says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevocationReason {
    /// A second use of its authorization code (RFC 6749 §4.1.2).
    CodeReplayed,
    /// A spent refresh token came again (RFC 9700 §4.14.2).
    RefreshTokenReused,
    /// The client asked for it (RFC 7009).
    Client,
    /// The person withdrew the consent.
    Consent,
    /// An operator or administrator.
    Administrator,
    /// The identity that it was made through was given an account of its own.
    Unmerged,
    /// Its owner took away the identity that it was made through, which had come by a merge.
    Unlinked,
}

impl RevocationReason {
    /// The text in `revoked_reason`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CodeReplayed => "code_replayed",
            Self::RefreshTokenReused => "refresh_token_reused",
            Self::Client => "client",
            Self::Consent => "consent",
            Self::Administrator => "administrator",
            Self::Unmerged => "account_unmerged",
            Self::Unlinked => "unlinked",
        }
    }
}

/// A live account as claims need it. How far the address is trusted is configuration and judged by the caller.
#[derive(Clone, Debug)]
pub struct StoredPerson {
    pub user_id: UserId,
    /// `None` only for a deleted account.
    pub username: Option<String>,
    pub display_name: Option<String>,
    pub picture: Option<String>,
    pub updated_at: OffsetDateTime,
    pub upstream_claims: Map<String, Value>,
    /// The primary address: the one its owner chose, else the oldest verified link's, else the oldest's. Only read where a
    /// query was asked for it.
    pub email: Option<StoredEmail>,
}

/// An address, and who says so.
#[derive(Clone, Debug)]
pub struct StoredEmail {
    pub email: String,
    /// As the provider said.
    pub verified: bool,
    /// The provider's name in the configuration.
    pub provider: String,
    pub issuer: String,
}

/// Makes a [`StoredPerson`] of a row that has its columns under their usual names.
macro_rules! stored_person {
    ($row:ident) => {
        $crate::db::grants::StoredPerson {
            user_id: $row.user_id,
            username: $row.username,
            display_name: $row.display_name,
            picture: $row.picture,
            updated_at: $row.updated_at,
            upstream_claims: $row
                .upstream_claims
                .map(|sqlx::types::Json(claims)| claims)
                .unwrap_or_default(),
            email: match (
                $row.email,
                $row.email_verified,
                $row.email_provider,
                $row.email_issuer,
            ) {
                (Some(email), Some(verified), Some(provider), Some(issuer)) => {
                    Some($crate::db::grants::StoredEmail {
                        email,
                        verified,
                        provider,
                        issuer,
                    })
                }
                _ => None,
            },
        }
    };
}
pub(super) use stored_person;

/// What UserInfo tells of a live grant.
#[derive(Debug)]
pub struct UserInfoRow {
    pub person: StoredPerson,
    pub claims: Option<ClaimsRequest>,
}

/// What introspection asks about a grant, and about the client that asks.
#[derive(Debug)]
pub struct GrantStatus {
    /// Of the client that asks.
    pub caller_generation: i64,
    pub alive: bool,
    pub username: Option<String>,
}

/// What an attempt to revoke found.
#[derive(Clone, Copy, Debug)]
pub struct Revocation {
    /// The caller's generation at that moment; `None`: no such client. If it is not the one that was named, nothing was
    /// written.
    pub caller_generation: Option<i64>,
    /// The grant that ended by it, if one did.
    pub grant_id: Option<GrantId>,
}

/// Ends a grant and everything issued under it. Whose it was; `None`: it had ended before, or never began.
pub async fn revoke(
    db: impl PgExecutor<'_>,
    grant_id: GrantId,
    reason: RevocationReason,
    now: OffsetDateTime,
) -> sqlx::Result<Option<UserId>> {
    sqlx::query_scalar!(
        r#"
        UPDATE grants
        SET revoked_at = $2,
            revoked_reason = $3
        WHERE grant_id = $1 AND revoked_at IS NULL
        RETURNING user_id AS "user_id: _"
        "#,
        grant_id as _,
        now,
        reason.as_str(),
    )
    .fetch_optional(db)
    .await
}

/// Those of these sessions in which some app still has what it was let have.
pub async fn sessions_with_live_grants(
    db: impl PgExecutor<'_>,
    session_ids: &[SessionId],
) -> sqlx::Result<Vec<SessionId>> {
    sqlx::query_scalar!(
        r#"
        SELECT DISTINCT g.session_id AS "session_id!: SessionId"
        FROM grants g
        LEFT JOIN sessions s ON s.session_id = g.session_id
        WHERE g.session_id = ANY ($1)
          AND g.revoked_at IS NULL
          AND (g.offline OR s.ended_at IS NULL)
        "#,
        session_ids as _,
    )
    .fetch_all(db)
    .await
}

/// Ends every grant that was made in these sessions, offline ones too. How many were alive.
pub async fn revoke_of_sessions(
    db: impl PgExecutor<'_>,
    session_ids: &[SessionId],
    reason: RevocationReason,
    now: OffsetDateTime,
) -> sqlx::Result<u64> {
    let done = sqlx::query!(
        r#"
        UPDATE grants
        SET revoked_at = $2,
            revoked_reason = $3
        WHERE session_id = ANY ($1)
          AND revoked_at IS NULL
        "#,
        session_ids as _,
        now,
        reason.as_str(),
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected())
}

/// Ends a grant on behalf of its client, if that client is still the one of `generation`; other clients' grants are left
/// alone (RFC 7009 §2.1).
pub async fn revoke_of_client(
    db: impl PgExecutor<'_>,
    grant_id: GrantId,
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
            UPDATE grants
            SET revoked_at = $4,
                revoked_reason = $5
            WHERE grant_id = $1
              AND client_id = $2
              AND revoked_at IS NULL
              AND $3 = (SELECT generation FROM caller)
            RETURNING grant_id
        )
        SELECT (SELECT generation FROM caller) AS "caller_generation",
               (SELECT grant_id FROM ended) AS "grant_id: _"
        "#,
        grant_id as _,
        client_id.as_str(),
        generation,
        now,
        RevocationReason::Client.as_str(),
    )
    .fetch_one(db)
    .await
}

/// The person and the wishes behind a live grant; `None` when it is not alive. The address is read `with_email`, or if the
/// grant's `claims` parameter asks for anything.
pub async fn find_for_userinfo(
    db: impl PgExecutor<'_>,
    grant_id: GrantId,
    user_id: UserId,
    with_email: bool,
) -> sqlx::Result<Option<UserInfoRow>> {
    let row = sqlx::query!(
        r#"
        SELECT g.claims AS "claims: Json<ClaimsRequest>",
               u.user_id AS "user_id: UserId", u.username, u.display_name, u.picture, u.updated_at,
               u.upstream_claims AS "upstream_claims?: Json<Map<String, Value>>",
               e.email AS "email?", e.email_verified AS "email_verified?", e.provider AS "email_provider?",
               e.issuer AS "email_issuer?"
        FROM grants g
        JOIN users u ON u.user_id = g.user_id
        JOIN oauth_clients c ON c.client_id = g.client_id
        LEFT JOIN sessions s ON s.session_id = g.session_id
        LEFT JOIN LATERAL (
            SELECT l.email, l.email_verified, l.provider, l.issuer
            FROM oauth_links l
            WHERE l.user_id = u.user_id
              AND l.email IS NOT NULL
              AND ($3 OR g.claims IS NOT NULL)
            ORDER BY l.link_id IS NOT DISTINCT FROM u.primary_link_id DESC, l.email_verified DESC, l.created_at, l.link_id
            LIMIT 1
        ) e ON true
        WHERE g.grant_id = $1
          -- Not by "=", which would let the planner walk through all grants of a user who has thousands.
          AND g.user_id IS NOT DISTINCT FROM $2
          AND g.revoked_at IS NULL
          AND u.deleted_at IS NULL
          AND u.disabled_at IS NULL
          AND c.disabled_at IS NULL
          AND (g.offline OR s.ended_at IS NULL)
        "#,
        grant_id as _,
        user_id as _,
        with_email,
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| UserInfoRow {
        claims: row.claims.map(|Json(claims)| claims),
        person: stored_person!(row),
    }))
}

/// Whether the grant of an access token is alive, and the generation of the client that asks. `None`: the client that asks
/// is gone.
pub async fn find_status(
    db: impl PgExecutor<'_>,
    caller: &ClientId,
    grant_id: GrantId,
    client_id: &ClientId,
    user_id: UserId,
) -> sqlx::Result<Option<GrantStatus>> {
    sqlx::query_as!(
        GrantStatus,
        r#"
        SELECT caller.generation AS caller_generation,
               coalesce(g.revoked_at IS NULL
                        AND u.deleted_at IS NULL
                        AND u.disabled_at IS NULL
                        AND c.disabled_at IS NULL
                        AND (g.offline OR s.ended_at IS NULL), false)
               AND g.grant_id IS NOT NULL AS "alive!",
               u.username AS "username?"
        FROM oauth_clients caller
        LEFT JOIN grants g
               ON g.grant_id = $2
              -- Not by "=", which would let the planner walk through all grants of a client or user.
              AND g.client_id IS NOT DISTINCT FROM $3
              AND g.user_id IS NOT DISTINCT FROM $4
        LEFT JOIN users u ON u.user_id = g.user_id
        LEFT JOIN oauth_clients c ON c.client_id = g.client_id
        LEFT JOIN sessions s ON s.session_id = g.session_id
        WHERE caller.client_id = $1
        "#,
        caller.as_str(),
        grant_id as _,
        client_id.as_str(),
        user_id as _,
    )
    .fetch_optional(db)
    .await
}

/// Ends everything that any client was let have of this person, offline grants too. How many grants that were. The sessions
/// have to have ended in this transaction: codes are used up first, so that none becomes a grant afterwards.
pub async fn revoke_all_of_user(
    tx: &mut Transaction,
    user_id: UserId,
    reason: RevocationReason,
    now: OffsetDateTime,
) -> sqlx::Result<u64> {
    sqlx::query!(
        r#"
        UPDATE authorization_codes
        SET used_at = $2
        WHERE user_id = $1 AND used_at IS NULL
        "#,
        user_id as _,
        now,
    )
    .execute(&mut **tx)
    .await?;
    let done = sqlx::query!(
        r#"
        UPDATE grants
        SET revoked_at = $2,
            revoked_reason = $3
        WHERE user_id = $1 AND revoked_at IS NULL
        "#,
        user_id as _,
        now,
        reason.as_str(),
    )
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected())
}

/// Ends every grant of everybody. How many that were.
pub async fn revoke_all(
    tx: &mut Transaction,
    reason: RevocationReason,
    now: OffsetDateTime,
) -> sqlx::Result<u64> {
    sqlx::query!(
        "UPDATE authorization_codes SET used_at = $1 WHERE used_at IS NULL",
        now
    )
    .execute(&mut **tx)
    .await?;
    let done = sqlx::query!(
        r#"
        UPDATE grants
        SET revoked_at = $1,
            revoked_reason = $2
        WHERE revoked_at IS NULL
        "#,
        now,
        reason.as_str(),
    )
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected())
}
