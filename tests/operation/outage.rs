//! The database is away: 503 at once, liveness and metadata go on, and recovery needs nobody.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use reqwest::Method;
use riley_auth::db;
use riley_auth::dev::postgres::PrivatePostgres;
use secrecy::ExposeSecret as _;
use tokio::io::AsyncWriteExt as _;
use tokio::task::JoinSet;

use crate::common::silencer::{AnswerLoser, Silencer};
use crate::common::{Answer, TestClient, TestProvider, Tokens};

/// How soon an answer comes while the database is away, and recovery once it is back.
const LIMIT: Duration = Duration::from_secs(5);

/// A server that can be stopped and started at the same address.
async fn start(directory: &Path) -> PrivatePostgres {
    PrivatePostgres::start_for_dev_in(&directory.join("postgres"), false)
        .await
        .unwrap()
}

fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    // For root, PostgreSQL runs as somebody else, who has to get there.
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
    directory
}

async fn provider_on(postgres: &PrivatePostgres) -> TestProvider {
    let url = postgres.url("postgres");
    TestProvider::with(move |config| {
        config.database.url = url.into();
        config.database.acquire_timeout_secs = 3;
    })
    .await
}

/// Answered within the limit, with this status.
async fn answers(request: reqwest::RequestBuilder, status: u16) -> Answer {
    let started = Instant::now();
    let answer = Answer::of(request).await;
    assert!(started.elapsed() < LIMIT, "{:?}", started.elapsed());
    answer.is(status).clone()
}

/// What `/ready` says within a second or two: an answer is told for half a second, and finding out may take one.
async fn readiness_becomes(op: &TestProvider, status: u16) -> Answer {
    let asked = Instant::now();
    loop {
        let answer = op.get("/ready").await;
        if answer.status == status {
            return answer;
        }
        assert!(asked.elapsed() < Duration::from_secs(2), "{}", answer.text);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn readiness_tells_what_is_missing() {
    let directory = directory();
    let postgres = start(directory.path()).await;
    let op = provider_on(&postgres).await;
    let reason = op.get("/ready").await.is(503).json()["reason"].clone();
    assert_eq!(reason, "the database is not migrated");

    db::schema::migrate(op.db()).await.unwrap();
    readiness_becomes(&op, 200).await;
    postgres.stop().await.unwrap();

    let answer = readiness_becomes(&op, 503).await;
    assert_eq!(answer.json()["reason"], "the database does not answer");
    op.get("/health").await.is(200);
    op.state().shutdown.cancel();
}

#[tokio::test]
async fn an_outage_is_503_and_over_as_soon_as_the_database_is_back() {
    let directory = directory();
    let postgres = start(directory.path()).await;
    let op = provider_on(&postgres).await;
    db::schema::migrate(op.db()).await.unwrap();
    let app = op.client().await;
    let browser = op.signed_in("alice").await;
    let tokens = app.tokens_of(&browser, "alice", "openid offline_access").await;
    postgres.stop().await.unwrap();

    let refresh = [
        ("grant_type", "refresh_token"),
        ("refresh_token", tokens.refresh()),
    ];
    let authorization = crate::common::app::basic(app.client_id(), app.secret());
    let post = |path: &str| {
        op.request(Method::POST, path)
            .header("authorization", &authorization)
    };
    for request in [
        post("/oauth/token").form(&refresh),
        post("/oauth/introspect").form(&[("token", &tokens.access_token)]),
        post("/oauth/revoke").form(&[("token", &tokens.access_token)]),
        op.request(Method::GET, "/oauth/userinfo")
            .bearer_auth(&tokens.access_token),
        op.request(Method::GET, "/auth/simulated"),
    ] {
        let answer = answers(request, 503).await;
        assert!(answer.header("retry-after").is_some(), "{}", answer.text);
    }
    for path in [
        "/health",
        "/.well-known/jwks.json",
        "/.well-known/openid-configuration",
    ] {
        answers(op.request(Method::GET, path), 200).await;
    }

    let _postgres = start(directory.path()).await;
    let back = Instant::now();
    while op.get("/ready").await.status != 200 {
        assert!(back.elapsed() < LIMIT, "it does not recover");
    }
    // What was refused as unavailable was not used up.
    app.refresh(tokens.refresh()).await.tokens();
    assert!(app.is_active(&tokens.access_token).await);
}

/// RS-4, OB-7: whoever asks often costs one connection of the server's and a statement in half a second, and takes none from
/// requests; the answer is true although a connection is lost in between.
#[tokio::test]
async fn a_flood_of_questions_costs_one_connection_and_the_answer_stays_true() {
    let op = TestProvider::start().await;
    let mut flood = tokio::task::JoinSet::new();
    for _ in 0..500 {
        flood.spawn(Answer::of(op.request(Method::GET, "/ready")));
    }
    for answer in flood.join_all().await {
        answer.is(200);
    }
    let ours = "application_name = 'riley-auth-ready' AND datname = current_database()";
    let ended = format!("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE {ours}");
    let ended: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(ended))
        .fetch_one(op.db())
        .await
        .unwrap();
    assert_eq!(ended, 1, "one connection is what they cost");

    // The answer of before the loss runs out; the next one is found out on a new connection.
    let asked = Instant::now();
    while asked.elapsed() < Duration::from_millis(700) {
        op.get("/ready").await.is(200);
    }
}

/// RS-4: whoever hangs up before the answer takes nothing along: the connection that was asked stays.
#[tokio::test]
async fn whoever_hangs_up_does_not_cost_the_connection_of_the_question() {
    let op = TestProvider::start().await;
    let connection = async || -> Vec<i32> {
        let ours = "SELECT pid FROM pg_stat_activity
                    WHERE application_name = 'riley-auth-ready' AND datname = current_database()";
        sqlx::query_scalar(ours).fetch_all(op.db()).await.unwrap()
    };
    op.get("/ready").await.is(200);
    let before = connection().await;
    let started = Instant::now();
    // Through three lifetimes of an answer.
    while started.elapsed() < Duration::from_millis(1600) {
        let mut stream = tokio::net::TcpStream::connect(op.address()).await.unwrap();
        stream
            .write_all(b"GET /ready HTTP/1.1\r\nHost: op.test\r\n\r\n")
            .await
            .unwrap();
    }
    op.get("/ready").await.is(200);
    assert_eq!(connection().await, before);
}

/// An instance whose few connections can die without a word, as when a firewall has forgotten them.
struct HalfOpen {
    op: TestProvider,
    silencer: Silencer,
    running: TestProvider,
    app: TestClient,
    tokens: Tokens,
}

impl HalfOpen {
    const CONNECTIONS: usize = 4;

    async fn start() -> Self {
        let op = TestProvider::start().await;
        let silencer = Silencer::before(op.state().config.database.url.expose_secret());
        let running = op
            .reconfigured(|config| {
                config.database.url = silencer.url.clone().into();
                config.database.acquire_timeout_secs = 3;
                config.database.max_connections = u32::try_from(Self::CONNECTIONS).unwrap();
            })
            .await;
        let app = op.client().await;
        let browser = op.signed_in("alice").await;
        let tokens = app.tokens_of(&browser, "alice", "openid offline_access").await;
        Self {
            app: app.at(&running),
            op,
            silencer,
            running,
            tokens,
        }
    }

    /// Requests whose statements wait for us: as many as there are connections, until `released` is dropped.
    async fn every_connection_waits(&self) -> (riley_auth::db::Transaction, JoinSet<Answer>) {
        let mut lock = self.op.db().begin().await.unwrap();
        sqlx::query("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
            .execute(&mut *lock)
            .await
            .unwrap();
        let request = || {
            self.running
                .request(Method::GET, "/oauth/userinfo")
                .bearer_auth(&self.tokens.access_token)
        };
        let requests = (0..Self::CONNECTIONS).map(|_| Answer::of(request())).collect();
        let waiting = "SELECT count(*) FROM pg_stat_activity
                       WHERE datname = current_database() AND application_name = 'riley-auth' AND wait_event_type = 'Lock'";
        let deadline = Instant::now() + LIMIT;
        loop {
            let count: i64 = sqlx::query_scalar(waiting).fetch_one(self.op.db()).await.unwrap();
            if usize::try_from(count).unwrap() == Self::CONNECTIONS {
                return (lock, requests);
            }
            assert!(Instant::now() < deadline, "{count} connections wait");
        }
    }

    /// Whether it serves again by itself, within the limit.
    async fn recovers(&mut self) {
        let started = Instant::now();
        loop {
            let answer = self.app.refresh(self.tokens.refresh()).await;
            if answer.status == 200 {
                self.tokens = answer.tokens();
                return;
            }
            assert!(started.elapsed() < LIMIT, "it does not recover: {}", answer.text);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// RS-8: a database that is gone without a word while statements are under way. Who waits is answered within the limit, and
/// what is lost takes no place in the pool: otherwise it would be empty until the operating system gives up, for a quarter of
/// an hour, while the instance says that it is ready.
#[tokio::test]
async fn connections_that_die_with_statements_under_way_are_given_up_in_seconds() {
    let mut half_open = HalfOpen::start().await;
    for _ in 0..2 {
        let (lock, requests) = half_open.every_connection_waits().await;
        let started = Instant::now();
        half_open.silencer.fall_silent();
        for answer in requests.join_all().await {
            assert!(answer.is(503).header("retry-after").is_some());
        }
        let took = started.elapsed();
        assert!(took < LIMIT + Duration::from_secs(1), "{took:?}");
        drop(lock);
        half_open.recovers().await;
    }
    let counted = half_open.running.get("/metrics").await.is(200).text.clone();
    let timeouts = format!(
        "\nriley_auth_request_timeouts_total {}\n",
        2 * HalfOpen::CONNECTIONS
    );
    assert!(counted.contains(&timeouts), "{counted}");
}

/// RS-8: the same while nothing is under way: whoever comes next notices within a second and is served.
#[tokio::test]
async fn connections_that_die_while_idle_are_replaced_unnoticed() {
    let mut half_open = HalfOpen::start().await;
    let (lock, requests) = half_open.every_connection_waits().await;
    lock.rollback().await.unwrap();
    for answer in requests.join_all().await {
        answer.is(200);
    }
    // What was idle for a second is asked before it is used.
    tokio::time::sleep(Duration::from_millis(1200)).await;
    half_open.silencer.fall_silent();
    for _ in 0..HalfOpen::CONNECTIONS {
        let started = Instant::now();
        half_open
            .app
            .userinfo(&half_open.tokens.access_token)
            .await
            .is(200);
        let took = started.elapsed();
        assert!(took < Duration::from_secs(2), "{took:?}");
    }
    half_open.recovers().await;
}

/// RS-8: the same while connections come back, whatever was done with them: none holds its place.
#[tokio::test]
async fn connections_that_die_on_their_way_back_are_given_up_in_seconds() {
    const CONNECTIONS: u32 = 4;
    let op = TestProvider::start().await;
    let mut config = op.state().config.database.clone();
    let silencer = Silencer::before(config.url.expose_secret());
    config.url = silencer.url.clone().into();
    config.max_connections = CONNECTIONS;
    config.acquire_timeout_secs = 3;
    let pool = db::connect(&config).unwrap();
    for _ in 0..2 {
        let idle = pool.acquire().await.unwrap();
        let begun = pool.begin().await.unwrap();
        let mut under_way = pool.acquire().await.unwrap();
        let mut failed = pool.begin().await.unwrap();
        sqlx::query("SELECT 1 / 0")
            .execute(&mut *failed)
            .await
            .unwrap_err();
        let statement = sqlx::query("SELECT pg_sleep(4)").execute(&mut *under_way);
        tokio::time::timeout(Duration::from_millis(100), statement)
            .await
            .unwrap_err();
        assert_eq!((pool.size(), pool.idle()), (CONNECTIONS, 0));
        silencer.fall_silent();
        drop((idle, begun, under_way, failed));
        let started = Instant::now();
        let mut taken = Vec::new();
        for _ in 0..CONNECTIONS {
            taken.push(pool.acquire().await.expect("a place is free"));
        }
        assert!(
            started.elapsed() < Duration::from_secs(3),
            "{:?}",
            started.elapsed()
        );
        for connection in &mut taken {
            sqlx::query("SELECT 1").execute(&mut **connection).await.unwrap();
        }
    }
}

/// RS-8: a statement that nobody waits for any more is ended, so that those who hang up on a slow database cannot pile up
/// connections to it beyond those of the pool.
#[tokio::test]
async fn a_statement_that_nobody_waits_for_ends_in_seconds() {
    let op = TestProvider::start().await;
    let mut config = op.state().config.database.clone();
    config.max_connections = 1;
    let pool = db::connect(&config).unwrap();
    let mut connection = pool.begin().await.unwrap();
    let going_on = async || -> bool {
        let active = "SELECT count(*) > 0 FROM pg_stat_activity
                      WHERE datname = current_database() AND state = 'active' AND query LIKE 'SELECT pg_sleep(4%'";
        sqlx::query_scalar(active).fetch_one(op.db()).await.unwrap()
    };
    let slow = async {
        let slow = sqlx::query("SELECT pg_sleep(4.8)").execute(&mut *connection);
        slow.await.unwrap();
    };
    tokio::select! {
        () = slow => panic!("it goes on until it is dropped"),
        () = async { while !going_on().await {} } => {}
    }
    drop(connection);
    let started = Instant::now();
    while going_on().await {
        assert!(started.elapsed() < Duration::from_secs(4), "it goes on");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// RS-9: a statement that commits, and whose answer is lost, may have been done or not. Whoever asked is told that nobody knows (503), never that the
/// grant is bad; and the same request, sent again, is answered as the lost one would have been.
#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_503_and_can_be_asked_again() {
    let op = TestProvider::start().await;
    let loser = AnswerLoser::before(op.state().config.database.url.expose_secret());
    let running = op
        .reconfigured(|config| config.database.url = loser.url.clone().into())
        .await;
    let app = op.client().await;
    let browser = op.signed_in("alice").await;
    let tokens = app.tokens_of(&browser, "alice", "openid offline_access").await;
    let app = app.at(&running);
    // What is prepared and cached is so before.
    let tokens = app.refresh(tokens.refresh()).await.tokens();
    let rows = async || -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM refresh_tokens")
            .fetch_one(op.db())
            .await
            .unwrap()
    };
    let before = rows().await;
    // The first one reads, the second one consumes and issues.
    loser.lose(2);
    let lost = app.refresh(tokens.refresh()).await;
    assert!(loser.has_lost(), "no statement came by");
    assert_eq!(lost.status, 503, "{}", lost.text);
    assert_eq!(lost.json()["error"], "temporarily_unavailable");
    let deadline = Instant::now() + LIMIT;
    while rows().await == before {
        assert!(Instant::now() < deadline, "it was not done");
    }
    let again = app.refresh(tokens.refresh()).await.tokens();
    app.refresh(again.refresh()).await.tokens();
    assert!(app.is_active(&again.access_token).await);
}
