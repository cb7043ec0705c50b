//! When each key was first published, first signed and last signed: `signing_keys`.

use sqlx::PgExecutor;
use time::OffsetDateTime;

use crate::db::Transaction;

/// A key as it is in use at this moment.
pub struct KeyInUse<'a> {
    pub kid: &'a str,
    /// `ES256` or `RS256`.
    pub algorithm: &'a str,
    /// Signs whatever is signed with this algorithm now.
    pub signs: bool,
}

/// What is known of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedKey {
    pub kid: String,
    pub algorithm: String,
    pub first_seen_at: OffsetDateTime,
    pub first_signed_at: Option<OffsetDateTime>,
    pub last_signed_at: Option<OffsetDateTime>,
}

/// A key that began to sign by what was recorded just now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSigner {
    pub kid: String,
    pub algorithm: String,
    /// The key that signed before, if one did.
    pub previous_kid: Option<String>,
}

/// Every key that was ever recorded.
pub async fn list(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<RecordedKey>> {
    sqlx::query_as!(
        RecordedKey,
        r#"
        SELECT kid, algorithm, first_seen_at, first_signed_at, last_signed_at
        FROM signing_keys
        ORDER BY first_seen_at, kid
        "#
    )
    .fetch_all(db)
    .await
}

/// Records which keys are published and which of them signs. Several instances may say the same: who is first is told of
/// the keys that began to sign, the others of none.
pub async fn record(
    tx: &mut Transaction,
    keys: &[KeyInUse<'_>],
    now: OffsetDateTime,
) -> sqlx::Result<Vec<NewSigner>> {
    let kids: Vec<String> = keys.iter().map(|key| key.kid.to_owned()).collect();
    let algorithms: Vec<String> = keys.iter().map(|key| key.algorithm.to_owned()).collect();
    let signs: Vec<bool> = keys.iter().map(|key| key.signs).collect();
    // Instances come one after the other; the number is this table's alone among advisory locks.
    sqlx::query!("SELECT pg_advisory_xact_lock(7310298)::text AS locked")
        .fetch_one(&mut **tx)
        .await?;
    sqlx::query!(
        r#"
        INSERT INTO signing_keys (kid, algorithm, first_seen_at)
        SELECT kid, algorithm, $3 FROM unnest($1::text[], $2::text[]) AS k (kid, algorithm)
        ON CONFLICT (kid) DO NOTHING
        "#,
        &kids,
        &algorithms,
        now,
    )
    .execute(&mut **tx)
    .await?;
    sqlx::query_as!(
        NewSigner,
        r#"
        WITH signer AS (
            SELECT kid, algorithm
            FROM unnest($1::text[], $2::text[], $3::bool[]) AS k (kid, algorithm, signs)
            WHERE signs
        ), stopped AS (
            UPDATE signing_keys old
            SET last_signed_at = $4
            FROM signer
            WHERE old.algorithm = signer.algorithm
              AND old.kid <> signer.kid
              AND old.first_signed_at IS NOT NULL
              AND old.last_signed_at IS NULL
            RETURNING old.kid, old.algorithm
        ), started AS (
            UPDATE signing_keys new
            SET first_signed_at = coalesce(new.first_signed_at, $4), last_signed_at = NULL
            FROM signer
            WHERE new.kid = signer.kid
              AND (new.first_signed_at IS NULL OR new.last_signed_at IS NOT NULL)
            RETURNING new.kid, new.algorithm
        )
        SELECT started.kid, started.algorithm, (
            SELECT min(stopped.kid) FROM stopped WHERE stopped.algorithm = started.algorithm
        ) AS previous_kid
        FROM started
        ORDER BY started.kid
        "#,
        &kids,
        &algorithms,
        &signs,
        now,
    )
    .fetch_all(&mut **tx)
    .await
}

/// Notes that lists of keys are given out with this `max-age`, and forgets numbers that have been of no importance for a day.
pub async fn serve_max_age(
    db: impl PgExecutor<'_>,
    max_age_secs: i32,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        WITH forgotten AS (
            DELETE FROM jwks_max_ages
            WHERE max_age_secs <> $1
              AND last_served_at + make_interval(days => 1, secs => max_age_secs) < $2
        )
        INSERT INTO jwks_max_ages AS known (max_age_secs, last_served_at)
        VALUES ($1, $2)
        ON CONFLICT (max_age_secs)
            DO UPDATE SET last_served_at = greatest(known.last_served_at, excluded.last_served_at)
        "#,
        max_age_secs,
        now,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Until when somebody may keep a list that was given out up to now with a `max-age` above this one; `None`: none was noted.
pub async fn lists_kept_until(
    db: impl PgExecutor<'_>,
    above_secs: i32,
) -> sqlx::Result<Option<OffsetDateTime>> {
    sqlx::query_scalar!(
        r#"
        SELECT max(last_served_at + make_interval(secs => max_age_secs)) AS kept_until
        FROM jwks_max_ages
        WHERE max_age_secs > $1
        "#,
        above_secs,
    )
    .fetch_one(db)
    .await
}
