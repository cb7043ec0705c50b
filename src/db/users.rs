//! Accounts and the names nobody else may have: `users`, `held_usernames`, `reserved_usernames`.

use serde_json::{Map, Value};
use sqlx::types::Json;
use sqlx::{PgExecutor, PgTransaction};
use time::OffsetDateTime;

use crate::protocol::ids::UserId;

/// The unique index that two takers of one name meet at.
pub const USERNAME_TAKEN: &str = "users_username_folded_unique";

/// An account to be made.
pub struct NewUser<'a> {
    pub user_id: UserId,
    pub username: &'a str,
    /// As [`crate::usernames::fold`] makes it; never folded by the database, whose rules differ.
    pub username_folded: &'a str,
    pub display_name: Option<&'a str>,
    pub picture: Option<&'a str>,
    pub upstream_claims: &'a Map<String, Value>,
}

/// What is shown of a live account to its owner, and what the access cookie says.
#[derive(Clone, Debug)]
pub struct User {
    pub user_id: UserId,
    pub username: String,
    pub display_name: Option<String>,
    pub picture: Option<String>,
    pub role: String,
    pub created_at: OffsetDateTime,
}

/// Whether a name can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Availability {
    Free,
    /// A live account has it, or a former owner's hold is not over: which, nobody needs to know.
    Taken,
    /// An admin has reserved it.
    Reserved,
}

/// What a login brings along about an account.
pub struct UpstreamProfile<'a> {
    pub name: Option<&'a str>,
    pub picture: Option<&'a str>,
    /// Only claims that `[claims] passthrough` lists.
    pub claims: &'a Map<String, Value>,
    pub passthrough: &'a [String],
}

/// The live account of this id, disabled or not.
pub async fn find(db: impl PgExecutor<'_>, user_id: UserId) -> sqlx::Result<Option<User>> {
    sqlx::query_as!(
        User,
        r#"
        SELECT user_id AS "user_id: _", username AS "username!", display_name, picture, role, created_at
        FROM users
        WHERE user_id = $1
          AND deleted_at IS NULL
        "#,
        user_id as _,
    )
    .fetch_optional(db)
    .await
}

/// Whether `username_folded` can be had. One statement, hence one picture of the three tables: a name that is being given
/// up is either still its owner's or already held.
pub async fn username_availability(
    db: impl PgExecutor<'_>,
    username_folded: &str,
    now: OffsetDateTime,
) -> sqlx::Result<Availability> {
    let row = sqlx::query!(
        r#"
        SELECT EXISTS (SELECT FROM users WHERE username_folded = $1 AND deleted_at IS NULL)
               OR EXISTS (SELECT FROM held_usernames WHERE username_folded = $1 AND held_until > $2) AS "taken!",
               EXISTS (SELECT FROM reserved_usernames WHERE username_folded = $1) AS "reserved!"
        "#,
        username_folded,
        now,
    )
    .fetch_one(db)
    .await?;
    Ok(match (row.reserved, row.taken) {
        (true, _) => Availability::Reserved,
        (false, true) => Availability::Taken,
        (false, false) => Availability::Free,
    })
}

/// Those of `folded` that can be had, in no order.
pub async fn free_usernames(
    db: impl PgExecutor<'_>,
    folded: &[String],
    now: OffsetDateTime,
) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar!(
        r#"
        SELECT DISTINCT wanted.name AS "name!"
        FROM unnest($1::text[]) AS wanted (name)
        WHERE NOT EXISTS (SELECT FROM users u WHERE u.username_folded = wanted.name AND u.deleted_at IS NULL)
          AND NOT EXISTS (SELECT FROM held_usernames h WHERE h.username_folded = wanted.name AND h.held_until > $2)
          AND NOT EXISTS (SELECT FROM reserved_usernames r WHERE r.username_folded = wanted.name)
        "#,
        folded,
        now,
    )
    .fetch_all(db)
    .await
}

/// Makes an account. Violates [`USERNAME_TAKEN`] when somebody was faster.
pub async fn insert(db: impl PgExecutor<'_>, user: &NewUser<'_>, now: OffsetDateTime) -> sqlx::Result<User> {
    sqlx::query_as!(
        User,
        r#"
        INSERT INTO users (user_id, username, username_folded, display_name, picture, upstream_claims, created_at, updated_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $7)
        RETURNING user_id AS "user_id: _", username AS "username!", display_name, picture, role, created_at
        "#,
        user.user_id as _,
        user.username,
        user.username_folded,
        user.display_name,
        user.picture,
        Json(user.upstream_claims) as _,
        now,
    )
    .fetch_one(db)
    .await
}

/// Takes over what the upstream says today, and gives the account as it is then. The display name is the owner's, so it is
/// only filled in; the picture follows the upstream; claims are replaced when the upstream states any, and those that are
/// no longer passed on go. `updated_at` moves only if something did.
pub async fn refresh_profile(
    tx: &mut PgTransaction<'_>,
    user_id: UserId,
    profile: &UpstreamProfile<'_>,
    now: OffsetDateTime,
) -> sqlx::Result<Option<User>> {
    sqlx::query!(
        r#"
        UPDATE users u
        SET display_name = fresh.display_name,
            picture = fresh.picture,
            upstream_claims = fresh.upstream_claims,
            updated_at = $6
        FROM (
            SELECT user_id,
                   coalesce(display_name, $2) AS display_name,
                   coalesce($3, picture) AS picture,
                   CASE
                       WHEN $4::jsonb <> '{}'::jsonb THEN $4::jsonb
                       ELSE (
                           SELECT coalesce(jsonb_object_agg(claim.key, claim.value), '{}'::jsonb)
                           FROM jsonb_each(upstream_claims) AS claim
                           WHERE claim.key = ANY ($5::text[])
                       )
                   END AS upstream_claims
            FROM users
            WHERE user_id = $1
        ) fresh
        WHERE u.user_id = fresh.user_id
          AND (u.display_name, u.picture, u.upstream_claims)
              IS DISTINCT FROM (fresh.display_name, fresh.picture, fresh.upstream_claims)
        "#,
        user_id as _,
        profile.name,
        profile.picture,
        Json(profile.claims) as _,
        profile.passthrough,
        now,
    )
    .execute(&mut **tx)
    .await?;
    find(&mut **tx, user_id).await
}

/// The account of this id, if it is live and not disabled; its row stays locked until `tx` ends.
pub async fn lock_live(tx: &mut PgTransaction<'_>, user_id: UserId) -> sqlx::Result<Option<User>> {
    sqlx::query_as!(
        User,
        r#"
        SELECT user_id AS "user_id: _", username AS "username!", display_name, picture, role, created_at
        FROM users
        WHERE user_id = $1
          AND deleted_at IS NULL
          AND disabled_at IS NULL
        FOR NO KEY UPDATE
        "#,
        user_id as _,
    )
    .fetch_optional(&mut **tx)
    .await
}

/// The administrators that can act: live and not disabled, in the order of their ids. Their rows stay locked until `tx` ends.
///
/// Whoever takes an administrator away (demotes, disables, deletes) calls this before locking any other row of `users`, and
/// leaves at least one: as every caller locks in the same order, no two wait for each other, and the second one sees what
/// the first has done.
pub async fn lock_admins(tx: &mut PgTransaction<'_>) -> sqlx::Result<Vec<UserId>> {
    sqlx::query_scalar!(
        r#"
        SELECT user_id AS "user_id: _"
        FROM users
        WHERE role = 'admin'
          AND deleted_at IS NULL
          AND disabled_at IS NULL
        ORDER BY user_id
        FOR NO KEY UPDATE
        "#,
    )
    .fetch_all(&mut **tx)
    .await
}
