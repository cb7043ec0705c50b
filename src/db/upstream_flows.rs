//! Sign-ins under way at an upstream provider: `upstream_flows`. Only hashes and sealed data; a row is consumed once.

use sqlx::PgExecutor;
use time::OffsetDateTime;

use crate::protocol::opaque::TokenHash;

/// A login to be started.
pub struct NewFlow<'a> {
    pub state_hash: &'a TokenHash,
    pub browser_hash: &'a TokenHash,
    pub provider: &'a str,
    /// Opened by the state alone.
    pub sealed: &'a [u8],
    pub expires_at: OffsetDateTime,
}

/// A flow that has just been consumed. Whether it fits the callback is for the caller to say; it is gone in any case.
pub struct ConsumedFlow {
    pub provider: String,
    /// `login` or `link`.
    pub kind: String,
    pub sealed: Vec<u8>,
    /// A form_post answer, sealed under the state.
    pub posted: Option<Vec<u8>>,
    pub created_at: OffsetDateTime,
    pub expires_at: OffsetDateTime,
}

/// About this many may be under way in all; beyond it the oldest give way. Whoever shows no cookie is a new browser each
/// time, so a bound per browser alone bounds nothing.
pub const MAX_IN_ALL: i64 = 100_000;

/// Stores a login flow. Of this browser's flows only the newest `keep` stay, this one included, so that abandoned starts
/// never stand in the way of the next.
pub async fn insert_login(
    db: impl PgExecutor<'_>,
    flow: &NewFlow<'_>,
    keep: i64,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        WITH surplus AS (
            DELETE FROM upstream_flows
            WHERE state_hash IN (
                SELECT state_hash
                FROM upstream_flows
                WHERE browser_hash = $2
                ORDER BY created_at DESC, state_hash
                OFFSET $5::bigint - 1
            )
        )
        INSERT INTO upstream_flows (state_hash, browser_hash, provider, kind, sealed, created_at, expires_at)
        VALUES ($1, $2, $3, 'login', $4, $6, $7)
        "#,
        flow.state_hash as _,
        flow.browser_hash as _,
        flow.provider,
        flow.sealed,
        keep,
        now,
        flow.expires_at,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Deletes up to `batch_rows` of the oldest logins under way, beyond the newest `keep`.
pub async fn evict_surplus(db: impl PgExecutor<'_>, keep: i64, batch_rows: i64) -> sqlx::Result<u64> {
    let result = sqlx::query!(
        r#"
        DELETE FROM upstream_flows WHERE state_hash IN (
            SELECT state_hash
            FROM upstream_flows
            WHERE user_id IS NULL
              AND expires_at <= (
                  SELECT expires_at
                  FROM upstream_flows
                  WHERE user_id IS NULL
                  ORDER BY expires_at DESC
                  OFFSET $1
                  LIMIT 1)
            LIMIT $2
            FOR UPDATE SKIP LOCKED
        )
        "#,
        keep,
        batch_rows,
    )
    .execute(db)
    .await?;
    Ok(result.rows_affected())
}

/// Keeps a form_post answer for the GET that comes with the cookies. Only the first; whether there was a flow to keep it
/// for.
pub async fn store_posted(
    db: impl PgExecutor<'_>,
    state_hash: &TokenHash,
    provider: &str,
    posted: &[u8],
    now: OffsetDateTime,
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        r#"
        UPDATE upstream_flows
        SET posted = $3
        WHERE state_hash = $1
          AND provider = $2
          AND posted IS NULL
          AND expires_at > $4
        "#,
        state_hash as _,
        provider,
        posted,
        now,
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Takes the flow of this state out, if it is this browser's; `None` for whatever there never was, was used already, or is
/// somebody else's.
pub async fn consume(
    db: impl PgExecutor<'_>,
    state_hash: &TokenHash,
    browser_hash: &TokenHash,
) -> sqlx::Result<Option<ConsumedFlow>> {
    sqlx::query_as!(
        ConsumedFlow,
        r#"
        DELETE FROM upstream_flows
        WHERE state_hash = $1
          AND browser_hash = $2
        RETURNING provider, kind, sealed, posted, created_at, expires_at
        "#,
        state_hash as _,
        browser_hash as _,
    )
    .fetch_optional(db)
    .await
}
