//! The audit trail: `audit_entries`. Append-only by trigger; only its personal fields can be emptied.

use sqlx::PgExecutor;
use time::OffsetDateTime;

use crate::audit::{Chained, Committed};
use crate::db::Transaction;
use crate::protocol::ids::UserId;
use crate::sealing::KeyId;

/// The end of the chain: number and `mac` of the newest entry; zero and nothing before the first.
pub struct End {
    pub sequence: i64,
    pub mac: Vec<u8>,
}

/// The end of the chain, which stays ours until `tx` ends.
pub async fn lock_end(tx: &mut Transaction) -> sqlx::Result<End> {
    // The number is this chain's alone among advisory locks.
    sqlx::query!("SELECT pg_advisory_xact_lock(7310297)::text AS locked")
        .fetch_one(&mut **tx)
        .await?;
    let newest = sqlx::query_as!(
        End,
        "SELECT sequence, mac FROM audit_entries ORDER BY sequence DESC LIMIT 1"
    )
    .fetch_optional(&mut **tx)
    .await?;
    Ok(newest.unwrap_or(End {
        sequence: 0,
        mac: Vec::new(),
    }))
}

/// Appends an entry.
pub async fn append(
    tx: &mut Transaction,
    entry: &Chained<'_>,
    actor_personal: &Committed,
    target_personal: &Committed,
    key_id: KeyId,
    mac: &[u8],
) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        INSERT INTO audit_entries (sequence, created_at, actor, actor_user_id, actor_personal, actor_salt, actor_commitment,
                                   action, target_kind, target_id, target_user_id, target_personal, target_salt,
                                   target_commitment, details, key_id, mac)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
        "#,
        entry.sequence,
        entry.created_at,
        entry.actor,
        entry.actor_user_id as _,
        actor_personal.text,
        actor_personal.salt.as_slice(),
        actor_personal.commitment.as_slice(),
        entry.action,
        entry.target_kind,
        entry.target_id,
        entry.target_user_id as _,
        target_personal.text,
        target_personal.salt.as_slice(),
        target_personal.commitment.as_slice(),
        entry.details,
        key_id.0.as_slice(),
        mac,
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Empties what would tell of this person; the chain verifies without it.
pub async fn forget(tx: &mut Transaction, user_id: UserId) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        UPDATE audit_entries
        SET actor_personal = CASE WHEN actor_user_id = $1 THEN NULL ELSE actor_personal END,
            actor_salt = CASE WHEN actor_user_id = $1 THEN NULL ELSE actor_salt END,
            target_personal = CASE WHEN target_user_id = $1 THEN NULL ELSE target_personal END,
            target_salt = CASE WHEN target_user_id = $1 THEN NULL ELSE target_salt END
        WHERE actor_user_id = $1 OR target_user_id = $1
        "#,
        user_id as _,
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// An entry as it is stored.
#[derive(Clone, Debug)]
pub struct StoredEntry {
    pub sequence: i64,
    pub created_at: OffsetDateTime,
    pub actor: String,
    pub actor_user_id: Option<UserId>,
    pub actor_personal: Option<String>,
    pub actor_salt: Option<Vec<u8>>,
    pub actor_commitment: Vec<u8>,
    pub action: String,
    pub target_kind: Option<String>,
    pub target_id: Option<String>,
    pub target_user_id: Option<UserId>,
    pub target_personal: Option<String>,
    pub target_salt: Option<Vec<u8>>,
    pub target_commitment: Vec<u8>,
    pub details: String,
    pub key_id: Vec<u8>,
    pub mac: Vec<u8>,
    /// The account that acted is still there, so its personal fields are too.
    pub actor_is_live: bool,
    /// The same of the account that it was done to.
    pub target_is_live: bool,
}

/// Which entries are wanted; what is `None` does not matter.
#[derive(Clone, Debug, Default)]
pub struct EntryFilter<'a> {
    pub actor: Option<&'a str>,
    pub actor_user_id: Option<UserId>,
    pub action: Option<&'a str>,
    pub target_id: Option<&'a str>,
    /// From this moment on.
    pub from: Option<OffsetDateTime>,
    /// Before this moment.
    pub until: Option<OffsetDateTime>,
}

/// A page of the entries that fit, the newest first. `before`: the number of the last one of the page before.
pub async fn list(
    tx: &mut Transaction,
    filter: &EntryFilter<'_>,
    before: Option<i64>,
    limit: i64,
) -> sqlx::Result<Vec<StoredEntry>> {
    // A plan that serves every combination of filters would walk through the whole table.
    sqlx::query!("SELECT set_config('plan_cache_mode', 'force_custom_plan', true) AS mode")
        .fetch_one(&mut **tx)
        .await?;
    sqlx::query_as!(
        StoredEntry,
        r#"
        SELECT a.sequence, a.created_at, a.actor, a.actor_user_id AS "actor_user_id: _", a.actor_personal, a.actor_salt,
               a.actor_commitment, a.action, a.target_kind, a.target_id, a.target_user_id AS "target_user_id: _",
               a.target_personal, a.target_salt, a.target_commitment, a.details, a.key_id, a.mac,
               false AS "actor_is_live!", false AS "target_is_live!"
        FROM audit_entries a
        WHERE ($1::text IS NULL OR a.actor = $1)
          AND ($2::uuid IS NULL OR a.actor_user_id = $2)
          AND ($3::text IS NULL OR a.action = $3)
          AND ($4::text IS NULL OR a.target_id = $4)
          AND ($5::timestamptz IS NULL OR a.created_at >= $5)
          AND ($6::timestamptz IS NULL OR a.created_at < $6)
          AND ($7::bigint IS NULL OR a.sequence < $7)
        ORDER BY a.sequence DESC
        LIMIT $8
        "#,
        filter.actor,
        filter.actor_user_id as _,
        filter.action,
        filter.target_id,
        filter.from,
        filter.until,
        before,
        limit,
    )
    .fetch_all(&mut **tx)
    .await
}

/// Entries from the oldest on, with what a verification asks. `after`: the number of the last one that was read.
pub async fn read_on(db: impl PgExecutor<'_>, after: i64, limit: i64) -> sqlx::Result<Vec<StoredEntry>> {
    sqlx::query_as!(
        StoredEntry,
        r#"
        SELECT a.sequence, a.created_at, a.actor, a.actor_user_id AS "actor_user_id: _", a.actor_personal, a.actor_salt,
               a.actor_commitment, a.action, a.target_kind, a.target_id, a.target_user_id AS "target_user_id: _",
               a.target_personal, a.target_salt, a.target_commitment, a.details, a.key_id, a.mac,
               EXISTS (SELECT FROM users u WHERE u.user_id = a.actor_user_id AND u.deleted_at IS NULL) AS "actor_is_live!",
               EXISTS (SELECT FROM users u WHERE u.user_id = a.target_user_id AND u.deleted_at IS NULL) AS "target_is_live!"
        FROM audit_entries a
        WHERE a.sequence > $1
        ORDER BY a.sequence
        LIMIT $2
        "#,
        after,
        limit,
    )
    .fetch_all(db)
    .await
}
