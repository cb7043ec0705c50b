//! What every endpoint shares.

use std::ops::Deref;
use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;

use super::client_ip::AddressRule;
use super::clients::Clients;
use super::readiness::Readiness;
use crate::clock::Clock;
use crate::config::Config;
use crate::db::Pool;
use crate::jwt::SharedKeySet;
use crate::jwt::turns::SigningTurns;
use crate::limits::Limits;
use crate::maintenance::Waiting;
use crate::metrics::Metrics;
use crate::outbound;
use crate::sealing::Keyring;
use crate::upstream::Upstreams;

/// The state of the server; a clone is one more reference.
#[derive(Clone)]
pub struct AppState(Arc<Inner>);

/// What [`AppState`] points at.
pub struct Inner {
    pub config: Arc<Config>,
    /// For requests.
    pub db: Pool,
    /// For workers: what they wait for and hold is none of the requests' connections.
    pub background_db: Pool,
    pub readiness: Readiness,
    pub keys: SharedKeySet,
    /// Turns to sign with an algorithm that takes long.
    pub signing: SigningTurns,
    pub clock: Clock,
    pub rng: SystemRandom,
    /// Keys derived from `database.secret_key`.
    pub keyring: Keyring,
    pub clients: Clients,
    pub upstreams: Upstreams,
    pub metrics: Metrics,
    pub waiting: Waiting,
    pub limits: Limits,
    /// Whose word about a client's address is believed.
    pub addresses: AddressRule,
    /// For requests to addresses that somebody else chose.
    pub outbound: outbound::Client,
    /// Scopes that anybody defined: the standard ones and those of the configuration.
    pub defined_scopes: crate::protocol::scope::ScopeSet,
    /// Cancelled when the server begins to stop: readiness turns false with it.
    pub shutdown: tokio_util::sync::CancellationToken,
}

impl AppState {
    /// Puts the parts together.
    pub fn new(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }
}

impl Deref for AppState {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}
