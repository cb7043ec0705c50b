//! Programs of several versions over one database: who migrates, who goes on, who refuses.

use std::io::Read as _;
use std::time::{Duration, Instant};

use riley_auth::db::Pool;
use rustix::process::{Pid, Signal, kill_process};
use tokio::task::JoinSet;

use crate::common::database::TestDatabase;
use crate::common::process::PATIENCE;
use crate::common::{Answer, Directory, TestProvider};

/// A directory whose `serve` migrates an empty database.
async fn empty() -> (TestProvider, TestDatabase, Directory) {
    let op = TestProvider::start().await;
    let database = TestDatabase::create().await;
    let db = sqlx::PgPool::connect(&database.url).await.unwrap();
    // A database of the kit is a copy of one that is migrated.
    sqlx::raw_sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        .execute(&db)
        .await
        .unwrap();
    let migrations: Option<String> = sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations')::text")
        .fetch_one(&db)
        .await
        .unwrap();
    assert_eq!(migrations, None, "nobody has migrated yet");
    db.close().await;
    let own = op.configuration_text();
    let url = own
        .lines()
        .find_map(|line| line.trim().strip_prefix("url = \"")?.strip_suffix('"'))
        .unwrap();
    let directory = Directory::with_key(&own.replace(url, &database.url));
    (op, database, directory)
}

/// Every migration stands in the record once and succeeded.
async fn is_migrated_once(database: &TestDatabase) {
    let db = sqlx::PgPool::connect(&database.url).await.unwrap();
    let (rows, succeeded, versions): (i64, i64, i64) = sqlx::query_as(
        "SELECT count(*), count(*) FILTER (WHERE success), count(DISTINCT version) FROM _sqlx_migrations",
    )
    .fetch_one(&db)
    .await
    .unwrap();
    let ours = i64::try_from(riley_auth::db::MIGRATIONS.iter().count()).unwrap();
    assert_eq!((rows, succeeded, versions), (ours, ours, ours));
}

/// A migration that this program does not know has been applied, and asks for a program that knows migration `minimum`.
async fn migrated_by_a_newer_program(db: &Pool, minimum: i64) {
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
    is_migrated_once(&database).await;
}

/// A database to which all migrations but the last one that changes `oauth_links` are applied, and a transaction that keeps
/// that one from being done.
async fn held_up() -> (
    TestProvider,
    TestDatabase,
    Directory,
    sqlx::PgTransaction<'static>,
) {
    let (op, database, directory) = empty().await;
    let db = sqlx::PgPool::connect(&database.url).await.unwrap();
    let first: Vec<_> = riley_auth::db::MIGRATIONS
        .iter()
        .filter(|migration| migration.version < 18)
        .cloned()
        .collect();
    let migrator = sqlx::migrate::Migrator {
        migrations: first.into(),
        ..sqlx::migrate::Migrator::DEFAULT
    };
    migrator.run(&db).await.unwrap();
    let mut lock = db.begin().await.unwrap();
    sqlx::query("LOCK TABLE oauth_links IN ACCESS SHARE MODE")
        .execute(&mut *lock)
        .await
        .unwrap();
    (op, database, directory, lock)
}

/// Waits until somebody is in the middle of that migration.
async fn somebody_migrates(database: &TestDatabase) {
    let db = sqlx::PgPool::connect(&database.url).await.unwrap();
    let waiting = "SELECT count(*) FROM pg_stat_activity
                   WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%ALTER TABLE oauth_links%'";
    let deadline = Instant::now() + PATIENCE;
    while sqlx::query_scalar::<_, i64>(waiting)
        .fetch_one(&db)
        .await
        .unwrap()
        == 0
    {
        assert!(Instant::now() < deadline, "nobody migrates");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// RS-10: an instance that is killed in the middle of a migration leaves nothing half done, and the others finish.
#[tokio::test(flavor = "multi_thread")]
async fn a_migration_whose_instance_is_killed_is_finished_by_the_others() {
    let (op, database, directory, lock) = held_up().await;
    let mut killed = directory.begin(&["serve"]);
    somebody_migrates(&database).await;
    kill_process(Pid::from_child(&killed), Signal::KILL).unwrap();
    assert!(!killed.wait().unwrap().success());
    let directory = std::sync::Arc::new(directory);
    let mut starting = JoinSet::new();
    for _ in 0..4 {
        let directory = std::sync::Arc::clone(&directory);
        starting.spawn(async move { directory.serve().await });
    }
    lock.rollback().await.unwrap();
    for process in starting.join_all().await {
        op.served_at(process.address).get("/ready").await.is(200);
    }
    is_migrated_once(&database).await;
}

/// RS-7: whoever is told to end while it migrates ends in order, as the first process of a container, too; SIGHUP ends nobody.
#[tokio::test(flavor = "multi_thread")]
async fn sigterm_is_heard_during_a_migration() {
    let (_op, database, directory, lock) = held_up().await;
    let mut process = directory.begin(&["serve"]);
    somebody_migrates(&database).await;
    let signal = |signal| kill_process(Pid::from_child(&process), signal).unwrap();
    signal(Signal::HUP);
    tokio::time::sleep(Duration::from_millis(200)).await;
    signal(Signal::TERM);
    let deadline = Instant::now() + Duration::from_secs(5);
    let status = loop {
        if let Some(status) = process.try_wait().unwrap() {
            break status;
        }
        assert!(Instant::now() < deadline, "it goes on");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let mut log = String::new();
    process.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("stopped before it served"), "{log}");
    lock.rollback().await.unwrap();
    assert!(directory.run(&["migrate"]).status.success());
    is_migrated_once(&database).await;
}

/// Expand, then contract: during an upgrade both versions run side by side.
#[tokio::test(flavor = "multi_thread")]
async fn an_older_program_serves_on_a_schema_that_is_merely_newer() {
    let op = TestProvider::start().await;
    let directory = Directory::with_key(&op.configuration_text());
    sqlx::raw_sql(
        "ALTER TABLE users ADD COLUMN of_the_future text; ALTER TABLE grants ADD COLUMN of_the_future text DEFAULT 'x';
         ALTER TABLE sessions ADD COLUMN of_the_future int; ALTER TABLE refresh_tokens ADD COLUMN of_the_future int;
         CREATE TABLE of_the_future (user_id uuid REFERENCES users)",
    )
    .execute(op.db())
    .await
    .unwrap();
    migrated_by_a_newer_program(op.db(), 1).await;
    let process = directory.serve().await;
    let served = op.served_at(process.address);
    served.get("/ready").await.is(200);
    // The process has no upstream; the instance of the kit is the same program over the same schema.
    let app = op.client().await;
    let browser = op.signed_in("alice").await.at(&served);
    let app = app.at(&served);
    let granted = browser
        .authorize(&app)
        .scope("openid offline_access")
        .code()
        .await;
    let tokens = app.redeem(&granted).await.tokens();
    let tokens = app.refresh(tokens.refresh()).await.tokens();
    app.userinfo(&tokens.access_token).await.is(200);
    assert!(directory.run(&["migrate"]).status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_refuses_a_schema_whose_migrations_ask_for_a_newer_one() {
    let (op, database, directory) = empty().await;
    let process = directory.serve().await;
    let running = op.served_at(process.address);
    let db = Pool::from(sqlx::PgPool::connect(&database.url).await.unwrap());
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

/// RS-10: a program that may not migrate serves on no schema that lacks a migration, and says what is to be done; a database
/// that is away is waited for.
#[tokio::test(flavor = "multi_thread")]
async fn without_leave_to_migrate_a_schema_that_is_behind_is_refused() {
    let (_op, database, directory) = empty().await;
    directory.edit("[database]", "[database]\n        migrate = false");
    let refused_with = |directory: &Directory| {
        let refused = directory.run(&["serve"]);
        assert_eq!(refused.status.code(), Some(1));
        String::from_utf8_lossy(&refused.stderr).into_owned()
    };
    let said = refused_with(&directory);
    assert!(said.contains("run `riley-auth migrate`"), "{said}");
    assert!(directory.run(&["migrate"]).status.success());
    drop(directory.serve().await);

    let db = sqlx::PgPool::connect(&database.url).await.unwrap();
    sqlx::query("DELETE FROM _sqlx_migrations WHERE version = (SELECT max(version) FROM _sqlx_migrations)")
        .execute(&db)
        .await
        .unwrap();
    let said = refused_with(&directory);
    assert!(said.contains("run `riley-auth migrate`"), "{said}");

    directory.edit(&database.name, "nobody_has_this");
    directory.edit("acquire_timeout_secs = 30", "acquire_timeout_secs = 1");
    let process = directory.serve().await;
    assert!(process.log().contains("the database does not answer yet"));
}
