//! Rate limits against a real Redis: instances that share it count together, and while it is away, hangs or comes back under
//! load everybody is answered and nobody is unlimited.
//!
//! And clocks that are set: Redis' own, and the machine's while `serve` runs and between two of its runs.
//!
//! A target of its own, because it needs `redis-server` and `faketime`: `tests/interop/run redis`. REDIS_SERVER names another
//! program that takes the same arguments, such as `valkey-server`.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "clock.rs"]
mod clock;
#[path = "../common/mod.rs"]
mod common;
#[allow(dead_code, reason = "no instance is replaced here")]
#[path = "../drills/proxy.rs"]
mod proxy;

use std::net::{IpAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::TestProvider;
use proxy::Balancer;
use reqwest::Method;
use riley_auth::clock::Clock;
use riley_auth::config::rate_limiting::RateLimitingConfig;
use riley_auth::limits::rules::Tier;
use riley_auth::limits::{self, Limits, StoreProblem};
use riley_auth::metrics::Metrics;
use rustix::process::{Pid, Signal, kill_process};
use secrecy::SecretString;

const PATIENCE: Duration = Duration::from_secs(10);

/// A server of this test's own, without persistence.
struct RedisServer {
    port: u16,
    child: Option<Child>,
}

impl RedisServer {
    fn start() -> Self {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        drop(socket);
        let mut server = Self { port, child: None };
        server.start_again();
        server
    }

    fn start_again(&mut self) {
        let port = self.port.to_string();
        let arguments = [
            "--port",
            &port,
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
        ];
        let program = std::env::var_os("REDIS_SERVER").unwrap_or_else(|| "redis-server".into());
        let child = Command::new(program)
            .args(arguments)
            .current_dir(std::env::temp_dir())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed (tests/interop/install)");
        self.child = Some(child);
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < deadline, "redis-server does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// It keeps its connections and says nothing until it is told to go on.
    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(self.child.as_ref().unwrap()), signal).unwrap();
    }

    /// Its clock goes on by so much: that is, all that it keeps is so much further back. (Its allocator does not live with a
    /// library that shows it another time.)
    fn move_clock(&self, secs: i64) {
        let script = "local millis = tonumber(ARGV[1]) * 1000
            for _, key in ipairs(redis.call('KEYS', 'riley_auth:limit:*')) do
                local tat = tonumber(redis.call('GET', key)) - millis * 1000
                local left = redis.call('PTTL', key) - millis
                if left > 0 then
                    redis.call('SET', key, string.format('%.0f', tat), 'PX', left)
                else
                    redis.call('DEL', key)
                end
            end";
        let mut asked = Command::new("redis-cli");
        asked.args([
            "-p",
            &self.port.to_string(),
            "-e",
            "EVAL",
            script,
            "0",
            &secs.to_string(),
        ]);
        assert!(asked.stdout(Stdio::null()).status().unwrap().success());
    }

    fn url(&self) -> SecretString {
        format!("redis://127.0.0.1:{}/0", self.port).into()
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// An instance with limits in this store, behind a proxy. Its own clock stands still: Redis' goes on.
async fn provider(redis: &RedisServer) -> TestProvider {
    let url = redis.url();
    TestProvider::with(|config| {
        config.server.behind_proxy = true;
        config.rate_limiting.enabled = true;
        config.rate_limiting.redis_url = Some(url);
    })
    .await
}

async fn status(op: &TestProvider, address: &str) -> u16 {
    let request = op.request(Method::GET, "/auth/simulated");
    let sent = request.header("x-forwarded-for", address).send().await;
    sent.expect("every request is answered").status().as_u16()
}

async fn admitted(op: &TestProvider, address: &str, times: u32) -> u32 {
    let mut admitted = 0;
    for _ in 0..times {
        admitted += u32::from(status(op, address).await != 429);
    }
    admitted
}

async fn fallbacks(op: &TestProvider) -> u64 {
    let text = op.get("/metrics").await.text;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("riley_auth_rate_limit_fallbacks_total "));
    line.unwrap().parse().unwrap()
}

/// One more may come back while a slow machine sends.
fn is_about_15(admitted: u32) -> bool {
    (15..=17).contains(&admitted)
}

#[tokio::test]
async fn instances_that_share_a_store_count_together() {
    let redis = RedisServer::start();
    let one = provider(&redis).await;
    let other = one.second_instance().await;
    let (mut sum, address) = (0, "203.0.113.9");
    for _ in 0..20 {
        sum += admitted(&one, address, 1).await + admitted(&other, address, 1).await;
    }
    assert!(is_about_15(sum), "{sum}");
    assert_ne!(status(&other, "203.0.113.10").await, 429);
    assert_eq!(fallbacks(&one).await + fallbacks(&other).await, 0);
}

/// How many requests an instance has answered, by its own count.
async fn answered(op: &TestProvider) -> u64 {
    let text = op.get("/metrics").await.text;
    let counts = text
        .lines()
        .filter(|line| line.starts_with("riley_auth_http_requests_total{"));
    counts
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum()
}

/// Three instances behind one proxy, over one PostgreSQL and one Redis, are one provider. Each request goes to another
/// instance than the one before: sign-in and its callback, request and consent, code and exchange, refresh, sign-out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_instances_behind_one_proxy_are_one_provider() {
    let redis = RedisServer::start();
    let url = redis.url();
    let first = TestProvider::with(|config| {
        config.server.behind_proxy = true;
        config.rate_limiting.enabled = true;
        config.rate_limiting.auth_per_minute = 1000;
        config.rate_limiting.redis_url = Some(url);
    })
    .await;
    let others = [first.second_instance().await, first.second_instance().await];
    let instances = [&first, &others[0], &others[1]];
    let balancer = Balancer::start(instances.iter().map(|op| op.address()).collect()).await;
    let op = first.spread_from(balancer.address);
    for round in 0..6 {
        let person = format!("person-{round}");
        let app = op.asking_client().await;
        let browser = op.browser();
        let asked = browser.authorize(&app).scope("openid profile offline_access");
        let granted = asked.code_as(&person).await;
        let tokens = app.redeem(&granted).await.tokens();
        let refreshed = app.refresh(tokens.refresh()).await.tokens();
        assert!(app.is_active(&refreshed.access_token).await, "{round}");
        // Consent is remembered everywhere.
        browser.authorize(&app).code().await;
        let sessions = browser
            .call(Method::GET, "/auth/sessions", None)
            .await
            .is(200)
            .json();
        assert_eq!(sessions["sessions"].as_array().unwrap().len(), 1);
        browser.call(Method::POST, "/auth/logout", None).await.is(200);
        for instance in instances {
            assert!(!browser.at(instance).is_signed_in().await);
        }
        // What was used up is used up everywhere.
        for instance in instances {
            app.at(instance).redeem(&granted).await.refused("invalid_grant");
        }
    }
    for instance in instances {
        assert!(answered(instance).await > 20, "every instance took part");
    }
}

/// `riley-auth validate` tries it as the server does, and leaves nothing behind that counts.
#[tokio::test]
async fn a_store_that_serves_is_told_from_one_that_is_gone() {
    let mut redis = RedisServer::start();
    let url = redis.url();
    for _ in 0..3 {
        limits::try_store(&url).await.unwrap();
    }
    redis.stop();
    let gone = limits::try_store(&url).await.unwrap_err();
    assert!(matches!(gone, StoreProblem::Silent(_)), "{gone:?}");
}

/// The script and the rule in memory are two writings of one thing.
#[tokio::test]
async fn the_script_admits_what_the_rule_admits() {
    let redis = RedisServer::start();
    for quota in [1, 7, 60] {
        let config = |redis_url| RateLimitingConfig {
            auth_per_minute: quota,
            redis_url,
            ..RateLimitingConfig::default()
        };
        let limits =
            |redis_url| Limits::new(&config(redis_url), Metrics::default(), Clock::default()).unwrap();
        let (shared, memory) = (limits(Some(redis.url())), limits(None));
        // Four subnets of a site use up what the site may use, and an IPv4 address what it may.
        let mut addresses: Vec<IpAddr> = Vec::new();
        for subnet in 1..=6 {
            let address: IpAddr = format!("2001:db8:{quota:x}:{subnet}::1").parse().unwrap();
            addresses.extend(std::iter::repeat_n(address, quota as usize));
        }
        let plain: IpAddr = format!("203.0.113.{quota}").parse().unwrap();
        addresses.extend(std::iter::repeat_n(plain, quota as usize + 3));
        let mut told = Vec::new();
        for address in addresses {
            let of_shared = shared.request(Tier::Auth, Some(address)).await;
            let of_memory = memory.request(Tier::Auth, Some(address)).await;
            told.push((of_shared.is_ok(), of_memory.is_ok()));
            if let (Err(shared), Err(memory)) = (of_shared, of_memory) {
                let apart = shared.retry_after.abs_diff(memory.retry_after);
                assert!(apart < Duration::from_millis(500), "{shared:?} {memory:?}");
            }
        }
        assert!(
            told.iter().all(|(shared, memory)| shared == memory),
            "{quota}: {told:?}"
        );
    }
}

/// RS-11: buckets are counted by Redis' own clock. Set back or forth by an hour it locks nobody out for longer than until the next
/// request comes back, and never admits more than a full bucket.
#[tokio::test]
async fn a_step_of_the_stores_clock_locks_nobody_out() {
    let redis = RedisServer::start();
    let op = provider(&redis).await;
    // What this instance remembers of a refusal goes by its own clock.
    let four_seconds_later = || {
        redis.move_clock(4);
        op.advance_secs(4);
    };
    let used_up = "203.0.113.40";
    assert!(is_about_15(admitted(&op, used_up, 20).await));
    four_seconds_later();
    assert!((1..=2).contains(&admitted(&op, used_up, 20).await));
    for step in [-3600, 3600, 7200, -7200] {
        redis.move_clock(step);
        op.advance_secs(4);
        let at_once = admitted(&op, used_up, 20).await;
        // Forward it is as if the time had passed, so the bucket is full again.
        assert!(
            if step > 0 {
                is_about_15(at_once)
            } else {
                at_once <= 1
            },
            "{step}: {at_once}"
        );
        four_seconds_later();
        let later = admitted(&op, used_up, 20).await;
        assert!((1..=2).contains(&later), "{step}: {later}");
        let fresh = format!("203.0.113.{}", 50 + step / 3600);
        assert!(is_about_15(admitted(&op, &fresh, 20).await), "{step}");
    }
    assert_eq!(fallbacks(&op).await, 0);
}

/// What load through an outage came to.
#[derive(Default)]
struct Load {
    answered: AtomicU32,
    failed: Mutex<Vec<u16>>,
    slowest: Mutex<Duration>,
    over: AtomicBool,
}

/// Requests of ever other addresses, without pause, until the load is over.
fn send_load(op: &TestProvider, load: &Arc<Load>) -> Vec<tokio::task::JoinHandle<()>> {
    let worker = |worker: u32| {
        let (op, load) = (op.clone(), Arc::clone(load));
        tokio::spawn(async move {
            let mut number = 0_u32;
            while !load.over.load(Ordering::Relaxed) {
                number += 1;
                let address = format!("10.{worker}.{}.{}", number / 250 % 250, number % 250);
                let started = Instant::now();
                let status = status(&op, &address).await;
                let took = started.elapsed();
                load.answered.fetch_add(1, Ordering::Relaxed);
                if status != 303 {
                    load.failed.lock().unwrap().push(status);
                }
                let mut slowest = load.slowest.lock().unwrap();
                *slowest = took.max(*slowest);
            }
        })
    };
    (1..=8).map(worker).collect()
}

/// Waits until the instances count together again.
async fn shares_again(op: &TestProvider, other: &TestProvider) {
    let deadline = Instant::now() + PATIENCE;
    for address in 1..250 {
        let address = format!("198.51.100.{address}");
        let first = admitted(op, &address, 15).await;
        if first == 15 && admitted(other, &address, 5).await <= 2 {
            return;
        }
        assert!(Instant::now() < deadline, "the store is not used again");
    }
}

/// RL-8: stopped and started under load. Every request is answered, none waits long, the limits hold at each instance by
/// itself, and that is counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_stops_and_starts_under_load_costs_no_request() {
    let mut redis = RedisServer::start();
    let op = provider(&redis).await;
    let other = op.second_instance().await;
    let load = Arc::new(Load::default());
    let workers = send_load(&op, &load);
    shares_again(&op, &other).await;
    assert_eq!(fallbacks(&op).await, 0);

    redis.stop();
    let alone = admitted(&op, "203.0.113.20", 40).await;
    let other_alone = admitted(&other, "203.0.113.20", 40).await;
    assert!(
        is_about_15(alone) && is_about_15(other_alone),
        "{alone}, {other_alone}"
    );
    assert!(fallbacks(&op).await > 0);

    redis.start_again();
    shares_again(&op, &other).await;
    // Nothing falls back any more, but for an answer that a busy machine delays now and then.
    let deadline = Instant::now() + PATIENCE;
    let counted = loop {
        let before = fallbacks(&op).await;
        admitted(&op, "203.0.113.21", 20).await;
        let after = fallbacks(&op).await;
        if before == after {
            break after;
        }
        assert!(
            Instant::now() < deadline,
            "the store is there, and {after} requests were judged without it"
        );
        // The rest after a late answer is over: it is measured by the clock of these tests.
        op.advance_secs(1);
        other.advance_secs(1);
    };

    load.over.store(true, Ordering::Relaxed);
    for worker in workers {
        worker.await.unwrap();
    }
    let (answered, slowest) = (
        load.answered.load(Ordering::Relaxed),
        *load.slowest.lock().unwrap(),
    );
    println!("{answered} requests answered, the slowest after {slowest:?}, {counted} judged by memory");
    assert_eq!(*load.failed.lock().unwrap(), Vec::<u16>::new());
    assert!(
        answered > 100 && slowest < Duration::from_secs(3),
        "{answered}, {slowest:?}"
    );
}

/// A store that takes connections and says nothing costs one request a quarter of a second, and the next ones nothing.
#[tokio::test]
async fn a_store_that_hangs_is_left_alone() {
    let redis = RedisServer::start();
    let op = provider(&redis).await;
    assert_ne!(status(&op, "203.0.113.30").await, 429);
    redis.signal(Signal::STOP);
    let started = Instant::now();
    let alone = admitted(&op, "203.0.113.31", 40).await;
    let took = started.elapsed();
    redis.signal(Signal::CONT);
    assert!(is_about_15(alone), "{alone}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert!(fallbacks(&op).await >= 15);
}
