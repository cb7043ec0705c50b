//! An upstream that exists only on this machine: it plays Google, GitHub or any OpenID Connect or OAuth 2.0 provider.
//!
//! `riley-auth dev` sends people here, the integration tests drive it over HTTP, and so can a scripted browser that
//! knows no JavaScript. It keeps everything in memory, believes every name that is typed in, and misbehaves on demand
//! ([`Misbehaviour`]); it must never be reachable by anybody but its developer.
//!
//! | file | what |
//! | --- | --- |
//! | [`options`] | what a caller decides: flavour, address, clients, clock |
//! | [`flavour`] | what is known of each real provider, as data |
//! | [`people`] | who can sign in, and what is told about them |
//! | [`misbehaviour`] | what can go wrong, by name |
//! | [`request_log`] | what arrived, for tests to look at |
//! | `simulation` | the handle that its owner and its endpoints share |
//! | `memory` | sessions, codes, access tokens |
//! | `routes` | the route table and what every request passes through |
//! | `discovery`, `authorize`, `sign_in`, `token`, `userinfo` | the endpoints |
//! | `backchannel_logout` | telling clients that somebody signed out |
//! | `github`, `discord` | the endpoints only those have |

mod authorization_response;
mod authorize;
mod backchannel_logout;
mod built_in_people;
mod claims;
mod client_auth;
mod discord;
mod discovery;
pub mod flavour;
mod github;
mod keys;
mod memory;
pub mod misbehaviour;
pub mod options;
mod pages;
pub mod people;
pub mod request_log;
mod routes;
mod sign_in;
mod simulation;
mod token;
mod userinfo;

use std::net::SocketAddr;
use std::ops::Deref;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use flavour::Flavour;
pub use misbehaviour::Misbehaviour;
pub use options::{Client, Options, SigningAlgorithm};
pub use people::Person;
pub use request_log::{Endpoint, LoggedRequest};
pub use routes::router;
pub use simulation::Simulation;

/// A [`Simulation`] with a server of its own, which stops when this is dropped.
///
/// Everything that tests ask of it (`issuer`, `misbehave`, `requests` …) is [`Simulation`]'s.
pub struct SimulatedUpstream {
    simulation: Simulation,
    address: SocketAddr,
    stopping: CancellationToken,
    server: Option<JoinHandle<()>>,
}

impl SimulatedUpstream {
    /// Binds `options.listen`, makes a signing key and serves until [`stop`](Self::stop) or drop.
    ///
    /// Fails if the address cannot be bound or `options.issuer` is not an http or https URL.
    pub async fn start(options: Options) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(options.listen)
            .await
            .with_context(|| format!("bind the simulated upstream to {}", options.listen))?;
        let address = listener
            .local_addr()
            .context("read the address of the simulated upstream")?;
        let base_url = match &options.issuer {
            Some(issuer) => issuer.clone(),
            None => format!("http://{address}{}", options.path),
        };
        let simulation = tokio::task::spawn_blocking(move || Simulation::new(options, &base_url))
            .await
            .context("make the simulated upstream")??;

        let stopping = CancellationToken::new();
        let router = router(&simulation);
        let stopped = stopping.clone().cancelled_owned();
        #[expect(
            clippy::disallowed_methods,
            reason = "loopback only, for development and tests"
        )]
        let serving = axum::serve(listener, router).with_graceful_shutdown(stopped);
        let server = tokio::spawn(async move {
            if let Err(error) = serving.await {
                tracing::error!(%error, "the simulated upstream stopped");
            }
        });
        Ok(Self {
            simulation,
            address,
            stopping,
            server: Some(server),
        })
    }

    /// The address it listens on, with the port that was given.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The simulation without its server: a cheap handle to share.
    pub fn simulation(&self) -> Simulation {
        self.simulation.clone()
    }

    /// Stops listening and waits until open requests are answered. Later requests are refused by the system.
    pub async fn stop(mut self) {
        self.stopping.cancel();
        if let Some(server) = self.server.take() {
            // The task ends by itself; a panic in it was already reported.
            let _ = server.await;
        }
    }
}

impl Deref for SimulatedUpstream {
    type Target = Simulation;

    fn deref(&self) -> &Simulation {
        &self.simulation
    }
}

impl Drop for SimulatedUpstream {
    fn drop(&mut self) {
        self.stopping.cancel();
    }
}
