//! PostgreSQL goes away under load and comes back: stopped in order, stopped at once, stopped as a machine is that hangs, and
//! gone as a host is that nobody hears of again.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use riley_auth::db;
use riley_auth::dev::postgres::PrivatePostgres;
use rustix::process::{Pid, Signal, kill_process};
use sqlx::{Connection as _, PgConnection};
use tokio::task::JoinHandle;

use crate::Figure;
use crate::common::silencer::Silencer;
use crate::common::{Directory, TestProvider};
use crate::load::{Counts, Load, Manner};

const APPS: usize = 16;
const OUTAGE: Duration = Duration::from_secs(4);
/// Within this time after the return everybody is served again.
const LIMIT: Duration = Duration::from_secs(5);
/// How far `/ready` may be behind: the answer is shared for half a second, and a database that hangs is given a moment.
const BEHIND: Duration = Duration::from_secs(3);

/// How the database goes away.
#[derive(Clone, Copy, Debug)]
enum Away {
    /// Every connection is ended in order.
    Fast,
    /// Every process is ended at once, and the next start recovers.
    Immediate,
    /// Every process stands still; connections stay open and nobody answers.
    Hangs,
    /// Connections stay open at our end alone, and newcomers are not answered: what a host leaves behind whose address is
    /// another one's when it is back.
    Vanishes,
}

/// What `/ready` said, beside what a connection of our own found.
struct Truth {
    stop: Arc<AtomicBool>,
    asking: JoinHandle<(u64, Duration)>,
}

impl Truth {
    fn watch(served: &TestProvider, url: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (served, url, ended) = (served.clone(), url.to_owned(), Arc::clone(&stop));
        let asking = tokio::spawn(async move {
            let (mut asked, mut behind, mut wrong_since) = (0, Duration::ZERO, None);
            while !ended.load(Ordering::Relaxed) {
                let before = answers(&url).await;
                let said = served.get("/ready").await.status;
                let after = answers(&url).await;
                assert!(said == 200 || said == 503, "/ready said {said}");
                asked += 1;
                if before == after && (said == 200) != before {
                    let since: Instant = *wrong_since.get_or_insert_with(Instant::now);
                    behind = behind.max(since.elapsed());
                } else {
                    wrong_since = None;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            (asked, behind)
        });
        Self { stop, asking }
    }

    /// How often it was asked, and for how long at most it was wrong.
    async fn told(self) -> (u64, Duration) {
        self.stop.store(true, Ordering::Relaxed);
        self.asking.await.unwrap()
    }
}

async fn answers(url: &str) -> bool {
    let asked = async {
        let mut connection = PgConnection::connect(url).await?;
        sqlx::raw_sql("SELECT 1").execute(&mut connection).await?;
        connection.close().await
    };
    matches!(
        tokio::time::timeout(Duration::from_secs(1), asked).await,
        Ok(Ok(()))
    )
}

/// The server and the processes that it has started.
fn processes(postgres: &PrivatePostgres) -> Vec<Pid> {
    let server = postgres.server_pid().unwrap();
    let path = format!("/proc/{server}/task/{server}/children");
    let children = std::fs::read_to_string(path).unwrap();
    let all = children.split_whitespace().map(|pid| pid.parse().unwrap());
    std::iter::once(i32::try_from(server).unwrap())
        .chain(all)
        .filter_map(Pid::from_raw)
        .collect()
}

fn signal_all(processes: &[Pid], signal: Signal) {
    for process in processes {
        // One that has ended meanwhile needs no signal.
        let _ = kill_process(*process, signal);
    }
}

/// Lets the database be away for a while, and returns it when it answers again, with the moment of its return.
async fn away(
    how: Away,
    silencer: &Silencer,
    postgres: PrivatePostgres,
    data: &Path,
    served: &TestProvider,
) -> (PrivatePostgres, Instant) {
    let still_served = async {
        tokio::time::sleep(OUTAGE).await;
        served.get("/health").await.is(200);
        served.get("/.well-known/jwks.json").await.is(200);
        served.get("/.well-known/openid-configuration").await.is(200);
    };
    if let Away::Vanishes = how {
        silencer.vanish();
        still_served.await;
        silencer.come_back();
        return (postgres, Instant::now());
    }
    if let Away::Hangs = how {
        let stopped = processes(&postgres);
        signal_all(&stopped, Signal::STOP);
        still_served.await;
        signal_all(&stopped, Signal::CONT);
        return (postgres, Instant::now());
    }
    if let Away::Immediate = how {
        // The server's own sign to end at once, without a word to anybody.
        signal_all(&processes(&postgres)[..1], Signal::QUIT);
    }
    postgres.stop().await.unwrap();
    still_served.await;
    let postgres = PrivatePostgres::start_for_dev_in(data, false).await.unwrap();
    (postgres, Instant::now())
}

/// Waits until every app has got new tokens since the return; how long the last one had to wait.
async fn all_refreshed_since(load: &Load, back: Instant) -> Duration {
    loop {
        let last = *load.counts.refreshed.lock().unwrap().iter().min().unwrap();
        if last > back {
            return back.elapsed();
        }
        assert!(back.elapsed() < LIMIT, "not every app recovers");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn connections_in_use(served: &TestProvider) -> u32 {
    let told = served.get("/metrics").await.is(200).text.clone();
    let series = "riley_auth_database_connections{state=\"in_use\"} ";
    let value = told.lines().find_map(|line| line.strip_prefix(series));
    value.unwrap().parse().unwrap()
}

pub(crate) async fn run() -> Vec<Figure> {
    let mut figures = Vec::new();
    for how in [Away::Fast, Away::Immediate, Away::Hangs, Away::Vanishes] {
        figures.push(outage(how).await);
    }
    figures
}

async fn outage(how: Away) -> Figure {
    let files = tempfile::tempdir().unwrap();
    std::fs::set_permissions(files.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
    let data = files.path().join("postgres");
    let mut postgres = PrivatePostgres::start_for_dev_in(&data, false).await.unwrap();
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
    let silencer = Silencer::before(&url);
    // What is not about lost connections is asked without anybody in between.
    let url = match how {
        Away::Vanishes => silencer.url.clone(),
        _ => url,
    };
    let configuration = own
        .replace(&old_url, &url)
        .replace("acquire_timeout_secs = 30", "acquire_timeout_secs = 3");
    let directory = Directory::with_key(&configuration);
    let process = directory.serve().await;
    let served = home.served_at(process.address);
    let load = Load::start(&home, &served, APPS, Manner::default()).await;
    let truth = Truth::watch(&served, &url);
    let mut slowest_recovery = Duration::ZERO;
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let (again, back) = away(how, &silencer, postgres, &data, &served).await;
        postgres = again;
        slowest_recovery = slowest_recovery.max(all_refreshed_since(&load, back).await);
        tokio::time::sleep((LIMIT + Duration::from_secs(1)).saturating_sub(back.elapsed())).await;
        let last_refusal = load.counts.last_unavailable.lock().unwrap().unwrap();
        assert!(last_refusal < back + LIMIT, "somebody is still told to come back");
    }
    let counts = load.stop().await;
    let (asked, behind) = truth.told().await;
    let held = connections_in_use(&served).await;
    assert_eq!(held, 0, "connections are held although nobody asks for anything");
    assert!(behind < BEHIND, "/ready was wrong for {behind:?}");
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
    let what = match how {
        Away::Fast => "stopped in order",
        Away::Immediate => "stopped at once",
        Away::Hangs => "hanging, connections left open",
        Away::Vanishes => "vanished without a word",
    };
    Figure::new(
        "outage",
        format!("PostgreSQL {what}, twice for {} s, {APPS} apps", OUTAGE.as_secs()),
        format!(
            "{}; every app refreshed {} ms after the return at the latest; /ready asked {asked} times, at most {} ms behind the truth",
            counts.summary(),
            slowest_recovery.as_millis(),
            behind.as_millis()
        ),
    )
}
