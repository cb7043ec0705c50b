//! Wiring: the state, the router, the listeners, the workers, and their orderly end.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use aws_lc_rs::rand::SystemRandom;
use axum::Router;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::database::Route;
use crate::config::{Config, LoadedConfig};
use crate::db;
use crate::db::schema::{Fit, MigrateError};
use crate::http::client_ip::AddressRule;
use crate::http::clients::Clients;
use crate::http::readiness::Readiness;
use crate::http::state::{AppState, Inner};
use crate::jwt::turns::SigningTurns;
use crate::jwt::{KeySet, SharedKeySet};
use crate::limits::Limits;
use crate::maintenance::Waiting;
use crate::metrics::Metrics;
use crate::outbound;
use crate::upstream::Upstreams;

pub mod accept;
pub mod cors;
pub mod error_shape;
pub mod health;
pub mod http_metrics;
pub mod in_flight;
pub mod key_record;
pub mod leftover_body;
pub mod metrics;
pub mod openapi;
pub mod panics;
pub mod probe;
pub mod rate_limit;
pub mod reload;
pub mod request_log;
pub mod routes;
pub mod security_headers;
pub mod systemd;
pub mod target_limit;
pub mod workers;

/// The state of a server with this configuration. Loads the keys; opens the pool without waiting for the database.
pub fn state(config: Config, keys: KeySet, clock: Clock) -> anyhow::Result<AppState> {
    let db = db::connect(&config.database)?;
    let background_db = db::connect_background(&config.database)?;
    // The way of requests: what they cannot reach is not ready.
    let ready = db::connection_options("riley-auth-ready", Route::Pooled, &config.database)?;
    let readiness = Readiness::new(ready);
    let upstreams = Upstreams::new(&config, clock.clone())?;
    let defined_scopes = config.defined_scopes();
    let metrics = Metrics::default();
    let keyring = config.keyring();
    let outbound = outbound::Client::new(config.webhooks.policy())?;
    Ok(AppState::new(Inner {
        db,
        background_db,
        readiness,
        signing: SigningTurns::default(),
        keys: SharedKeySet::new(keys),
        clock: clock.clone(),
        rng: SystemRandom::new(),
        keyring,
        clients: Clients::default(),
        upstreams,
        limits: Limits::new(&config.rate_limiting, metrics.clone(), clock)?,
        addresses: AddressRule::new(&config.server),
        metrics,
        waiting: Waiting::default(),
        outbound,
        defined_scopes,
        shutdown: CancellationToken::new(),
        config: Arc::new(config),
    }))
}

/// The keys that the configuration names; fails when none of them may sign now.
pub fn load_keys(config: &Config, clock: &Clock) -> anyhow::Result<KeySet> {
    let keys = KeySet::load(config.jwt.key_files(), false).map_err(|errors| {
        anyhow::anyhow!(
            errors
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("\n")
        )
    })?;
    keys.require_signer(clock.now())
        .map_err(|error| anyhow::anyhow!(error.to_string()))?;
    Ok(keys)
}

/// The production router over `state`: what `serve`, `dev` and every test run.
pub fn build(state: AppState) -> Router {
    routes::router(state)
}

/// Of the grace period, what requests and deliveries under way are given. The rest is for leases and pools, so that the process is gone when the period
/// is over: whoever supervises it counts the same seconds.
pub const FOR_WORK: f64 = 0.9;
/// And when nothing is waited for any more.
const FOR_EVERYTHING: f64 = 0.95;

/// How long a start waits for upstreams to say whose identities are theirs.
const LEARN_ISSUERS_WITHIN: Duration = Duration::from_secs(3);

/// Serves on `listeners` until the state's shutdown token is cancelled; returns when the requests in flight are answered and
/// the workers have stopped.
pub async fn run(state: AppState, listeners: Vec<TcpListener>) {
    let router = build(state.clone());
    run_router(state, router, listeners).await;
}

/// As [`run`], with layers of the caller's own around the router of [`build`].
pub async fn run_router(state: AppState, router: Router, listeners: Vec<TcpListener>) {
    let grace = Duration::from_secs(state.config.server.shutdown_grace_secs);
    let mut tasks = JoinSet::new();
    for listener in listeners {
        tasks.spawn(accept::serve(
            listener,
            router.clone(),
            state.shutdown.clone(),
            grace.mul_f64(FOR_WORK),
            connection_options(&state),
        ));
    }
    spawn_workers(&state, &mut tasks);
    let end = async {
        while tasks.join_next().await.is_some() {}
        state.readiness.close().await;
        state.db.close().await;
        state.background_db.close().await;
    };
    // Whatever waits for a database that does not answer must not keep the process from ending.
    let overdue = async {
        state.shutdown.cancelled().await;
        tokio::time::sleep(grace.mul_f64(FOR_EVERYTHING)).await;
    };
    tokio::select! {
        () = end => {}
        () = overdue => tracing::warn!("stopped without waiting for what was still under way"),
    }
}

fn spawn_workers(state: &AppState, tasks: &mut JoinSet<()>) {
    let (metrics, shutdown) = (state.metrics.clone(), state.shutdown.clone());
    let keep = |name, worker: fn(AppState) -> Worker| {
        let state = state.clone();
        workers::keep_running(name, metrics.clone(), shutdown.clone(), move || {
            worker(state.clone())
        })
    };
    tasks.spawn(keep("clean-up", |state| {
        let shutdown = state.shutdown.clone();
        Box::pin(crate::maintenance::run(state, shutdown))
    }));
    tasks.spawn(keep("metrics", |state| {
        Box::pin(async move {
            tokio::select! {
                () = state.metrics.keep_up() => {}
                () = state.shutdown.cancelled() => {}
            }
        })
    }));
    let (upstreams, stopped) = (state.upstreams.clone(), state.shutdown.clone());
    tasks.spawn(async move {
        tokio::select! {
            () = upstreams.keep_learning_issuers() => {}
            () = stopped.cancelled() => {}
        }
    });
    tasks.spawn(keep("deliveries", |state| {
        let shutdown = state.shutdown.clone();
        Box::pin(crate::delivery::run(state, shutdown))
    }));
    tasks.spawn(keep("key record", |state| {
        let shutdown = state.shutdown.clone();
        Box::pin(key_record::run(state, shutdown))
    }));
}

type Worker = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// `riley-auth serve`. `change_log`: what a reload does to the log.
pub async fn serve(loaded: LoadedConfig, change_log: reload::LogChange) -> anyhow::Result<()> {
    let clock = Clock::default();
    let watched = reload::Watched::begin(&loaded.config, loaded.path.as_deref());
    let keys = load_keys(&loaded.config, &clock)?;
    let state = state(loaded.config.clone(), keys, clock)?;
    // Before anything that may take long: the first process of a container ignores what it has no handler for, and any other
    // is ended by a SIGHUP.
    let reload_requests = reload::requests();
    tokio::spawn(stop_on_signal(state.shutdown.clone()));
    let prepared = tokio::select! {
        prepared = prepare_schema(&state) => prepared,
        () = state.shutdown.cancelled() => {
            tracing::info!("stopped before it served: what was under way is done by the next start");
            return Ok(());
        }
    };
    prepared?;
    // Whoever comes first would find their link unusable otherwise. An upstream that does not answer is not waited for.
    tokio::select! {
        _ = tokio::time::timeout(LEARN_ISSUERS_WITHIN, state.upstreams.learn_issuers()) => {}
        () = state.shutdown.cancelled() => {}
    }
    let address = loaded.config.server.listen_address();
    let listener = TcpListener::bind(&address).await.with_context(|| {
        format!(
            "cannot listen on {address}: is another program using the port? Set server.port to another one"
        )
    })?;
    let metrics_listener = match &loaded.config.metrics.listen {
        Some(address) if loaded.config.metrics.enabled => {
            let listener = TcpListener::bind(address).await;
            Some(
                listener
                    .with_context(|| format!("cannot listen on {address}, which metrics.listen names"))?,
            )
        }
        _ => None,
    };
    tracing::info!(address = %listener.local_addr()?, issuer = %loaded.config.jwt.issuer, "listening");
    tracing::info!(
        event = "keys.loaded",
        now = reload::outline(&state.keys.current()).join("; "),
        "the signing keys were loaded"
    );
    reload::warn_of_keys_since_the_last_run(&state).await;
    reload::spawn(
        state.clone(),
        loaded.path.clone(),
        watched,
        reload_requests,
        change_log,
    );
    systemd::ready(state.shutdown.clone());
    if let Some(listener) = metrics_listener {
        tracing::info!(address = %listener.local_addr()?, "metrics listen");
        tokio::spawn(serve_metrics(state.clone(), listener));
    }
    run(state, vec![listener]).await;
    tracing::info!("stopped");
    Ok(())
}

/// Brings the schema up to date, or sees to it that it is. Without `database.migrate` a database that is away is waited for
/// while serving.
async fn prepare_schema(state: &AppState) -> anyhow::Result<()> {
    if state.config.database.migrate {
        return db::schema::migrate(&state.background_db)
            .await
            .context("the database could not be migrated");
    }
    match db::schema::fit(&state.background_db).await {
        Ok(Fit::TooNew) => Err(MigrateError::TooNew.into()),
        Ok(Fit::Behind) => Err(MigrateError::Behind.into()),
        Ok(Fit::Fits) => Ok(db::schema::require_sessions(&state.background_db).await?),
        // An answer is no outage: a privilege that is missing, most likely (class 42 of SQLSTATE).
        Err(error) if is_answer(&error) => {
            Err(anyhow::Error::new(error).context("whether the database fits cannot be read"))
        }
        Err(error) => {
            tracing::warn!(error = %error, "the database does not answer yet");
            Ok(())
        }
    }
}

fn is_answer(error: &sqlx::Error) -> bool {
    let code = error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| code.starts_with("42"))
}

/// Serves the metrics, and nothing else, on an address of their own, until the server stops.
async fn serve_metrics(state: AppState, listener: TcpListener) {
    let router = routes::metrics_router(&state);
    // Scrapers are few and the operator's own.
    let options = accept::Options::new(true, state.metrics.clone());
    accept::serve(listener, router, state.shutdown.clone(), Duration::ZERO, options).await;
}

/// What the public listeners bear. On a machine of its own, for development, there is only one source.
fn connection_options(state: &AppState) -> accept::Options {
    let one_source = state.config.server.behind_proxy || state.config.issuer_is_loopback_http();
    accept::Options::new(one_source, state.metrics.clone())
}

/// Cancels `shutdown` on SIGTERM or SIGINT; a second signal ends the process at once. Both are caught from the call on.
pub fn stop_on_signal(shutdown: CancellationToken) -> impl Future<Output = ()> {
    use tokio::signal::unix::{SignalKind, signal};
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    async move {
        let (Ok(mut terminate), Ok(mut interrupt)) = signals else {
            tracing::error!("signals cannot be received");
            return;
        };
        for attempt in 0..2 {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if attempt == 0 {
                tracing::info!("stopping: requests in flight are finished first");
                shutdown.cancel();
            } else {
                std::process::exit(1);
            }
        }
    }
}
