use serde_json::Value;

use crate::common::{Directory, TestProvider};

fn json(directory: &Directory, arguments: &[&str]) -> Value {
    let output = directory.run(&[arguments, &["--json"]].concat());
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

fn text(directory: &Directory, arguments: &[&str]) -> String {
    let output = directory.run(arguments);
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// What a refused command says, with exit code 1.
fn refused(directory: &Directory, arguments: &[&str]) -> String {
    let output = directory.run(arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    assert!(output.stdout.is_empty());
    String::from_utf8(output.stderr).unwrap()
}

/// The first administrator is made on the command line, by name or id; the last one stays.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_administrator_is_promoted_and_the_last_one_stays() {
    let op = TestProvider::start().await;
    let (ada, bob) = (op.signed_in("ada").await, op.signed_in("bob").await);
    let directory = Directory::with_key(&op.configuration_text());
    assert_eq!(text(&directory, &["list-users", "--admins"]), "nobody is found\n");
    assert_eq!(json(&directory, &["promote", "ADA"])["role"], "admin");
    ada.read("/admin/users").await;
    assert!(refused(&directory, &["demote", "ada"]).contains("last administrator"));
    assert!(refused(&directory, &["disable", "ada"]).contains("last administrator"));
    assert!(refused(&directory, &["promote", "nobody"]).contains("nobody has this id or username"));
    text(&directory, &["promote", &bob.user_id().await]);
    assert!(text(&directory, &["demote", "ada"]).contains("is no administrator"));
    bob.read("/admin/users").await;
    let trail = bob.read("/admin/audit?actor=command_line").await;
    assert_eq!(trail["items"].as_array().unwrap().len(), 3);
    assert!(trail["items"][0]["actor_user_id"].is_null() && trail["items"][0]["ip_address"].is_null());
    assert_eq!(op.events("user.role_changed").await.len(), 3);
}

/// Accounts are listed as a table for people and as JSON for programs.
#[tokio::test(flavor = "multi_thread")]
async fn accounts_are_listed_for_people_and_for_programs() {
    let op = TestProvider::start().await;
    for person in ["ada", "adam", "bob"] {
        op.signed_in(person).await;
    }
    let directory = Directory::with_key(&op.configuration_text());
    let table = text(&directory, &["list-users", "--username", "AD"]);
    assert!(table.starts_with("USER ID"), "{table}");
    assert!(table.contains("adam") && !table.contains("bob"), "{table}");
    let listed = json(&directory, &["list-users", "--limit", "2"]);
    assert_eq!(listed["more"], true);
    assert_eq!(listed["users"][0]["username"], "bob");
    assert_eq!(
        json(&directory, &["list-users", "--email", "nonsense"])["users"],
        Value::Array(Vec::new())
    );
    text(&directory, &["disable", "bob"]);
    assert_eq!(
        json(&directory, &["list-users", "--disabled"])["users"][0]["username"],
        "bob"
    );
    text(&directory, &["enable", "bob"]);
    op.signed_in("bob").await;
}

/// `revoke USER` ends sessions and tokens, offline ones too, of that person alone; `revoke --all` everybody's.
#[tokio::test(flavor = "multi_thread")]
async fn revoking_ends_sessions_and_tokens_of_one_or_of_everybody() {
    let op = TestProvider::start().await;
    let app = op.client().await;
    let (ada, bob) = (op.signed_in("ada").await, op.signed_in("bob").await);
    let of_ada = app.tokens_of(&ada, "ada", "openid offline_access").await;
    let of_bob = app.tokens_of(&bob, "bob", "openid offline_access").await;
    let directory = Directory::with_key(&op.configuration_text());
    assert_eq!(json(&directory, &["revoke", "ada"])["sessions"], 1);
    assert!(!ada.is_signed_in().await && !app.is_active(of_ada.refresh()).await);
    assert!(bob.is_signed_in().await && app.is_active(of_bob.refresh()).await);
    assert!(text(&directory, &["revoke", "--all"]).contains("everybody is signed out"));
    assert!(!bob.is_signed_in().await && !app.is_active(of_bob.refresh()).await);
    assert!(!app.is_active(&of_bob.access_token).await);
    assert_eq!(op.events("session.revoked").await.len(), 2);
    assert_eq!(
        json(&directory, &["audit", "--action", "everything_revoked"])[0]["details"]["sessions"],
        1
    );
    for usage in [&["revoke"][..], &["revoke", "ada", "--all"]] {
        assert_eq!(directory.run(usage).status.code(), Some(2), "{usage:?}");
    }
}

/// Thousands of sessions end in one run.
#[tokio::test(flavor = "multi_thread")]
async fn revoking_everything_takes_more_than_one_batch() {
    let op = TestProvider::start().await;
    op.signed_in("ada").await;
    sqlx::query(
        "INSERT INTO sessions (session_id, user_id, provider, auth_time, created_at, last_used_at, expires_at)
         SELECT gen_random_uuid(), user_id, 'simulated', 0, now(), now(), now() + interval '1 day'
         FROM users, generate_series(1, 2500)",
    )
    .execute(op.db())
    .await
    .unwrap();
    let directory = Directory::with_key(&op.configuration_text());
    assert_eq!(json(&directory, &["revoke", "--all"])["sessions"], 2501);
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM sessions WHERE ended_at IS NULL")
        .fetch_one(op.db())
        .await
        .unwrap();
    assert_eq!(left, 0);
}

/// AD-8: apps that are registered, given a secret and removed on the command line are heard of and leave entries.
#[tokio::test(flavor = "multi_thread")]
async fn apps_on_the_command_line_are_heard_of_and_leave_entries() {
    let op = TestProvider::start().await;
    let directory = Directory::with_key(&op.configuration_text());
    let made = json(
        &directory,
        &[
            "register-client",
            "--name",
            "Notes",
            "--redirect-uri",
            "https://a.example/",
        ],
    );
    let id = made["client_id"].as_str().unwrap();
    assert!(made["client_secret"].is_string());
    json(&directory, &["rotate-client-secret", id]);
    json(&directory, &["remove-client", id]);
    assert!(refused(&directory, &["remove-client", id]).contains("no such client"));
    for event in ["client.created", "client.updated", "client.deleted"] {
        assert_eq!(op.events(event).await.len(), 1, "{event}");
    }
    let trail = json(&directory, &["audit", "--target", id]);
    let actions: Vec<&str> = trail
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["action"].as_str().unwrap())
        .collect();
    assert_eq!(
        actions,
        ["client_deleted", "client_secret_rotated", "client_created"]
    );
    assert!(
        !trail
            .to_string()
            .contains(made["client_secret"].as_str().unwrap())
    );
}

/// What was done, as apps hear of it and as the trail has it: types of events in no order,
/// actions with their details.
async fn done(op: &TestProvider) -> (Vec<String>, Vec<(String, String)>) {
    let events = sqlx::query_scalar("SELECT event_type FROM events ORDER BY event_type")
        .fetch_all(op.db())
        .await
        .unwrap();
    let trail = sqlx::query_as("SELECT action, details FROM audit_entries ORDER BY sequence")
        .fetch_all(op.db())
        .await
        .unwrap();
    (events, trail)
}

/// AD-8, §8: a command and the request of an administrator do one and the same: the same events, the same entries with the
/// same details. And each command speaks JSON when it is asked to.
#[tokio::test(flavor = "multi_thread")]
async fn commands_and_requests_do_the_same() {
    let by_request = TestProvider::start().await;
    let by_command = TestProvider::start().await;
    let mut ids = Vec::new();
    for op in [&by_request, &by_command] {
        op.administrator("root").await;
        let ada = op.signed_in("ada").await;
        ids.push(ada.user_id().await);
    }
    let root = by_request.signed_in("root").await;
    by_command.signed_in("root").await;
    let user = format!("/admin/users/{}", ids[0]);
    let role = format!("{user}/role");
    for body in [
        serde_json::json!({ "role": "admin" }),
        serde_json::json!({ "role": "user" }),
    ] {
        root.send(reqwest::Method::PATCH, &role, &body).await.is(200);
    }
    for disabled in [true, false] {
        let body = serde_json::json!({ "disabled": disabled });
        root.send(reqwest::Method::PATCH, &user, &body).await.is(200);
    }
    root.remove(&format!("{user}/sessions?include_offline=true"))
        .await
        .is(204);
    root.remove(&user).await.is(204);

    let directory = Directory::with_key(&by_command.configuration_text());
    for (command, shown) in [
        (&["promote", "ada"][..], ("role", "admin")),
        (&["demote", "ada"], ("role", "user")),
        (&["disable", "ada"], ("username", "ada")),
        (&["enable", "ada"], ("username", "ada")),
    ] {
        assert_eq!(json(&directory, command)[shown.0], shown.1, "{command:?}");
    }
    assert_eq!(json(&directory, &["revoke", "ada"])["sessions"], 0);
    assert!(json(&directory, &["delete", "ada", "--yes"]).is_object());
    assert_eq!(done(&by_request).await, done(&by_command).await);
    assert!(json(&directory, &["list-users"])["users"].is_array());
    assert!(json(&directory, &["audit"]).is_array());
    assert_eq!(
        json(&directory, &["export", "root"])["account"]["username"],
        "root"
    );
}

/// AD-8: what breaks a rule of registrations breaks it for both, in the same words.
#[tokio::test(flavor = "multi_thread")]
async fn commands_and_requests_refuse_the_same_registrations() {
    let op = TestProvider::start().await;
    let root = op.administrator("root").await;
    let directory = Directory::with_key(&op.configuration_text());
    for (body, arguments) in [
        (
            serde_json::json!({ "name": "a\u{202e}b", "redirect_uris": ["https://a.example/"] }),
            &["--name", "a\u{202e}b", "--redirect-uri", "https://a.example/"][..],
        ),
        (
            serde_json::json!({ "name": "A", "redirect_uris": ["http://a.example/"] }),
            &["--name", "A", "--redirect-uri", "http://a.example/"],
        ),
        (
            serde_json::json!({ "name": "A", "redirect_uris": ["https://a.example/#x"] }),
            &["--name", "A", "--redirect-uri", "https://a.example/#x"],
        ),
        (
            serde_json::json!({ "name": "A", "redirect_uris": ["https://a.example/"], "scope": "undefined" }),
            &[
                "--name",
                "A",
                "--redirect-uri",
                "https://a.example/",
                "--scope",
                "undefined",
            ],
        ),
        (
            serde_json::json!({ "name": "A", "redirect_uris": ["https://a.example/?code=1"] }),
            &["--name", "A", "--redirect-uri", "https://a.example/?code=1"],
        ),
    ] {
        let answer = root.send(reqwest::Method::POST, "/admin/clients", &body).await;
        answer.refused_with(400, "invalid_client");
        let told = answer.json()["error_description"].as_str().unwrap().to_owned();
        let problem = told.split_once(": ").unwrap().1.to_owned();
        let said = refused(&directory, &[&["register-client"], arguments].concat());
        // The answer's words keep to the characters that a description may have.
        let plain: String = said
            .chars()
            .map(|character| match character {
                '"' | '\\' => '\'',
                ' '..='~' | '\n' => character,
                _ => '?',
            })
            .collect();
        assert!(plain.contains(&problem), "{problem} is not in {plain}");
    }
    assert_eq!(op.trail_length().await, 0);
}

/// Names are reserved and released by the functions of the API: what one does the other sees, and both leave their entry.
#[tokio::test(flavor = "multi_thread")]
async fn names_are_reserved_and_released() {
    let op = TestProvider::with(|config| config.usernames.days_between_changes = 0).await;
    let directory = Directory::with_key(
        &op.configuration_text()
            .replace("[oauth]", "[usernames]\nreserved = [\"root\"]\n[oauth]"),
    );
    let ada = op.signed_in("ada").await;
    let takes = async |name: &str, status: u16| {
        let body = serde_json::json!({ "username": name });
        ada.call(reqwest::Method::PATCH, "/auth/me/username", Some(&body))
            .await
            .is(status);
    };
    let reserved = json(&directory, &["reserve-username", "Support"]);
    assert_eq!(
        reserved,
        serde_json::json!({ "username": "support", "reserved": true })
    );
    takes("SUPPORT", 409).await;
    assert!(refused(&directory, &["reserve-username", "SUPPORT"]).contains("reserved already"));
    assert!(refused(&directory, &["reserve-username", "a b"]).contains("without spaces"));
    let listed = text(&directory, &["list-reserved-usernames"]);
    assert!(
        listed.contains("root") && listed.contains("usernames.reserved") && listed.contains("support"),
        "{listed}"
    );
    let listed = json(&directory, &["list-reserved-usernames"]);
    assert_eq!(
        (&listed[0]["configured"], &listed[1]["configured"]),
        (&true.into(), &false.into())
    );

    let root = op.administrator("root").await;
    let of_api = root.read("/admin/reserved-usernames").await;
    assert_eq!(of_api["items"][0]["username"], "support");
    json(&directory, &["release-username", "support"]);
    assert!(refused(&directory, &["release-username", "support"]).contains("is not reserved"));
    takes("support", 200).await;
    let trail = json(&directory, &["audit", "--target", "support"]);
    let actions: Vec<&str> = trail
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["action"].as_str().unwrap())
        .collect();
    assert_eq!(actions, ["username_released", "username_reserved"]);
}
