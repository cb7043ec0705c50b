//! `riley-auth dev`: everything that a first sign-in needs, started by one command and stopped by Ctrl-C.

use std::io::Write as _;
use std::path::{self, PathBuf};

use anyhow::{Context as _, anyhow};
use aws_lc_rs::rand::SystemRandom;
use axum::Router;
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::data::{self, DevData};
use super::database::{DevDatabase, choose_database};
use super::demo_app::DemoAppOptions;
use super::listen::{listen, serve};
use super::postgres::PrivatePostgres;
use super::settings::{self, Ports};
use super::simulated_upstream::{self, Simulation};
use super::{demo_app, front_end, provider};
use crate::clock::Clock;
use crate::db::{self, Pool};
use crate::http::state::AppState;
use crate::protocol::client::Client;
use crate::protocol::opaque::Opaque;
use crate::server;

/// What the command line says.
#[derive(Clone, Debug, Default)]
pub struct DevOptions {
    /// Throw away `dev`'s own database, keys and secrets first.
    pub fresh: bool,
    /// The first of four ports; 8081 if not given.
    pub port: Option<u16>,
    /// Where the private database, keys and secrets are kept; a database of `DATABASE_URL` is not looked at then.
    pub data_dir: Option<PathBuf>,
    /// `DATABASE_URL`: used only if that database is empty or `dev`'s own.
    pub database_url: Option<String>,
}

/// Runs until Ctrl-C or SIGTERM. When it returns, nothing that it started is left, PostgreSQL included.
pub async fn run(options: DevOptions) -> anyhow::Result<()> {
    crate::jwt::install_crypto_provider();
    let stop = CancellationToken::new();
    tokio::spawn(server::stop_on_signal(stop.clone()));
    let ports = Ports::starting_at(options.port.unwrap_or(settings::DEFAULT_PORT))?;
    let listeners = Listeners::take(ports).await?;
    let database = tokio::select! {
        database = open_database(&options) => database?,
        // A server that is still starting stops as soon as it has.
        () = stop.cancelled() => return Ok(()),
    };
    let result = tokio::select! {
        prepared = prepare_dev(&database, ports) => match prepared {
            Ok(prepared) => {
                announce(ports, &prepared.data, &database);
                prepared.serve(ports, listeners, stop).await
            }
            Err(error) => Err(error),
        },
        () = stop.cancelled() => Ok(()),
    };
    let stopped = database.stop().await;
    result.and(stopped)
}

async fn open_database(options: &DevOptions) -> anyhow::Result<DevDatabase> {
    match &options.data_dir {
        Some(dir) => {
            let private = PrivatePostgres::start_for_dev_in(&path::absolute(dir)?, options.fresh).await?;
            DevDatabase::on_private(private).await
        }
        None => choose_database(options.database_url.as_deref(), options.fresh).await,
    }
}

/// The listeners of all four servers: taken first, so that a port in use stops the start before it has begun.
struct Listeners {
    provider: Vec<TcpListener>,
    demo_app: Vec<TcpListener>,
    upstream: Vec<TcpListener>,
    front_end: Vec<TcpListener>,
}

impl Listeners {
    async fn take(ports: Ports) -> anyhow::Result<Self> {
        Ok(Self {
            provider: listen(ports.provider, "the provider").await?,
            demo_app: listen(ports.demo_app, "the demo app").await?,
            upstream: listen(ports.upstream, "the simulated upstream").await?,
            front_end: listen(ports.front_end, "the front end").await?,
        })
    }
}

async fn prepare_dev(database: &DevDatabase, ports: Ports) -> anyhow::Result<Prepared> {
    prepare(database.url(), data::directory_for(database)?, ports).await
}

/// Everything that the servers need.
pub(super) struct Prepared {
    pub(super) state: AppState,
    pub(super) data: DevData,
    pub(super) simulation: Simulation,
    pub(super) demo_app: Router,
}

/// Makes keys and secrets in `directory`, and a configuration with them; migrates, registers the demo app.
pub(super) async fn prepare(
    database_url: &str,
    directory: PathBuf,
    ports: Ports,
) -> anyhow::Result<Prepared> {
    let clock = Clock::default();
    let data = tokio::task::spawn_blocking(move || DevData::open(directory)).await??;
    let secret = Opaque::generate(&SystemRandom::new()).expose();
    let upstream_client = settings::upstream_client(ports, secret);
    let text = settings::config_text(ports, database_url, &data, &upstream_client)?;
    let config = settings::config(&text)?;
    data.keep_config(&text)?;

    let keys = server::load_keys(&config, &clock)?;
    let state = server::state(config, keys, clock.clone())?;
    db::schema::migrate(&state.db)
        .await
        .context("migrate the database")?;
    register(&state.db, &settings::demo_client(ports, &data)?, &clock).await?;

    let simulation = simulate(ports, upstream_client).await?;
    let demo_app = demo_app::router(DemoAppOptions {
        issuer: ports.issuer(),
        client_id: settings::DEMO_CLIENT_ID.to_owned(),
        client_secret: SecretString::from(data.demo_client_secret.expose()),
        base_url: ports.demo_app_url(),
        scope: settings::DEMO_SCOPE.to_owned(),
        signed_out_url: format!("{}/signed-out", ports.front_end_url()),
        clock,
    })?;
    Ok(Prepared {
        state,
        data,
        simulation,
        demo_app,
    })
}

impl Prepared {
    /// Serves all four until `stop`, or until one of them fails.
    async fn serve(self, ports: Ports, listeners: Listeners, stop: CancellationToken) -> anyhow::Result<()> {
        let upstream = simulated_upstream::router(&self.simulation);
        let front_end = front_end::router(&ports.issuer());
        let mut servers = JoinSet::new();
        servers.spawn(serve(upstream, listeners.upstream, stop.clone()));
        servers.spawn(serve(front_end, listeners.front_end, stop.clone()));
        servers.spawn(serve(self.demo_app, listeners.demo_app, stop.clone()));
        servers.spawn(provider::serve(self.state.clone(), listeners.provider));
        let result = tokio::select! {
            biased;
            () = stop.cancelled() => Ok(()),
            ended = servers.join_next() => match ended {
                Some(Err(panicked)) => Err(panicked).context("a server panicked"),
                _ => Err(anyhow!("a server ended by itself")),
            },
        };
        stop.cancel();
        self.state.shutdown.cancel();
        while servers.join_next().await.is_some() {}
        self.state.db.close().await;
        result
    }
}

/// Registers the client as it should be. One that differs (other ports, another version) is made anew, and what people
/// granted it goes with it.
async fn register(pool: &Pool, client: &Client, clock: &Clock) -> anyhow::Result<()> {
    let known = db::clients::find(pool, &client.client_id).await?;
    let is_same = |known: &Client| {
        let hashes = |client: &Client| {
            client
                .secrets
                .iter()
                .map(|secret| secret.hash)
                .collect::<Vec<_>>()
        };
        hashes(known) == hashes(client)
            && known.redirect_uris == client.redirect_uris
            && known.post_logout_redirect_uris == client.post_logout_redirect_uris
            && known.backchannel_logout_uri == client.backchannel_logout_uri
            && known.scope.to_string() == client.scope.to_string()
            && !known.disabled
    };
    if known.as_ref().is_some_and(is_same) {
        return Ok(());
    }
    let mut transaction = pool.begin().await?;
    db::clients::delete(&mut *transaction, &client.client_id).await?;
    db::clients::insert(&mut *transaction, client, clock.now())
        .await
        .context("register the demo app")?;
    transaction.commit().await?;
    Ok(())
}

async fn simulate(ports: Ports, client: simulated_upstream::Client) -> anyhow::Result<Simulation> {
    let options = simulated_upstream::Options {
        clients: vec![client],
        ..simulated_upstream::Options::default()
    };
    // Making its signing key takes a moment.
    tokio::task::spawn_blocking(move || Simulation::new(options, &ports.upstream_url())).await?
}

/// What to open, the most interesting first. To standard output, since it is what the command was run for.
fn announce(ports: Ports, data: &DevData, database: &DevDatabase) {
    let database_line = match database.directory() {
        Some(_) => database.url(),
        None => "the one of DATABASE_URL",
    };
    let text = format!(
        "
Open this and sign in:   {demo_app}

For an app of your own
  discovery URL          {issuer}/.well-known/openid-configuration
  client id              {client_id}
  client secret          {client_secret}
  redirect URI           {demo_app}/callback (the demo app's)

Beside it
  your own pages         {front_end}/account
  simulated upstream     {upstream}
  database               {database_line}

The other commands work on it, too, with --config {config}
Ctrl-C stops everything; data is kept in {directory} (--fresh starts anew).
",
        demo_app = ports.demo_app_url(),
        issuer = ports.issuer(),
        client_id = settings::DEMO_CLIENT_ID,
        client_secret = data.demo_client_secret.expose(),
        front_end = ports.front_end_url(),
        upstream = ports.upstream_url(),
        config = data.config_path().display(),
        directory = data.directory.display(),
    );
    let mut out = std::io::stdout().lock();
    // A closed standard output is no reason to stop.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
