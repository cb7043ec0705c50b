//! SQL and nothing else: one file per family of tables.
//!
//! A function is one statement (`impl PgExecutor<'_>`) or belongs inside a transaction (`&mut Transaction`), and its
//! signature says which. Time and randomness are arguments. Nothing here knows HTTP or policy.

use std::str::FromStr;
use std::sync::LazyLock;
use std::time::Duration;

use anyhow::Context;
use secrecy::ExposeSecret;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection as _, PgConnection};

use crate::config::database::{DatabaseConfig, Route};
use crate::protocol::ids::{ClientId, GrantId, LinkId, SessionId, UserId};
use crate::protocol::opaque::{Salt, TokenHash};
use crate::protocol::scope::ScopeSet;

pub mod accounts;
pub mod audit;
pub mod authorization_codes;
pub mod authorization_requests;
pub mod clients;
pub mod consents;
pub mod deletion;
pub mod deliveries;
pub mod error_reports;
pub mod events;
pub mod export;
pub mod grants;
pub mod inspection;
pub mod maintenance;
pub mod oauth_links;
pub mod pending_identities;
pub mod pool;
pub mod refresh_tokens;
pub mod reserved_usernames;
pub mod retry;
pub mod schema;
pub mod sessions;
pub mod signing_keys;
pub mod upstream_flows;
pub mod upstream_logout;
pub mod users;
pub mod webhooks;

pub use pool::{Connection, Pool, Transaction};

/// The migrations, compiled in. Newer ones that a database has are no error by themselves: [`schema::fit`] judges.
pub static MIGRATIONS: LazyLock<sqlx::migrate::Migrator> = LazyLock::new(|| {
    let mut migrations = sqlx::migrate!("./migrations");
    migrations.set_ignore_missing(true);
    migrations
});

/// A connection that was idle for longer than this is pinged before it is used, so that a restart of the database is
/// noticed without a ping on every request.
const PING_AFTER_IDLE: Duration = Duration::from_secs(1);
/// How long such a ping may take, and giving a connection back. Whoever is at its other end
/// may be gone without a word; the operating system notices after a quarter of an hour.
const CONNECTION_PATIENCE: Duration = Duration::from_secs(1);
/// How long a connection may be on its way back through a pooler, where the ping may have to wait for a session, as long as that
/// is set up for (`query_wait_timeout` of the guide is 3): what is closed meanwhile would have to sign in and prepare its
/// statements again, while sessions are few.
const POOLER_PATIENCE: Duration = Duration::from_secs(4);

/// Connections of the workers. A long clean-up or a burst of deliveries then takes no connection from requests, and requests
/// take none from them.
const BACKGROUND_CONNECTIONS: u32 = 2;
/// Of the deliveries; they listen on one more.
pub const DELIVERY_CONNECTIONS: u32 = 3;
/// What an instance may open beside `database.max_connections`: background work, deliveries, their listener, readiness.
pub const CONNECTIONS_BESIDE_THE_POOL: u32 = DIRECT_CONNECTIONS + 1;
/// Those of them that are direct: readiness goes the way of requests.
pub const DIRECT_CONNECTIONS: u32 = BACKGROUND_CONNECTIONS + DELIVERY_CONNECTIONS + 1;

/// Opens the pool for requests without waiting for a connection: the server starts while the database is away.
pub fn connect(config: &DatabaseConfig) -> anyhow::Result<Pool> {
    connect_as("riley-auth", Route::Pooled, config, config.max_connections, &[])
}

/// The same for commands, past a pooler.
pub fn connect_commands(config: &DatabaseConfig) -> anyhow::Result<Pool> {
    let name = "riley-auth-commands";
    connect_as(name, Route::Direct, config, config.max_connections, &[])
}

/// The same for everything that runs beside requests.
pub fn connect_background(config: &DatabaseConfig) -> anyhow::Result<Pool> {
    connect_workers(config, BACKGROUND_CONNECTIONS)
}

/// The same for workers, which take no connection from requests and have a name of their own in `pg_stat_activity`.
pub fn connect_workers(config: &DatabaseConfig, max_connections: u32) -> anyhow::Result<Pool> {
    connect_as("riley-auth-workers", Route::Direct, config, max_connections, &[])
}

/// The same for those who deliver. Their few statements find everything by an index: a plan that was made while the table of
/// deliveries was small must not read all of it once much waits there, and is not made anew for each claim.
pub fn connect_deliveries(config: &DatabaseConfig, max_connections: u32) -> anyhow::Result<Pool> {
    const SETTINGS: Settings = &[
        ("plan_cache_mode", "force_generic_plan"),
        ("enable_seqscan", "off"),
        // What cannot do without reading a table is charged so much for it that it would be compiled.
        ("jit", "off"),
    ];
    connect_as(
        "riley-auth-workers",
        Route::Direct,
        config,
        max_connections,
        SETTINGS,
    )
}

/// What is set in a session, by name. Not asked for at its start: a pooler, which has to be told of each name, may hand sessions
/// out whole, so that it is nobody's business but ours.
type Settings = &'static [(&'static str, &'static str)];

fn connect_as(
    application_name: &str,
    route: Route,
    config: &DatabaseConfig,
    max_connections: u32,
    settings: Settings,
) -> anyhow::Result<Pool> {
    let options = connection_options(application_name, route, config)?;
    let is_our_session = route == Route::Direct || config.direct_url.is_none();
    let patience = if is_our_session {
        CONNECTION_PATIENCE
    } else {
        POOLER_PATIENCE
    };
    let pool = PgPoolOptions::new()
        .max_connections(max_connections)
        .acquire_timeout(Duration::from_secs(config.acquire_timeout_secs))
        .test_before_acquire(false)
        .after_connect(move |connection, _| {
            Box::pin(async move {
                if is_our_session {
                    end_what_nobody_waits_for(connection).await?;
                }
                set(connection, settings).await
            })
        })
        .before_acquire(|connection, metadata| {
            Box::pin(async move {
                if metadata.idle_for > PING_AFTER_IDLE {
                    in_time(CONNECTION_PATIENCE, connection.ping()).await?;
                }
                Ok(true)
            })
        })
        .connect_lazy_with(options);
    Ok(Pool::new(pool, patience))
}

/// Sets these for as long as the session lasts.
async fn set(connection: &mut PgConnection, settings: &[(&str, &str)]) -> sqlx::Result<()> {
    for (name, value) in settings {
        sqlx::query!("SELECT set_config($1, $2, false)", name, value)
            .fetch_one(&mut *connection)
            .await?;
    }
    Ok(())
}

/// Lets PostgreSQL look every second whether somebody still waits for what it does. Otherwise those who hang up on a slow
/// database leave statements behind that go on for nobody, each with a connection beyond those of the pool. Some platforms
/// cannot look (PostgreSQL 14 but on Linux), and say so.
async fn end_what_nobody_waits_for(connection: &mut PgConnection) -> sqlx::Result<()> {
    match set(connection, &[("client_connection_check_interval", "1s")]).await {
        Err(sqlx::Error::Database(_)) => Ok(()),
        done => done,
    }
}

/// The limits of time that every connection has: what hangs is ended by the database. A pooler in transaction mode does not
/// hand them on; then the role has to have them, which `validate` looks at.
pub const TIME_LIMITS: [(&str, &str); 3] = [
    ("statement_timeout", "5s"),
    ("lock_timeout", "2s"),
    ("idle_in_transaction_session_timeout", "10s"),
];

/// How every connection is opened: with limits of time, and a name in `pg_stat_activity`.
pub fn connection_options(
    application_name: &str,
    route: Route,
    config: &DatabaseConfig,
) -> anyhow::Result<PgConnectOptions> {
    let (key, url) = config.url_by(route);
    let options = PgConnectOptions::from_str(url.expose_secret())
        .with_context(|| format!("{key} is not a PostgreSQL connection URL"))?;
    Ok(options
        .application_name(application_name)
        .options(TIME_LIMITS)
        .options([("timezone", "UTC")]))
}

/// What a statement or a transaction comes to, unless that takes longer: then it is dropped, and its connection with it.
pub async fn in_time<T>(
    patience: Duration,
    statement: impl Future<Output = sqlx::Result<T>>,
) -> sqlx::Result<T> {
    let elapsed = |_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()));
    tokio::time::timeout(patience, statement)
        .await
        .unwrap_or_else(elapsed)
}

/// Lets what follows in `tx` take longer than a statement usually may.
pub async fn allow_time(tx: &mut Transaction, secs: u32) -> sqlx::Result<()> {
    let timeout = format!("{secs}s");
    crate::patience::extend(Duration::from_secs(u64::from(secs) + 1));
    sqlx::query!(
        r#"
        SELECT set_config('statement_timeout', $1, true) AS statement_timeout,
               set_config('lock_timeout', $1, true) AS lock_timeout
        "#,
        timeout,
    )
    .fetch_one(&mut **tx)
    .await?;
    Ok(())
}

/// Whether `error` is the violation of the constraint or unique index of this name.
pub fn violates(error: &sqlx::Error, constraint: &str) -> bool {
    error.as_database_error().and_then(|error| error.constraint()) == Some(constraint)
}

/// The column encoding of a newtype of [`crate::protocol`], so that the rules know nothing of sqlx.
macro_rules! column_type {
    ($type:ty, $column:ty, |$value:ident| $encode:expr, |$raw:ident| $decode:expr) => {
        impl sqlx::Type<sqlx::Postgres> for $type {
            fn type_info() -> sqlx::postgres::PgTypeInfo {
                <$column as sqlx::Type<sqlx::Postgres>>::type_info()
            }

            fn compatible(ty: &sqlx::postgres::PgTypeInfo) -> bool {
                <$column as sqlx::Type<sqlx::Postgres>>::compatible(ty)
            }
        }

        impl sqlx::Encode<'_, sqlx::Postgres> for $type {
            fn encode_by_ref(
                &self,
                buffer: &mut sqlx::postgres::PgArgumentBuffer,
            ) -> Result<sqlx::encode::IsNull, sqlx::error::BoxDynError> {
                let $value = self;
                <$column as sqlx::Encode<sqlx::Postgres>>::encode($encode, buffer)
            }
        }

        impl sqlx::Decode<'_, sqlx::Postgres> for $type {
            fn decode(value: sqlx::postgres::PgValueRef<'_>) -> Result<Self, sqlx::error::BoxDynError> {
                let $raw = <$column as sqlx::Decode<sqlx::Postgres>>::decode(value)?;
                $decode
            }
        }

        impl sqlx::postgres::PgHasArrayType for $type {
            fn array_type_info() -> sqlx::postgres::PgTypeInfo {
                <$column as sqlx::postgres::PgHasArrayType>::array_type_info()
            }
        }
    };
}

column_type!(ClientId, String, |value| value.0.clone(), |raw| Ok(Self(raw)));
column_type!(UserId, uuid::Uuid, |value| value.0, |raw| Ok(Self(raw)));
column_type!(SessionId, uuid::Uuid, |value| value.0, |raw| Ok(Self(raw)));
column_type!(GrantId, uuid::Uuid, |value| value.0, |raw| Ok(Self(raw)));
column_type!(LinkId, uuid::Uuid, |value| value.0, |raw| Ok(Self(raw)));
column_type!(TokenHash, Vec<u8>, |value| value.0.to_vec(), |raw| Ok(Self(
    raw.try_into().map_err(|_| "a hash has 32 bytes")?
)));
column_type!(Salt, Vec<u8>, |value| value.0.to_vec(), |raw| Ok(Self(
    raw.try_into().map_err(|_| "a salt has 32 bytes")?
)));
column_type!(ScopeSet, String, |value| value.to_string(), |raw| Ok(
    Self::parse(&raw)?
));
