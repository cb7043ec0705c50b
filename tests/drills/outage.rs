//! PostgreSQL goes away under load and comes back.

use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use riley_auth::db;
use riley_auth::dev::postgres::PrivatePostgres;

use crate::Figure;
use crate::common::{Directory, TestProvider};
use crate::load::{Counts, Load, Manner};

const APPS: usize = 16;
const OUTAGES: usize = 3;
const OUTAGE: Duration = Duration::from_secs(4);
const LIMIT: Duration = Duration::from_secs(5);

/// How long it takes until `/ready` says so.
async fn ready_becomes(served: &TestProvider, status: u16) -> Duration {
    let asked = Instant::now();
    while served.get("/ready").await.status != status {
        assert!(asked.elapsed() < LIMIT, "/ready does not tell the truth");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    asked.elapsed()
}

pub(crate) async fn run() -> Vec<Figure> {
    let files = tempfile::tempdir().unwrap();
    std::fs::set_permissions(files.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
    let data = files.path().join("postgres");
    let start = || PrivatePostgres::start_for_dev_in(&data, false);
    let mut postgres = start().await.unwrap();
    let url = postgres.url("postgres");
    let home = TestProvider::with({
        let url = url.clone();
        move |config| config.database.url = url.into()
    })
    .await;
    db::schema::migrate(home.db()).await.unwrap();
    let own = home.configuration_text();
    let old_url = own
        .lines()
        .find_map(|line| line.trim().strip_prefix("url = \"")?.strip_suffix('"'))
        .unwrap()
        .to_owned();
    let configuration = own
        .replace(&old_url, &url)
        .replace("acquire_timeout_secs = 30", "acquire_timeout_secs = 3");
    let directory = Directory::with_key(&configuration);
    let process = directory.serve().await;
    let served = home.served_at(process.address);
    let load = Load::start(&home, &served, APPS, Manner::default()).await;
    let (mut slowest_refusal, mut slowest_recovery) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..OUTAGES {
        tokio::time::sleep(Duration::from_secs(2)).await;
        postgres.stop().await.unwrap();
        slowest_refusal = slowest_refusal.max(ready_becomes(&served, 503).await);
        served.get("/health").await.is(200);
        served.get("/.well-known/jwks.json").await.is(200);
        served.get("/.well-known/openid-configuration").await.is(200);
        let away = Instant::now();
        while away.elapsed() < OUTAGE {
            served.get("/ready").await.is(503);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        postgres = start().await.unwrap();
        let back = Instant::now();
        loop {
            let last = *load.counts.last_good.lock().await;
            if last.is_some_and(|last| last > back) {
                break;
            }
            assert!(back.elapsed() < LIMIT, "it does not recover");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        slowest_recovery = slowest_recovery.max(back.elapsed());
        ready_becomes(&served, 200).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let counts = load.stop().await;
    home.state().shutdown.cancel();
    postgres.stop().await.unwrap();
    assert_eq!(
        Counts::of(&counts.wrong),
        0,
        "503 with Retry-After and nothing else"
    );
    assert_eq!(Counts::of(&counts.unanswered), 0);
    assert_eq!(Counts::of(&counts.lost), 0, "nobody has to sign in again");
    assert!(Counts::of(&counts.unavailable) > 0);
    vec![Figure::new(
        "outage",
        format!(
            "PostgreSQL stopped {OUTAGES} times for {} s, {APPS} apps",
            OUTAGE.as_secs()
        ),
        format!(
            "{}; /ready said so within {} ms, first good answer {} ms after the return at the latest",
            counts.summary(),
            slowest_refusal.as_millis(),
            slowest_recovery.as_millis()
        ),
    )]
}
