//! Registered clients in memory, never believed to be fresh.
//!
//! The statement that loads what an endpoint decides on also returns the client's current generation; a copy of another
//! generation is loaded anew before the decision ([`Clients::reload`]). A refusal is never based on a copy alone either.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use sqlx::PgExecutor;

use crate::db;
use crate::protocol::client::Client;
use crate::protocol::ids::ClientId;

/// Copies are dropped all at once when there are more than this many.
const MAX_COPIES: usize = 10_000;

/// The copies.
#[derive(Default)]
pub struct Clients(RwLock<HashMap<ClientId, Arc<Client>>>);

impl Clients {
    /// The copy in memory, which may be stale.
    pub fn copy(&self, client_id: &ClientId) -> Option<Arc<Client>> {
        let copies = self.0.read().unwrap_or_else(PoisonError::into_inner);
        copies.get(client_id).cloned()
    }

    /// The row as it is now; the copy is replaced by it.
    pub async fn reload(
        &self,
        db: impl PgExecutor<'_>,
        client_id: &ClientId,
    ) -> sqlx::Result<Option<Arc<Client>>> {
        let client = db::clients::find(db, client_id).await?.map(Arc::new);
        let mut copies = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match &client {
            Some(client) => {
                if copies.len() >= MAX_COPIES {
                    copies.clear();
                }
                copies.insert(client_id.clone(), Arc::clone(client));
            }
            None => {
                copies.remove(client_id);
            }
        }
        Ok(client)
    }
}
