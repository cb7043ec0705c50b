//! What is to be sent: `deliveries`.

use serde::Deserialize;
use sqlx::PgExecutor;
use sqlx::types::Json;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::db::Transaction;
use crate::delivery::backchannel_logout::LogoutNotice;
use crate::delivery::webhook::EventNotice;
use crate::protocol::ids::{ClientId, SessionId, UserId};

/// How long redelivering may take.
const REDELIVERY_SECS: u32 = 25;

/// A logout notice for every client that has, or had, a grant of one of these sessions and registered a
/// `backchannel_logout_uri` (OpenID Connect Back-Channel Logout §2.5), in the transaction that ends them.
///
/// A client with a code that is not redeemed yet is told, too: it may be redeeming it at this very moment, and then has
/// somebody signed in without a grant that could be seen from here.
pub async fn enqueue_logout(
    tx: &mut Transaction,
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
                SELECT client_id, user_id, session_id
                FROM grants
                WHERE session_id = ANY ($1)
                UNION
                SELECT client_id, user_id, session_id
                FROM authorization_codes
                WHERE session_id = ANY ($1)
                  AND used_at IS NULL
                  AND expires_at > $2
            ) g
            JOIN oauth_clients c ON c.client_id = g.client_id
            WHERE c.backchannel_logout_uri IS NOT NULL
              AND c.disabled_at IS NULL
            FOR KEY SHARE OF c
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

/// A logout notice to one client for each of these sessions of a person: the client has lost what it had there, while the
/// sessions go on.
pub async fn enqueue_logout_at_client(
    tx: &mut Transaction,
    client_id: &ClientId,
    user_id: UserId,
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
            SELECT gen_random_uuid(), 'backchannel_logout', c.client_id, $2, s.session_id, $4, $4
            FROM oauth_clients c, unnest($3::uuid[]) AS s (session_id)
            WHERE c.client_id = $1
              AND c.backchannel_logout_uri IS NOT NULL
              AND c.disabled_at IS NULL
            FOR KEY SHARE OF c
            RETURNING 1
        )
        SELECT pg_notify('riley_auth_deliveries', '')::text AS notified
        FROM (SELECT FROM due LIMIT 1) AS any_due
        "#,
        client_id.as_str(),
        user_id as _,
        sessions as _,
        now,
    )
    .fetch_optional(&mut **tx)
    .await?;
    Ok(())
}

/// How promptly an endpoint answers, as far as the worker knows: it decides how many places its deliveries may take together
/// with those of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// It lets go of its places at once.
    Prompt,
    /// Nothing has come back from it yet, or not for a long time.
    Unknown,
    /// It keeps its places for long.
    Slow,
}

impl Pace {
    /// As the statement calls it.
    fn as_str(self) -> &'static str {
        match self {
            Self::Prompt => "prompt",
            Self::Unknown => "unknown",
            Self::Slow => "slow",
        }
    }
}

/// What the worker knows of an endpoint.
#[derive(Clone, Debug)]
pub struct Known {
    pub endpoint: String,
    /// How many more deliveries it may be sent at once than are under way to it.
    pub capacity: usize,
    /// How many are under way to it.
    pub running: usize,
    pub pace: Pace,
}

/// What a worker asks for.
pub struct Claim<'a> {
    pub lease_id: Uuid,
    pub leased_until: OffsetDateTime,
    /// In all.
    pub most: usize,
    /// Of these, to endpoints whose pace is unknown.
    pub most_unknown: usize,
    /// Of these, to slow endpoints.
    pub most_slow: usize,
    /// To an endpoint that `known` does not name.
    pub per_endpoint: usize,
    /// The one that was dealt with last comes last.
    pub known: &'a [Known],
}

/// A delivery under our lease.
#[derive(Debug)]
pub struct Claimed {
    pub delivery_id: Uuid,
    /// Who it goes to: one name for webhooks and apps.
    pub endpoint: String,
    /// Attempts so far, since it was enqueued or redelivered.
    pub attempts_made: u32,
    pub work: Work,
}

/// What is to be sent.
#[derive(Debug)]
pub enum Work {
    Event(EventNotice),
    Logout(LogoutNotice),
}

struct ClaimedRow {
    delivery_id: Uuid,
    endpoint: String,
    attempts_made: i32,
    client_id: Option<ClientId>,
    user_id: Option<UserId>,
    session_id: Option<SessionId>,
    event_id: Option<Uuid>,
    event_type: Option<String>,
    data: Option<String>,
    event_created_at: Option<OffsetDateTime>,
    url: Option<String>,
    sealed_secret: Option<Vec<u8>>,
    sealed_previous_secret: Option<Vec<u8>>,
    previous_secret_expires_at: Option<OffsetDateTime>,
}

impl ClaimedRow {
    fn into_claimed(self) -> Option<Claimed> {
        let work = match self.event_id {
            Some(event_id) => Work::Event(EventNotice {
                event_id,
                event_type: self.event_type?,
                data: self.data?,
                created_at: self.event_created_at?,
                url: self.url?,
                sealed_secret: self.sealed_secret?,
                sealed_previous_secret: self.sealed_previous_secret,
                previous_secret_expires_at: self.previous_secret_expires_at,
            }),
            None => Work::Logout(LogoutNotice {
                client_id: self.client_id?,
                user_id: self.user_id?,
                session_id: self.session_id,
            }),
        };
        Some(Claimed {
            delivery_id: self.delivery_id,
            endpoint: self.endpoint,
            attempts_made: u32::try_from(self.attempts_made).unwrap_or(0),
            work,
        })
    }
}

/// Takes what is due under a lease, few of each endpoint, nothing that somebody else holds: first for endpoints to which the
/// least is under way, of these for the one that has waited longest, there the oldest, and no more than was asked for of each
/// pace. A disabled webhook's deliveries wait.
///
/// It costs little however many deliveries wait: endpoints are found by skipping through their index, those without
/// capacity are left out, and what was chosen is then looked up row by row. The shape of the statement forces that: as plain
/// joins, the planner reads the whole table as soon as its statistics are old or its estimates high.
pub async fn claim(
    db: impl PgExecutor<'_>,
    claim: &Claim<'_>,
    now: OffsetDateTime,
) -> sqlx::Result<Vec<Claimed>> {
    let whole = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
    let known = claim.known;
    let endpoints: Vec<String> = known.iter().map(|known| known.endpoint.clone()).collect();
    let capacities: Vec<i64> = known.iter().map(|known| whole(known.capacity)).collect();
    let running: Vec<i64> = known.iter().map(|known| whole(known.running)).collect();
    let paces: Vec<String> = known.iter().map(|known| known.pace.as_str().to_owned()).collect();
    let rows = sqlx::query_as!(
        ClaimedRow,
        r#"
        WITH RECURSIVE endpoints AS (
            (SELECT endpoint FROM deliveries WHERE status = 'pending' ORDER BY endpoint LIMIT 1)
            UNION ALL
            SELECT (
                SELECT d.endpoint
                FROM deliveries d
                WHERE d.status = 'pending' AND d.endpoint > e.endpoint
                ORDER BY d.endpoint
                LIMIT 1
            )
            FROM endpoints e
            WHERE e.endpoint IS NOT NULL
        ), open AS (
            SELECT e.endpoint,
                   coalesce(k.capacity, $4) AS capacity,
                   coalesce(k.running, 0) AS running,
                   coalesce(k.pace, 'unknown') AS pace,
                   coalesce(k.rank, 0) AS rank
            FROM endpoints e
            LEFT JOIN unnest($5::text[], $6::bigint[], $7::bigint[], $8::text[]) WITH ORDINALITY
                   AS k (endpoint, capacity, running, pace, rank) ON k.endpoint = e.endpoint
            WHERE e.endpoint IS NOT NULL
              AND coalesce(k.capacity, $4) > 0
              AND e.endpoint NOT IN (SELECT 'webhook:' || webhook_id::text FROM webhooks WHERE disabled_at IS NOT NULL)
        ), candidates AS (
            SELECT d.delivery_id, d.next_attempt_at, o.pace, o.rank,
                   o.running + row_number() OVER (PARTITION BY o.endpoint ORDER BY d.next_attempt_at) AS turn
            FROM open o
            CROSS JOIN LATERAL (
                SELECT d.delivery_id, d.next_attempt_at
                FROM deliveries d
                WHERE d.status = 'pending'
                  AND d.endpoint = o.endpoint
                  AND d.next_attempt_at <= $2
                  AND (d.leased_until IS NULL OR d.leased_until <= $2)
                ORDER BY d.next_attempt_at
                LIMIT o.capacity
            ) d
        ), placed AS (
            SELECT delivery_id, next_attempt_at, pace, rank, turn,
                   row_number() OVER (PARTITION BY pace ORDER BY turn, rank, next_attempt_at) AS place
            FROM candidates
        ), chosen AS (
            SELECT delivery_id
            FROM placed
            WHERE place <= CASE pace WHEN 'prompt' THEN $3::bigint WHEN 'unknown' THEN $9::bigint ELSE $10::bigint END
            ORDER BY turn, rank, next_attempt_at
            LIMIT $3
        ), free AS (
            SELECT locked.delivery_id
            FROM chosen c
            CROSS JOIN LATERAL (
                SELECT d.delivery_id
                FROM deliveries d
                WHERE d.delivery_id = c.delivery_id
                  AND d.status = 'pending'
                  AND (d.leased_until IS NULL OR d.leased_until <= $2)
                FOR UPDATE SKIP LOCKED
            ) locked
        ), claimed AS (
            UPDATE deliveries d
            SET lease_id = $1, leased_until = $11
            WHERE d.delivery_id = ANY (ARRAY(SELECT delivery_id FROM free))
            RETURNING d.*
        )
        SELECT d.delivery_id AS "delivery_id!", d.endpoint AS "endpoint!",
               d.attempts - d.attempts_before_redelivery AS "attempts_made!",
               d.client_id AS "client_id?: ClientId", d.user_id AS "user_id?: UserId",
               d.session_id AS "session_id?: SessionId",
               e.event_id AS "event_id?", e.event_type AS "event_type?", e.data::text AS "data?",
               e.created_at AS "event_created_at?",
               w.url AS "url?", w.sealed_secret AS "sealed_secret?",
               w.sealed_previous_secret AS "sealed_previous_secret?",
               w.previous_secret_expires_at AS "previous_secret_expires_at?"
        FROM claimed d
        LEFT JOIN LATERAL (SELECT * FROM events e WHERE e.event_id = d.event_id LIMIT 1) e ON true
        LEFT JOIN LATERAL (SELECT * FROM webhooks w WHERE w.webhook_id = d.webhook_id LIMIT 1) w ON true
        ORDER BY d.next_attempt_at
        "#,
        claim.lease_id,
        now,
        whole(claim.most),
        whole(claim.per_endpoint),
        &endpoints,
        &capacities,
        &running,
        &paces,
        whole(claim.most_unknown),
        whole(claim.most_slow),
        claim.leased_until,
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().filter_map(ClaimedRow::into_claimed).collect())
}

/// What an attempt came to.
#[derive(Debug)]
pub struct Recorded {
    pub delivery_id: Uuid,
    /// The lease that it was made under.
    pub lease_id: Uuid,
    /// `pending`, `delivered` or `failed`.
    pub status: &'static str,
    pub next_attempt_at: OffsetDateTime,
    pub completed_at: Option<OffsetDateTime>,
    pub attempted_at: OffsetDateTime,
    pub duration_ms: i32,
    pub status_code: Option<i16>,
    pub error: Option<&'static str>,
}

/// Writes what an attempt came to, and ends the lease. `false`: the lease was not its own any more, and nothing was written.
pub async fn record(db: impl PgExecutor<'_>, recorded: &Recorded) -> sqlx::Result<bool> {
    let result = sqlx::query!(
        r#"
        WITH counted AS (
            UPDATE deliveries
            SET attempts = attempts + 1,
                status = $3,
                next_attempt_at = $4,
                completed_at = $5,
                lease_id = NULL,
                leased_until = NULL
            WHERE delivery_id = $1 AND lease_id = $2 AND status = 'pending'
            RETURNING delivery_id, attempts
        )
        INSERT INTO delivery_attempts (delivery_id, attempt, attempted_at, duration_ms, status_code, error)
        SELECT delivery_id, attempts, $6, $7, $8, $9 FROM counted
        "#,
        recorded.delivery_id,
        recorded.lease_id,
        recorded.status,
        recorded.next_attempt_at,
        recorded.completed_at,
        recorded.attempted_at,
        recorded.duration_ms,
        recorded.status_code,
        recorded.error,
    )
    .execute(db)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// Ends a lease without counting an attempt: nothing was sent, for a reason of our own. `false`: the lease was not its own any
/// more.
pub async fn postpone(
    db: impl PgExecutor<'_>,
    delivery_id: Uuid,
    lease_id: Uuid,
    next_attempt_at: OffsetDateTime,
) -> sqlx::Result<bool> {
    let result = sqlx::query!(
        r#"
        UPDATE deliveries
        SET next_attempt_at = $3, lease_id = NULL, leased_until = NULL
        WHERE delivery_id = $1 AND lease_id = $2 AND status = 'pending'
        "#,
        delivery_id,
        lease_id,
        next_attempt_at,
    )
    .execute(db)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// Ends these leases of these deliveries, which were not finished: they are due at once. How many those were.
pub async fn release(
    db: impl PgExecutor<'_>,
    delivery_ids: &[Uuid],
    lease_ids: &[Uuid],
) -> sqlx::Result<u64> {
    let result = sqlx::query!(
        r#"
        UPDATE deliveries
        SET lease_id = NULL, leased_until = NULL
        WHERE delivery_id = ANY ($1) AND lease_id = ANY ($2) AND status = 'pending'
        "#,
        delivery_ids,
        lease_ids,
    )
    .execute(db)
    .await?;
    Ok(result.rows_affected())
}

/// Fails what has been due to an endpoint since `due_before` and is not under way, in one batch. What waited for a webhook
/// while it was disabled was not due.
pub async fn give_up(
    db: impl PgExecutor<'_>,
    endpoint: &str,
    due_before: OffsetDateTime,
    now: OffsetDateTime,
) -> sqlx::Result<u64> {
    let result = sqlx::query!(
        r#"
        UPDATE deliveries
        SET status = 'failed', completed_at = $3
        WHERE delivery_id IN (
            SELECT delivery_id
            FROM deliveries
            WHERE status = 'pending'
              AND endpoint = $1
              AND next_attempt_at <= $2
              AND lease_id IS NULL
              AND NOT EXISTS (
                  SELECT FROM webhooks
                  WHERE 'webhook:' || webhook_id::text = $1 AND (disabled_at IS NOT NULL OR enabled_at > $2)
              )
            LIMIT $4
            FOR UPDATE SKIP LOCKED
        )
        "#,
        endpoint,
        due_before,
        now,
        super::maintenance::BATCH_ROWS,
    )
    .execute(db)
    .await?;
    Ok(result.rows_affected())
}

/// A delivery as administrators see it.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub delivery_id: Uuid,
    pub event_id: Uuid,
    pub event_type: String,
    /// `pending`, `delivered` or `failed`.
    pub status: String,
    pub next_attempt_at: OffsetDateTime,
    pub created_at: OffsetDateTime,
    pub completed_at: Option<OffsetDateTime>,
    pub attempts: Vec<Attempt>,
}

/// One attempt.
#[derive(Clone, Debug, Deserialize)]
pub struct Attempt {
    pub attempt: i32,
    #[serde(with = "time::serde::rfc3339")]
    pub attempted_at: OffsetDateTime,
    pub duration_ms: i32,
    pub status_code: Option<i16>,
    /// `None`: it succeeded.
    pub error: Option<String>,
}

/// A page of a webhook's deliveries with their attempts, the newest first. `status`: these alone. `before`: moment and id of
/// the last one of the page before.
pub async fn page_of_webhook(
    db: impl PgExecutor<'_>,
    webhook_id: Uuid,
    status: Option<&str>,
    before: Option<(OffsetDateTime, Uuid)>,
    limit: i64,
) -> sqlx::Result<Vec<Delivery>> {
    let rows = sqlx::query!(
        r#"
        SELECT d.delivery_id, e.event_id, e.event_type, d.status, d.next_attempt_at, d.created_at, d.completed_at,
               (
                   SELECT coalesce(jsonb_agg(to_jsonb(a) ORDER BY a.attempt), '[]')
                   FROM delivery_attempts a
                   WHERE a.delivery_id = d.delivery_id
               ) AS "attempts!: Json<Vec<Attempt>>"
        FROM deliveries d
        JOIN events e ON e.event_id = d.event_id
        WHERE d.webhook_id = $1
          AND ($2::text IS NULL OR d.status = $2)
          AND ($3::timestamptz IS NULL OR (d.created_at, d.delivery_id) < ($3, $4::uuid))
        ORDER BY d.created_at DESC, d.delivery_id DESC
        LIMIT $5
        "#,
        webhook_id,
        status,
        before.map(|(created_at, _)| created_at),
        before.map(|(_, delivery_id)| delivery_id),
        limit,
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Delivery {
            delivery_id: row.delivery_id,
            event_id: row.event_id,
            event_type: row.event_type,
            status: row.status,
            next_attempt_at: row.next_attempt_at,
            created_at: row.created_at,
            completed_at: row.completed_at,
            attempts: row.attempts.0,
        })
        .collect())
}

/// A logout notice to an app as administrators see it.
#[derive(Clone, Debug)]
pub struct LogoutDelivery {
    pub delivery_id: Uuid,
    pub user_id: UserId,
    /// `None`: all of the user's sessions had ended.
    pub session_id: Option<SessionId>,
    /// `pending`, `delivered` or `failed`.
    pub status: String,
    pub next_attempt_at: OffsetDateTime,
    pub created_at: OffsetDateTime,
    pub completed_at: Option<OffsetDateTime>,
    pub attempts: Vec<Attempt>,
}

/// A page of the logout notices to an app, as [`page_of_webhook`].
pub async fn page_of_client(
    db: impl PgExecutor<'_>,
    client_id: &ClientId,
    status: Option<&str>,
    before: Option<(OffsetDateTime, Uuid)>,
    limit: i64,
) -> sqlx::Result<Vec<LogoutDelivery>> {
    let rows = sqlx::query!(
        r#"
        SELECT d.delivery_id, d.user_id AS "user_id!: UserId", d.session_id AS "session_id?: SessionId", d.status,
               d.next_attempt_at, d.created_at, d.completed_at,
               (
                   SELECT coalesce(jsonb_agg(to_jsonb(a) ORDER BY a.attempt), '[]')
                   FROM delivery_attempts a
                   WHERE a.delivery_id = d.delivery_id
               ) AS "attempts!: Json<Vec<Attempt>>"
        FROM deliveries d
        WHERE d.client_id = $1
          AND d.kind = 'backchannel_logout'
          AND ($2::text IS NULL OR d.status = $2)
          AND ($3::timestamptz IS NULL OR (d.created_at, d.delivery_id) < ($3, $4::uuid))
        ORDER BY d.created_at DESC, d.delivery_id DESC
        LIMIT $5
        "#,
        client_id as _,
        status,
        before.map(|(created_at, _)| created_at),
        before.map(|(_, delivery_id)| delivery_id),
        limit,
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| LogoutDelivery {
            delivery_id: row.delivery_id,
            user_id: row.user_id,
            session_id: row.session_id,
            status: row.status,
            next_attempt_at: row.next_attempt_at,
            created_at: row.created_at,
            completed_at: row.completed_at,
            attempts: row.attempts.0,
        })
        .collect())
}

/// Who deliveries go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Addressee {
    Webhook(Uuid),
    /// The app that is told of logouts.
    Client(ClientId),
}

/// Sends again what somebody was sent, or failed to be sent: one delivery, or all that failed since a moment. Attempts are
/// counted anew. How many deliveries that were; one that is still to be sent is none of them.
pub async fn redeliver(
    tx: &mut Transaction,
    addressee: &Addressee,
    which: Redelivery,
    now: OffsetDateTime,
) -> sqlx::Result<u64> {
    let (delivery_id, failed_since) = match which {
        Redelivery::One(delivery_id) => (Some(delivery_id), None),
        Redelivery::FailedSince(since) => (None, Some(since)),
    };
    let (webhook_id, client_id) = match addressee {
        Addressee::Webhook(webhook_id) => (Some(*webhook_id), None),
        Addressee::Client(client_id) => (None, Some(client_id)),
    };
    // After a long outage that may be very many.
    super::allow_time(tx, REDELIVERY_SECS).await?;
    let count = sqlx::query_scalar!(
        r#"
        WITH again AS (
            UPDATE deliveries
            SET status = 'pending',
                completed_at = NULL,
                next_attempt_at = $5,
                attempts_before_redelivery = attempts
            WHERE (webhook_id = $1 OR client_id = $2)
              AND status <> 'pending'
              AND (delivery_id = $3 OR (status = 'failed' AND completed_at >= $4))
            RETURNING 1
        ), told AS (
            SELECT pg_notify('riley_auth_deliveries', '')::text AS notified
            FROM (SELECT FROM again LIMIT 1) AS any_again
        )
        SELECT (SELECT count(*) FROM again) + 0 * (SELECT count(notified) FROM told) AS "count!"
        "#,
        webhook_id,
        client_id as _,
        delivery_id,
        failed_since,
        now,
    )
    .fetch_one(&mut **tx)
    .await?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// Which deliveries are sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redelivery {
    /// This one, failed or delivered.
    One(Uuid),
    /// Every one that failed at this moment or later.
    FailedSince(OffsetDateTime),
}
