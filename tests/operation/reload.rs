//! Keys change under a running `serve`: by itself, on SIGHUP, and never for the worse.

use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::process::Signal;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::common::process::PATIENCE;
use crate::common::{Directory, Process, TestClient, TestProvider, Tokens};

/// A process, and a client whose refresh token shows which key signs.
struct Running {
    op: TestProvider,
    directory: Directory,
    process: Process,
    app: TestClient,
    tokens: Tokens,
}

impl Running {
    async fn start() -> Self {
        let op = TestProvider::start().await;
        let directory = Directory::with_key(&op.configuration_text());
        let process = directory.serve().await;
        let app = op.client().await;
        let browser = op.signed_in("alice").await;
        let tokens = app.tokens_of(&browser, "alice", "openid offline_access").await;
        let app = app.at(&op.served_at(process.address));
        Self {
            op,
            directory,
            process,
            app,
            tokens,
        }
    }

    /// The ids of the published keys.
    async fn published(&self) -> Vec<String> {
        let jwks = self.app.op.get("/.well-known/jwks.json").await.is(200).json();
        let keys = jwks["keys"].as_array().unwrap().iter();
        keys.map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
    }

    /// The id of the key that signs now.
    async fn signing(&mut self) -> String {
        self.tokens = self.app.refresh(self.tokens.refresh()).await.tokens();
        let header = jsonwebtoken::decode_header(&self.tokens.access_token).unwrap();
        header.kid.unwrap()
    }

    /// Waits until this many keys are published.
    async fn publishes(&self, count: usize) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let keys = self.published().await;
            if keys.len() == count {
                return keys;
            }
            assert!(
                Instant::now() < deadline,
                "{keys:?} are published: {}",
                self.process.log()
            );
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    /// The last line of this event.
    fn line(&self, event: &str) -> Value {
        let last = self.lines(event).pop();
        last.unwrap_or_else(|| panic!("no {event}: {}", self.process.log()))
    }

    /// Waits until it was said of this key that it signs too soon.
    async fn says_too_soon(&self, kid: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.lines("keys.too_soon").iter().all(|line| line["kid"] != kid) {
            assert!(Instant::now() < deadline, "{kid}: {}", self.process.log());
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }

    /// The same files, served by another process, up to the line of its first answer: what a start says is said by then.
    async fn start_again(&mut self) {
        self.process = self.directory.serve().await;
        self.app = self.app.at(&self.op.served_at(self.process.address));
        self.published().await;
        self.process
            .logs("\"http.route\":\"/.well-known/jwks.json\"")
            .await;
    }

    fn lines(&self, event: &str) -> Vec<Value> {
        let log = self.process.log();
        let lines = log
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line["event"] == event).collect()
    }

    /// A key in files of their own, which nothing names yet: the private one's path.
    fn another_key(&self, directory: &str) -> PathBuf {
        make_key(&self.directory, directory)
    }

    /// Waits until other keys than these are published.
    async fn publishes_other_than(&self, before: &[String]) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let keys = self.published().await;
            if keys != before {
                return keys;
            }
            assert!(Instant::now() < deadline, "{}", self.process.log());
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    fn prepend_a_key(&self) {
        let made = self
            .directory
            .run(&["generate-keys", "--prepend-to", "riley-auth.toml"]);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }

    /// Moves the first `signs_from` of the file.
    fn sign_from(&self, from: OffsetDateTime) {
        let before = self.directory.configuration();
        let value = before
            .split("signs_from = \"")
            .nth(1)
            .and_then(|rest| rest.split('"').next());
        self.directory
            .edit(value.expect("a new key waits"), &from.format(&Rfc3339).unwrap());
    }
}

/// A new key is published at once and signs when relying parties have had the time to see it.
#[tokio::test]
async fn a_prepended_key_is_published_by_itself_and_signs_from_its_time_on() {
    let mut running = Running::start().await;
    let old = running.published().await[0].clone();
    running.prepend_a_key();
    let both = running.publishes(2).await;
    assert_eq!(both[1], old);
    assert_eq!(running.signing().await, old, "the new key waits for signs_from");

    let too_soon = running.lines("keys.too_soon");
    assert!(too_soon.iter().all(|line| line["kid"] != both[0]), "{too_soon:?}");
    running.sign_from(running.op.clock().now() + time::Duration::seconds(2));
    let deadline = Instant::now() + PATIENCE;
    while running.signing().await != both[0] {
        assert!(
            Instant::now() < deadline,
            "the new key never signs: {}",
            running.process.log()
        );
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    // What the old key signed is still good.
    assert_eq!(running.published().await, both);
    // Nothing but a date was changed, and the log says from what to what.
    let line = running.line("keys.loaded");
    let shown = |what: &str| line[what].as_str().unwrap().to_owned();
    assert_ne!(shown("before"), shown("now"));
    for kid in &both {
        assert!(
            shown("before").contains(kid) && shown("now").contains(kid),
            "{line}"
        );
    }
    assert!(
        shown("now").contains(&format!("{} ES256 signs from ", both[0])),
        "{line}"
    );
    assert!(shown("now").contains(&format!("{old} ES256 may sign")), "{line}");
}

/// A key file in a directory that the configuration of the start did not name is watched from the reload on, replaced by an
/// atomic rename as by a secret manager.
#[tokio::test]
async fn a_key_in_a_directory_that_came_later_is_watched_too() {
    let running = Running::start().await;
    let first = running.published().await;
    let (other, third) = (running.another_key("other"), running.another_key("third"));
    let before = running.directory.configuration();
    let named = before
        .lines()
        .find_map(|line| {
            line.trim()
                .strip_prefix("private_key_path = \"")?
                .strip_suffix('"')
        })
        .unwrap()
        .to_owned();
    // One edit, saved as editors do it: a new file in place of the old one.
    let edited = before
        .replace(&named, other.to_str().unwrap())
        .lines()
        .filter(|line| !line.trim().starts_with("public_key_path"))
        .collect::<Vec<_>>()
        .join("\n");
    std::fs::write(running.directory.path("saved.tmp"), edited).unwrap();
    std::fs::rename(
        running.directory.path("saved.tmp"),
        running.directory.path("riley-auth.toml"),
    )
    .unwrap();
    let second = running.publishes_other_than(&first).await;
    // It signs at once, which apps that keep the old list do not understand.
    running.says_too_soon(&second[0]).await;
    std::fs::rename(&third, &other).unwrap();
    let last = running.publishes_other_than(&second).await;
    assert_ne!(last, first);
    assert_eq!(last.len(), 1);
}

/// A key in files of their own, which nothing names yet: the private one's path.
fn make_key(directory: &Directory, name: &str) -> PathBuf {
    let made = directory.run(&["--json", "generate-keys", "--output-dir", name]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let told: Value = serde_json::from_slice(&made.stdout).unwrap();
    directory.path(told["private_key_path"].as_str().unwrap())
}

/// Makes it the first key of the file, as by hand, without waiting for anybody.
fn put_in_by_hand(directory: &Directory, key: &Path, signs_from: OffsetDateTime) {
    let entry = format!(
        "[[jwt.keys]]\nalgorithm = \"ES256\"\nprivate_key_path = \"{}\"\nsigns_from = \"{}\"\n\n[[jwt.keys]]",
        key.display(),
        signs_from.format(&Rfc3339).unwrap()
    );
    directory.edit("[[jwt.keys]]", &entry);
}

/// Waits until the database says so.
async fn until_there_is(db: &riley_auth::db::Pool, what: &'static str) {
    let deadline = Instant::now() + PATIENCE;
    while sqlx::query_scalar::<_, i64>(sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {what}")))
        .fetch_one(db)
        .await
        .unwrap()
        == 0
    {
        assert!(Instant::now() < deadline, "no {what}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

/// What changes while a start waits for a long migration is taken over when it serves: files are watched before they are loaded.
#[tokio::test]
async fn a_change_during_a_long_migration_is_not_missed() {
    let op = TestProvider::start().await;
    let directory = Directory::with_key(&op.configuration_text());
    let key = make_key(&directory, "another");
    let mut backup = op.db().begin().await.unwrap();
    sqlx::raw_sql("LOCK TABLE _sqlx_migrations IN ACCESS EXCLUSIVE MODE")
        .execute(&mut *backup)
        .await
        .unwrap();
    let change = async {
        until_there_is(
            op.db(),
            "pg_locks WHERE relation = '_sqlx_migrations'::regclass AND NOT granted
                AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        )
        .await;
        put_in_by_hand(&directory, &key, op.clock().now());
        backup.rollback().await.unwrap();
    };
    let (process, ()) = tokio::join!(directory.serve(), change);
    process.logs("the signing keys were loaded anew").await;
    let jwks = op.served_at(process.address).get("/.well-known/jwks.json").await;
    assert_eq!(jwks.json()["keys"].as_array().unwrap().len(), 2);
}

/// A key that waits for the max-age of now, while lists of keys are kept for the larger one of before the restart, signs too soon;
/// one that waits for that does not.
#[tokio::test]
async fn a_key_that_does_not_wait_for_lists_of_before_a_restart_signs_too_soon() {
    let mut running = Running::start().await;
    // The kit's own server says an hour, and notes it.
    until_there_is(running.op.db(), "jwks_max_ages WHERE max_age_secs = 3600").await;
    running
        .directory
        .edit("[jwt]", "[jwt]\n        jwks_cache_max_age_secs = 60");
    running.process = running.directory.serve().await;
    running.app = running.app.at(&running.op.served_at(running.process.address));
    let now = running.op.clock().now();
    let [one, two] = ["one", "two"].map(|name| running.another_key(name));
    put_in_by_hand(&running.directory, &one, now + time::Duration::minutes(10));
    let too_soon = running.publishes(2).await[0].clone();
    running.says_too_soon(&too_soon).await;
    put_in_by_hand(&running.directory, &two, now + time::Duration::minutes(70));
    let late = running.publishes(3).await[0].clone();
    // One reload comes after the other: what there is to say of the last one is said.
    let text = running.directory.configuration();
    running
        .directory
        .write(&format!("{text}\n[log]\nlevel = \"debug\"\n"));
    running.process.logs("log.level has changed").await;
    let said = running.lines("keys.too_soon");
    assert!(said.iter().all(|line| line["kid"] != late), "{said:?}");
}

/// The same at a start: what was published before it, the database knows.
#[tokio::test]
async fn a_key_that_a_start_brings_too_soon_is_told_of_once() {
    let mut running = Running::start().await;
    let old = running.published().await[0].clone();
    running.process.logs("key.rotated").await;
    let key = running.another_key("another");
    running.process.signal(Signal::TERM);
    assert!(running.process.ended().await.success());
    put_in_by_hand(&running.directory, &key, running.op.clock().now());
    running.start_again().await;
    let new = running.published().await[0].clone();
    assert_ne!(new, old);
    let said = running.lines("keys.too_soon");
    assert_eq!(said.len(), 1, "{said:?}");
    assert_eq!(said[0]["kid"], new);
    running.process.logs("key.rotated").await;
    running.start_again().await;
    assert_eq!(running.lines("keys.too_soon"), Vec::<Value>::new());
}

/// While nothing ran nobody got a list: those that are about were given out before that.
#[tokio::test]
async fn a_key_that_a_start_brings_waits_for_lists_that_were_given_out_alone() {
    let mut running = Running::start().await;
    running.process.logs("key.rotated").await;
    let [one, two] = ["one", "two"].map(|name| running.another_key(name));
    running.process.signal(Signal::TERM);
    assert!(running.process.ended().await.success());
    sqlx::query("UPDATE jwks_max_ages SET last_served_at = last_served_at - interval '30 minutes'")
        .execute(running.op.db())
        .await
        .unwrap();
    let now = running.op.clock().now();
    put_in_by_hand(&running.directory, &one, now + time::Duration::minutes(40));
    running.start_again().await;
    assert_eq!(running.published().await.len(), 2);
    assert_eq!(running.lines("keys.too_soon"), Vec::<Value>::new());
    // The instance that runs gives out lists by now.
    put_in_by_hand(&running.directory, &two, now + time::Duration::minutes(50));
    let new = running.publishes(3).await[0].clone();
    running.says_too_soon(&new).await;
}

/// Kubernetes swaps a whole volume by the link `..data`; the files' own names stay.
#[tokio::test]
async fn a_volume_that_kubernetes_swaps_is_noticed() {
    let mut running = Running::start().await;
    let first = running.published().await;
    let volume = running.directory.path("volume");
    let fill = |version: &str, key: &PathBuf| {
        std::fs::create_dir_all(volume.join(version)).unwrap();
        std::fs::rename(key, volume.join(version).join("key.pem")).unwrap();
    };
    let swap_to = |version: &str| {
        std::os::unix::fs::symlink(version, volume.join("..data_tmp")).unwrap();
        std::fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
    };
    fill("..1", &running.another_key("one"));
    fill("..2", &running.another_key("two"));
    swap_to("..1");
    std::os::unix::fs::symlink("..data/key.pem", volume.join("key.pem")).unwrap();
    let before = running.directory.configuration();
    let named = before
        .lines()
        .find_map(|line| {
            line.trim()
                .strip_prefix("private_key_path = \"")?
                .strip_suffix('"')
        })
        .unwrap();
    let edited = before
        .replace(named, volume.join("key.pem").to_str().unwrap())
        .lines()
        .filter(|line| !line.trim().starts_with("public_key_path"))
        .collect::<Vec<_>>()
        .join("\n");
    running.directory.write(&edited);
    let second = running.publishes_other_than(&first).await;
    // As after a start of the pod, too.
    running.process = running.directory.serve().await;
    running.app = running.app.at(&running.op.served_at(running.process.address));
    assert_eq!(running.published().await, second);
    swap_to("..2");
    let third = running.publishes_other_than(&second).await;
    assert_ne!(third, first);
}

/// More is logged for as long as somebody looks, without a restart. `RUST_LOG` is not set here.
#[tokio::test]
async fn the_level_of_the_log_is_taken_over() {
    let running = Running::start().await;
    let text = running.directory.configuration();
    running
        .directory
        .write(&format!("{text}\n[log]\nlevel = \"debug\"\n"));
    running.process.logs("log.level has changed").await;
    running.process.signal(Signal::HUP);
    running.process.logs("the keys are as they were").await;
    running
        .directory
        .write(&format!("{text}\n[log]\nlevel = \"warn\"\n"));
    let deadline = Instant::now() + PATIENCE;
    loop {
        // Nothing is said of a request any more.
        let before = running.process.log().len();
        running.app.op.get("/health").await.is(200);
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        if running.process.log().len() == before {
            break;
        }
        assert!(Instant::now() < deadline, "{}", running.process.log());
    }
    assert!(!running.process.log().contains("at the next start"));
}

/// With files that cannot be watched, SIGHUP is the way; with nothing changed it changes nothing.
#[tokio::test]
async fn sighup_reads_the_keys_again() {
    let mut running = Running::start().await;
    let text = running.directory.configuration();
    running
        .directory
        .write(&format!("{text}\n[log]\nlevel = \"debug\"\n"));
    running.process = running.directory.serve().await;
    running.app = running.app.at(&running.op.served_at(running.process.address));
    let before = running.published().await;
    running.process.signal(Signal::HUP);
    running.process.logs("the keys are as they were").await;
    running.prepend_a_key();
    running.process.signal(Signal::HUP);
    assert_eq!(running.publishes(2).await[1..], before);
}

/// A file that cannot be read, or keys that cannot sign, leave everything as it is; mended, they are taken.
#[tokio::test]
async fn a_broken_configuration_is_refused_and_the_old_keys_stay() {
    let mut running = Running::start().await;
    let (before, good) = (running.published().await, running.directory.configuration());
    running.directory.write("[jwt\nissuer = 3");
    running.process.logs("the new configuration is refused").await;
    running
        .directory
        .write(&good.replace("algorithm = \"ES256\"", "algorithm = \"RS256\""));
    running.process.logs_times("the old", 2).await;
    assert_eq!(running.published().await, before);
    assert_eq!(running.signing().await, before[0]);

    running.directory.write(&good);
    running.prepend_a_key();
    running.publishes(2).await;
}

/// The numbers of the limits follow a change, to something and back to nothing; where they are counted waits for a restart.
#[tokio::test]
async fn the_numbers_of_the_rate_limits_are_taken_over() {
    let running = Running::start().await;
    let statuses = async || {
        let mut statuses = Vec::new();
        for _ in 0..4 {
            statuses.push(running.app.op.get("/openapi.json").await.status);
        }
        statuses
    };
    assert_eq!(statuses().await, [200; 4]);
    running
        .directory
        .edit("enabled = false", "enabled = true\n        public_per_minute = 2");
    running
        .process
        .logs("the numbers of [rate_limiting] have changed and are taken over")
        .await;
    let line = running.line("rate_limiting.changed");
    assert_eq!(line["before"], "nothing is limited");
    assert_eq!(line["now"], "auth 15, standard 60, public 2, client 0 per minute");
    assert_eq!(statuses().await, [200, 200, 429, 429]);
    assert!(!running.process.log().contains("at the next start"));

    // Refused as a whole: the limits of a configuration whose keys are broken do not count.
    let good = running.directory.configuration();
    let broken = good
        .replace("public_per_minute = 2", "public_per_minute = 1000")
        .replace("algorithm = \"ES256\"", "algorithm = \"RS256\"");
    running.directory.write(&broken);
    running.process.logs("so does everything else").await;
    assert_eq!(running.app.op.get("/openapi.json").await.status, 429);

    running.directory.write(&good.replace(
        "enabled = true",
        "enabled = false\n        redis_url = \"redis://127.0.0.1:9\"",
    ));
    running
        .process
        .logs("rate_limiting.redis_url has changed and is taken over at the next start")
        .await;
    assert_eq!(statuses().await, [200; 4]);
}

/// What cannot change while running is said to wait for the next start.
#[tokio::test]
async fn a_changed_setting_is_said_to_need_a_restart() {
    let running = Running::start().await;
    running
        .directory
        .edit("max_connections = 8", "max_connections = 9");
    running
        .process
        .logs("[database] has changed and is taken over at the next start")
        .await;
    assert!(!running.process.log().contains("[oauth] has changed"));
}

/// Discovery says what the keys can: the algorithms follow a reload.
#[tokio::test]
async fn discovery_follows_the_keys() {
    let running = Running::start().await;
    let algorithms = async || -> Value {
        let document = running
            .app
            .op
            .get("/.well-known/openid-configuration")
            .await
            .is(200)
            .json();
        document["id_token_signing_alg_values_supported"].clone()
    };
    assert_eq!(algorithms().await, serde_json::json!(["ES256"]));
    let made = running.directory.run(&[
        "generate-keys",
        "--algorithm",
        "rs256",
        "--prepend-to",
        "riley-auth.toml",
    ]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    running.publishes(2).await;
    assert!(algorithms().await.as_array().unwrap().contains(&"RS256".into()));
}
