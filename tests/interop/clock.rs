//! The machine's clock, set while `serve` runs and between two of its runs. libfaketime stands between the program and the wall
//! clock; the monotonic clock is left alone, as by whoever sets a machine's time.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use reqwest::Method;
use rustix::process::Signal;

use crate::common::process::PATIENCE;
use crate::common::{Directory, Process, TestProvider};

/// The wall clock of a program, apart from everybody else's.
struct SetClock {
    directory: tempfile::TempDir,
    library: String,
}

impl SetClock {
    /// As late as it is.
    fn new() -> Self {
        let found = Command::new("faketime")
            .args(["-f", "+0s", "printenv", "LD_PRELOAD"])
            .output();
        let found = found.expect("faketime is installed (tests/interop/install)");
        assert!(found.status.success());
        let clock = Self {
            directory: tempfile::tempdir().unwrap(),
            library: String::from_utf8(found.stdout).unwrap().trim().to_owned(),
        };
        clock.set(0);
        clock
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("offset")
    }

    /// So many seconds off, from now on.
    fn set(&self, offset_secs: i64) {
        let new = self.directory.path().join("new");
        std::fs::write(&new, format!("{offset_secs:+}\n")).unwrap();
        std::fs::rename(new, self.file()).unwrap();
    }

    /// What a program is started with.
    fn environment(&self) -> Vec<(String, String)> {
        let file = self.file().to_str().unwrap().to_owned();
        [
            ("LD_PRELOAD", self.library.as_str()),
            ("FAKETIME_TIMESTAMP_FILE", &file),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("FAKETIME_DONT_RESET", "1"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }

    async fn serve(&self, directory: &Directory) -> Process {
        let environment = self.environment();
        let environment: Vec<(&str, &str)> = environment
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        directory.serve_with(&environment).await
    }
}

/// How many hours the program's `Date` is ahead of this machine's.
async fn hours_ahead(op: &TestProvider) -> i64 {
    let answer = op.get("/health").await;
    let date = answer.header("date").unwrap();
    let format = &time::format_description::well_known::Rfc2822;
    let date = time::OffsetDateTime::parse(&date.replace("GMT", "+0000"), format).unwrap();
    ((date - op.clock().now()).whole_minutes() + 30).div_euclid(60)
}

/// The same by the last line of its log. While a program runs, its `Date` is one that is kept until the clock has passed it.
fn hours_ahead_in_log(process: &Process, op: &TestProvider) -> Option<i64> {
    let log = process.log();
    let line: serde_json::Value = serde_json::from_str(log.lines().last()?).ok()?;
    let format = &time::format_description::well_known::Rfc3339;
    let written = time::OffsetDateTime::parse(line["timestamp"].as_str()?, format).ok()?;
    Some(((written - op.clock().now()).whole_minutes() + 30).div_euclid(60))
}

/// RS-11: `serve` is started again on a machine whose clock was set back by an hour. Codes, refresh tokens, cookie values and
/// sessions that were used up or ended stay so; everybody else goes on.
#[tokio::test]
async fn a_start_an_hour_earlier_revives_nothing_that_was_spent() {
    let clock = SetClock::new();
    let op = TestProvider::start().await;
    let directory = Directory::with_key(&op.configuration_text());
    // The leeway for lost answers is over at once, without anybody waiting.
    directory.edit("[oauth]", "[oauth]\n        refresh_reuse_leeway_secs = 1");
    let app = op.client().await;
    let (browser, leaver) = (op.signed_in("alice").await, op.signed_in("bob").await);
    let mut process = clock.serve(&directory).await;
    let first = op.served_at(process.address);
    let there = app.at(&first);
    let browser_there = browser.at(&first);
    let spent_code = browser_there.authorize(&there).code().await;
    there.redeem(&spent_code).await.tokens();
    let grant = async || {
        let asked = browser_there.authorize(&there).scope("openid offline_access");
        there.redeem(&asked.code().await).await.tokens()
    };
    let (spent, unspent) = (grant().await, grant().await);
    there.refresh(spent.refresh()).await.tokens();
    let replaced = browser_there.copy();
    browser_there
        .call(Method::POST, "/auth/refresh", None)
        .await
        .is(200);
    let ended = leaver.copy();
    leaver
        .at(&first)
        .call(Method::POST, "/auth/logout", None)
        .await
        .is(200);
    clock.set(2);
    assert!(!replaced.at(&first).is_signed_in().await, "the leeway is over");
    process.signal(Signal::TERM);
    assert!(process.ended().await.success());

    clock.set(-3600);
    let process = clock.serve(&directory).await;
    let second = op.served_at(process.address);
    assert_eq!(hours_ahead(&second).await, -1);
    let there = app.at(&second);
    there.redeem(&spent_code).await.refused("invalid_grant");
    there.refresh(spent.refresh()).await.refused("invalid_grant");
    assert!(!replaced.at(&second).is_signed_in().await);
    assert!(!ended.at(&second).is_signed_in().await);
    assert!(browser_there.at(&second).is_signed_in().await);
    let tokens = there.refresh(unspent.refresh()).await.tokens();
    there.userinfo(&tokens.access_token).await.is(200);
    there.refresh(tokens.refresh()).await.tokens();
}

/// RS-11: while `serve` runs, its limits go by no clock that somebody can set; and its own time never goes back.
#[tokio::test]
async fn a_step_of_the_machines_clock_neither_locks_anybody_out_nor_lets_more_through() {
    let clock = SetClock::new();
    let op = TestProvider::start().await;
    let directory = Directory::with_key(&op.configuration_text());
    directory.edit(
        "enabled = false",
        "enabled = true\n        standard_per_minute = 60",
    );
    let process = clock.serve(&directory).await;
    let served = op.served_at(process.address);
    let admitted = async || {
        let mut admitted = 0;
        for _ in 0..100 {
            admitted += u32::from(served.get("/oauth/authorize").await.status != 429);
        }
        admitted
    };
    // One comes back each second, and a few of them while these are sent.
    let some = 1..=10;
    assert!((60..=70).contains(&admitted().await));
    let mut used_up = Instant::now();
    for step in [-3600, 3600, 0] {
        clock.set(step);
        let deadline = Instant::now() + PATIENCE;
        while hours_ahead_in_log(&process, &op) != Some(step / 3600) {
            assert!(Instant::now() < deadline, "{step}: {}", process.log());
            served.get("/openapi.json").await.is(200);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let given_back = admitted().await;
        let came_back = u32::try_from(used_up.elapsed().as_secs()).unwrap();
        assert!(
            given_back <= came_back + *some.end(),
            "{step}: nothing was given back"
        );
        used_up = Instant::now();
        let deadline = Instant::now() + PATIENCE;
        while served.get("/oauth/authorize").await.status == 429 {
            assert!(Instant::now() < deadline, "{step}: locked out");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    process.logs("request").await;
}
