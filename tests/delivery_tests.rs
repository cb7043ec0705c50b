//! The delivery worker: what is committed is sent, at least once, whoever stops at whatever moment; what is slow, dead,
//! redirecting or huge harms nobody else.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

#[path = "delivery/faults.rs"]
mod faults;

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use common::TestProvider;
use common::receiver::{Behaviour, Receiver};
use common::webhooks::on_loopback;
use riley_auth::db;
use riley_auth::db::deliveries::{Claim, Recorded};
use riley_auth::events::Event;
use riley_auth::outbound::{Client, Failure, Policy};
use riley_auth::protocol::ids::ClientId;
use time::OffsetDateTime;
use url::Url;
use uuid::Uuid;

/// Events that concern nobody, committed at once.
pub(crate) async fn emit(op: &TestProvider, count: usize) -> BTreeSet<String> {
    let now = op.clock().now();
    let events: Vec<Event> = (0..count)
        .map(|number| Event::ClientCreated {
            client_id: ClientId(format!("app-{number}")),
            name: "An app".to_owned(),
        })
        .collect();
    let mut tx = op.db().begin().await.unwrap();
    db::events::emit(&mut tx, &events, now).await.unwrap();
    tx.commit().await.unwrap();
    let ids: Vec<Uuid> =
        sqlx::query_scalar("SELECT event_id FROM events WHERE event_type = 'client.created'")
            .fetch_all(op.db())
            .await
            .unwrap();
    ids.iter().map(Uuid::to_string).collect()
}

pub(crate) fn delivered(all: &[db::deliveries::Delivery]) -> bool {
    !all.is_empty() && all.iter().all(|one| one.status == "delivered")
}

async fn claim_one(op: &TestProvider, lease_id: Uuid, leased_until: OffsetDateTime) -> Vec<Uuid> {
    let claim = Claim {
        lease_id,
        leased_until,
        most: 1,
        most_unknown: 1,
        most_slow: 1,
        per_endpoint: 2,
        known: &[],
    };
    let claimed = db::deliveries::claim(op.db(), &claim, op.clock().now())
        .await
        .unwrap();
    claimed.iter().map(|one| one.delivery_id).collect()
}

fn succeeded(op: &TestProvider, delivery_id: Uuid, lease_id: Uuid) -> Recorded {
    let now = op.clock().now();
    Recorded {
        delivery_id,
        lease_id,
        status: "delivered",
        next_attempt_at: now,
        completed_at: Some(now),
        attempted_at: now,
        duration_ms: 1,
        status_code: Some(200),
        error: None,
    }
}

/// A provider whose own worker has stopped: a test plays its part.
pub(crate) async fn without_worker() -> TestProvider {
    let op = TestProvider::with(on_loopback).await;
    op.stopped().await
}

/// WH-9: what is due when a worker starts, or is enqueued while it runs, is sent once.
#[tokio::test]
async fn what_is_committed_is_sent_once_and_recorded() {
    let op = TestProvider::with(on_loopback).await;
    let receiver = Receiver::start().await;
    let hook = op.webhook(&receiver).await;
    let ids = emit(&op, 20).await;
    let all = op
        .deliveries_become(hook.id(), |all| all.len() == 20 && delivered(all))
        .await;
    let received = receiver.received();
    assert_eq!(received.len(), 20);
    assert_eq!(
        received
            .iter()
            .map(|one| one.id().to_owned())
            .collect::<BTreeSet<_>>(),
        ids
    );
    for one in all {
        assert_eq!(one.attempts.len(), 1);
        assert_eq!(
            (one.attempts[0].status_code, &one.attempts[0].error),
            (Some(200), &None)
        );
    }
}

/// An event that was never committed is never heard of.
#[tokio::test]
async fn what_is_rolled_back_is_not_sent() {
    let op = TestProvider::with(on_loopback).await;
    let receiver = Receiver::start().await;
    let hook = op.webhook(&receiver).await;
    let mut tx = op.db().begin().await.unwrap();
    let event = Event::ClientDeleted {
        client_id: ClientId("gone".into()),
    };
    db::events::emit(&mut tx, &[event], op.clock().now())
        .await
        .unwrap();
    tx.rollback().await.unwrap();
    op.ping(hook.id()).await;
    assert_eq!(receiver.waits_for(1).await[0].event_type(), "webhook.ping");
}

/// Several instances side by side: each delivery is one instance's.
#[tokio::test]
async fn two_instances_send_each_event_once() {
    let op = TestProvider::with(on_loopback).await;
    let _second = op.second_instance().await;
    let receiver = Receiver::start().await;
    let hook = op.webhook(&receiver).await;
    for _ in 0..10 {
        emit(&op, 10).await;
    }
    op.deliveries_become(hook.id(), |all| all.len() == 100 && delivered(all))
        .await;
    let mut times: HashMap<String, usize> = HashMap::new();
    for one in receiver.received() {
        *times.entry(one.id().to_owned()).or_default() += 1;
    }
    assert_eq!(times.len(), 100);
    assert!(times.values().all(|count| *count == 1), "{times:?}");
}

/// WH-9: of all who claim at once, one gets it, a hundred times over.
#[tokio::test]
async fn a_race_of_claims_has_one_winner() {
    let op = without_worker().await;
    let receiver = Receiver::start().await;
    let hook = op.webhook(&receiver).await;
    for round in 0..100 {
        let delivery_id = op.ping(hook.id()).await;
        let barrier = std::sync::Arc::new(tokio::sync::Barrier::new(4));
        let mut claims = tokio::task::JoinSet::new();
        for _ in 0..4 {
            let (op, barrier) = (op.clone(), std::sync::Arc::clone(&barrier));
            claims.spawn(async move {
                barrier.wait().await;
                let lease_id = Uuid::new_v4();
                let until = op.clock().now() + time::Duration::minutes(5);
                (lease_id, claim_one(&op, lease_id, until).await)
            });
        }
        let won: Vec<(Uuid, Vec<Uuid>)> = claims
            .join_all()
            .await
            .into_iter()
            .filter(|(_, won)| !won.is_empty())
            .collect();
        assert_eq!(won.len(), 1, "round {round}: {won:?}");
        assert_eq!(won[0].1, [delivery_id]);
        assert!(
            db::deliveries::record(op.db(), &succeeded(&op, delivery_id, won[0].0))
                .await
                .unwrap()
        );
    }
}

/// WH-9: a result counts only while the lease is its own.
#[tokio::test]
async fn a_late_result_under_another_lease_changes_nothing() {
    let op = without_worker().await;
    let receiver = Receiver::start().await;
    let hook = op.webhook(&receiver).await;
    let delivery_id = op.ping(hook.id()).await;
    let (early, late) = (Uuid::new_v4(), Uuid::new_v4());
    let until = op.clock().now() + time::Duration::seconds(300);
    assert_eq!(claim_one(&op, early, until).await, [delivery_id]);
    op.advance_secs(299);
    assert!(
        claim_one(&op, late, until).await.is_empty(),
        "the lease still holds"
    );
    op.advance_secs(2);
    let until = op.clock().now() + time::Duration::seconds(300);
    assert_eq!(claim_one(&op, late, until).await, [delivery_id], "taken over");

    let failed = Recorded {
        status: "failed",
        error: Some("timed_out"),
        status_code: None,
        ..succeeded(&op, delivery_id, early)
    };
    assert!(!db::deliveries::record(op.db(), &failed).await.unwrap());
    let seen = op.deliveries(hook.id()).await;
    assert_eq!((seen[0].status.as_str(), seen[0].attempts.len()), ("pending", 0));

    assert!(
        db::deliveries::record(op.db(), &succeeded(&op, delivery_id, late))
            .await
            .unwrap()
    );
    assert!(
        !db::deliveries::record(op.db(), &succeeded(&op, delivery_id, late))
            .await
            .unwrap()
    );
    assert_eq!(op.deliveries(hook.id()).await[0].attempts.len(), 1);
}

/// A crash between claim and record: the row is as the crash left it, and is sent when its lease is over.
#[tokio::test]
async fn what_a_crash_left_behind_is_taken_over_when_its_lease_ends() {
    let op = without_worker().await;
    let receiver = Receiver::start().await;
    let hook = op.webhook(&receiver).await;
    op.ping(hook.id()).await;
    let until = op.clock().now() + time::Duration::seconds(300);
    claim_one(&op, Uuid::new_v4(), until).await;

    let successor = op.second_instance().await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(receiver.received().is_empty(), "somebody may still be at it");
    successor.advance_secs(301);
    successor.wake_workers().await;
    receiver.waits_for(1).await;
    successor.deliveries_become(hook.id(), delivered).await;
}

/// WH-10: bounded attempts with exponential waits, then `failed`, with a fixed code for each.
#[tokio::test]
async fn an_event_is_tried_five_times_and_then_has_failed() {
    let op = TestProvider::with(on_loopback).await;
    let receiver = Receiver::start().await;
    receiver.behave(Behaviour::Status(500));
    let hook = op.webhook(&receiver).await;
    op.ping(hook.id()).await;
    for attempt in 1..=5 {
        receiver.waits_for(attempt).await;
        let seen = op
            .deliveries_become(hook.id(), |all| all[0].attempts.len() == attempt)
            .await;
        let waits = seen[0].next_attempt_at - seen[0].attempts[attempt - 1].attempted_at;
        let step = [10.0, 50.0, 250.0, 1250.0, 0.0][attempt - 1];
        assert!(
            (step * 0.5..=step * 1.5 + 2.0).contains(&waits.as_seconds_f64()),
            "{attempt}: {waits}"
        );
        assert_eq!(seen[0].status, if attempt == 5 { "failed" } else { "pending" });
        op.advance(time::Duration::minutes(40));
        op.wake_workers().await;
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    let ids: BTreeSet<String> = receiver
        .received()
        .iter()
        .map(|one| one.id().to_owned())
        .collect();
    assert_eq!((receiver.received().len(), ids.len()), (5, 1), "the id is stable");
    let timestamps: BTreeSet<String> = receiver
        .received()
        .iter()
        .map(|one| one.header("webhook-timestamp").to_owned())
        .collect();
    assert_eq!(timestamps.len(), 5, "the timestamp is the attempt's");
    let attempts = op.deliveries(hook.id()).await.remove(0).attempts;
    assert!(
        attempts
            .iter()
            .all(|one| one.error.as_deref() == Some("refused_by_receiver") && one.status_code == Some(500))
    );
}

/// WH-5, WH-7: whatever a receiver does, the attempt ends in time, with a fixed code, and asks nobody else.
#[tokio::test]
async fn every_misbehaviour_has_a_code_and_an_end() {
    let op = TestProvider::with(on_loopback).await;
    let elsewhere = Receiver::start().await;
    let cases = [
        (Behaviour::Hangup, Some("connection_failed"), None),
        (
            Behaviour::Redirect(elsewhere.url()),
            Some("redirect_not_followed"),
            Some(307),
        ),
        (Behaviour::HugeHead(20 * 1024), Some("invalid_answer"), None),
        (Behaviour::HugeHead(12 * 1024), None, Some(200)),
        (Behaviour::Garbage, Some("invalid_answer"), None),
        (Behaviour::EndlessBody, None, Some(200)),
        (Behaviour::Status(410), Some("receiver_gone"), Some(410)),
        (Behaviour::Status(404), Some("refused_by_receiver"), Some(404)),
        (Behaviour::Slow(Duration::from_millis(300)), None, Some(200)),
    ];
    for (behaviour, code, status_code) in cases {
        let receiver = Receiver::start().await;
        receiver.behave(behaviour.clone());
        let hook = op.webhook(&receiver).await;
        let started = Instant::now();
        op.ping(hook.id()).await;
        let seen = op
            .deliveries_become(hook.id(), |all| !all[0].attempts.is_empty())
            .await;
        let attempt = &seen[0].attempts[0];
        assert_eq!(
            (attempt.error.as_deref(), attempt.status_code),
            (code, status_code),
            "{behaviour:?}"
        );
        assert!(started.elapsed() < Duration::from_secs(8), "{behaviour:?}");
        let final_answer = code.is_none() || code == Some("receiver_gone");
        assert_eq!(seen[0].status == "pending", !final_answer, "{behaviour:?}");
    }
    assert!(elsewhere.received().is_empty(), "a redirect was followed");
}

/// WH-5: a receiver that never answers costs ten seconds.
#[tokio::test]
async fn a_silent_receiver_is_given_ten_seconds() {
    let op = TestProvider::with(on_loopback).await;
    let receiver = Receiver::start().await;
    receiver.behave(Behaviour::Silent);
    let hook = op.webhook(&receiver).await;
    op.ping(hook.id()).await;
    let seen = op
        .deliveries_become(hook.id(), |all| !all[0].attempts.is_empty())
        .await;
    let attempt = &seen[0].attempts[0];
    assert_eq!(attempt.error.as_deref(), Some("timed_out"));
    assert!(
        (9_500..13_000).contains(&attempt.duration_ms),
        "{}",
        attempt.duration_ms
    );
}

/// WH-2, WH-3, WH-6: however a private address got into a row, nothing is sent there.
#[tokio::test]
async fn a_private_address_is_not_asked_whatever_the_database_says() {
    let op = TestProvider::start().await;
    let open = op.reconfigured(on_loopback).await;
    open.state().shutdown.cancel();
    let receiver = Receiver::start().await;
    let port = Url::parse(&receiver.url()).unwrap().port().unwrap();
    let hook = open.webhook(&receiver).await;
    for url in [
        format!("https://127.0.0.1:{port}/hook"),
        format!("https://localhost:{port}/hook"),
        format!("https://[::ffff:127.0.0.1]:{port}/hook"),
        receiver.url(),
    ] {
        sqlx::query("UPDATE webhooks SET url = $1")
            .bind(&url)
            .execute(op.db())
            .await
            .unwrap();
        let delivery_id = op.ping(hook.id()).await;
        let of =
            |all: &[db::deliveries::Delivery]| all.iter().find(|one| one.delivery_id == delivery_id).cloned();
        let seen = op
            .deliveries_become(hook.id(), |all| {
                of(all).is_some_and(|one| !one.attempts.is_empty())
            })
            .await;
        assert_eq!(
            of(&seen).unwrap().attempts[0].error.as_deref(),
            Some("url_not_allowed"),
            "{url}"
        );
    }
    assert!(receiver.received().is_empty());
}

/// WH-2, WH-7: a name that leads to a private address, and one that leads nowhere, are one and the same.
#[tokio::test]
async fn a_name_with_a_private_address_is_refused_like_one_without_any() {
    riley_auth::jwt::install_crypto_provider();
    let guarded = Client::new(Policy {
        allow_private_ips: false,
    })
    .unwrap();
    // The machine's own name, which is no `localhost` and leads to an address of its own.
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .unwrap()
        .trim()
        .to_owned();
    for host in ["nowhere.invalid", &name] {
        let url = Url::parse(&format!("https://{host}:8443/")).unwrap();
        let answer = guarded
            .post(&url, "text/plain", axum::http::HeaderMap::new(), String::new())
            .await;
        assert_eq!(answer, Err(Failure::NoPublicAddress), "{host}");
    }
}

/// WH-10: not more than two at once to one receiver.
#[tokio::test]
async fn one_endpoint_gets_two_at_once() {
    let op = TestProvider::with(on_loopback).await;
    let receiver = Receiver::start().await;
    receiver.behave(Behaviour::Slow(Duration::from_millis(100)));
    let hook = op.webhook(&receiver).await;
    emit(&op, 12).await;
    op.deliveries_become(hook.id(), |all| all.len() == 12 && delivered(all))
        .await;
    assert_eq!(receiver.most_at_once(), 2);
}

/// WH-10: one that is dead and one that is slow, both with a backlog, do not hold up a third.
#[tokio::test]
async fn a_dead_and_a_slow_endpoint_do_not_starve_another() {
    let op = TestProvider::with(on_loopback).await;
    let (dead, slow, healthy) = (
        Receiver::start().await,
        Receiver::start().await,
        Receiver::start().await,
    );
    dead.behave(Behaviour::Silent);
    slow.behave(Behaviour::Slow(Duration::from_secs(5)));
    op.webhook_of(&dead, None, &["client.created"]).await;
    op.webhook_of(&slow, None, &["client.created"]).await;
    let hook = op.webhook_of(&healthy, None, &["client.deleted"]).await;
    emit(&op, 100).await;
    dead.waits_for(2).await;
    slow.waits_for(2).await;
    for number in 0..20 {
        let started = Instant::now();
        let event = Event::ClientDeleted {
            client_id: ClientId(format!("app-{number}")),
        };
        let mut tx = op.db().begin().await.unwrap();
        db::events::emit(&mut tx, &[event], op.clock().now())
            .await
            .unwrap();
        tx.commit().await.unwrap();
        healthy.waits_for(number + 1).await;
        assert!(
            started.elapsed() < Duration::from_secs(2),
            "{:?}",
            started.elapsed()
        );
    }
    op.deliveries_become(hook.id(), |all| all.len() == 20 && delivered(all))
        .await;
}

/// RS-7: claims stop, what is under way ends or is given back, and another instance sends it at once.
#[tokio::test]
async fn a_stopping_instance_gives_back_what_it_cannot_finish() {
    let op = TestProvider::with(on_loopback).await;
    let receiver = Receiver::start().await;
    receiver.behave(Behaviour::Silent);
    let hook = op.webhook(&receiver).await;
    op.ping(hook.id()).await;
    receiver.waits_for(1).await;
    let op = op.stopped().await;
    let deadline = Instant::now() + common::process::PATIENCE;
    loop {
        let leased: i64 = sqlx::query_scalar("SELECT count(*) FROM deliveries WHERE lease_id IS NOT NULL")
            .fetch_one(op.db())
            .await
            .unwrap();
        if leased == 0 {
            break;
        }
        assert!(Instant::now() < deadline, "the lease is kept");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    receiver.behave(Behaviour::Status(200));
    let successor = op.second_instance().await;
    successor.deliveries_become(hook.id(), delivered).await;
    assert_eq!(receiver.received().len(), 2);
}

/// Nothing is lost and nothing is sent to a webhook while it is disabled; then everything is.
#[tokio::test]
async fn what_waits_for_a_disabled_webhook_goes_on_waiting() {
    let op = without_worker().await;
    let receiver = Receiver::start().await;
    let hook = op.webhook(&receiver).await;
    op.ping(hook.id()).await;
    sqlx::query("UPDATE webhooks SET disabled_at = now()")
        .execute(op.db())
        .await
        .unwrap();
    let running = op.second_instance().await;
    let other = Receiver::start().await;
    let other_hook = running.webhook(&other).await;
    running.ping(other_hook.id()).await;
    other.waits_for(1).await;
    assert!(receiver.received().is_empty());
    sqlx::query("UPDATE webhooks SET disabled_at = NULL")
        .execute(op.db())
        .await
        .unwrap();
    running.wake_workers().await;
    receiver.waits_for(1).await;
}

/// A worker is woken by what is committed: twenty deliveries, each waiting for the one before, would take twenty rounds of
/// looking.
#[tokio::test]
async fn what_is_committed_wakes_the_worker() {
    let op = TestProvider::with(on_loopback).await;
    let receiver = Receiver::start().await;
    let hook = op.webhook(&receiver).await;
    op.ping(hook.id()).await;
    op.deliveries_become(hook.id(), delivered).await;
    let started = Instant::now();
    for number in 2..=21 {
        op.ping(hook.id()).await;
        op.deliveries_become(hook.id(), |all| all.len() == number && delivered(all))
            .await;
    }
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "{:?}",
        started.elapsed()
    );
}

/// Behind that it looks by itself: what nobody was told of, and a retry, which nobody announces, are found.
#[tokio::test]
async fn what_no_notification_tells_of_is_found_by_looking() {
    let op = TestProvider::with(on_loopback).await;
    let receiver = Receiver::start().await;
    let hook = op.webhook(&receiver).await;
    op.ping(hook.id()).await;
    op.deliveries_become(hook.id(), delivered).await;
    sqlx::query(
        "INSERT INTO deliveries (delivery_id, kind, event_id, webhook_id, next_attempt_at, created_at) \
         SELECT gen_random_uuid(), kind, event_id, webhook_id, next_attempt_at, created_at FROM deliveries",
    )
    .execute(op.db())
    .await
    .unwrap();
    receiver.waits_for(2).await;
    op.deliveries_become(hook.id(), |all| all.len() == 2 && delivered(all))
        .await;
    receiver.behave(Behaviour::Status(500));
    op.ping(hook.id()).await;
    op.deliveries_become(hook.id(), |all| all.iter().any(|one| one.status == "pending"))
        .await;
    receiver.waits_for(3).await;
    receiver.behave(Behaviour::Status(200));
    op.deliveries_become(hook.id(), |all| all.iter().all(|one| !one.attempts.is_empty()))
        .await;
    op.advance_secs(20);
    receiver.waits_for(4).await;
}

/// What a claim costs does not grow with what waits, whatever the planner knows of the table: neither statement nor settings
/// let it be read as a whole.
#[tokio::test]
async fn a_claim_reads_a_few_pages_however_much_waits() {
    let op = without_worker().await;
    let receiver = Receiver::start().await;
    for _ in 0..3 {
        op.webhook(&receiver).await;
    }
    let worker = db::connect_deliveries(&op.state().config.database, 1).unwrap();
    let mut costs = Vec::new();
    for waiting in [3, 20_000] {
        emit(&op, waiting / 3).await;
        sqlx::raw_sql("ANALYZE").execute(op.db()).await.unwrap();
        let mut tx = worker.begin().await.unwrap();
        let before = pages_read(&mut tx).await;
        for _ in 0..10 {
            // Over as soon as it begins: each claim finds the same.
            let claim = Claim {
                lease_id: Uuid::new_v4(),
                leased_until: op.clock().now() - time::Duration::SECOND,
                most: 6,
                most_unknown: 6,
                most_slow: 6,
                per_endpoint: 2,
                known: &[],
            };
            let claimed = db::deliveries::claim(&mut *tx, &claim, op.clock().now())
                .await
                .unwrap();
            assert!(!claimed.is_empty());
        }
        costs.push(pages_read(&mut tx).await - before);
        tx.commit().await.unwrap();
    }
    assert!(
        costs[1] < 10 * 150,
        "{costs:?}: pages for ten claims with little and with much waiting"
    );
}

/// Pages of the deliveries and their indexes that this connection has looked at.
async fn pages_read(tx: &mut riley_auth::db::Transaction) -> i64 {
    sqlx::query_scalar(
        "SELECT sum(pg_stat_get_xact_blocks_fetched(oid))::bigint FROM pg_class WHERE relname ~ '^deliveries'",
    )
    .fetch_one(&mut **tx)
    .await
    .unwrap()
}
