//! Programs of several versions over one database: who migrates, who goes on, who refuses.

use tokio::task::JoinSet;

use crate::common::database::TestDatabase;
use crate::common::{Answer, Directory, TestProvider};

/// A directory whose `serve` migrates an empty database.
async fn empty() -> (TestProvider, TestDatabase, Directory) {
    let op = TestProvider::start().await;
    let database = TestDatabase::create().await;
    let own = op.configuration_text();
    let url = own
        .lines()
        .find_map(|line| line.trim().strip_prefix("url = \"")?.strip_suffix('"'))
        .unwrap();
    let directory = Directory::with_key(&own.replace(url, &database.url));
    (op, database, directory)
}

/// A migration that this program does not know has been applied, and asks for a program that knows migration `minimum`.
async fn migrated_by_a_newer_program(db: &sqlx::PgPool, minimum: i64) {
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (9999, 'of the future', true, '', 0)",
    )
    .execute(db)
    .await
    .unwrap();
    sqlx::query("UPDATE schema_minimum SET version = $1")
        .bind(minimum)
        .execute(db)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn five_instances_that_start_at_once_migrate_once_and_all_serve() {
    let (op, database, directory) = empty().await;
    let directory = std::sync::Arc::new(directory);
    let mut starting = JoinSet::new();
    for _ in 0..5 {
        let directory = std::sync::Arc::clone(&directory);
        starting.spawn(async move { directory.serve().await });
    }
    for process in starting.join_all().await {
        op.served_at(process.address).get("/ready").await.is(200);
    }
    let db = sqlx::PgPool::connect(&database.url).await.unwrap();
    let (rows, versions): (i64, i64) =
        sqlx::query_as("SELECT count(*), count(DISTINCT version) FROM _sqlx_migrations WHERE success")
            .fetch_one(&db)
            .await
            .unwrap();
    assert_eq!(rows, versions);
    assert_eq!(
        usize::try_from(rows).unwrap(),
        riley_auth::db::MIGRATIONS.iter().count()
    );
}

/// Expand, then contract: during an upgrade both versions run side by side.
#[tokio::test(flavor = "multi_thread")]
async fn an_older_program_serves_on_a_schema_that_is_merely_newer() {
    let (op, database, directory) = empty().await;
    drop(directory.serve().await);
    let db = sqlx::PgPool::connect(&database.url).await.unwrap();
    migrated_by_a_newer_program(&db, 1).await;
    let process = directory.serve().await;
    op.served_at(process.address).get("/ready").await.is(200);
    assert!(directory.run(&["migrate"]).status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_refuses_a_schema_whose_migrations_ask_for_a_newer_one() {
    let (op, database, directory) = empty().await;
    let process = directory.serve().await;
    let running = op.served_at(process.address);
    let db = sqlx::PgPool::connect(&database.url).await.unwrap();
    migrated_by_a_newer_program(&db, 9999).await;

    let unready: Answer = running.get("/ready").await;
    assert_eq!(
        unready.is(503).json()["reason"],
        "the database needs a newer version of this program"
    );
    for arguments in [&["serve"][..], &["migrate"]] {
        let refused = directory.run(arguments);
        assert_eq!(refused.status.code(), Some(1), "{arguments:?}");
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(said.contains("a newer riley-auth"), "{said}");
    }
    directory.edit("[database]", "[database]\n        migrate = false");
    let refused = directory.run(&["serve"]);
    assert_eq!(refused.status.code(), Some(1));
}
