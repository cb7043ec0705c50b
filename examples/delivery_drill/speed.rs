//! How fast events are delivered, and whether one webhook delays another.

use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::program::{Process, Program};
use crate::receiver::{Mode, Receiver};

const EVENTS: usize = 1000;
/// Blocks of samples, and samples of a block: figures are medians of the blocks', so that what else the machine does in some of
/// them decides nothing.
const BLOCKS: usize = 7;
const SAMPLES: usize = 300;
/// How much later a delivery may arrive for others' being dead or slow.
const MOST_RATIO: f64 = 1.25;
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
/// a backlog. Two programs with a database each run side by side, and are asked in turns.
pub(crate) async fn neighbours() -> anyhow::Result<()> {
    let (alone, beside) = (Neighbourhood::start().await?, Neighbourhood::start().await?);
    let (dead, slow) = (Receiver::start().await?, Receiver::start().await?);
    dead.set(Mode::Read);
    slow.set(Mode::Slow(Duration::from_secs(2)));
    beside.program.register(&dead.url, &["client.created"])?;
    beside.program.register(&slow.url, &["client.created"])?;
    beside.program.commit(EVENTS, false).await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (mut of_alone, mut of_beside) = (Vec::new(), Vec::new());
    for _ in 0..BLOCKS {
        let (mut a, mut b) = (Vec::new(), Vec::new());
        for _ in 0..SAMPLES {
            a.push(alone.latency().await?);
            b.push(beside.latency().await?);
        }
        of_alone.push(percentiles(a));
        of_beside.push(percentiles(b));
    }
    let waiting = beside
        .program
        .count("SELECT count(*) FROM deliveries WHERE status = 'pending'")
        .await?;
    let median = |blocks: &[(Duration, Duration)], of: fn(&(Duration, Duration)) -> Duration| {
        let mut all: Vec<Duration> = blocks.iter().map(of).collect();
        all.sort();
        all[BLOCKS / 2]
    };
    let (alone_p50, beside_p50) = (
        median(&of_alone, |block| block.0),
        median(&of_beside, |block| block.0),
    );
    let (alone_p99, beside_p99) = (
        median(&of_alone, |block| block.1),
        median(&of_beside, |block| block.1),
    );
    let ratio = |beside: Duration, alone: Duration| beside.as_secs_f64() / alone.as_secs_f64();
    let p99_ratio = ratio(beside_p99, alone_p99);
    println!(
        "| commit to arrival | alone | beside a dead and a slow one | ratio |\n| --- | --- | --- | --- |"
    );
    println!(
        "| p50 | {alone_p50:.2?} | {beside_p50:.2?} | {:.2} |",
        ratio(beside_p50, alone_p50)
    );
    println!("| p99 | {alone_p99:.2?} | {beside_p99:.2?} | {p99_ratio:.2} |");
    println!(
        "\nMedians of {BLOCKS} blocks of {SAMPLES} deliveries; {waiting} were still waiting for the others."
    );
    ensure!(
        waiting > 1000,
        "the dead and the slow one had no backlog any more"
    );
    ensure!(p99_ratio < MOST_RATIO, "the neighbours delay deliveries too much");
    Ok(())
}

/// A program that runs, and a healthy receiver of its events.
struct Neighbourhood {
    program: Program,
    healthy: Receiver,
    _process: Process,
}

impl Neighbourhood {
    async fn start() -> anyhow::Result<Self> {
        let program = Program::prepare().await?;
        let healthy = Receiver::start().await?;
        program.register(&healthy.url, &["client.deleted"])?;
        let process = program.serve()?;
        warmed_up(&program, &healthy, true).await?;
        Ok(Self {
            program,
            healthy,
            _process: process,
        })
    }

    /// From the commit of an event to its arrival.
    async fn latency(&self) -> anyhow::Result<Duration> {
        let before = self.healthy.count();
        self.program.commit(1, true).await?;
        let started = Instant::now();
        wait_for(&self.healthy, before + 1).await?;
        let took = started.elapsed();
        // Until it is recorded.
        tokio::time::sleep(Duration::from_millis(4)).await;
        Ok(took)
    }
}

/// The median, and what one of a hundred exceeds.
fn percentiles(mut all: Vec<Duration>) -> (Duration, Duration) {
    all.sort();
    (all[all.len() / 2], all[all.len() * 99 / 100])
}

async fn warmed_up(program: &Program, receiver: &Receiver, deleted: bool) -> anyhow::Result<()> {
    for _ in 0..20 {
        let before = receiver.count();
        program.commit(1, deleted).await?;
        wait_for(receiver, before + 1).await?;
    }
    Ok(())
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
