//! Identities that an upstream has proved and that wait for their owner's decision: `pending_identities`.

use sqlx::PgExecutor;
use time::OffsetDateTime;

use crate::db::Transaction;
use crate::protocol::ids::{SessionId, UserId};
use crate::protocol::opaque::TokenHash;

/// A newcomer's identity to be kept until a username is picked.
pub struct NewSetup<'a> {
    pub handle_hash: &'a TokenHash,
    pub browser_hash: &'a TokenHash,
    /// Opened by the handle alone.
    pub sealed: &'a [u8],
    pub expires_at: OffsetDateTime,
}

/// An identity that somebody who is signed in wants to add, to be kept until they confirm it.
pub struct NewConfirmation<'a> {
    pub handle_hash: &'a TokenHash,
    pub browser_hash: &'a TokenHash,
    pub user_id: UserId,
    pub session_id: SessionId,
    /// Opened by the handle alone.
    pub sealed: &'a [u8],
    pub expires_at: OffsetDateTime,
}

/// An identity that waits and that this person, in this session and browser, may confirm.
#[derive(Debug)]
pub struct Waiting {
    /// `setup`: a newcomer's, whom nobody is known to be yet; `link`: started by this very person in this session.
    pub kind: String,
    pub sealed: Vec<u8>,
    pub expires_at: OffsetDateTime,
}

/// Who asks for an identity that waits to be confirmed.
#[derive(Clone, Copy)]
pub struct Confirmer<'a> {
    pub handle_hash: &'a TokenHash,
    pub browser_hash: &'a TokenHash,
    pub user_id: UserId,
    pub session_id: SessionId,
}

/// Keeps a newcomer's identity; of this browser's others only the newest `keep` stay, this one included.
pub async fn insert_setup(
    db: impl PgExecutor<'_>,
    setup: &NewSetup<'_>,
    keep: i64,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    let row = Row {
        handle_hash: setup.handle_hash,
        browser_hash: setup.browser_hash,
        kind: "setup",
        user_id: None,
        session_id: None,
        sealed: setup.sealed,
        expires_at: setup.expires_at,
    };
    insert(db, &row, keep, now).await
}

/// Keeps an identity until its confirmation; of this browser's others only the newest `keep` stay, this one included.
pub async fn insert_confirmation(
    db: impl PgExecutor<'_>,
    confirmation: &NewConfirmation<'_>,
    keep: i64,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    let row = Row {
        handle_hash: confirmation.handle_hash,
        browser_hash: confirmation.browser_hash,
        kind: "link",
        user_id: Some(confirmation.user_id),
        session_id: Some(confirmation.session_id),
        sealed: confirmation.sealed,
        expires_at: confirmation.expires_at,
    };
    insert(db, &row, keep, now).await
}

struct Row<'a> {
    handle_hash: &'a TokenHash,
    browser_hash: &'a TokenHash,
    kind: &'static str,
    user_id: Option<UserId>,
    session_id: Option<SessionId>,
    sealed: &'a [u8],
    expires_at: OffsetDateTime,
}

async fn insert(db: impl PgExecutor<'_>, row: &Row<'_>, keep: i64, now: OffsetDateTime) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        WITH surplus AS (
            DELETE FROM pending_identities
            WHERE handle_hash IN (
                SELECT handle_hash
                FROM pending_identities
                WHERE browser_hash = $2
                ORDER BY created_at DESC, handle_hash
                OFFSET $4::bigint - 1
            )
        )
        INSERT INTO pending_identities
            (handle_hash, browser_hash, kind, user_id, session_id, sealed, created_at, expires_at)
        VALUES ($1, $2, $7, $8, $9, $3, $5, $6)
        "#,
        row.handle_hash as _,
        row.browser_hash as _,
        row.sealed,
        keep,
        now,
        row.expires_at,
        row.kind,
        row.user_id as _,
        row.session_id as _,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// What waits under this handle in this browser, sealed. Changes nothing.
pub async fn find_setup(
    db: impl PgExecutor<'_>,
    handle_hash: &TokenHash,
    browser_hash: &TokenHash,
    now: OffsetDateTime,
) -> sqlx::Result<Option<Vec<u8>>> {
    sqlx::query_scalar!(
        r#"
        SELECT sealed
        FROM pending_identities
        WHERE handle_hash = $1
          AND browser_hash = $2
          AND kind = 'setup'
          AND expires_at > $3
        "#,
        handle_hash as _,
        browser_hash as _,
        now,
    )
    .fetch_optional(db)
    .await
}

/// Takes it out. A transaction that fails afterwards gives it back, so that a refused username costs nothing; two at once
/// wait for each other, and the second finds nothing.
pub async fn consume_setup(
    tx: &mut Transaction,
    handle_hash: &TokenHash,
    browser_hash: &TokenHash,
    now: OffsetDateTime,
) -> sqlx::Result<Option<Vec<u8>>> {
    sqlx::query_scalar!(
        r#"
        DELETE FROM pending_identities
        WHERE handle_hash = $1
          AND browser_hash = $2
          AND kind = 'setup'
          AND expires_at > $3
        RETURNING sealed
        "#,
        handle_hash as _,
        browser_hash as _,
        now,
    )
    .fetch_optional(&mut **tx)
    .await
}

/// What waits for this person's confirmation. Changes nothing.
pub async fn find_confirmable(
    db: impl PgExecutor<'_>,
    confirmer: Confirmer<'_>,
    now: OffsetDateTime,
) -> sqlx::Result<Option<Waiting>> {
    sqlx::query_as!(
        Waiting,
        r#"
        SELECT kind, sealed, expires_at
        FROM pending_identities
        WHERE handle_hash = $1
          AND browser_hash = $2
          AND (kind = 'setup' OR (kind = 'link' AND user_id = $3 AND session_id = $4))
          AND expires_at > $5
        "#,
        confirmer.handle_hash as _,
        confirmer.browser_hash as _,
        confirmer.user_id as _,
        confirmer.session_id as _,
        now,
    )
    .fetch_optional(db)
    .await
}

/// Takes it out. A transaction that fails afterwards gives it back; two at once wait for each other, and the second finds
/// nothing.
pub async fn consume_confirmable(
    tx: &mut Transaction,
    confirmer: Confirmer<'_>,
    now: OffsetDateTime,
) -> sqlx::Result<Option<Waiting>> {
    sqlx::query_as!(
        Waiting,
        r#"
        DELETE FROM pending_identities
        WHERE handle_hash = $1
          AND browser_hash = $2
          AND (kind = 'setup' OR (kind = 'link' AND user_id = $3 AND session_id = $4))
          AND expires_at > $5
        RETURNING kind, sealed, expires_at
        "#,
        confirmer.handle_hash as _,
        confirmer.browser_hash as _,
        confirmer.user_id as _,
        confirmer.session_id as _,
        now,
    )
    .fetch_optional(&mut **tx)
    .await
}

/// Takes out what waits under this handle, whatever it is: it can never come to anything.
pub async fn discard(
    db: impl PgExecutor<'_>,
    handle_hash: &TokenHash,
    browser_hash: &TokenHash,
) -> sqlx::Result<()> {
    sqlx::query!(
        "DELETE FROM pending_identities WHERE handle_hash = $1 AND browser_hash = $2",
        handle_hash as _,
        browser_hash as _,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Takes out whatever waits for this person's confirmation, in any browser, and whatever waits in this one.
pub async fn discard_all(
    tx: &mut Transaction,
    user_id: UserId,
    browser_hash: Option<&TokenHash>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "DELETE FROM pending_identities WHERE user_id = $1 OR browser_hash = $2",
        user_id as _,
        browser_hash as _,
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}
