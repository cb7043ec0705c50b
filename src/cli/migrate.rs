//! `riley-auth migrate`: applies what is missing and says what it was.

use anyhow::Context as _;
use serde::Serialize;

use super::Global;
use crate::db::MIGRATIONS;
use crate::db::Pool;

#[derive(Serialize)]
struct Migrated {
    applied: Vec<Migration>,
}

#[derive(Serialize)]
struct Migration {
    version: i64,
    description: String,
}

pub(super) async fn run(global: &Global) -> anyhow::Result<()> {
    let (_, db) = global.database()?;
    let before = applied(&db).await.context("the database cannot be asked")?;
    crate::db::schema::migrate(&db)
        .await
        .context("the database cannot be migrated")?;
    let new = MIGRATIONS
        .iter()
        .filter(|migration| !before.contains(&migration.version));
    let applied = new
        .map(|migration| Migration {
            version: migration.version,
            description: migration.description.to_string(),
        })
        .collect();
    global.print(&Migrated { applied }, |migrated| {
        if migrated.applied.is_empty() {
            return "the database is up to date\n".to_owned();
        }
        let line =
            |migration: &Migration| format!("applied {:04} {}\n", migration.version, migration.description);
        migrated.applied.iter().map(line).collect()
    })
}

/// The versions that the database has; none when it has never been migrated.
pub(super) async fn applied(db: &Pool) -> sqlx::Result<Vec<i64>> {
    let exists: bool = sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL")
        .fetch_one(db)
        .await?;
    if !exists {
        return Ok(Vec::new());
    }
    sqlx::query_scalar("SELECT version FROM _sqlx_migrations WHERE success ORDER BY version")
        .fetch_all(db)
        .await
}
