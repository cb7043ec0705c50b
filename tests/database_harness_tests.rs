//! The private PostgreSQL of `riley-auth dev` and of the tests themselves: it starts by itself, keeps what it should,
//! leaves nothing behind, and never touches what is not its own.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it like the test itself"
)]

#[path = "common/database.rs"]
mod database;

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use database::{PREFIX, TestDatabase};
use riley_auth::dev::database::{DevDatabase, choose_database};
use riley_auth::dev::postgres::PrivatePostgres;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection, Executor};
use tempfile::TempDir;

/// Selects what a copy of this program does that a test starts in order to kill it.
const HOLD: &str = "RILEY_AUTH_TEST_HOLD";

async fn connect(url: &str) -> PgConnection {
    PgConnection::connect(url).await.expect("the database answers")
}

async fn run(url: &str, statement: &str) {
    let mut connection = connect(url).await;
    connection
        .execute(AssertSqlSafe(statement.to_owned()))
        .await
        .expect("the statement runs");
    connection.close().await.unwrap();
}

async fn table_exists(url: &str, table: &str) -> bool {
    let mut connection = connect(url).await;
    let query = sqlx::query_scalar("select to_regclass($1) is not null").bind(table);
    query.fetch_one(&mut connection).await.unwrap()
}

async fn database_exists(url: &str, name: &str) -> bool {
    let mut connection = connect(url).await;
    let query = sqlx::query_scalar("select exists (select from pg_database where datname = $1)").bind(name);
    query.fetch_one(&mut connection).await.unwrap()
}

/// A directory that the account which runs PostgreSQL can enter, also when we are root.
fn reachable_directory() -> TempDir {
    let directory = tempfile::Builder::new()
        .prefix("riley-auth-dev-")
        .tempdir_in("/tmp")
        .unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
    directory
}

/// A running process, as opposed to one that has ended and is not yet collected.
fn is_alive(pid: u32) -> bool {
    let output = Command::new("ps")
        .args(["-o", "stat=", "-p", &pid.to_string()])
        .output()
        .expect("ps is installed");
    let state = String::from_utf8(output.stdout).unwrap();
    !state.trim().is_empty() && !state.trim().starts_with('Z')
}

/// Waits for what another process does by itself, where no clock of ours can be advanced.
fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Tells the parent where our server is, then waits to be killed.
fn hold(server: &PrivatePostgres) -> ! {
    println!(
        "\nholding {} {}",
        server.server_pid().unwrap(),
        server.directory().display()
    );
    loop {
        std::thread::park();
    }
}

fn holder_command(test: &str, value: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", test, "--nocapture"])
        .env(HOLD, value)
        .stdout(Stdio::piped());
    command
}

/// Starts `test` of this very program with [`HOLD`] set. Gives the process, the server's process id and its directory.
fn start_holder(test: &str, value: &Path) -> (Child, u32, String) {
    let mut holder = holder_command(test, value).spawn().unwrap();
    let mut lines = BufReader::new(holder.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok);
    let told = lines.find_map(|line| line.strip_prefix("holding ").map(str::to_owned));
    let told = told.expect("the copy tells where its server is");
    let (pid, directory) = told.split_once(' ').unwrap();
    (holder, pid.parse().unwrap(), directory.to_owned())
}

#[tokio::test]
async fn a_clone_is_migrated_and_shares_nothing_with_another() {
    let (one, other) = tokio::join!(TestDatabase::create(), TestDatabase::create());
    assert!(one.name.starts_with(PREFIX) && other.name.starts_with(PREFIX));
    run(&one.url, "create table only_here ()").await;
    assert!(table_exists(&one.url, "only_here").await);
    assert!(table_exists(&one.url, "users").await);
    assert!(table_exists(&other.url, "users").await);
    assert!(!table_exists(&other.url, "only_here").await);
}

#[tokio::test]
async fn a_dropped_test_database_is_gone_even_with_connections_open() {
    let (kept, dropped) = (TestDatabase::create().await, TestDatabase::create().await);
    let _open = connect(&dropped.url).await;
    let name = dropped.name.clone();
    drop(dropped);
    let deadline = Instant::now() + Duration::from_secs(20);
    while database_exists(&kept.url, &name).await {
        assert!(Instant::now() < deadline, "the database is dropped");
    }
}

#[test]
fn a_hundred_tests_can_clone_at_once_each_on_a_runtime_of_its_own() {
    let threads: Vec<_> = (0..100)
        .map(|_| {
            std::thread::spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap();
                runtime.block_on(async {
                    let database = TestDatabase::create().await;
                    assert!(table_exists(&database.url, "users").await);
                    database.name.clone()
                })
            })
        })
        .collect();
    let names: std::collections::HashSet<_> =
        threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert_eq!(names.len(), 100);
}

#[test]
fn a_killed_test_process_leaves_no_server_and_no_directory() {
    if std::env::var_os(HOLD).is_some() {
        hold(&PrivatePostgres::start_for_tests().unwrap());
    }
    let test = "a_killed_test_process_leaves_no_server_and_no_directory";
    let (mut holder, pid, directory) = start_holder(test, Path::new("yes"));
    assert!(is_alive(pid) && Path::new(&directory).is_dir());
    holder.kill().unwrap();
    holder.wait().unwrap();
    eventually("the server stops", || !is_alive(pid));
    eventually("its directory goes", || !Path::new(&directory).exists());
}

#[tokio::test]
async fn a_test_server_asks_for_its_password_and_listens_on_loopback_only() {
    let server = PrivatePostgres::start_for_tests().unwrap();
    let url = server.url("postgres");
    let mut without = url::Url::parse(&url).unwrap();
    without.set_password(Some("guessed")).unwrap();
    assert!(PgConnection::connect(without.as_str()).await.is_err());
    let mut connection = connect(&url).await;
    let settings: (String, String, String) = sqlx::query_as(
        "select current_setting('listen_addresses'), current_setting('unix_socket_directories'),
            current_setting('server_encoding')",
    )
    .fetch_one(&mut connection)
    .await
    .unwrap();
    assert_eq!(
        settings,
        ("127.0.0.1".to_owned(), String::new(), "UTF8".to_owned())
    );
    let debug = format!("{server:?}");
    assert!(
        !debug.contains(url::Url::parse(&url).unwrap().password().unwrap()),
        "{debug}"
    );
    let directory = server.directory().to_owned();
    let mode = std::fs::metadata(&directory).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    assert!(!directory.join("password").exists());
    server.stop().await.unwrap();
    assert!(!directory.exists());
}

#[tokio::test]
async fn development_data_and_its_url_outlive_a_restart_and_fresh_empties_it() {
    let parent = reachable_directory();
    let dir = parent.path().join("dev");
    let first = PrivatePostgres::start_for_dev_in(&dir, false).await.unwrap();
    let (url, pid) = (first.url("postgres"), first.server_pid().unwrap());
    run(&url, "create table kept ()").await;
    first.stop().await.unwrap();
    assert!(!is_alive(pid));

    let second = PrivatePostgres::start_for_dev_in(&dir, false).await.unwrap();
    assert_eq!(second.url("postgres"), url);
    assert!(table_exists(&url, "kept").await);
    drop(second);

    let third = PrivatePostgres::start_for_dev_in(&dir, true).await.unwrap();
    assert!(!table_exists(&third.url("postgres"), "kept").await);
    assert_ne!(
        third.url("postgres"),
        url,
        "a new password comes with the new data"
    );
}

#[tokio::test]
async fn a_second_dev_on_the_same_directory_is_refused_and_does_no_harm() {
    let parent = reachable_directory();
    let dir = parent.path().join("dev");
    let first = PrivatePostgres::start_for_dev_in(&dir, false).await.unwrap();
    for fresh in [false, true] {
        let refused = PrivatePostgres::start_for_dev_in(&dir, fresh)
            .await
            .unwrap_err()
            .to_string();
        assert!(
            refused.contains("another `riley-auth dev` is running"),
            "{refused}"
        );
    }
    assert!(!table_exists(&first.url("postgres"), "nothing").await);
}

#[test]
fn a_killed_dev_leaves_no_server_and_its_data_is_taken_up_again() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    if let Some(dir) = std::env::var_os(HOLD) {
        let server = runtime
            .block_on(PrivatePostgres::start_for_dev_in(Path::new(&dir), false))
            .unwrap();
        runtime.block_on(run(&server.url("postgres"), "create table kept ()"));
        hold(&server);
    }
    let parent = reachable_directory();
    let dir = parent.path().join("dev");
    let (mut holder, pid, _) = start_holder(
        "a_killed_dev_leaves_no_server_and_its_data_is_taken_up_again",
        &dir,
    );
    holder.kill().unwrap();
    holder.wait().unwrap();
    // At once, while the old server may still be stopping.
    let server = runtime
        .block_on(PrivatePostgres::start_for_dev_in(&dir, false))
        .unwrap();
    assert!(!is_alive(pid));
    assert!(runtime.block_on(table_exists(&server.url("postgres"), "kept")));
}

#[test]
fn a_dev_killed_while_it_makes_its_data_can_be_started_again_at_once() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    if let Some(dir) = std::env::var_os(HOLD) {
        hold(
            &runtime
                .block_on(PrivatePostgres::start_for_dev_in(Path::new(&dir), false))
                .unwrap(),
        );
    }
    let parent = reachable_directory();
    let dir = parent.path().join("dev");
    let test = "a_dev_killed_while_it_makes_its_data_can_be_started_again_at_once";
    let mut holder = holder_command(test, &dir).spawn().unwrap();
    eventually("the data is being made", || dir.join("server/data.new").exists());
    holder.kill().unwrap();
    holder.wait().unwrap();
    assert!(!dir.join("server/data").exists(), "it was killed in time");
    let server = runtime
        .block_on(PrivatePostgres::start_for_dev_in(&dir, false))
        .unwrap();
    assert!(!runtime.block_on(table_exists(&server.url("postgres"), "nothing")));
    assert!(!dir.join("server/data/data.new").exists());
}

#[test]
fn a_server_whose_supervisor_was_killed_too_is_taken_over() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    if let Some(dir) = std::env::var_os(HOLD) {
        hold(
            &runtime
                .block_on(PrivatePostgres::start_for_dev_in(Path::new(&dir), false))
                .unwrap(),
        );
    }
    let parent = reachable_directory();
    let dir = parent.path().join("dev");
    let (mut holder, pid, _) = start_holder("a_server_whose_supervisor_was_killed_too_is_taken_over", &dir);
    let output = Command::new("ps")
        .args(["-o", "ppid=,pgid=", "-p", &pid.to_string()])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let (supervisor, group) = said.trim().split_once(' ').unwrap();
    assert_eq!(
        supervisor,
        group.trim(),
        "the supervisor leads a process group of its own"
    );
    // The supervisor, and its part that watches the pipe.
    let watchers = Command::new("pgrep")
        .args(["-P", supervisor, "sh"])
        .output()
        .unwrap();
    let watchers = String::from_utf8(watchers.stdout).unwrap();
    for victim in std::iter::once(supervisor).chain(watchers.split_whitespace()) {
        assert!(
            Command::new("kill")
                .args(["-KILL", victim])
                .status()
                .unwrap()
                .success()
        );
    }
    holder.kill().unwrap();
    holder.wait().unwrap();
    assert!(is_alive(pid), "nobody is left to stop it");
    let server = runtime
        .block_on(PrivatePostgres::start_for_dev_in(&dir, false))
        .unwrap();
    assert!(!is_alive(pid));
    assert_ne!(server.server_pid().unwrap(), pid);
}

#[tokio::test]
async fn devs_own_database_is_made_once_and_found_again() {
    let parent = reachable_directory();
    let dir = parent.path().join("dev");
    let server = PrivatePostgres::start_for_dev_in(&dir, false).await.unwrap();
    let database = DevDatabase::on_private(server).await.unwrap();
    assert_eq!(database.directory(), Some(dir.as_path()));
    run(database.url(), "create table kept ()").await;
    database.stop().await.unwrap();

    let server = PrivatePostgres::start_for_dev_in(&dir, false).await.unwrap();
    let database = DevDatabase::on_private(server).await.unwrap();
    assert!(table_exists(database.url(), "kept").await);
}

#[tokio::test]
async fn fresh_wipes_no_directory_without_the_mark() {
    let directory = reachable_directory();
    std::fs::write(directory.path().join("thesis.tex"), "years").unwrap();
    let refused = PrivatePostgres::start_for_dev_in(directory.path(), true)
        .await
        .unwrap_err()
        .to_string();
    assert!(refused.contains("did not make"), "{refused}");
    assert!(directory.path().join("thesis.tex").is_file());
}

#[tokio::test]
async fn dev_refuses_a_foreign_database_with_content() {
    let foreign = TestDatabase::create().await;
    let refused = choose_database(Some(&foreign.url), false)
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(
        refused.contains("not empty") && refused.contains("unset DATABASE_URL"),
        "{refused}"
    );
    assert!(!table_exists(&foreign.url, "riley_auth_dev_mark").await);
}

#[tokio::test]
async fn dev_takes_an_empty_database_and_knows_it_again_by_its_mark() {
    let database = TestDatabase::create().await;
    run(&database.url, "drop schema public cascade; create schema public").await;
    choose_database(Some(&database.url), false).await.unwrap();
    run(&database.url, "create table anything ()").await;
    let chosen = choose_database(Some(&database.url), false).await.unwrap();
    assert_eq!(chosen.url(), database.url);
    assert!(chosen.directory().is_none());
}

#[tokio::test]
async fn a_single_function_or_type_makes_a_database_not_empty() {
    for thing in [
        "create function f() returns int language sql return 1",
        "create type t as enum ('a')",
    ] {
        let database = TestDatabase::create().await;
        run(&database.url, "drop schema public cascade; create schema public").await;
        run(&database.url, thing).await;
        assert!(
            choose_database(Some(&database.url), false).await.is_err(),
            "{thing}"
        );
    }
}

#[tokio::test]
async fn fresh_never_touches_the_database_of_database_url() {
    let database = TestDatabase::create().await;
    run(&database.url, "drop schema public cascade; create schema public").await;
    choose_database(Some(&database.url), false).await.unwrap();
    let refused = choose_database(Some(&database.url), true)
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(refused.contains("--fresh never touches"), "{refused}");
    assert!(table_exists(&database.url, "riley_auth_dev_mark").await);
}

#[tokio::test]
async fn a_malformed_database_url_is_refused_without_being_repeated() {
    let refused = choose_database(Some("postgres://u:hunter2@:::/x"), false)
        .await
        .err()
        .unwrap();
    assert!(!format!("{refused:#}").contains("hunter2"));
}

#[test]
fn a_pg_bin_that_holds_no_postgresql_is_refused_by_name() {
    if std::env::var_os(HOLD).is_some() {
        let refused = PrivatePostgres::start_for_tests().unwrap_err().to_string();
        assert!(refused.contains("PG_BIN"), "{refused}");
        return;
    }
    let test = "a_pg_bin_that_holds_no_postgresql_is_refused_by_name";
    let empty = reachable_directory();
    let mut copy = holder_command(test, Path::new("yes"));
    let output = copy.env("PG_BIN", empty.path()).output().unwrap();
    assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains("1 passed"));
}
