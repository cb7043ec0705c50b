//! The audit trail: `audit_entries`. Append-only by trigger; only its personal fields can be emptied.

use sqlx::PgTransaction;

use crate::audit::{Chained, Committed};
use crate::protocol::ids::UserId;
use crate::sealing::KeyId;

/// The end of the chain: number and `mac` of the newest entry; zero and nothing before the first.
pub struct End {
    pub sequence: i64,
    pub mac: Vec<u8>,
}

/// The end of the chain, which stays ours until `tx` ends.
pub async fn lock_end(tx: &mut PgTransaction<'_>) -> sqlx::Result<End> {
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
    tx: &mut PgTransaction<'_>,
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
pub async fn forget(tx: &mut PgTransaction<'_>, user_id: UserId) -> sqlx::Result<()> {
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
