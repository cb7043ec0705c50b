//! Clean-up: what has expired is deleted in batches that lock nobody out for long.

use sqlx::PgExecutor;
use time::OffsetDateTime;

/// Rows per statement.
pub const BATCH_ROWS: i64 = 1000;

/// Takes the right to clean up until the end of the transaction; `false`: another instance has it.
pub async fn try_lock(db: impl PgExecutor<'_>) -> sqlx::Result<bool> {
    // The number is this job's name among the advisory locks of the database.
    sqlx::query_scalar!(r#"SELECT pg_try_advisory_xact_lock(7241965034) AS "locked!""#)
        .fetch_one(db)
        .await
}

/// Authorization requests, upstream sign-ins, waiting identities, error reports, held names and counted logout tokens whose
/// time is over.
pub async fn delete_expired_waiting(db: impl PgExecutor<'_>, now: OffsetDateTime) -> sqlx::Result<u64> {
    let deleted = sqlx::query_scalar!(
        r#"
        WITH requests AS (
            DELETE FROM authorization_requests WHERE request_hash IN
                (SELECT request_hash FROM authorization_requests WHERE expires_at <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED)
            RETURNING 1
        ), flows AS (
            DELETE FROM upstream_flows WHERE state_hash IN
                (SELECT state_hash FROM upstream_flows WHERE expires_at <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED)
            RETURNING 1
        ), identities AS (
            DELETE FROM pending_identities WHERE handle_hash IN
                (SELECT handle_hash FROM pending_identities WHERE expires_at <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED)
            RETURNING 1
        ), reports AS (
            DELETE FROM error_reports WHERE error_id IN
                (SELECT error_id FROM error_reports WHERE expires_at <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED)
            RETURNING 1
        ), logout_tokens AS (
            DELETE FROM upstream_logout_tokens WHERE (provider, jti) IN
                (SELECT provider, jti FROM upstream_logout_tokens WHERE expires_at <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED)
            RETURNING 1
        ), names AS (
            DELETE FROM held_usernames WHERE username_folded IN
                (SELECT username_folded FROM held_usernames WHERE held_until <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED)
            RETURNING 1
        ), names_by_hash AS (
            DELETE FROM held_username_hashes WHERE username_hash IN
                (SELECT username_hash FROM held_username_hashes WHERE held_until <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED)
            RETURNING 1
        )
        SELECT (SELECT count(*) FROM requests) + (SELECT count(*) FROM flows) + (SELECT count(*) FROM identities)
             + (SELECT count(*) FROM reports) + (SELECT count(*) FROM names)
             + (SELECT count(*) FROM names_by_hash) + (SELECT count(*) FROM logout_tokens) AS "deleted!"
        "#,
        now,
        BATCH_ROWS,
    )
    .fetch_one(db)
    .await?;
    Ok(u64::try_from(deleted).unwrap_or(0))
}

/// Codes that nobody redeemed, and used ones whose grant is gone: until then a replay must still revoke it.
pub async fn delete_dead_codes(db: impl PgExecutor<'_>, now: OffsetDateTime) -> sqlx::Result<u64> {
    let result = sqlx::query!(
        r#"
        DELETE FROM authorization_codes WHERE code_hash IN (
            SELECT code_hash
            FROM authorization_codes c
            WHERE c.expires_at <= $1
              AND (c.used_at IS NULL OR NOT EXISTS (SELECT 1 FROM grants g WHERE g.grant_id = c.grant_id))
            LIMIT $2
            FOR UPDATE SKIP LOCKED
        )
        "#,
        now,
        BATCH_ROWS,
    )
    .execute(db)
    .await?;
    Ok(result.rows_affected())
}

/// Grants under which nothing can be alive: made before `made_before` (longer ago than an access token lives), with no
/// refresh token that could still be used (or whose access token could, where a cap ends the family early), or revoked before
/// then. The last one of a live session at an app that wants to
/// hear of its end stays: by it we know whom to tell.
pub async fn delete_dead_grants(
    db: impl PgExecutor<'_>,
    made_before: OffsetDateTime,
    now: OffsetDateTime,
) -> sqlx::Result<u64> {
    let result = sqlx::query!(
        r#"
        DELETE FROM grants WHERE grant_id IN (
            SELECT grant_id
            FROM grants g
            WHERE g.created_at < $1
              AND (g.revoked_at < $1 OR NOT EXISTS (
                  SELECT 1 FROM refresh_tokens r
                  WHERE r.grant_id = g.grant_id AND r.consumed_at IS NULL AND (r.expires_at > $2 OR r.issued_at >= $1)))
              AND NOT EXISTS (
                  SELECT 1
                  FROM sessions s
                  JOIN oauth_clients c ON c.client_id = g.client_id
                  WHERE s.session_id = g.session_id
                    AND s.ended_at IS NULL
                    AND s.expires_at > $2
                    AND (s.absolute_expires_at IS NULL OR s.absolute_expires_at > $2)
                    AND c.backchannel_logout_uri IS NOT NULL
                    AND NOT EXISTS (
                        SELECT 1 FROM grants n
                        WHERE n.session_id = g.session_id AND n.client_id = g.client_id AND n.grant_id > g.grant_id))
            LIMIT $3
            FOR UPDATE SKIP LOCKED
        )
        "#,
        made_before,
        now,
        BATCH_ROWS,
    )
    .execute(db)
    .await?;
    Ok(result.rows_affected())
}

/// Sessions that have ended or expired and that nothing refers to.
pub async fn delete_dead_sessions(db: impl PgExecutor<'_>, now: OffsetDateTime) -> sqlx::Result<u64> {
    let result = sqlx::query!(
        r#"
        DELETE FROM sessions WHERE session_id IN (
            SELECT session_id
            FROM sessions s
            WHERE (s.ended_at IS NOT NULL OR s.expires_at <= $1 OR s.absolute_expires_at <= $1)
              AND NOT EXISTS (SELECT 1 FROM grants g WHERE g.session_id = s.session_id)
              AND NOT EXISTS (SELECT 1 FROM authorization_codes c WHERE c.session_id = s.session_id)
            LIMIT $2
            FOR UPDATE SKIP LOCKED
        )
        "#,
        now,
        BATCH_ROWS,
    )
    .execute(db)
    .await?;
    Ok(result.rows_affected())
}

/// Salts whose leeway is over: from then on no token can be derived from a predecessor.
pub async fn erase_old_salts(db: impl PgExecutor<'_>, consumed_before: OffsetDateTime) -> sqlx::Result<u64> {
    let erased = sqlx::query_scalar!(
        r#"
        WITH refresh AS (
            UPDATE refresh_tokens SET successor_salt = NULL WHERE token_hash IN
                (SELECT token_hash FROM refresh_tokens WHERE successor_salt IS NOT NULL AND consumed_at < $1
                 LIMIT $2 FOR UPDATE SKIP LOCKED)
            RETURNING 1
        ), session AS (
            UPDATE session_tokens SET successor_salt = NULL WHERE token_hash IN
                (SELECT token_hash FROM session_tokens WHERE successor_salt IS NOT NULL AND consumed_at < $1
                 LIMIT $2 FOR UPDATE SKIP LOCKED)
            RETURNING 1
        )
        SELECT (SELECT count(*) FROM refresh) + (SELECT count(*) FROM session) AS "erased!"
        "#,
        consumed_before,
        BATCH_ROWS,
    )
    .fetch_one(db)
    .await?;
    Ok(u64::try_from(erased).unwrap_or(0))
}

/// Deliveries that were completed before `completed_before`, with their attempts. What is still to be sent stays.
pub async fn delete_old_deliveries(
    db: impl PgExecutor<'_>,
    completed_before: OffsetDateTime,
) -> sqlx::Result<u64> {
    let result = sqlx::query!(
        r#"
        DELETE FROM deliveries WHERE delivery_id IN (
            SELECT delivery_id
            FROM deliveries
            WHERE completed_at < $1 AND status <> 'pending'
            LIMIT $2
            FOR UPDATE SKIP LOCKED
        )
        "#,
        completed_before,
        BATCH_ROWS,
    )
    .execute(db)
    .await?;
    Ok(result.rows_affected())
}

/// Events from before `created_before` of which nothing is to be sent or has been sent lately.
pub async fn delete_old_events(db: impl PgExecutor<'_>, created_before: OffsetDateTime) -> sqlx::Result<u64> {
    let result = sqlx::query!(
        r#"
        DELETE FROM events WHERE event_id IN (
            SELECT event_id
            FROM events e
            WHERE e.created_at < $1
              AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.event_id = e.event_id)
            LIMIT $2
            FOR UPDATE SKIP LOCKED
        )
        "#,
        created_before,
        BATCH_ROWS,
    )
    .execute(db)
    .await?;
    Ok(result.rows_affected())
}
