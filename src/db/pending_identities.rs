//! Identities that an upstream has proved and that wait for their owner's decision: `pending_identities`.

use sqlx::{PgExecutor, PgTransaction};
use time::OffsetDateTime;

use crate::protocol::opaque::TokenHash;

/// A newcomer's identity to be kept until a username is picked.
pub struct NewSetup<'a> {
    pub handle_hash: &'a TokenHash,
    pub browser_hash: &'a TokenHash,
    /// Opened by the handle alone.
    pub sealed: &'a [u8],
    pub expires_at: OffsetDateTime,
}

/// Keeps a newcomer's identity; of this browser's others only the newest `keep` stay, this one included.
pub async fn insert_setup(
    db: impl PgExecutor<'_>,
    setup: &NewSetup<'_>,
    keep: i64,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        WITH surplus AS (
            DELETE FROM pending_identities
            WHERE handle_hash IN (
                SELECT handle_hash
                FROM pending_identities
                WHERE browser_hash = $2
                ORDER BY created_at DESC, handle_hash
                OFFSET $4::bigint - 1
            )
        )
        INSERT INTO pending_identities (handle_hash, browser_hash, kind, sealed, created_at, expires_at)
        VALUES ($1, $2, 'setup', $3, $5, $6)
        "#,
        setup.handle_hash as _,
        setup.browser_hash as _,
        setup.sealed,
        keep,
        now,
        setup.expires_at,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// What waits under this handle in this browser, sealed. Changes nothing.
pub async fn find_setup(
    db: impl PgExecutor<'_>,
    handle_hash: &TokenHash,
    browser_hash: &TokenHash,
    now: OffsetDateTime,
) -> sqlx::Result<Option<Vec<u8>>> {
    sqlx::query_scalar!(
        r#"
        SELECT sealed
        FROM pending_identities
        WHERE handle_hash = $1
          AND browser_hash = $2
          AND kind = 'setup'
          AND expires_at > $3
        "#,
        handle_hash as _,
        browser_hash as _,
        now,
    )
    .fetch_optional(db)
    .await
}

/// Takes it out. A transaction that fails afterwards gives it back, so that a refused username costs nothing; two at once
/// wait for each other, and the second finds nothing.
pub async fn consume_setup(
    tx: &mut PgTransaction<'_>,
    handle_hash: &TokenHash,
    browser_hash: &TokenHash,
    now: OffsetDateTime,
) -> sqlx::Result<Option<Vec<u8>>> {
    sqlx::query_scalar!(
        r#"
        DELETE FROM pending_identities
        WHERE handle_hash = $1
          AND browser_hash = $2
          AND kind = 'setup'
          AND expires_at > $3
        RETURNING sealed
        "#,
        handle_hash as _,
        browser_hash as _,
        now,
    )
    .fetch_optional(&mut **tx)
    .await
}
