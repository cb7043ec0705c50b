//! What people have agreed to: `consents`.

use sqlx::PgExecutor;
use time::OffsetDateTime;

use crate::protocol::ids::{ClientId, UserId};
use crate::protocol::scope::ScopeSet;

/// The scopes that this person has granted this client; the empty set if none.
pub async fn find(db: impl PgExecutor<'_>, user_id: UserId, client_id: &ClientId) -> sqlx::Result<ScopeSet> {
    let scope = sqlx::query_scalar!(
        r#"
        SELECT scope AS "scope: ScopeSet"
        FROM consents
        WHERE user_id = $1 AND client_id = $2
        "#,
        user_id as _,
        client_id.as_str(),
    )
    .fetch_optional(db)
    .await?;
    Ok(scope.unwrap_or_default())
}

/// Remembers that this person has granted `scope`, in place of what was remembered; the caller has united both.
pub async fn remember(
    db: impl PgExecutor<'_>,
    user_id: UserId,
    client_id: &ClientId,
    scope: &ScopeSet,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        INSERT INTO consents (user_id, client_id, scope, granted_at, updated_at)
        VALUES ($1, $2, $3, $4, $4)
        ON CONFLICT (user_id, client_id)
        DO UPDATE SET scope = excluded.scope, updated_at = excluded.updated_at
        "#,
        user_id as _,
        client_id.as_str(),
        scope as _,
        now,
    )
    .execute(db)
    .await?;
    Ok(())
}
