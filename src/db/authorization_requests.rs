//! Authorization requests that wait for a person: `authorization_requests`.

use sqlx::PgExecutor;
use time::OffsetDateTime;

use crate::protocol::ids::{ClientId, SessionId, UserId};
use crate::protocol::opaque::TokenHash;

/// At most this many wait per browser; the oldest gives way.
pub const MAX_PER_BROWSER: i64 = 20;
/// About this many may wait in all, of those that nobody has signed in for; beyond it the oldest give way.
pub const MAX_IN_ALL: i64 = 100_000;

/// A request that waits, its content still sealed.
#[derive(Clone, Debug)]
pub struct PendingRequest {
    pub request_hash: TokenHash,
    pub client_id: ClientId,
    pub sealed: Vec<u8>,
    /// `None` until the first request that can show its cookies.
    pub demands_login: Option<bool>,
    pub login_satisfied_at: Option<OffsetDateTime>,
    pub user_id: Option<UserId>,
    pub session_id: Option<SessionId>,
    /// `approved` or `denied`, once the person has decided.
    pub decision: Option<String>,
    /// The OAuth error that the upstream sign-in ended in.
    pub failure: Option<String>,
    pub expires_at: OffsetDateTime,
}

/// A request to be stored.
pub struct NewPendingRequest<'a> {
    pub request_hash: TokenHash,
    /// `None`: arrived by a cross-site POST, which shows no cookie; the first resume binds it.
    pub browser_hash: Option<TokenHash>,
    pub client_id: &'a ClientId,
    pub sealed: Vec<u8>,
    pub demands_login: Option<bool>,
    pub created_at: OffsetDateTime,
    pub expires_at: OffsetDateTime,
}

/// Stores a request; the browser's oldest give way.
pub async fn insert(db: impl PgExecutor<'_>, new: &NewPendingRequest<'_>) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        WITH dropped AS (
            DELETE FROM authorization_requests
            WHERE request_hash IN (
                SELECT request_hash
                FROM authorization_requests
                WHERE browser_hash = $2
                ORDER BY created_at DESC
                OFFSET $8
            )
        )
        INSERT INTO authorization_requests
            (request_hash, browser_hash, client_id, sealed, demands_login, created_at, expires_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        "#,
        new.request_hash as _,
        new.browser_hash as Option<TokenHash>,
        new.client_id.as_str(),
        new.sealed,
        new.demands_login,
        new.created_at,
        new.expires_at,
        MAX_PER_BROWSER - 1,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Deletes up to `batch_rows` of the oldest requests that nobody has signed in for, beyond the newest `keep`.
pub async fn evict_surplus(db: impl PgExecutor<'_>, keep: i64, batch_rows: i64) -> sqlx::Result<u64> {
    let result = sqlx::query!(
        r#"
        DELETE FROM authorization_requests WHERE request_hash IN (
            SELECT request_hash
            FROM authorization_requests
            WHERE user_id IS NULL
              AND expires_at <= (
                  SELECT expires_at
                  FROM authorization_requests
                  WHERE user_id IS NULL
                  ORDER BY expires_at DESC
                  OFFSET $1
                  LIMIT 1)
            LIMIT $2
            FOR UPDATE SKIP LOCKED
        )
        "#,
        keep,
        batch_rows,
    )
    .execute(db)
    .await?;
    Ok(result.rows_affected())
}

/// The request of this id, if it waits in this browser. One that is bound to no browser yet is bound to this one.
pub async fn claim(
    db: impl PgExecutor<'_>,
    request_hash: &TokenHash,
    browser_hash: &TokenHash,
    now: OffsetDateTime,
) -> sqlx::Result<Option<PendingRequest>> {
    sqlx::query_as!(
        PendingRequest,
        r#"
        UPDATE authorization_requests
        SET browser_hash = $2
        WHERE request_hash = $1
          AND (browser_hash = $2 OR browser_hash IS NULL)
          AND expires_at > $3
        RETURNING request_hash AS "request_hash: _", client_id AS "client_id: _", sealed, demands_login,
                  login_satisfied_at, user_id AS "user_id: _", session_id AS "session_id: _", decision, failure,
                  expires_at
        "#,
        request_hash as _,
        browser_hash as _,
        now,
    )
    .fetch_optional(db)
    .await
}

/// The request of this id, if it is bound to this browser.
pub async fn find_pending(
    db: impl PgExecutor<'_>,
    request_hash: &TokenHash,
    browser_hash: &TokenHash,
    now: OffsetDateTime,
) -> sqlx::Result<Option<PendingRequest>> {
    sqlx::query_as!(
        PendingRequest,
        r#"
        SELECT request_hash AS "request_hash: _", client_id AS "client_id: _", sealed, demands_login,
               login_satisfied_at, user_id AS "user_id: _", session_id AS "session_id: _", decision, failure,
               expires_at
        FROM authorization_requests
        WHERE request_hash = $1
          AND browser_hash = $2
          AND expires_at > $3
        "#,
        request_hash as _,
        browser_hash as _,
        now,
    )
    .fetch_optional(db)
    .await
}

/// Notes, once, whether the request demands a login. `false`: somebody else has judged it meanwhile.
pub async fn judge_login(
    db: impl PgExecutor<'_>,
    request_hash: &TokenHash,
    demands_login: bool,
) -> sqlx::Result<bool> {
    let result = sqlx::query!(
        r#"
        UPDATE authorization_requests
        SET demands_login = $2
        WHERE request_hash = $1 AND demands_login IS NULL
        "#,
        request_hash as _,
        demands_login,
    )
    .execute(db)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// A sign-in that was started for this request has succeeded in this session. `false`: the request is gone.
pub async fn mark_login_satisfied(
    db: impl PgExecutor<'_>,
    request_hash: &TokenHash,
    browser_hash: &TokenHash,
    user_id: UserId,
    session_id: SessionId,
    now: OffsetDateTime,
) -> sqlx::Result<bool> {
    let result = sqlx::query!(
        r#"
        UPDATE authorization_requests
        SET login_satisfied_at = $5, user_id = $3, session_id = $4, decision = NULL, failure = NULL
        WHERE request_hash = $1 AND browser_hash = $2 AND expires_at > $5
        "#,
        request_hash as _,
        browser_hash as _,
        user_id as _,
        session_id as _,
        now,
    )
    .execute(db)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// The sign-in that was started for this request has failed for good: resuming it gives this OAuth error to the client.
pub async fn mark_failed(
    db: impl PgExecutor<'_>,
    request_hash: &TokenHash,
    browser_hash: &TokenHash,
    failure: &str,
    now: OffsetDateTime,
) -> sqlx::Result<bool> {
    let result = sqlx::query!(
        r#"
        UPDATE authorization_requests
        SET failure = $3
        WHERE request_hash = $1 AND browser_hash = $2 AND expires_at > $4
        "#,
        request_hash as _,
        browser_hash as _,
        failure,
        now,
    )
    .execute(db)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// Binds the request to the person who is asked for consent. What another session decided before no longer counts.
pub async fn bind_person(
    db: impl PgExecutor<'_>,
    request_hash: &TokenHash,
    user_id: UserId,
    session_id: SessionId,
) -> sqlx::Result<bool> {
    let result = sqlx::query!(
        r#"
        UPDATE authorization_requests
        SET decision = CASE WHEN session_id = $3 THEN decision END,
            login_satisfied_at = CASE WHEN session_id = $3 THEN login_satisfied_at END,
            user_id = $2,
            session_id = $3
        WHERE request_hash = $1
        "#,
        request_hash as _,
        user_id as _,
        session_id as _,
    )
    .execute(db)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// Records the person's decision, once. `false`: not theirs, expired, decided already, or never there.
pub async fn decide(
    db: impl PgExecutor<'_>,
    request_hash: &TokenHash,
    browser_hash: &TokenHash,
    session_id: SessionId,
    approved: bool,
    now: OffsetDateTime,
) -> sqlx::Result<bool> {
    let result = sqlx::query!(
        r#"
        UPDATE authorization_requests
        SET decision = CASE WHEN $4 THEN 'approved' ELSE 'denied' END
        WHERE request_hash = $1
          AND browser_hash = $2
          AND session_id = $3
          AND decision IS NULL
          AND expires_at > $5
        "#,
        request_hash as _,
        browser_hash as _,
        session_id as _,
        approved,
        now,
    )
    .execute(db)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// Takes the request away, so that it is answered once. `false`: somebody else has answered it.
pub async fn consume(db: impl PgExecutor<'_>, request_hash: &TokenHash) -> sqlx::Result<bool> {
    let result = sqlx::query!(
        "DELETE FROM authorization_requests WHERE request_hash = $1",
        request_hash as _
    )
    .execute(db)
    .await?;
    Ok(result.rows_affected() == 1)
}
