//! What telling of a change costs the change, and for how long the clean-up holds anything.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use riley_auth::clock::Clock;
use riley_auth::db::{self, Pool};
use riley_auth::events::Event;
use riley_auth::protocol::ids::ClientId;

use time::OffsetDateTime;
use uuid::Uuid;

use crate::program::Program;

/// Transactions of each kind.
const TRANSACTIONS: usize = 2000;
/// Rows of each kind that are to be cleaned up.
const ROWS: i64 = 50_000;
/// Nobody may wait longer for a clean-up.
const MOST: Duration = Duration::from_millis(100);

/// A change in a transaction of its own, with and without telling one webhook of it, in turns.
pub(crate) async fn enqueue() -> anyhow::Result<()> {
    let program = Program::prepare().await?;
    program.register("http://127.0.0.1:9/", &["client.created"])?;
    let (mut silent, mut told) = (Vec::new(), Vec::new());
    for number in 0..2 * TRANSACTIONS {
        let tells = number % 2 == 1;
        let started = Instant::now();
        // One after the other, so always on the same connection.
        let mut tx = program.db.begin().await?;
        sqlx::query("UPDATE webhooks SET description = $1")
            .bind(number.to_string())
            .execute(&mut *tx)
            .await?;
        if tells {
            let client_id = ClientId(Uuid::new_v4().to_string());
            let event = Event::ClientCreated {
                client_id,
                name: "An app".to_owned(),
            };
            db::events::emit(&mut tx, &[event], program.clock.now()).await?;
        }
        tx.commit().await?;
        if tells { &mut told } else { &mut silent }.push(started.elapsed());
    }
    let statements: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM pg_prepared_statements WHERE statement ~ 'events' AND statement !~ 'pg_prepared'",
    )
    .fetch_one(&program.db)
    .await?;
    silent.sort();
    told.sort();
    println!("| a transaction with one change | p50 | p99 |\n| --- | --- | --- |");
    for (what, all) in [("telling nobody", &silent), ("telling a webhook", &told)] {
        let (p50, p99) = (all[all.len() / 2], all[all.len() * 99 / 100]);
        println!("| {what} | {p50:.2?} | {p99:.2?} |");
    }
    println!("\nStatements that telling adds: {statements}.");
    ensure!(statements == 1, "telling takes more than one statement");
    Ok(())
}

/// Much that has expired is cleaned up, batch by batch, while others commit.
pub(crate) async fn cleanup() -> anyhow::Result<()> {
    let program = Program::prepare().await?;
    program.register("http://127.0.0.1:9/", &["client.created"])?;
    let idle = waits(
        &program.db,
        &program.clock,
        Arc::new(AtomicBool::new(false)),
        Some(500),
    )
    .await?;
    fill(&program.db).await?;
    let cleaning = Arc::new(AtomicBool::new(true));
    let others = tokio::spawn(waits_owned(
        program.db.clone(),
        program.clock.clone(),
        Arc::clone(&cleaning),
    ));
    let now = program.clock.now();
    let started = Instant::now();
    let mut longest = Vec::new();
    let mut rows = 0;
    for job in ["waiting", "deliveries", "events"] {
        let mut slowest = Duration::ZERO;
        loop {
            let began = Instant::now();
            let deleted = batch(&program.db, job, now).await?;
            slowest = slowest.max(began.elapsed());
            rows += deleted;
            if deleted == 0 {
                break;
            }
        }
        longest.push((job, slowest));
    }
    let took = started.elapsed();
    cleaning.store(false, Ordering::Relaxed);
    let during = others.await??;
    println!("| what | figure |\n| --- | --- |");
    println!("| {rows} rows deleted | {took:.2?} |");
    for (job, slowest) in &longest {
        println!("| longest batch, {job} | {slowest:.2?} |");
    }
    for (when, waits) in [("before", &idle), ("meanwhile", &during)] {
        let (p50, p99, most) = (
            waits[waits.len() / 2],
            waits[waits.len() * 99 / 100],
            waits[waits.len() - 1],
        );
        println!(
            "| {} changes of others, {when}: p50, p99, longest | {p50:.2?}, {p99:.2?}, {most:.2?} |",
            waits.len()
        );
    }
    ensure!(
        during[during.len() - 1] < MOST,
        "somebody waited for the clean-up"
    );
    Ok(())
}

/// As `maintenance` does it: a transaction of its own for each batch.
async fn batch(db: &Pool, job: &str, now: OffsetDateTime) -> anyhow::Result<u64> {
    let mut tx = db.begin().await?;
    ensure!(
        db::maintenance::try_lock(&mut *tx).await?,
        "somebody else cleans up"
    );
    let kept_since = now - time::Duration::days(7);
    let rows = match job {
        "waiting" => db::maintenance::delete_expired_waiting(&mut *tx, now).await?,
        "deliveries" => db::maintenance::delete_old_deliveries(&mut *tx, kept_since).await?,
        _ => db::maintenance::delete_old_events(&mut *tx, kept_since).await?,
    };
    tx.commit().await?;
    Ok(rows)
}

async fn fill(db: &Pool) -> sqlx::Result<()> {
    for sql in [
        "INSERT INTO error_reports (error_id, report, created_at, expires_at)
         SELECT n::text, '{}', now() - interval '8 days', now() - interval '1 day' FROM generate_series(1, $1) n",
        "INSERT INTO upstream_flows (state_hash, browser_hash, provider, kind, sealed, created_at, expires_at)
         SELECT sha256(n::text::bytea), sha256(n::text::bytea), 'simulated', 'login', repeat('x', 500)::bytea,
                now() - interval '1 day', now() - interval '1 day'
         FROM generate_series(1, $1) n",
        "INSERT INTO events (event_id, event_type, data, created_at)
         SELECT gen_random_uuid(), 'client.created', '{\"client_id\": \"app\", \"name\": \"An app\"}', now() - interval '8 days'
         FROM generate_series(1, $1) n",
        "INSERT INTO deliveries (delivery_id, kind, event_id, webhook_id, status, attempts, next_attempt_at, created_at, completed_at)
         SELECT gen_random_uuid(), 'webhook', event_id, webhook_id, 'delivered', 1, e.created_at, e.created_at, e.created_at
         FROM events e, webhooks w, (SELECT $1::bigint) AS of_all (rows)",
        "INSERT INTO delivery_attempts (delivery_id, attempt, attempted_at, duration_ms, status_code)
         SELECT delivery_id, 1, now(), 5, 200 FROM deliveries, (SELECT $1::bigint) AS of_all (rows)",
    ] {
        sqlx::query(sql).bind(ROWS).execute(db).await?;
    }
    // As autovacuum does for a table that has grown.
    sqlx::raw_sql("ANALYZE").execute(db).await?;
    Ok(())
}

async fn waits_owned(db: Pool, clock: Clock, cleaning: Arc<AtomicBool>) -> anyhow::Result<Vec<Duration>> {
    waits(&db, &clock, cleaning, None).await
}

/// How long others take for a change that is told of: while the clean-up runs, or so often.
async fn waits(
    db: &Pool,
    clock: &Clock,
    cleaning: Arc<AtomicBool>,
    times: Option<usize>,
) -> anyhow::Result<Vec<Duration>> {
    let mut all = Vec::new();
    while times.map_or_else(|| cleaning.load(Ordering::Relaxed), |times| all.len() < times) {
        let started = Instant::now();
        let mut tx = db.begin().await?;
        let event = Event::ClientCreated {
            client_id: ClientId(Uuid::new_v4().to_string()),
            name: "An app".to_owned(),
        };
        db::events::emit(&mut tx, &[event], clock.now()).await?;
        tx.commit().await?;
        all.push(started.elapsed());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    all.sort();
    Ok(all)
}
