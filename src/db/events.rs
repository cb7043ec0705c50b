//! The outbox: `events`, and the `deliveries` of them that webhooks are due.

use serde_json::Value;
use sqlx::postgres::PgListener;
use sqlx::types::Json;
use sqlx::{Acquire as _, Connection as _};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::db::Transaction;
use crate::events::Event;
use crate::protocol::ids::{UserId, time_ordered_id};

/// The channel on which the delivery worker hears that something is due.
pub const CHANNEL: &str = "riley_auth_deliveries";

/// Fails when nobody is at the other end of a connection that listens.
pub async fn ping(listener: &mut PgListener) -> sqlx::Result<()> {
    listener.acquire().await?.ping().await
}

/// Writes events and what webhooks are due of them, in one statement of the transaction that made them happen.
///
/// A webhook without a client hears of everything. A client's own hears what names that client, and of a person
/// (`user.*`) who lets the client in, by a consent or a grant that stands; names only where that has the scope `profile`.
pub async fn emit(tx: &mut Transaction, events: &[Event], now: OffsetDateTime) -> sqlx::Result<()> {
    if events.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = events.iter().map(|_| time_ordered_id(now)).collect();
    let types: Vec<String> = events.iter().map(|event| event.event_type().to_owned()).collect();
    let users: Vec<Option<Uuid>> = events
        .iter()
        .map(|event| event.user_id().map(|user_id| user_id.0))
        .collect();
    let clients: Vec<Option<String>> = events
        .iter()
        .map(|event| event.client_id().map(|client_id| client_id.0.clone()))
        .collect();
    let data: Vec<Json<Value>> = events.iter().map(|event| Json(event.data())).collect();
    sqlx::query!(
        r#"
        WITH written AS (
            INSERT INTO events (event_id, event_type, user_id, client_id, data, created_at)
            SELECT event_id, event_type, user_id, client_id, data, $6
            FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::text[], $5::jsonb[])
                 AS e (event_id, event_type, user_id, client_id, data)
            RETURNING event_id, event_type, user_id, client_id
        ), due AS (
            INSERT INTO deliveries (delivery_id, kind, event_id, webhook_id, next_attempt_at, created_at)
            SELECT gen_random_uuid(), 'webhook', e.event_id, w.webhook_id, $6, $6
            FROM written e
            JOIN webhooks w
              ON w.disabled_at IS NULL
             AND (w.event_types = '{}' OR e.event_type = ANY (w.event_types))
             AND (
                 w.client_id IS NULL
                 OR w.client_id = e.client_id
                 OR (
                     e.event_type LIKE 'user.%'
                     AND (
                         EXISTS (
                             SELECT FROM consents c
                             WHERE c.user_id = e.user_id
                               AND c.client_id = w.client_id
                               AND (
                                   e.event_type <> 'user.username_changed'
                                   OR 'profile' = ANY (string_to_array(c.scope, ' '))
                               )
                         )
                         OR EXISTS (
                             SELECT FROM grants g
                             WHERE g.user_id = e.user_id
                               AND g.client_id = w.client_id
                               AND g.revoked_at IS NULL
                               AND (
                                   e.event_type <> 'user.username_changed'
                                   OR 'profile' = ANY (string_to_array(g.scope, ' '))
                               )
                         )
                     )
                 )
             )
             -- Sent to the one webhook that is tried out, by `deliveries::enqueue_ping`.
             AND e.event_type <> 'webhook.ping'
            -- One that is being removed meanwhile is left out instead of failing whatever is told of.
            FOR KEY SHARE OF w
            RETURNING 1
        )
        SELECT pg_notify('riley_auth_deliveries', '')::text AS notified
        FROM (SELECT FROM due LIMIT 1) AS any_due
        "#,
        &ids,
        &types,
        &users as _,
        &clients as _,
        &data as _,
        now,
    )
    .fetch_optional(&mut **tx)
    .await?;
    Ok(())
}

/// Removes names from what was told about a person, delivered or not; ids and types stay. How many events that were.
pub async fn scrub(tx: &mut Transaction, user_id: UserId, now: OffsetDateTime) -> sqlx::Result<u64> {
    let done = sqlx::query!(
        r#"
        UPDATE events
        SET data = data - '{username,old_username,new_username}'::text[],
            scrubbed_at = $2
        WHERE user_id = $1
          AND data ?| '{username,old_username,new_username}'::text[]
        "#,
        user_id as _,
        now,
    )
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected())
}

/// An event for one webhook alone, whatever it asked to hear of. Returns the delivery's id.
pub async fn emit_to(
    tx: &mut Transaction,
    event: &Event,
    webhook_id: Uuid,
    now: OffsetDateTime,
) -> sqlx::Result<Uuid> {
    sqlx::query_scalar!(
        r#"
        WITH written AS (
            INSERT INTO events (event_id, event_type, data, created_at)
            VALUES ($1, $2, $3, $4)
            RETURNING event_id
        ), due AS (
            INSERT INTO deliveries (delivery_id, kind, event_id, webhook_id, next_attempt_at, created_at)
            SELECT gen_random_uuid(), 'webhook', event_id, $5, $4, $4 FROM written
            RETURNING delivery_id
        )
        SELECT delivery_id AS "delivery_id!"
        FROM due, pg_notify('riley_auth_deliveries', '')
        "#,
        time_ordered_id(now),
        event.event_type(),
        Json(event.data()) as _,
        now,
        webhook_id,
    )
    .fetch_one(&mut **tx)
    .await
}
