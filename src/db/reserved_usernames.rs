//! Names that an administrator reserved: `reserved_usernames`. Those of the configuration stand there.

use sqlx::PgExecutor;
use time::OffsetDateTime;

use crate::db::Transaction;

/// A name that nobody may take.
#[derive(Clone, Debug)]
pub struct ReservedUsername {
    /// As [`crate::usernames::fold`] makes it.
    pub username_folded: String,
    pub created_at: OffsetDateTime,
}

/// A page of the names, in the order of their bytes.
pub async fn page(
    db: impl PgExecutor<'_>,
    after: Option<&str>,
    limit: i64,
) -> sqlx::Result<Vec<ReservedUsername>> {
    sqlx::query_as!(
        ReservedUsername,
        r#"
        SELECT username_folded, created_at
        FROM reserved_usernames
        WHERE $1::text IS NULL OR username_folded COLLATE "C" > $1
        ORDER BY username_folded COLLATE "C"
        LIMIT $2
        "#,
        after,
        limit,
    )
    .fetch_all(db)
    .await
}

/// Reserves a name. `false`: it was reserved before.
pub async fn insert(tx: &mut Transaction, username_folded: &str, now: OffsetDateTime) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "INSERT INTO reserved_usernames (username_folded, created_at) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        username_folded,
        now,
    )
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Lets a name be taken again. `false`: it was not reserved.
pub async fn delete(tx: &mut Transaction, username_folded: &str) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "DELETE FROM reserved_usernames WHERE username_folded = $1",
        username_folded,
    )
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected() == 1)
}
