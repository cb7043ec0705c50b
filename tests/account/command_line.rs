use std::process::Output;

use serde_json::{Value, json};

use super::{count, events_of};
use crate::common::{Directory, TestProvider};

fn done(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[track_caller]
fn refused(output: &Output, because: &str) {
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(because) && output.stdout.is_empty(), "{said}");
}

async fn entries(op: &TestProvider) -> Vec<(String, String, Option<String>)> {
    sqlx::query_as("SELECT actor, action, target_personal FROM audit_entries ORDER BY sequence")
        .fetch_all(op.db())
        .await
        .unwrap()
}

/// §8: `delete` by name or id, only with `--yes`, through the same function as the API, and on record.
#[tokio::test(flavor = "multi_thread")]
async fn an_operator_deletes_an_account() {
    let op = TestProvider::start().await;
    let directory = Directory::with_key(&op.configuration_text());
    let (ada, alan) = (op.signed_in("ada").await, op.signed_in("alan").await);
    let (ada_id, alan_id) = (ada.user_id().await, alan.user_id().await);
    refused(&directory.run(&["delete", "ada"]), "--yes");
    assert!(ada.is_signed_in().await);
    refused(
        &directory.run(&["delete", "nobody", "--yes"]),
        "nobody has this id or username",
    );
    refused(
        &directory.run(&["delete", &uuid::Uuid::new_v4().to_string(), "--yes"]),
        "nobody has this id",
    );

    let said = done(&directory.run(&["delete", "ADA", "--yes"]));
    assert!(said.contains("deleted ada") && said.contains(&ada_id), "{said}");
    assert!(!ada.is_signed_in().await && alan.is_signed_in().await);
    let json: Value =
        serde_json::from_str(&done(&directory.run(&["delete", &alan_id, "--yes", "--json"]))).unwrap();
    assert_eq!(json, json!({ "deleted": alan_id }));
    assert!(!alan.is_signed_in().await);
    refused(
        &directory.run(&["delete", &alan_id, "--yes"]),
        "nobody has this id or username",
    );

    assert_eq!(events_of(&op, "user.deleted").await.len(), 2);
    let entry = ("command_line".to_owned(), "user_deleted".to_owned(), None);
    assert_eq!(entries(&op).await, [entry.clone(), entry]);
}

/// AC-9: the command line cannot take the last administrator either.
#[tokio::test(flavor = "multi_thread")]
async fn an_operator_does_not_delete_the_last_administrator() {
    let op = TestProvider::start().await;
    let directory = Directory::with_key(&op.configuration_text());
    let ada = op.signed_in("ada").await;
    sqlx::query("UPDATE users SET role = 'admin'")
        .execute(op.db())
        .await
        .unwrap();
    refused(
        &directory.run(&["delete", "ada", "--yes"]),
        "the last administrator",
    );
    assert!(ada.is_signed_in().await);
    assert_eq!(count(&op, "SELECT count(*) FROM audit_entries").await, 0);
}

/// §8: `export` gives programs the document of the API and people tables, and looking is on record.
#[tokio::test(flavor = "multi_thread")]
async fn an_operator_exports_what_is_held_of_somebody() {
    let op = TestProvider::start().await;
    let directory = Directory::with_key(&op.configuration_text());
    let ada = op.signed_in("ada").await;
    let own = ada
        .call(reqwest::Method::GET, "/auth/me/export", None)
        .await
        .is(200)
        .json();
    let theirs: Value = serde_json::from_str(&done(&directory.run(&["export", "ada", "--json"]))).unwrap();
    for member in ["version", "account", "links", "sessions", "events"] {
        assert_eq!(theirs[member], own[member], "{member}");
    }
    let text = done(&directory.run(&["export", &ada.user_id().await]));
    for said in [
        "username",
        "Ada King Lovelace",
        "links\n",
        "ada@engine.example",
        "consents: none",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
    let entry = (
        "command_line".to_owned(),
        "user_exported".to_owned(),
        Some(r#"{"username":"ada"}"#.to_owned()),
    );
    assert_eq!(entries(&op).await, [entry.clone(), entry]);
    refused(
        &directory.run(&["export", "nobody"]),
        "nobody has this id or username",
    );
}
