//! Which migrations a database has, whether this program works with it, and how it is brought up to date.

use std::time::{Duration, Instant};

use sqlx::PgExecutor;

use super::MIGRATIONS;
use crate::db::Pool;

/// `undefined_table`: nobody has migrated yet, or not for long.
const UNDEFINED_TABLE: &str = "42P01";

/// `lock_not_available`: somebody else has the table, or is migrating.
const LOCK_NOT_AVAILABLE: &str = "55P03";
/// How long a migration waits in all for the tables that it changes.
const MIGRATION_PATIENCE: Duration = Duration::from_mins(10);
/// How long the database may take to let a migration in.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
/// For how long others have the tables to themselves in between.
const MIGRATION_PAUSE: Duration = Duration::from_secs(1);

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
    #[error(
        "this database lacks migrations of this version, and database.migrate = false: run `riley-auth migrate` first"
    )]
    Behind,
    #[error(
        "this leads through a pooler that lends sessions for one transaction; name the database itself in database.direct_url"
    )]
    Pooler,
    #[error(transparent)]
    Migration(#[from] sqlx::migrate::MigrateError),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Looks at the schema.
pub async fn fit(db: impl PgExecutor<'_>) -> sqlx::Result<Fit> {
    let known: Vec<i64> = MIGRATIONS.iter().map(|migration| migration.version).collect();
    // Each by itself: numbers have gaps, and a gap may have been filled after a higher one was applied.
    let found = sqlx::query!(
        r#"
        SELECT (SELECT count(*)
                FROM unnest($1::bigint[]) AS k (version)
                WHERE NOT EXISTS (
                    SELECT FROM _sqlx_migrations m WHERE m.version = k.version AND m.success)) AS "missing!",
               (SELECT version FROM schema_minimum) AS "minimum!"
        "#,
        &known,
    );
    match found.fetch_one(db).await {
        Ok(found) => Ok(judge(found.missing, found.minimum, required_version())),
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(UNDEFINED_TABLE) => {
            Ok(Fit::Behind)
        }
        Err(error) => Err(error),
    }
}

/// `missing`: how many of our migrations the database does not have; `minimum`: what a program has to know at least; `known`:
/// the newest that this one knows.
fn judge(missing: i64, minimum: i64, known: i64) -> Fit {
    if minimum > known {
        Fit::TooNew
    } else if missing > 0 {
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

const OF_A_MIGRATION: super::Settings = &[
    ("statement_timeout", "0"),
    ("lock_timeout", "3s"),
    ("idle_in_transaction_session_timeout", "0"),
];

/// Applies the migrations that are missing; several instances that start at once wait for one another. Newer ones that are
/// there already are left alone. Migrations may take longer than requests, so they run on a connection without the pool's
/// time limits; but whoever needs a table waits behind a migration that waits for it, so that gives way after three seconds
/// and comes back (a backup that is under way reads every table), for ten minutes.
pub async fn migrate(pool: &Pool) -> Result<(), MigrateError> {
    use sqlx::Connection;
    require_sessions(pool).await?;
    let options = pool.connect_options();
    let connecting = sqlx::PgConnection::connect_with(&options);
    let mut connection = super::in_time(CONNECT_PATIENCE, connecting).await?;
    super::set(&mut connection, OF_A_MIGRATION).await?;
    if fit(&mut connection).await? == Fit::TooNew {
        return Err(MigrateError::TooNew);
    }
    let started = Instant::now();
    loop {
        match MIGRATIONS.run(&mut connection).await {
            Err(error) if waited_for_a_lock(&error) && started.elapsed() < MIGRATION_PATIENCE => {
                tracing::warn!("the tables to migrate are in use, the migration is tried again");
                tokio::time::sleep(MIGRATION_PAUSE).await;
            }
            result => {
                connection.close().await?;
                return Ok(result?);
            }
        }
    }
}

/// Refuses a way on which sessions are shared: what migrations and workers set in theirs would be met by somebody else.
pub async fn require_sessions(pool: &Pool) -> Result<(), MigrateError> {
    let options = pool.connect_options();
    let pooling = super::in_time(CONNECT_PATIENCE, super::inspection::pooling_once(&options)).await?;
    if pooling.shares_sessions {
        return Err(MigrateError::Pooler);
    }
    Ok(())
}

/// Each migration is a transaction of its own, so what was given up is not there in part.
fn waited_for_a_lock(error: &sqlx::migrate::MigrateError) -> bool {
    use sqlx::migrate::MigrateError::{Execute, ExecuteMigration};
    let (Execute(error) | ExecuteMigration(error, _)) = error else {
        return false;
    };
    let code = error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code);
    code.as_deref() == Some(LOCK_NOT_AVAILABLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expand, then contract: the program before a migration runs beside the one after it.
    #[test]
    fn a_newer_schema_fits_until_its_migrations_say_otherwise() {
        assert_eq!(judge(0, 1, 7), Fit::Fits);
        assert_eq!(judge(0, 7, 7), Fit::Fits);
        assert_eq!(judge(0, 8, 7), Fit::TooNew);
        assert_eq!(judge(1, 8, 7), Fit::TooNew);
        assert_eq!(judge(1, 1, 7), Fit::Behind);
        assert_eq!(judge(7, 1, 7), Fit::Behind);
    }
}
