//! What goes wrong around a delivery without being its receiver's fault: many slow ones beside it, a pause that an administrator
//! made, our own keys, a database that is gone without a word.

use std::sync::Arc;
use std::time::{Duration, Instant};

use riley_auth::events::Event;
use riley_auth::outbound::client::Limits;
use riley_auth::outbound::{Client, Policy};
use riley_auth::protocol::ids::ClientId;
use riley_auth::webhooks::{self, Change};
use secrecy::ExposeSecret;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use url::Url;
use uuid::Uuid;

use crate::common::TestProvider;
use crate::common::process::PATIENCE;
use crate::common::receiver::{Behaviour, Receiver};
use crate::common::silencer::Silencer;
use crate::common::webhooks::{on_loopback, recorder};
use crate::{delivered, emit, without_worker};

/// Something happens that this test alone waits for.
async fn tell(op: &TestProvider, number: usize) {
    let event = Event::ClientDeleted {
        client_id: ClientId(format!("app-{number}")),
    };
    let mut tx = op.db().begin().await.unwrap();
    riley_auth::db::events::emit(&mut tx, &[event], op.clock().now())
        .await
        .unwrap();
    tx.commit().await.unwrap();
}

/// WH-10: however many slow receivers have a backlog, places are left for one that answers, known or new.
#[tokio::test]
async fn many_slow_endpoints_with_a_backlog_keep_nobody_waiting() {
    let op = TestProvider::with(on_loopback).await;
    let mut slow = Vec::new();
    for _ in 0..8 {
        let receiver = Receiver::start().await;
        receiver.behave(Behaviour::Slow(Duration::from_secs(2)));
        op.webhook_of(&receiver, None, &["client.created"]).await;
        slow.push(receiver);
    }
    emit(&op, 20).await;
    for receiver in &slow {
        receiver.waits_for(2).await;
    }
    let healthy = Receiver::start().await;
    let hook = op.webhook_of(&healthy, None, &["client.deleted"]).await;
    for number in 0..20 {
        let started = Instant::now();
        tell(&op, number).await;
        healthy.waits_for(number + 1).await;
        let took = started.elapsed();
        assert!(took < Duration::from_millis(1500), "{number}: {took:?}");
    }
    let all = op.deliveries_become(hook.id(), delivered).await;
    assert_eq!(all.len(), 20);
    let still_waiting: i64 = sqlx::query_scalar("SELECT count(*) FROM deliveries WHERE status = 'pending'")
        .fetch_one(op.db())
        .await
        .unwrap();
    assert!(
        still_waiting > 50,
        "the slow ones had no backlog: {still_waiting}"
    );
}

/// What was sealed under a key that is not there costs no attempt: it is sent as soon as the key is back.
#[tokio::test]
async fn a_secret_that_we_cannot_read_costs_no_attempt() {
    let op = TestProvider::with(on_loopback).await;
    let receiver = Receiver::start().await;
    let hook = op.webhook(&receiver).await;
    let sealed: Vec<u8> = sqlx::query_scalar("SELECT sealed_secret FROM webhooks")
        .fetch_one(op.db())
        .await
        .unwrap();
    let set = async |secret: &[u8]| {
        sqlx::query("UPDATE webhooks SET sealed_secret = $1")
            .bind(secret)
            .execute(op.db())
            .await
            .unwrap();
    };
    set(b"sealed under another key").await;
    op.ping(hook.id()).await;
    // It is put off more often than there are attempts.
    let mut last = op.deliveries(hook.id()).await[0].next_attempt_at;
    for _ in 0..7 {
        let next = loop {
            let next = op.deliveries(hook.id()).await[0].next_attempt_at;
            if next != last {
                break next;
            }
            op.advance_secs(30);
            op.wake_workers().await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        last = next;
    }
    let waiting = op.deliveries(hook.id()).await.remove(0);
    assert_eq!((waiting.status.as_str(), waiting.attempts.len()), ("pending", 0));
    set(&sealed).await;
    let deadline = Instant::now() + PATIENCE;
    while receiver.received().is_empty() && Instant::now() < deadline {
        op.advance_secs(30);
        op.wake_workers().await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let sent = op.deliveries_become(hook.id(), delivered).await.remove(0);
    assert_eq!(sent.attempts.len(), 1);
}

/// What waited while its webhook was disabled is not given up at the first failures after that, but a day later.
#[tokio::test]
async fn what_waited_for_a_disabled_webhook_is_not_given_up_at_once() {
    let op = without_worker().await;
    let receiver = Receiver::start().await;
    receiver.behave(Behaviour::Hangup);
    let hook = op.webhook(&receiver).await;
    let disable = async |disabled: bool| {
        let change = Change {
            disabled: Some(disabled),
            ..Change::default()
        };
        let mut tx = op.db().begin().await.unwrap();
        let policy = op.state().config.webhooks.policy();
        webhooks::change(&mut tx, &recorder(&op), policy, hook.id(), &change)
            .await
            .unwrap();
        tx.commit().await.unwrap();
    };
    for _ in 0..30 {
        op.ping(hook.id()).await;
    }
    disable(true).await;
    op.advance(time::Duration::days(3));
    disable(false).await;
    let running = op.second_instance().await;
    let attempts = |all: &[riley_auth::db::deliveries::Delivery]| -> usize {
        all.iter().map(|one| one.attempts.len()).sum()
    };
    let failed = |all: &[riley_auth::db::deliveries::Delivery]| -> usize {
        all.iter().filter(|one| one.status == "failed").count()
    };
    // Five failures, a pause, and trials that fail.
    running
        .deliveries_become(hook.id(), |all| attempts(all) >= 5)
        .await;
    for trial in 0..3 {
        running.advance_secs(61);
        running.wake_workers().await;
        let all = running
            .deliveries_become(hook.id(), |all| attempts(all) > 5 + trial)
            .await;
        assert_eq!(failed(&all), 0, "nothing has been due for a day");
    }
    running.advance(time::Duration::hours(25));
    running.wake_workers().await;
    let deadline = Instant::now() + PATIENCE;
    while failed(&running.deliveries(hook.id()).await) < 15 {
        assert!(Instant::now() < deadline, "nothing is given up");
        running.advance_secs(61);
        running.wake_workers().await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Connections to the database that are gone without a word hold the worker up for seconds, not until TCP gives up.
#[tokio::test]
async fn half_open_connections_to_the_database_are_given_up_in_seconds() {
    let op = without_worker().await;
    let silencer = Silencer::before(op.state().config.database.url.expose_secret());
    let running = op
        .reconfigured(|config| {
            config.database.url = silencer.url.clone().into();
            config.database.acquire_timeout_secs = 3;
        })
        .await;
    let receiver = Receiver::start().await;
    let hook = op.webhook(&receiver).await;
    op.ping(hook.id()).await;
    receiver.waits_for(1).await;
    op.deliveries_become(hook.id(), delivered).await;
    for round in 2..4 {
        silencer.fall_silent();
        let started = Instant::now();
        op.ping(hook.id()).await;
        receiver.waits_for(round).await;
        assert!(started.elapsed() < Duration::from_secs(18), "{round}");
        op.deliveries_become(hook.id(), delivered).await;
    }
    drop(running);
}

/// WH-5: an answer whose head comes just in time counts, however slow its body is.
#[tokio::test]
async fn a_body_that_comes_after_the_limit_changes_nothing() {
    riley_auth::jwt::install_crypto_provider();
    let policy = Policy {
        allow_private_ips: true,
    };
    let limits = Limits {
        total: Duration::from_millis(800),
        ..Limits::default()
    };
    let tls = rustls::ClientConfig::builder()
        .with_root_certificates(Arc::new(rustls::RootCertStore::empty()))
        .with_no_client_auth();
    let client = Client::with_tls(policy, limits, tls);
    let receiver = Receiver::start().await;
    let url = Url::parse(&receiver.url()).unwrap();
    let post = async || {
        let headers = axum::http::HeaderMap::new();
        client.post(&url, "text/plain", headers, String::new()).await
    };
    receiver.behave(Behaviour::SlowBody {
        head: Duration::from_millis(500),
        body: Duration::from_millis(700),
    });
    let started = Instant::now();
    assert_eq!(post().await.map(|status| status.as_u16()), Ok(200));
    assert!(started.elapsed() < Duration::from_millis(2500));
    receiver.behave(Behaviour::Slow(Duration::from_millis(1200)));
    assert_eq!(post().await, Err(riley_auth::outbound::Failure::TimedOut));
}

/// A delivery whose result cannot be written because its row is gone hurts nobody.
#[tokio::test]
async fn a_webhook_that_is_removed_while_it_is_sent_to_is_forgotten() {
    let op = TestProvider::with(on_loopback).await;
    let (removed, other) = (Receiver::start().await, Receiver::start().await);
    removed.behave(Behaviour::Slow(Duration::from_millis(300)));
    let hook = op.webhook(&removed).await;
    op.ping(hook.id()).await;
    removed.waits_for(1).await;
    let mut tx = op.db().begin().await.unwrap();
    webhooks::remove(&mut tx, &recorder(&op), hook.id())
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let hook = op.webhook(&other).await;
    let delivery_id: Uuid = op.ping(hook.id()).await;
    let all = op.deliveries_become(hook.id(), delivered).await;
    assert_eq!(all[0].delivery_id, delivery_id);
}

/// WH-7: whoever speaks no TLS on a port that was to be https gets nothing of the message, and what is kept of it is one word.
#[tokio::test]
async fn whoever_speaks_no_tls_is_told_nothing() {
    let op = TestProvider::with(on_loopback).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"220 mail.example ESMTP\r\n").await.unwrap();
        let mut heard = Vec::new();
        let _ = stream.read_to_end(&mut heard).await;
        heard
    });
    let elsewhere = Receiver::start().await;
    let hook = op.webhook(&elsewhere).await;
    sqlx::query("UPDATE webhooks SET url = $1")
        .bind(format!("https://127.0.0.1:{port}/hook"))
        .execute(op.db())
        .await
        .unwrap();
    op.ping(hook.id()).await;
    let all = op
        .deliveries_become(hook.id(), |all| !all[0].attempts.is_empty())
        .await;
    assert_eq!(all[0].attempts[0].error.as_deref(), Some("tls_failed"));
    let heard = heard.await.unwrap();
    assert!(
        !heard
            .windows(4)
            .any(|window| window == b"POST" || window == b"ping")
    );
}
