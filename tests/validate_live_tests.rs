//! `riley-auth validate --live`: a deployment whose reverse proxy misbehaves in one way at a time, and the finding that
//! names it with its mend. The server runs here, on a clock that can be moved; the command is the program itself.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it like the test itself"
)]

mod common;

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Output};

use axum::Router;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Redirect;
use axum::routing::get;
use common::database::TestDatabase;
use common::proxy::{self, Conduct, Forwarded, Returned};
use riley_auth::clock::Clock;
use riley_auth::config::Config;
use riley_auth::http::state::AppState;
use riley_auth::server;
use rstest::rstest;
use serde_json::Value;
use sqlx::AssertSqlSafe;
use tempfile::TempDir;
use time::Duration;
use tokio::net::TcpListener;

const JWKS: &str = "/.well-known/jwks.json";
const DISCOVERY: &str = "/.well-known/openid-configuration";
const BEHIND: &str = "behind_proxy = true";

/// The operator's directory: `riley-auth.toml` and keys.
struct Directory(TempDir);

impl Directory {
    fn new(text: &str) -> Self {
        let directory = Self(tempfile::tempdir().unwrap());
        std::fs::write(directory.file(), text).unwrap();
        directory
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("riley-auth.toml")
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_riley-auth"))
            .args(arguments)
            .current_dir(self.0.path())
            .env_clear()
            .env("HOME", self.0.path())
            .output()
            .unwrap()
    }

    fn succeeds(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        said
    }

    fn edit(&self, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.file()).unwrap();
        assert!(text.contains(from), "{from:?} does not stand in {text}");
        std::fs::write(self.file(), text.replacen(from, to, 1)).unwrap();
    }
}

/// A server behind a proxy, which is what the issuer names.
struct Deployment {
    directory: Directory,
    state: AppState,
    database: TestDatabase,
}

impl Drop for Deployment {
    fn drop(&mut self) {
        self.state.shutdown.cancel();
    }
}

impl Deployment {
    /// The issuer has no path, and the configuration says that there is a proxy.
    async fn behind(conduct: Conduct) -> Self {
        Self::with("", BEHIND, conduct).await
    }

    /// `path`: of the issuer. `server`: lines of that section.
    async fn with(path: &str, server: &str, conduct: Conduct) -> Self {
        let metrics = "[metrics]\nbearer_token = \"of-the-scraper-0123456789\"";
        Self::configured(path, &format!("{server}\n{metrics}"), conduct).await
    }

    /// `sections`: the rest of `[server]`, and further sections.
    async fn configured(path: &str, sections: &str, conduct: Conduct) -> Self {
        let database = TestDatabase::create().await;
        let front = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let directory = Directory::new(&format!(
            "[server]\nshutdown_grace_secs = 1\n{sections}\n[database]\nurl = \"{}\"\nsecret_key = \"{}\"\n\
             [jwt]\nissuer = \"http://{}{path}\"\njwks_cache_max_age_secs = 600\n",
            database.url,
            common::random_text(40),
            front.local_addr().unwrap(),
        ));
        for algorithm in ["es256", "rs256"] {
            let made = [
                "generate-keys",
                "--algorithm",
                algorithm,
                "--prepend-to",
                "riley-auth.toml",
            ];
            let size: &[&str] = if algorithm == "rs256" {
                &["--key-size", "2048"]
            } else {
                &[]
            };
            directory.succeeds(&[&made[..], size].concat());
        }
        let state = state(&directory);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = listener.local_addr().unwrap();
        tokio::spawn(server::run(state.clone(), vec![listener]));
        proxy::start(front, upstream, conduct);
        Self {
            directory,
            state,
            database,
        }
    }

    /// What `validate --live` finds, but for what is said of every deployment on the databases of the tests: their role is
    /// a superuser, and nothing of them need survive a crash. Nobody can sign in either: there is no provider.
    async fn findings(&self, more: &[&str]) -> Vec<Value> {
        let all = self.everything(&[&["--live"], more].concat()).await;
        let expected = |finding: &Value| {
            let is_about_the_database = ["superuser", "fsync"]
                .iter()
                .any(|word| problem(finding).contains(word));
            is_about_the_database || finding["key"] == "oauth.providers"
        };
        all.into_iter().filter(|finding| !expected(finding)).collect()
    }

    /// All that `validate` finds, each with a mend; it fails if one is an error.
    async fn everything(&self, more: &[&str]) -> Vec<Value> {
        let arguments: Vec<String> = ["validate", "--json"]
            .iter()
            .chain(more)
            .map(|text| (*text).to_owned())
            .collect();
        let (program, directory) = (
            env!("CARGO_BIN_EXE_riley-auth"),
            self.directory.0.path().to_owned(),
        );
        // The server that is asked runs on this runtime.
        let output = tokio::task::spawn_blocking(move || {
            Command::new(program)
                .args(arguments)
                .current_dir(&directory)
                .env_clear()
                .env("HOME", &directory)
                .output()
                .unwrap()
        })
        .await
        .unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let all = report["findings"].as_array().unwrap().clone();
        let has_errors = all.iter().any(|finding| finding["severity"] == "error");
        assert_eq!(report["valid"], !has_errors);
        assert_eq!(output.status.code(), Some(i32::from(has_errors)));
        for finding in &all {
            assert!(!finding["mend"].as_str().unwrap().is_empty(), "{finding}");
        }
        all
    }

    /// The only finding: its key and, somewhere in what is wrong, these words.
    async fn finds(&self, key: &str, words: &str) -> Value {
        let findings = self.findings(&[]).await;
        assert_eq!(findings.len(), 1, "{findings:#?}");
        let finding = &findings[0];
        assert_eq!(finding["key"], key, "{finding:#}");
        assert!(
            finding["problem"].as_str().unwrap().contains(words),
            "{finding:#}"
        );
        finding.clone()
    }

    /// Registers an app with these further flags.
    fn register(&self, flags: &[&str]) {
        let arguments = [&["register-client", "--name", "App"], flags].concat();
        let output = self.directory.run(&arguments);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

fn problem(finding: &Value) -> &str {
    finding["problem"].as_str().unwrap()
}

/// The server's state with the configuration and the keys of the directory. The key that was made last is not held back.
fn state(directory: &Directory) -> AppState {
    let loaded = Config::load(Some(&directory.file())).unwrap();
    let clock = Clock::default();
    let keys = server::load_keys(&loaded.config, &clock).unwrap();
    server::state(loaded.config, keys, clock).unwrap()
}

fn set(headers: &mut axum::http::HeaderMap, name: &'static str, value: &'static str) {
    headers.insert(name, HeaderValue::from_static(value));
}

/// Appends the address of who asks, as nginx's `$proxy_add_x_forwarded_for` does; the kit's proxy has overwritten it.
fn append(request: &mut Forwarded, sent: &str, further: &[&str]) {
    let client = request.client.ip().to_string();
    let entries = [&[sent, client.as_str()], further].concat().join(", ");
    request
        .headers
        .insert("x-forwarded-for", HeaderValue::from_str(&entries).unwrap());
}

#[tokio::test]
async fn a_sound_deployment_has_no_finding() {
    for path in ["", "/identity"] {
        let deployment = Deployment::with(path, BEHIND, Conduct::good()).await;
        assert_eq!(deployment.findings(&[]).await, Vec::<Value>::new(), "{path}");
    }
}

/// Figures that strangers read at the public URL are nobody's plan; a proxy that keeps them back mends it, too.
#[tokio::test]
async fn metrics_that_everybody_can_read_are_found() {
    let open = Deployment::configured("", BEHIND, Conduct::good()).await;
    let finding = open
        .finds("metrics.bearer_token", "everybody can read /metrics")
        .await;
    assert_eq!(finding["severity"], "warning");
    let kept_back = Conduct::answer(|answer: &mut Returned| {
        if answer.path_and_query.starts_with("/metrics") {
            answer.status = StatusCode::NOT_FOUND;
        }
    });
    let kept_back = Deployment::configured("", BEHIND, kept_back).await;
    assert_eq!(kept_back.findings(&[]).await, Vec::<Value>::new());
    let off = format!("{BEHIND}\n[metrics]\nenabled = false");
    let off = Deployment::configured("", &off, Conduct::good()).await;
    assert_eq!(off.findings(&[]).await, Vec::<Value>::new());
}

/// Where instances count together is tried out as the server will use it, but not offline.
#[tokio::test]
async fn a_store_of_the_limits_that_does_not_serve_is_found() {
    // On a thread of its own: the program is waited for here.
    let refusing = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let refuses = refusing.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in refusing.incoming() {
            let mut stream = stream.unwrap();
            let mut commands = [0; 4096];
            while let Ok(size @ 1..) = stream.read(&mut commands) {
                // A command is an array, which begins with `*` at the start of a line.
                let asked = String::from_utf8_lossy(&commands[..size]).into_owned();
                let count = asked.lines().filter(|line| line.starts_with('*')).count();
                let refusal = "-NOAUTH Authentication required.\r\n".repeat(count);
                let _ = stream.write_all(refusal.as_bytes());
            }
        }
    });
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = gone.local_addr().unwrap();
    drop(gone);
    let deployment = Deployment::behind(Conduct::good()).await;
    for (more, address, severity, words) in [
        ("", nobody, "warning", "does not answer"),
        ("", refuses, "error", "refuses"),
        ("enabled = false\n", nobody, "warning", "nothing is counted"),
    ] {
        let before = std::fs::read_to_string(deployment.directory.file()).unwrap();
        deployment.directory.edit(
            "[metrics]",
            &format!(
                "[rate_limiting]\n{more}redis_url = \"redis://:a-password-of-mine@{address}\"\n[metrics]"
            ),
        );
        let report = deployment.directory.run(&["validate", "--json"]);
        let said = String::from_utf8_lossy(&report.stdout).into_owned();
        assert!(!said.contains("a-password-of-mine"), "{said}");
        let report: Value = serde_json::from_str(&said).unwrap();
        let findings = report["findings"].as_array().unwrap();
        let about: Vec<&Value> = findings
            .iter()
            .filter(|finding| finding["key"] == "rate_limiting.redis_url")
            .collect();
        let [finding] = about[..] else {
            panic!("{report:#}")
        };
        assert_eq!(finding["severity"], severity, "{finding:#}");
        assert!(
            finding["problem"].as_str().unwrap().contains(words),
            "{finding:#}"
        );
        let offline = deployment.directory.run(&["validate", "--offline", "--json"]);
        assert!(!String::from_utf8_lossy(&offline.stdout).contains("rate_limiting"));
        std::fs::write(deployment.directory.file(), before).unwrap();
    }
}

/// The address by which this machine is seen is settled by `--seen-as`, `--at` asks elsewhere than DNS says.
#[tokio::test]
async fn what_the_operator_knows_is_held_against_what_the_server_sees() {
    let deployment = Deployment::behind(Conduct::good()).await;
    let told = ["--seen-as", "127.0.0.1", "--at", "127.0.0.1"];
    assert_eq!(deployment.findings(&told).await, Vec::<Value>::new());
    let findings = deployment.findings(&["--seen-as", "198.51.100.4"]).await;
    assert_eq!(findings[0]["key"], "server.trusted_proxies", "{findings:#?}");
}

#[tokio::test]
async fn a_proxy_that_does_not_reach_the_server_is_found() {
    let deployment = Deployment::behind(Conduct::good()).await;
    deployment.state.shutdown.cancel();
    // The server has stopped when nobody accepts any more.
    while deployment.findings(&[]).await.is_empty() {}
    deployment.finds("jwt.issuer", "does not reach the server").await;
}

#[tokio::test]
async fn nobody_at_the_public_url_is_found() {
    let deployment = Deployment::behind(Conduct::good()).await;
    let nobody = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let issuer = deployment.state.config.issuer().to_owned();
    deployment.directory.edit(&issuer, &format!("http://{nobody}"));
    deployment.finds("jwt.issuer", "no connection can be made").await;
    deployment
        .directory
        .edit(&format!("http://{nobody}"), "https://no-such-host.invalid");
    deployment.finds("jwt.issuer", "does not resolve").await;
}

/// What is said of every database of these tests, and therefore left out above.
#[tokio::test]
async fn a_superuser_and_a_database_that_forgets_are_found() {
    let deployment = Deployment::behind(Conduct::good()).await;
    let findings = deployment.everything(&["--live"]).await;
    let is_said = |words: &str| findings.iter().any(|finding| problem(finding).contains(words));
    assert!(is_said("is a superuser of PostgreSQL"), "{findings:#?}");
    let fsync: String = sqlx::query_scalar("SHOW fsync")
        .fetch_one(&deployment.state.db)
        .await
        .unwrap();
    assert_eq!(is_said("fsync is off"), fsync == "off", "{findings:#?}");
}

/// Migrations that are missing, that nobody may apply, that are newer than the program, and that it cannot live with: what
/// `validate` calls an error is what `serve` refuses.
#[tokio::test]
async fn a_database_of_another_version_is_found() {
    let deployment = Deployment::behind(Conduct::good()).await;
    let finds = async |words: &str, severity: &str| {
        let findings = deployment.everything(&[]).await;
        let found = findings
            .iter()
            .find(|finding| problem(finding).contains(words))
            .unwrap_or_else(|| panic!("{words}: {findings:#?}"));
        assert_eq!(found["severity"], severity, "{found:#}");
    };
    let change = async |sql: &'static str| {
        sqlx::raw_sql(sql).execute(&deployment.state.db).await.unwrap();
    };
    change(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (9999, 'of a newer version', true, '', 0)",
    )
    .await;
    finds("1 migrations that this version does not know", "warning").await;
    change("UPDATE schema_minimum SET version = 9999").await;
    finds("1 migrations that this version cannot live with", "error").await;

    change("UPDATE schema_minimum SET version = 1; DELETE FROM _sqlx_migrations WHERE version = 9999").await;
    change("DELETE FROM _sqlx_migrations WHERE version = (SELECT max(version) FROM _sqlx_migrations)").await;
    finds("1 migrations are missing; `serve` will apply them", "warning").await;
    deployment
        .directory
        .edit("[database]", "[database]\nmigrate = false");
    finds("1 migrations are missing", "error").await;
    deployment.directory.edit("migrate = false", "migrate = true");
    let role = format!("riley_auth_guest_{}", common::random_text(12).to_lowercase());
    let statements = format!(
        "CREATE ROLE {role} LOGIN PASSWORD 'guest'; REVOKE CREATE ON SCHEMA public FROM PUBLIC;
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}"
    );
    sqlx::raw_sql(AssertSqlSafe(statements))
        .execute(&deployment.state.db)
        .await
        .unwrap();
    let mut url = url::Url::parse(&deployment.database.url).unwrap();
    url.set_username(&role).unwrap();
    url.set_password(Some("guest")).unwrap();
    deployment.directory.edit(&deployment.database.url, url.as_str());
    finds("this user may not create tables", "error").await;
    let drop = format!("DROP OWNED BY {role}; DROP ROLE {role}");
    sqlx::raw_sql(AssertSqlSafe(drop))
        .execute(&deployment.state.db)
        .await
        .unwrap();
}

/// A database that cannot hold every name.
#[tokio::test]
async fn a_database_of_a_narrow_encoding_is_found() {
    let deployment = Deployment::behind(Conduct::good()).await;
    let name = format!("latin_{}", common::random_text(12).to_lowercase());
    let make =
        format!("CREATE DATABASE {name} ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0");
    sqlx::raw_sql(AssertSqlSafe(make))
        .execute(&deployment.state.db)
        .await
        .unwrap();
    let mut url = url::Url::parse(&deployment.database.url).unwrap();
    url.set_path(&name);
    deployment.directory.edit(&deployment.database.url, url.as_str());
    let findings = deployment.everything(&[]).await;
    let is_found = findings
        .iter()
        .any(|finding| problem(finding).contains("stores text as LATIN1"));
    sqlx::raw_sql(AssertSqlSafe(format!("DROP DATABASE {name} WITH (FORCE)")))
        .execute(&deployment.state.db)
        .await
        .unwrap();
    assert!(is_found, "{findings:#?}");
}

/// Changes of what is published, and of what every answer carries.
#[rstest]
#[case::another_path("jwt.issuer", "redirects to /elsewhere", |answer: &mut Returned| {
    answer.status = StatusCode::FOUND;
    set(&mut answer.headers, "location", "/elsewhere");
})]
#[case::not_us("jwt.issuer", "no discovery document", |answer: &mut Returned| answer.body = b"<html>hello</html>".to_vec())]
#[case::forbidden("jwt.issuer", "answers 403", |answer: &mut Returned| answer.status = StatusCode::FORBIDDEN)]
#[case::reformatted("discovery", "other bytes", |answer: &mut Returned| {
    if answer.path_and_query == DISCOVERY {
        answer.body.push(b'\n');
    }
})]
#[case::a_member_changed("discovery", "in token_endpoint", |answer: &mut Returned| {
    if answer.path_and_query == DISCOVERY {
        let text = String::from_utf8(answer.body.clone()).unwrap();
        answer.body = text.replace("/oauth/token\"", "/token\"").into_bytes();
    }
})]
#[case::one_document_missing("discovery for OAuth clients", "answers 404", |answer: &mut Returned| {
    if answer.path_and_query.contains("oauth-authorization-server") {
        answer.status = StatusCode::NOT_FOUND;
    }
})]
#[case::cors_twice("headers", "2 times", |answer: &mut Returned| {
    if answer.path_and_query == DISCOVERY {
        answer.headers.append("access-control-allow-origin", HeaderValue::from_static("*"));
    }
})]
#[case::a_security_header_lost("headers", "x-content-type-options does not arrive", |answer: &mut Returned| {
    answer.headers.remove("x-content-type-options");
})]
#[case::an_old_copy_of_the_keys("jwks", "old copy", |answer: &mut Returned| {
    if answer.path_and_query == JWKS {
        answer.body = br#"{"keys":[]}"#.to_vec();
    }
})]
#[case::kept_too_long_by_a_cdn("jwks", "kept for 86400 seconds", |answer: &mut Returned| {
    if answer.path_and_query.starts_with(JWKS) {
        set(&mut answer.headers, "cache-control", "public, max-age=86400");
    }
})]
#[case::never_kept("jwks", "ban on caching", |answer: &mut Returned| {
    if answer.path_and_query.starts_with(JWKS) {
        set(&mut answer.headers, "cache-control", "no-store");
    }
})]
#[case::kept_as_long_as_anybody_likes("jwks", "without a lifetime", |answer: &mut Returned| {
    if answer.path_and_query.starts_with(JWKS) {
        answer.headers.remove("cache-control");
    }
})]
#[case::instances_with_different_keys("jwks", "instances have different keys", |answer: &mut Returned| {
    if answer.path_and_query.starts_with(JWKS) && answer.path_and_query != JWKS {
        answer.body = br#"{"keys":[]}"#.to_vec();
    }
})]
#[case::no_json_any_more("discovery for OAuth clients", "no JSON any more", |answer: &mut Returned| {
    if answer.path_and_query.contains("oauth-authorization-server") {
        answer.body = b"<html></html>".to_vec();
    }
})]
#[case::cors_for_one_origin("headers", "arrives as https://a.example", |answer: &mut Returned| {
    if answer.path_and_query == DISCOVERY {
        set(&mut answer.headers, "access-control-allow-origin", "https://a.example");
    }
})]
#[case::a_security_header_twice("headers", "x-frame-options arrives 2 times", |answer: &mut Returned| {
    if answer.path_and_query == DISCOVERY {
        answer.headers.append("x-frame-options", HeaderValue::from_static("SAMEORIGIN"));
    }
})]
#[case::kept_too_long_already("jwks", "7200 seconds old", |answer: &mut Returned| {
    if answer.path_and_query.starts_with(JWKS) {
        set(&mut answer.headers, "age", "7200");
    }
})]
#[case::an_answer_that_was_kept("caching", "has kept", |answer: &mut Returned| {
    if answer.path_and_query.starts_with("/health/outside") {
        let mut json: Value = serde_json::from_slice(&answer.body).unwrap();
        json["nonce"] = "of somebody before".into();
        answer.body = json.to_string().into_bytes();
    }
})]
#[case::a_cookie_without_httponly("cookies", "without httponly", |answer: &mut Returned| {
    change_cookie(answer, "; HttpOnly", "");
})]
#[case::a_cookie_for_another_path("cookies", "path=/app in place of path=/", |answer: &mut Returned| {
    change_cookie(answer, "Path=/", "Path=/app");
})]
#[case::a_cookie_for_a_domain("cookies", "domain=example.com added", |answer: &mut Returned| {
    change_cookie(answer, "; Path", "; Domain=example.com; Path");
})]
#[tokio::test]
async fn a_proxy_that_changes_answers_is_found(
    #[case] key: &str,
    #[case] words: &str,
    #[case] change: fn(&mut Returned),
) {
    let deployment = Deployment::behind(Conduct::answer(change)).await;
    deployment.finds(key, words).await;
}

/// In the line of the session cookie alone.
fn change_cookie(answer: &mut Returned, from: &str, to: &str) {
    let lines: Vec<String> = answer
        .headers
        .get_all("set-cookie")
        .iter()
        .map(|line| line.to_str().unwrap().to_owned())
        .collect();
    answer.headers.remove("set-cookie");
    for line in lines {
        let line = if line.starts_with("auth_refresh=") {
            line.replace(from, to)
        } else {
            line
        };
        answer
            .headers
            .append("set-cookie", HeaderValue::from_str(&line).unwrap());
    }
}

/// Changes of requests: the address, the scheme, the host, what proves something.
#[rstest]
#[case::a_proxy_that_is_not_configured("", "server.behind_proxy", "not believed", |_: &mut Forwarded| ())]
#[case::a_proxy_that_tells_nothing("", "server.behind_proxy", "via arrives", |request: &mut Forwarded| {
    request.headers.remove("x-forwarded-for");
    set(&mut request.headers, "via", "1.1 front");
})]
#[case::the_client_writes_its_address(BEHIND, "server.behind_proxy", "as the client wrote it", |request: &mut Forwarded| {
    set(&mut request.headers, "x-forwarded-for", "192.0.2.77");
})]
#[case::nobody_writes_an_address(BEHIND, "server.behind_proxy", "no X-Forwarded-For arrives", |request: &mut Forwarded| {
    request.headers.remove("x-forwarded-for");
})]
#[case::no_address_is_written(BEHIND, "server.behind_proxy", "what is no address", |request: &mut Forwarded| {
    set(&mut request.headers, "x-forwarded-for", "unknown");
})]
#[case::a_chain_that_appends(BEHIND, "server.trusted_proxies", "through 2 proxies", |request: &mut Forwarded| {
    append(request, "192.0.2.77", &["10.1.2.3"]);
})]
#[case::a_chain_whose_outer_end_overwrites(BEHIND, "server.trusted_proxies", "through 2 proxies", |request: &mut Forwarded| {
    set(&mut request.headers, "x-forwarded-for", "127.0.0.1, 10.1.2.3");
})]
#[case::another_scheme(BEHIND, "scheme", "came by https", |request: &mut Forwarded| {
    set(&mut request.headers, "x-forwarded-proto", "https");
})]
#[case::another_host(BEHIND, "host", "internal.example", |request: &mut Forwarded| {
    set(&mut request.headers, "host", "internal.example:8081");
})]
#[case::no_authorization(BEHIND, "headers", "Authorization", |request: &mut Forwarded| {
    request.headers.remove("authorization");
})]
#[case::no_cookies(BEHIND, "headers", "session cookie", |request: &mut Forwarded| {
    request.headers.remove("cookie");
})]
#[case::no_query(BEHIND, "headers", "query", |request: &mut Forwarded| {
    let path = request.path_and_query.split('?').next().unwrap().to_owned();
    request.path_and_query = path;
})]
#[case::no_proof(BEHIND, "database.secret_key", "does not accept", |request: &mut Forwarded| {
    request.headers.remove("x-live-proof");
})]
#[tokio::test]
async fn a_proxy_that_changes_requests_is_found(
    #[case] server: &str,
    #[case] key: &str,
    #[case] words: &str,
    #[case] change: fn(&mut Forwarded),
) {
    let deployment = Deployment::with("", server, Conduct::request(change)).await;
    deployment.finds(key, words).await;
}

/// One that appends is as good as one that overwrites: what the client wrote stands to the left.
#[tokio::test]
async fn a_single_proxy_that_appends_is_in_order() {
    let conduct = Conduct::request(|request| append(request, "192.0.2.77", &[]));
    let deployment = Deployment::behind(conduct).await;
    assert_eq!(deployment.findings(&[]).await, Vec::<Value>::new());
}

/// The mend of a chain that appends is what the finding says, and can be overdone.
#[rstest]
#[case::named(r#"["127.0.0.1", "10.1.2.3"]"#, None)]
#[case::the_nearest_proxy_left_out(r#"["10.1.2.3"]"#, Some("through 2 proxies"))]
#[case::half_the_internet(r#"["128.0.0.0/1", "10.0.0.0/8", "127.0.0.1"]"#, Some("client wrote itself"))]
#[tokio::test]
async fn trusting_the_inner_proxies_mends_a_chain(#[case] trusted: &str, #[case] words: Option<&str>) {
    let server = format!("{BEHIND}\ntrusted_proxies = {trusted}");
    let conduct = Conduct::request(|request| {
        set(
            &mut request.headers,
            "x-forwarded-for",
            "192.0.2.77, 198.51.100.4, 10.1.2.3",
        );
    });
    let deployment = Deployment::with("", &server, conduct).await;
    match words {
        None => assert_eq!(deployment.findings(&[]).await, Vec::<Value>::new()),
        Some(words) => drop(deployment.finds("server.trusted_proxies", words).await),
    }
}

#[tokio::test]
async fn a_proxy_that_strips_the_issuers_path_is_found() {
    let conduct = Conduct::request(|request| {
        request.path_and_query = request.path_and_query.replacen("/identity", "", 1);
    });
    let deployment = Deployment::with("/identity", BEHIND, conduct).await;
    deployment.finds("jwt.issuer", "not found below /identity").await;
}

#[tokio::test]
async fn keys_that_the_server_has_not_read_yet_are_found() {
    let deployment = Deployment::behind(Conduct::good()).await;
    let made = ["generate-keys", "--algorithm", "rs256", "--key-size", "2048"];
    deployment
        .directory
        .succeeds(&[&made[..], &["--prepend-to", "riley-auth.toml"]].concat());
    let finding = deployment.finds("jwks", "other keys").await;
    assert!(finding["mend"].as_str().unwrap().contains("SIGHUP"), "{finding}");
}

#[tokio::test]
async fn another_configuration_than_the_servers_is_found() {
    let deployment = Deployment::behind(Conduct::good()).await;
    deployment.directory.edit(
        "[jwt]",
        "[scopes.notes]\ndescription = \"Read your notes\"\n[jwt]",
    );
    deployment.finds("discovery", "in scopes_supported").await;
}

#[tokio::test]
async fn a_clock_that_is_off_is_found() {
    let deployment = Deployment::behind(Conduct::good()).await;
    deployment.state.clock.advance(Duration::seconds(20));
    let finding = deployment.finds("clock", "the server is 1").await;
    assert_eq!(finding["severity"], "warning");
    deployment.state.clock.advance(Duration::seconds(100));
    let finding = deployment.finds("clock", "the server is 1").await;
    assert_eq!(finding["severity"], "error");
    // So far off that the proof is not accepted.
    deployment.state.clock.advance(Duration::minutes(20));
    let finding = deployment.finds("database.secret_key", "does not accept").await;
    assert!(finding["mend"].as_str().unwrap().contains("clocks"), "{finding}");
}

#[tokio::test]
async fn a_provider_that_is_down_is_found() {
    let deployment = Deployment::behind(Conduct::good()).await;
    let nobody = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let provider = format!(
        "[oauth]\nonboarding = \"auto\"\n[oauth.providers.gone]\nissuer = \"http://{nobody}\"\nclient_id = \"a\"\nclient_secret = \"b\"\n\
         allow_insecure_http = true\n[oauth.providers.byhand]\nauth_url = \"http://{nobody}/a\"\ntoken_url = \"http://{nobody}/t\"\n\
         userinfo_url = \"http://{nobody}/u\"\nclient_id = \"a\"\nclient_secret = \"b\"\nallow_insecure_http = true\n\
         [oauth.providers.byhand.profile_mapping]\nsubject = \"id\"\n[jwt]"
    );
    deployment.directory.edit("[jwt]", &provider);
    let findings = deployment.findings(&[]).await;
    let keys: Vec<&str> = findings
        .iter()
        .map(|finding| finding["key"].as_str().unwrap())
        .collect();
    assert_eq!(
        keys,
        ["oauth.providers.gone", "oauth.providers.byhand"],
        "{findings:#?}"
    );
}

/// An app's server that answers, redirects, and misses a path.
async fn app() -> SocketAddr {
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new()
        .route("/callback", get(|| async { StatusCode::BAD_REQUEST }))
        .route("/moved", get(|| async { Redirect::to("/callback") }))
        .route("/gone", get(|| async { StatusCode::GONE }));
    proxy::serve(listener, router);
    address
}

#[tokio::test]
async fn urls_of_apps_that_lead_nowhere_are_found() {
    let deployment = Deployment::behind(Conduct::good()).await;
    deployment.register(&[
        "--redirect-uri",
        "https://no-such-app.invalid/callback",
        "--post-logout-redirect-uri",
        "https://no-such-app.invalid/bye",
        "--backchannel-logout-uri",
        "https://no-such-app.invalid/logout",
    ]);
    // Nobody can be asked on a person's own device.
    deployment.register(&["--type", "native", "--redirect-uri", "http://127.0.0.1/callback"]);
    let findings = deployment.findings(&[]).await;
    let about: Vec<&str> = findings
        .iter()
        .map(|finding| finding["key"].as_str().unwrap().rsplit('.').next().unwrap())
        .collect();
    assert_eq!(
        about,
        [
            "redirect_uris",
            "post_logout_redirect_uris",
            "backchannel_logout_uri"
        ],
        "{findings:#?}"
    );
    assert!(
        findings[0]["problem"]
            .as_str()
            .unwrap()
            .contains("does not resolve")
    );
}

/// Only the columns tell such URLs: the registration refuses plain http elsewhere than on loopback.
#[tokio::test]
async fn an_app_that_misses_its_path_or_redirects_its_back_channel_is_found() {
    let deployment = Deployment::behind(Conduct::good()).await;
    let app = app().await;
    let own = own_address();
    deployment.register(&["--redirect-uri", "https://app.example/callback"]);
    let base = format!("http://{own}:{}", app.port());
    let change = format!(
        "UPDATE oauth_clients SET redirect_uris = ARRAY['{base}/callback', '{base}/missing'], backchannel_logout_uri = '{base}/moved'"
    );
    sqlx::query(AssertSqlSafe(change))
        .execute(&deployment.state.db)
        .await
        .unwrap();
    let findings = deployment.findings(&[]).await;
    let problems: Vec<&str> = findings
        .iter()
        .map(|finding| finding["problem"].as_str().unwrap())
        .collect();
    assert!(problems[0].contains("/missing answers 404"), "{findings:#?}");
    assert!(
        problems[1].contains("is never told of a logout: the URL is not https"),
        "{findings:#?}"
    );
    assert_eq!(problems.len(), 2, "{findings:#?}");

    // The finding's own mend: what is admitted is asked, and judged by what it answers.
    deployment
        .directory
        .edit("[jwt]", "[webhooks]\nallow_private_ips = true\n[jwt]");
    let findings = deployment.findings(&[]).await;
    assert!(
        problem(&findings[1]).contains("/moved redirects, which deliveries do not follow"),
        "{findings:#?}"
    );
    let change = format!("UPDATE oauth_clients SET backchannel_logout_uri = '{base}/gone'");
    sqlx::query(AssertSqlSafe(change))
        .execute(&deployment.state.db)
        .await
        .unwrap();
    let findings = deployment.findings(&[]).await;
    assert!(
        problem(&findings[1]).contains("/gone answers 410"),
        "{findings:#?}"
    );
}

/// An address of this machine that is not loopback.
fn own_address() -> std::net::IpAddr {
    // Nothing is sent: connecting a datagram socket only chooses the way.
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect("192.0.2.1:9").unwrap();
    socket.local_addr().unwrap().ip()
}

#[tokio::test]
async fn a_role_that_lacks_a_privilege_is_found_by_name() {
    let deployment = Deployment::behind(Conduct::good()).await;
    let role = format!("least_{}", common::random_text(8));
    for statement in [
        format!("CREATE ROLE {role} LOGIN PASSWORD 'least'"),
        format!("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}"),
        format!("GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role}"),
    ] {
        sqlx::query(AssertSqlSafe(statement))
            .execute(&deployment.state.db)
            .await
            .unwrap();
    }
    let mut url = url::Url::parse(&deployment.database.url).unwrap();
    url.set_username(&role).unwrap();
    url.set_password(Some("least")).unwrap();
    deployment.directory.edit(&deployment.database.url, url.as_str());
    assert_eq!(deployment.findings(&[]).await, Vec::<Value>::new());
    for (take, words) in [
        ("DELETE ON sessions", "may not read and write sessions"),
        ("SELECT ON _sqlx_migrations", "may not read _sqlx_migrations"),
    ] {
        let statement = format!("REVOKE {take} FROM {role}");
        sqlx::query(AssertSqlSafe(statement))
            .execute(&deployment.state.db)
            .await
            .unwrap();
        let findings = deployment.findings(&[]).await;
        assert!(
            findings[0]["problem"].as_str().unwrap().contains(words),
            "{findings:#?}"
        );
    }
    for statement in [format!("DROP OWNED BY {role}"), format!("DROP ROLE {role}")] {
        sqlx::query(AssertSqlSafe(statement))
            .execute(&deployment.state.db)
            .await
            .unwrap();
    }
}

/// Nothing of it is told to anybody else: without the proof, with a wrong one, the path does not exist.
#[tokio::test]
async fn strangers_learn_nothing_from_the_probe() {
    let op = common::TestProvider::start().await;
    let unknown = op.get("/no/such/path").await;
    for proof in [None, Some("1.2.3.4"), Some("")] {
        let mut request = op.request(reqwest::Method::GET, "/health/outside");
        if let Some(proof) = proof {
            request = request.header("x-live-proof", proof);
        }
        let answer = common::Answer::of(request).await;
        assert_eq!(answer.status, unknown.status);
        assert_eq!(answer.text, unknown.text);
        assert!(answer.headers.get("set-cookie").is_none());
    }
}

/// What is wrong with the configuration itself comes first.
#[tokio::test]
async fn the_view_from_outside_waits_for_a_sound_configuration() {
    let deployment = Deployment::behind(Conduct::good()).await;
    deployment.directory.edit("[jwt]", "[jwt]\nport = 1");
    let findings = deployment.findings(&[]).await;
    assert_eq!(findings.len(), 2, "{findings:#?}");
    assert!(findings[1]["problem"].as_str().unwrap().contains("not looked at"));
}
