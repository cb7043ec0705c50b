//! Webhooks: who may register them, who hears of what, what is sent, what proves who sent it, and what remains of it.
//!
//! | file | what |
//! | --- | --- |
//! | here | registration, signatures, who hears of what, redelivery, what is kept |
//! | `command_line` | the same by commands, beside a running server |
//! | `every_event` | each event of the list, from the change to the receiver |

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

#[path = "webhook/command_line.rs"]
mod command_line;
#[path = "webhook/every_event.rs"]
mod every_event;

use base64::Engine as _;
use std::collections::BTreeSet;

use common::receiver::{Behaviour, Received, Receiver};
use common::webhooks::{on_loopback, recorder};
use common::{Answer, Browser, TestProvider};
use reqwest::Method;
use riley_auth::db;
use riley_auth::db::deliveries::Redelivery;
use riley_auth::events::{EVENT_TYPES, Event};
use riley_auth::protocol::ids::{ClientId, UserId};
use riley_auth::webhooks;
use serde_json::{Value, json};
use uuid::Uuid;

/// A signed-in administrator.
async fn administrator(op: &TestProvider) -> Browser {
    let browser = op.signed_in("ada").await;
    sqlx::query("UPDATE users SET role = 'admin'")
        .execute(op.db())
        .await
        .unwrap();
    browser
}

/// A request of the administrator's own pages.
pub(crate) async fn ask(browser: &Browser, method: Method, path: &str, body: Option<Value>) -> Answer {
    browser.call(method, path, body.as_ref()).await
}

fn of_type(received: &[Received], event_type: &str) -> Vec<Received> {
    received
        .iter()
        .filter(|one| one.event_type() == event_type)
        .cloned()
        .collect()
}

/// Waits until something of this type has come; the first of it.
pub(crate) async fn hears(receiver: &Receiver, event_type: &str) -> Received {
    for count in 1.. {
        let received = receiver.waits_for(count).await;
        if let Some(one) = of_type(&received, event_type).pop() {
            return one;
        }
    }
    unreachable!("waiting ends by panicking")
}

pub(crate) fn members(value: &Value) -> BTreeSet<String> {
    value.as_object().unwrap().keys().cloned().collect()
}

/// The members of each event's payload, as docs/webhooks.md tells them.
pub(crate) fn documented() -> Vec<(String, BTreeSet<String>)> {
    let text = include_str!("../docs/webhooks.md");
    let rows = text
        .lines()
        .filter(|line| line.starts_with("| `") && line.matches('|').count() == 4);
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let members = cells[2]
            .split(", ")
            .map(|name| name.trim_matches(['`', '?']).to_owned());
        (cells[1].trim_matches('`').to_owned(), members.collect())
    })
    .collect()
}

/// The table of the documentation is what the types say.
#[test]
fn every_event_is_documented_with_its_payload() {
    let schema = serde_json::to_value(<Event as utoipa::PartialSchema>::schema()).unwrap();
    let mut typed: Vec<(String, BTreeSet<String>)> = schema["oneOf"]
        .as_array()
        .unwrap()
        .iter()
        .map(|variant| {
            let name = variant["properties"]["type"]["enum"][0].as_str().unwrap();
            (
                name.to_owned(),
                members(&variant["properties"]["data"]["properties"]),
            )
        })
        .collect();
    let mut told = documented();
    typed.sort();
    told.sort();
    assert_eq!(told, typed);
    assert_eq!(told.len(), EVENT_TYPES.len());
}

/// Every event is made somewhere in the sources outside of its own file.
#[test]
fn every_event_of_the_list_is_emitted_by_something() {
    let variants: Vec<(String, String)> = {
        let text = include_str!("../src/events.rs");
        let arms = text.lines().filter_map(|line| {
            let (variant, name) = line.trim().strip_prefix("Self::")?.split_once(" { .. } => \"")?;
            Some((variant.to_owned(), name.trim_end_matches("\",").to_owned()))
        });
        arms.collect()
    };
    assert_eq!(variants.len(), EVENT_TYPES.len());
    let sources = sources_of_production();
    let silent: BTreeSet<&str> = variants
        .iter()
        .filter(|(variant, _)| !sources.contains(&format!("Event::{variant} {{")))
        .map(|(_, name)| name.as_str())
        .collect();
    assert!(silent.is_empty(), "nobody emits {silent:?}");
}

/// Everything below `src` but `events.rs`, each file up to its unit tests.
fn sources_of_production() -> String {
    let mut all = String::new();
    let mut waiting = vec![std::path::PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/src"
    ))];
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.file_name().is_some_and(|name| name != "events.rs") {
                let text = std::fs::read_to_string(&path).unwrap_or_default();
                all.push_str(text.split("#[cfg(test)]").next().unwrap_or_default());
            }
        }
    }
    all
}

/// WH-8: a published library of Standard Webhooks accepts what is sent, and nothing that was altered.
#[tokio::test]
async fn a_published_library_verifies_the_signature() {
    let op = TestProvider::with(on_loopback).await;
    let receiver = Receiver::start().await;
    let hook = op.webhook(&receiver).await;
    op.ping(hook.id()).await;
    let received = receiver.waits_for(1).await.remove(0);
    assert_eq!(received.header("content-type"), "application/json");
    let library = standardwebhooks::Webhook::new(&hook.secret).unwrap();
    library
        .verify(received.body.as_bytes(), &received.headers)
        .unwrap();
    assert!(
        library
            .verify(format!("{} ", received.body).as_bytes(), &received.headers)
            .is_err()
    );
    let mut other_id = received.headers.clone();
    other_id.insert("webhook-id", "another".parse().unwrap());
    assert!(library.verify(received.body.as_bytes(), &other_id).is_err());
    let mut other_time = received.headers.clone();
    let later = received.header("webhook-timestamp").parse::<i64>().unwrap() + 1;
    other_time.insert("webhook-timestamp", later.into());
    assert!(library.verify(received.body.as_bytes(), &other_time).is_err());
    let stranger = format!("whsec_{}", "A".repeat(43) + "=");
    let stranger = standardwebhooks::Webhook::new(&stranger).unwrap();
    assert!(
        stranger
            .verify(received.body.as_bytes(), &received.headers)
            .is_err()
    );
}

/// WH-8: while a rotation overlaps both secrets verify; then the new one alone.
#[tokio::test]
async fn after_a_rotation_both_secrets_are_good_for_a_while() {
    let op = TestProvider::with(on_loopback).await;
    let receiver = Receiver::start().await;
    let hook = op.webhook(&receiver).await;
    let mut tx = op.db().begin().await.unwrap();
    let (_, secret) = webhooks::rotate_secret(&mut tx, &recorder(&op), hook.id(), 60)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let verifies = |secret: &str, received: &Received| {
        let library = standardwebhooks::Webhook::new(secret).unwrap();
        library
            .verify(received.body.as_bytes(), &received.headers)
            .is_ok()
    };
    op.ping(hook.id()).await;
    let during = receiver.waits_for(1).await.remove(0);
    assert!(verifies(&hook.secret, &during) && verifies(secret.expose(), &during));
    op.advance_secs(61);
    op.ping(hook.id()).await;
    let after = receiver.waits_for(2).await.remove(1);
    assert!(!verifies(&hook.secret, &after) && verifies(secret.expose(), &after));
}

/// Principle 1: the database alone gives away no secret.
#[tokio::test]
async fn the_secret_is_sealed_in_the_database() {
    let op = TestProvider::with(on_loopback).await;
    let receiver = Receiver::start().await;
    let hook = op.webhook(&receiver).await;
    let row: Vec<u8> = sqlx::query_scalar("SELECT sealed_secret FROM webhooks")
        .fetch_one(op.db())
        .await
        .unwrap();
    let secret = base64::engine::general_purpose::STANDARD
        .decode(hook.secret.strip_prefix("whsec_").unwrap())
        .unwrap();
    assert_eq!(secret.len(), 32);
    assert!(!row.windows(32).any(|window| window == secret));
}

/// WH-11: a client's webhook hears what names that client and of people who use it, names only with `profile`.
#[tokio::test]
async fn a_clients_webhook_hears_only_of_its_own() {
    let op = TestProvider::with(on_loopback).await;
    let (mine, other) = (op.client().await, op.client().await);
    let receiver = Receiver::start().await;
    let hook = op.webhook_of(&receiver, Some(mine.client_id()), &[]).await;
    let user = |browser: Browser| async move { browser.user_id().await.parse::<UserId>().unwrap() };
    let with_profile = op.signed_in("ada").await;
    let granted = with_profile.authorize(&mine).scope("openid profile").code().await;
    mine.redeem(&granted).await.tokens();
    let without_profile = op.signed_in("grace").await;
    let granted = without_profile.authorize(&mine).scope("openid").code().await;
    mine.redeem(&granted).await.tokens();
    let stranger = op.signed_in("mary").await;
    let granted = stranger.authorize(&other).scope("openid profile").code().await;
    other.redeem(&granted).await.tokens();
    let (ada, grace, mary) = (
        user(with_profile).await,
        user(without_profile).await,
        user(stranger).await,
    );

    let mut tx = op.db().begin().await.unwrap();
    let mut events = Vec::new();
    for user_id in [ada, grace, mary] {
        events.push(Event::UserDisabled { user_id });
        events.push(Event::UsernameChanged {
            user_id,
            old_username: "old".into(),
            new_username: "new".into(),
        });
    }
    for client_id in [mine.client_id(), other.client_id()] {
        events.push(Event::ClientUpdated {
            client_id: ClientId(client_id.to_owned()),
            changed: vec!["name".into()],
        });
    }
    db::events::emit(&mut tx, &events, op.clock().now())
        .await
        .unwrap();
    tx.commit().await.unwrap();
    op.ping(hook.id()).await;
    hears(&receiver, "webhook.ping").await;
    op.deliveries_become(hook.id(), |all| all.iter().all(|one| one.status == "delivered"))
        .await;

    let received = receiver.received();
    let users = |event_type: &str| -> BTreeSet<String> {
        of_type(&received, event_type)
            .iter()
            .map(|one| one.json()["data"]["user_id"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(
        users("user.disabled"),
        BTreeSet::from([ada.to_string(), grace.to_string()])
    );
    assert_eq!(users("user.username_changed"), BTreeSet::from([ada.to_string()]));
    let clients = of_type(&received, "client.updated");
    assert_eq!(clients.len(), 1);
    assert_eq!(clients[0].json()["data"]["client_id"], mine.client_id());
    let kinds: BTreeSet<String> = received.iter().map(Received::event_type).collect();
    assert_eq!(
        kinds,
        [
            "client.updated",
            "user.disabled",
            "user.username_changed",
            "webhook.ping"
        ]
        .map(str::to_owned)
        .into()
    );
}

/// WH-11, AC-10: what waits is scrubbed, too, and sent without names.
#[tokio::test]
async fn a_deletion_takes_the_names_out_of_what_is_still_to_be_sent() {
    let op = TestProvider::with(on_loopback).await;
    let receiver = Receiver::start().await;
    receiver.behave(Behaviour::Status(500));
    let hook = op.webhook_of(&receiver, None, &["user.created"]).await;
    op.signed_in("ada").await;
    assert!(receiver.waits_for(1).await[0].json()["data"]["username"].is_string());
    op.deliveries_become(hook.id(), |all| all[0].attempts.len() == 1)
        .await;
    let user_id: Uuid = sqlx::query_scalar("SELECT user_id FROM users")
        .fetch_one(op.db())
        .await
        .unwrap();
    let mut tx = op.db().begin().await.unwrap();
    db::events::scrub(&mut tx, UserId(user_id), op.clock().now())
        .await
        .unwrap();
    tx.commit().await.unwrap();
    receiver.behave(Behaviour::Status(200));
    op.advance_secs(20);
    op.wake_workers().await;
    let second = receiver.waits_for(2).await.remove(1);
    assert_eq!(second.json()["data"], json!({ "user_id": user_id }));
    assert_eq!(second.id(), receiver.received()[0].id());
}

/// WH-10: what has failed is sent again, one or all since a moment, under the same id, with attempts counted anew.
#[tokio::test]
async fn what_has_failed_is_sent_again_on_request() {
    let op = TestProvider::with(|config| {
        on_loopback(config);
        config.webhooks.max_attempts = 1;
    })
    .await;
    let receiver = Receiver::start().await;
    receiver.behave(Behaviour::Status(503));
    let hook = op.webhook(&receiver).await;
    op.ping(hook.id()).await;
    op.deliveries_become(hook.id(), |all| all[0].status == "failed")
        .await;
    op.advance_secs(60);
    let since = op.clock().now();
    for _ in 0..2 {
        op.ping(hook.id()).await;
    }
    op.deliveries_become(hook.id(), |all| all.iter().all(|one| one.status == "failed"))
        .await;
    receiver.behave(Behaviour::Status(200));

    let again = async |which| {
        let mut tx = op.db().begin().await.unwrap();
        let count = webhooks::redeliver(&mut tx, &recorder(&op), hook.id(), which)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        count
    };
    assert_eq!(again(Redelivery::FailedSince(since)).await, 2);
    let all = op
        .deliveries_become(hook.id(), |all| {
            all.iter().filter(|one| one.status == "delivered").count() == 2
        })
        .await;
    assert_eq!(all[0].status, "failed", "older than asked for");
    assert_eq!(again(Redelivery::One(all[0].delivery_id)).await, 1);
    let all = op
        .deliveries_become(hook.id(), |all| all.iter().all(|one| one.status == "delivered"))
        .await;
    assert!(all.iter().all(|one| one.attempts.len() == 2));
    let ids: BTreeSet<String> = receiver
        .received()
        .iter()
        .map(|one| one.id().to_owned())
        .collect();
    assert_eq!((ids.len(), receiver.received().len()), (3, 6));
}

/// The whole life over HTTP; the secret is shown once, and every step is in the trail.
#[tokio::test]
async fn an_administrator_registers_changes_rotates_pings_and_removes() {
    let op = TestProvider::with(on_loopback).await;
    let receiver = Receiver::start().await;
    let admin = administrator(&op).await;
    let new = json!({ "url": receiver.url(), "event_types": ["user.deleted"], "description": "billing" });
    let created = ask(&admin, Method::POST, "/admin/webhooks", Some(new))
        .await
        .is(201)
        .json();
    let secret = created["secret"].as_str().unwrap();
    let path = format!("/admin/webhooks/{}", created["webhook_id"].as_str().unwrap());

    let shown = ask(&admin, Method::GET, &path, None).await.is(200).json();
    assert!(shown.get("secret").is_none() && shown["description"] == "billing");
    let listed = ask(&admin, Method::GET, "/admin/webhooks?limit=1", None)
        .await
        .is(200)
        .json();
    assert_eq!(
        (&listed["items"][0], &listed["next_cursor"]),
        (&shown, &Value::Null)
    );

    let change = json!({ "description": "", "event_types": [] });
    let changed = ask(&admin, Method::PATCH, &path, Some(change))
        .await
        .is(200)
        .json();
    assert_eq!(changed["event_types"], json!([]));

    ask(&admin, Method::POST, &format!("{path}/ping"), None)
        .await
        .is(202);
    let pinged = hears(&receiver, "webhook.ping").await;
    let library = standardwebhooks::Webhook::new(secret).unwrap();
    library.verify(pinged.body.as_bytes(), &pinged.headers).unwrap();

    let rotation = json!({ "overlap_secs": 0 });
    let rotated = ask(&admin, Method::POST, &format!("{path}/secret"), Some(rotation))
        .await
        .is(201)
        .json();
    assert_ne!(rotated["secret"].as_str().unwrap(), secret);

    let hook = created["webhook_id"].as_str().unwrap().parse().unwrap();
    op.deliveries_become(hook, |all| all.iter().all(|one| one.status == "delivered"))
        .await;
    let deliveries = ask(
        &admin,
        Method::GET,
        &format!("{path}/deliveries?status=delivered"),
        None,
    )
    .await
    .is(200)
    .json();
    let first = &deliveries["items"][0];
    assert_eq!(
        (
            &first["attempts"][0]["status_code"],
            &first["attempts"][0]["error"]
        ),
        (&json!(200), &Value::Null)
    );
    let again = json!({ "delivery_id": first["delivery_id"] });
    let redelivered = ask(&admin, Method::POST, &format!("{path}/redeliver"), Some(again))
        .await
        .is(202)
        .json();
    assert_eq!(redelivered["deliveries"], 1);

    ask(&admin, Method::DELETE, &path, None).await.is(204);
    ask(&admin, Method::GET, &path, None)
        .await
        .refused_with(404, "not_found");
    let actions: Vec<String> =
        sqlx::query_scalar("SELECT action FROM audit_entries WHERE action LIKE 'webhook%' ORDER BY sequence")
            .fetch_all(op.db())
            .await
            .unwrap();
    assert_eq!(
        actions,
        [
            "webhook_created",
            "webhook_updated",
            "webhook_pinged",
            "webhook_secret_rotated",
            "webhook_redelivered",
            "webhook_deleted"
        ]
    );
}

/// AD-1, WH-1, WH-3, WH-6: strangers learn nothing, and no private URL is registered.
#[tokio::test]
async fn a_registration_is_an_administrators_and_leads_to_a_public_host() {
    let op = TestProvider::start().await;
    let body = |url: &str| Some(json!({ "url": url }));
    let public = "https://app.example/hook";
    let person = op.signed_in("grace").await;
    ask(&person, Method::POST, "/admin/webhooks", body(public))
        .await
        .refused_with(403, "forbidden");
    let stranger = op.browser();
    ask(&stranger, Method::POST, "/admin/webhooks", body(public))
        .await
        .refused_with(401, "unauthenticated");
    sqlx::query("UPDATE users SET role = 'admin'")
        .execute(op.db())
        .await
        .unwrap();
    for url in [
        "http://app.example/",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://2130706433/",
        "https://localhost/",
        "https://user@app.example/",
        "https://app.example/#x",
        "https://app.example:22/",
        "app.example",
    ] {
        ask(&person, Method::POST, "/admin/webhooks", body(url))
            .await
            .refused_with(400, "invalid_webhook");
    }
    let created = ask(&person, Method::POST, "/admin/webhooks", body(public))
        .await
        .is(201)
        .json();
    let path = format!("/admin/webhooks/{}", created["webhook_id"].as_str().unwrap());
    ask(&person, Method::PATCH, &path, body("https://10.0.0.1/"))
        .await
        .refused_with(400, "invalid_webhook");
    let unknown = json!({ "url": public, "client_id": "nobody" });
    ask(&person, Method::POST, "/admin/webhooks", Some(unknown))
        .await
        .refused_with(400, "invalid_webhook");
}

/// DB-7: finished deliveries and their events go after seven days; what is still to be sent stays.
#[tokio::test]
async fn what_was_delivered_is_kept_for_seven_days_and_what_is_pending_until_it_is_sent() {
    let op = TestProvider::with(on_loopback).await;
    let (receiver, waiting) = (Receiver::start().await, Receiver::start().await);
    let hook = op.webhook(&receiver).await;
    let disabled = op.webhook(&waiting).await;
    sqlx::query("UPDATE webhooks SET disabled_at = now() WHERE webhook_id = $1")
        .bind(disabled.id())
        .execute(op.db())
        .await
        .unwrap();
    op.ping(disabled.id()).await;
    op.ping(hook.id()).await;
    op.deliveries_become(hook.id(), |all| all.iter().all(|one| one.status == "delivered"))
        .await;
    let pings = "SELECT count(*) FROM events WHERE event_type = 'webhook.ping'";
    let count = async |sql: &'static str| {
        sqlx::query_scalar::<_, i64>(sql)
            .fetch_one(op.db())
            .await
            .unwrap()
    };
    op.advance(time::Duration::days(7) - time::Duration::minutes(1));
    riley_auth::maintenance::clean_up(op.state(), op.clock().now())
        .await
        .unwrap();
    assert_eq!(count(pings).await, 2);
    op.advance(time::Duration::minutes(2));
    riley_auth::maintenance::clean_up(op.state(), op.clock().now())
        .await
        .unwrap();
    assert_eq!(count(pings).await, 1);
    assert_eq!(count("SELECT count(*) FROM delivery_attempts").await, 0);
    assert_eq!(
        op.deliveries(disabled.id()).await.len(),
        1,
        "it is still to be sent"
    );
}

/// DB-7: whoever starts cleans up, then by the clock on the wall, and of several instances one at a time.
#[tokio::test]
async fn the_clean_up_runs_at_start_and_on_a_timer_on_one_instance_at_a_time() {
    let op = TestProvider::start().await.stopped().await;
    let expire = async |name: &str| {
        sqlx::query(
            "INSERT INTO error_reports (error_id, report, created_at, expires_at) \
             VALUES ($1, '{}', now() - interval '8 days', now() - interval '1 day')",
        )
        .bind(name)
        .execute(op.db())
        .await
        .unwrap();
    };
    let left = async || -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM error_reports")
            .fetch_one(op.db())
            .await
            .unwrap()
    };
    let cleaned = async || {
        let deadline = std::time::Instant::now() + common::process::PATIENCE;
        while left().await > 0 {
            assert!(std::time::Instant::now() < deadline, "nobody cleans up");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    expire("before the start").await;
    let mut elsewhere = op.db().begin().await.unwrap();
    assert!(db::maintenance::try_lock(&mut *elsewhere).await.unwrap());
    let round = riley_auth::maintenance::clean_up(op.state(), op.clock().now())
        .await
        .unwrap();
    assert_eq!((round.rows, round.shared), (0, true), "another instance is at it");
    assert_eq!(left().await, 1);
    elsewhere.rollback().await.unwrap();
    let running = op
        .reconfigured(|config| config.maintenance.interval_secs = 1)
        .await;
    cleaned().await;
    expire("while it runs").await;
    cleaned().await;
    drop(running);
}

/// DB-7: every table that grows has a cleaner; one that nobody cleans is named here with the reason.
#[tokio::test]
async fn every_table_that_can_grow_has_a_cleaner() {
    const KEPT: [&str; 11] = [
        "_sqlx_migrations",   // as many as the program has
        "audit_entries",      // append-only by purpose; only administration writes it
        "consents",           // until their giver or the client is gone
        "jwks_max_ages",      // cleans itself at every note
        "oauth_clients",      // an administrator's
        "oauth_links",        // until the account is gone
        "reserved_usernames", // an administrator's
        "schema_minimum",     // one row
        "signing_keys",       // as many as there were keys
        "users",              // a deleted account's number stays its own
        "webhooks",           // an administrator's
    ];
    let op = TestProvider::start().await;
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT relname::text FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace",
    )
    .fetch_all(op.db())
    .await
    .unwrap();
    // What goes with the row that it belongs to.
    let cascading: Vec<(String, String)> = sqlx::query_as(
        "SELECT conrelid::regclass::text, confrelid::regclass::text FROM pg_constraint WHERE contype = 'f' AND confdeltype = 'c'",
    )
    .fetch_all(op.db())
    .await
    .unwrap();
    let cleaners = include_str!("../src/db/maintenance.rs");
    let cleaned = |table: &str| cleaners.contains(&format!("DELETE FROM {table} "));
    let uncleaned: BTreeSet<&str> = tables
        .iter()
        .map(String::as_str)
        .filter(|table| {
            !cleaned(table)
                && !cascading
                    .iter()
                    .any(|(child, parent)| child == table && cleaned(parent))
        })
        .collect();
    let unexplained: Vec<&&str> = uncleaned.iter().filter(|table| !KEPT.contains(table)).collect();
    assert!(unexplained.is_empty(), "nobody cleans {unexplained:?}");
}
