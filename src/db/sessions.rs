//! Browser sessions and the values of their cookie: `sessions`, `session_tokens`.

use sqlx::PgExecutor;
use time::OffsetDateTime;

use crate::db::Transaction;
use crate::protocol::grant::CLOCKS_APART_SECS;
use crate::protocol::ids::{LinkId, SessionId, UserId};
use crate::protocol::opaque::{Salt, TokenHash};

/// A live session of a live user, found by its cookie.
#[derive(Clone, Debug)]
pub struct LiveSession {
    pub session_id: SessionId,
    pub user_id: UserId,
    pub username: String,
    pub display_name: Option<String>,
    pub picture: Option<String>,
    pub role: String,
    /// The name of the upstream provider of the last login.
    pub provider: String,
    /// Seconds since the epoch.
    pub auth_time: i64,
    pub acr: Option<String>,
    pub amr: Option<Vec<String>>,
    /// The presented value is the newest one, not its predecessor within the leeway.
    pub is_newest_value: bool,
}

/// The live session that this cookie value opens: the current value, or the one before it while the leeway lasts and its
/// successor is unused. A value that opens nothing is `None` for whatever reason.
pub async fn find_live_by_token(
    db: impl PgExecutor<'_>,
    token_hash: &TokenHash,
    leeway_secs: u32,
    now: OffsetDateTime,
) -> sqlx::Result<Option<LiveSession>> {
    sqlx::query_as!(
        LiveSession,
        r#"
        SELECT s.session_id AS "session_id: _", s.user_id AS "user_id: _", u.username AS "username!",
               u.display_name, u.picture, u.role, s.provider, s.auth_time, s.acr, s.amr,
               t.consumed_at IS NULL AS "is_newest_value!"
        FROM session_tokens t
        JOIN sessions s ON s.session_id = t.session_id
        JOIN users u ON u.user_id = s.user_id
        WHERE t.token_hash = $1
          AND s.ended_at IS NULL
          AND s.expires_at > $2
          AND (s.absolute_expires_at IS NULL OR s.absolute_expires_at > $2)
          AND u.deleted_at IS NULL
          AND u.disabled_at IS NULL
          AND (t.consumed_at IS NULL OR (t.successor_salt IS NOT NULL AND t.consumed_at > $3 AND t.consumed_at <= $4))
        "#,
        token_hash as _,
        now,
        now - time::Duration::seconds(i64::from(leeway_secs)),
        now + time::Duration::seconds(CLOCKS_APART_SECS),
    )
    .fetch_optional(db)
    .await
}

/// How many sessions of live users are alive.
pub async fn count_active(db: impl PgExecutor<'_>, now: OffsetDateTime) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"
        SELECT count(*) AS "count!"
        FROM sessions s
        JOIN users u ON u.user_id = s.user_id
        WHERE s.ended_at IS NULL
          AND s.expires_at > $1
          AND (s.absolute_expires_at IS NULL OR s.absolute_expires_at > $1)
          AND u.deleted_at IS NULL
          AND u.disabled_at IS NULL
        "#,
        now,
    )
    .fetch_one(db)
    .await
}

/// Notes that the session was used: it expires later, within its absolute limit. Returns the new expiry; `None` if the
/// session has ended meanwhile.
pub async fn touch(
    db: impl PgExecutor<'_>,
    session_id: SessionId,
    expires_at: OffsetDateTime,
    now: OffsetDateTime,
) -> sqlx::Result<Option<OffsetDateTime>> {
    sqlx::query_scalar!(
        r#"
        UPDATE sessions
        SET last_used_at = $3,
            expires_at = LEAST($2, absolute_expires_at)
        WHERE session_id = $1 AND ended_at IS NULL
        RETURNING expires_at
        "#,
        session_id as _,
        expires_at,
        now,
    )
    .fetch_optional(db)
    .await
}

/// What a login says about the session it opens or renews.
pub struct Login<'a> {
    pub user_id: UserId,
    pub link_id: LinkId,
    /// The name of the upstream provider.
    pub provider: &'a str,
    pub upstream_sid: Option<&'a str>,
    /// When the upstream login completed, seconds since the epoch.
    pub auth_time: i64,
    pub acr: Option<&'a str>,
    pub amr: Option<&'a [String]>,
    pub user_agent: Option<&'a str>,
    pub ip_address: Option<&'a str>,
    pub expires_at: OffsetDateTime,
    pub absolute_expires_at: Option<OffsetDateTime>,
}

/// A value of the session cookie as it is stored, with what its rotation depends on.
#[derive(Clone, Debug)]
pub struct StoredSessionToken {
    pub session_id: SessionId,
    pub user_id: UserId,
    pub username: String,
    pub display_name: Option<String>,
    pub picture: Option<String>,
    pub role: String,
    pub user_created_at: OffsetDateTime,
    /// Seconds since the epoch.
    pub auth_time: i64,
    pub expires_at: OffsetDateTime,
    pub consumed_at: Option<OffsetDateTime>,
    /// Present from consumption until the successor is first used.
    pub successor_salt: Option<Salt>,
    /// The session has neither ended nor expired and its user is live.
    pub alive: bool,
}

/// The rotation of a cookie value.
pub struct NewSuccessor<'a> {
    pub token_hash: &'a TokenHash,
    pub salt: Salt,
    pub successor_hash: &'a TokenHash,
    /// Where the session's end slides to, unless its absolute end is earlier.
    pub expires_at: OffsetDateTime,
}

/// Opens a session with the first value of its cookie.
pub async fn insert(
    tx: &mut Transaction,
    session_id: SessionId,
    token_hash: &TokenHash,
    login: &Login<'_>,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        INSERT INTO sessions (session_id, user_id, link_id, provider, upstream_sid, auth_time, acr, amr, user_agent,
                              ip_address, created_at, last_used_at, expires_at, absolute_expires_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11, $12, $13)
        "#,
        session_id as _,
        login.user_id as _,
        login.link_id as _,
        login.provider,
        login.upstream_sid,
        login.auth_time,
        login.acr,
        login.amr,
        login.user_agent,
        login.ip_address,
        now,
        login.expires_at,
        login.absolute_expires_at,
    )
    .execute(&mut **tx)
    .await?;
    insert_token(tx, session_id, token_hash, now).await
}

/// Renews a live session of the same person with another value of its cookie: the old values open nothing any more, and
/// `auth_time` moves to that of the login. `false` if it is not that person's or has ended meanwhile; nothing is written then.
pub async fn renew(
    tx: &mut Transaction,
    session_id: SessionId,
    token_hash: &TokenHash,
    login: &Login<'_>,
    now: OffsetDateTime,
) -> sqlx::Result<bool> {
    // The session's row first: every writer of its tokens locks it first.
    let renewed = sqlx::query!(
        r#"
        UPDATE sessions
        SET earlier_link_ids = CASE
                WHEN link_id IS NULL OR link_id = $3 OR link_id = ANY (earlier_link_ids) THEN earlier_link_ids
                ELSE array_append(earlier_link_ids, link_id)
            END,
            link_id = $3, provider = $4, upstream_sid = $5, auth_time = $6, acr = $7, amr = $8, user_agent = $9,
            ip_address = $10, last_used_at = $11, expires_at = $12, absolute_expires_at = $13
        WHERE session_id = $1
          AND user_id = $2
          AND ended_at IS NULL
        "#,
        session_id as _,
        login.user_id as _,
        login.link_id as _,
        login.provider,
        login.upstream_sid,
        login.auth_time,
        login.acr,
        login.amr,
        login.user_agent,
        login.ip_address,
        now,
        login.expires_at,
        login.absolute_expires_at,
    )
    .execute(&mut **tx)
    .await?;
    if renewed.rows_affected() == 0 {
        return Ok(false);
    }
    sqlx::query!(
        "DELETE FROM session_tokens WHERE session_id = $1",
        session_id as _
    )
    .execute(&mut **tx)
    .await?;
    insert_token(tx, session_id, token_hash, now).await?;
    Ok(true)
}

async fn insert_token(
    tx: &mut Transaction,
    session_id: SessionId,
    token_hash: &TokenHash,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO session_tokens (token_hash, session_id, issued_at) VALUES ($1, $2, $3)",
        token_hash as _,
        session_id as _,
        now,
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// The cookie value of this hash, spent or not, with its session.
pub async fn load_token(
    db: impl PgExecutor<'_>,
    token_hash: &TokenHash,
    now: OffsetDateTime,
) -> sqlx::Result<Option<StoredSessionToken>> {
    sqlx::query_as!(
        StoredSessionToken,
        r#"
        SELECT s.session_id AS "session_id: _", s.user_id AS "user_id: _", coalesce(u.username, '') AS "username!",
               u.display_name, u.picture, u.role, u.created_at AS user_created_at, s.auth_time, s.expires_at,
               t.consumed_at, t.successor_salt AS "successor_salt: _",
               s.ended_at IS NULL
               AND s.expires_at > $2
               AND (s.absolute_expires_at IS NULL OR s.absolute_expires_at > $2)
               AND u.deleted_at IS NULL
               AND u.disabled_at IS NULL AS "alive!"
        FROM session_tokens t
        JOIN sessions s ON s.session_id = t.session_id
        JOIN users u ON u.user_id = s.user_id
        WHERE t.token_hash = $1
        "#,
        token_hash as _,
        now,
    )
    .fetch_optional(db)
    .await
}

/// Spends a cookie value, stores its successor, slides the session's end and erases the salt that the spent value itself
/// came from: one statement, which writes only if everything still holds. `None`: it does not, load and decide again.
/// Otherwise the new end.
pub async fn rotate(
    db: impl PgExecutor<'_>,
    new: &NewSuccessor<'_>,
    now: OffsetDateTime,
) -> sqlx::Result<Option<OffsetDateTime>> {
    sqlx::query_scalar!(
        r#"
        WITH live AS (
            SELECT s.session_id
            FROM session_tokens t
            JOIN sessions s ON s.session_id = t.session_id
            JOIN users u ON u.user_id = s.user_id
            WHERE t.token_hash = $1
              AND t.consumed_at IS NULL
              AND s.ended_at IS NULL
              AND s.expires_at > $4
              AND (s.absolute_expires_at IS NULL OR s.absolute_expires_at > $4)
              AND u.deleted_at IS NULL
              AND u.disabled_at IS NULL
            FOR NO KEY UPDATE OF s
        ), consumed AS (
            UPDATE session_tokens t
            SET consumed_at = $4, successor_salt = $2
            FROM live
            WHERE t.token_hash = $1
              AND t.consumed_at IS NULL
            RETURNING t.session_id, t.parent_hash
        ), parent AS (
            UPDATE session_tokens p
            SET successor_salt = NULL
            FROM consumed c
            WHERE p.token_hash = c.parent_hash
        ), slid AS (
            UPDATE sessions s
            SET last_used_at = $4, expires_at = least($5, s.absolute_expires_at)
            FROM consumed c
            WHERE s.session_id = c.session_id
            RETURNING s.session_id, s.expires_at
        ), successor AS (
            INSERT INTO session_tokens (token_hash, session_id, parent_hash, issued_at)
            SELECT $3, slid.session_id, $1, $4
            FROM slid
        )
        SELECT expires_at AS "expires_at!"
        FROM slid
        "#,
        new.token_hash as _,
        new.salt as _,
        new.successor_hash as _,
        now,
        new.expires_at,
    )
    .fetch_optional(db)
    .await
}

/// Ends one session. Whose it was, if it was still going on.
pub async fn end(
    db: impl PgExecutor<'_>,
    session_id: SessionId,
    reason: &str,
    now: OffsetDateTime,
) -> sqlx::Result<Option<UserId>> {
    sqlx::query_scalar!(
        r#"
        UPDATE sessions
        SET ended_at = $3, ended_reason = $2
        WHERE session_id = $1
          AND ended_at IS NULL
        RETURNING user_id AS "user_id: _"
        "#,
        session_id as _,
        reason,
        now,
    )
    .fetch_optional(db)
    .await
}

/// Ends every session of a user but `except`; those that were still going on.
pub async fn end_all_of_user(
    db: impl PgExecutor<'_>,
    user_id: UserId,
    except: Option<SessionId>,
    reason: &str,
    now: OffsetDateTime,
) -> sqlx::Result<Vec<SessionId>> {
    sqlx::query_scalar!(
        r#"
        UPDATE sessions
        SET ended_at = $4, ended_reason = $3
        WHERE user_id = $1
          AND session_id IS DISTINCT FROM $2
          AND ended_at IS NULL
        RETURNING session_id AS "session_id: _"
        "#,
        user_id as _,
        except as _,
        reason,
        now,
    )
    .fetch_all(db)
    .await
}

/// Ends up to `limit` sessions of anybody; whose they were. None are left when none come back.
pub async fn end_some(
    tx: &mut Transaction,
    reason: &str,
    limit: i64,
    now: OffsetDateTime,
) -> sqlx::Result<Vec<(UserId, SessionId)>> {
    let ended = sqlx::query!(
        r#"
        UPDATE sessions
        SET ended_at = $2, ended_reason = $1
        WHERE session_id IN (
            SELECT session_id FROM sessions WHERE ended_at IS NULL ORDER BY session_id LIMIT $3 FOR NO KEY UPDATE
        )
          AND ended_at IS NULL
        RETURNING user_id AS "user_id: UserId", session_id AS "session_id: SessionId"
        "#,
        reason,
        now,
        limit,
    )
    .fetch_all(&mut **tx)
    .await?;
    Ok(ended
        .into_iter()
        .map(|row| (row.user_id, row.session_id))
        .collect())
}

/// A session as its owner sees it.
#[derive(Clone, Debug)]
pub struct ListedSession {
    pub session_id: SessionId,
    pub provider: String,
    /// Seconds since the epoch.
    pub auth_time: i64,
    pub user_agent: Option<String>,
    pub ip_address: Option<String>,
    pub created_at: OffsetDateTime,
    pub last_used_at: OffsetDateTime,
    pub expires_at: OffsetDateTime,
}

/// The live sessions of a user, last used first, `limit` at most.
pub async fn list_live_of_user(
    db: impl PgExecutor<'_>,
    user_id: UserId,
    limit: i64,
    now: OffsetDateTime,
) -> sqlx::Result<Vec<ListedSession>> {
    sqlx::query_as!(
        ListedSession,
        r#"
        SELECT session_id AS "session_id: _", provider, auth_time, user_agent, ip_address, created_at, last_used_at,
               least(expires_at, absolute_expires_at) AS "expires_at!"
        FROM sessions
        WHERE user_id = $1
          AND ended_at IS NULL
          AND expires_at > $2
          AND (absolute_expires_at IS NULL OR absolute_expires_at > $2)
        ORDER BY last_used_at DESC, session_id
        LIMIT $3
        "#,
        user_id as _,
        now,
        limit,
    )
    .fetch_all(db)
    .await
}

/// Ends every session of a user that was last signed in to by this link; those that were still going on.
pub async fn end_all_of_link(
    db: impl PgExecutor<'_>,
    user_id: UserId,
    link_id: LinkId,
    reason: &str,
    now: OffsetDateTime,
) -> sqlx::Result<Vec<SessionId>> {
    sqlx::query_scalar!(
        r#"
        UPDATE sessions
        SET ended_at = $4, ended_reason = $3
        WHERE link_id = $2
          AND user_id = $1
          AND ended_at IS NULL
        RETURNING session_id AS "session_id: _"
        "#,
        user_id as _,
        link_id as _,
        reason,
        now,
    )
    .fetch_all(db)
    .await
}

/// Every session of a user that was ever signed in to by one of these links, ended ones too.
pub async fn find_of_links(
    db: impl PgExecutor<'_>,
    user_id: UserId,
    link_ids: &[LinkId],
) -> sqlx::Result<Vec<SessionId>> {
    sqlx::query_scalar!(
        r#"
        SELECT session_id AS "session_id: _"
        FROM sessions
        WHERE user_id = $1
          AND (link_id = ANY ($2) OR earlier_link_ids && $2)
        "#,
        user_id as _,
        link_ids as _,
    )
    .fetch_all(db)
    .await
}

/// Ends these sessions; those that were still going on.
pub async fn end_these(
    db: impl PgExecutor<'_>,
    session_ids: &[SessionId],
    reason: &str,
    now: OffsetDateTime,
) -> sqlx::Result<Vec<SessionId>> {
    sqlx::query_scalar!(
        r#"
        UPDATE sessions
        SET ended_at = $3, ended_reason = $2
        WHERE session_id = ANY ($1)
          AND ended_at IS NULL
        RETURNING session_id AS "session_id: _"
        "#,
        session_ids as _,
        reason,
        now,
    )
    .fetch_all(db)
    .await
}

/// Ends one session if it is this user's. Whether it was, and was still going on.
pub async fn end_of_user(
    db: impl PgExecutor<'_>,
    session_id: SessionId,
    user_id: UserId,
    reason: &str,
    now: OffsetDateTime,
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        r#"
        UPDATE sessions
        SET ended_at = $4, ended_reason = $3
        WHERE session_id = $1
          AND user_id = $2
          AND ended_at IS NULL
        "#,
        session_id as _,
        user_id as _,
        reason,
        now,
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Whether a session has not ended, without a lock.
pub async fn goes_on(db: impl PgExecutor<'_>, session_id: SessionId) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM sessions WHERE session_id = $1 AND ended_at IS NULL) AS "does!""#,
        session_id as _,
    )
    .fetch_one(db)
    .await
}

/// A session that goes on.
#[derive(Clone, Copy, Debug)]
pub struct LockedSession {
    /// The link of its last login.
    pub link_id: Option<LinkId>,
}

/// The session, if it still goes on; its row stays locked until `tx` ends, so that nobody ends it before.
pub async fn lock_live(tx: &mut Transaction, session_id: SessionId) -> sqlx::Result<Option<LockedSession>> {
    sqlx::query_as!(
        LockedSession,
        r#"
        SELECT link_id AS "link_id: _"
        FROM sessions
        WHERE session_id = $1
          AND ended_at IS NULL
        FOR NO KEY UPDATE
        "#,
        session_id as _,
    )
    .fetch_optional(&mut **tx)
    .await
}
