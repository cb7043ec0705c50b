//! A real PgBouncer in transaction mode between requests and PostgreSQL, with the lines of the deployment guide and so few
//! sessions that they change hands all the time; and what is seen when one of those lines is missing.
//!
//! A target of its own, because it needs PgBouncer 1.21 or later: `tests/interop/run pgbouncer`.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![expect(clippy::print_stdout, reason = "figures are for who reads the log")]

#[path = "../common/mod.rs"]
mod common;
#[allow(dead_code, reason = "keys and the JWKS are not looked at here")]
#[path = "../drills/load.rs"]
mod load;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::TestProvider;
use common::receiver::Receiver;
use common::roles::{Roles, directory, validated};
use common::webhooks::on_loopback;
use load::{Counts, Load, Manner};
use reqwest::Method;
use rustix::process::{Pid, Signal, kill_process};
use secrecy::ExposeSecret as _;
use sqlx::{AssertSqlSafe, ConnectOptions as _};
use tempfile::TempDir;
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use url::Url;

const PATIENCE: Duration = Duration::from_secs(10);
/// Within so long of its return everybody is served again.
const RECOVERY: Duration = Duration::from_secs(5);
/// Sessions that the pooler has for all requests together.
const SESSIONS: u32 = 3;

fn guide() -> String {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/deployment.md");
    std::fs::read_to_string(guide).unwrap()
}

/// The lines of the guide that begin like this, about the role and the database of a test.
fn statements_of_the_guide(beginning: &str, roles: &Roles) -> Vec<String> {
    let guide = guide();
    let lines = guide.lines().filter(|line| line.starts_with(beginning));
    let url = Url::parse(&roles.server_url()).unwrap();
    let database = url.path().trim_start_matches('/').to_owned();
    let ours = |line: &str| {
        line.replace("riley_auth_server", &roles.server)
            .replace("DATABASE riley_auth ", &format!("DATABASE {database} "))
    };
    lines.map(ours).collect()
}

/// What the guide has PgBouncer told: the first block of its language.
fn ini_of_the_guide() -> String {
    let guide = guide();
    let (_, rest) = guide.split_once("\n```ini\n").unwrap();
    rest.split("\n```").next().unwrap().to_owned()
}

/// The server of the tests asks for passwords in clear, which a pooler cannot send that knows only what they are checked by.
/// Deployments ask by SCRAM.
async fn ask_by_scram(roles: &Roles) {
    let file: String = sqlx::query_scalar("SHOW hba_file")
        .fetch_one(&roles.db)
        .await
        .unwrap();
    let rules = std::fs::read_to_string(&file).unwrap();
    let new = format!("{file}.{}", roles.server);
    std::fs::write(&new, rules.replace(" password\n", " scram-sha-256\n")).unwrap();
    std::fs::rename(&new, &file).unwrap();
    let loaded = "SELECT extract(epoch FROM pg_conf_load_time())::float8";
    let before: f64 = sqlx::query_scalar(loaded).fetch_one(&roles.db).await.unwrap();
    roles.run("SELECT pg_reload_conf()").await;
    let deadline = Instant::now() + PATIENCE;
    loop {
        // What a new connection is made by is what counts.
        let mut connection = roles.db.connect_options().connect().await.unwrap();
        let now: f64 = sqlx::query_scalar(loaded)
            .fetch_one(&mut connection)
            .await
            .unwrap();
        if now > before {
            return;
        }
        assert!(Instant::now() < deadline, "the rules are not taken over");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A pooler of this test's own in front of one database.
struct PgBouncer {
    port: u16,
    directory: TempDir,
    child: Option<Child>,
}

impl PgBouncer {
    /// As the guide has it, for this role and database, with other lines in the place of some.
    async fn start(roles: &Roles, other_lines: &[(&str, &str)]) -> Self {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        drop(socket);
        ask_by_scram(roles).await;
        let directory = tempfile::tempdir().unwrap();
        // PgBouncer does not run as root; whoever it runs as has to be able to read its files.
        let world = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(directory.path(), world).unwrap();
        // No password, only what it is checked by.
        let statement = statements_of_the_guide("SELECT format(", roles).remove(0);
        let users: String = sqlx::query_scalar(AssertSqlSafe(statement))
            .fetch_one(&roles.db)
            .await
            .unwrap();
        assert!(users.contains("SCRAM-SHA-256$"), "{users}");
        let users_file = directory.path().join("userlist.txt");
        std::fs::write(&users_file, users + "\n").unwrap();
        let database = Url::parse(&roles.server_url()).unwrap();
        let name = database.path().trim_start_matches('/');
        let place = format!(
            "{name} = host={} port={} dbname={name}",
            database.host_str().unwrap(),
            database.port().unwrap()
        );
        let mut lines = ini_of_the_guide();
        let mut put = |key: &str, line: &str| {
            let old = lines
                .lines()
                .find(|line| line.starts_with(&format!("{key} =")))
                .unwrap_or_else(|| panic!("the guide has no {key}"))
                .to_owned();
            lines = lines.replacen(&old, line, 1);
        };
        put("riley_auth", &place);
        put("listen_port", &format!("listen_port = {port}"));
        put("auth_file", &format!("auth_file = {}", users_file.display()));
        put("default_pool_size", &format!("default_pool_size = {SESSIONS}"));
        for (key, line) in other_lines {
            put(key, line);
        }
        // What no guide has to say.
        lines += "\nunix_socket_dir =\n";
        std::fs::write(directory.path().join("pgbouncer.ini"), lines).unwrap();
        let mut pooler = Self {
            port,
            directory,
            child: None,
        };
        pooler.start_again();
        pooler
    }

    fn start_again(&mut self) {
        let program = std::env::var("PGBOUNCER").unwrap_or_else(|_| {
            let built = "tests/interop/.work/pgbouncer/pgbouncer";
            format!("{}/{built}", env!("CARGO_MANIFEST_DIR"))
        });
        let mut command = Command::new(program);
        if rustix::process::geteuid().is_root() {
            command.args(["--user", "nobody"]);
        }
        let log = std::fs::File::create(self.directory.path().join("log")).unwrap();
        let child = command
            .arg(self.directory.path().join("pgbouncer.ini"))
            .current_dir("/")
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("PgBouncer is built (tests/interop/install)");
        self.child = Some(child);
        let deadline = Instant::now() + PATIENCE;
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < deadline, "it does not listen: {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    fn stop(&mut self, signal: Signal) {
        if let Some(mut child) = self.child.take() {
            kill_process(Pid::from_child(&child), signal).unwrap();
            child.wait().unwrap();
        }
    }

    /// The URL that leads through it.
    fn url(&self, roles: &Roles) -> String {
        let mut url = Url::parse(&roles.server_url()).unwrap();
        url.set_host(Some("127.0.0.1")).unwrap();
        url.set_port(Some(self.port)).unwrap();
        url.set_query(None);
        url.into()
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("PgBouncer said: {}", self.log());
        }
        self.stop(Signal::KILL);
    }
}

/// A provider whose requests go through a pooler, and past which everything else goes by another role.
struct Pooled {
    op: TestProvider,
    pooler: PgBouncer,
    roles: Roles,
    own: String,
}

impl Pooled {
    async fn start(other_lines: &[(&str, &str)]) -> Self {
        // What is delivered is delivered by who goes through the pooler.
        let kit = TestProvider::start().await.stopped().await;
        let own = kit.state().config.database.url.expose_secret().to_owned();
        let roles = Roles::create(&own).await;
        roles.share_everything().await;
        let limits = statements_of_the_guide("ALTER ROLE ", &roles);
        assert_eq!(limits.len(), 4, "{limits:?}");
        for limit in limits {
            roles.run(&limit).await;
        }
        let pooler = PgBouncer::start(&roles, other_lines).await;
        let op = kit
            .reconfigured(|config| {
                config.database.url = pooler.url(&roles).into();
                config.database.direct_url = Some(roles.owner_url().into());
                config.database.acquire_timeout_secs = 3;
            })
            .await;
        Self {
            op,
            pooler,
            roles,
            own,
        }
    }

    /// The sessions that requests have at PostgreSQL.
    async fn sessions(&self) -> u32 {
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_stat_activity WHERE usename = $1")
            .bind(&self.roles.server)
            .fetch_one(&self.roles.db)
            .await
            .unwrap();
        count.try_into().unwrap()
    }

    async fn end(self) {
        self.op.stopped().await;
        drop(self.pooler);
        self.roles.drop().await;
    }
}

/// Everything that a person and an app do, by many at once; the kit takes no answer but the right one.
async fn everybody_signs_in_and_out(op: &TestProvider, people: usize, rounds: usize) {
    let barrier = Arc::new(Barrier::new(people));
    let mut everybody = JoinSet::new();
    for person in 0..people {
        let (op, barrier) = (op.clone(), Arc::clone(&barrier));
        everybody.spawn(async move {
            for round in 0..rounds {
                let person = format!("person-{person}-{round}");
                let app = op.asking_client().await;
                let browser = op.browser();
                // All at the same moment, with connections that have been idle for long enough to be asked first.
                barrier.wait().await;
                tokio::time::sleep(Duration::from_millis(1200)).await;
                let asked = browser.authorize(&app).scope("openid profile offline_access");
                let granted = asked.code_as(&person).await;
                let tokens = app.redeem(&granted).await.tokens();
                let refreshed = app.refresh(tokens.refresh()).await.tokens();
                let again = app.refresh(refreshed.refresh()).await.tokens();
                assert!(app.is_active(&again.access_token).await);
                op.get("/ready").await.is(200);
                browser.call(Method::GET, "/auth/sessions", None).await.is(200);
                browser.call(Method::POST, "/auth/logout", None).await.is(200);
                assert!(!browser.is_signed_in().await);
                app.redeem(&granted).await.refused("invalid_grant");
            }
        });
    }
    everybody.join_all().await;
}

/// RS-10: three sessions for all requests, and everybody is answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_is_answered_while_sessions_change_hands() {
    let pooled = Pooled::start(&[]).await;
    everybody_signs_in_and_out(&pooled.op, 24, 4).await;
    let (connections, sessions) = (pooled.op.db().size(), pooled.sessions().await);
    assert!(connections > SESSIONS, "{connections} connections shared");
    assert!((1..=SESSIONS).contains(&sessions), "{sessions}");
    // The limits of time are the role's, and those who come past the pooler have their own.
    let limit: String = sqlx::query_scalar("SELECT current_setting('statement_timeout')")
        .fetch_one(pooled.op.db())
        .await
        .unwrap();
    assert_eq!(limit, "5s");
    println!("{connections} connections shared {sessions} sessions");
    pooled.end().await;
}

/// Without the line that lets PgBouncer know statements, the same is seen to fail: the tests above can notice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_prepared_statements_requests_fail_and_validate_says_why() {
    let lines = [("max_prepared_statements", "max_prepared_statements = 0")];
    let pooled = Pooled::start(&lines).await;
    let mut asking = JoinSet::new();
    for number in 0..64 {
        let op = pooled.op.clone();
        asking.spawn(async move {
            let path = format!("/oauth/authorize?client_id=nobody-{number}&response_type=code");
            op.get(&path).await.status.as_u16()
        });
    }
    let statuses = asking.join_all().await;
    assert!(statuses.contains(&500), "{statuses:?}");
    let directory = directory(&pooled.op, &pooled.pooler.url(&pooled.roles), Some(&pooled.own));
    let findings = validated(&directory);
    assert!(
        findings.len() == 1 && findings[0].2.contains("does not keep prepared statements"),
        "{findings:?}"
    );
    pooled.end().await;
}

/// `validate` finds every line of the guide that is missing, and nothing when all are there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn validate_finds_what_is_missing_of_the_guide() {
    let pooled = Pooled::start(&[]).await;
    let (through, past) = (pooled.pooler.url(&pooled.roles), pooled.roles.owner_url());
    assert_eq!(validated(&directory(&pooled.op, &through, Some(&past))), []);
    // The other URL is forgotten, or leads through the pooler, too.
    for direct_url in [None, Some(through.as_str())] {
        let findings = validated(&directory(&pooled.op, &through, direct_url));
        assert!(
            findings.len() == 1 && findings[0].0 == "error" && findings[0].2.contains("lends sessions"),
            "{findings:?}"
        );
        let refused = directory(&pooled.op, &through, direct_url).run(&["migrate"]);
        assert_eq!(refused.status.code(), Some(1));
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(said.contains("database.direct_url"), "{said}");
    }
    // The role has no limits. PgBouncer's sessions began before that, so it begins new ones.
    let Pooled {
        op,
        mut pooler,
        roles,
        own: _own,
    } = pooled;
    for limit in statements_of_the_guide("ALTER ROLE ", &roles) {
        let (role, _) = limit.split_once(" SET ").unwrap();
        roles.run(&format!("{role} RESET ALL")).await;
    }
    pooler.stop(Signal::INT);
    pooler.start_again();
    let findings = validated(&directory(&op, &through, Some(&past)));
    assert!(
        findings.len() == 1 && findings[0].0 == "warning" && findings[0].2.contains("statement_timeout"),
        "{findings:?}"
    );
    drop(pooler);
    // The pooler takes no connection that asks for something at its start.
    let parameters = "ignore_startup_parameters = extra_float_digits";
    let pooler = PgBouncer::start(&roles, &[("ignore_startup_parameters", parameters)]).await;
    let findings = validated(&directory(&op, &pooler.url(&roles), Some(&past)));
    assert!(
        findings.len() == 1 && findings[0].0 == "error" && findings[0].2.contains("startup parameter"),
        "{findings:?}"
    );
    op.stopped().await;
    roles.drop().await;
}

/// A pooler in session mode needs no other URL.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_in_session_mode_needs_no_direct_url() {
    let lines = [
        ("pool_mode", "pool_mode = session"),
        ("default_pool_size", "default_pool_size = 40"),
    ];
    let pooled = Pooled::start(&lines).await;
    let through = pooled.pooler.url(&pooled.roles);
    let kit = pooled.op.clone().stopped().await;
    let op = kit
        .reconfigured(|config| {
            on_loopback(config);
            config.database.url = through.clone().into();
            config.database.direct_url = None;
        })
        .await;
    everybody_signs_in_and_out(&op, 8, 1).await;
    // Deliveries set and listen in sessions that are theirs.
    let receiver = Receiver::start().await;
    let hook = op.webhook(&receiver).await;
    op.ping(hook.id()).await;
    receiver.waits_for(1).await;
    let listening: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM pg_stat_activity WHERE usename = $1 AND query LIKE 'LISTEN %'",
    )
    .bind(&pooled.roles.server)
    .fetch_one(&pooled.roles.db)
    .await
    .unwrap();
    assert_eq!(listening, 1);
    assert_eq!(validated(&directory(&op, &through, None)), []);
    op.stopped().await;
    pooled.end().await;
}

/// Waits until every app has got new tokens since then; how long the last one had to wait.
async fn all_refreshed_since(load: &Load, back: Instant) -> Duration {
    loop {
        let last = *load.counts.refreshed.lock().unwrap().iter().min().unwrap();
        if last > back {
            return back.elapsed();
        }
        assert!(back.elapsed() < RECOVERY, "not every app recovers");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The pooler stops, in order and at once, and the sessions behind it are ended, all under load: 503 with `Retry-After` and
/// nothing else, nobody has to sign in again, and within five seconds everybody is served.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_that_is_restarted_under_load_costs_nobody_a_session() {
    let mut pooled = Pooled::start(&[]).await;
    let load = Load::start(&pooled.op, &pooled.op, 16, Manner::default()).await;
    let mut slowest = Duration::ZERO;
    // At once, and in order: SIGINT waits for transactions under way.
    for signal in [Signal::QUIT, Signal::KILL, Signal::INT] {
        tokio::time::sleep(Duration::from_secs(1)).await;
        pooled.pooler.stop(signal);
        tokio::time::sleep(Duration::from_secs(1)).await;
        pooled.op.get("/ready").await.is(503);
        pooled.op.get("/health").await.is(200);
        pooled.pooler.start_again();
        slowest = slowest.max(all_refreshed_since(&load, Instant::now()).await);
    }
    let told = Counts::of(&load.counts.unavailable);
    assert!(told > 0, "nobody noticed");
    // Somebody ends the sessions behind the pooler, as a restart of PostgreSQL does.
    for _ in 0..5 {
        let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = $1";
        sqlx::query(end)
            .bind(&pooled.roles.server)
            .execute(&pooled.roles.db)
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    slowest = slowest.max(all_refreshed_since(&load, Instant::now()).await);
    let counts = load.stop().await;
    println!(
        "{}; the last app had new tokens after {slowest:?}",
        counts.summary()
    );
    assert_eq!(
        Counts::of(&counts.wrong),
        0,
        "503 with Retry-After and nothing else"
    );
    assert_eq!(Counts::of(&counts.unanswered), 0);
    assert_eq!(Counts::of(&counts.lost), 0, "nobody has to sign in again");
    pooled.end().await;
}

/// Whoever hangs up in the middle leaves no session in a transaction, and no answer for who comes next.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_hangs_up_leaves_nothing_in_a_session() {
    let pooled = Pooled::start(&[]).await;
    let app = pooled.op.client().await;
    let browser = pooled.op.signed_in("alice").await;
    let mut refresh_token = app
        .tokens_of(&browser, "alice", "openid offline_access")
        .await
        .refresh()
        .to_owned();
    for round in 0..30 {
        let mut leaving = JoinSet::new();
        for caller in 0..16_u64 {
            let (op, app, token) = (pooled.op.clone(), app.clone(), refresh_token.clone());
            leaving.spawn(async move {
                let form = [("grant_type", "refresh_token"), ("refresh_token", token.as_str())];
                let authorization = common::app::basic(app.client_id(), app.secret());
                let sending = op
                    .request(Method::POST, "/oauth/token")
                    .header("authorization", authorization)
                    .form(&form)
                    .send();
                let _ = tokio::time::timeout(Duration::from_micros(500 * caller), sending).await;
            });
        }
        leaving.join_all().await;
        // The same token again: within the leeway it gives the same successor.
        let tokens = app.refresh(&refresh_token).await.tokens();
        assert_ne!(tokens.refresh(), refresh_token, "{round}");
        tokens.refresh().clone_into(&mut refresh_token);
    }
    // Sooner than PostgreSQL itself ends what nobody goes on with.
    let deadline = Instant::now() + Duration::from_secs(4);
    let busy = "SELECT count(*) FROM pg_stat_activity WHERE usename = $1 AND state <> 'idle'";
    loop {
        let busy: i64 = sqlx::query_scalar(busy)
            .bind(&pooled.roles.server)
            .fetch_one(&pooled.roles.db)
            .await
            .unwrap();
        if busy == 0 {
            break;
        }
        assert!(Instant::now() < deadline, "{busy} sessions are not given back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    everybody_signs_in_and_out(&pooled.op, 8, 1).await;
    pooled.end().await;
}

/// Others use up the pooler's sessions: whoever gets none is told to come back rather than left waiting, and the process is
/// not ready for that long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_gets_no_session_is_told_to_come_back() {
    let pooled = Pooled::start(&[]).await;
    let others = sqlx::PgPool::connect(&pooled.pooler.url(&pooled.roles))
        .await
        .unwrap();
    let mut held = Vec::new();
    for _ in 0..SESSIONS {
        let mut transaction = others.begin().await.unwrap();
        sqlx::query("SELECT 1").execute(&mut *transaction).await.unwrap();
        held.push(transaction);
    }
    let started = Instant::now();
    let answer = pooled
        .op
        .get("/oauth/authorize?client_id=somebody&response_type=code")
        .await;
    answer.is(503);
    assert!(answer.headers.contains_key("retry-after"), "{}", answer.text);
    assert!(
        started.elapsed() < Duration::from_secs(6),
        "{:?}",
        started.elapsed()
    );
    pooled.op.get("/ready").await.is(503);
    for transaction in held {
        transaction.rollback().await.unwrap();
    }
    everybody_signs_in_and_out(&pooled.op, 4, 1).await;
    others.close().await;
    pooled.end().await;
}
