//! Instances behind a load balancer are replaced one after the other, as an upgrade does, under load.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::Figure;
use crate::common::{Directory, Process, TestProvider};
use crate::load::{Counts, Load, Manner};
use crate::proxy::Balancer;

const APPS: usize = 32;
const RESTARTS: usize = 20;
const GRACE: Duration = Duration::from_secs(20);

pub(crate) async fn run() -> Vec<Figure> {
    let mut figures = Vec::new();
    for keep_alive in [false, true] {
        let (counts, slowest) = replace_all(keep_alive).await;
        let connections = if keep_alive {
            "connections kept alive"
        } else {
            "a connection per request"
        };
        assert!(slowest < GRACE, "{slowest:?}");
        figures.push(Figure::new(
            "restart",
            format!("{RESTARTS} times SIGTERM to one of two instances, {APPS} apps, {connections}"),
            format!("{}; slowest end {} ms", counts.summary(), slowest.as_millis()),
        ));
        assert_eq!(Counts::of(&counts.wrong), 0);
        assert_eq!(Counts::of(&counts.lost), 0);
        assert_eq!(Counts::of(&counts.unanswered), 0, "a stop cuts nobody off");
    }
    figures
}

async fn replace_all(keep_alive: bool) -> (std::sync::Arc<Counts>, Duration) {
    let home = TestProvider::start().await;
    let directory = Directory::with_key(&home.configuration_text());
    let grace = format!("shutdown_grace_secs = {}", GRACE.as_secs());
    directory.edit("shutdown_grace_secs = 1", &grace);
    let mut instances: Vec<Process> = vec![directory.serve().await, directory.serve().await];
    let balancer = Balancer::start(instances.iter().map(|instance| instance.address).collect()).await;
    let manner = Manner {
        keep_alive,
        ..Manner::default()
    };
    let load = Load::start(&home, &home.served_at(balancer.address), APPS, manner).await;
    let mut slowest = Duration::ZERO;
    for _ in 0..RESTARTS {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let mut old = instances.remove(0);
        let started = Instant::now();
        old.signal(Signal::TERM);
        assert_eq!(old.ended().await.code(), Some(0));
        assert!(
            !old.log().contains("did not finish"),
            "somebody was cut off: {}",
            old.log()
        );
        slowest = slowest.max(started.elapsed());
        let new = directory.serve().await;
        balancer.replace(old.address, new.address);
        instances.push(new);
    }
    (load.stop().await, slowest)
}
