//! `riley-auth validate --live`: a deployment whose reverse proxy misbehaves in one way at a time, and the finding that
//! names it with its mend. The server runs here, on a clock that can be moved; the command is the program itself.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it like the test itself"
)]

mod common;

use std::net::SocketAddr;
use std::process::{Command, Output};

use axum::http::{HeaderValue, StatusCode};
use axum::routing::get;
use common::database::TestDatabase;
use common::proxy::{self, Conduct, Forwarded, Returned};
use riley_auth::clock::Clock;
use riley_auth::config::Config;
use riley_auth::http::state::AppState;
use riley_auth::server;
use serde_json::Value;
use tempfile::TempDir;
use time::Duration;
use tokio::net::TcpListener;

const JWKS: &str = "/.well-known/jwks.json";
const DISCOVERY: &str = "/.well-known/openid-configuration";

/// A server behind a proxy, and the operator's directory.
struct Deployment {
    directory: TempDir,
    /// Where the proxy listens: the issuer.
    issuer: String,
    state: AppState,
    clock: Clock,
    _database: TestDatabase,
}

impl Drop for Deployment {
    fn drop(&mut self) {
        self.state.shutdown.cancel();
    }
}

impl Deployment {
    /// Behind a proxy of this conduct, with a configuration that says so.
    async fn behind(conduct: Conduct) -> Self {
        Self::with("behind_proxy = true", "", conduct).await
    }

    /// `server`: lines of that section. `more`: sections.
    async fn with(server: &str, more: &str, conduct: Conduct) -> Self {
        Self::below("", server, more, conduct).await
    }

    async fn below(path: &str, server: &str, more: &str, conduct: Conduct) -> Self {
        let database = TestDatabase::create().await;
        let directory = tempfile::tempdir().unwrap();
        let front = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}{path}", front.local_addr().unwrap());
        let text = format!(
            "[server]\nshutdown_grace_secs = 1\nsecret_key = \"{}\"\n{server}\n[database]\nurl = \"{}\"\n[jwt]\nissuer = \"{issuer}\"\n{more}\n",
            common::random_text(40),
            database.url
        );
        std::fs::write(directory.path().join("riley-auth.toml"), text).unwrap();
        let mut deployment = Self {
            state: common::provider::state_of_nothing(),
            directory,
            issuer,
            clock: Clock::default(),
            _database: database,
        };
        deployment.succeeds(&["generate-keys", "--algorithm", "rs256", "--key-size", "2048", "--prepend-to", "riley-auth.toml"]);
        deployment.edit("signs_from", "# signs_from");
        let upstream = deployment.serve().await;
        proxy::start(front, upstream, conduct);
        deployment
    }
}
