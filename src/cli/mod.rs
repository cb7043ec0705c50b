//! The command line: one file per command.
//!
//! Standard output is data, for people as text and with `--json` for programs; everything else goes to standard error.
//! Exit codes: 0 done, 1 failed, 2 wrong usage.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use serde::Serialize;

use crate::config::finding::{ConfigFindings, Finding};
use crate::config::{Config, Source};
use crate::db::Pool;

mod administration;
mod audit;
mod change_client;
mod change_webhook;
mod completions;
mod config_schema;
mod delete;
mod demo;
mod demote;
mod dev;
mod disable;
mod enable;
mod explain;
mod export;
mod generate_keys;
mod healthcheck;
mod keys;
mod list_clients;
mod list_deliveries;
mod list_users;
mod list_webhooks;
pub mod logging;
mod man;
mod migrate;
mod openapi;
mod person;
mod ping_webhook;
mod prepend;
mod promote;
mod redeliver;
mod register_client;
mod register_webhook;
mod remove_client;
mod remove_webhook;
mod reserved_usernames;
mod revoke;
mod rotate_client_secret;
mod rotate_webhook_secret;
mod serve;
mod show_client;
mod table;
mod unmerge;
mod validate;

/// An OpenID Connect provider you own: people sign in upstream, your apps get tokens.
#[derive(Debug, Parser)]
#[command(name = "riley-auth", version, propagate_version = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options of every command.
#[derive(Debug, clap::Args)]
struct Global {
    /// The configuration file; otherwise riley-auth.toml here or in a parent directory, in the user's configuration
    /// directory, or in /etc/riley-auth
    #[arg(long, global = true, value_name = "PATH", env = "RILEY_AUTH_CONFIG")]
    config: Option<PathBuf>,
    /// Write JSON for programs instead of text for people
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server
    Serve,
    /// Try it out: a private database, generated keys, a simulated provider and a demo app, on this machine only
    Dev(dev::Args),
    /// What compose.yaml runs beside `serve`: a simulated provider, a demo app and example pages
    #[command(hide = true)]
    Demo(demo::Args),
    /// Bring the database up to date
    Migrate,
    /// Check configuration, keys, database and providers, and report everything at once
    Validate(validate::Args),
    /// Ask the running server whether it can answer requests
    Healthcheck(healthcheck::Args),
    /// Show what an error page's id stands for
    Explain(explain::Args),
    /// Show where each signing key stands in its life
    Keys,
    /// Make a signing key
    GenerateKeys(generate_keys::Args),
    /// Register an app
    RegisterClient(Box<register_client::Args>),
    /// List the registered apps
    ListClients,
    /// Show everything that is said of an app
    ShowClient(show_client::Args),
    /// Change what is said of an app, or disable and enable it
    ChangeClient(Box<change_client::Args>),
    /// Remove an app with its tokens and consents
    RemoveClient(remove_client::Args),
    /// Give an app a new secret; the old one stays good for a while
    RotateClientSecret(rotate_client_secret::Args),
    /// List accounts, found by name or address
    ListUsers(list_users::Args),
    /// Make somebody an administrator
    Promote(promote::Args),
    /// Make an administrator a user like any other
    Demote(demote::Args),
    /// End every session and token of somebody and let nobody sign in to the account
    Disable(disable::Args),
    /// Let somebody sign in again
    Enable(enable::Args),
    /// End sessions and tokens: of one account, or of everybody after a backup was restored
    Revoke(revoke::Args),
    /// Let nobody take a name
    ReserveUsername(reserved_usernames::Args),
    /// Let a reserved name be taken again
    ReleaseUsername(reserved_usernames::Args),
    /// List the names that nobody may take
    ListReservedUsernames,
    /// Show who did what, or verify that the trail is whole
    Audit(audit::Args),
    /// Delete an account with everything that is held of its owner
    Delete(delete::Args),
    /// Show everything that is held of somebody
    Export(export::Args),
    /// Give an identity that was merged into an account one of its own again
    Unmerge(unmerge::Args),
    /// Register a webhook: events are sent to it
    RegisterWebhook(register_webhook::Args),
    /// List the registered webhooks
    ListWebhooks,
    /// Change where a webhook is, what it hears of, or whether it is sent anything
    ChangeWebhook(change_webhook::Args),
    /// Remove a webhook with what was still to be sent to it
    RemoveWebhook(remove_webhook::Args),
    /// Give a webhook a new secret; the old one signs, too, for a while
    RotateWebhookSecret(rotate_webhook_secret::Args),
    /// Send a webhook a ping
    PingWebhook(ping_webhook::Args),
    /// List what a webhook was sent, or which logouts an app was told of, with every attempt
    ListDeliveries(list_deliveries::Args),
    /// Send events or logout notices again
    Redeliver(redeliver::Args),
    /// Print the API document (OpenAPI 3.1)
    Openapi,
    /// Print a completion script for a shell
    Completions(completions::Args),
    /// Print a manual page, or write all of them
    Man(man::Args),
    /// Print the configuration's JSON Schema, for editors
    ConfigSchema,
}

/// A command failed and has said why.
#[derive(Debug, thiserror::Error)]
#[error("the command failed")]
struct AlreadyReported;

/// What threads that block are given when a command is done.
const LAST_MOMENT: std::time::Duration = std::time::Duration::from_millis(500);

/// Parses the arguments, runs the command, reports its failure.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    crate::jwt::install_crypto_provider();
    let result = tokio::runtime::Runtime::new()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| {
            let result = runtime.block_on(run(cli.global, cli.command));
            // A name that nobody resolves, or a file that nobody reads, must not keep the process from ending.
            runtime.shutdown_timeout(LAST_MOMENT);
            result
        });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&error);
            ExitCode::FAILURE
        }
    }
}

async fn run(global: Global, command: Command) -> anyhow::Result<()> {
    match command {
        Command::Serve => serve::run(&global).await,
        Command::Dev(args) => dev::run(args).await,
        Command::Demo(args) => demo::run(args).await,
        Command::Migrate => migrate::run(&global).await,
        Command::Validate(args) => validate::run(&global, &args).await,
        Command::Healthcheck(args) => healthcheck::run(&global, &args).await,
        Command::Explain(args) => explain::run(&global, &args).await,
        Command::Keys => keys::run(&global).await,
        Command::GenerateKeys(args) => generate_keys::run(&global, &args).await,
        Command::RegisterClient(args) => register_client::run(&global, *args).await,
        Command::ListClients => list_clients::run(&global).await,
        Command::ShowClient(args) => show_client::run(&global, &args).await,
        Command::ChangeClient(args) => change_client::run(&global, *args).await,
        Command::RemoveClient(args) => remove_client::run(&global, &args).await,
        Command::RotateClientSecret(args) => rotate_client_secret::run(&global, &args).await,
        Command::ListUsers(args) => list_users::run(&global, &args).await,
        Command::Promote(args) => promote::run(&global, &args).await,
        Command::Demote(args) => demote::run(&global, &args).await,
        Command::Disable(args) => disable::run(&global, &args).await,
        Command::Enable(args) => enable::run(&global, &args).await,
        Command::Revoke(args) => revoke::run(&global, &args).await,
        Command::ReserveUsername(args) => reserved_usernames::reserve(&global, &args).await,
        Command::ReleaseUsername(args) => reserved_usernames::release(&global, &args).await,
        Command::ListReservedUsernames => reserved_usernames::list(&global).await,
        Command::Audit(args) => audit::run(&global, &args).await,
        Command::Delete(args) => delete::run(&global, &args).await,
        Command::Export(args) => export::run(&global, &args).await,
        Command::Unmerge(args) => unmerge::run(&global, &args).await,
        Command::RegisterWebhook(args) => register_webhook::run(&global, args).await,
        Command::ListWebhooks => list_webhooks::run(&global).await,
        Command::ChangeWebhook(args) => change_webhook::run(&global, &args).await,
        Command::RemoveWebhook(args) => remove_webhook::run(&global, &args).await,
        Command::RotateWebhookSecret(args) => rotate_webhook_secret::run(&global, &args).await,
        Command::PingWebhook(args) => ping_webhook::run(&global, &args).await,
        Command::ListDeliveries(args) => list_deliveries::run(&global, &args).await,
        Command::Redeliver(args) => redeliver::run(&global, &args).await,
        Command::Completions(args) => completions::run(&args),
        Command::Openapi => openapi::run(&global),
        Command::Man(args) => man::run(&args),
        Command::ConfigSchema => config_schema::run(),
    }
}

impl Global {
    fn source(&self) -> Result<Source, ConfigFindings> {
        Source::find(self.config.as_deref())
    }

    /// The configuration without its warnings, and the database: for commands that change rows.
    fn database(&self) -> anyhow::Result<(Config, Pool)> {
        let config = self.source()?.load()?.config;
        let db = crate::db::connect(&config.database)?;
        Ok((config, db))
    }

    /// Writes `data` as JSON or, by `text`, for people.
    fn print<T: Serialize>(&self, data: &T, text: impl FnOnce(&T) -> String) -> anyhow::Result<()> {
        if self.json {
            print(&(serde_json::to_string_pretty(data)? + "\n"))
        } else {
            print(&text(data))
        }
    }
}

/// A moment that an argument names.
fn moment(text: &str) -> Result<time::OffsetDateTime, &'static str> {
    crate::clock::written_moment(text).ok_or("write a moment such as 2026-01-31T12:00:00Z")
}

/// Writes to standard output. A reader that went away, as `head` does, is no failure.
fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}

fn command() -> clap::Command {
    Cli::command()
}

fn report(error: &anyhow::Error) {
    if error.is::<AlreadyReported>() {
        return;
    }
    if let Some(findings) = error.downcast_ref::<ConfigFindings>() {
        eprintln!("{findings}\n{}", tally(&findings.0));
        return;
    }
    eprintln!("error: {error}");
    for cause in error.chain().skip(1) {
        eprintln!("  because: {cause}");
    }
}

/// `2 errors, 1 warning`.
fn tally(findings: &[Finding]) -> String {
    let errors = findings.iter().filter(|finding| finding.is_error()).count();
    let plural = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    format!(
        "{}, {}",
        plural(errors, "error"),
        plural(findings.len() - errors, "warning")
    )
}
