//! Which database `riley-auth dev` uses: its own private server, or the one of `DATABASE_URL` if that is safe.
//!
//! A variable left over in a shell may name a production database. So `dev` takes a foreign database only when it is
//! empty, marks it, and from then on recognises it by that mark; it never wipes one that it did not create.

use std::path::Path;
use std::str::FromStr;

use anyhow::{Context, bail};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Connection, Executor};

use super::postgres::PrivatePostgres;

/// The database that `dev` creates on its private server.
const DATABASE: &str = "riley_auth";

/// Held while a database is judged and marked, so that two starts do not both find it empty. Any constant will do.
const MARKING_LOCK: i64 = 0x7269_6c65_795f_6465;

/// Whether somebody's things are in the database: relations, functions, types of their own and large objects, apart from
/// those of the system and of extensions (which providers of databases install beforehand).
const HAS_CONTENT: &str = "
    select exists (
        select 1
        from (
            select oid, relnamespace as namespace, 'pg_class'::regclass as catalog from pg_class
            union all
            select oid, pronamespace, 'pg_proc'::regclass from pg_proc
            union all
            select oid, typnamespace, 'pg_type'::regclass from pg_type where typtype in ('d', 'e', 'r')
        ) thing
        join pg_namespace on pg_namespace.oid = thing.namespace
        where pg_namespace.nspname !~ '^pg_'
          and pg_namespace.nspname <> 'information_schema'
          and not exists (
              select 1
              from pg_depend
              where pg_depend.classid = thing.catalog and pg_depend.objid = thing.oid and pg_depend.deptype = 'e'
          )
    ) or exists (select 1 from pg_largeobject_metadata)";

const HAS_MARK: &str = "
    select exists (
        select 1
        from pg_class
        join pg_namespace on pg_namespace.oid = pg_class.relnamespace
        where pg_class.relname = 'riley_auth_dev_mark'
          and pg_class.relkind = 'r'
          and pg_namespace.nspname !~ '^pg_'
    )";

const MAKE_MARK: &str = "create table riley_auth_dev_mark (explanation text not null)";
const EXPLAIN_MARK: &str = "
    insert into riley_auth_dev_mark (explanation)
    values ('This database was empty when riley-auth dev took it, and is its to use.')";

/// The database of one run of `riley-auth dev`. A private server stops when this is dropped.
pub struct DevDatabase {
    url: String,
    private: Option<PrivatePostgres>,
}

impl DevDatabase {
    /// `dev`'s database on its private server, created at the first start.
    pub async fn on_private(private: PrivatePostgres) -> anyhow::Result<Self> {
        let admin_url = private.url("postgres");
        let mut connection = PgConnection::connect(&admin_url)
            .await
            .context("connect to the private PostgreSQL")?;
        let exists: bool = sqlx::query_scalar("select exists (select 1 from pg_database where datname = $1)")
            .bind(DATABASE)
            .fetch_one(&mut connection)
            .await?;
        if !exists {
            connection.execute("create database riley_auth").await?;
        }
        connection.close().await?;
        Ok(Self {
            url: private.url(DATABASE),
            private: Some(private),
        })
    }

    /// How to connect, password included: not for logs.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where the private server keeps its data; `None` for a database of `DATABASE_URL`.
    pub fn directory(&self) -> Option<&Path> {
        self.private.as_ref().map(PrivatePostgres::directory)
    }

    /// Stops the private server, if there is one, and waits until it is gone.
    pub async fn stop(self) -> anyhow::Result<()> {
        match self.private {
            Some(private) => private.stop().await,
            None => Ok(()),
        }
    }
}

/// The database for `dev`: that of `database_url` if there is one and it is empty or marked as ours, else a private
/// server's. `fresh` empties the private one; with a `database_url` it is refused.
pub async fn choose_database(database_url: Option<&str>, fresh: bool) -> anyhow::Result<DevDatabase> {
    match database_url.filter(|url| !url.is_empty()) {
        Some(_) if fresh => bail!(
            "--fresh never touches a database that `dev` did not create; unset DATABASE_URL to wipe dev's own, or make \
             a new empty database yourself"
        ),
        Some(url) => {
            take_foreign(url).await?;
            Ok(DevDatabase {
                url: url.to_owned(),
                private: None,
            })
        }
        None => DevDatabase::on_private(PrivatePostgres::start_for_dev(fresh).await?).await,
    }
}

/// Marks the database of `url` as `dev`'s if it is empty; refuses one that is neither empty nor marked.
async fn take_foreign(url: &str) -> anyhow::Result<()> {
    // The error would repeat parts of the URL, which holds a password.
    let options = PgConnectOptions::from_str(url).ok().context(
        "DATABASE_URL is not a PostgreSQL URL (postgres://user:password@host:port/database); mend or unset it",
    )?;
    let mut connection = PgConnection::connect_with(&options)
        .await
        .context("connect to the database of DATABASE_URL (unset it to use a private PostgreSQL)")?;
    let mut tx = connection.begin().await?;
    sqlx::query("select pg_advisory_xact_lock($1)")
        .bind(MARKING_LOCK)
        .execute(&mut *tx)
        .await?;
    let marked: bool = sqlx::query_scalar(HAS_MARK).fetch_one(&mut *tx).await?;
    if !marked {
        if sqlx::query_scalar(HAS_CONTENT).fetch_one(&mut *tx).await? {
            bail!(
                "the database of DATABASE_URL is not empty and was not made by `dev`, so it is left alone; unset \
                 DATABASE_URL to use a private PostgreSQL, or let it name an empty database"
            );
        }
        tx.execute(MAKE_MARK)
            .await
            .context("mark the database of DATABASE_URL as dev's")?;
        tx.execute(EXPLAIN_MARK).await?;
    }
    tx.commit().await?;
    connection.close().await?;
    Ok(())
}
