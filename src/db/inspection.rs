//! What `riley-auth validate` asks a database as a whole: its server, its role, its privileges, its clock.

use sqlx::PgExecutor;
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
