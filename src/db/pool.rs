//! The pool of connections, and transactions on them, that outlive whoever goes away in the middle.
//!
//! A request may be dropped at any moment, and the database's host may vanish without a word. sqlx 0.9 answers neither well: a
//! BEGIN that nobody waits for any more is forgotten, so that the connection goes back within its transaction and what is
//! written by it next is never committed; and the ping with which a connection comes back has no limit, so that it holds its
//! place until TCP gives up, for a quarter of an hour. So connections are borrowed from sqlx's pool here and given back here:
//! rolled back if a transaction may be open, within a moment, or closed.

use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::time::Duration;

use futures_util::stream::{self, Stream, StreamExt as _, TryStreamExt as _};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgListener, PgQueryResult, PgRow, PgStatement, PgTypeInfo};
use sqlx::{Describe, Either, Execute, Executor, PgConnection, PgPool, Postgres, SqlStr};
use tokio::time::timeout;

use super::CONNECTION_PATIENCE;

/// What is said of a connection by code that has it until it is dropped.
const HELD: &str = "a connection is held until it is dropped";

/// Connections of one name and purpose. A reference to it executes single statements.
#[derive(Clone, Debug)]
pub struct Pool {
    pool: PgPool,
    patience: Duration,
}

impl From<PgPool> for Pool {
    fn from(pool: PgPool) -> Self {
        Self::new(pool, CONNECTION_PATIENCE)
    }
}

impl Pool {
    /// `patience`: how long giving a connection back may take.
    pub(super) fn new(pool: PgPool, patience: Duration) -> Self {
        Self { pool, patience }
    }

    /// A connection of the caller's own, until it is dropped.
    pub async fn acquire(&self) -> sqlx::Result<Connection> {
        Ok(Connection {
            lent: Lent(Some(self.pool.acquire().await?)),
            patience: self.patience,
            in_transaction: false,
        })
    }

    /// Begins a transaction, which is rolled back unless it is committed.
    pub async fn begin(&self) -> sqlx::Result<Transaction> {
        let mut connection = self.acquire().await?;
        // Before anything is sent: whoever goes away now cannot know how much of it arrives.
        connection.in_transaction = true;
        sqlx::raw_sql("BEGIN").execute(&mut *connection).await?;
        Ok(Transaction(connection))
    }

    /// Listens on a connection of this pool, which sqlx gives back in its own way: the pool should be the listener's alone.
    pub async fn listener(&self) -> sqlx::Result<PgListener> {
        PgListener::connect_with(&self.pool).await
    }

    /// Closes all connections, once they are back.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// How its connections are opened.
    pub fn connect_options(&self) -> PgConnectOptions {
        (*self.pool.connect_options()).clone()
    }

    /// Whether [`Self::close`] was called.
    pub fn is_closed(&self) -> bool {
        self.pool.is_closed()
    }

    /// How many connections are open, or being opened.
    pub fn size(&self) -> u32 {
        self.pool.size()
    }

    /// How many of them nobody has.
    pub fn idle(&self) -> u32 {
        u32::try_from(self.pool.num_idle()).unwrap_or(u32::MAX)
    }

    /// How many there may be.
    pub fn max_connections(&self) -> u32 {
        self.pool.options().get_max_connections()
    }
}

/// A connection that is closed where it stands unless somebody gives it back.
#[derive(Debug)]
struct Lent(Option<PoolConnection<Postgres>>);

impl Lent {
    /// Gives it back, or closes it: dropped anywhere on the way, it is closed.
    async fn give_back(mut self, in_transaction: bool) {
        if in_transaction {
            let connection = self.0.as_deref_mut().expect(HELD);
            // It has its session, so nobody waits for one here.
            let rolled_back = timeout(CONNECTION_PATIENCE, sqlx::raw_sql("ROLLBACK").execute(connection));
            if !matches!(rolled_back.await, Ok(Ok(_))) {
                return;
            }
        }
        // From here on the future has it.
        let given_back = self.0.as_mut().expect(HELD).return_to_pool();
        self.0 = None;
        given_back.await;
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // By itself it would ask the other end once more.
        drop(self.0.take().map(PoolConnection::detach));
    }
}

/// A connection that is given back when it is dropped.
#[derive(Debug)]
pub struct Connection {
    lent: Lent,
    /// How long giving it back may take.
    patience: Duration,
    /// Whether a transaction may be open.
    in_transaction: bool,
}

impl Deref for Connection {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        self.lent.0.as_deref().expect(HELD)
    }
}

impl DerefMut for Connection {
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.lent.0.as_deref_mut().expect(HELD)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let lent = Lent(self.lent.0.take());
        // Without a runtime, as at the end of a program, nobody needs it any more.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            // Nobody may be at its other end any more.
            runtime.spawn(timeout(self.patience, lent.give_back(self.in_transaction)));
        }
    }
}

/// What is done as a whole: dropped before it is committed, it is rolled back.
#[derive(Debug)]
pub struct Transaction(Connection);

impl Transaction {
    /// Makes everything durable that was done in it. On an error nobody knows whether it is.
    pub async fn commit(mut self) -> sqlx::Result<()> {
        sqlx::raw_sql("COMMIT").execute(&mut *self.0).await?;
        self.0.in_transaction = false;
        Ok(())
    }

    /// Undoes everything that was done in it, and waits for it.
    pub async fn rollback(mut self) -> sqlx::Result<()> {
        sqlx::raw_sql("ROLLBACK").execute(&mut *self.0).await?;
        self.0.in_transaction = false;
        Ok(())
    }

    /// Begins a part that can be undone alone, with the locks that it takes. There is one at a time.
    pub async fn set_savepoint(&mut self) -> sqlx::Result<()> {
        sqlx::raw_sql("SAVEPOINT part").execute(&mut *self.0).await?;
        Ok(())
    }

    /// Ends the part, and keeps what it did.
    pub async fn release_savepoint(&mut self) -> sqlx::Result<()> {
        sqlx::raw_sql("RELEASE SAVEPOINT part")
            .execute(&mut *self.0)
            .await?;
        Ok(())
    }

    /// Ends the part, and undoes it.
    pub async fn rollback_to_savepoint(&mut self) -> sqlx::Result<()> {
        sqlx::raw_sql("ROLLBACK TO SAVEPOINT part; RELEASE SAVEPOINT part")
            .execute(&mut *self.0)
            .await?;
        Ok(())
    }
}

impl Deref for Transaction {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.0
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.0
    }
}

type Boxed<'e, T> = Pin<Box<dyn Future<Output = sqlx::Result<T>> + Send + 'e>>;

/// A single statement, on a connection that is given back as all are. Rows are gathered before the first one is handed out.
impl<'p> Executor<'p> for &Pool {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> Pin<Box<dyn Stream<Item = sqlx::Result<Either<PgQueryResult, PgRow>>> + Send + 'e>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let pool = self.clone();
        let gathered = async move {
            let mut connection = pool.acquire().await?;
            connection.fetch_many(query).try_collect::<Vec<_>>().await
        };
        let rows = stream::once(gathered).map_ok(|rows| stream::iter(rows).map(Ok));
        Box::pin(rows.try_flatten())
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> Boxed<'e, Option<PgRow>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let pool = self.clone();
        Box::pin(async move { pool.acquire().await?.fetch_optional(query).await })
    }

    fn prepare_with<'e>(self, sql: SqlStr, parameters: &'e [PgTypeInfo]) -> Boxed<'e, PgStatement>
    where
        'p: 'e,
    {
        let pool = self.clone();
        Box::pin(async move { pool.acquire().await?.prepare_with(sql, parameters).await })
    }

    fn describe<'e>(self, sql: SqlStr) -> Boxed<'e, Describe<Postgres>>
    where
        'p: 'e,
    {
        let pool = self.clone();
        Box::pin(async move { pool.acquire().await?.describe(sql).await })
    }
}
