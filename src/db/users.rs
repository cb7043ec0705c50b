//! Accounts and the names nobody else may have: `users`, `held_usernames`, `held_username_hashes`, `reserved_usernames`.

use serde_json::{Map, Value};
use sqlx::PgExecutor;
use sqlx::types::Json;
use time::OffsetDateTime;

use crate::db::Transaction;
use crate::protocol::ids::{LinkId, UserId};
use crate::usernames::Username;

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
    /// Which link what is there of these came by; an empty member has none.
    pub display_name_link_id: Option<LinkId>,
    pub picture_link_id: Option<LinkId>,
    pub claims_link_id: Option<LinkId>,
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
    /// The link of the login: what it fills leaves with it.
    pub link_id: LinkId,
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

/// Whether `username_folded` can be had, by `taker` if that is an account already: what they have or hold themselves is not
/// in their way. One statement, hence one picture of the tables: a name that is being given up is either still its owner's
/// or already held.
///
/// `hashes`: whatever a deleted account's hold of the name is kept as ([`crate::accounts::names`]).
pub async fn username_availability(
    db: impl PgExecutor<'_>,
    username_folded: &str,
    hashes: &[Vec<u8>],
    taker: Option<UserId>,
    now: OffsetDateTime,
) -> sqlx::Result<Availability> {
    let row = sqlx::query!(
        r#"
        SELECT EXISTS (
                   SELECT FROM users
                   WHERE username_folded = $1 AND deleted_at IS NULL AND user_id IS DISTINCT FROM $3
               )
               OR EXISTS (
                   SELECT FROM held_usernames
                   WHERE username_folded = $1 AND held_until > $2 AND ($3::uuid IS NULL OR user_id IS DISTINCT FROM $3)
               )
               OR EXISTS (
                   SELECT FROM held_username_hashes
                   WHERE username_hash = ANY ($4) AND held_until > $2
               ) AS "taken!",
               EXISTS (SELECT FROM reserved_usernames WHERE username_folded = $1) AS "reserved!"
        "#,
        username_folded,
        now,
        taker as _,
        hashes,
    )
    .fetch_one(db)
    .await?;
    Ok(match (row.reserved, row.taken) {
        (true, _) => Availability::Reserved,
        (false, true) => Availability::Taken,
        (false, false) => Availability::Free,
    })
}

/// Those of `folded` that can be had, in no order. `hashes`: whatever a deleted account's hold of the name in the same place
/// of `hashed` is kept as.
pub async fn free_usernames(
    db: impl PgExecutor<'_>,
    folded: &[String],
    hashed: &[String],
    hashes: &[Vec<u8>],
    now: OffsetDateTime,
) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar!(
        r#"
        SELECT DISTINCT wanted.name AS "name!"
        FROM unnest($1::text[]) AS wanted (name)
        WHERE NOT EXISTS (SELECT FROM users u WHERE u.username_folded = wanted.name AND u.deleted_at IS NULL)
          AND NOT EXISTS (SELECT FROM held_usernames h WHERE h.username_folded = wanted.name AND h.held_until > $2)
          AND NOT EXISTS (
              SELECT FROM held_username_hashes h
              JOIN unnest($3::text[], $4::bytea[]) AS kept (name, hash) ON kept.hash = h.username_hash
              WHERE kept.name = wanted.name AND h.held_until > $2
          )
          AND NOT EXISTS (SELECT FROM reserved_usernames r WHERE r.username_folded = wanted.name)
        "#,
        folded,
        now,
        hashed,
        hashes,
    )
    .fetch_all(db)
    .await
}

/// Makes an account. Violates [`USERNAME_TAKEN`] when somebody was faster.
pub async fn insert(db: impl PgExecutor<'_>, user: &NewUser<'_>, now: OffsetDateTime) -> sqlx::Result<User> {
    sqlx::query_as!(
        User,
        r#"
        INSERT INTO users (user_id, username, username_folded, display_name, picture, upstream_claims, created_at, updated_at,
                           display_name_link_id, picture_link_id, claims_link_id)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $7, $8, $9, $10)
        RETURNING user_id AS "user_id: _", username AS "username!", display_name, picture, role, created_at
        "#,
        user.user_id as _,
        user.username,
        user.username_folded,
        user.display_name,
        user.picture,
        Json(user.upstream_claims) as _,
        now,
        user.display_name_link_id as _,
        user.picture_link_id as _,
        user.claims_link_id as _,
    )
    .fetch_one(db)
    .await
}

/// What a login changed of an account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refreshed {
    pub display_name: bool,
    pub picture: bool,
    pub claims: bool,
}

/// Takes over what the upstream says today, and gives the account as it is then. The display name is the owner's, so it is
/// only filled in; the picture follows the upstream; claims are replaced when the upstream states any, and those that are
/// no longer passed on go. Each says which link it came by. `updated_at` moves only if something else did. The caller has
/// locked the account.
pub async fn refresh_profile(
    tx: &mut Transaction,
    user_id: UserId,
    profile: &UpstreamProfile<'_>,
    now: OffsetDateTime,
) -> sqlx::Result<Option<(User, Refreshed)>> {
    let refreshed = sqlx::query_as!(
        Refreshed,
        r#"
        UPDATE users u
        SET display_name = fresh.display_name,
            picture = fresh.picture,
            upstream_claims = fresh.upstream_claims,
            display_name_link_id = fresh.display_name_link_id,
            picture_link_id = fresh.picture_link_id,
            claims_link_id = fresh.claims_link_id,
            updated_at = CASE WHEN (u.display_name, u.picture, u.upstream_claims)
                                   IS DISTINCT FROM (fresh.display_name, fresh.picture, fresh.upstream_claims)
                              THEN $6 ELSE u.updated_at END
        FROM (
            SELECT user_id,
                   display_name AS old_display_name,
                   picture AS old_picture,
                   upstream_claims AS old_upstream_claims,
                   coalesce(display_name, $2) AS display_name,
                   coalesce($3, picture) AS picture,
                   CASE
                       WHEN $4::jsonb <> '{}'::jsonb THEN $4::jsonb
                       ELSE (
                           SELECT coalesce(jsonb_object_agg(claim.key, claim.value), '{}'::jsonb)
                           FROM jsonb_each(upstream_claims) AS claim
                           WHERE claim.key = ANY ($5::text[])
                       )
                   END AS upstream_claims,
                   CASE WHEN display_name IS NULL AND $2 IS NOT NULL THEN $7 ELSE display_name_link_id END
                       AS display_name_link_id,
                   CASE WHEN $3 IS NOT NULL THEN $7 ELSE picture_link_id END AS picture_link_id,
                   CASE WHEN $4::jsonb <> '{}'::jsonb THEN $7 ELSE claims_link_id END AS claims_link_id
            FROM users
            WHERE user_id = $1
        ) fresh
        WHERE u.user_id = fresh.user_id
          AND (u.display_name, u.picture, u.upstream_claims,
               u.display_name_link_id, u.picture_link_id, u.claims_link_id)
              IS DISTINCT FROM (fresh.display_name, fresh.picture, fresh.upstream_claims,
                                fresh.display_name_link_id, fresh.picture_link_id, fresh.claims_link_id)
        RETURNING u.display_name IS DISTINCT FROM fresh.old_display_name AS "display_name!",
                  u.picture IS DISTINCT FROM fresh.old_picture AS "picture!",
                  u.upstream_claims IS DISTINCT FROM fresh.old_upstream_claims AS "claims!"
        "#,
        user_id as _,
        profile.name,
        profile.picture,
        Json(profile.claims) as _,
        profile.passthrough,
        now,
        profile.link_id as _,
    )
    .fetch_optional(&mut **tx)
    .await?;
    let user = find(&mut **tx, user_id).await?;
    Ok(user.map(|user| (user, refreshed.unwrap_or_default())))
}

/// Empties what these links filled of a profile, since they leave; what was there. A picture and claims of which nobody knows
/// which link they came by go too. The caller has locked the account.
pub async fn forget_filled_by(
    tx: &mut Transaction,
    user_id: UserId,
    link_ids: &[LinkId],
    now: OffsetDateTime,
) -> sqlx::Result<Refreshed> {
    let forgotten = sqlx::query_as!(
        Refreshed,
        r#"
        UPDATE users u
        SET display_name = CASE WHEN gone.display_name THEN NULL ELSE u.display_name END,
            display_name_link_id = CASE WHEN gone.display_name THEN NULL ELSE u.display_name_link_id END,
            picture = CASE WHEN gone.picture THEN NULL ELSE u.picture END,
            picture_link_id = CASE WHEN gone.picture THEN NULL ELSE u.picture_link_id END,
            upstream_claims = CASE WHEN gone.claims THEN '{}'::jsonb ELSE u.upstream_claims END,
            claims_link_id = CASE WHEN gone.claims THEN NULL ELSE u.claims_link_id END,
            updated_at = $3
        FROM (
            SELECT user_id,
                   display_name IS NOT NULL AND coalesce(display_name_link_id = ANY ($2), false) AS display_name,
                   picture IS NOT NULL AND coalesce(picture_link_id = ANY ($2), true) AS picture,
                   upstream_claims <> '{}'::jsonb AND coalesce(claims_link_id = ANY ($2), true) AS claims
            FROM users
            WHERE user_id = $1
        ) gone
        WHERE u.user_id = gone.user_id
          AND (gone.display_name OR gone.picture OR gone.claims)
        RETURNING gone.display_name AS "display_name!", gone.picture AS "picture!", gone.claims AS "claims!"
        "#,
        user_id as _,
        link_ids as _,
        now,
    )
    .fetch_optional(&mut **tx)
    .await?;
    Ok(forgotten.unwrap_or_default())
}

/// Says that what apps are told about an account has changed.
pub async fn mark_updated(db: impl PgExecutor<'_>, user_id: UserId, now: OffsetDateTime) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE users SET updated_at = $2 WHERE user_id = $1",
        user_id as _,
        now,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Locks the row of an account that is not deleted, disabled or not, until `tx` ends.
pub async fn lock(tx: &mut Transaction, user_id: UserId) -> sqlx::Result<Option<User>> {
    sqlx::query_as!(
        User,
        r#"
        SELECT user_id AS "user_id: _", username AS "username!", display_name, picture, role, created_at
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

/// The live account of this name, folded as [`crate::usernames::fold`] does it.
pub async fn find_by_username(
    db: impl PgExecutor<'_>,
    username_folded: &str,
) -> sqlx::Result<Option<UserId>> {
    sqlx::query_scalar!(
        r#"SELECT user_id AS "user_id: _" FROM users WHERE username_folded = $1 AND deleted_at IS NULL"#,
        username_folded,
    )
    .fetch_optional(db)
    .await
}

/// The account of this id, if it is live and not disabled; its row stays locked until `tx` ends.
pub async fn lock_live(tx: &mut Transaction, user_id: UserId) -> sqlx::Result<Option<User>> {
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

/// A live account that is locked, as of then.
#[derive(Clone, Debug)]
pub struct LockedUser {
    pub user_id: UserId,
    pub username: String,
    pub role: String,
    pub disabled: bool,
    /// It is an administrator's, it is not disabled, and there is no other such account.
    pub is_last_admin: bool,
}

/// The administrators that can act: live and not disabled, in the order of their ids. Their rows stay locked until `tx` ends.
///
/// Whoever takes an administrator away (demotes, disables, deletes) calls this before locking any other row of `users`, and
/// leaves at least one: as every caller locks in the same order, no two wait for each other, and the second one sees what
/// the first has done.
pub async fn lock_admins(tx: &mut Transaction) -> sqlx::Result<Vec<UserId>> {
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

/// Whether this account is an administrator's that can act. If so, it stays one until `tx` ends: whoever takes the role, the
/// account or the right to sign in away waits. Before any other row is locked.
pub async fn hold_administrator(tx: &mut Transaction, user_id: UserId) -> sqlx::Result<bool> {
    let held = sqlx::query_scalar!(
        r#"
        SELECT 1 AS "held!"
        FROM users
        WHERE user_id = $1
          AND role = 'admin'
          AND deleted_at IS NULL
          AND disabled_at IS NULL
        FOR SHARE
        "#,
        user_id as _,
    )
    .fetch_optional(&mut **tx)
    .await?;
    Ok(held.is_some())
}

/// Whether this account is an administrator's that can act, without a lock.
pub async fn is_administrator(db: impl PgExecutor<'_>, user_id: UserId) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"
        SELECT EXISTS (
            SELECT FROM users
            WHERE user_id = $1
              AND role = 'admin'
              AND deleted_at IS NULL
              AND disabled_at IS NULL
        ) AS "is!"
        "#,
        user_id as _,
    )
    .fetch_one(db)
    .await
}

/// Locks the live account of this id, disabled or not, that is to go; before it all administrators, if it is one that can act.
///
/// Anybody else's row is locked alone: who signs in to another account, an administrator's above all, does not wait. What the
/// account is is known only under its lock, and administrators are locked first ([`lock_admins`]), so for them that lock is
/// given back and everything begins again.
pub async fn lock_to_remove(tx: &mut Transaction, user_id: UserId) -> sqlx::Result<Option<LockedUser>> {
    tx.set_savepoint().await?;
    let found = lock_row(tx, user_id).await?;
    if !found.as_ref().is_some_and(RemovableRow::can_administrate) {
        tx.release_savepoint().await?;
        return Ok(found.map(|row| row.locked(user_id, false)));
    }
    tx.rollback_to_savepoint().await?;
    let admins = lock_admins(tx).await?;
    let found = lock_row(tx, user_id).await?;
    Ok(found.map(|row| {
        // Somebody who was promoted while we waited is not among them, and counts as the last rather than not.
        let is_last = row.can_administrate() && admins.iter().all(|admin| *admin == user_id);
        row.locked(user_id, is_last)
    }))
}

/// What is read of an account under the lock of its row.
struct RemovableRow {
    username: String,
    role: String,
    disabled: bool,
}

impl RemovableRow {
    fn can_administrate(&self) -> bool {
        self.role == "admin" && !self.disabled
    }

    fn locked(self, user_id: UserId, is_last_admin: bool) -> LockedUser {
        LockedUser {
            user_id,
            username: self.username,
            role: self.role,
            disabled: self.disabled,
            is_last_admin,
        }
    }
}

async fn lock_row(tx: &mut Transaction, user_id: UserId) -> sqlx::Result<Option<RemovableRow>> {
    sqlx::query_as!(
        RemovableRow,
        r#"
        SELECT username AS "username!", role, disabled_at IS NOT NULL AS "disabled!"
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

/// What a live account says of itself beyond [`User`].
#[derive(Clone, Debug)]
pub struct Account {
    pub user: User,
    pub username_folded: String,
    /// `None` until the first rename.
    pub username_changed_at: Option<OffsetDateTime>,
    /// The link whose address its owner chose.
    pub primary_link_id: Option<LinkId>,
    pub updated_at: OffsetDateTime,
}

macro_rules! account {
    ($row:ident) => {
        Account {
            user: User {
                user_id: $row.user_id,
                username: $row.username,
                display_name: $row.display_name,
                picture: $row.picture,
                role: $row.role,
                created_at: $row.created_at,
            },
            username_folded: $row.username_folded,
            username_changed_at: $row.username_changed_at,
            primary_link_id: $row.primary_link_id,
            updated_at: $row.updated_at,
        }
    };
}

/// The live account of this id, disabled or not.
pub async fn find_account(db: impl PgExecutor<'_>, user_id: UserId) -> sqlx::Result<Option<Account>> {
    let row = sqlx::query!(
        r#"
        SELECT user_id AS "user_id: UserId", username AS "username!", username_folded AS "username_folded!", display_name,
               picture, role, created_at, username_changed_at, primary_link_id AS "primary_link_id: LinkId", updated_at
        FROM users
        WHERE user_id = $1
          AND deleted_at IS NULL
        "#,
        user_id as _,
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| account!(row)))
}

/// The live account of this name, disabled or not.
pub async fn find_account_by_name(
    db: impl PgExecutor<'_>,
    username_folded: &str,
) -> sqlx::Result<Option<Account>> {
    let row = sqlx::query!(
        r#"
        SELECT user_id AS "user_id: UserId", username AS "username!", username_folded AS "username_folded!", display_name,
               picture, role, created_at, username_changed_at, primary_link_id AS "primary_link_id: LinkId", updated_at
        FROM users
        WHERE username_folded = $1
          AND deleted_at IS NULL
        "#,
        username_folded,
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| account!(row)))
}

/// [`lock_live`], then [`find_account`]: the account as it is under the lock.
pub async fn lock_account(tx: &mut Transaction, user_id: UserId) -> sqlx::Result<Option<Account>> {
    match lock_live(tx, user_id).await? {
        Some(_) => find_account(&mut **tx, user_id).await,
        None => Ok(None),
    }
}

/// Gives a locked account another name. `changed_at`: when its owner last took one that differs by more than case.
/// Violates [`USERNAME_TAKEN`] when somebody was faster.
pub async fn set_username(
    tx: &mut Transaction,
    user_id: UserId,
    username: &Username,
    changed_at: Option<OffsetDateTime>,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        UPDATE users
        SET username = $2, username_folded = $3, username_changed_at = $4, updated_at = $5
        WHERE user_id = $1
        "#,
        user_id as _,
        username.name,
        username.folded,
        changed_at,
        now,
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Holds a name that its owner has given up: only they can take it until then.
pub async fn hold_username(
    tx: &mut Transaction,
    username_folded: &str,
    user_id: UserId,
    held_until: OffsetDateTime,
) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        INSERT INTO held_usernames (username_folded, user_id, held_until)
        VALUES ($1, $2, $3)
        ON CONFLICT (username_folded)
        DO UPDATE SET user_id = excluded.user_id, held_until = excluded.held_until
        "#,
        username_folded,
        user_id as _,
        held_until,
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Ends the hold of a name that somebody has taken: its former owner came back, or the time was over.
pub async fn release_username(tx: &mut Transaction, username_folded: &str) -> sqlx::Result<()> {
    sqlx::query!(
        "DELETE FROM held_usernames WHERE username_folded = $1",
        username_folded
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Writes what its owner chose of a locked account; another display name is theirs and no link's any more. `primary_link_id`
/// has to be a link of theirs.
pub async fn set_profile(
    tx: &mut Transaction,
    user_id: UserId,
    display_name: Option<&str>,
    primary_link_id: Option<LinkId>,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        UPDATE users
        SET display_name = $2, primary_link_id = $3, updated_at = $4,
            display_name_link_id = CASE WHEN display_name IS DISTINCT FROM $2 THEN NULL ELSE display_name_link_id END
        WHERE user_id = $1
        "#,
        user_id as _,
        display_name,
        primary_link_id as _,
        now,
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}
