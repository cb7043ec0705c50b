//! `riley-auth change-webhook WEBHOOK_ID`: where events are sent, which, and whether at all.

use super::Global;
use super::administration::{Administration, webhook_id, webhook_refused};
use crate::webhooks::{self, Change};

#[derive(Debug, clap::Args)]
#[group(skip)]
#[command(group(
    clap::ArgGroup::new("change")
        .args(["url", "event_types", "all_events", "description", "disable", "enable"])
        .required(true)
        .multiple(true)
))]
pub(super) struct Args {
    /// The webhook's id
    webhook_id: String,
    /// Where events are sent from now on: https, a public host
    #[arg(long)]
    url: Option<String>,
    /// An event to hear of, instead of those it heard of before; may be repeated
    #[arg(long = "event", value_name = "EVENT", conflicts_with = "all_events")]
    event_types: Vec<String>,
    /// Hear of every event
    #[arg(long)]
    all_events: bool,
    /// What it is for
    #[arg(long)]
    description: Option<String>,
    /// Keep nothing new for it, and let what waits go on waiting
    #[arg(long, conflicts_with = "enable")]
    disable: bool,
    /// Send to it again, what waited first
    #[arg(long)]
    enable: bool,
}

pub(super) async fn run(global: &Global, args: &Args) -> anyhow::Result<()> {
    let opened = Administration::open(global)?;
    let webhook_id = webhook_id(&args.webhook_id)?;
    let change = Change {
        url: args.url.clone(),
        description: args.description.clone(),
        event_types: (args.all_events || !args.event_types.is_empty()).then(|| args.event_types.clone()),
        disabled: (args.disable || args.enable).then_some(args.disable),
    };
    let policy = opened.config.webhooks.policy();
    let webhook = opened
        .perform(async |tx, recorder| {
            webhooks::change(tx, recorder, policy, webhook_id, &change)
                .await
                .map_err(webhook_refused)
        })
        .await?;
    global.print(&super::list_webhooks::describe(&webhook), |_| {
        format!("webhook {webhook_id} is changed\n")
    })
}
