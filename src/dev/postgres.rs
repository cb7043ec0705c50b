//! A private PostgreSQL that needs nothing configured, for `riley-auth dev` and for the tests.
//!
//! It runs the programs installed on the machine, listens on 127.0.0.1 alone, and asks for a random password, since
//! every local user can reach a loopback port. A small shell process supervises it and stops it when this process ends,
//! however it ends. What keeps the development directory ours is `directory`; which account runs the server, `account`.

mod account;
mod binaries;
mod directory;

use std::fs::File;
use std::io::Read;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};

use account::Account;
use directory::{Connection, DevDirectory};

pub use directory::default_dev_directory;
pub(super) use directory::write_private;

const SUPERVISE: &str = include_str!("postgres/supervise.sh");

/// The server's only role; `supervise.sh` creates it.
const ROLE: &str = "riley_auth";

/// Settings of every private server. No socket: the path of one has a length limit that a home directory can exceed.
const SETTINGS: &[&str] = &[
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "max_connections=300",
    "timezone=UTC",
    "jit=off",
];

/// Settings of a server whose data is thrown away: nothing needs to survive a crash of the machine.
const DISPOSABLE_SETTINGS: &[&str] = &[
    // Within the data directory, so that it goes with it.
    "dynamic_shared_memory_type=mmap",
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "wal_level=minimal",
    "max_wal_senders=0",
    "shared_buffers=32MB",
    "min_wal_size=32MB",
    "max_wal_size=64MB",
    "autovacuum=off",
];

/// Linux's file system in memory, and how much of it must be free: some two hundred databases. Containers often have 64 MB.
const MEMORY: &str = "/dev/shm";
const MEMORY_NEEDED_BYTES: u64 = 2 << 30;

/// How long a server may take to come up. Recovery after a power cut replays its log first.
const START_LIMIT: Duration = Duration::from_mins(2);
const STOP_LIMIT: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Another process may take a free port before the server does; then the next one is tried.
const PORT_ATTEMPTS: u32 = 5;

/// A running server. It stops when this value is dropped or when this process ends.
pub struct PrivatePostgres {
    supervisor: Child,
    connection: Connection,
    account: Account,
    bin: PathBuf,
    /// Holds `data/` and `log`.
    home: PathBuf,
    /// Kept locked until the server has stopped; `None` in tests.
    dev_directory: Option<DevDirectory>,
}

impl std::fmt::Debug for PrivatePostgres {
    /// Without the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PrivatePostgres")
            .field("port", &self.connection.port)
            .field("home", &self.home)
            .finish_non_exhaustive()
    }
}

impl PrivatePostgres {
    /// Starts the server of `riley-auth dev` in its usual directory, [`default_dev_directory`]. Its data, port and
    /// password outlive a restart; `fresh` throws them away first.
    ///
    /// Fails when another `riley-auth dev` runs, when the directory is not ours, and when no PostgreSQL is installed.
    pub async fn start_for_dev(fresh: bool) -> anyhow::Result<Self> {
        Self::start_for_dev_in(&default_dev_directory()?, fresh).await
    }

    /// As [`Self::start_for_dev`], in another directory: a new one, an empty one, or one that this function made.
    /// For root it must lie where an unprivileged account can reach it.
    pub async fn start_for_dev_in(dir: &Path, fresh: bool) -> anyhow::Result<Self> {
        let dir = dir.to_owned();
        tokio::task::spawn_blocking(move || start_persistent(&dir, fresh)).await?
    }

    /// Starts a server with nothing in it, whose directory vanishes with it. Blocks for about a second.
    pub fn start_for_tests() -> anyhow::Result<Self> {
        let bin = binaries::find()?;
        let account = Account::choose()?;
        retry_on_port(|| {
            let connection = Connection {
                port: free_port()?,
                password: random_hex()?,
            };
            let home = temporary_home(account)?;
            start(bin.clone(), account, home, connection, None)
        })
    }

    /// The URL of a database on this server, password included: not for logs.
    pub fn url(&self, database: &str) -> String {
        let Connection { port, password } = &self.connection;
        format!("postgres://{ROLE}:{password}@127.0.0.1:{port}/{database}?sslmode=disable")
    }

    /// The directory that is kept between starts; in tests, the one that vanishes.
    pub fn directory(&self) -> &Path {
        self.dev_directory.as_ref().map_or(&self.home, DevDirectory::path)
    }

    /// The process id of the server; `None` once it has stopped.
    pub fn server_pid(&self) -> Option<u32> {
        PidFile::read(&self.home).map(|file| file.pid)
    }

    /// Stops the server in order and waits until it is gone.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        tokio::task::spawn_blocking(move || self.shut_down()).await?
    }

    /// Closes the supervisor's standard input, its sign to stop the server, and waits for both. Harmless when repeated.
    fn shut_down(&mut self) -> anyhow::Result<()> {
        drop(self.supervisor.stdin.take());
        let deadline = Instant::now() + STOP_LIMIT;
        while self.supervisor.try_wait()?.is_none() {
            if Instant::now() > deadline {
                bail!(
                    "the private PostgreSQL did not stop within {} seconds",
                    STOP_LIMIT.as_secs()
                );
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        // Only a supervisor that was itself killed leaves anything to do here.
        stop_leftover(&self.bin, self.account, &self.home)?;
        if self.dev_directory.is_none() && self.home.exists() {
            std::fs::remove_dir_all(&self.home)?;
        }
        Ok(())
    }
}

impl Drop for PrivatePostgres {
    fn drop(&mut self) {
        if let Err(error) = self.shut_down() {
            tracing::warn!(
                error = format!("{error:#}"),
                "the private PostgreSQL was not stopped in order"
            );
        }
    }
}

fn start_persistent(dir: &Path, fresh: bool) -> anyhow::Result<PrivatePostgres> {
    let bin = binaries::find()?;
    let account = Account::choose()?;
    let mut directory = Some(DevDirectory::open(dir)?);
    retry_on_port(|| {
        let directory = match directory.take() {
            Some(directory) => directory,
            None => DevDirectory::open(dir)?,
        };
        let home = directory.server();
        let supervisor_lock = directory.lock_for_supervisor()?;
        // Only a supervisor that was killed leaves its server running.
        stop_leftover(&bin, account, &home)?;
        if fresh {
            directory.wipe()?;
        }
        let connection = settle_connection(&directory)?;
        prepare_home(&home, account)?;
        require_same_version(&bin, &home)?;
        start(
            bin.clone(),
            account,
            home,
            connection,
            Some((directory, supervisor_lock)),
        )
    })
}

/// The kept port and password, made at the first start. A port that somebody else took meanwhile is replaced.
fn settle_connection(directory: &DevDirectory) -> anyhow::Result<Connection> {
    let kept = directory.connection()?;
    if kept.is_none() && directory.server().join("data").exists() {
        bail!(
            "{} has data but no password for it; start once with --fresh",
            directory.path().display()
        );
    }
    if let Some(connection) = &kept
        && TcpListener::bind((Ipv4Addr::LOCALHOST, connection.port)).is_ok()
    {
        return Ok(connection.clone());
    }
    let password = kept.map_or_else(random_hex, |connection| Ok(connection.password))?;
    let connection = Connection {
        port: free_port()?,
        password,
    };
    directory.keep_connection(&connection)?;
    Ok(connection)
}

/// Data of one major version cannot be read by another.
fn require_same_version(bin: &Path, home: &Path) -> anyhow::Result<()> {
    let Ok(made_by) = std::fs::read_to_string(home.join("data/PG_VERSION")) else {
        return Ok(());
    };
    let (made_by, installed) = (made_by.trim(), binaries::major_version(bin)?);
    if made_by != installed.to_string() {
        bail!(
            "the development data was made by PostgreSQL {made_by}, and {} holds version {installed}; set PG_BIN to \
             the programs of version {made_by}, or start once with --fresh",
            bin.display()
        );
    }
    Ok(())
}

/// Runs the supervisor and waits until the server takes connections.
fn start(
    bin: PathBuf,
    account: Account,
    home: PathBuf,
    connection: Connection,
    kept: Option<(DevDirectory, File)>,
) -> anyhow::Result<PrivatePostgres> {
    if !home.join("data").exists() {
        let password_file = home.join("password");
        directory::write_private(&password_file, connection.password.as_bytes())?;
        account.give(&password_file)?;
    }
    let (dev_directory, supervisor_lock) = kept.unzip();
    let supervisor = supervise(&bin, account, &home, connection.port, supervisor_lock)?;
    let mut postgres = PrivatePostgres {
        supervisor,
        connection,
        account,
        bin,
        home,
        dev_directory,
    };
    wait_until_ready(&mut postgres)?;
    // Whatever the supervisor writes later has no reader.
    drop(postgres.supervisor.stderr.take());
    Ok(postgres)
}

/// Starts the supervisor. It holds `lock`, that of data which is kept, as its standard output until it ends; without
/// one the data is thrown away.
fn supervise(
    bin: &Path,
    account: Account,
    home: &Path,
    port: u16,
    lock: Option<File>,
) -> anyhow::Result<Child> {
    let (afterwards, extra, stdout) = match lock {
        Some(lock) => ("keep", [].as_slice(), Stdio::from(lock)),
        None => ("remove", DISPOSABLE_SETTINGS, Stdio::null()),
    };
    let mut command = Command::new("sh");
    command
        .args(["-c", SUPERVISE, "riley-auth-postgres-supervisor"])
        .arg(bin)
        .arg(home)
        .arg(afterwards);
    for setting in SETTINGS.iter().chain(extra) {
        command.args(["-c", setting]);
    }
    command.args(["-c", &format!("port={port}")]);
    clean_environment(&mut command);
    account.run_as(&mut command);
    command
        .current_dir("/")
        // Out of the terminal's foreground group: Ctrl-C is ours to handle, and must not kill the supervisor.
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(stdout)
        .stderr(Stdio::piped())
        .spawn()
        .context("start the supervisor of the private PostgreSQL")
}

/// Variables such as PGDATA and PGOPTIONS, and the language of messages, are not to reach the server.
fn clean_environment(command: &mut Command) {
    command.env_clear().env("LC_ALL", "C").env("TZ", "UTC");
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
}

fn wait_until_ready(postgres: &mut PrivatePostgres) -> anyhow::Result<()> {
    let deadline = Instant::now() + START_LIMIT;
    loop {
        if PidFile::read(&postgres.home).is_some_and(|file| file.ready) {
            return Ok(());
        }
        if postgres.supervisor.try_wait()?.is_some() {
            let mut said = String::new();
            if let Some(mut stderr) = postgres.supervisor.stderr.take() {
                stderr.read_to_string(&mut said)?;
            }
            bail!(
                "the private PostgreSQL did not start; it said:\n{}",
                said.trim_end()
            );
        }
        if Instant::now() > deadline {
            bail!(
                "the private PostgreSQL was not ready within {} seconds",
                START_LIMIT.as_secs()
            );
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// What PostgreSQL writes into `postmaster.pid`: its process id in the first line, its status in the eighth.
struct PidFile {
    pid: u32,
    ready: bool,
}

impl PidFile {
    /// `None` when no server has run here, or the last one has gone in order.
    fn read(home: &Path) -> Option<Self> {
        let text = std::fs::read_to_string(home.join("data/postmaster.pid")).ok()?;
        let pid = text.lines().next()?.trim().parse().ok()?;
        Some(Self {
            pid,
            ready: text.lines().nth(7).is_some_and(|status| status.trim() == "ready"),
        })
    }
}

/// Stops the server that an earlier process left running in `home`, and clears away the pid file of a dead one.
fn stop_leftover(bin: &Path, account: Account, home: &Path) -> anyhow::Result<()> {
    let Some(file) = PidFile::read(home) else {
        return Ok(());
    };
    // After a crash of the machine the number may belong to anybody: only a process that names our data is signalled.
    if is_server_of(file.pid, home) {
        let mut stop = Command::new(bin.join("pg_ctl"));
        stop.args(["stop", "--mode=fast", "--wait", "--pgdata"])
            .arg(home.join("data"));
        clean_environment(&mut stop);
        account.run_as(&mut stop);
        // It also fails when the server ends by itself at this moment, which is as good.
        let output = stop.current_dir("/").output().context("run pg_ctl")?;
        if is_server_of(file.pid, home) {
            bail!(
                "the PostgreSQL left over from an earlier start (process {}) did not stop: {}",
                file.pid,
                String::from_utf8_lossy(&output.stderr).trim_end()
            );
        }
    }
    match std::fs::remove_file(home.join("data/postmaster.pid")) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// Whether process `pid` is a server whose command line names the data in `home`.
fn is_server_of(pid: u32, home: &Path) -> bool {
    let data = home.join("data");
    let command_line = std::fs::read(format!("/proc/{pid}/cmdline")).ok().or_else(|| {
        if Path::new("/proc/self/cmdline").exists() {
            return None;
        }
        let pid = pid.to_string();
        Some(
            Command::new("ps")
                .args(["-ww", "-o", "command=", "-p", &pid])
                .output()
                .ok()?
                .stdout,
        )
    });
    command_line.is_some_and(|line| String::from_utf8_lossy(&line).contains(&*data.to_string_lossy()))
}

fn temporary_home(account: Account) -> anyhow::Result<PathBuf> {
    let parent = temporary_parent(account);
    let home = parent.join(format!("riley-auth-test-{}", random_hex()?));
    prepare_home(&home, account)?;
    Ok(home)
}

/// Memory if there is plenty, where a clone takes a fifth of the time that a disk needs; else the usual place.
fn temporary_parent(account: Account) -> PathBuf {
    let free_bytes =
        |at: &str| rustix::fs::statvfs(at).map_or(0, |fs| fs.f_bavail.saturating_mul(fs.f_frsize));
    match account {
        _ if free_bytes(MEMORY) >= MEMORY_NEEDED_BYTES => PathBuf::from(MEMORY),
        Account::Ours => std::env::temp_dir(),
        // Root's TMPDIR may lie where the unprivileged account cannot go.
        Account::Other { .. } => PathBuf::from("/tmp"),
    }
}

/// Creates the directory of the server, mode 0700, if it is not there, and gives it to the account that runs it.
fn prepare_home(home: &Path, account: Account) -> anyhow::Result<()> {
    if std::fs::symlink_metadata(home).is_ok_and(|metadata| metadata.is_dir()) {
        return Ok(());
    }
    let create = std::fs::DirBuilder::new().mode(0o700).create(home);
    create.with_context(|| format!("create {}", home.display()))?;
    account.give(home)
}

fn retry_on_port(
    mut attempt: impl FnMut() -> anyhow::Result<PrivatePostgres>,
) -> anyhow::Result<PrivatePostgres> {
    let mut attempts_left = PORT_ATTEMPTS;
    loop {
        attempts_left -= 1;
        match attempt() {
            Err(error) if attempts_left > 0 && format!("{error:#}").contains("Address already in use") => {}
            result => return result,
        }
    }
}

/// A port that is free now.
fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port on 127.0.0.1")?;
    Ok(listener.local_addr()?.port())
}

/// 128 random bits: a password that needs no escaping in a URL, or a name that nobody can foresee.
fn random_hex() -> anyhow::Result<String> {
    let mut bytes = [0_u8; 16];
    SystemRandom::new()
        .fill(&mut bytes)
        .ok()
        .context("the system gave no random bytes")?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}
