//! Three instances behind a load balancer are one provider, and the end of one costs only what it was answering.

use std::time::Duration;

use rustix::process::Signal;

use crate::Figure;
use crate::common::{Directory, Process, TestProvider};
use crate::load::{Counts, Load, Manner};
use crate::proxy::Balancer;

const APPS: usize = 32;
const KILLS: usize = 5;

pub(crate) async fn run() -> Vec<Figure> {
    let home = TestProvider::start().await;
    let directory = Directory::with_key(&home.configuration_text());
    let mut instances: Vec<Process> = Vec::new();
    for _ in 0..3 {
        instances.push(directory.serve().await);
    }
    let balancer = Balancer::start(instances.iter().map(|instance| instance.address).collect()).await;
    // A connection per request: each request of an app goes to another instance than the one before.
    let manner = Manner {
        keep_alive: false,
        ..Manner::default()
    };
    let load = Load::start(&home, &home.served_at(balancer.address), APPS, manner).await;
    let mut in_flight = 0;
    for _ in 0..KILLS {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let mut old = instances.remove(0);
        let before = Counts::of(&load.counts.unanswered);
        // What is open when it is killed, and what it takes until the process is gone: nothing that the others answer.
        let killed = balancer.taken_by(old.address);
        old.signal(Signal::KILL);
        old.ended().await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        let unanswered = Counts::of(&load.counts.unanswered) - before;
        let most = killed.open + balancer.taken_by(old.address).in_all - killed.in_all;
        assert!(unanswered <= most, "{unanswered} of {most} in flight");
        in_flight += most;
        let new = directory.serve().await;
        balancer.replace(old.address, new.address);
        instances.push(new);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let counts = load.stop().await;
    assert_eq!(Counts::of(&counts.wrong), 0);
    assert_eq!(
        Counts::of(&counts.lost),
        0,
        "the same token again gives the same successor"
    );
    let unanswered = Counts::of(&counts.unanswered);
    vec![Figure::new(
        "instances",
        format!(
            "{KILLS} times SIGKILL to one of three instances, {APPS} apps, each request at another instance"
        ),
        format!(
            "{}; {in_flight} were in flight to the killed ones or came before they were gone, {unanswered} were lost with them",
            counts.summary()
        ),
    )]
}
