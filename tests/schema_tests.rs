//! What the schema holds by itself, whatever a program does with it, and how secrets are looked up in it.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::collections::BTreeSet;
use std::fs;

use common::database::TestDatabase;
use regex::Regex;
use riley_auth::protocol::algorithm::SigningAlgorithm;
use serde_json::Value;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection, Executor, Row};

/// The columns by whose hash something is found that only its holder may have.
const HANDLES: [&str; 5] = [
    "code_hash",
    "handle_hash",
    "request_hash",
    "state_hash",
    "token_hash",
];

/// As many rows as a table has after weeks of use: enough that reading all of them would be noticed.
const FILL: &str = "
    INSERT INTO users (user_id, username, username_folded, created_at, updated_at)
        VALUES (gen_random_uuid(), 'ada', 'ada', now(), now());
    INSERT INTO oauth_clients (client_id, name, client_type, secret_hash, redirect_uris, created_at, updated_at)
        VALUES ('app', 'App', 'confidential', sha256('x'), '{}', now(), now());
    INSERT INTO sessions (session_id, user_id, provider, auth_time, created_at, last_used_at, expires_at)
        SELECT gen_random_uuid(), user_id, 'simulated', 0, now(), now(), now() FROM users, generate_series(1, 2000);
    INSERT INTO grants (grant_id, client_id, user_id, session_id, scope, offline, created_at)
        SELECT gen_random_uuid(), 'app', user_id, session_id, 'openid', false, now() FROM sessions;
    INSERT INTO session_tokens (token_hash, session_id, parent_hash, consumed_at, issued_at)
        SELECT sha256((session_id || ' ' || n)::bytea), session_id, sha256((session_id || ' ' || n - 1)::bytea),
            CASE WHEN n < 10 THEN now() END, now()
        FROM sessions, generate_series(1, 10) n;
    INSERT INTO refresh_tokens (token_hash, grant_id, auth_time, parent_hash, consumed_at, issued_at, expires_at)
        SELECT sha256((grant_id || ' ' || n)::bytea), grant_id, 0, sha256((grant_id || ' ' || n - 1)::bytea),
            CASE WHEN n < 10 THEN now() END, now(), now()
        FROM grants, generate_series(1, 10) n;
    INSERT INTO authorization_codes
            (code_hash, client_id, user_id, session_id, grant_id, redirect_uri, scope, auth_time, issued_at, expires_at)
        SELECT sha256(grant_id::text::bytea), 'app', user_id, session_id, grant_id, '', 'openid', 0, now(), now() FROM grants;
    INSERT INTO authorization_requests
            (request_hash, browser_hash, client_id, sealed, user_id, session_id, created_at, expires_at)
        SELECT sha256((session_id || ' ' || n)::bytea), sha256(session_id::text::bytea), 'app', '', user_id, session_id, now(), now()
        FROM sessions, generate_series(1, 10) n;
    INSERT INTO upstream_flows
            (state_hash, browser_hash, provider, kind, user_id, session_id, sealed, created_at, expires_at)
        SELECT sha256((session_id || ' ' || n)::bytea), sha256(session_id::text::bytea), 'simulated', 'link', user_id, session_id, '', now(), now()
        FROM sessions, generate_series(1, 10) n;
    INSERT INTO pending_identities
            (handle_hash, browser_hash, kind, user_id, session_id, sealed, created_at, expires_at)
        SELECT sha256((session_id || ' ' || n)::bytea), sha256(session_id::text::bytea), 'link', user_id, session_id, '', now(), now()
        FROM sessions, generate_series(1, 10) n;
    ANALYZE;";

async fn connect(database: &TestDatabase) -> PgConnection {
    PgConnection::connect(&database.url).await.unwrap()
}

/// The statements of the program, as the compiler checked them, and how many parameters each has.
fn statements() -> Vec<(String, usize)> {
    let directory = format!("{}/.sqlx", env!("CARGO_MANIFEST_DIR"));
    let mut found: Vec<(String, usize)> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap())
        .map(|text| serde_json::from_str(&text).unwrap())
        .map(|statement: Value| {
            let parameters = &statement["describe"]["parameters"]["Left"];
            let text = statement["query"].as_str().unwrap().to_owned();
            (text, parameters.as_array().map_or(0, Vec::len))
        })
        .collect();
    found.sort();
    found
}

/// What PostgreSQL does for any values of the parameters, as one text.
async fn plan(db: &mut PgConnection, statement: &str, parameters: usize) -> String {
    let values = vec!["NULL"; parameters].join(", ");
    let values = if values.is_empty() {
        values
    } else {
        format!("({values})")
    };
    let prepare = format!("DEALLOCATE ALL; PREPARE asked AS {statement}");
    db.execute(sqlx::raw_sql(AssertSqlSafe(prepare))).await.unwrap();
    let explain = format!("EXPLAIN (COSTS OFF) EXECUTE asked{values}");
    let lines = db.fetch_all(sqlx::raw_sql(AssertSqlSafe(explain))).await.unwrap();
    let lines: Vec<String> = lines.iter().map(|line| line.get(0)).collect();
    lines.join("\n")
}

/// DB-2: whatever is found by the hash of a secret is found through the unique index on that hash: how long it takes says
/// nothing of the other rows, and a table that grew is no slower.
#[tokio::test]
async fn every_look_up_by_a_hash_goes_through_its_unique_index() {
    let database = TestDatabase::create().await;
    let mut db = connect(&database).await;
    db.execute(sqlx::raw_sql(FILL)).await.unwrap();
    db.execute("SET plan_cache_mode = force_generic_plan")
        .await
        .unwrap();
    let by_hash = Regex::new(r"(?:WHERE|AND|ON|\()\s+(?:\w+\.)?(\w+_hash) = \$\d").unwrap();
    let mut looked_at = BTreeSet::new();
    for (statement, parameters) in statements() {
        let columns: BTreeSet<String> = by_hash
            .captures_iter(&statement)
            .map(|found| found[1].to_owned())
            .filter(|column| HANDLES.contains(&column.as_str()))
            .collect();
        if columns.is_empty() {
            continue;
        }
        let plan = plan(&mut db, &statement, parameters).await;
        for column in columns {
            assert!(uses_index(&plan, &column), "{column}:\n{statement}\n{plan}");
            looked_at.insert(column);
        }
    }
    assert_eq!(
        Vec::from_iter(looked_at),
        HANDLES,
        "every kind of handle is looked up"
    );
    // The check can fail: nothing leads from a nonce to its code.
    let read_all = plan(&mut db, "SELECT FROM authorization_codes WHERE nonce = $1", 1).await;
    assert!(read_all.contains("Seq Scan") && !uses_index(&read_all, "nonce"));
    let unique = "SELECT count(DISTINCT a.attname)
                  FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
                  WHERE i.indisunique AND i.indnkeyatts = 1 AND a.attname = ANY ($1)";
    let unique: i64 = sqlx::query_scalar(unique)
        .bind(&HANDLES[..])
        .fetch_one(&mut db)
        .await
        .unwrap();
    assert_eq!(unique, 5, "each of these indexes is unique");
}

/// Whether the plan goes from the value of `column` to its row by an index.
fn uses_index(plan: &str, column: &str) -> bool {
    let condition = Regex::new(&format!(r"Index Cond: .*\b{column} = \$\d")).unwrap();
    condition.is_match(plan)
}

/// DB-3: every reference is a foreign key, and what becomes of it when its target goes is decided here, one by one.
#[tokio::test]
async fn every_reference_is_a_foreign_key_with_a_delete_rule() {
    let database = TestDatabase::create().await;
    let mut db = connect(&database).await;
    let references = "
        SELECT format('%s.%s -> %s %s', c.conrelid::regclass, a.attname, c.confrelid::regclass, CASE c.confdeltype
            WHEN 'a' THEN 'refuse' WHEN 'c' THEN 'cascade' WHEN 'n' THEN 'set null' ELSE c.confdeltype::text END)
        FROM pg_constraint c JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = ANY (c.conkey)
        WHERE c.contype = 'f' ORDER BY 1";
    let references: Vec<String> = sqlx::query_scalar(references).fetch_all(&mut db).await.unwrap();
    // `refuse`: accounts are emptied and never deleted, and a session stays for as long as a grant or a code refers to it.
    let expected = [
        "authorization_codes.client_id -> oauth_clients cascade",
        "authorization_codes.session_id -> sessions refuse",
        "authorization_codes.user_id -> users refuse",
        "authorization_requests.client_id -> oauth_clients cascade",
        "authorization_requests.session_id -> sessions cascade",
        "authorization_requests.user_id -> users refuse",
        "consents.client_id -> oauth_clients cascade",
        "consents.user_id -> users refuse",
        "deliveries.client_id -> oauth_clients cascade",
        "deliveries.event_id -> events cascade",
        "deliveries.user_id -> users refuse",
        "deliveries.webhook_id -> webhooks cascade",
        "delivery_attempts.delivery_id -> deliveries cascade",
        "events.user_id -> users refuse",
        "grants.client_id -> oauth_clients cascade",
        "grants.session_id -> sessions refuse",
        "grants.user_id -> users refuse",
        "held_usernames.user_id -> users refuse",
        "oauth_links.added_by_link_id -> oauth_links set null",
        "oauth_links.user_id -> users cascade",
        "pending_identities.session_id -> sessions cascade",
        "pending_identities.user_id -> users refuse",
        "refresh_tokens.grant_id -> grants cascade",
        "session_tokens.session_id -> sessions cascade",
        "sessions.link_id -> oauth_links set null",
        "sessions.user_id -> users refuse",
        "upstream_flows.session_id -> sessions cascade",
        "upstream_flows.user_id -> users refuse",
        "users.primary_link_id -> oauth_links set null",
        "webhooks.client_id -> oauth_clients cascade",
    ];
    for reference in &references {
        assert!(expected.contains(&reference.as_str()), "undecided: {reference}");
    }
    assert!(references.len() > 25, "the references are seen");

    let loose = "
        SELECT format('%s.%s', a.attrelid::regclass, a.attname)
        FROM pg_attribute a JOIN pg_class t ON t.oid = a.attrelid
        WHERE t.relkind = 'r' AND t.relnamespace = 'public'::regnamespace AND a.attnum > 0 AND NOT a.attisdropped
          AND a.attname LIKE '%\\_id'
          AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conrelid = a.attrelid
              AND (c.contype = 'f' AND a.attnum = ANY (c.conkey) OR c.contype = 'p' AND c.conkey = ARRAY[a.attnum]))
        ORDER BY 1";
    let loose: Vec<String> = sqlx::query_scalar(loose).fetch_all(&mut db).await.unwrap();
    let expected = [
        "audit_entries.actor_user_id",  // the trail outlives whom it names
        "audit_entries.key_id",         // of the configuration
        "audit_entries.target_id",      // of any kind
        "audit_entries.target_user_id", // as the actor
        "authorization_codes.grant_id", // the grant's id to be, made before the grant
        "deliveries.lease_id",          // a worker's
        "deliveries.session_id",        // the notice outlives the session
        "events.client_id",             // the event outlives the client
        "users.claims_link_id", // emptied with what the link filled, in the transaction in which it goes
        "users.display_name_link_id", // the same
        "users.picture_link_id", // the same
    ];
    assert_eq!(
        loose, expected,
        "a column that refers to something is a foreign key"
    );
}

/// DB-3: a column that holds one of a few words admits no other.
#[tokio::test]
async fn a_column_of_a_few_words_admits_no_other() {
    let database = TestDatabase::create().await;
    let mut db = connect(&database).await;
    let algorithms: Vec<&str> = SigningAlgorithm::ALL.iter().map(|one| one.as_str()).collect();
    let enumerations: [(&str, &str, &[&str]); 10] = [
        ("users", "role", &["user", "admin"]),
        (
            "oauth_clients",
            "client_type",
            &["confidential", "public", "native"],
        ),
        (
            "oauth_clients",
            "token_endpoint_auth_method",
            &["client_secret_basic", "client_secret_post", "none"],
        ),
        ("oauth_clients", "id_token_signed_response_alg", &algorithms),
        ("authorization_requests", "decision", &["approved", "denied"]),
        ("upstream_flows", "kind", &["login", "link"]),
        ("pending_identities", "kind", &["setup", "link"]),
        ("deliveries", "kind", &["webhook", "backchannel_logout"]),
        ("deliveries", "status", &["pending", "delivered", "failed"]),
        ("audit_entries", "actor", &["user", "command_line", "system"]),
    ];
    let word = Regex::new(r"'(\w+)'").unwrap();
    for (table, column, words) in enumerations {
        let check = "SELECT pg_get_constraintdef(c.oid) FROM pg_constraint c
                     JOIN pg_attribute a ON a.attrelid = c.conrelid AND c.conkey = ARRAY[a.attnum]
                     WHERE c.contype = 'c' AND c.conrelid = $1::regclass AND a.attname = $2";
        let check: String = sqlx::query_scalar(check)
            .bind(table)
            .bind(column)
            .fetch_one(&mut db)
            .await
            .unwrap();
        let admitted: BTreeSet<&str> = word
            .captures_iter(&check)
            .map(|found| found.extract::<1>().1[0])
            .collect();
        assert_eq!(
            admitted,
            words.iter().copied().collect(),
            "{table}.{column}: {check}"
        );
    }
    let refused = "INSERT INTO users (user_id, username, username_folded, role, created_at, updated_at)
                   VALUES (gen_random_uuid(), 'eve', 'eve', 'root', now(), now())";
    let error = db.execute(refused).await.unwrap_err();
    assert_eq!(
        error.as_database_error().unwrap().constraint(),
        Some("users_role_known")
    );
}

/// DB-3: a hash that serves as a key is the whole hash.
#[tokio::test]
async fn a_stored_hash_is_a_whole_one() {
    let database = TestDatabase::create().await;
    let mut db = connect(&database).await;
    db.execute(sqlx::raw_sql(FILL)).await.unwrap();
    for table in ["session_tokens", "refresh_tokens", "authorization_codes"] {
        let column = if table == "authorization_codes" {
            "code_hash"
        } else {
            "token_hash"
        };
        let cut = format!(
            "UPDATE {table} SET {column} = substr({column}, 1, 31)
             WHERE {column} IN (SELECT {column} FROM {table} LIMIT 1)"
        );
        let error = db.execute(AssertSqlSafe(cut)).await.unwrap_err();
        let constraint = error
            .as_database_error()
            .unwrap()
            .constraint()
            .unwrap()
            .to_owned();
        assert_eq!(constraint, format!("{table}_hash_size"));
    }
}
