//! The worker's statements, each with an end: a connection whose other end is gone without a word would hold up everything
//! until the operating system gives up, after a quarter of an hour.

use std::time::Duration;

use time::OffsetDateTime;
use tokio::time::timeout;
use uuid::Uuid;

use crate::db::deliveries::{Claim, Claimed, Recorded};
use crate::db::{self, Pool, in_time};
use crate::protocol::client::Client;
use crate::protocol::ids::ClientId;

/// A little longer than the database itself lets a statement take. Waiting for a connection has a limit of its own: a claim that
/// was made and is not waited for any more would keep its deliveries from everybody until the lease ends.
pub(super) const PATIENCE: Duration = Duration::from_secs(6);

/// Deliveries as the worker reads and writes them. A clone has the same connections.
#[derive(Clone, Debug)]
pub struct Ledger(Pool);

impl Ledger {
    /// Over these connections.
    pub fn new(db: Pool) -> Self {
        Self(db)
    }

    /// As [`db::deliveries::claim`].
    pub async fn claim(&self, claim: &Claim<'_>, now: OffsetDateTime) -> sqlx::Result<Vec<Claimed>> {
        let mut connection = self.0.acquire().await?;
        in_time(PATIENCE, db::deliveries::claim(&mut *connection, claim, now)).await
    }

    /// As [`db::deliveries::record`].
    pub async fn record(&self, recorded: &Recorded) -> sqlx::Result<bool> {
        let mut connection = self.0.acquire().await?;
        in_time(PATIENCE, db::deliveries::record(&mut *connection, recorded)).await
    }

    /// As [`db::deliveries::postpone`].
    pub async fn postpone(
        &self,
        delivery_id: Uuid,
        lease_id: Uuid,
        next_attempt_at: OffsetDateTime,
    ) -> sqlx::Result<bool> {
        let mut connection = self.0.acquire().await?;
        let statement = db::deliveries::postpone(&mut *connection, delivery_id, lease_id, next_attempt_at);
        in_time(PATIENCE, statement).await
    }

    /// As [`db::deliveries::release`].
    pub async fn release(&self, delivery_ids: &[Uuid], lease_ids: &[Uuid]) -> sqlx::Result<u64> {
        let mut connection = self.0.acquire().await?;
        let statement = db::deliveries::release(&mut *connection, delivery_ids, lease_ids);
        in_time(PATIENCE, statement).await
    }

    /// As [`db::deliveries::give_up`].
    pub async fn give_up(
        &self,
        endpoint: &str,
        due_before: OffsetDateTime,
        now: OffsetDateTime,
    ) -> sqlx::Result<u64> {
        let mut connection = self.0.acquire().await?;
        let statement = db::deliveries::give_up(&mut *connection, endpoint, due_before, now);
        in_time(PATIENCE, statement).await
    }

    /// The app that is to be told.
    pub async fn client(&self, client_id: &ClientId) -> sqlx::Result<Option<Client>> {
        let mut connection = self.0.acquire().await?;
        in_time(PATIENCE, db::clients::find(&mut *connection, client_id)).await
    }

    /// Closes the connections, if they let themselves be closed.
    pub async fn close(&self) {
        let _ = timeout(Duration::from_secs(1), self.0.close()).await;
    }
}
