//! What a crash, a lost connection and a client that hangs up leave behind: the state before or the state after, whole, and
//! never anything between.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::time::Duration;

use common::app::basic;
use common::cookies::Context;
use common::provider::ISSUER;
use common::{Answer, Browser, Directory, Outcome, Process, TestClient, TestProvider, Tokens};
use reqwest::{Method, RequestBuilder};
use riley_auth::config::oauth::Onboarding;
use riley_auth::db::Pool;
use rustix::process::Signal;
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use url::Url;

/// How long a lock or an effect is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

async fn count(db: &Pool, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(db).await.unwrap()
}

/// Waits until `sql` counts something.
async fn until(db: &Pool, sql: &'static str) {
    let looking = async {
        while count(db, sql).await == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.expect(sql);
}

const WAITING: &str = "SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock'";
const CONSUMED: &str = "SELECT count(*) FROM refresh_tokens WHERE consumed_at IS NOT NULL";
const REVOKED: &str = "SELECT count(*) FROM grants WHERE revoked_at IS NOT NULL";

/// A lock that somebody else holds; dropping the transaction lets it go.
struct Lock(PgConnection);

impl Lock {
    async fn take(db: &Pool, sql: &str) -> Self {
        let mut connection = PgConnection::connect_with(&db.connect_options()).await.unwrap();
        let statements = format!("BEGIN; {sql}");
        sqlx::raw_sql(AssertSqlSafe(statements))
            .execute(&mut connection)
            .await
            .unwrap();
        Self(connection)
    }

    async fn release(self) {
        self.0.close().await.unwrap();
    }
}

/// RT-14: whatever happens to server and database in the middle of a refresh, the client goes on with what it holds.
mod refreshing {
    use super::*;

    /// One process over the database of `home`, an app, and its tokens.
    struct Crash {
        home: TestProvider,
        directory: Directory,
        app: TestClient,
        tokens: Tokens,
    }

    impl Crash {
        /// `leeway_secs`: by the system's clock, since the process has no other.
        async fn with_leeway(leeway_secs: i32) -> (Self, Process) {
            let home = TestProvider::start().await;
            let directory = Directory::with_key(&home.configuration_text());
            let process = directory.serve().await;
            let op = home.served_at(process.address);
            let leeway = |client: &mut riley_auth::protocol::client::Client| {
                client.refresh_reuse_leeway_secs = Some(leeway_secs.try_into().unwrap());
            };
            let app = op.client_with(leeway).await;
            let browser = home.signed_in("ada").await.at(&op);
            let tokens = app.tokens_of(&browser, "ada", "openid offline_access").await;
            let crash = Self {
                home,
                directory,
                app,
                tokens,
            };
            (crash, process)
        }

        fn db(&self) -> &Pool {
            self.home.db()
        }

        /// The refresh, under way.
        fn refresh(&self) -> tokio::task::JoinHandle<reqwest::Result<reqwest::Response>> {
            let form = [
                ("grant_type", "refresh_token"),
                ("refresh_token", self.tokens.refresh()),
            ];
            let request = self.app.op.request(Method::POST, "/oauth/token");
            let request = request.header("authorization", basic(self.app.client_id(), self.app.secret()));
            tokio::spawn(request.form(&form).send())
        }

        /// Kills the process while the refresh waits for `lock`, then lets whatever the database still has to do be done.
        async fn kill_while_waiting_for(&self, lock: &str, mut process: Process) {
            let lock = Lock::take(self.db(), lock).await;
            let refresh = self.refresh();
            until(self.db(), WAITING).await;
            process.signal(Signal::KILL);
            process.ended().await;
            assert!(refresh.await.unwrap().is_err(), "nobody answers");
            lock.release().await;
        }

        /// The app, at a process that was started after the crash.
        async fn restarted(&self) -> (TestClient, Process) {
            let process = self.directory.serve().await;
            (self.app.at(&self.home.served_at(process.address)), process)
        }
    }

    /// The server dies before it has written anything: the token that the client holds is good.
    #[tokio::test]
    async fn a_crash_before_the_write_leaves_the_token_good() {
        let (crash, process) = Crash::with_leeway(0).await;
        crash
            .kill_while_waiting_for("LOCK TABLE refresh_tokens IN ACCESS EXCLUSIVE MODE", process)
            .await;
        let (app, _process) = crash.restarted().await;
        let next = app.refresh(crash.tokens.refresh()).await.tokens();
        app.refresh(next.refresh()).await.tokens();
        assert_eq!(count(crash.db(), REVOKED).await, 0);
    }

    /// The database loses the write: the answer is no refusal of the token but 503, and the token is good.
    #[tokio::test]
    async fn a_write_that_the_database_loses_leaves_the_token_good() {
        let (crash, _process) = Crash::with_leeway(0).await;
        let lock = Lock::take(crash.db(), "SELECT FROM refresh_tokens FOR UPDATE").await;
        let refresh = crash.refresh();
        until(crash.db(), WAITING).await;
        let terminate = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                         WHERE datname = current_database() AND wait_event_type = 'Lock'";
        assert_eq!(count(crash.db(), terminate).await, 1);
        let answer = Answer::read(refresh.await.unwrap().unwrap()).await;
        answer.is(503);
        assert!(answer.header("retry-after").is_some());
        lock.release().await;
        assert_eq!(count(crash.db(), CONSUMED).await, 0);
        crash.app.refresh(crash.tokens.refresh()).await.tokens();
    }

    /// The write is committed and the server dies before it has answered: within the leeway the same request brings what
    /// the first would have brought.
    #[tokio::test]
    async fn a_crash_after_the_commit_is_healed_by_the_leeway() {
        let (crash, process) = Crash::with_leeway(300).await;
        crash
            .kill_while_waiting_for("SELECT FROM refresh_tokens FOR UPDATE", process)
            .await;
        until(crash.db(), CONSUMED).await;
        let (app, _process) = crash.restarted().await;
        let next = app.refresh(crash.tokens.refresh()).await.tokens();
        let again = app.refresh(crash.tokens.refresh()).await.tokens();
        assert_eq!(next.refresh(), again.refresh(), "the one successor");
        app.refresh(next.refresh()).await.tokens();
        assert_eq!(count(crash.db(), REVOKED).await, 0);
    }

    /// The same without a leeway: the client is told that its token is spent, and nothing else is alive.
    #[tokio::test]
    async fn a_crash_after_the_commit_without_leeway_is_an_invalid_grant() {
        let (crash, process) = Crash::with_leeway(0).await;
        crash
            .kill_while_waiting_for("SELECT FROM refresh_tokens FOR UPDATE", process)
            .await;
        until(crash.db(), CONSUMED).await;
        let (app, _process) = crash.restarted().await;
        app.refresh(crash.tokens.refresh()).await.refused("invalid_grant");
        app.userinfo(&crash.tokens.access_token).await.is(401);
        assert_eq!(count(crash.db(), REVOKED).await, 1);
    }
}

/// RS-6: a client hangs up while a request of it waits at each of the tables that it writes.
mod hanging_up {
    use super::*;

    type Prepared<'a> = Pin<Box<dyn Future<Output = RequestBuilder> + 'a>>;

    /// Something that changes several rows: what has to be there first, and the request.
    type Effect = for<'a> fn(&'a TestProvider) -> Prepared<'a>;

    /// What a person's browser would send from a page of ours.
    fn by(browser: &Browser, method: Method, path_and_query: &str) -> RequestBuilder {
        let url = Url::parse(&format!("{ISSUER}{path_and_query}")).unwrap();
        let now = browser.op.clock().now();
        let cookies = browser
            .jar()
            .header(&url, Context::SameSite, now)
            .unwrap_or_default();
        let request = browser.op.request(method, path_and_query);
        request
            .header("cookie", cookies)
            .header("sec-fetch-site", "same-origin")
    }

    fn exchange(op: &TestProvider) -> Prepared<'_> {
        Box::pin(async {
            let app = op.client().await;
            let granted = op.signed_in("ada").await.authorize(&app).code().await;
            let form = [
                ("grant_type", "authorization_code"),
                ("code", &granted.code),
                ("redirect_uri", &granted.redirect_uri),
            ];
            let request = op.request(Method::POST, "/oauth/token").form(&form);
            request.header("authorization", basic(app.client_id(), app.secret()))
        })
    }

    fn revocation(op: &TestProvider) -> Prepared<'_> {
        Box::pin(async {
            let app = op.client().await;
            let ada = op.signed_in("ada").await;
            let tokens = app.tokens_of(&ada, "ada", "openid").await;
            let request = op.request(Method::POST, "/oauth/revoke");
            let request = request.header("authorization", basic(app.client_id(), app.secret()));
            request.form(&[("token", tokens.refresh())])
        })
    }

    fn replay(op: &TestProvider) -> Prepared<'_> {
        Box::pin(async {
            let app = op.client().await;
            let granted = op.signed_in("ada").await.authorize(&app).code().await;
            app.redeem(&granted).await.tokens();
            let form = [
                ("grant_type", "authorization_code"),
                ("code", &granted.code),
                ("redirect_uri", &granted.redirect_uri),
            ];
            let request = op.request(Method::POST, "/oauth/token").form(&form);
            request.header("authorization", basic(app.client_id(), app.secret()))
        })
    }

    fn code(op: &TestProvider) -> Prepared<'_> {
        Box::pin(async {
            let app = op.client().await;
            let ada = op.signed_in("ada").await;
            let url = Url::parse(&ada.authorize(&app).url()).unwrap();
            by(
                &ada,
                Method::GET,
                &format!("{}?{}", url.path(), url.query().unwrap()),
            )
        })
    }

    fn decision(op: &TestProvider) -> Prepared<'_> {
        Box::pin(async {
            let app = op.asking_client().await;
            let ada = op.signed_in("ada").await;
            let Outcome::Page(page) = ada.authorize(&app).send().await else {
                panic!("consent is asked for");
            };
            let consent_id = common::browser::query(&page, "consent_id").unwrap();
            let body = json!({ "consent_id": consent_id, "approved": true });
            by(&ada, Method::POST, "/oauth/consent").json(&body)
        })
    }

    fn resumption(op: &TestProvider) -> Prepared<'_> {
        Box::pin(async {
            let app = op.asking_client().await;
            let ada = op.signed_in("ada").await;
            let Outcome::Page(page) = ada.authorize(&app).send().await else {
                panic!("consent is asked for");
            };
            let decided = ada.send_decision(&page, true).await;
            let next = Url::parse(decided.json()["redirect_to"].as_str().unwrap()).unwrap();
            by(
                &ada,
                Method::GET,
                &format!("{}?{}", next.path(), next.query().unwrap()),
            )
        })
    }

    fn first_sign_in(op: &TestProvider) -> Prepared<'_> {
        Box::pin(async {
            let browser = op.browser();
            let callback = browser.up_to_callback("simulated", "ada").await;
            by(
                &browser,
                Method::GET,
                &format!("{}?{}", callback.path(), callback.query().unwrap()),
            )
        })
    }

    fn renewal(op: &TestProvider) -> Prepared<'_> {
        Box::pin(async {
            let ada = op.signed_in("ada").await;
            by(&ada, Method::POST, "/auth/refresh")
        })
    }

    fn logout(op: &TestProvider) -> Prepared<'_> {
        Box::pin(async {
            let ada = op.signed_in("ada").await;
            by(&ada, Method::POST, "/auth/logout")
        })
    }

    fn rename(op: &TestProvider) -> Prepared<'_> {
        Box::pin(async {
            let ada = op.signed_in("ada").await;
            by(&ada, Method::PATCH, "/auth/me/username").json(&json!({ "username": "countess" }))
        })
    }

    fn withdrawal(op: &TestProvider) -> Prepared<'_> {
        Box::pin(async {
            let app = op.asking_client().await;
            let ada = op.signed_in("ada").await;
            app.tokens_of(&ada, "ada", "openid").await;
            by(
                &ada,
                Method::DELETE,
                &format!("/auth/me/consents/{}", app.client_id()),
            )
        })
    }

    fn deletion(op: &TestProvider) -> Prepared<'_> {
        Box::pin(async {
            let app = op.asking_client().await;
            let ada = op.signed_in("ada").await;
            app.tokens_of(&ada, "ada", "openid").await;
            by(&ada, Method::DELETE, "/auth/me")
        })
    }

    const EFFECTS: [(&str, Effect); 12] = [
        ("the exchange of a code", exchange),
        ("the replay of a code", replay),
        ("a revocation", revocation),
        ("the issuing of a code", code),
        ("a decision", decision),
        ("the resumption of a request", resumption),
        ("a first sign-in", first_sign_in),
        ("a renewal", renewal),
        ("a logout", logout),
        ("another username", rename),
        ("the withdrawal of a consent", withdrawal),
        ("a deletion", deletion),
    ];

    /// What the first step of a sign-in leaves when the rest does not happen: the flow is used up before the upstream is asked,
    /// since its answer counts once whatever comes of it (UP-1). The person starts again.
    const SPENT: [(&str, i64); 1] = [("upstream_flows", -1)];

    /// The tables whose rows `state` and this tell apart: new rows and new versions of rows have a new number.
    async fn newest_versions(db: &Pool) -> BTreeMap<String, i64> {
        let mut versions = BTreeMap::new();
        for table in state(db).await.into_keys() {
            let newest = format!("SELECT coalesce(max(xmin::text::bigint), 0) FROM {table}");
            let newest: i64 = sqlx::query_scalar(AssertSqlSafe(newest))
                .fetch_one(db)
                .await
                .unwrap();
            versions.insert(table, newest);
        }
        versions
    }

    /// Every table that requests write, and how much has happened in it: rows, and rows that were used up or ended.
    async fn state(db: &Pool) -> BTreeMap<String, i64> {
        let tables = "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'
                      AND tablename NOT IN ('_sqlx_migrations', 'signing_keys', 'jwks_max_ages', 'error_reports') ORDER BY 1";
        let tables: Vec<String> = sqlx::query_scalar(tables).fetch_all(db).await.unwrap();
        let mut state = BTreeMap::new();
        for table in tables {
            let marks = "SELECT coalesce(string_agg(format(' + count(%I)', column_name), ''), '')
                         FROM information_schema.columns
                         WHERE table_schema = 'public' AND table_name = $1 AND column_name = ANY ($2)";
            let names = [
                "used_at",
                "consumed_at",
                "ended_at",
                "revoked_at",
                "decision",
                "deleted_at",
                "username_changed_at",
            ];
            let marks: String = sqlx::query_scalar(marks)
                .bind(&table)
                .bind(&names[..])
                .fetch_one(db)
                .await
                .unwrap();
            let sum = format!("SELECT count(*){marks} FROM {table}");
            let sum: i64 = sqlx::query_scalar(AssertSqlSafe(sum))
                .fetch_one(db)
                .await
                .unwrap();
            state.insert(table, sum);
        }
        state
    }

    /// Until the pool has every connection back: whatever the server still does with the database is over.
    async fn at_rest(op: &TestProvider) {
        let quiet = async {
            while op.db().idle() < op.db().size() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(PATIENCE, quiet)
            .await
            .expect("the connections come back");
    }

    async fn provider() -> TestProvider {
        TestProvider::with(|config| config.oauth.onboarding = Onboarding::Auto).await
    }

    /// Runs the effect and hangs up as soon as it waits for a write to `table`. `None`: it writes nothing there.
    async fn interrupted(
        effect: Effect,
        table: &str,
    ) -> Option<(BTreeMap<String, i64>, BTreeMap<String, i64>)> {
        let op = provider().await;
        let request = effect(&op).await;
        at_rest(&op).await;
        let before = state(op.db()).await;
        // Reading goes on; whoever writes, or locks a row, waits.
        let lock = Lock::take(op.db(), &format!("LOCK TABLE {table} IN EXCLUSIVE MODE")).await;
        let asking = tokio::spawn(request.send());
        let waits = async {
            while !asking.is_finished() {
                if count(op.db(), WAITING).await > 0 {
                    return true;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            false
        };
        let waits = tokio::time::timeout(PATIENCE, waits)
            .await
            .expect("it waits or it ends");
        asking.abort();
        // The end of the connection has to reach the server before the lock is released.
        tokio::time::sleep(Duration::from_millis(30)).await;
        lock.release().await;
        at_rest(&op).await;
        waits.then_some((before, state(op.db()).await))
    }

    /// How much has happened from one state to the other.
    fn difference(before: &BTreeMap<String, i64>, after: &BTreeMap<String, i64>) -> BTreeMap<String, i64> {
        after
            .iter()
            .map(|(table, sum)| (table.clone(), sum - before[table]))
            .filter(|(_, difference)| *difference != 0)
            .collect()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn whoever_hangs_up_leaves_all_or_nothing_at_every_table() {
        let mut left_nothing = 0;
        for (name, effect) in EFFECTS {
            let op = provider().await;
            let request = effect(&op).await;
            at_rest(&op).await;
            let (before, versions) = (state(op.db()).await, newest_versions(op.db()).await);
            let answer = Answer::of(request).await;
            assert!(!answer.status.is_server_error(), "{name}: {}", answer.text);
            at_rest(&op).await;
            let whole = difference(&before, &state(op.db()).await);
            assert!(!whole.is_empty(), "{name} changes something");
            let written = difference(&versions, &newest_versions(op.db()).await);
            let spent = SPENT.map(|(table, sum)| (table.to_owned(), sum)).into();
            let mut interruptions = 0;
            for table in written.keys().chain(whole.keys()).collect::<BTreeSet<_>>() {
                let Some((before, after)) = interrupted(effect, table).await else {
                    continue;
                };
                interruptions += 1;
                let left = difference(&before, &after);
                assert!(
                    left.is_empty() || left == whole || (name == "a first sign-in" && left == spent),
                    "{name}, interrupted at {table}, left {left:?} of {whole:?}"
                );
                left_nothing += usize::from(left.is_empty());
            }
            assert!(interruptions > 0, "{name} is interrupted somewhere");
        }
        assert!(left_nothing > 0, "hanging up does interrupt");
    }

    /// What is left can be gone on with: the same person, browser and app do the same again.
    #[tokio::test]
    async fn after_hanging_up_a_sign_in_and_a_code_are_had_anew() {
        let op = provider().await;
        let (app, browser) = (op.client().await, op.browser());
        for table in ["sessions", "users", "authorization_codes"] {
            let callback = browser.up_to_callback("simulated", "ada").await;
            let lock = Lock::take(op.db(), &format!("LOCK TABLE {table} IN EXCLUSIVE MODE")).await;
            let path = format!("{}?{}", callback.path(), callback.query().unwrap());
            let asking = tokio::spawn(by(&browser, Method::GET, &path).send());
            if table != "authorization_codes" {
                until(op.db(), WAITING).await;
            }
            asking.abort();
            lock.release().await;
            at_rest(&op).await;
        }
        let granted = browser.authorize(&app).code_as("ada").await;
        app.redeem(&granted).await.tokens();
        assert_eq!(count(op.db(), "SELECT count(*) FROM users").await, 1);
    }
}

/// RS-6: a request that is dropped while its transaction begins leaves no connection behind that is in one: what the next request
/// writes by a single statement is there when it is answered.
#[tokio::test]
async fn a_begin_that_nobody_waits_for_leaves_no_transaction_open() {
    let op = TestProvider::start().await;
    let mut config = op.state().config.database.clone();
    config.max_connections = 1;
    let pool = riley_auth::db::connect(&config).unwrap();
    for round in 0..200 {
        sqlx::query("SELECT 1").execute(&pool).await.unwrap();
        let mut beginning = Box::pin(pool.begin());
        // Dropped at every step of its way: after so many polls, and answers that had time to come.
        for _ in 0..=round % 4 {
            tokio::select! {
                biased;
                begun = &mut beginning => drop(begun.unwrap()),
                () = tokio::time::sleep(Duration::from_micros(50 * (round / 8))) => continue,
            }
            break;
        }
        drop(beginning);
        let name = format!("name{round}");
        sqlx::query("INSERT INTO reserved_usernames VALUES ($1, now())")
            .bind(&name)
            .execute(&pool)
            .await
            .unwrap();
        let is_there: bool =
            sqlx::query_scalar("SELECT EXISTS (SELECT FROM reserved_usernames WHERE username_folded = $1)")
                .bind(&name)
                .fetch_one(op.db())
                .await
                .unwrap();
        assert!(is_there, "round {round}: it was answered, and is not committed");
    }
}
