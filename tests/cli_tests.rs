//! The program itself, run as an operator runs it.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it like the test itself"
)]

#[path = "common/database.rs"]
mod database;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use database::TestDatabase;
use rstest::rstest;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A directory with a configuration, and commands run in it.
struct Operator {
    directory: TempDir,
}

impl Operator {
    /// With the lines of a configuration that has no keys yet.
    fn new(database_url: &str) -> Self {
        let operator = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        let config = format!(
            "# The identity of example.com\n[database]\nurl = \"{database_url}\"\nsecret_key = \"a-secret-key-of-the-tests-0123456789\"\n\n[jwt]\nissuer = \"https://auth.example.com\" # public\n"
        );
        fs::write(operator.path("riley-auth.toml"), config).unwrap();
        operator
    }

    /// With a key that signs.
    fn with_key(database_url: &str) -> Self {
        let operator = Self::new(database_url);
        operator.succeeds(&["generate-keys", "--prepend-to", "riley-auth.toml"]);
        operator
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn config(&self) -> String {
        fs::read_to_string(self.path("riley-auth.toml")).unwrap()
    }

    fn set_config(&self, text: &str) {
        fs::write(self.path("riley-auth.toml"), text).unwrap();
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_riley-auth"))
            .args(arguments)
            .current_dir(self.directory.path())
            .env_clear()
            .env("HOME", self.directory.path())
            .output()
            .unwrap()
    }

    fn succeeds(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(
            output.status.success(),
            "{arguments:?}: {}{}",
            stderr(&output),
            stdout(&output)
        );
        stdout(&output)
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.succeeds(&[arguments, &["--json"]].concat())).unwrap()
    }

    fn fails(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        format!("{}{}", stdout(&output), stderr(&output))
    }

    fn files_in(&self, directory: &str) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.path(directory))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

const NO_DATABASE: &str = "postgres://nobody@127.0.0.1:1/none";

#[rstest]
#[case(&["frobnicate"])]
#[case(&["generate-keys", "--key-size", "1024"])]
#[case(&["generate-keys", "--emergency"])]
#[case(&["register-client", "--name", "x"])]
#[case(&["register-client", "--name", "x", "--redirect-uri", "https://x", "--type", "secret"])]
fn wrong_usage_exits_with_2(#[case] arguments: &[&str]) {
    let output = Operator::new(NO_DATABASE).run(arguments);
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
}

#[test]
fn a_missing_configuration_says_where_it_was_looked_for() {
    let operator = Operator::new(NO_DATABASE);
    fs::remove_file(operator.path("riley-auth.toml")).unwrap();
    let said = operator.fails(&["keys"]);
    assert!(said.contains("/etc/riley-auth/riley-auth.toml"), "{said}");
}

#[test]
fn the_configuration_is_found_in_a_parent_directory() {
    let operator = Operator::with_key(NO_DATABASE);
    fs::create_dir(operator.path("below")).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_riley-auth"))
        .arg("keys")
        .current_dir(operator.path("below"))
        .env_clear()
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn a_generated_pair_is_named_by_its_kid_and_private() {
    let operator = Operator::new(NO_DATABASE);
    let made = operator.json(&["generate-keys", "--output-dir", "./keys"]);
    let kid = made["kid"].as_str().unwrap();
    assert_eq!(
        operator.files_in("keys"),
        [format!("{kid}.pem"), format!("{kid}.pub.pem")]
    );
    assert_eq!(mode(&operator.path(&format!("keys/{kid}.pem"))), 0o600);
    assert_eq!(made["algorithm"], "ES256");
    operator.succeeds(&["generate-keys", "--output-dir", "./keys"]);
    assert_eq!(
        operator.files_in("keys").len(),
        4,
        "running it again leaves two pairs"
    );
}

#[test]
fn the_printed_lines_make_the_configuration_load() {
    let operator = Operator::new(NO_DATABASE);
    let lines = operator.succeeds(&["generate-keys", "--algorithm", "rs256", "--key-size", "2048"]);
    operator.set_config(&(operator.config() + &lines));
    let keys = operator.json(&["keys"]);
    assert_eq!(keys[0]["algorithm"], "RS256");
    assert_eq!(keys[0]["stage"], "active");
}

/// ES256 unless RSA is asked for, RSA of 4096 bits unless another size is asked for.
#[test]
fn algorithm_and_size_have_defaults() {
    use rsa::pkcs8::DecodePublicKey as _;
    use rsa::traits::PublicKeyParts as _;
    let operator = Operator::new(NO_DATABASE);
    assert_eq!(operator.json(&["generate-keys"])["algorithm"], "ES256");
    for (size, bytes) in [(&[][..], 512), (&["--key-size", "3072"], 384)] {
        let made = operator.json(&[&["generate-keys", "--algorithm", "rs256"], size].concat());
        let pem = fs::read_to_string(operator.path(made["public_key_path"].as_str().unwrap())).unwrap();
        assert_eq!(
            rsa::RsaPublicKey::from_public_key_pem(&pem).unwrap().size(),
            bytes
        );
    }
    assert!(
        operator
            .fails(&["generate-keys", "--algorithm", "es256", "--key-size", "2048"])
            .contains("--key-size")
    );
}

#[test]
fn an_existing_file_is_never_overwritten() {
    let operator = Operator::new(NO_DATABASE);
    operator.succeeds(&["generate-keys", "--kid", "2026-01"]);
    let before = fs::read(operator.path("keys/2026-01.pem")).unwrap();
    operator.fails(&["generate-keys", "--kid", "2026-01"]);
    assert_eq!(fs::read(operator.path("keys/2026-01.pem")).unwrap(), before);
    assert!(
        operator
            .fails(&["generate-keys", "--kid", "../x"])
            .contains("--kid")
    );
}

/// Two keys of one id would make the next reload fail.
#[test]
fn a_kid_that_the_configuration_has_already_is_refused_before_anything_is_written() {
    let operator = Operator::new(NO_DATABASE);
    let prepend = [
        "generate-keys",
        "--kid",
        "2026-01",
        "--prepend-to",
        "riley-auth.toml",
    ];
    operator.succeeds(&prepend);
    let before = operator.config();
    let said = operator.fails(&[&prepend[..], &["--output-dir", "elsewhere"]].concat());
    assert!(said.contains("2026-01"), "{said}");
    assert_eq!(operator.config(), before);
    assert!(!operator.path("elsewhere").exists());
}

/// A variable wins over the file.
#[test]
fn a_prepended_key_waits_for_the_max_age_that_the_server_sends() {
    let operator = Operator::with_key(NO_DATABASE);
    let before = riley_auth::clock::Clock::default().now();
    let made = Command::new(env!("CARGO_BIN_EXE_riley-auth"))
        .args(["generate-keys", "--prepend-to", "riley-auth.toml", "--json"])
        .current_dir(operator.directory.path())
        .env("RILEY_AUTH__JWT__JWKS_CACHE_MAX_AGE_SECS", "86400")
        .output()
        .unwrap();
    let made: Value = serde_json::from_slice(&made.stdout).unwrap();
    let from = made["signs_from"].as_str().unwrap();
    let from = time::OffsetDateTime::parse(from, &time::format_description::well_known::Rfc3339).unwrap();
    assert!(from >= before + time::Duration::seconds(86_399), "{from}");
}

#[test]
fn the_first_key_signs_at_once() {
    let operator = Operator::new(NO_DATABASE);
    let before = operator.config();
    operator.succeeds(&["generate-keys", "--prepend-to", "riley-auth.toml"]);
    assert!(
        operator.config().starts_with(&before),
        "everything that was there stays"
    );
    assert!(!operator.config().contains("signs_from"));
    assert_eq!(operator.json(&["keys"])[0]["stage"], "active");
}

#[test]
fn a_prepended_key_waits_until_caches_have_it_and_comments_stay() {
    let operator = Operator::with_key(NO_DATABASE);
    let commented = operator
        .config()
        .replace("[[jwt.keys]]", "# first signs\n[[jwt.keys]] # the old one")
        + "\n# at the end\n[server]\nport = 9000 # odd\n";
    operator.set_config(&commented);
    let made = operator.json(&["generate-keys", "--prepend-to", "riley-auth.toml"]);
    let text = operator.config();
    for line in commented.lines() {
        assert!(text.contains(line), "{line} is gone from:\n{text}");
    }
    assert!(made["signs_from"].is_string());
    let keys = operator.json(&["keys"]);
    assert_eq!(keys[0]["kid"], made["kid"]);
    assert_eq!(
        (keys[0]["stage"].as_str(), keys[1]["stage"].as_str()),
        (Some("next"), Some("active"))
    );
    let shown = operator.succeeds(&["keys"]);
    assert!(
        shown.contains("signs from") && shown.contains("signs until"),
        "{shown}"
    );
}

/// A key that was put in front by hand has no `signs_from`; servers have recorded when it first signed.
#[tokio::test(flavor = "multi_thread")]
async fn when_an_old_key_can_go_is_known_from_the_first_recorded_use_of_the_new_one() {
    let database = TestDatabase::create().await;
    let operator = Operator::with_key(&database.url);
    operator.succeeds(&["migrate"]);
    let old = operator.json(&["keys"])[0]["kid"].as_str().unwrap().to_owned();
    let made = operator.json(&["generate-keys", "--prepend-to", "riley-auth.toml"]);
    let by_hand: Vec<String> = operator
        .config()
        .lines()
        .filter(|line| !line.starts_with("signs_from"))
        .map(str::to_owned)
        .collect();
    operator.set_config(&by_hand.join("\n"));
    assert_eq!(operator.json(&["keys"])[1]["moves_on_at"], Value::Null);
    let db = sqlx::PgPool::connect(&database.url).await.unwrap();
    sqlx::query(
        "INSERT INTO signing_keys (kid, algorithm, first_seen_at, first_signed_at) VALUES ($1, 'ES256', now(), $2)",
    )
    .bind(made["kid"].as_str().unwrap())
    .bind(time::macros::datetime!(2026-01-01 12:00 UTC))
    .execute(&db)
    .await
    .unwrap();
    let keys = operator.json(&["keys"]);
    assert_eq!(
        (keys[1]["kid"].as_str(), keys[1]["stage"].as_str()),
        (Some(old.as_str()), Some("removable"))
    );
}

#[test]
fn the_old_flat_form_becomes_a_list() {
    let operator = Operator::new(NO_DATABASE);
    let made = operator.json(&["generate-keys", "--algorithm", "rs256", "--key-size", "2048"]);
    let flat = format!(
        "{}private_key_path = {} # since 2020\npublic_key_path = {}\naccess_token_ttl_secs = 600\n",
        operator.config(),
        made["private_key_path"],
        made["public_key_path"],
    );
    operator.set_config(&flat);
    operator.succeeds(&["generate-keys", "--prepend-to", "riley-auth.toml"]);
    assert!(operator.config().contains("# since 2020"));
    let keys = operator.json(&["keys"]);
    assert_eq!(keys.as_array().unwrap().len(), 2);
    assert_eq!(keys[1]["kid"], made["kid"]);
    assert_eq!(
        (keys[0]["stage"].as_str(), keys[1]["stage"].as_str()),
        (Some("next"), Some("active"))
    );
}

#[test]
fn an_inline_list_is_prepended_to() {
    let operator = Operator::with_key(NO_DATABASE);
    let text = operator.config();
    let path = text
        .lines()
        .find(|line| line.starts_with("private_key_path"))
        .unwrap();
    let inline = text.split("[[jwt.keys]]").next().unwrap().to_owned()
        + &format!("keys = [ {{ algorithm = \"ES256\", {path} }} ]\n");
    operator.set_config(&inline);
    operator.succeeds(&["generate-keys", "--prepend-to", "riley-auth.toml"]);
    assert_eq!(operator.json(&["keys"]).as_array().unwrap().len(), 2);
    operator.succeeds(&["generate-keys", "--prepend-to", "riley-auth.toml", "--emergency"]);
    assert_eq!(operator.json(&["keys"]).as_array().unwrap().len(), 1);
}

#[test]
fn in_an_emergency_the_new_key_signs_at_once_and_the_old_one_of_its_algorithm_is_gone() {
    let operator = Operator::with_key(NO_DATABASE);
    let lines = operator.succeeds(&["generate-keys", "--algorithm", "rs256", "--key-size", "2048"]);
    operator.set_config(&(operator.config() + "\n# for old libraries\n" + &lines));
    let made = operator.json(&["generate-keys", "--prepend-to", "riley-auth.toml", "--emergency"]);
    let keys = operator.json(&["keys"]);
    assert_eq!(keys.as_array().unwrap().len(), 2, "{}", operator.config());
    assert_eq!(keys[0]["kid"], made["kid"]);
    assert_eq!(
        (&keys[0]["stage"], &keys[1]["algorithm"]),
        (&"active".into(), &"RS256".into())
    );
    assert!(operator.config().contains("# for old libraries"));
}

#[test]
fn a_configuration_that_cannot_be_changed_leaves_no_stray_pair() {
    let operator = Operator::new(NO_DATABASE);
    operator.set_config("[jwt\n");
    operator.fails(&["generate-keys", "--prepend-to", "riley-auth.toml"]);
    assert!(!operator.path("keys").exists());
}

#[test]
fn validate_offline_reports_everything_at_once_with_its_place() {
    let operator = Operator::new("env:NOT_SET");
    operator.set_config(&(operator.config() + "[server]\nprot = 1\nport = true\n"));
    let report: Value =
        serde_json::from_str(&stdout(&operator.run(&["validate", "--offline", "--json"]))).unwrap();
    assert_eq!(report["valid"], false);
    let found = report["findings"].as_array().unwrap();
    let keys: Vec<&str> = found
        .iter()
        .map(|finding| finding["key"].as_str().unwrap())
        .collect();
    for key in ["database.url", "jwt.keys", "server.prot", "server.port"] {
        assert!(keys.contains(&key), "{key} is not in {keys:?}");
    }
    let prot = found
        .iter()
        .find(|finding| finding["key"] == "server.prot")
        .unwrap();
    assert_eq!(
        (&prot["position"]["line"], &prot["position"]["column"]),
        (&9.into(), &1.into())
    );
    operator.fails(&["validate", "--offline"]);
}

#[test]
fn validate_says_when_no_rs256_key_is_configured_and_when_a_key_is_readable_by_others() {
    let operator = Operator::with_key(NO_DATABASE);
    let report = operator.json(&["validate", "--offline"]);
    assert!(report["findings"].to_string().contains("RS256"));
    let private = operator
        .files_in("keys")
        .into_iter()
        .find(|name| !name.ends_with(".pub.pem"))
        .unwrap();
    fs::set_permissions(
        operator.path("keys").join(private),
        fs::Permissions::from_mode(0o644),
    )
    .unwrap();
    assert!(operator.fails(&["validate", "--offline"]).contains("chmod 600"));
}

#[test]
fn validate_says_that_the_database_does_not_answer() {
    let operator = Operator::with_key(NO_DATABASE);
    let config = operator
        .config()
        .replace("[database]", "[database]\nacquire_timeout_secs = 1");
    operator.set_config(&config);
    assert!(
        operator
            .fails(&["validate"])
            .contains("the database does not answer")
    );
}

/// RS-12: one wrong table does not hide what is wrong elsewhere.
#[test]
fn validate_looks_at_keys_and_database_although_the_configuration_has_errors() {
    let operator = Operator::with_key(NO_DATABASE);
    let config = operator
        .config()
        .replace("[database]", "[database]\nacquire_timeout_secs = 1");
    operator.set_config(&(config + "[server]\nport = 0.5\n"));
    fs::remove_dir_all(operator.path("keys")).unwrap();
    let said = operator.fails(&["validate"]);
    for part in [
        "server.port",
        "the file does not exist",
        "the database does not answer",
    ] {
        assert!(said.contains(part), "{part} is missing in {said}");
    }
}

#[test]
fn completions_and_the_manual_are_made_from_the_same_commands() {
    let operator = Operator::new(NO_DATABASE);
    assert!(
        operator
            .succeeds(&["completions", "bash"])
            .contains("rotate-client-secret")
    );
    assert!(operator.succeeds(&["man"]).contains("generate\\-keys"));
}

#[tokio::test]
async fn validate_finds_nothing_wrong_with_a_migrated_database() {
    let database = TestDatabase::create().await;
    let report = Operator::with_key(&database.url).json(&["validate"]);
    assert_eq!(report["valid"], true);
    assert!(!report["findings"].to_string().contains("database"), "{report}");
}

#[tokio::test]
async fn migrate_applies_what_is_missing_and_says_so() {
    let database = TestDatabase::create().await;
    let operator = Operator::with_key(&database.url);
    assert_eq!(operator.succeeds(&["migrate"]), "the database is up to date\n");
    let db = sqlx::PgPool::connect(&database.url).await.unwrap();
    sqlx::raw_sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        .execute(&db)
        .await
        .unwrap();
    db.close().await;
    assert!(stdout(&operator.run(&["validate"])).contains("migrations are missing"));
    let applied = operator.json(&["migrate"]);
    assert_eq!(applied["applied"][0]["version"], 1);
    assert_eq!(operator.succeeds(&["migrate"]), "the database is up to date\n");
}

#[tokio::test]
async fn a_client_is_registered_listed_given_a_new_secret_and_removed() {
    let database = TestDatabase::create().await;
    let operator = Operator::with_key(&database.url);
    let client = operator.json(&[
        "register-client",
        "--name",
        "Notes",
        "--redirect-uri",
        "https://notes.example.com/cb",
    ]);
    let (id, secret) = (
        client["client_id"].as_str().unwrap(),
        client["client_secret"].as_str().unwrap(),
    );
    assert!(
        id.len() == 22 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()),
        "{id}"
    );
    assert_eq!(secret.len(), 43);
    assert_eq!(
        client["discovery_url"],
        "https://auth.example.com/.well-known/openid-configuration"
    );

    let listed = operator.succeeds(&["list-clients"]);
    assert!(listed.contains(id) && listed.contains("Notes"), "{listed}");
    assert!(!operator.succeeds(&["list-clients", "--json"]).contains(secret));

    let rotated = operator.json(&["rotate-client-secret", id, "--overlap-secs", "60"]);
    assert_ne!(rotated["client_secret"], secret);
    assert!(rotated["previous_secret_expires_at"].is_string());

    operator.succeeds(&["remove-client", id]);
    assert!(operator.fails(&["remove-client", id]).contains("no such client"));
    assert!(
        operator
            .fails(&["rotate-client-secret", id])
            .contains("no such client")
    );
    assert_eq!(operator.json(&["list-clients"]), Value::Array(Vec::new()));
}

#[tokio::test]
async fn every_field_of_a_client_can_be_registered() {
    let database = TestDatabase::create().await;
    let operator = Operator::with_key(&database.url);
    operator
        .set_config(&(operator.config() + "[scopes.\"notes:read\"]\ndescription = \"Read your notes\"\n"));
    let arguments = [
        "register-client",
        "--name",
        "Notes",
        "--redirect-uri",
        "https://a.example/cb",
        "--redirect-uri",
        "https://b.example/cb",
        "--post-logout-redirect-uri",
        "https://a.example/bye",
        "--backchannel-logout-uri",
        "https://a.example/logout",
        "--backchannel-logout-session-required",
        "--scope",
        "notes:read",
        "--scope",
        "offline_access",
        "--auto-approve",
        "--no-require-pkce",
        "--token-endpoint-auth-method",
        "client_secret_post",
        "--id-token-signed-response-alg",
        "ES256",
        "--claims-in-id-token",
        "--audience",
        "https://api.example.com",
        "--refresh-reuse-leeway-secs",
        "0",
        "--grant-type",
        "authorization_code",
        "--grant-type",
        "refresh_token",
    ];
    operator.succeeds(&arguments);
    let clients = operator.json(&["list-clients"]);
    let client = &clients[0];
    assert_eq!(client["redirect_uris"].as_array().unwrap().len(), 2);
    assert_eq!(client["post_logout_redirect_uris"][0], "https://a.example/bye");
    assert_eq!(client["backchannel_logout_uri"], "https://a.example/logout");
    assert_eq!(client["backchannel_logout_session_required"], true);
    assert_eq!(client["scope"], "notes:read offline_access");
    assert_eq!(client["auto_approve"], true);
    assert_eq!(client["require_pkce"], false);
    assert_eq!(client["token_endpoint_auth_method"], "client_secret_post");
    assert_eq!(client["id_token_signed_response_alg"], "ES256");
    assert_eq!(client["claims_in_id_token"], true);
    assert_eq!(client["audience"], "https://api.example.com");
    assert_eq!(client["refresh_reuse_leeway_secs"], 0);
}

/// What is named is changed, what is unset is given up, the rest stays; the whole is judged by the rules of a registration.
#[tokio::test]
async fn a_registered_client_is_changed_disabled_and_enabled() {
    let database = TestDatabase::create().await;
    let operator = Operator::with_key(&database.url);
    let uri = "https://a.example/cb";
    let registered = operator.json(&["register-client", "--name", "Notes", "--redirect-uri", uri]);
    let id = registered["client_id"].as_str().unwrap();
    let change = |flags: &[&str]| operator.json(&[&["change-client", id], flags].concat());
    let before = operator.json(&["show-client", id]);

    let after = change(&[
        "--name",
        "Notebook",
        "--redirect-uri",
        "https://b.example/cb",
        "--post-logout-redirect-uri",
        "https://b.example/bye",
        "--backchannel-logout-uri",
        "https://b.example/logout",
        "--backchannel-logout-session-required",
        "true",
        "--scope",
        "offline_access",
        "--auto-approve",
        "true",
        "--require-pkce",
        "false",
        "--token-endpoint-auth-method",
        "client_secret_post",
        "--id-token-signed-response-alg",
        "ES256",
        "--claims-in-id-token",
        "true",
        "--audience",
        "https://api.example.com",
        "--refresh-reuse-leeway-secs",
        "0",
    ]);
    for (field, value) in [
        ("name", json!("Notebook")),
        ("redirect_uris", json!(["https://b.example/cb"])),
        ("post_logout_redirect_uris", json!(["https://b.example/bye"])),
        ("backchannel_logout_uri", json!("https://b.example/logout")),
        ("backchannel_logout_session_required", json!(true)),
        ("scope", json!("offline_access")),
        ("auto_approve", json!(true)),
        ("require_pkce", json!(false)),
        ("token_endpoint_auth_method", json!("client_secret_post")),
        ("id_token_signed_response_alg", json!("ES256")),
        ("claims_in_id_token", json!(true)),
        ("audience", json!("https://api.example.com")),
        ("refresh_reuse_leeway_secs", json!(0)),
        ("grant_types", before["grant_types"].clone()),
        ("disabled", json!(false)),
    ] {
        assert_eq!(after[field], value, "{field}");
    }
    assert_eq!(operator.json(&["show-client", id]), after);

    let unset: Vec<&str> = [
        "post_logout_redirect_uris",
        "scope",
        "token_endpoint_auth_method",
        "id_token_signed_response_alg",
        "audience",
        "refresh_reuse_leeway_secs",
        "backchannel_logout_uri",
    ]
    .into_iter()
    .flat_map(|field| ["--unset", field])
    .collect();
    let same_as_before = change(
        &[
            &unset[..],
            &[
                "--name",
                "Notes",
                "--redirect-uri",
                uri,
                "--auto-approve",
                "false",
                "--require-pkce",
                "true",
            ],
            &[
                "--claims-in-id-token",
                "false",
                "--backchannel-logout-session-required",
                "false",
            ],
        ]
        .concat(),
    );
    assert_eq!(same_as_before, before);

    assert_eq!(change(&["--disable"])["disabled"], true);
    assert!(operator.succeeds(&["list-clients"]).contains("disabled"));
    assert_eq!(change(&["--enable"])["disabled"], false);

    let refused = |flags: &[&str]| operator.fails(&[&["change-client", id], flags].concat());
    assert!(refused(&["--redirect-uri", "http://evil.example/cb"]).contains("redirect_uris[0]"));
    assert!(refused(&["--audience", "a", "--unset", "audience"]).contains("different things"));
    assert!(
        operator
            .fails(&["change-client", "nobody", "--disable"])
            .contains("no such client")
    );
    assert!(
        operator
            .fails(&["show-client", "nobody"])
            .contains("no such client")
    );
    assert_eq!(operator.run(&["change-client", id]).status.code(), Some(2));
    assert_eq!(
        operator.json(&["show-client", id]),
        before,
        "a refusal changes nothing"
    );
    let shown = operator.succeeds(&["show-client", id]);
    assert!(shown.contains(uri) && !shown.contains("secret_hash"), "{shown}");
}

/// Every rule of a registration that the command can break, each with what is said.
#[rstest]
#[case(&["--redirect-uri", "http://app.example.com/cb"], "redirect_uris[0]")]
#[case(&["--redirect-uri", "https://a/cb", "--scope", "unheard"], "nobody defined this scope")]
#[case(&["--redirect-uri", "https://a/cb", "--id-token-signed-response-alg", "RS256"], "no RS256 key is configured")]
#[case(&["--redirect-uri", "https://a/cb", "--type", "public", "--no-require-pkce"], "PKCE is always required")]
#[case(&["--redirect-uri", "https://a/cb", "--type", "public", "--token-endpoint-auth-method", "client_secret_post"], "only a confidential client has a secret")]
#[case(&["--redirect-uri", "https://a/cb", "--token-endpoint-auth-method", "none"], "proves itself by its secret")]
#[case(&["--redirect-uri", "http://127.0.0.1/cb", "--type", "native", "--auto-approve"], "auto_approve")]
#[case(&["--redirect-uri", "https://a/cb", "--audience", "https://auth.example.com"], "the issuer itself")]
#[case(&["--redirect-uri", "https://a/cb", "--grant-type", "refresh_token"], "authorization_code is missing")]
#[case(&["--redirect-uri", "https://a/cb", "--grant-type", "authorization_code", "--scope", "offline_access"], "needs the grant refresh_token")]
#[case(&["--redirect-uri", "https://a/cb", "--backchannel-logout-session-required"], "no back-channel logout URI")]
#[case(&["--redirect-uri", "https://a/cb", "--backchannel-logout-uri", "http://a/"], "backchannel_logout_uri")]
#[case(&["--redirect-uri", "https://a/cb", "--refresh-reuse-leeway-secs", "301"], "above 300 seconds")]
#[case(&["--redirect-uri", "https://a/cb", "--redirect-uri", "https://a/cb"], "named twice")]
fn a_registration_is_refused_before_the_database_is_asked(#[case] flags: &[&str], #[case] said: &str) {
    let operator = Operator::with_key(NO_DATABASE);
    let output = operator.fails(&[&["register-client", "--name", "x"], flags].concat());
    assert!(output.contains(said), "{output}");
}

#[test]
fn request_object_keys_are_public_keys() {
    let operator = Operator::with_key(NO_DATABASE);
    let register = |jwks: &str| {
        fs::write(operator.path("jwks.json"), jwks).unwrap();
        operator.fails(&[
            "register-client",
            "--name",
            "x",
            "--redirect-uri",
            "https://a/cb",
            "--request-object-jwks",
            "jwks.json",
        ])
    };
    assert!(register("{}").contains("no member keys"));
    assert!(register("{\"keys\":[]}").contains("no key for RS256 or ES256"));
    let ed25519 = "\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"";
    let set = |key: &str| format!("{{\"keys\":[{{{key}}}]}}");
    assert!(register(&set(&format!("{ed25519},\"d\":\"AA\""))).contains("private or symmetric"));
    // Such a key could be registered and no request object of its client would ever be accepted.
    assert!(register(&set(ed25519)).contains("no key for RS256 or ES256"));
}

#[tokio::test]
async fn explain_shows_the_report_without_control_characters() {
    let database = TestDatabase::create().await;
    let operator = Operator::with_key(&database.url);
    let db = sqlx::PgPool::connect(&database.url).await.unwrap();
    let report = serde_json::json!({ "rule": "redirect_uri is not registered", "received": { "redirect_uri": "https://x/\u{1b}[2J" } });
    sqlx::query("INSERT INTO error_reports VALUES ('abc123', $1, now(), now() + interval '7 days')")
        .bind(&report)
        .execute(&db)
        .await
        .unwrap();
    db.close().await;
    let shown = operator.succeeds(&["explain", "abc123"]);
    assert!(
        shown.contains("rule: redirect_uri is not registered")
            && shown.contains("  redirect uri: https://x/"),
        "{shown}"
    );
    assert!(!shown.contains('\u{1b}'));
    assert_eq!(operator.json(&["explain", "abc123"]), report);
    assert!(operator.fails(&["explain", "zzz"]).contains("no report"));
}
