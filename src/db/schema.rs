//! Which migrations a database has, whether this program works with it, and how it is brought up to date.

use sqlx::PgExecutor;

use super::MIGRATIONS;

/// `undefined_table`: nobody has migrated yet, or not for long.
const UNDEFINED_TABLE: &str = "42P01";

/// What this program makes of a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// Every migration of ours is applied; there may be newer ones that we can live with.
    Fits,
    /// Migrations are missing.
    Behind,
    /// A newer program has changed it in a way that we cannot live with.
    TooNew,
}

/// Why a database could not be brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    #[error(
        "a newer riley-auth has migrated this database in a way that this version does not understand; run that version, or restore the backup from before its migration"
    )]
    TooNew,
    #[error(transparent)]
    Migration(#[from] sqlx::migrate::MigrateError),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Looks at the schema.
pub async fn fit(db: impl PgExecutor<'_>) -> sqlx::Result<Fit> {
    let versions = sqlx::query!(
        r#"
        SELECT (SELECT coalesce(max(version), 0) FROM _sqlx_migrations WHERE success) AS "applied!",
               (SELECT version FROM schema_minimum) AS "minimum!"
        "#
    );
    match versions.fetch_one(db).await {
        Ok(versions) => Ok(judge(versions.applied, versions.minimum, required_version())),
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(UNDEFINED_TABLE) => {
            Ok(Fit::Behind)
        }
        Err(error) => Err(error),
    }
}

/// `applied`: the newest migration of the database; `minimum`: what a program has to know at least; `known`: the newest
/// that this one knows.
fn judge(applied: i64, minimum: i64, known: i64) -> Fit {
    if minimum > known {
        Fit::TooNew
    } else if applied < known {
        Fit::Behind
    } else {
        Fit::Fits
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

/// Applies the migrations that are missing; several instances that start at once wait for one another. Newer ones that are
/// there already are left alone. Migrations may take longer than requests, so they run on a connection without the pool's
/// time limits.
pub async fn migrate(pool: &sqlx::PgPool) -> Result<(), MigrateError> {
    use sqlx::Connection;
    let options = (*pool.connect_options()).clone().options([
        ("statement_timeout", "0"),
        ("lock_timeout", "0"),
        ("idle_in_transaction_session_timeout", "0"),
    ]);
    let mut connection = sqlx::PgConnection::connect_with(&options).await?;
    if fit(&mut connection).await? == Fit::TooNew {
        return Err(MigrateError::TooNew);
    }
    let result = MIGRATIONS.run(&mut connection).await;
    connection.close().await?;
    Ok(result?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expand, then contract: the program before a migration runs beside the one after it.
    #[test]
    fn a_newer_schema_fits_until_its_migrations_say_otherwise() {
        assert_eq!(judge(7, 1, 7), Fit::Fits);
        assert_eq!(judge(9, 1, 7), Fit::Fits);
        assert_eq!(judge(9, 7, 7), Fit::Fits);
        assert_eq!(judge(9, 8, 7), Fit::TooNew);
        assert_eq!(judge(6, 1, 7), Fit::Behind);
        assert_eq!(judge(0, 1, 7), Fit::Behind);
    }
}
