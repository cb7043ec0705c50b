//! A database of its own for every test, cloned from a template that is migrated once.
//!
//! Without `DATABASE_URL` the test process runs a private PostgreSQL, which vanishes with the process. With it, that
//! server is used, and nothing but databases whose names start with [`PREFIX`] is ever created or dropped there.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use riley_auth::dev::postgres::PrivatePostgres;
use sqlx::migrate::Migrator;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection, Executor};
use tokio::sync::Semaphore;
use url::Url;

/// What the names of all databases of the tests start with.
pub(crate) const PREFIX: &str = "riley_auth_test_";

static MIGRATOR: Migrator = sqlx::migrate!("./migrations");

/// Clones made at the same time. Copying files gains nothing from more, and a foreign server has few connections.
static CLONING: Semaphore = Semaphore::const_new(4);

/// Held while the template is looked at or made, since several test processes may share a foreign server.
const TEMPLATE_LOCK: i64 = 0x7269_6c65_795f_7465;

/// `object_in_use`: somebody is connected to the template, such as the server's own statistics worker.
const OBJECT_IN_USE: &str = "55006";

/// A migrated, empty database that belongs to one test and is dropped with this value.
pub(crate) struct TestDatabase {
    pub(crate) url: String,
    pub(crate) name: String,
}

impl TestDatabase {
    /// Clones the template. Any number of tests may do so at once, each on a runtime of its own.
    pub(crate) async fn create() -> Self {
        let server = tokio::task::spawn_blocking(TestServer::get)
            .await
            .expect("the test server starts");
        let name = format!("{PREFIX}{}", uuid::Uuid::new_v4().simple());
        let _permit = CLONING.acquire().await.expect("the semaphore is never closed");
        server.clone_template(&name).await;
        Self {
            url: server.url(&name),
            name,
        }
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        TestServer::get().drop_database(std::mem::take(&mut self.name));
    }
}

/// The server of this test process.
struct TestServer {
    /// Of a database to be connected to while others are made and dropped.
    admin_url: Url,
    template: String,
    strategy: &'static str,
    janitor: Mutex<Sender<Errand>>,
    /// `None` with `DATABASE_URL`. Never dropped, as statics are not: the end of the process stops it.
    private: Option<PrivatePostgres>,
}

/// A database to drop, and whom to tell.
struct Errand {
    name: String,
    done: Sender<()>,
}

impl TestServer {
    /// The server, started at the first call. Blocks; not to be called from a runtime's own thread that first time.
    fn get() -> &'static Self {
        static SERVER: OnceLock<TestServer> = OnceLock::new();
        SERVER.get_or_init(|| {
            let database_url = std::env::var("DATABASE_URL").ok().filter(|url| !url.is_empty());
            let private = database_url
                .is_none()
                .then(|| PrivatePostgres::start_for_tests().expect("a private PostgreSQL for the tests"));
            let admin_url = database_url
                .or_else(|| Some(private.as_ref()?.url("postgres")))
                .expect("one of both");
            let admin_url = Url::parse(&admin_url).expect("DATABASE_URL is a URL");
            // A thread of its own, because whoever calls may be inside a runtime already.
            let url = admin_url.clone();
            let prepared = std::thread::spawn(move || runtime().block_on(prepare_template(&url)));
            let (template, strategy) = prepared.join().expect("the template is made");
            let (janitor, errands) = channel();
            let url = admin_url.clone();
            std::thread::spawn(move || runtime().block_on(drop_databases(&url, &errands)));
            Self {
                admin_url,
                template,
                strategy,
                janitor: Mutex::new(janitor),
                private,
            }
        })
    }

    fn url(&self, database: &str) -> String {
        url_of(&self.admin_url, database)
    }

    async fn clone_template(&self, name: &str) {
        require_prefix(name);
        let statement = format!(
            "create database {name} template {}{}",
            self.template, self.strategy
        );
        let mut connection = PgConnection::connect(self.admin_url.as_str())
            .await
            .expect("the server answers");
        loop {
            match connection.execute(AssertSqlSafe(statement.clone())).await {
                Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(OBJECT_IN_USE) => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                result => {
                    result.expect("the template can be cloned");
                    break;
                }
            }
        }
        connection.close().await.expect("the connection closes");
    }

    /// Lets the janitor drop a database. On a foreign server waits for it, so that the last one goes, too.
    fn drop_database(&self, name: String) {
        let (done, wait) = channel();
        let sent = self
            .janitor
            .lock()
            .is_ok_and(|janitor| janitor.send(Errand { name, done }).is_ok());
        if sent && self.private.is_none() {
            // It fails when the janitor has gone, and then there is nobody to wait for.
            let _ = wait.recv();
        }
    }
}

/// The name of the migrated template and the clause that copies it fastest.
///
/// The name tells which migrations are in it, so that test processes on a foreign server share it and keep it.
async fn prepare_template(admin_url: &Url) -> (String, &'static str) {
    let template = format!("{PREFIX}template_{}", migrations_fingerprint());
    let mut admin = PgConnection::connect(admin_url.as_str())
        .await
        .expect("the database server answers");
    let lock = sqlx::query("select pg_advisory_lock($1)").bind(TEMPLATE_LOCK);
    lock.execute(&mut admin).await.expect("the lock is granted");
    // Only a whole one bears the attribute: it is set after the migrations.
    let whole: bool =
        sqlx::query_scalar("select exists (select from pg_database where datname = $1 and datistemplate)")
            .bind(&template)
            .fetch_one(&mut admin)
            .await
            .expect("the list of databases can be read");
    if !whole {
        make_template(&mut admin, admin_url, &template).await;
    }
    let version: i32 = sqlx::query_scalar("select current_setting('server_version_num')::int")
        .fetch_one(&mut admin)
        .await
        .expect("the server tells its version");
    admin.close().await.expect("the connection closes");
    // Up to version 14 copying the files was the only way, and had no name.
    (
        template,
        if version >= 150_000 {
            " strategy file_copy"
        } else {
            ""
        },
    )
}

async fn make_template(admin: &mut PgConnection, admin_url: &Url, template: &str) {
    require_prefix(template);
    for statement in [
        format!("drop database if exists {template} with (force)"),
        format!("create database {template} template template0"),
    ] {
        admin
            .execute(AssertSqlSafe(statement))
            .await
            .expect("DATABASE_URL's role may create databases");
    }
    let mut connection = PgConnection::connect(&url_of(admin_url, template))
        .await
        .expect("the template answers");
    MIGRATOR.run(&mut connection).await.expect("the migrations run");
    connection.close().await.expect("the connection closes");
    // Nobody may be connected to a database while it is cloned.
    let finish = format!("alter database {template} with is_template true allow_connections false");
    admin
        .execute(AssertSqlSafe(finish))
        .await
        .expect("the template is ours");
}

/// Drops what it is told to until the process ends.
async fn drop_databases(admin_url: &Url, errands: &Receiver<Errand>) {
    while let Ok(Errand { name, done }) = errands.recv() {
        require_prefix(&name);
        let statement = format!("drop database if exists {name} with (force)");
        // A connection for each: an idle one would be lost with a server that restarts. Failing leaves a database with
        // our prefix behind, which is no reason to fail a test that has passed.
        if let Ok(mut connection) = PgConnection::connect(admin_url.as_str()).await {
            let _ = connection.execute(AssertSqlSafe(statement)).await;
            let _ = connection.close().await;
        }
        let _ = done.send(());
    }
}

/// Nothing of anybody else's is ever created or dropped. The rest of the name needs no quoting in SQL.
fn require_prefix(name: &str) {
    let rest = name
        .strip_prefix(PREFIX)
        .expect("a database of the tests bears their prefix");
    assert!(
        rest.bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    );
}

fn migrations_fingerprint() -> String {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    for migration in MIGRATOR.iter() {
        context.update(&migration.version.to_be_bytes());
        context.update(&migration.checksum);
    }
    let digest = context.finish();
    let start = digest.as_ref().first_chunk().expect("a digest has 32 bytes");
    format!("{:016x}", u64::from_be_bytes(*start))
}

fn url_of(admin_url: &Url, database: &str) -> String {
    let mut url = admin_url.clone();
    url.set_path(database);
    url.into()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be made")
}
