//! `riley-auth register-webhook`: the secret is printed once.

use serde_json::json;

use super::Global;
use super::administration::{Administration, webhook_refused};
use crate::protocol::ids::ClientId;
use crate::webhooks::{self, NewWebhook};

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
    let opened = Administration::open(global)?;
    let new = NewWebhook {
        client_id: args.client_id.map(ClientId),
        url: args.url,
        description: args.description,
        event_types: args.event_types,
    };
    let (webhook, secret) = opened
        .perform(async |tx, recorder| {
            webhooks::create(tx, recorder, opened.config.webhooks.policy(), &new)
                .await
                .map_err(webhook_refused)
        })
        .await?;
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
