//! What an operator is shown for the id on an error page: `error_reports`.

use sqlx::PgExecutor;
use time::OffsetDateTime;

/// At most this many are kept; the oldest give way.
pub const MAX_KEPT: i64 = 10_000;

/// Keeps a report until `expires_at`.
pub async fn insert(
    db: impl PgExecutor<'_>,
    error_id: &str,
    report: &serde_json::Value,
    now: OffsetDateTime,
    expires_at: OffsetDateTime,
) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        WITH dropped AS (
            DELETE FROM error_reports
            WHERE error_id IN (
                SELECT error_id
                FROM error_reports
                ORDER BY created_at DESC
                OFFSET $5
                FOR UPDATE SKIP LOCKED
            )
        )
        INSERT INTO error_reports (error_id, report, created_at, expires_at)
        VALUES ($1, $2, $3, $4)
        "#,
        error_id,
        report,
        now,
        expires_at,
        MAX_KEPT - 1,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// The report of this id.
pub async fn find(db: impl PgExecutor<'_>, error_id: &str) -> sqlx::Result<Option<serde_json::Value>> {
    sqlx::query_scalar!("SELECT report FROM error_reports WHERE error_id = $1", error_id)
        .fetch_optional(db)
        .await
}
