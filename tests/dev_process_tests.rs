//! `riley-auth dev` as a process: what it prints, what answers, and that nothing is left when it stops.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process};

/// The first of four ports in a row that nobody uses.
fn four_free_ports() -> u16 {
    loop {
        let first = TcpListener::bind(("127.0.0.1", 0))
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if first < 65_000 && (first..first + 4).all(is_free) {
            return first;
        }
    }
}

fn dev(data_dir: &Path, port: u16) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_riley-auth"));
    command
        .args(["dev", "--port", &port.to_string(), "--data-dir"])
        .arg(data_dir)
        .env_remove("DATABASE_URL")
        // As a shell does, so that Ctrl-C can be pressed.
        .process_group(0)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Everything that is printed before it waits.
fn announcement(child: &mut Child) -> String {
    let mut text = String::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        text.push_str(&line);
        text.push('\n');
        if line.starts_with("Ctrl-C stops everything") {
            return text;
        }
    }
    panic!("dev ended early: {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn dev_says_what_to_open_answers_there_and_leaves_nothing_behind() {
    let parent = tempfile::tempdir().unwrap();
    // For root, PostgreSQL runs as somebody else, who has to get there.
    std::fs::set_permissions(parent.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
    let data_dir = parent.path().join("dev");
    let port = four_free_ports();
    let mut child = dev(&data_dir, port).spawn().unwrap();
    let text = announcement(&mut child);
    let first_url = text.split_whitespace().find(|word| word.starts_with("http"));
    assert_eq!(
        first_url,
        Some(&*format!("http://localhost:{}", port + 1)),
        "{text}"
    );

    let issuer = format!("http://localhost:{port}");
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let discovery: serde_json::Value = http
        .get(format!("{issuer}/.well-known/openid-configuration"))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(discovery["issuer"], issuer);
    for url in [
        format!("http://localhost:{}/", port + 1),
        format!("http://127.0.0.1:{}/", port + 2),
        format!("http://localhost:{}/login", port + 3),
    ] {
        assert_eq!(http.get(&url).send().await.unwrap().status(), 200, "{url}");
    }

    // The ports are looked at before the directory is.
    let second = dev(&parent.path().join("other"), port).output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    let complaint = String::from_utf8(second.stderr).unwrap();
    assert!(
        complaint.contains(&format!("port {port}")) && complaint.contains("--port"),
        "{complaint}"
    );
    assert!(!parent.path().join("other").exists(), "nothing was started");

    let postgres = std::fs::read_to_string(data_dir.join("server/data/postmaster.pid")).unwrap();
    let postgres = Pid::from_raw(postgres.lines().next().unwrap().parse().unwrap()).unwrap();
    assert!(test_kill_process(postgres).is_ok());
    assert!(
        !processes_that_name(&data_dir).is_empty(),
        "the processes are seen"
    );
    press_ctrl_c(&mut child);
    assert!(test_kill_process(postgres).is_err(), "PostgreSQL is gone");
    assert_eq!(processes_that_name(&data_dir), Vec::<String>::new());
    for offset in 0..4 {
        TcpListener::bind(("127.0.0.1", port + offset)).unwrap();
    }
}

/// What a terminal does: the whole foreground group hears of it.
fn press_ctrl_c(child: &mut Child) {
    let group = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process_group(group, Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// The command lines in which this directory stands.
fn processes_that_name(directory: &Path) -> Vec<String> {
    let directory = directory.to_str().unwrap();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|process| std::fs::read(process.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(directory))
        .collect()
}

/// A second start goes on with what was there, down to the app's secret; `--fresh` begins anew.
#[test]
fn a_second_start_keeps_the_data_and_fresh_begins_anew() {
    let parent = tempfile::tempdir().unwrap();
    std::fs::set_permissions(parent.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
    let data_dir = parent.path().join("dev");
    let port = four_free_ports();
    let clients = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_riley-auth"));
        command.arg("--config").arg(data_dir.join("riley-auth.toml"));
        let output = command
            .args(arguments)
            .env_remove("DATABASE_URL")
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    };
    let secret = || std::fs::read_to_string(data_dir.join("demo_client_secret")).unwrap();

    let mut child = dev(&data_dir, port).spawn().unwrap();
    announcement(&mut child);
    clients(&[
        "register-client",
        "--name",
        "Kept",
        "--redirect-uri",
        "https://kept.example/callback",
    ]);
    let first_secret = secret();
    press_ctrl_c(&mut child);

    let mut child = dev(&data_dir, port).spawn().unwrap();
    announcement(&mut child);
    assert!(clients(&["list-clients"]).contains("Kept"));
    assert_eq!(secret(), first_secret);
    press_ctrl_c(&mut child);

    let mut child = dev(&data_dir, port).arg("--fresh").spawn().unwrap();
    announcement(&mut child);
    assert!(!clients(&["list-clients"]).contains("Kept"));
    assert_ne!(secret(), first_secret);
    press_ctrl_c(&mut child);
}

/// Without PostgreSQL's programs there is one sentence that says what to do, and nothing is left half made.
#[test]
fn without_postgresql_there_is_one_sentence_that_says_what_to_do() {
    let parent = tempfile::tempdir().unwrap();
    let data_dir = parent.path().join("dev");
    let output = dev(&data_dir, four_free_ports())
        .env("PG_BIN", parent.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    let sentences: Vec<&str> = said.lines().filter(|line| line.contains("PG_BIN")).collect();
    assert_eq!(sentences.len(), 1, "{said}");
    assert!(sentences[0].contains("initdb"), "{said}");
    assert!(!data_dir.exists());
}
