//! Kills the program at every step of a delivery, and at random, and compares what was committed with what arrived.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::ensure;
use uuid::Uuid;

use crate::program::{Program, STUCK_AFTER_SECS};
use crate::receiver::{Mode, Receiver};

/// Where a delivery is when the program is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Claimed; the receiver has read nothing.
    Claimed,
    /// Sent; the receiver has not answered.
    Sent,
    /// Answered; the result cannot be written, since this drill holds the row.
    AnsweredNotRecorded,
    /// Wherever it is at a moment that chance chooses.
    Random,
}

const STEPS: [Step; 4] = [Step::Claimed, Step::Sent, Step::AnsweredNotRecorded, Step::Random];

/// Events that are committed while a process runs.
const EVENTS_PER_LIFE: usize = 4;
/// How long a process may take until it is at the step.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) async fn run(kills: usize) -> anyhow::Result<()> {
    let program = Program::prepare().await?;
    let receiver = Receiver::start().await?;
    program.register(&receiver.url, &["client.created"])?;
    let started = Instant::now();
    let mut killed = [0_usize; STEPS.len()];
    for life in 0..kills {
        let index = life % STEPS.len();
        let step = STEPS[index];
        receiver.set(match step {
            Step::Claimed => Mode::TakeNothing,
            Step::Sent => Mode::Read,
            Step::AnsweredNotRecorded => Mode::Answer,
            Step::Random => Mode::Mixed,
        });
        receiver.forget().await;
        let before = receiver.count();
        let process = program.serve()?;
        if step == Step::AnsweredNotRecorded {
            // Held before anything is committed: whatever is answered cannot be recorded.
            killed_while_held(&program, &receiver, process, before).await?;
        } else {
            program.commit(EVENTS_PER_LIFE, false).await?;
            if step == Step::Random {
                // A process begins to deliver after some fifty milliseconds.
                let millis = u64::from(Uuid::new_v4().as_bytes()[0]) * 3;
                tokio::time::sleep(Duration::from_millis(millis)).await;
            } else {
                ensure!(receiver.happens(PATIENCE).await, "{step:?} was never reached");
            }
            process.kill()?;
        }
        killed[index] += 1;
    }
    receiver.set(Mode::Answer);
    let process = program.serve()?;
    let deadline = Instant::now() + Duration::from_secs(STUCK_AFTER_SECS + 240);
    while program
        .count("SELECT count(*) FROM deliveries WHERE status = 'pending'")
        .await?
        > 0
        && Instant::now() < deadline
    {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    process.kill()?;
    report(&program, &receiver, killed, started.elapsed()).await
}

/// The table of deliveries is locked against writing results once the claim is through: the answer is given, and the program
/// dies while it waits to record it.
async fn killed_while_held(
    program: &Program,
    receiver: &Receiver,
    process: crate::program::Process,
    before: usize,
) -> anyhow::Result<()> {
    receiver.set(Mode::Slow(Duration::from_millis(150)));
    program.commit(EVENTS_PER_LIFE, false).await?;
    let deadline = Instant::now() + PATIENCE;
    while receiver.count() == before {
        ensure!(Instant::now() < deadline, "nothing was sent");
        receiver.happens(Duration::from_millis(100)).await;
    }
    // Claimed and sent, not answered yet: from now on nobody can write to what is leased.
    let mut tx = program.db.begin().await?;
    sqlx::query("SELECT FROM deliveries WHERE lease_id IS NOT NULL FOR UPDATE")
        .execute(&mut *tx)
        .await?;
    tokio::time::sleep(Duration::from_millis(250)).await;
    process.kill()?;
    tx.rollback().await?;
    Ok(())
}

async fn report(
    program: &Program,
    receiver: &Receiver,
    killed: [usize; STEPS.len()],
    took: Duration,
) -> anyhow::Result<()> {
    let committed: BTreeSet<String> =
        sqlx::query_scalar::<_, Uuid>("SELECT event_id FROM events WHERE event_type = 'client.created'")
            .fetch_all(&program.db)
            .await?
            .iter()
            .map(Uuid::to_string)
            .collect();
    let seen = receiver.seen();
    let missing = committed.iter().filter(|id| !seen.contains_key(*id)).count();
    let unknown = seen.keys().filter(|id| !committed.contains(*id)).count();
    let repeated: usize = seen.values().map(|(_, times)| times - 1).sum();
    let failed = program
        .count("SELECT count(*) FROM deliveries WHERE status <> 'delivered'")
        .await?;
    let [claimed, sent, answered, random] = killed;
    println!("| what | count |\n| --- | --- |");
    for (what, count) in [
        ("killed: claimed, nothing read", claimed),
        ("killed: sent, not answered", sent),
        ("killed: answered, not recorded", answered),
        ("killed: at random", random),
        ("events committed", committed.len()),
        ("events received", seen.len()),
        ("events missing", missing),
        ("events that nobody committed", unknown),
        ("repetitions", repeated),
        ("seconds", usize::try_from(took.as_secs())?),
    ] {
        println!("| {what} | {count} |");
    }
    ensure!(missing == 0 && unknown == 0, "events were lost or invented");
    ensure!(failed == 0, "{failed} deliveries are not recorded as delivered");
    ensure!(
        repeated > 0,
        "the drill hit nothing: no delivery was ever repeated"
    );
    Ok(())
}
