//! The trail of who did what: every administrative write leaves an entry, entries do not change, and what was done to them
//! behind the program's back is found.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use common::{Browser, Directory, TestProvider};
use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};

/// A provider whose trail has five entries: a name reserved, an app registered, somebody promoted, demoted, disabled.
async fn with_a_trail() -> (TestProvider, Browser, Browser) {
    let op = TestProvider::start().await;
    let root = op.administrator("root").await;
    let ada = op.signed_in("ada").await;
    let id = ada.user_id().await;
    let send = async |method: Method, path: &str, body: Value| {
        let answer = root.send(method, path, &body).await;
        assert!(answer.status.is_success(), "{}", answer.text);
    };
    send(
        Method::POST,
        "/admin/reserved-usernames",
        json!({ "username": "pope" }),
    )
    .await;
    let app = json!({ "name": "Notes", "redirect_uris": ["https://a.example/"] });
    send(Method::POST, "/admin/clients", app).await;
    let role = format!("/admin/users/{id}/role");
    send(Method::PATCH, &role, json!({ "role": "admin" })).await;
    send(Method::PATCH, &role, json!({ "role": "user" })).await;
    send(
        Method::PATCH,
        &format!("/admin/users/{id}"),
        json!({ "disabled": true }),
    )
    .await;
    (op, root, ada)
}

/// Exit code and what it says.
fn verify(directory: &Directory, arguments: &[&str]) -> (bool, Value) {
    let output = directory.run(&[&["audit", "verify", "--json"], arguments].concat());
    let said = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| {
        panic!("{}", String::from_utf8_lossy(&output.stderr));
    });
    (output.status.success(), said)
}

/// The findings as `number problem`.
fn findings(said: &Value) -> Vec<String> {
    let findings = said["findings"].as_array().unwrap().iter();
    findings
        .map(|finding| format!("{} {}", finding["sequence"], finding["problem"].as_str().unwrap()))
        .collect()
}

/// Statements as somebody sends them who owns the database: with the trigger out of the way.
async fn tamper(op: &TestProvider, statements: &str) {
    let script = format!(
        "ALTER TABLE audit_entries DISABLE TRIGGER USER; {statements}; ALTER TABLE audit_entries ENABLE TRIGGER USER;"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(script))
        .execute(op.db())
        .await
        .unwrap();
}

/// AD-7: who, what, on whom, when and from where, for every kind of administrative write.
#[tokio::test]
async fn every_administrative_write_leaves_an_entry() {
    let (op, root, ada) = with_a_trail().await;
    let (root_id, ada_id) = (
        root.user_id().await,
        sqlx::query_scalar::<_, uuid::Uuid>("SELECT user_id FROM users WHERE username = 'ada'")
            .fetch_one(op.db())
            .await
            .unwrap(),
    );
    drop(ada);
    let page = root.read("/admin/audit").await;
    let entries = page["items"].as_array().unwrap();
    let actions: Vec<&str> = entries
        .iter()
        .map(|entry| entry["action"].as_str().unwrap())
        .collect();
    assert_eq!(
        actions,
        [
            "user_disabled",
            "user_role_changed",
            "user_role_changed",
            "client_created",
            "username_reserved"
        ]
    );
    for (entry, sequence) in entries.iter().zip([5, 4, 3, 2, 1]) {
        assert_eq!(entry["sequence"], sequence);
        assert_eq!(
            (&entry["actor"], &entry["actor_user_id"]),
            (&json!("user"), &json!(root_id))
        );
        assert_eq!(entry["ip_address"], "127.0.0.1");
        assert!(entry["created_at"].as_str().unwrap().ends_with('Z'));
    }
    assert_eq!(entries[0]["target_id"], json!(ada_id));
    assert_eq!(entries[0]["target_username"], "ada");
    assert_eq!(
        entries[1]["details"],
        json!({ "old_role": "admin", "new_role": "user" })
    );
    assert_eq!(entries[3]["target_kind"], "client");
    assert_eq!(entries[4]["target_id"], "pope");
}

/// What is refused leaves no entry, and an entry is there if and only if its change is.
#[tokio::test]
async fn what_was_refused_leaves_no_entry() {
    let (op, root, _) = with_a_trail().await;
    let client = json!({ "name": "", "redirect_uris": [] });
    root.send(Method::POST, "/admin/clients", &client)
        .await
        .refused_with(400, "invalid_client");
    let role = format!("/admin/users/{}/role", root.user_id().await);
    root.send(Method::PATCH, &role, &json!({ "role": "user" }))
        .await
        .refused_with(409, "last_admin");
    root.remove("/admin/clients/nobody")
        .await
        .refused_with(404, "not_found");
    assert_eq!(op.trail_length().await, 5);
    // The entry cannot be written: its change is not made either.
    tamper(
        &op,
        "ALTER TABLE audit_entries ADD CONSTRAINT trail_is_full CHECK (sequence <= 5)",
    )
    .await;
    let failed = root
        .send(
            Method::POST,
            "/admin/reserved-usernames",
            &json!({ "username": "late" }),
        )
        .await;
    assert_eq!(failed.status, 500);
    let reserved = root.read("/admin/reserved-usernames").await;
    assert_eq!(reserved["items"].as_array().unwrap().len(), 1);
}

/// Entries are found by actor, action, target and time, page by page.
#[tokio::test]
async fn entries_are_found_by_actor_action_target_and_time() {
    let (op, root, _) = with_a_trail().await;
    let count = async |query: &str| {
        root.read(&format!("/admin/audit?{query}")).await["items"]
            .as_array()
            .unwrap()
            .len()
    };
    let root_id = root.user_id().await;
    assert_eq!(count("actor=user").await, 5);
    assert_eq!(count("actor=system").await, 0);
    assert_eq!(count(&format!("actor_user_id={root_id}")).await, 5);
    assert_eq!(
        count("actor_user_id=2b1fd1ae-6a47-4c07-8d07-3c6bd2c5b4a1").await,
        0
    );
    assert_eq!(count("action=user_role_changed").await, 2);
    assert_eq!(count("target_id=pope").await, 1);
    assert_eq!(count("until=2020-01-01T00:00:00Z").await, 0);
    assert_eq!(count("from=2020-01-01T00:00:00Z").await, 5);
    op.advance_secs(3600);
    root.send(
        Method::POST,
        "/admin/reserved-usernames",
        &json!({ "username": "late" }),
    )
    .await
    .is(201);
    let later = op.clock().now() - time::Duration::minutes(1);
    let later = later
        .format(&time::format_description::well_known::Rfc3339)
        .unwrap();
    assert_eq!(count(&format!("from={later}")).await, 1);
    assert_eq!(count(&format!("until={later}")).await, 5);
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = root.read(&format!("/admin/audit?limit=4{cursor}")).await;
        for entry in page["items"].as_array().unwrap() {
            seen.push(entry["sequence"].as_i64().unwrap());
        }
        let Some(next) = page["next_cursor"].as_str() else {
            break;
        };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(seen, [6, 5, 4, 3, 2, 1]);
    filters_hold_on_every_page(&root, &root_id, &later).await;
}

/// One entry at a time, the newest first, whichever filter is sent with each cursor.
async fn filters_hold_on_every_page(root: &Browser, root_id: &str, later: &str) {
    for (filter, expected) in [
        ("action=user_role_changed".to_owned(), &[4, 3][..]),
        ("action=username_reserved".to_owned(), &[6, 1]),
        (
            format!("actor_user_id={root_id}&action=username_reserved"),
            &[6, 1],
        ),
        ("actor=user".to_owned(), &[6, 5, 4, 3, 2, 1]),
        ("target_id=pope".to_owned(), &[1]),
        (format!("until={later}&action=username_reserved"), &[1]),
        (format!("from={later}"), &[6]),
        ("actor=command_line".to_owned(), &[]),
    ] {
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = root.read(&format!("/admin/audit?{filter}&limit=1{cursor}")).await;
            let items = page["items"].as_array().unwrap();
            assert!(items.len() <= 1, "{page}");
            seen.extend(items.iter().map(|entry| entry["sequence"].as_i64().unwrap()));
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(seen, expected, "{filter}");
    }
}

/// What a deletion empties: what tells of a person, and what its commitment was salted with.
const EMPTIED: [&str; 4] = ["actor_personal", "actor_salt", "target_personal", "target_salt"];

/// Another value for every column of the trail that the catalogue knows, as assignments.
async fn other_values(op: &TestProvider) -> Vec<(String, String)> {
    let columns: Vec<(String, String)> = sqlx::query_as(
        "SELECT column_name::text, data_type::text FROM information_schema.columns
         WHERE table_name = 'audit_entries' ORDER BY ordinal_position",
    )
    .fetch_all(op.db())
    .await
    .unwrap();
    let other = |name: &str, kind: &str| match kind {
        "bigint" | "integer" | "smallint" => format!("coalesce({name}, 0) + 100"),
        "text" => format!("coalesce({name}, '') || 'x'"),
        "bytea" => format!(
            "set_byte(coalesce({name}, '\\x0000'), 0, (get_byte(coalesce({name}, '\\x0000'), 0) + 1) % 256)"
        ),
        "uuid" => "gen_random_uuid()".to_owned(),
        "timestamp with time zone" => format!("{name} + interval '1 microsecond'"),
        other => panic!("say what another value of {name}, {other}, is"),
    };
    let other = |(name, kind): (String, String)| {
        let value = other(&name, &kind);
        (name.clone(), format!("{name} = {value}"))
    };
    columns.into_iter().map(other).collect()
}

#[track_caller]
fn is_append_only(outcome: Result<sqlx::postgres::PgQueryResult, sqlx::Error>, statement: &str) {
    let refused = outcome.expect_err(statement).to_string();
    assert!(refused.contains("append-only"), "{statement}: {refused}");
}

/// AD-7: the trail is append-only. No column takes another value, and none but the personal ones can be emptied; what was
/// emptied stays empty; and nothing else changes along with it.
#[tokio::test]
async fn an_entry_is_neither_changed_nor_removed() {
    let (op, ..) = with_a_trail().await;
    let run = async |statement: &str| {
        let sql = sqlx::AssertSqlSafe(statement.to_owned());
        sqlx::raw_sql(sql).execute(op.db()).await
    };
    let refused = async |statement: &str| is_append_only(run(statement).await, statement);
    let columns = other_values(&op).await;
    assert!(columns.len() > 14, "{columns:?}");
    for name in EMPTIED {
        assert!(columns.iter().any(|(column, _)| column == name), "{name}");
    }
    for (name, assignment) in &columns {
        refused(&format!("UPDATE audit_entries SET {assignment}")).await;
        refused(&format!(
            "UPDATE audit_entries SET {assignment} WHERE sequence = 5"
        ))
        .await;
        if !EMPTIED.contains(&name.as_str()) {
            // A value that is missing already stays so.
            refused(&format!(
                "UPDATE audit_entries SET {name} = NULL WHERE {name} IS NOT NULL"
            ))
            .await;
            for emptied in [
                "actor_personal = NULL, actor_salt = NULL",
                "target_personal = NULL, target_salt = NULL",
            ] {
                refused(&format!("UPDATE audit_entries SET {emptied}, {assignment}")).await;
            }
        }
    }
    for statement in [
        "UPDATE audit_entries SET actor_personal = target_personal, target_personal = NULL, target_salt = NULL",
        "UPDATE audit_entries SET actor_salt = target_salt",
        "DELETE FROM audit_entries",
        "DELETE FROM audit_entries WHERE sequence = 5",
        "TRUNCATE audit_entries",
        "TRUNCATE audit_entries CASCADE",
    ] {
        refused(statement).await;
    }
    let kept = "SELECT (to_jsonb(entry) - $1::text[])::text FROM audit_entries entry ORDER BY sequence";
    let kept = async || -> Vec<String> {
        let rows = sqlx::query_scalar(kept)
            .bind(EMPTIED.as_slice())
            .fetch_all(op.db());
        rows.await.unwrap()
    };
    let before = kept().await;
    let set: Vec<String> = EMPTIED.iter().map(|name| format!("{name} = NULL")).collect();
    let emptied = run(&format!("UPDATE audit_entries SET {}", set.join(", "))).await;
    assert_eq!(emptied.unwrap().rows_affected(), 5);
    for (name, assignment) in &columns {
        if EMPTIED.contains(&name.as_str()) {
            refused(&format!("UPDATE audit_entries SET {assignment}")).await;
        }
    }
    assert_eq!(kept().await, before);
    assert_eq!(before.len(), 5);
}

/// A trail that nobody touched is whole, also after a deletion has emptied what told of a person, and after a change of key.
#[tokio::test(flavor = "multi_thread")]
async fn an_untouched_trail_is_whole() {
    let (op, root, _) = with_a_trail().await;
    let directory = Directory::with_key(&op.configuration_text());
    let (whole, said) = verify(&directory, &[]);
    assert!(whole, "{said}");
    assert_eq!((&said["entries"], &said["emptied"]), (&json!(5), &json!(0)));
    let expected = format!(
        "{}:{}",
        said["last"]["sequence"],
        said["last"]["mac"].as_str().unwrap()
    );

    let ada: uuid::Uuid = sqlx::query_scalar("SELECT user_id FROM users WHERE username = 'ada'")
        .fetch_one(op.db())
        .await
        .unwrap();
    root.remove(&format!("/admin/users/{ada}")).await.is(204);
    let dump: String = sqlx::query_scalar("SELECT string_agg(audit_entries::text, ' ') FROM audit_entries")
        .fetch_one(op.db())
        .await
        .unwrap();
    assert!(!dump.contains("\"ada\"") && !dump.contains("ada\"\""), "{dump}");
    let (whole, said) = verify(&directory, &["--expect", &expected]);
    assert!(whole, "{said}");
    assert_eq!((&said["entries"], &said["emptied"]), (&json!(6), &json!(4)));

    directory.edit(
        "secret_key = \"a-secret-key-of-the-tests-0123456789\"",
        "secret_key = \"another-secret-key-of-the-tests-98765\"\nprevious_secret_keys = [\"a-secret-key-of-the-tests-0123456789\"]",
    );
    assert!(directory.run(&["promote", "root"]).status.success());
    assert!(directory.run(&["revoke", "root"]).status.success());
    let (whole, said) = verify(&directory, &["--expect", &expected]);
    assert!(whole, "{said}");
    directory.edit(
        "previous_secret_keys = [\"a-secret-key-of-the-tests-0123456789\"]",
        "",
    );
    let (whole, said) = verify(&directory, &[]);
    assert!(!whole && findings(&said).len() == 6, "{said}");
}

/// Whoever changes the table behind the program's back is found, and the entry is named.
#[rstest]
#[case::changed("UPDATE audit_entries SET details = '{\"old_role\":\"user\",\"new_role\":\"user\"}' WHERE sequence = 3", &["3 altered"])]
#[case::another_actor("UPDATE audit_entries SET actor = 'system', actor_user_id = NULL WHERE sequence = 2", &["2 altered"])]
#[case::another_time("UPDATE audit_entries SET created_at = created_at - interval '1 day' WHERE sequence = 4", &["4 altered"])]
#[case::missing("DELETE FROM audit_entries WHERE sequence = 3", &["3 missing"])]
#[case::missing_first("DELETE FROM audit_entries WHERE sequence < 3", &["1 missing"])]
#[case::closed_gap(
    "DELETE FROM audit_entries WHERE sequence = 2; UPDATE audit_entries SET sequence = sequence - 1 WHERE sequence > 2",
    &["2 altered", "3 altered", "4 altered"]
)]
#[case::inserted_at_the_end("INSERT INTO audit_entries SELECT 6, created_at, actor, actor_user_id, actor_personal, actor_salt, actor_commitment, action, target_kind, target_id, target_user_id, target_personal, target_salt, target_commitment, details, key_id, mac FROM audit_entries WHERE sequence = 5", &["6 altered"])]
#[case::inserted_before("INSERT INTO audit_entries SELECT 0, created_at, actor, actor_user_id, actor_personal, actor_salt, actor_commitment, action, target_kind, target_id, target_user_id, target_personal, target_salt, target_commitment, details, key_id, mac FROM audit_entries WHERE sequence = 5", &["0 inserted"])]
#[case::swapped(
    "UPDATE audit_entries SET sequence = -1 WHERE sequence = 3; UPDATE audit_entries SET sequence = 3 WHERE sequence = 4; \
     UPDATE audit_entries SET sequence = 4 WHERE sequence = -1",
    &["3 altered", "4 altered", "5 altered"]
)]
#[case::another_address("UPDATE audit_entries SET actor_personal = '{\"ip_address\":\"203.0.113.9\"}' WHERE sequence = 1", &["1 actor_altered"])]
#[case::another_commitment("UPDATE audit_entries SET target_commitment = sha256('x') WHERE sequence = 5", &["5 altered", "5 target_altered"])]
#[case::commitment_with_its_text(
    "UPDATE audit_entries SET target_personal = '{}', target_salt = '\\x00', target_commitment = sha256('\\x00'::bytea || '{}'::bytea) WHERE sequence = 5",
    &["5 altered"]
)]
#[case::emptied_without_a_deletion("UPDATE audit_entries SET target_personal = NULL, target_salt = NULL WHERE sequence = 5", &["5 target_emptied"])]
#[case::half_emptied("UPDATE audit_entries SET actor_salt = NULL WHERE sequence = 5", &["5 actor_emptied"])]
#[case::unknown_key("UPDATE audit_entries SET key_id = '\\x0000000000000000' WHERE sequence = 2", &["2 unknown_key"])]
#[case::another_mac("UPDATE audit_entries SET mac = sha256('x') WHERE sequence = 5", &["5 altered"])]
#[tokio::test(flavor = "multi_thread")]
async fn what_was_done_behind_the_programs_back_is_found(
    #[case] statements: &str,
    #[case] expected: &[&str],
) {
    let (op, ..) = with_a_trail().await;
    tamper(&op, statements).await;
    let directory = Directory::with_key(&op.configuration_text());
    let (whole, said) = verify(&directory, &[]);
    assert!(!whole, "{said}");
    assert_eq!(findings(&said), expected);
    let text = directory.run(&["audit", "verify"]);
    assert_eq!(text.status.code(), Some(1));
    let errors = String::from_utf8(text.stderr).unwrap();
    for finding in expected {
        assert!(errors.contains(finding.split(' ').next().unwrap()), "{errors}");
    }
}

/// What was cut off at the end, or written anew, is known to who remembers the last entry.
#[tokio::test(flavor = "multi_thread")]
async fn a_trail_that_was_cut_off_is_not_the_one_that_was_remembered() {
    let (op, ..) = with_a_trail().await;
    let directory = Directory::with_key(&op.configuration_text());
    let (_, said) = verify(&directory, &[]);
    let expected = format!(
        "{}:{}",
        said["last"]["sequence"],
        said["last"]["mac"].as_str().unwrap()
    );
    tamper(&op, "DELETE FROM audit_entries WHERE sequence = 5").await;
    assert!(verify(&directory, &[]).0);
    let (whole, said) = verify(&directory, &["--expect", &expected]);
    assert!(!whole);
    assert_eq!(findings(&said), ["5 cut_off"]);
    // The program itself writes another fifth entry: the chain is sound, but it is not the one that was remembered.
    assert!(directory.run(&["revoke", "root"]).status.success());
    assert!(verify(&directory, &[]).0);
    let (whole, said) = verify(&directory, &["--expect", &expected]);
    assert!(!whole);
    assert_eq!(findings(&said), ["5 not_as_expected"]);
    for usage in ["5", "5:abc", "x:00", "5:"] {
        let output = directory.run(&["audit", "verify", "--expect", usage]);
        assert_eq!(output.status.code(), Some(2), "{usage}");
    }
}

/// Administrators who write at once make one chain without a gap.
#[tokio::test(flavor = "multi_thread")]
async fn entries_that_are_written_at_once_make_one_chain() {
    let op = TestProvider::start().await;
    let root = std::sync::Arc::new(op.administrator("root").await);
    for round in 0..100 {
        let barrier = std::sync::Arc::new(tokio::sync::Barrier::new(20));
        let writers: Vec<_> = (0..20)
            .map(|number| {
                let (root, barrier) = (std::sync::Arc::clone(&root), std::sync::Arc::clone(&barrier));
                tokio::spawn(async move {
                    barrier.wait().await;
                    let name = json!({ "username": format!("name-{round}-{number}") });
                    root.send(Method::POST, "/admin/reserved-usernames", &name)
                        .await
                        .status
                })
            })
            .collect();
        for writer in writers {
            assert_eq!(writer.await.unwrap(), 201);
        }
    }
    let directory = Directory::with_key(&op.configuration_text());
    let (whole, said) = verify(&directory, &[]);
    assert!(whole, "{said}");
    assert_eq!(said["entries"], 2000);
}

/// The list on the command line: a table for people, JSON for programs, the same filters.
#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_lists_the_trail() {
    let (op, root, _) = with_a_trail().await;
    let directory = Directory::with_key(&op.configuration_text());
    let run = |arguments: &[&str]| {
        let output = directory.run(&[&["audit"], arguments].concat());
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    };
    let table = run(&[]);
    assert!(
        table.starts_with("NUMBER") && table.contains("127.0.0.1") && table.contains("ada ("),
        "{table}"
    );
    assert_eq!(table.lines().count(), 6);
    let listed: Value = serde_json::from_str(&run(&["--json"])).unwrap();
    assert_eq!(listed, root.read("/admin/audit").await["items"]);
    assert_eq!(run(&["--actor", "ROOT", "--limit", "2"]).lines().count(), 3);
    assert_eq!(run(&["--actor", "command_line"]), "no entry is found\n");
    assert_eq!(run(&["--action", "user_role_changed"]).lines().count(), 3);
    assert_eq!(run(&["--target", "pope"]).lines().count(), 2);
    assert_eq!(run(&["--until", "2020-01-01T00:00:00Z"]), "no entry is found\n");
    for usage in [
        &["audit", "--action", "coup"][..],
        &["audit", "--from", "yesterday"],
        &["audit", "--limit", "0"],
    ] {
        assert_eq!(directory.run(usage).status.code(), Some(2), "{usage:?}");
    }
}
