//! Accounts as administrators see them: found by several marks, with what hangs on them, disabled ones included.

use sqlx::PgExecutor;
use time::OffsetDateTime;

use crate::db::Transaction;
use crate::protocol::ids::UserId;

/// A live account, disabled or not.
#[derive(Clone, Debug)]
pub struct Account {
    pub user_id: UserId,
    pub username: String,
    pub display_name: Option<String>,
    pub picture: Option<String>,
    pub role: String,
    pub created_at: OffsetDateTime,
    pub updated_at: OffsetDateTime,
    pub disabled_at: Option<OffsetDateTime>,
}

/// What is looked for; what is `None` does not matter.
#[derive(Clone, Debug, Default)]
pub struct AccountFilter<'a> {
    /// The beginning of a name, folded.
    pub username_prefix: Option<&'a str>,
    pub user_id: Option<UserId>,
    /// An address that some provider named, normalised.
    pub email_folded: Option<&'a str>,
    pub role: Option<&'a str>,
    pub disabled: Option<bool>,
}

/// The order of a list, and where a page of it begins.
#[derive(Clone, Debug)]
pub enum Position {
    /// From the newest account to the oldest.
    Newest(Option<(OffsetDateTime, UserId)>),
    /// By folded names, in the order of their bytes.
    Username(Option<(String, UserId)>),
}

/// The live account of this id.
pub async fn find(db: impl PgExecutor<'_>, user_id: UserId) -> sqlx::Result<Option<Account>> {
    sqlx::query_as!(
        Account,
        r#"
        SELECT user_id AS "user_id: _", username AS "username!", display_name, picture, role, created_at, updated_at, disabled_at
        FROM users
        WHERE user_id = $1
          AND deleted_at IS NULL
        "#,
        user_id as _,
    )
    .fetch_optional(db)
    .await
}

/// The live account of this name, folded.
pub async fn find_by_username(
    db: impl PgExecutor<'_>,
    username_folded: &str,
) -> sqlx::Result<Option<Account>> {
    sqlx::query_as!(
        Account,
        r#"
        SELECT user_id AS "user_id: _", username AS "username!", display_name, picture, role, created_at, updated_at, disabled_at
        FROM users
        WHERE username_folded = $1
          AND deleted_at IS NULL
        "#,
        username_folded,
    )
    .fetch_optional(db)
    .await
}

/// The live account of this id, its row locked until `tx` ends. Administrators are locked before it
/// ([`super::users::lock_admins`]) where that matters.
pub async fn lock(tx: &mut Transaction, user_id: UserId) -> sqlx::Result<Option<Account>> {
    sqlx::query_as!(
        Account,
        r#"
        SELECT user_id AS "user_id: _", username AS "username!", display_name, picture, role, created_at, updated_at, disabled_at
        FROM users
        WHERE user_id = $1
          AND deleted_at IS NULL
        FOR NO KEY UPDATE
        "#,
        user_id as _,
    )
    .fetch_optional(&mut **tx)
    .await
}

/// Gives a locked account another role.
pub async fn set_role(
    tx: &mut Transaction,
    user_id: UserId,
    role: &str,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE users SET role = $2, updated_at = $3 WHERE user_id = $1",
        user_id as _,
        role,
        now,
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Disables a locked account, or with `None` enables it.
pub async fn set_disabled(
    tx: &mut Transaction,
    user_id: UserId,
    disabled_at: Option<OffsetDateTime>,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE users SET disabled_at = $2, updated_at = $3 WHERE user_id = $1",
        user_id as _,
        disabled_at,
        now,
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// A page of the live accounts that fit.
pub async fn search(
    tx: &mut Transaction,
    filter: &AccountFilter<'_>,
    position: &Position,
    limit: i64,
) -> sqlx::Result<Vec<Account>> {
    // A plan that serves every combination of filters would walk through the whole table.
    sqlx::query!("SELECT set_config('plan_cache_mode', 'force_custom_plan', true) AS mode")
        .fetch_one(&mut **tx)
        .await?;
    match position {
        Position::Newest(after) => search_newest(tx, filter, *after, limit).await,
        Position::Username(after) => search_by_username(tx, filter, after.as_ref(), limit).await,
    }
}

async fn search_newest(
    tx: &mut Transaction,
    filter: &AccountFilter<'_>,
    after: Option<(OffsetDateTime, UserId)>,
    limit: i64,
) -> sqlx::Result<Vec<Account>> {
    sqlx::query_as!(
        Account,
        r#"
        SELECT user_id AS "user_id: _", username AS "username!", display_name, picture, role, created_at, updated_at, disabled_at
        FROM users
        WHERE deleted_at IS NULL
          AND ($1::text IS NULL
               OR username_folded COLLATE "C" >= $1 AND username_folded COLLATE "C" < $1 || chr(1114111))
          AND ($2::uuid IS NULL OR user_id = $2)
          AND ($3::text IS NULL OR user_id IN (SELECT l.user_id FROM oauth_links l WHERE l.email_folded = $3))
          AND ($4::text IS NULL OR role = $4)
          AND ($5::boolean IS NULL OR (disabled_at IS NOT NULL) = $5)
          AND ($6::timestamptz IS NULL OR (created_at, user_id) < ($6, $7))
        ORDER BY created_at DESC, user_id DESC
        LIMIT $8
        "#,
        filter.username_prefix,
        filter.user_id as _,
        filter.email_folded,
        filter.role,
        filter.disabled,
        after.map(|(created_at, _)| created_at),
        after.map(|(_, user_id)| user_id) as _,
        limit,
    )
    .fetch_all(&mut **tx)
    .await
}

async fn search_by_username(
    tx: &mut Transaction,
    filter: &AccountFilter<'_>,
    after: Option<&(String, UserId)>,
    limit: i64,
) -> sqlx::Result<Vec<Account>> {
    sqlx::query_as!(
        Account,
        r#"
        SELECT user_id AS "user_id: _", username AS "username!", display_name, picture, role, created_at, updated_at, disabled_at
        FROM users
        WHERE deleted_at IS NULL
          AND ($1::text IS NULL
               OR username_folded COLLATE "C" >= $1 AND username_folded COLLATE "C" < $1 || chr(1114111))
          AND ($2::uuid IS NULL OR user_id = $2)
          AND ($3::text IS NULL OR user_id IN (SELECT l.user_id FROM oauth_links l WHERE l.email_folded = $3))
          AND ($4::text IS NULL OR role = $4)
          AND ($5::boolean IS NULL OR (disabled_at IS NOT NULL) = $5)
          AND ($6::text IS NULL OR (username_folded COLLATE "C", user_id) > ($6, $7))
        ORDER BY username_folded COLLATE "C", user_id
        LIMIT $8
        "#,
        filter.username_prefix,
        filter.user_id as _,
        filter.email_folded,
        filter.role,
        filter.disabled,
        after.map(|(username, _)| username.as_str()),
        after.map(|(_, user_id)| *user_id) as _,
        limit,
    )
    .fetch_all(&mut **tx)
    .await
}
