//! Who hears of events: `webhooks`.

use sqlx::PgExecutor;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::db::Transaction;
use crate::protocol::ids::ClientId;

/// What [`insert`] fails with when the client does not exist.
pub const CLIENT_EXISTS: &str = "webhooks_client_id_fkey";

/// A webhook without its secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// Time-ordered (v7).
    pub webhook_id: Uuid,
    /// `None`: hears of everything.
    pub client_id: Option<ClientId>,
    pub url: String,
    pub description: String,
    /// Empty: all.
    pub event_types: Vec<String>,
    pub disabled_at: Option<OffsetDateTime>,
    /// Until when the previous secret signs, too.
    pub previous_secret_expires_at: Option<OffsetDateTime>,
    pub created_at: OffsetDateTime,
    pub updated_at: OffsetDateTime,
}

/// Stores a webhook with its secret.
pub async fn insert(tx: &mut Transaction, webhook: &Webhook, sealed_secret: &[u8]) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        INSERT INTO webhooks
            (webhook_id, client_id, url, description, event_types, sealed_secret, disabled_at, created_at, updated_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        "#,
        webhook.webhook_id,
        webhook.client_id.as_ref() as _,
        webhook.url,
        webhook.description,
        &webhook.event_types,
        sealed_secret,
        webhook.disabled_at,
        webhook.created_at,
        webhook.updated_at,
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// A page of the webhooks, the oldest first. `client_id`: that client's alone. `after`: the last one of the page before.
pub async fn page(
    db: impl PgExecutor<'_>,
    client_id: Option<&ClientId>,
    after: Option<Uuid>,
    limit: i64,
) -> sqlx::Result<Vec<Webhook>> {
    sqlx::query_as!(
        Webhook,
        r#"
        SELECT webhook_id, client_id AS "client_id: ClientId", url, description, event_types, disabled_at,
               previous_secret_expires_at, created_at, updated_at
        FROM webhooks
        WHERE ($1::text IS NULL OR client_id = $1)
          AND ($2::uuid IS NULL OR webhook_id > $2)
        ORDER BY webhook_id
        LIMIT $3
        "#,
        client_id as _,
        after,
        limit,
    )
    .fetch_all(db)
    .await
}

/// The webhook of this id.
pub async fn find(db: impl PgExecutor<'_>, webhook_id: Uuid) -> sqlx::Result<Option<Webhook>> {
    sqlx::query_as!(
        Webhook,
        r#"
        SELECT webhook_id, client_id AS "client_id: ClientId", url, description, event_types, disabled_at,
               previous_secret_expires_at, created_at, updated_at
        FROM webhooks
        WHERE webhook_id = $1
        "#,
        webhook_id,
    )
    .fetch_optional(db)
    .await
}

/// The webhook of this id, its row locked until `tx` ends.
pub async fn lock(tx: &mut Transaction, webhook_id: Uuid) -> sqlx::Result<Option<Webhook>> {
    sqlx::query_as!(
        Webhook,
        r#"
        SELECT webhook_id, client_id AS "client_id: ClientId", url, description, event_types, disabled_at,
               previous_secret_expires_at, created_at, updated_at
        FROM webhooks
        WHERE webhook_id = $1
        -- Not against the foreign keys of deliveries: nobody who is told of waits for an administrator.
        FOR NO KEY UPDATE
        "#,
        webhook_id,
    )
    .fetch_optional(&mut **tx)
    .await
}

/// Writes what may be changed of a webhook; what waits for one that was disabled is due again, from then on, when it no longer
/// is.
pub async fn update(tx: &mut Transaction, webhook: &Webhook) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        UPDATE webhooks
        SET url = $2, description = $3, event_types = $4, disabled_at = $5, updated_at = $6,
            enabled_at = CASE WHEN disabled_at IS NOT NULL AND $5::timestamptz IS NULL THEN $6 ELSE enabled_at END
        WHERE webhook_id = $1
        "#,
        webhook.webhook_id,
        webhook.url,
        webhook.description,
        &webhook.event_types,
        webhook.disabled_at,
        webhook.updated_at,
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Another secret; the one before signs too until `previous_expires_at`, and one before that no longer. `None`: no such
/// webhook.
pub async fn rotate_secret(
    tx: &mut Transaction,
    webhook_id: Uuid,
    sealed_secret: &[u8],
    previous_expires_at: OffsetDateTime,
    now: OffsetDateTime,
) -> sqlx::Result<Option<Webhook>> {
    sqlx::query_as!(
        Webhook,
        r#"
        UPDATE webhooks
        SET sealed_previous_secret = sealed_secret,
            previous_secret_expires_at = $3,
            sealed_secret = $2,
            updated_at = $4
        WHERE webhook_id = $1
        RETURNING webhook_id, client_id AS "client_id: ClientId", url, description, event_types, disabled_at,
                  previous_secret_expires_at, created_at, updated_at
        "#,
        webhook_id,
        sealed_secret,
        previous_expires_at,
        now,
    )
    .fetch_optional(&mut **tx)
    .await
}

/// Removes a webhook with what is to be sent to it. `false`: no such webhook.
pub async fn delete(tx: &mut Transaction, webhook_id: Uuid) -> sqlx::Result<bool> {
    let result = sqlx::query!("DELETE FROM webhooks WHERE webhook_id = $1", webhook_id)
        .execute(&mut **tx)
        .await?;
    Ok(result.rows_affected() == 1)
}
