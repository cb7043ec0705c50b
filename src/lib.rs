//! riley-auth: an OpenID Connect provider you own. People prove who they are at an upstream provider; riley-auth makes one
//! account of it and is itself a complete OpenID Connect provider for the deployer's apps.
//!
//! # Code map
//!
//! | module | what it owns |
//! | --- | --- |
//! | [`protocol`] | the rules of OAuth 2.0 and OpenID Connect, as functions from values to values |
//! | [`usernames`], [`clients`] | what a username may be; what may be registered as a client |
//! | [`error`] | errors by audience, and how each is answered |
//! | [`clock`] | the time, read at the edges |
//! | [`config`] | one file, one struct per table, every mistake with its place |
//! | [`jwt`] | keys: load, sign, verify, publish, generate |
//! | [`db`] | SQL and nothing else, one file per family of tables |
//! | [`upstream`] | how a provider is talked to: no users, no cookies, no SQL |
//! | [`http`] | what endpoints are built from: extractors, cookies, pages, shared state |
//! | [`accounts`] | what several callers do to accounts and sessions |
//! | [`events`] | what apps and operators can hear of: names and payloads |
//! | [`webhooks`] | who hears of events: register, change, rotate, send again |
//! | [`audit`] | the trail of who did what, chained |
//! | [`outbound`] | requests to addresses that somebody else chose, guarded |
//! | [`delivery`] | the worker that sends what is due: events to webhooks, logout notices to apps |
//! | [`sealing`] | keys derived from the configuration's secret |
//! | [`auth`] | endpoints of the OAuth client: sign-in, onboarding, sessions |
//! | [`oauth_provider`] | endpoints of the provider: authorize, consent, token, UserInfo, introspection, revocation, logout, discovery |
//! | [`limits`] | who may send how many requests |
//! | [`admin`] | endpoints of the administration: accounts, apps, reserved names, the trail |
//! | [`patience`] | how long a request is worked on before it is given up |
//! | [`maintenance`] | the clean-up |
//! | [`metrics`] | what is counted, with every metric's name |
//! | [`telemetry`] | spans of requests, for a collector |
//! | [`server`] | wiring: routes and layers, the accept loop, reload, shutdown |
//! | [`cli`] | one file per command |
//! | [`dev`] | what `riley-auth dev` adds to `serve` and nothing else uses: a private PostgreSQL, a simulated upstream, a demo app |
//!
//! # Invariants, which are mostly absences
//!
//! - `protocol` has no `async`, no web framework, no database, no clock. Its tests need nothing.
//! - Only `db` contains SQL; `db` knows no HTTP and no policy.
//! - Endpoints do not import each other. What two of them need lies below them.
//! - The clock is read once per request ([`http::now`]), by the workers' loops and by the command line.
//! - A redirect to a client is built only by [`protocol::authorization::Callback`] and, after a logout, by
//!   [`protocol::logout::PostLogoutRedirect`], and only a registered URI makes one.
//! - Access, ID and refresh tokens are made only in [`oauth_provider::tokens`], session cookies only in [`auth::sign_in`].
//! - Whether a grant lives is read by joins (grant, user, client, session) whenever it is used; nothing is mass-updated, so
//!   nothing can be forgotten.
//! - Whatever is single-use is used up by one statement or in one transaction with what it gives.
//! - No secret has a `Debug` or `Serialize` that shows it; the database holds hashes, and sealed data that only the holder of
//!   a handle can open.
//! - No state in memory but copies that are known to be possibly stale.
//!
//! Three walks through the code (a person signs in; from authorize to tokens; signing out) and the reasons are in
//! `planning/architecture.md` and `planning/decisions/`.

pub mod accounts;
pub mod admin;
pub mod audit;
pub mod auth;
pub mod cli;
pub mod clients;
pub mod clock;
pub mod config;
pub mod db;
pub mod delivery;
pub mod dev;
pub mod error;
pub mod events;
pub mod http;
pub mod jwt;
pub mod limits;
pub mod maintenance;
pub mod metrics;
pub mod oauth_provider;
pub mod outbound;
pub mod patience;
pub mod protocol;
pub mod sealing;
pub mod server;
pub mod telemetry;
pub mod upstream;
pub mod usernames;
pub mod webhooks;
