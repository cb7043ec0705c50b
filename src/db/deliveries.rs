//! What is to be sent: `deliveries`.

use sqlx::PgTransaction;
use time::OffsetDateTime;

use crate::protocol::ids::SessionId;

/// A logout notice for every client that has, or had, a grant of one of these sessions and registered a
/// `backchannel_logout_uri` (OpenID Connect Back-Channel Logout §2.5), in the transaction that ends them.
pub async fn enqueue_logout(
    tx: &mut PgTransaction<'_>,
    sessions: &[SessionId],
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    if sessions.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        r#"
        WITH due AS (
            INSERT INTO deliveries (delivery_id, kind, client_id, user_id, session_id, next_attempt_at, created_at)
            SELECT gen_random_uuid(), 'backchannel_logout', g.client_id, g.user_id, g.session_id, $2, $2
            FROM (
                SELECT DISTINCT client_id, user_id, session_id
                FROM grants
                WHERE session_id = ANY ($1)
            ) g
            JOIN oauth_clients c ON c.client_id = g.client_id
            WHERE c.backchannel_logout_uri IS NOT NULL
              AND c.disabled_at IS NULL
            RETURNING 1
        )
        SELECT pg_notify('riley_auth_deliveries', '')::text AS notified
        FROM (SELECT FROM due LIMIT 1) AS any_due
        "#,
        sessions as _,
        now,
    )
    .fetch_optional(&mut **tx)
    .await?;
    Ok(())
}
