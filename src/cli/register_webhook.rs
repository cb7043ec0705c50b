//! `riley-auth register-webhook`: the secret is printed once.

use anyhow::Context as _;
use aws_lc_rs::rand::SystemRandom;
use serde_json::json;
use uuid::Uuid;

use super::Global;
use crate::audit::{Actor, Recorder};
use crate::clock::Clock;
use crate::config::Config;
use crate::config::finding::ConfigFindings;
use crate::protocol::ids::ClientId;
use crate::sealing::Keyring;
use crate::webhooks::{self, NewWebhook, NotDone};

const EXAMPLES: &str = "\
Examples:
  riley-auth register-webhook --url https://billing.example.com/identity-events
  riley-auth register-webhook --url https://notes.example.com/hook --client-id CLIENT_ID --event user.deleted";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Where events are sent: https, a public host
    #[arg(long)]
    url: String,
    /// The app it belongs to: hears only what concerns that app. Without it, hears of everything
    #[arg(long, value_name = "CLIENT_ID")]
    client_id: Option<String>,
    /// An event to hear of, such as user.deleted; may be repeated. All if none is named
    #[arg(long = "event", value_name = "EVENT")]
    event_types: Vec<String>,
    /// What it is for, for those who read the list
    #[arg(long, default_value = "", hide_default_value = true)]
    description: String,
}

pub(super) async fn run(global: &Global, args: Args) -> anyhow::Result<()> {
    let (config, db) = global.database()?;
    let new = NewWebhook {
        client_id: args.client_id.map(ClientId),
        url: args.url,
        description: args.description,
        event_types: args.event_types,
    };
    let tools = Tools::new(&config);
    let mut tx = db.begin().await.context("the database does not answer")?;
    let (webhook, secret) = webhooks::create(&mut tx, &tools.recorder(), config.webhooks.policy(), &new)
        .await
        .map_err(explained)?;
    tx.commit().await.context("the webhook cannot be stored")?;
    let mut data = super::list_webhooks::describe(&webhook);
    if let Some(members) = data.as_object_mut() {
        members.insert("secret".into(), json!(secret.expose()));
    }
    global.print(&data, |_| {
        format!(
            "webhook_id  {}\nsecret      {}\n\nThe secret is shown this once: store it now, where the receiver finds it.\n",
            webhook.webhook_id,
            secret.expose()
        )
    })
}

/// What operations of the command line leave their entry in the trail with.
pub(super) struct Tools {
    keyring: Keyring,
    rng: SystemRandom,
    clock: Clock,
}

impl Tools {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            keyring: config.keyring(),
            rng: SystemRandom::new(),
            clock: Clock::default(),
        }
    }

    pub(super) fn recorder(&self) -> Recorder<'_> {
        Recorder {
            keyring: &self.keyring,
            rng: &self.rng,
            actor: &Actor::CommandLine,
            now: self.clock.now(),
        }
    }
}

/// Why an operation did nothing, for the one at the terminal.
pub(super) fn explained(error: NotDone) -> anyhow::Error {
    match error {
        NotDone::Invalid(findings) => ConfigFindings(findings).into(),
        NotDone::NotFound => {
            anyhow::anyhow!("there is no such webhook; `riley-auth list-webhooks` lists them")
        }
        NotDone::Database(error) => {
            anyhow::Error::new(error).context("the webhook cannot be read or written")
        }
    }
}

/// Reads an id: what is no id at all is none of a webhook.
pub(super) fn webhook_id(text: &str) -> anyhow::Result<Uuid> {
    text.parse().map_err(|_| explained(NotDone::NotFound))
}
