//! Which migrations a database has, and which this program needs.

use sqlx::PgExecutor;

use super::MIGRATIONS;

/// `undefined_table`: nobody has migrated yet.
const UNDEFINED_TABLE: &str = "42P01";

/// The newest migration that has been applied; 0 if none.
pub async fn applied_version(db: impl PgExecutor<'_>) -> sqlx::Result<i64> {
    let version = sqlx::query_scalar!(
        r#"SELECT coalesce(max(version), 0) AS "version!" FROM _sqlx_migrations WHERE success"#
    );
    match version.fetch_one(db).await {
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(UNDEFINED_TABLE) => Ok(0),
        version => version,
    }
}

/// The newest migration that this program knows.
pub fn required_version() -> i64 {
    MIGRATIONS
        .iter()
        .map(|migration| migration.version)
        .max()
        .unwrap_or(0)
}

/// Applies the migrations that are missing; several instances that start at once wait for one another. Migrations may take
/// longer than requests, so they run on a connection without the pool's time limits.
pub async fn migrate(pool: &sqlx::PgPool) -> Result<(), sqlx::migrate::MigrateError> {
    use sqlx::Connection;
    let options = (*pool.connect_options()).clone().options([
        ("statement_timeout", "0"),
        ("lock_timeout", "0"),
        ("idle_in_transaction_session_timeout", "0"),
    ]);
    let mut connection = sqlx::PgConnection::connect_with(&options).await?;
    let result = MIGRATIONS.run(&mut connection).await;
    connection.close().await?;
    result
}
