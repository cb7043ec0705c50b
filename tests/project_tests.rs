//! What the documents say of the project, held against the project: who imports whom, which test proves which rule, which
//! commands there are.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use regex::Regex;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Files that are the face of a route. What two of them need lies below them.
const ENDPOINTS: [(&str, &[&str]); 2] = [
    (
        "src/oauth_provider",
        &[
            "authorize",
            "consent",
            "discovery",
            "introspect",
            "resume",
            "revoke",
            "token",
            "userinfo",
        ],
    ),
    (
        "src/auth",
        &[
            "callback",
            "link_confirm",
            "link_start",
            "links",
            "login",
            "profile",
            "session",
            "setup",
            "unlink",
        ],
    ),
];

/// The second half of one endpoint, and the view of a person that two answer with.
const ADMITTED: [(&str, &str); 3] = [
    ("resume", "authorize"),
    ("session", "profile"),
    ("setup", "profile"),
];

/// Files outside of `src/db` that may hold SQL: they look at a database as a whole, not at rows.
const SQL_OUTSIDE: [&str; 2] = ["src/cli/migrate.rs", "src/dev/database.rs"];

/// Every `.rs` file below `directory`, relative to the root, and its text.
fn sources(directory: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut waiting = vec![PathBuf::from(directory)];
    while let Some(next) = waiting.pop() {
        for entry in fs::read_dir(Path::new(ROOT).join(&next)).unwrap() {
            let entry = entry.unwrap();
            let path = next.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                waiting.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push((
                    path.to_str().unwrap().to_owned(),
                    fs::read_to_string(entry.path()).unwrap(),
                ));
            }
        }
    }
    assert!(!found.is_empty(), "{directory} holds no source file");
    found.sort();
    found
}

/// Fails with every line of code below `directory` that `pattern` matches, but in the files that `admitted` names.
fn nowhere(directory: &str, pattern: &str, admitted: impl Fn(&str) -> bool) {
    let pattern = Regex::new(pattern).unwrap();
    let hits: Vec<String> = sources(directory)
        .iter()
        .filter(|(path, _)| !admitted(path))
        .flat_map(|(path, text)| text.lines().map(move |line| (path, line.trim())))
        .filter(|(_, line)| !line.starts_with("//") && pattern.is_match(line))
        .map(|(path, line)| format!("{path}: {line}"))
        .collect();
    assert!(hits.is_empty(), "not allowed here:\n{}", hits.join("\n"));
}

#[test]
fn the_rules_know_neither_web_nor_database_nor_runtime() {
    nowhere("src/protocol", r"\b(axum|sqlx|tokio|hyper|reqwest)::", |_| false);
    nowhere(
        "src/protocol",
        r"\bcrate::(auth|cli|config|db|dev|http|oauth_provider|server|upstream)\b",
        |_| false,
    );
}

#[test]
fn the_database_layer_knows_no_web_and_sql_is_nowhere_else() {
    nowhere(
        "src/db",
        r"\b(axum|hyper|reqwest)::|\bcrate::(http|server|auth|oauth_provider)\b",
        |_| false,
    );
    nowhere(
        "src",
        r#"\bsqlx::query|\bquery(_as|_scalar)?!|"(SELECT|INSERT INTO|UPDATE|DELETE FROM|CREATE TABLE) "#,
        |path| path.starts_with("src/db/") || SQL_OUTSIDE.contains(&path),
    );
}

/// DB-4: a statement is a text of the source, and what comes from outside is bound to it. The library takes nothing else
/// unless it is told that a text is safe; nobody says so here.
#[test]
fn no_statement_is_put_together_at_run_time() {
    nowhere(
        "src",
        r"AssertSqlSafe|QueryBuilder|\bsqlx::raw_sql|\bSqlStr\b|\bquery_unchecked!|\bquery(_as|_scalar)?_unchecked!",
        // BEGIN and its like, and what is passed on to sqlx.
        |file| file == "src/db/pool.rs",
    );
    nowhere(
        "src",
        r#"(format|concat|write|writeln)!\(\s*"[^"]*\b(SELECT|INSERT INTO|UPDATE|DELETE FROM|ALTER|CREATE|DROP|TRUNCATE) "#,
        |_| false,
    );
}

/// RS-10: a pooler may give the next transaction another session, so nothing is locked, set, made or listened to in one beyond
/// a transaction. The deliveries listen past it, by sqlx's own means; what they and migrations set in a session of their own is
/// set in one place.
#[test]
fn no_statement_leaves_anything_in_a_session() {
    nowhere(
        "src/db",
        r"(?i)pg_(try_)?advisory_(un)?lock|set_config\([^)]*, false\)|\bset (session|statement_timeout|lock_timeout|search_path)\b|\b(temp|temporary) table|\bcursor (with|for)\b|\bu?n?listen [a-z]+_",
        |file| file == "src/db/mod.rs",
    );
}

/// A request may be dropped at any moment, and the database vanish: sqlx's own pool and transactions answer neither well.
#[test]
fn connections_are_lent_and_given_back_in_one_place() {
    nowhere(
        "src",
        r"\b(PgPool|PgTransaction|PoolConnection|PgPoolOptions|sqlx::Transaction|Acquire)\b|\b(tx|transaction|connection)\.begin\(\)",
        |file| {
            [
                "src/db/pool.rs",
                "src/db/mod.rs",
                "src/db/events.rs",
                "src/dev/database.rs",
            ]
            .contains(&file)
        },
    );
}

/// JW-5: `rsa` and `p256` read key files and give members of JWKs; whatever uses a private key is aws-lc-rs. RUSTSEC-2023-0071
/// is about how long `rsa` takes with one.
#[test]
fn private_keys_are_used_by_one_library_alone() {
    let of_others = r"(^|[^:\w])(rsa|p256|ecdsa|elliptic_curve|ed25519_dalek|rust_crypto)::";
    nowhere("src", of_others, |path| {
        [
            "src/jwt/generate.rs",
            "src/jwt/jwk.rs",
            "src/jwt/pem.rs",
            "src/jwt/private_key.rs",
        ]
        .contains(&path)
            || path.ends_with("tests.rs")
    });
    nowhere(
        "src/jwt",
        r"(^|[^:\w])(rsa|p256)::.*(Sign|sign|RsaPrivateKey|ecdsa|ecdh|decrypt)|\bRsaPrivateKey\b|\bp256::ecdsa\b|\bjsonwebtoken::encode\b",
        |path| path.ends_with("tests.rs"),
    );
    let lints = fs::read_to_string(format!("{ROOT}/.clippy.toml")).unwrap();
    let refused = [
        "rsa::RsaPrivateKey::sign",
        "rsa::RsaPrivateKey::new",
        "rsa::pkcs1v15::SigningKey",
        "jsonwebtoken::encode",
    ];
    for path in refused {
        assert!(
            lints.contains(&format!("path = \"{path}\"")),
            ".clippy.toml refuses {path}"
        );
    }
    // The providers of a token library are chosen by its features.
    let manifest = fs::read_to_string(format!("{ROOT}/Cargo.toml")).unwrap();
    let jsonwebtoken = manifest
        .lines()
        .find(|line| line.starts_with("jsonwebtoken ="))
        .unwrap();
    assert!(jsonwebtoken.contains("default-features = false") && jsonwebtoken.contains("aws_lc_rs"));
    assert!(!jsonwebtoken.contains("rust_crypto"));
    let deny = fs::read_to_string(format!("{ROOT}/.cargo/deny.toml")).unwrap();
    assert!(deny.contains("RUSTSEC-2023-0071"), "the exception says why");
}

#[test]
fn cookies_are_made_in_one_file_and_dev_is_used_by_its_command_alone() {
    nowhere("src", r"__Host-|__Secure-|Cookie::build", |path| {
        path == "src/http/cookies.rs" || path.starts_with("src/dev/")
    });
    nowhere("src", r"\bcrate::dev\b", |path| {
        path.starts_with("src/dev/") || ["src/cli/dev.rs", "src/cli/demo.rs"].contains(&path)
    });
}

#[test]
fn endpoints_do_not_import_each_other() {
    let mut hits = Vec::new();
    for (directory, names) in ENDPOINTS {
        for name in names {
            let text = fs::read_to_string(format!("{ROOT}/{directory}/{name}.rs")).unwrap();
            for other in names.iter().filter(|other| *other != name) {
                let module = directory.trim_start_matches("src/");
                let sideways = Regex::new(&format!(
                    r"(?m)^\s*use (super|crate::{module})::(\{{[^}}]*)?\b{other}\b"
                ))
                .unwrap();
                if sideways.is_match(&text) && !ADMITTED.contains(&(name, other)) {
                    hits.push(format!("{directory}/{name}.rs imports {other}"));
                }
            }
        }
    }
    assert!(hits.is_empty(), "{}", hits.join("\n"));
}

/// A case of a parameterised test: strings, in which anything may stand, and what is beside them.
const CASE: &str = r##"#\[case\(("([^"\\]|\\(?s:.))*"|[^"#])*\)\]\s*"##;

/// The rows of `planning/security.md`.
#[test]
fn every_security_rule_names_a_test_that_exists() {
    let text = fs::read_to_string(format!("{ROOT}/planning/security.md")).unwrap();
    let rows: Vec<Vec<&str>> = text
        .lines()
        .filter(|line| line.starts_with("| "))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .filter(|cells: &Vec<&str>| cells[0] != "id" && !cells[0].starts_with("---"))
        .collect();
    assert!(rows.len() > 40, "the table was not found");
    let ids: BTreeSet<&str> = rows.iter().map(|cells| cells[0]).collect();
    assert_eq!(ids.len(), rows.len(), "an id stands twice");
    let mut missing = Vec::new();
    for cells in rows {
        let [id, _rule, proofs] = cells[..] else {
            panic!("a row has not three cells: {cells:?}")
        };
        for proof in proofs.split(", ") {
            let (path, function) = proof.split_once("::").unwrap_or((proof, ""));
            let source = fs::read_to_string(format!("{ROOT}/{path}")).unwrap_or_default();
            let is_test = Regex::new(&format!(
                r"#\[((tokio::)?test[^\]]*|rstest)\]\s*({CASE}|#\[[^\]]*\]\s*|//[^\n]*\s*)*(async )?fn {function}\("
            ));
            if function.is_empty() || !is_test.unwrap().is_match(&source) {
                missing.push(format!("{id}: {proof}"));
            }
        }
    }
    assert!(missing.is_empty(), "no such test:\n{}", missing.join("\n"));
}

/// Every command line in README's shell blocks, and every command in its table.
#[test]
fn the_commands_of_the_readme_exist() {
    let readme = fs::read_to_string(format!("{ROOT}/README.md")).unwrap();
    let line = Regex::new(r"(?m)^\s*(?:riley-auth|cargo run --release --) ([a-z-]+)(.*)$").unwrap();
    let option = Regex::new(r"--[a-z-]+").unwrap();
    let lines: Vec<(&str, &str)> = line
        .captures_iter(&readme)
        .map(|found| found.extract::<2>().1.into())
        .collect();
    assert!(lines.len() >= 7, "the command lines were not found: {lines:?}");
    for (command, rest) in lines {
        let help = help(&[command]);
        for option in option.find_iter(rest) {
            assert!(
                help.contains(option.as_str()),
                "{command} has no {}",
                option.as_str()
            );
        }
    }
    let commands = readme
        .split("## Commands")
        .nth(1)
        .unwrap()
        .split("## ")
        .next()
        .unwrap();
    let row = Regex::new(r"(?m)^\| (`[^|]*) \|").unwrap();
    let name = Regex::new(r"`([a-z-]+)[^`]*`").unwrap();
    let told: BTreeSet<String> = row
        .captures_iter(commands)
        .flat_map(|cells| name.captures_iter(cells.get(1).unwrap().as_str()))
        .map(|found| found[1].to_owned())
        .collect();
    let listed = Regex::new(r"(?m)^  ([a-z][a-z-]+)  ").unwrap();
    let there: BTreeSet<String> = listed
        .captures_iter(&help(&[]))
        .map(|found| found[1].to_owned())
        .filter(|name| name != "help")
        .collect();
    assert_eq!(told, there, "README's table and --help differ");
}

/// What drives the official suite by hand presses buttons and reads pages by their ids: each is in a page of ours.
#[test]
fn the_pages_have_what_the_suites_driver_presses_and_reads() {
    let driver = fs::read_to_string(format!("{ROOT}/tests/conformance_suite/browser.py")).unwrap();
    let seen = Regex::new(r#"seen\("([a-z-]+)"\)"#).unwrap();
    let mut ids: BTreeSet<String> = seen
        .captures_iter(&driver)
        .map(|found| found[1].to_owned())
        .collect();
    let buttons = Regex::new(r"buttons: \[([^\]]*)\]").unwrap();
    let listed = &buttons.captures(&driver).unwrap()[1];
    ids.extend(listed.split(',').map(|id| id.trim().trim_matches('"').to_owned()));
    assert!(ids.len() >= 7, "{ids:?}");
    let mut pages: String = sources("src").into_iter().map(|(_, text)| text).collect();
    for page in fs::read_dir(format!("{ROOT}/src/dev/front_end")).unwrap() {
        pages += &fs::read_to_string(page.unwrap().path()).unwrap();
    }
    for id in ids {
        let kind = id.split_once('-').map_or(id.as_str(), |(kind, _)| kind);
        let literal = [
            format!("id=\"{id}\""),
            format!("id=\\\"{id}\\\""),
            // Made of somebody's or something's name.
            format!("id=\"{kind}-{{name}}\""),
            format!(".id = \"{kind}-\" + "),
        ];
        let there = literal.iter().any(|text| pages.contains(text.as_str()));
        assert!(there, "no page has an element {id}");
    }
}

/// What `riley-auth COMMAND --help` says; fails if there is no such command.
fn help(command: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_riley-auth"))
        .args(command)
        .arg("--help")
        .output()
        .unwrap();
    assert!(output.status.success(), "there is no command {command:?}");
    String::from_utf8(output.stdout).unwrap()
}
