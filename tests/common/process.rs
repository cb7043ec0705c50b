//! `riley-auth serve` as operators run it: a process, a configuration file, key files, signals, a log.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use serde_json::Value;
use tempfile::TempDir;

/// How long anything may take before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A directory with `riley-auth.toml` and keys.
pub(crate) struct Directory(TempDir);

/// A running `serve`; killed with this value.
pub(crate) struct Process {
    child: Child,
    pub(crate) address: SocketAddr,
    log: Arc<Mutex<String>>,
    reader: std::thread::JoinHandle<()>,
}

impl Directory {
    /// This configuration, on a free port, with one new ES256 key.
    pub(crate) fn with_key(configuration: &str) -> Self {
        let directory = Self(tempfile::tempdir().unwrap());
        directory.write(&configuration.replacen("[server]", "[server]\nport = 0", 1));
        let made = directory.run(&["generate-keys", "--prepend-to", "riley-auth.toml"]);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        directory
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn configuration(&self) -> String {
        std::fs::read_to_string(self.path("riley-auth.toml")).unwrap()
    }

    pub(crate) fn write(&self, configuration: &str) {
        std::fs::write(self.path("riley-auth.toml"), configuration).unwrap();
    }

    /// Changes the file, as an editor that writes in place does.
    pub(crate) fn edit(&self, from: &str, to: &str) {
        let before = self.configuration();
        assert!(before.contains(from), "{from:?} does not stand in {before}");
        self.write(&before.replacen(from, to, 1));
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_riley-auth"));
        command.args(arguments).current_dir(self.0.path());
        command.env_clear().env("HOME", self.0.path());
        command
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Starts a command and waits for nothing.
    pub(crate) fn begin(&self, arguments: &[&str]) -> Child {
        let mut command = self.command(arguments);
        command
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Starts `serve` and waits until it listens.
    pub(crate) async fn serve(&self) -> Process {
        self.serve_with(&[]).await
    }

    /// The same with further variables in its environment.
    pub(crate) async fn serve_with(&self, environment: &[(&str, &str)]) -> Process {
        let mut command = self.command(&["serve"]);
        command.envs(environment.iter().copied());
        tokio::task::spawn_blocking(move || Process::start(&mut command))
            .await
            .unwrap()
    }
}

impl Process {
    fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let log = Arc::new(Mutex::new(String::new()));
        let address = loop {
            let Some(line) = lines.next() else {
                panic!("serve ended early: {}", log.lock().unwrap())
            };
            let line = line.unwrap();
            let event: Value = serde_json::from_str(&line).unwrap_or_default();
            *log.lock().unwrap() += &(line + "\n");
            if event["message"] == "listening" {
                break event["address"].as_str().unwrap().parse().unwrap();
            }
        };
        let copy = Arc::clone(&log);
        let reader = std::thread::spawn(move || {
            lines
                .map_while(Result::ok)
                .for_each(|line| *copy.lock().unwrap() += &(line + "\n"));
        });
        Self {
            child,
            address,
            log,
            reader,
        }
    }

    /// Everything it has logged so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits until it logs this.
    pub(crate) async fn logs(&self, text: &str) {
        self.logs_times(text, 1).await;
    }

    /// Waits until it has logged this so many times.
    pub(crate) async fn logs_times(&self, text: &str, times: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.log().matches(text).count() < times {
            assert!(
                Instant::now() < deadline,
                "{text:?} is never logged: {}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Lets it have no more open files than this.
    pub(crate) fn limit_descriptors(&self, most: u64) {
        let limit = Rlimit {
            current: Some(most),
            maximum: Some(most),
        };
        prlimit(Some(Pid::from_child(&self.child)), Resource::Nofile, limit).unwrap();
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end, and until its last words are read.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap()
                && self.reader.is_finished()
            {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end: {}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
