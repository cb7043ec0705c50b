use std::collections::{BTreeMap, BTreeSet};

use reqwest::Method;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::common::{Browser, TestProvider};

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
async fn busy_person(op: &TestProvider) -> Browser {
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
        .code_as("ada")
        .await;
    let tokens = app.redeem(&granted).await.tokens();
    app.refresh(tokens.refresh()).await.tokens();
    elsewhere.renew().await.is(200);
    elsewhere.call(Method::POST, "/auth/logout", None).await.is(200);
    let ada = op.signed_in("ada").await;
    ada.authorize(&app).code_as("ada").await;
    let body = json!({ "username": "countess" });
    ada.call(Method::PATCH, "/auth/me/username", Some(&body))
        .await
        .is(200);
    let emails = ada.call(Method::GET, "/auth/me/emails", None).await.json();
    let body = json!({ "primary_link_id": emails["emails"][0]["link_id"] });
    ada.call(Method::PATCH, "/auth/me", Some(&body)).await.is(200);
    // What no sign-in of this test brings along.
    for fill in [
        "UPDATE users SET picture = 'https://pictures.example/ada.png', disabled_at = NULL",
        "UPDATE sessions SET upstream_sid = 'upstream-session', acr = 'urn:acr:x', amr = '{pwd,otp}', user_agent = 'An Agent',
         ip_address = '203.0.113.77', absolute_expires_at = expires_at",
        "UPDATE grants SET acr = 'urn:acr:y', amr = '{hwk}', revoked_at = created_at, revoked_reason = 'administrator'",
        "UPDATE refresh_tokens SET absolute_expires_at = expires_at",
        "UPDATE authorization_codes SET used_at = issued_at",
        "UPDATE deliveries SET status = 'delivered', completed_at = created_at",
    ] {
        sqlx::query(fill).execute(op.db()).await.unwrap();
    }
    record_audit(op, &ada).await;
    ada
}

async fn record_audit(op: &TestProvider, ada: &Browser) {
    use riley_auth::audit::{Action, Actor, Entry, Target, record};
    let user_id = ada.user_id().await.parse().unwrap();
    let entry = Entry {
        action: Action::UserExported,
        target: Target::user(user_id, "countess"),
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
fn comparable(value: &Value) -> String {
    match value {
        Value::String(text) => OffsetDateTime::parse(text, &Rfc3339).map_or_else(
            |_| text.clone(),
            |time| format!("time {}", time.unix_timestamp_nanos() / 1000),
        ),
        other => other.to_string(),
    }
}

/// The values of one member of the export, by field.
fn values(member: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let rows: Vec<&Value> = match member {
        Value::Array(rows) => rows.iter().collect(),
        row => vec![row],
    };
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in rows {
        for (field, value) in row.as_object().unwrap() {
            found.entry(field.clone()).or_default().insert(comparable(value));
        }
    }
    found
}

async fn columns(op: &TestProvider) -> Vec<(String, String)> {
    let sql = "SELECT table_name::text, column_name::text FROM information_schema.columns WHERE table_schema = 'public'";
    sqlx::query_as(sql).fetch_all(op.db()).await.unwrap()
}

/// Every table of the database is accounted for, and every column of those that hold something of people is in the export
/// or on the list of those that are not; no entry of the lists is out of date.
#[tokio::test]
async fn every_column_that_refers_to_a_person_is_exported_or_left_out_for_a_reason() {
    let op = TestProvider::start().await;
    let ada = busy_person(&op).await;
    let export = export(&ada).await;
    let columns = columns(&op).await;
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
    let names: BTreeSet<String> = columns
        .iter()
        .map(|(table, column)| format!("{table}.{column}"))
        .collect();
    for (name, _) in LEFT_OUT {
        assert!(names.contains(*name), "{name} is no column");
    }
    let user_id: uuid::Uuid = ada.user_id().await.parse().unwrap();
    for (table, column) in &columns {
        let Some((_, own, member)) = OF_PEOPLE.iter().find(|row| row.0 == table) else {
            continue;
        };
        if LEFT_OUT
            .iter()
            .any(|(name, _)| *name == format!("{table}.{column}"))
        {
            continue;
        }
        let sql =
            format!("SELECT DISTINCT to_jsonb({column}) FROM {table} WHERE ({own}) AND {column} IS NOT NULL");
        let stored: Vec<Value> = sqlx::query_scalar(AssertSqlSafe(sql))
            .bind(user_id)
            .fetch_all(op.db())
            .await
            .unwrap();
        let shown = values(&export[*member]);
        let shown = shown
            .get(column)
            .unwrap_or_else(|| panic!("{table}.{column} is neither exported nor left out"));
        assert!(
            !stored.is_empty() || ["disabled_at", "merged_at", "added_by_link_id"].contains(&column.as_str()),
            "{table}.{column}: nothing to compare"
        );
        for value in stored {
            assert!(
                shown.contains(&comparable(&value)),
                "{table}.{column}: {value} is not in {shown:?}"
            );
        }
    }
}

/// The document has a version and nothing of anybody else.
#[tokio::test]
async fn an_export_is_versioned_and_holds_nothing_of_others() {
    let op = TestProvider::start().await;
    let alan = op.signed_in("alan").await;
    let ada = busy_person(&op).await;
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
    let export = export(&busy_person(&op).await).await;
    let document = op.get("/openapi.json").await.is(200).json();
    let properties = document["components"]["schemas"]["Export"]["properties"]
        .as_object()
        .unwrap();
    let documented: BTreeSet<&String> = properties.keys().collect();
    assert_eq!(
        export.as_object().unwrap().keys().collect::<BTreeSet<_>>(),
        documented
    );
    for (member, _) in export.as_object().unwrap() {
        let schema = &properties[member];
        let reference = schema["items"]["$ref"].as_str().or(schema["$ref"].as_str());
        let Some(name) = reference.and_then(|reference| reference.rsplit('/').next()) else {
            continue;
        };
        let fields = document["components"]["schemas"][name]["properties"]
            .as_object()
            .unwrap();
        let fields: BTreeSet<&String> = fields.keys().collect();
        let shown = values(&export[member]);
        assert_eq!(shown.keys().collect::<BTreeSet<_>>(), fields, "{member}");
    }
}
