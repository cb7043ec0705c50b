//! How fast events are delivered, and whether one webhook delays another.

use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::program::Program;
use crate::receiver::{Mode, Receiver};

const EVENTS: usize = 1000;
const SAMPLES: usize = 300;
const PATIENCE: Duration = Duration::from_mins(1);

/// A thousand events, committed at once, to a receiver that answers at once.
pub(crate) async fn throughput() -> anyhow::Result<()> {
    let program = Program::prepare().await?;
    let receiver = Receiver::start().await?;
    program.register(&receiver.url, &["client.created"])?;
    let _process = program.serve()?;
    warmed_up(&program, &receiver, false).await?;
    let before = receiver.count();
    let started = Instant::now();
    program.commit(EVENTS, false).await?;
    let committed = started.elapsed();
    wait_for(&receiver, before + EVENTS).await?;
    let took = started.elapsed();
    println!("| what | figure |\n| --- | --- |");
    println!("| {EVENTS} events committed in one transaction | {committed:.2?} |");
    println!("| all of them received | {took:.2?} |");
    ensure!(took < Duration::from_secs(30), "that is too slow");
    Ok(())
}

/// The time from commit to arrival at a healthy webhook, alone and beside one that is dead and one that is slow, both with
/// a backlog.
pub(crate) async fn neighbours() -> anyhow::Result<()> {
    let program = Program::prepare().await?;
    let healthy = Receiver::start().await?;
    program.register(&healthy.url, &["client.deleted"])?;
    let _process = program.serve()?;
    warmed_up(&program, &healthy, true).await?;
    let (alone_p50, alone_p99) = latencies(&program, &healthy).await?;
    let (dead, slow) = (Receiver::start().await?, Receiver::start().await?);
    dead.set(Mode::Read);
    slow.set(Mode::Slow(Duration::from_secs(2)));
    program.register(&dead.url, &["client.created"])?;
    program.register(&slow.url, &["client.created"])?;
    program.commit(EVENTS, false).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (beside_p50, beside_p99) = latencies(&program, &healthy).await?;
    println!("| commit to arrival | alone | beside a dead and a slow one |\n| --- | --- | --- |");
    println!("| p50 | {alone_p50:.2?} | {beside_p50:.2?} |");
    println!("| p99 | {alone_p99:.2?} | {beside_p99:.2?} |");
    println!(
        "| p99, ratio | 1 | {:.2} |",
        beside_p99.as_secs_f64() / alone_p99.as_secs_f64()
    );
    Ok(())
}

async fn warmed_up(program: &Program, receiver: &Receiver, deleted: bool) -> anyhow::Result<()> {
    for _ in 0..20 {
        let before = receiver.count();
        program.commit(1, deleted).await?;
        wait_for(receiver, before + 1).await?;
    }
    Ok(())
}

async fn latencies(program: &Program, receiver: &Receiver) -> anyhow::Result<(Duration, Duration)> {
    let mut all = Vec::new();
    for _ in 0..SAMPLES {
        let before = receiver.count();
        program.commit(1, true).await?;
        let started = Instant::now();
        wait_for(receiver, before + 1).await?;
        all.push(started.elapsed());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    all.sort();
    Ok((all[SAMPLES / 2], all[SAMPLES * 99 / 100]))
}

async fn wait_for(receiver: &Receiver, count: usize) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while receiver.count() < count {
        ensure!(
            Instant::now() < deadline,
            "only {} events arrived",
            receiver.count()
        );
        // Woken by what arrives.
        receiver.happens(Duration::from_millis(50)).await;
    }
    Ok(())
}
