//! The program under test, its database and its configuration.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, ensure};
use riley_auth::clock::Clock;
use riley_auth::config::webhooks::LEAST_STUCK_AFTER_SECS;
use riley_auth::db::{self, Pool};
use riley_auth::dev::database::DevDatabase;
use riley_auth::dev::postgres::PrivatePostgres;
use riley_auth::events::Event;
use riley_auth::protocol::ids::ClientId;

use tempfile::TempDir;

/// Seconds until a delivery that a killed process held is taken over: the least that the configuration takes.
pub(crate) const STUCK_AFTER_SECS: u64 = LEAST_STUCK_AFTER_SECS as u64;

/// Everything but a running process.
pub(crate) struct Program {
    binary: PathBuf,
    directory: TempDir,
    _database: DevDatabase,
    pub(crate) db: Pool,
    pub(crate) clock: Clock,
}

/// A running `serve`, killed with this value.
pub(crate) struct Process(Child);

impl Program {
    pub(crate) async fn prepare() -> anyhow::Result<Self> {
        let binary = std::env::var_os("RILEY_AUTH_BINARY")
            .map_or_else(|| PathBuf::from("target/release/riley-auth"), PathBuf::from);
        let binary = std::path::absolute(binary)?;
        ensure!(
            binary.is_file(),
            "{} is missing: cargo build --release",
            binary.display()
        );
        let postgres = tokio::task::spawn_blocking(PrivatePostgres::start_for_tests).await??;
        let database = DevDatabase::on_private(postgres).await?;
        let directory = tempfile::tempdir()?;
        let configuration = format!(
            r#"
[server]
port = 0
shutdown_grace_secs = 2
[database]
url = "{}"
secret_key = "a-secret-key-of-the-drills-0123456789"
[jwt]
issuer = "http://localhost:8081"
[webhooks]
allow_private_ips = true
max_attempts = 20
stuck_after_secs = {STUCK_AFTER_SECS}
[log]
level = "error"
"#,
            database.url()
        );
        std::fs::write(directory.path().join("riley-auth.toml"), configuration)?;
        let db = sqlx::PgPool::connect(database.url()).await?.into();
        let program = Self {
            binary,
            directory,
            _database: database,
            db,
            clock: Clock::default(),
        };
        program.run(&["generate-keys", "--prepend-to", "riley-auth.toml"])?;
        program.run(&["migrate"])?;
        Ok(program)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .args(arguments)
            .current_dir(self.directory.path())
            .env_clear()
            .env("HOME", self.directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let status = self.command(arguments).status()?;
        ensure!(status.success(), "riley-auth {} failed", arguments.join(" "));
        Ok(())
    }

    /// Registers a webhook for these events, as an operator does.
    pub(crate) fn register(&self, url: &str, events: &[&str]) -> anyhow::Result<()> {
        let mut arguments = vec!["register-webhook", "--url", url];
        for event in events {
            arguments.extend(["--event", event]);
        }
        self.run(&arguments)
    }

    pub(crate) fn serve(&self) -> anyhow::Result<Process> {
        Ok(Process(
            self.command(&["serve"]).spawn().context("serve does not start")?,
        ))
    }

    /// Commits events that were never told before: `client.created`, or `client.deleted`.
    pub(crate) async fn commit(&self, count: usize, deleted: bool) -> anyhow::Result<()> {
        let events: Vec<Event> = (0..count)
            .map(|_| {
                let client_id = ClientId(uuid::Uuid::new_v4().to_string());
                if deleted {
                    Event::ClientDeleted { client_id }
                } else {
                    Event::ClientCreated {
                        client_id,
                        name: "An app".to_owned(),
                    }
                }
            })
            .collect();
        let mut tx = self.db.begin().await?;
        db::events::emit(&mut tx, &events, self.clock.now()).await?;
        Ok(tx.commit().await?)
    }

    /// What this statement counts.
    pub(crate) async fn count(&self, sql: &'static str) -> anyhow::Result<i64> {
        Ok(sqlx::query_scalar(sql).fetch_one(&self.db).await?)
    }
}

impl Process {
    /// SIGKILL, and waits for its end.
    pub(crate) fn kill(mut self) -> anyhow::Result<()> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
