//! What an upstream's back-channel logout ends: `sessions`, and `upstream_logout_tokens` that have counted.

use time::OffsetDateTime;

use crate::db::Transaction;
use crate::protocol::ids::{SessionId, UserId};

/// A session that has just been ended, and whose it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndedSession {
    pub session_id: SessionId,
    pub user_id: UserId,
}

/// Notes that a token counts. `false`: it has counted before, at this instance or another.
pub async fn remember(
    tx: &mut Transaction,
    provider: &str,
    jti: &str,
    expires_at: OffsetDateTime,
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        r#"
        INSERT INTO upstream_logout_tokens (provider, jti, expires_at)
        VALUES ($1, $2, $3)
        ON CONFLICT DO NOTHING
        "#,
        provider,
        jti,
        expires_at,
    )
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Ends the sessions that this issuer's identities opened through the upstream session `upstream_sid`; where the token names a
/// subject, too, only that identity's.
pub async fn end_of_upstream_session(
    tx: &mut Transaction,
    provider: &str,
    upstream_sid: &str,
    issuer: &str,
    subject: Option<&str>,
    reason: &str,
    now: OffsetDateTime,
) -> sqlx::Result<Vec<EndedSession>> {
    sqlx::query_as!(
        EndedSession,
        r#"
        UPDATE sessions s
        SET ended_at = $6, ended_reason = $5
        WHERE s.provider = $1
          AND s.upstream_sid = $2
          AND s.ended_at IS NULL
          AND EXISTS (
              SELECT FROM oauth_links l
              WHERE l.link_id = s.link_id AND l.issuer = $3 AND ($4::text IS NULL OR l.subject = $4)
          )
        RETURNING s.session_id AS "session_id: _", s.user_id AS "user_id: _"
        "#,
        provider,
        upstream_sid,
        issuer,
        subject,
        reason,
        now,
    )
    .fetch_all(&mut **tx)
    .await
}

/// Ends every session that this identity opened last.
pub async fn end_of_identity(
    tx: &mut Transaction,
    provider: &str,
    issuer: &str,
    subject: &str,
    reason: &str,
    now: OffsetDateTime,
) -> sqlx::Result<Vec<EndedSession>> {
    sqlx::query_as!(
        EndedSession,
        r#"
        UPDATE sessions s
        SET ended_at = $5, ended_reason = $4
        FROM oauth_links l
        WHERE l.issuer = $2
          AND l.subject = $3
          AND s.user_id = l.user_id
          AND s.link_id = l.link_id
          AND s.provider = $1
          AND s.ended_at IS NULL
        RETURNING s.session_id AS "session_id: _", s.user_id AS "user_id: _"
        "#,
        provider,
        issuer,
        subject,
        reason,
        now,
    )
    .fetch_all(&mut **tx)
    .await
}
