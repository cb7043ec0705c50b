use std::collections::BTreeSet;

use reqwest::Method;
use riley_auth::accounts::export::MAX_ROWS;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::common::schema::misfit;
use crate::common::{Browser, Directory, TestProvider};

/// Tables whose rows belong to people: how a person's rows are found, and which member of the export shows them.
const OF_PEOPLE: &[(&str, &str, &str)] = &[
    ("users", "user_id = $1", "account"),
    ("held_usernames", "user_id = $1", "held_usernames"),
    ("oauth_links", "user_id = $1", "links"),
    ("sessions", "user_id = $1", "sessions"),
    (
        "session_tokens",
        "session_id IN (SELECT session_id FROM sessions WHERE user_id = $1)",
        "session_renewals",
    ),
    ("consents", "user_id = $1", "consents"),
    ("authorization_codes", "user_id = $1", "authorization_codes"),
    ("grants", "user_id = $1", "grants"),
    (
        "refresh_tokens",
        "grant_id IN (SELECT grant_id FROM grants WHERE user_id = $1)",
        "refresh_tokens",
    ),
    ("events", "user_id = $1", "events"),
    ("deliveries", "user_id = $1", "logout_notices"),
    (
        "audit_entries",
        "actor_user_id = $1 OR target_user_id = $1",
        "audit_entries",
    ),
];

/// Columns of those tables that the export leaves out, and why.
const LEFT_OUT: &[(&str, &str)] = &[
    ("users.username_folded", "derived from username"),
    ("deliveries.endpoint", "where the receiver is"),
    ("deliveries.attempts_before_redelivery", "how the sending went"),
    ("users.deleted_at", "an account with a value here is gone"),
    ("held_usernames.user_id", "the account's own id"),
    ("oauth_links.user_id", "the account's own id"),
    ("oauth_links.email_folded", "derived from email"),
    ("sessions.user_id", "the account's own id"),
    ("session_tokens.token_hash", "the hash of a credential"),
    ("session_tokens.parent_hash", "the hash of a credential"),
    ("session_tokens.successor_salt", "opens a credential"),
    ("consents.user_id", "the account's own id"),
    ("authorization_codes.user_id", "the account's own id"),
    ("authorization_codes.code_hash", "the hash of a credential"),
    (
        "authorization_codes.code_challenge",
        "the hash of a credential of the app",
    ),
    (
        "authorization_codes.nonce",
        "repeated by the grant that it becomes",
    ),
    ("authorization_codes.acr", "repeated by the session"),
    ("authorization_codes.amr", "repeated by the session"),
    (
        "authorization_codes.claims",
        "repeated by the grant that it becomes",
    ),
    ("grants.user_id", "the account's own id"),
    ("refresh_tokens.token_hash", "the hash of a credential"),
    ("refresh_tokens.parent_hash", "the hash of a credential"),
    ("refresh_tokens.successor_salt", "opens a credential"),
    ("events.user_id", "the account's own id"),
    ("events.scrubbed_at", "only set once the account is gone"),
    (
        "deliveries.delivery_id",
        "how the sending went, not what was sent",
    ),
    ("deliveries.kind", "always the same for a row that names a person"),
    ("deliveries.event_id", "never set for a row that names a person"),
    ("deliveries.webhook_id", "never set for a row that names a person"),
    ("deliveries.user_id", "the account's own id"),
    ("deliveries.attempts", "how the sending went, not what was sent"),
    (
        "deliveries.next_attempt_at",
        "how the sending went, not what was sent",
    ),
    ("deliveries.lease_id", "how the sending went, not what was sent"),
    (
        "deliveries.leased_until",
        "how the sending went, not what was sent",
    ),
    (
        "audit_entries.actor",
        "told as by_this_person; otherwise somebody else's",
    ),
    (
        "audit_entries.actor_user_id",
        "told as by_this_person; otherwise somebody else's",
    ),
    ("audit_entries.actor_salt", "part of a commitment"),
    ("audit_entries.actor_commitment", "part of the chain"),
    ("audit_entries.target_kind", "told as on_this_person"),
    (
        "audit_entries.target_id",
        "told as on_this_person; otherwise somebody else's",
    ),
    (
        "audit_entries.target_user_id",
        "told as on_this_person; otherwise somebody else's",
    ),
    ("audit_entries.target_salt", "part of a commitment"),
    ("audit_entries.target_commitment", "part of the chain"),
    ("audit_entries.key_id", "part of the chain"),
    ("audit_entries.mac", "part of the chain"),
];

/// Tables of which no row is exported, and why.
const NOT_OF_PEOPLE: &[(&str, &str)] = &[
    ("_sqlx_migrations", "the schema's own history"),
    ("oauth_clients", "apps"),
    ("reserved_usernames", "names that nobody has"),
    ("held_username_hashes", "names of accounts that are gone, by hash"),
    ("error_reports", "nothing personal by design"),
    ("signing_keys", "keys of the server"),
    ("jwks_max_ages", "for how long their list may be kept"),
    ("webhooks", "receivers of events"),
    ("delivery_attempts", "how the sending of an event went"),
    (
        "upstream_logout_tokens",
        "which logout tokens of providers have counted, by their ids",
    ),
    ("schema_minimum", "the schema's own history"),
    (
        "authorization_requests",
        "waits for minutes, sealed under a handle that only the browser has",
    ),
    (
        "upstream_flows",
        "waits for minutes, sealed under a handle that only the browser has",
    ),
    (
        "pending_identities",
        "waits for minutes, sealed under a handle that only the browser has",
    ),
];

async fn export(browser: &Browser) -> Value {
    let answer = browser.call(Method::GET, "/auth/me/export", None).await;
    answer.is_not_stored();
    assert_eq!(
        answer.header("content-disposition"),
        Some("attachment; filename=\"account.json\"")
    );
    answer.is(200).json()
}

/// Somebody of whom every table holds something, in every column that can hold it.
async fn busy_person(op: &TestProvider, person: &str, username: &str) -> Browser {
    let app = op
        .client_with(|client| {
            client.auto_approve = false;
            client.backchannel_logout_uri = Some("https://app.test/logout".to_owned());
        })
        .await;
    let elsewhere = op.browser();
    let wanted = elsewhere.authorize(&app).scope("openid email offline_access");
    let granted = wanted
        .with("claims", r#"{"userinfo":{"name":null}}"#)
        .code_as(person)
        .await;
    let tokens = app.redeem(&granted).await.tokens();
    app.refresh(tokens.refresh()).await.tokens();
    elsewhere.renew().await.is(200);
    elsewhere.call(Method::POST, "/auth/logout", None).await.is(200);
    let ada = op.signed_in(person).await;
    ada.authorize(&app).code_as(person).await;
    let body = json!({ "username": username });
    ada.call(Method::PATCH, "/auth/me/username", Some(&body))
        .await
        .is(200);
    let emails = ada.call(Method::GET, "/auth/me/emails", None).await.json();
    let body = json!({ "primary_link_id": emails["emails"][0]["link_id"] });
    ada.call(Method::PATCH, "/auth/me", Some(&body)).await.is(200);
    // What no sign-in of this test brings along.
    for fill in [
        "UPDATE users SET picture = 'https://pictures.example/ada.png'",
        "UPDATE oauth_links SET merged_at = last_login_at, added_by_link_id = link_id",
        "UPDATE sessions SET upstream_sid = 'upstream-session', acr = 'urn:acr:x', amr = '{pwd,otp}', user_agent = 'An Agent',
         ip_address = '203.0.113.77', absolute_expires_at = expires_at, earlier_link_ids = ARRAY[link_id]",
        "UPDATE grants SET acr = 'urn:acr:y', amr = '{hwk}', revoked_at = created_at, revoked_reason = 'administrator'",
        "UPDATE refresh_tokens SET absolute_expires_at = expires_at",
        "UPDATE authorization_codes SET used_at = issued_at",
        "UPDATE deliveries SET status = 'delivered', completed_at = created_at",
    ] {
        sqlx::query(fill).execute(op.db()).await.unwrap();
    }
    record_audit(op, &ada, username).await;
    ada
}

async fn record_audit(op: &TestProvider, ada: &Browser, username: &str) {
    use riley_auth::audit::{Action, Actor, Entry, Target, record};
    let user_id = ada.user_id().await.parse().unwrap();
    let entry = Entry {
        action: Action::UserExported,
        target: Target::user(user_id, username),
        details: json!({ "why": "curiosity" }),
    };
    let actor = Actor::User {
        user_id,
        ip_address: Some("203.0.113.78".to_owned()),
    };
    let (state, mut tx) = (op.state(), op.db().begin().await.unwrap());
    record(
        &mut tx,
        &state.keyring,
        &state.rng,
        &actor,
        &entry,
        op.clock().now(),
    )
    .await
    .unwrap();
    tx.commit().await.unwrap();
}

/// A value in a form in which database and export can be compared: times as microseconds.
fn comparable(value: &Value) -> Value {
    match value {
        Value::String(text) => OffsetDateTime::parse(text, &Rfc3339).map_or_else(
            |_| value.clone(),
            |time| json!(format!("time {}", time.unix_timestamp_nanos() / 1000)),
        ),
        other => other.clone(),
    }
}

/// The rows of one member of the export, the members among `columns` of each.
fn rows(member: &Value, columns: &[&str]) -> Vec<String> {
    let rows: Vec<&Value> = match member {
        Value::Array(rows) => rows.iter().collect(),
        row => vec![row],
    };
    let row = |row: &Value| {
        let fields = columns.iter().map(|column| {
            let value = row
                .get(*column)
                .unwrap_or_else(|| panic!("{column} is neither exported nor left out: {row}"));
            format!("{column}: {}", comparable(value))
        });
        fields.collect::<Vec<_>>().join(", ")
    };
    let mut rows: Vec<String> = rows.into_iter().map(row).collect();
    rows.sort();
    rows
}

async fn columns(op: &TestProvider) -> Vec<(String, String)> {
    let sql = "SELECT table_name::text, column_name::text FROM information_schema.columns WHERE table_schema = 'public'";
    sqlx::query_as(sql).fetch_all(op.db()).await.unwrap()
}

/// What the database holds of a person: for each table the columns that the export has, and the rows.
async fn held(op: &TestProvider, user_id: uuid::Uuid) -> Vec<(&'static str, Vec<String>, Value)> {
    let columns = columns(op).await;
    let tables: BTreeSet<&str> = columns.iter().map(|(table, _)| table.as_str()).collect();
    let known: BTreeSet<&str> = OF_PEOPLE
        .iter()
        .map(|row| row.0)
        .chain(NOT_OF_PEOPLE.iter().map(|row| row.0))
        .collect();
    assert_eq!(
        tables, known,
        "a table is missing in the lists above, or there is none of that name"
    );
    let name = |(table, column): &(String, String)| format!("{table}.{column}");
    let names: BTreeSet<String> = columns.iter().map(name).collect();
    for (name, _) in LEFT_OUT {
        assert!(names.contains(*name), "{name} is no column");
    }
    let mut held = Vec::new();
    for (table, own, member) in OF_PEOPLE {
        let is_exported = |column: &&(String, String)| {
            column.0 == *table && LEFT_OUT.iter().all(|(left_out, _)| *left_out != name(column))
        };
        let exported: Vec<String> = columns
            .iter()
            .filter(is_exported)
            .map(|column| column.1.clone())
            .collect();
        let sql = format!("SELECT coalesce(jsonb_agg(to_jsonb(t)), '[]') FROM {table} t WHERE {own}");
        let rows: Value = sqlx::query_scalar(AssertSqlSafe(sql))
            .bind(user_id)
            .fetch_one(op.db())
            .await
            .unwrap();
        held.push((*member, exported, rows));
    }
    held
}

/// Every table of the database is accounted for, and every column of those that hold something of people is in the export
/// or on the list of those that are not; no entry of the lists is out of date. The rows are the person's, whole and no others,
/// as the person is given them, and as an operator is of an account that is disabled.
#[tokio::test(flavor = "multi_thread")]
async fn every_column_that_refers_to_a_person_is_exported_or_left_out_for_a_reason() {
    let op = TestProvider::start().await;
    // Whose rows are not to be taken for the person's.
    busy_person(&op, "alan", "enchantress").await;
    let ada = busy_person(&op, "ada", "countess").await;
    let user_id: uuid::Uuid = ada.user_id().await.parse().unwrap();
    let own = export(&ada).await;
    for (member, columns, stored) in held(&op, user_id).await {
        let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
        assert_eq!(rows(&own[member], &columns), rows(&stored, &columns), "{member}");
    }
    sqlx::query("UPDATE users SET disabled_at = created_at WHERE user_id = $1")
        .bind(user_id)
        .execute(op.db())
        .await
        .unwrap();
    let held = held(&op, user_id).await;
    let directory = Directory::with_key(&op.configuration_text());
    let output = directory.run(&["export", "countess", "--json"]);
    let mut theirs: Value = serde_json::from_slice(&output.stdout).unwrap();
    // The newest entry tells of this very look.
    let looked = theirs["audit_entries"].as_array_mut().unwrap().remove(0);
    assert_eq!(
        (&looked["action"], &looked["by_this_person"]),
        (&json!("user_exported"), &json!(false))
    );
    for (member, columns, stored) in held {
        let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
        assert_eq!(
            rows(&theirs[member], &columns),
            rows(&stored, &columns),
            "{member}"
        );
        for column in columns {
            let is_empty = |row: &Value| row[column].is_null() || row[column] == json!([]);
            let stored = stored.as_array().unwrap();
            assert!(
                !stored.iter().all(is_empty),
                "{member}.{column}: nothing to compare"
            );
        }
    }
}

/// A list that would be endless is cut off at its oldest, and named.
#[tokio::test]
async fn a_list_that_is_too_long_is_cut_off_at_its_oldest_and_named() {
    let op = TestProvider::start().await;
    let ada = op.signed_in("ada").await;
    sqlx::query(
        "INSERT INTO session_tokens (token_hash, session_id, issued_at, consumed_at)
         SELECT sha256(number::text::bytea), session_id, created_at - number * interval '1 second', created_at
         FROM sessions, generate_series(1, 10000) number",
    )
    .execute(op.db())
    .await
    .unwrap();
    let export = export(&ada).await;
    assert_eq!(export["truncated"], json!(["session_renewals"]));
    let renewals = export["session_renewals"].as_array().unwrap();
    assert_eq!(renewals.len(), MAX_ROWS);
    let issued: Vec<OffsetDateTime> = renewals
        .iter()
        .map(|renewal| OffsetDateTime::parse(renewal["issued_at"].as_str().unwrap(), &Rfc3339).unwrap())
        .collect();
    assert!(
        issued.is_sorted_by(|later, earlier| later >= earlier),
        "the newest come first"
    );
    // The session's own is the newest, and the 10 000th of the others is the one that is missing.
    assert_eq!((issued[0] - issued[MAX_ROWS - 1]).whole_seconds(), 9_999);
}

/// The document has a version and nothing of anybody else.
#[tokio::test]
async fn an_export_is_versioned_and_holds_nothing_of_others() {
    let op = TestProvider::start().await;
    let alan = op.signed_in("alan").await;
    let ada = busy_person(&op, "ada", "countess").await;
    let export = export(&ada).await;
    assert_eq!(
        (&export["version"], &export["truncated"]),
        (&json!(1), &json!([]))
    );
    assert_eq!(export["account"]["username"], "countess");
    assert_eq!(export["held_usernames"][0]["username_folded"], "ada");
    assert_eq!(export["links"][0]["email"], "ada@engine.example");
    let text = export.to_string();
    for other in [alan.user_id().await.as_str(), "alan", "Turing"] {
        assert!(!text.contains(other), "{other}");
    }
    op.browser()
        .call(Method::GET, "/auth/me/export", None)
        .await
        .refused_with(401, "unauthenticated");
}

/// Documented: each member of the document stands in the API document's schema, and the other way round.
#[tokio::test]
async fn the_document_is_the_documented_one() {
    let op = TestProvider::start().await;
    let export = export(&busy_person(&op, "ada", "countess").await).await;
    let document = op.get("/openapi.json").await.is(200).json();
    let properties = document["components"]["schemas"]["Export"]["properties"]
        .as_object()
        .unwrap();
    let documented: BTreeSet<&String> = properties.keys().collect();
    assert_eq!(
        export.as_object().unwrap().keys().collect::<BTreeSet<_>>(),
        documented
    );
    let schema = json!({ "$ref": "#/components/schemas/Export" });
    assert_eq!(misfit(&document, &schema, &export), None);
    // The look at it would find what is missing, what nobody described, and what is of another type.
    for (pointer, wrong) in [
        ("/account", json!({ "username": "countess" })),
        ("/links/0/email_verified", json!("true")),
        ("/sessions/0/created_at", json!("yesterday")),
        ("/grants/0/client_id", Value::Null),
        ("/version", json!("1")),
    ] {
        let mut other = export.clone();
        *other.pointer_mut(pointer).unwrap() = wrong;
        assert!(misfit(&document, &schema, &other).is_some(), "{pointer}");
    }
    // What is described is there: no member of any row is left out when it is empty.
    for (member, described) in properties {
        let reference = described["items"]["$ref"].as_str().or(described["$ref"].as_str());
        let Some(reference) = reference else { continue };
        let schema = document.pointer(reference.trim_start_matches('#')).unwrap();
        let fields: Vec<&str> = schema["properties"]
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        assert!(!rows(&export[member], &fields).is_empty(), "{member}");
    }
}
