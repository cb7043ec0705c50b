//! What is handed to operators: the deployment guide, the manual pages, the configuration's schema, the health check, and
//! the files in `deploy/`, held against the program.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use common::{Directory, TestProvider};
use regex::Regex;
use riley_auth::dev::postgres::PrivatePostgres;
use rustix::process::Signal;
use serde_json::Value;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const PROGRAM: &str = env!("CARGO_BIN_EXE_riley-auth");

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(path)).unwrap()
}

fn run(arguments: &[&str]) -> Output {
    Command::new(PROGRAM)
        .args(arguments)
        .env_clear()
        .current_dir("/")
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// The commands that `--help` lists.
fn commands() -> Vec<String> {
    let help = said(&run(&["--help"]));
    let listed = Regex::new(r"(?m)^  ([a-z][a-z-]+)  ").unwrap();
    let names = listed.captures_iter(&help).map(|found| found[1].to_owned());
    names.filter(|name| name != "help").collect()
}

/// The blocks of a Markdown text that bear this language.
fn blocks<'t>(text: &'t str, language: &str) -> Vec<&'t str> {
    let opening = format!("\n```{language}\n");
    text.split(opening.as_str())
        .skip(1)
        .map(|rest| rest.split("\n```").next().unwrap())
        .collect()
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// Every `sh` block, in order, by one shell in an empty directory with a PostgreSQL of its own.
#[test]
fn the_deployment_guide_does_what_it_says() {
    let guide = read("docs/deployment.md");
    let blocks = blocks(&guide, "sh");
    assert!(blocks.len() > 15, "the blocks were not found");
    let postgres = PrivatePostgres::start_for_tests().unwrap();
    let admin_url = postgres.url("postgres");
    let host = url::Url::parse(&admin_url).unwrap();
    let host = format!("127.0.0.1:{}", host.port().unwrap());
    let directory = tempfile::tempdir().unwrap();
    // What goes wrong is said with the block that it went wrong in.
    let mut numbered = String::new();
    for (number, block) in blocks.iter().enumerate() {
        writeln!(numbered, "echo '-- block {number}' >&2\n{block}").unwrap();
    }
    let stop_what_is_left = "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n";
    let script = format!("set -euo pipefail\n{stop_what_is_left}{numbered}");
    let programs = Path::new(PROGRAM).parent().unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let log = fs::File::create(directory.path().join("log")).unwrap();
    let status = Command::new("bash")
        .args(["-c", &script])
        .current_dir(directory.path())
        .env_clear()
        .env("PATH", path)
        .env("HOME", directory.path())
        .env("ADMIN_URL", &admin_url)
        .env("DATABASE_HOST", host)
        .env("RILEY_AUTH__SERVER__PORT", free_port().to_string())
        .env("SECOND_PORT", free_port().to_string())
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .status()
        .unwrap();
    let log = fs::read_to_string(directory.path().join("log")).unwrap();
    assert!(status.success(), "{log}");
    assert!(log.contains("client_secret"), "{log}");
    for left_behind in ["logs/riley-auth.log", "logs/riley-auth-2.log"] {
        let log = fs::read_to_string(directory.path().join(left_behind)).unwrap();
        assert!(log.contains("\"stopped\""), "{log}");
        assert!(!log.contains("\"ERROR\""), "{log}");
    }
}

/// Commands and options that are named anywhere in the guide exist, and files that it links to are there.
#[test]
fn the_deployment_guide_names_nothing_that_does_not_exist() {
    let guide = read("docs/deployment.md");
    let used = Regex::new(r"\briley-auth ([a-z][a-z-]+)((?: [^`\n;|&()]*)?)").unwrap();
    let option = Regex::new(r"--[a-z-]+").unwrap();
    let known = commands();
    let mut seen = BTreeSet::new();
    for found in used.captures_iter(&guide) {
        let (command, rest) = (&found[1], &found[2]);
        // "riley-auth needs", as in a sentence.
        if !known.iter().any(|name| name == command) {
            continue;
        }
        let help = said(&run(&[command, "--help"]));
        for option in option.find_iter(rest) {
            assert!(
                help.contains(option.as_str()),
                "{command} has no {}",
                option.as_str()
            );
        }
        seen.insert(command.to_owned());
    }
    assert!(seen.len() > 8, "{seen:?}");
    let link = Regex::new(r"\]\((\.\./[^)#]+)\)").unwrap();
    for found in link.captures_iter(&guide) {
        let path = Path::new(ROOT).join("docs").join(&found[1]);
        assert!(path.exists(), "{} is not there", path.display());
    }
    let named = Regex::new(r"(?m)(?:^|[ `])((?:deploy|tests)/[a-z./_-]+[a-z])").unwrap();
    let mut files = 0;
    for found in named.captures_iter(&guide) {
        assert!(Path::new(ROOT).join(&found[1]).exists(), "{}", &found[1]);
        files += 1;
    }
    assert!(files > 3, "{files}");
}

/// The alerts of the rules and those that the guide explains.
#[test]
fn the_deployment_guide_explains_every_alert() {
    let name = Regex::new(r"RileyAuth[A-Za-z]+").unwrap();
    let names = |text: &str| -> BTreeSet<String> {
        name.find_iter(text)
            .map(|found| found.as_str().to_owned())
            .collect()
    };
    let alerts = names(&read("deploy/prometheus/riley-auth.rules.yaml"));
    let guide = read("docs/deployment.md");
    assert_eq!(alerts, names(guide.split("## 10. Watch it").nth(1).unwrap()));
    assert!(alerts.len() > 10);
}

/// The names in the text that look like metrics of ours or of the process.
fn metric_names(text: &str) -> BTreeSet<String> {
    let name = Regex::new(r"\b(riley_auth|process)_[a-z_]+[a-z]\b").unwrap();
    name.find_iter(text)
        .map(|found| found.as_str().to_owned())
        .collect()
}

/// Every metric that the dashboard and the alerts ask for is one that the server has, and of its own metrics none is left out
/// of the dashboard.
#[test]
fn the_dashboard_and_the_alerts_ask_for_metrics_that_exist() {
    let source = read("src/metrics.rs");
    let defined = Regex::new(r#""(riley_auth_[a-z_]+)""#).unwrap();
    let ours: BTreeSet<String> = defined
        .captures_iter(&source)
        .map(|found| found[1].to_owned())
        .collect();
    assert!(ours.len() >= 8, "{ours:?}");
    // What the crate metrics-process measures.
    let of_the_process = [
        "process_cpu_seconds_total",
        "process_open_fds",
        "process_max_fds",
        "process_virtual_memory_bytes",
        "process_virtual_memory_max_bytes",
        "process_resident_memory_bytes",
        "process_start_time_seconds",
        "process_threads",
    ];
    let base = |name: &str| {
        let parts = ["_bucket", "_sum", "_count"].iter();
        let histogram = parts
            .filter_map(|part| name.strip_suffix(part))
            .find(|base| ours.contains(*base));
        histogram.unwrap_or(name).to_owned()
    };
    let dashboard = read("deploy/grafana/riley-auth.json");
    let _: Value = serde_json::from_str(&dashboard).unwrap();
    for (file, text) in [
        ("dashboard", &dashboard),
        ("rules", &read("deploy/prometheus/riley-auth.rules.yaml")),
        (
            "tests of the rules",
            &read("deploy/prometheus/riley-auth.rules.test.yaml"),
        ),
    ] {
        let asked: BTreeSet<String> = metric_names(text).iter().map(|name| base(name)).collect();
        assert!(asked.len() > 8, "{file}: {asked:?}");
        for name in &asked {
            let exists = ours.contains(name) || of_the_process.contains(&name.as_str());
            assert!(exists, "the {file}: there is no {name}");
        }
        if file == "dashboard" {
            let left_out: Vec<&String> = ours.difference(&asked).collect();
            assert!(left_out.is_empty(), "the dashboard does not show {left_out:?}");
        }
    }
}

/// Metrics as the server writes them, names and labels: each selector of the dashboard and the rules fits a series.
#[test]
fn labels_that_are_asked_for_are_those_of_the_metric() {
    let labels = |name: &str| -> &[&str] {
        match name {
            "riley_auth_http_requests_total" => &["method", "path", "status"],
            name if name.starts_with("riley_auth_http_request_duration_seconds") => &["method", "path", "le"],
            "riley_auth_tokens_issued_total" => &["type"],
            "riley_auth_token_verifications_total" => &["result"],
            "riley_auth_webhook_deliveries_total" => &["status"],
            "riley_auth_rate_limit_hits_total" => &["tier"],
            "riley_auth_signing_key_age_seconds" => &["kid"],
            "riley_auth_connections_refused_total" => &["reason"],
            "riley_auth_database_connections" => &["state"],
            _ => &[],
        }
    };
    let selector = Regex::new(r"\b((?:riley_auth|process)_[a-z_]+)\{([^}]*)\}").unwrap();
    let matcher = Regex::new(r"([a-z_]+)\s*(?:=~|!~|!=|=)").unwrap();
    let mut count = 0;
    for file in [
        "deploy/grafana/riley-auth.json",
        "deploy/prometheus/riley-auth.rules.yaml",
        "deploy/prometheus/riley-auth.rules.test.yaml",
    ] {
        for found in selector.captures_iter(&read(file)) {
            for label in matcher.captures_iter(&found[2]) {
                let known =
                    ["job", "instance"].contains(&&label[1]) || labels(&found[1]).contains(&&label[1]);
                assert!(known, "{file}: {} has no label {}", &found[1], &label[1]);
                count += 1;
            }
        }
    }
    assert!(count > 50, "{count}");
}

/// The files of `deploy/` speak of keys, paths and options that exist.
#[test]
fn the_files_of_deploy_speak_of_what_is_there() {
    let unit = read("deploy/systemd/riley-auth.service");
    for line in [
        "Type=notify",
        "ExecReload=/bin/kill -HUP $MAINPID",
        "LoadCredential=database-url:",
        "NoNewPrivileges=yes",
    ] {
        assert!(unit.contains(line), "{line}");
    }
    // It would hide /proc/stat, and with it when the process began: process_start_time_seconds.
    assert!(!unit.contains("ProcSubset="));
    let dockerfile = read("Dockerfile");
    let toolchain = Regex::new(r"FROM rust:([0-9.]+)-").unwrap();
    let least = Regex::new(r#"rust-version = "([0-9.]+)""#).unwrap();
    let cargo = read("Cargo.toml");
    let version = |text: &str| -> Vec<u32> { text.split('.').map(|part| part.parse().unwrap()).collect() };
    let [image, needed] = [
        version(&toolchain.captures(&dockerfile).unwrap()[1]),
        version(&least.captures(&cargo).unwrap()[1]),
    ];
    assert!(image >= needed, "the image builds with {image:?}");
    assert!(dockerfile.contains("USER 65532:65532"));
    assert!(dockerfile.contains(r#"CMD ["/usr/bin/riley-auth", "healthcheck"]"#));
    // Nothing that the build needs is kept from it.
    let ignored = read(".dockerignore");
    for needed in ["src", "migrations", ".sqlx", "build.rs", "Cargo.lock", ".cargo"] {
        assert!(Path::new(ROOT).join(needed).exists(), "{needed}");
        assert!(!ignored.lines().any(|line| line == needed), "{needed}");
    }
    for proxy in [
        "deploy/nginx/riley-auth.conf",
        "deploy/caddy/Caddyfile",
        "deploy/traefik/riley-auth.yaml",
    ] {
        let text = read(proxy);
        for word in [
            "127.0.0.1:8081",
            "auth.example.com",
            "server.behind_proxy = true",
            "/metrics",
        ] {
            assert!(text.contains(word), "{proxy}: {word}");
        }
    }
}

/// The unit's variables stand for what the configuration names, which the service's account cannot read.
#[test]
fn the_units_credentials_win_over_the_files_that_the_configuration_names() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let secret = common::random_text(40);
    fs::write(
        path("riley-auth.toml"),
        "[database]\nurl = \"file:credentials/database-url\"\nsecret_key = \"file:credentials/secret-key\"\n\
         [jwt]\nissuer = \"https://auth.example.com\"\n",
    )
    .unwrap();
    fs::write(path("database-url"), "postgres://nobody@127.0.0.1:1/none\n").unwrap();
    fs::write(path("secret-key"), format!("{secret}\n")).unwrap();
    let unit = read("deploy/systemd/riley-auth.service");
    let given = unit.lines().filter_map(|line| line.strip_prefix("Environment="));
    let variables: Vec<(String, String)> = given
        .map(|line| line.replace("%d", directory.path().to_str().unwrap()))
        .map(|line| {
            line.split_once('=')
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .unwrap()
        })
        .collect();
    assert_eq!(variables.len(), 2);
    let problems = |variables: &[(String, String)]| {
        let output = Command::new(PROGRAM)
            .args(["validate", "--json"])
            .current_dir(directory.path())
            .env_clear()
            .env("RILEY_AUTH__DATABASE__ACQUIRE_TIMEOUT_SECS", "1")
            .envs(variables.iter().cloned())
            .output()
            .unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        report["findings"].to_string()
    };
    assert!(problems(&[]).contains("cannot be read"));
    let with = problems(&variables);
    assert!(!with.contains("cannot be read"), "{with}");
    assert!(with.contains("the database does not answer"), "{with}");
}

/// Every command has a page with the sections that a reader looks for, and `man` finds nothing to complain about.
#[test]
fn every_command_has_a_manual_page() {
    let directory = tempfile::tempdir().unwrap();
    let output = run(&["man", "--output-dir", directory.path().to_str().unwrap()]);
    assert!(output.status.success(), "{}", said(&output));
    let mut expected: BTreeSet<String> = commands()
        .iter()
        .map(|name| format!("riley-auth-{name}.1"))
        .collect();
    expected.insert("riley-auth.1".to_owned());
    let written: BTreeSet<String> = fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(written, expected);
    for page in &written {
        let text = fs::read_to_string(directory.path().join(page)).unwrap();
        for section in [
            "NAME",
            "SYNOPSIS",
            "DESCRIPTION",
            "EXIT STATUS",
            "FILES",
            "ENVIRONMENT",
            "SEE ALSO",
        ] {
            assert!(
                text.contains(&format!(".SH {section}")) || text.contains(&format!(".SH \"{section}\"")),
                "{page} has no {section}"
            );
        }
        let name = page.trim_end_matches(".1").replace('-', "\\-");
        assert!(text.contains(&name), "{page}");
    }
    let one = said(&run(&["man", "validate"]));
    assert_eq!(
        one,
        fs::read_to_string(directory.path().join("riley-auth-validate.1")).unwrap()
    );
    assert!(one.contains("\\-\\-live"), "{one}");
    let unknown = run(&["man", "frobnicate"]);
    assert_eq!(unknown.status.code(), Some(1));
}

/// The schema knows every key of the example, and refuses keys that it does not know.
#[test]
fn the_schema_for_editors_knows_every_key_of_the_example() {
    let schema: Value = serde_json::from_slice(&run(&["config-schema"]).stdout).unwrap();
    // The lines that show a default, or an example, as if somebody had made use of them.
    let shown = Regex::new(r"(?m)^# ([a-z_]+ = )").unwrap();
    let example: toml::Table = shown
        .replace_all(&read("config.example.toml"), "$1")
        .parse()
        .unwrap();
    let mut checked = 0;
    check(&schema, &schema, &toml::Value::Table(example), "", &mut checked);
    assert!(checked > 60, "{checked}");
    assert_eq!(schema["additionalProperties"], false);
    assert_eq!(schema["properties"]["database"]["$ref"], "#/$defs/DatabaseConfig");
    let wide = schema["$defs"]["ServerConfig"]["properties"]["port"].clone();
    assert_eq!(wide["type"], "integer", "{wide}");
}

fn check(root: &Value, schema: &Value, value: &toml::Value, path: &str, checked: &mut usize) {
    let mut schema = schema;
    if let Some(options) = schema["anyOf"].as_array() {
        schema = options.iter().find(|option| option["type"] != "null").unwrap();
    }
    if let Some(reference) = schema["$ref"].as_str() {
        schema = root.pointer(&reference[1..]).unwrap();
    }
    match value {
        toml::Value::Table(table) => {
            for (key, value) in table {
                let member = &schema["properties"][key];
                let member = if member.is_null() {
                    &schema["additionalProperties"]
                } else {
                    member
                };
                assert!(member.is_object(), "{path}.{key} is not in the schema: {schema}");
                check(root, member, value, &format!("{path}.{key}"), checked);
            }
        }
        toml::Value::Array(items) => {
            for item in items {
                check(root, &schema["items"], item, path, checked);
            }
        }
        _ => *checked += 1,
    }
}

/// What a supervisor runs: 0 and 1, on the listening server, a server without its database, and nobody.
#[tokio::test]
async fn the_health_check_tells_ready_from_alive_and_from_gone() {
    let op = TestProvider::start().await;
    let directory = Directory::with_key(&op.configuration_text());
    let mut process = directory.serve().await;
    let port = process.address.port();
    directory.edit("port = 0", &format!("port = {port}\nhost = \"0.0.0.0\""));
    let ready = directory.run(&["healthcheck"]);
    assert!(ready.status.success(), "{}", said(&ready));
    let told: Value = serde_json::from_slice(&directory.run(&["healthcheck", "--json"]).stdout).unwrap();
    assert_eq!(told["healthy"], true);
    assert_eq!(told["status"], 200);
    assert_eq!(told["url"], format!("http://127.0.0.1:{port}/ready"));
    // A server with another version's schema is alive and not ready.
    sqlx::raw_sql("ALTER TABLE _sqlx_migrations RENAME TO hidden")
        .execute(op.db())
        .await
        .unwrap();
    // For half a second others are told what was answered before.
    let started = std::time::Instant::now();
    let mut unready = directory.run(&["healthcheck"]);
    while unready.status.success() && started.elapsed().as_secs() < 5 {
        unready = directory.run(&["healthcheck"]);
    }
    assert_eq!(unready.status.code(), Some(1));
    assert!(
        said(&unready).contains("the database is not migrated"),
        "{}",
        said(&unready)
    );
    assert!(directory.run(&["healthcheck", "--liveness"]).status.success());
    process.signal(Signal::TERM);
    process.ended().await;
    let gone = directory.run(&["healthcheck", "--liveness"]);
    assert_eq!(gone.status.code(), Some(1));
    assert!(said(&gone).contains("nobody listens there"), "{}", said(&gone));
    // Needs no secret: the one who asks may not be the one who serves.
    directory.edit("url = \"", "url = \"env:NOT_SET_HERE\" # \"");
    assert!(said(&directory.run(&["healthcheck"])).contains("nobody listens there"));
}

/// `Type=notify`: ready when it listens, reloading and ready again, the watchdog fed, stopping.
#[tokio::test]
async fn the_service_manager_is_told() {
    let op = TestProvider::start().await;
    let directory = Directory::with_key(&op.configuration_text());
    let socket_path = directory.path("notify");
    let socket = UnixDatagram::bind(&socket_path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let environment = [
        ("NOTIFY_SOCKET", socket_path.to_str().unwrap()),
        ("WATCHDOG_USEC", "200000"),
    ];
    let mut process = directory.serve_with(&environment).await;
    let hears = |word: &str| {
        let mut buffer = [0; 512];
        loop {
            let length = socket.recv(&mut buffer).unwrap();
            if String::from_utf8_lossy(&buffer[..length])
                .lines()
                .any(|line| line == word)
            {
                return;
            }
        }
    };
    hears("READY=1");
    hears("WATCHDOG=1");
    process.signal(Signal::HUP);
    hears("RELOADING=1");
    hears("READY=1");
    process.signal(Signal::TERM);
    hears("STOPPING=1");
    assert!(process.ended().await.success());
}

/// A command that runs until it is told to stop.
struct Child(std::process::Child);

impl Child {
    fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(PROGRAM);
        command.args(arguments).env_clear().stdin(Stdio::null());
        Self(
            command
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap(),
        )
    }

    /// Waits as compose does: by asking the health check again and again.
    fn until_healthy(&mut self, url: &str) {
        let deadline = std::time::Instant::now() + Duration::from_mins(1);
        while !run(&["healthcheck", "--url", url]).status.success() {
            assert!(self.0.try_wait().unwrap().is_none(), "it ended early");
            assert!(std::time::Instant::now() < deadline, "{url} never answers");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// compose.yaml's two commands of ours, without containers: the demo beside a `serve` with the configuration that it made.
#[tokio::test]
async fn the_demo_of_the_compose_file_runs_beside_a_server_of_its_own() {
    let postgres = tokio::task::spawn_blocking(|| PrivatePostgres::start_for_tests().unwrap())
        .await
        .unwrap();
    let data = tempfile::tempdir().unwrap();
    // Four free ports in a row, looked for from where no other test process begins.
    let from = 10_000 + u16::try_from(std::process::id() % 5_000).unwrap() * 4;
    let port = (from..32_000)
        .step_by(4)
        .find(|first| (0..4).all(|offset| TcpListener::bind(("127.0.0.1", first + offset)).is_ok()))
        .unwrap();
    let compose = read("compose.yaml");
    assert!(compose.contains(r#"["demo", "--data-dir", "/var/lib/riley-auth/demo", "--listen", "0.0.0.0"]"#));
    let mut demo = Child::start(&[
        "demo",
        "--data-dir",
        data.path().join("demo").to_str().unwrap(),
        "--listen",
        "127.0.0.1",
        "--port",
        &port.to_string(),
        "--database-url",
        &postgres.url("postgres"),
    ]);
    let demo_app = format!("http://localhost:{}/", port + 1);
    demo.until_healthy(&demo_app);
    let config = data.path().join("demo/riley-auth.toml");
    let mut server = Child::start(&["serve", "--config", config.to_str().unwrap()]);
    server.until_healthy(&format!("http://localhost:{port}/ready"));
    // A person who opens the demo app and signs in is led to the provider, and from there to a page to sign in.
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = http.get(format!("{demo_app}sign-in")).send().await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.status());
    assert_eq!(answer.url().port(), Some(port + 3), "{}", answer.url());
}
