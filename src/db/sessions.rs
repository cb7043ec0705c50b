//! Browser sessions and the values of their cookie: `sessions`, `session_tokens`.

use sqlx::PgExecutor;
use time::OffsetDateTime;

use crate::protocol::ids::{SessionId, UserId};
use crate::protocol::opaque::TokenHash;

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
               u.display_name, u.picture, u.role, s.provider, s.auth_time, s.acr, s.amr
        FROM session_tokens t
        JOIN sessions s ON s.session_id = t.session_id
        JOIN users u ON u.user_id = s.user_id
        WHERE t.token_hash = $1
          AND s.ended_at IS NULL
          AND s.expires_at > $2
          AND (s.absolute_expires_at IS NULL OR s.absolute_expires_at > $2)
          AND u.deleted_at IS NULL
          AND u.disabled_at IS NULL
          AND (t.consumed_at IS NULL OR (t.successor_salt IS NOT NULL AND t.consumed_at > $3))
        "#,
        token_hash as _,
        now,
        now - time::Duration::seconds(i64::from(leeway_secs)),
    )
    .fetch_optional(db)
    .await
}
