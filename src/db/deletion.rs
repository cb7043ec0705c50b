//! The removal of what is held of a person, table by table. The row of `users` stays, emptied, so that its id is never
//! given to anybody else.
//!
//! Each function belongs into the transaction that has locked the account, in the order of
//! [`crate::accounts::delete()`]: whoever uses something up locks it first, so each statement waits for those and then
//! finds what they left.

use time::OffsetDateTime;

use crate::db::Transaction;
use crate::protocol::ids::{SessionId, UserId};

/// Requests, sign-ins and identities that wait for the person.
pub async fn delete_waiting(tx: &mut Transaction, user_id: UserId) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        WITH requests AS (
            DELETE FROM authorization_requests WHERE user_id = $1
        ), flows AS (
            DELETE FROM upstream_flows WHERE user_id = $1
        )
        DELETE FROM pending_identities WHERE user_id = $1
        "#,
        user_id as _,
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Sessions that have ended and under which an app still has offline access.
pub async fn find_ended_with_offline_access(
    tx: &mut Transaction,
    user_id: UserId,
) -> sqlx::Result<Vec<SessionId>> {
    sqlx::query_scalar!(
        r#"
        SELECT DISTINCT s.session_id AS "session_id: _"
        FROM sessions s
        JOIN grants g ON g.session_id = s.session_id
        WHERE s.user_id = $1
          AND s.ended_at IS NOT NULL
          AND g.offline
          AND g.revoked_at IS NULL
        "#,
        user_id as _,
    )
    .fetch_all(&mut **tx)
    .await
}

/// Codes, grants with their tokens, consents and sessions. The sessions have to have ended in this transaction: from then
/// on no code is issued, and codes go before the grants that they would become.
pub async fn delete_access(tx: &mut Transaction, user_id: UserId) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        DELETE FROM authorization_codes a
        USING sessions s
        WHERE s.user_id = $1
          AND s.ended_at IS NOT NULL
          AND a.session_id = s.session_id
        "#,
        user_id as _,
    )
    .execute(&mut **tx)
    .await?;
    sqlx::query!("DELETE FROM grants WHERE user_id = $1", user_id as _)
        .execute(&mut **tx)
        .await?;
    sqlx::query!("DELETE FROM consents WHERE user_id = $1", user_id as _)
        .execute(&mut **tx)
        .await?;
    sqlx::query!(
        "DELETE FROM sessions WHERE user_id = $1 AND ended_at IS NOT NULL",
        user_id as _,
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// The names, folded, and until when each is to be held: the one that the account has until `held_until` if that is given,
/// those that it gave up for as long as they were. The latter's rows are gone.
pub async fn take_names(
    tx: &mut Transaction,
    user_id: UserId,
    held_until: Option<OffsetDateTime>,
    now: OffsetDateTime,
) -> sqlx::Result<Vec<(String, OffsetDateTime)>> {
    let names = sqlx::query!(
        r#"
        WITH given_up AS (
            DELETE FROM held_usernames
            WHERE user_id = $1
            RETURNING username_folded, held_until
        ), names AS (
            SELECT username_folded, held_until FROM given_up
            UNION ALL
            SELECT username_folded, $2 FROM users WHERE user_id = $1
        )
        SELECT username_folded AS "name!", max(held_until) AS "until!"
        FROM names
        WHERE held_until > $3
        GROUP BY username_folded
        "#,
        user_id as _,
        held_until,
        now,
    )
    .fetch_all(&mut **tx)
    .await?;
    Ok(names.into_iter().map(|row| (row.name, row.until)).collect())
}

/// Holds names of which only hashes remain, each until its time.
pub async fn hold_by_hash(
    tx: &mut Transaction,
    hashes: &[Vec<u8>],
    held_until: &[OffsetDateTime],
) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        INSERT INTO held_username_hashes (username_hash, held_until)
        SELECT hash, held_until
        FROM unnest($1::bytea[], $2::timestamptz[]) AS held (hash, held_until)
        ON CONFLICT (username_hash)
        DO UPDATE SET held_until = greatest(held_username_hashes.held_until, excluded.held_until)
        "#,
        hashes,
        held_until,
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// The identities and everything that the account's row says of the person. Its id and its times stay.
pub async fn anonymise(tx: &mut Transaction, user_id: UserId, now: OffsetDateTime) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        UPDATE users
        SET username = NULL, username_folded = NULL, username_changed_at = NULL, display_name = NULL, picture = NULL,
            role = 'user', primary_link_id = NULL, upstream_claims = '{}', disabled_at = NULL,
            display_name_link_id = NULL, picture_link_id = NULL, claims_link_id = NULL,
            updated_at = $2, deleted_at = $2
        WHERE user_id = $1
        "#,
        user_id as _,
        now,
    )
    .execute(&mut **tx)
    .await?;
    sqlx::query!("DELETE FROM oauth_links WHERE user_id = $1", user_id as _)
        .execute(&mut **tx)
        .await?;
    Ok(())
}
