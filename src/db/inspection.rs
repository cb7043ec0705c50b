//! What `riley-auth validate` asks a database as a whole: its server, its role, its privileges, its clock.

use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, PgExecutor};
use time::OffsetDateTime;

/// The server, and us as it sees us.
pub struct Inspection {
    /// As `server_version_num` has it: 150018 is 15.18.
    pub server_version: i32,
    /// A replica that takes no writes.
    pub is_replica: bool,
    pub encoding: String,
    /// Connections that the server admits in all, less those it keeps for superusers.
    pub connections: i32,
    /// `fsync`: whether what is committed survives a crash of the machine.
    pub is_durable: bool,
    pub is_superuser: bool,
    /// Whether this very connection is encrypted.
    pub is_encrypted: bool,
    /// Whether the two ends are on the same machine; a Unix socket counts.
    pub is_local: bool,
    /// The server's clock.
    pub now: OffsetDateTime,
}

/// Asks for everything in one statement.
pub async fn inspect(db: impl PgExecutor<'_>) -> sqlx::Result<Inspection> {
    sqlx::query_as!(
        Inspection,
        r#"
        SELECT current_setting('server_version_num')::int AS "server_version!",
               pg_is_in_recovery() AS "is_replica!",
               pg_encoding_to_char(encoding)::text AS "encoding!",
               current_setting('max_connections')::int
                   - current_setting('superuser_reserved_connections')::int AS "connections!",
               current_setting('fsync')::bool AS "is_durable!",
               coalesce((SELECT rolsuper FROM pg_roles WHERE rolname = current_user), false) AS "is_superuser!",
               coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false) AS "is_encrypted!",
               coalesce(inet_server_addr() = inet_client_addr(), true) AS "is_local!",
               clock_timestamp() AS "now!"
        FROM pg_database
        WHERE datname = current_database()
        "#,
    )
    .fetch_one(db)
    .await
}

/// What a pooler does to the sessions behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pooling {
    /// Two connections were given one and the same session, one after the other: a pooler in transaction mode.
    pub shares_sessions: bool,
    /// A statement that one connection prepared was not seen to get in the other's way.
    pub keeps_statements: bool,
}

/// Looks for a pooler with two connections: one that has been served leaves its session to the next, if there is a pooler
/// that lends them, and then what the one prepared there must not be in the other's way. Several times, since somebody else may
/// have taken it; a pooler that never lends the session that it was given last is not found.
pub async fn pooling(options: &PgConnectOptions, patience: Duration) -> sqlx::Result<Pooling> {
    let mut found = super::in_time(patience, pooling_once(options)).await?;
    for _ in 0..2 {
        if found.shares_sessions {
            break;
        }
        // It answers, but may be far away: to look again is worth that much and no more.
        let Ok(again) = super::in_time(patience / 5, pooling_once(options)).await else {
            break;
        };
        found = again;
    }
    Ok(found)
}

/// The same, looked for once.
pub async fn pooling_once(options: &PgConnectOptions) -> sqlx::Result<Pooling> {
    let (mut one, mut other) = (options.connect().await?, options.connect().await?);
    let pooling = match sessions(&mut one, &mut other).await {
        Ok((first, second)) => Pooling {
            shares_sessions: first == second,
            keeps_statements: true,
        },
        // Only somebody else can have prepared it under that name, or somewhere else.
        Err(error) if is_about_statements(&error) => Pooling {
            shares_sessions: true,
            keeps_statements: false,
        },
        Err(error) => return Err(error),
    };
    for connection in [one, other] {
        // What was asked is answered, and the connection is nobody's any more.
        let _ = connection.close().await;
    }
    Ok(pooling)
}

/// The numbers of the sessions that these connections have, one after the other. The second is held meanwhile.
async fn sessions(one: &mut PgConnection, other: &mut PgConnection) -> sqlx::Result<(i32, i32)> {
    let first = session(one).await?;
    let mut held = other.begin().await?;
    let second = session(&mut held).await?;
    held.rollback().await?;
    Ok((first, second))
}

async fn session(connection: &mut PgConnection) -> sqlx::Result<i32> {
    sqlx::query_scalar!(r#"SELECT pg_backend_pid() AS "session!""#)
        .fetch_one(connection)
        .await
}

/// Whether `error` is that of a prepared statement that is not there, or is there already.
pub fn is_about_statements(error: &sqlx::Error) -> bool {
    let code = error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code);
    matches!(code.as_deref(), Some("26000" | "42P05"))
}

/// Those of [`super::TIME_LIMITS`] that are not in force, by name.
pub async fn missing_time_limits(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<String>> {
    let names = super::TIME_LIMITS.map(|(name, _)| name.to_owned());
    sqlx::query_scalar!(
        r#"SELECT name AS "name!" FROM pg_settings WHERE name = ANY($1) AND setting = '0' ORDER BY name"#,
        &names,
    )
    .fetch_all(db)
    .await
}

/// What tells a database from every other one, and which table this role finds by the name `users`; `None` for what it may not
/// ask.
pub async fn identity(db: impl PgExecutor<'_>) -> Option<(i64, i64, Option<i64>)> {
    let found = sqlx::query!(
        r#"
        SELECT (SELECT system_identifier FROM pg_control_system()) AS "cluster!",
               (SELECT oid FROM pg_database WHERE datname = current_database())::bigint AS "database!",
               to_regclass('users')::oid::bigint AS users
        "#,
    );
    let found = found.fetch_one(db).await.ok()?;
    Some((found.cluster, found.database, found.users))
}

/// Whether this role may create tables where the migrations would.
pub async fn may_create_tables(db: impl PgExecutor<'_>) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"SELECT coalesce(has_schema_privilege(current_schema(), 'CREATE'), false) AS "may_create!""#
    )
    .fetch_one(db)
    .await
}

/// Whether this role may read which migrations there are; `None`: nobody has migrated yet.
pub async fn may_read_migrations(db: impl PgExecutor<'_>) -> sqlx::Result<Option<bool>> {
    sqlx::query_scalar!(
        r#"SELECT has_table_privilege(to_regclass('_sqlx_migrations'), 'SELECT') AS may_read"#
    )
    .fetch_one(db)
    .await
}

/// The tables and sequences that the server could not use fully as this role, by name.
pub async fn without_privileges(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar!(
        r#"
        SELECT relname::text AS "name!"
        FROM pg_class
        WHERE relnamespace = current_schema()::regnamespace
          AND relname NOT LIKE '\_sqlx%'
          AND CASE relkind
                  WHEN 'r' THEN NOT (has_table_privilege(oid, 'SELECT') AND has_table_privilege(oid, 'INSERT')
                                     AND has_table_privilege(oid, 'UPDATE') AND has_table_privilege(oid, 'DELETE'))
                  WHEN 'S' THEN NOT has_sequence_privilege(oid, 'USAGE')
                  ELSE false
              END
        ORDER BY relname
        "#,
    )
    .fetch_all(db)
    .await
}
