//! Which migrations a database has, and which this program needs.

use sqlx::PgExecutor;

use super::MIGRATIONS;

/// The newest migration that has been applied; 0 if none.
pub async fn applied_version(db: impl PgExecutor<'_>) -> sqlx::Result<i64> {
    sqlx::query_scalar!(r#"SELECT coalesce(max(version), 0) AS "version!" FROM _sqlx_migrations WHERE success"#)
        .fetch_one(db)
        .await
}

/// The newest migration that this program knows.
pub fn required_version() -> i64 {
    MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0)
}
