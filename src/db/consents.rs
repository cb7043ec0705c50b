//! What people have agreed to: `consents`.

use sqlx::PgExecutor;
use time::OffsetDateTime;

use super::grants::RevocationReason;
use crate::db::Transaction;
use crate::protocol::ids::{ClientId, SessionId, UserId};
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

/// As [`find`], and nobody takes it back until `tx` ends.
pub async fn hold(tx: &mut Transaction, user_id: UserId, client_id: &ClientId) -> sqlx::Result<ScopeSet> {
    let scope = sqlx::query_scalar!(
        r#"
        SELECT scope AS "scope: ScopeSet"
        FROM consents
        WHERE user_id = $1 AND client_id = $2
        FOR SHARE
        "#,
        user_id as _,
        client_id.as_str(),
    )
    .fetch_optional(&mut **tx)
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

/// What a person let an app have.
#[derive(Clone, Debug)]
pub struct ListedConsent {
    pub client_id: ClientId,
    pub client_name: String,
    pub scope: ScopeSet,
    pub granted_at: OffsetDateTime,
    pub updated_at: OffsetDateTime,
    /// When the app last got tokens anew, by a redirect of the person's browser.
    pub last_used_at: Option<OffsetDateTime>,
}

/// The apps that a person let in, the newest first, `limit` at most.
pub async fn list(db: impl PgExecutor<'_>, user_id: UserId, limit: i64) -> sqlx::Result<Vec<ListedConsent>> {
    sqlx::query_as!(
        ListedConsent,
        r#"
        SELECT c.client_id AS "client_id: _", o.name AS client_name, c.scope AS "scope: _", c.granted_at, c.updated_at,
               (SELECT max(g.created_at) FROM grants g WHERE g.user_id = c.user_id AND g.client_id = c.client_id)
                   AS last_used_at
        FROM consents c
        JOIN oauth_clients o ON o.client_id = c.client_id
        WHERE c.user_id = $1
        ORDER BY c.granted_at DESC, c.client_id
        LIMIT $2
        "#,
        user_id as _,
        limit,
    )
    .fetch_all(db)
    .await
}

/// Forgets what was consented to, or more of it, at this moment or later. The apps that it was given to.
pub async fn forget_given_since(
    tx: &mut Transaction,
    user_id: UserId,
    since: OffsetDateTime,
) -> sqlx::Result<Vec<ClientId>> {
    sqlx::query_scalar!(
        r#"
        DELETE FROM consents
        WHERE user_id = $1
          AND updated_at >= $2
        RETURNING client_id AS "client_id: ClientId"
        "#,
        user_id as _,
        since,
    )
    .fetch_all(&mut **tx)
    .await
}

/// Forgets a consent, and ends what the client was given: requests and codes under way, then grants. Of live grants, the
/// sessions they hang on; `None` if there was no consent.
///
/// Rows are locked in the order in which a code is issued: the session (by the caller), consent, code, request. Whoever is just renewing the consent is
/// waited for, and their code is then found.
pub async fn withdraw(
    tx: &mut Transaction,
    user_id: UserId,
    client_id: &ClientId,
    now: OffsetDateTime,
) -> sqlx::Result<Option<Vec<SessionId>>> {
    let forgotten = sqlx::query!(
        "DELETE FROM consents WHERE user_id = $1 AND client_id = $2",
        user_id as _,
        client_id.as_str(),
    )
    .execute(&mut **tx)
    .await?;
    if forgotten.rows_affected() == 0 {
        return Ok(None);
    }
    sqlx::query!(
        r#"
        UPDATE authorization_codes
        SET used_at = $3
        WHERE user_id = $1
          AND client_id = $2
          AND used_at IS NULL
        "#,
        user_id as _,
        client_id.as_str(),
        now,
    )
    .execute(&mut **tx)
    .await?;
    let sessions = sqlx::query_scalar!(
        r#"
        UPDATE grants
        SET revoked_at = $3, revoked_reason = $4
        WHERE user_id = $1
          AND client_id = $2
          AND revoked_at IS NULL
        RETURNING session_id AS "session_id: SessionId"
        "#,
        user_id as _,
        client_id.as_str(),
        now,
        RevocationReason::Consent.as_str(),
    )
    .fetch_all(&mut **tx)
    .await?;
    sqlx::query!(
        "DELETE FROM authorization_requests WHERE user_id = $1 AND client_id = $2",
        user_id as _,
        client_id.as_str(),
    )
    .execute(&mut **tx)
    .await?;
    let mut sessions: Vec<SessionId> = sessions.into_iter().flatten().collect();
    sessions.sort_unstable();
    sessions.dedup();
    Ok(Some(sessions))
}
