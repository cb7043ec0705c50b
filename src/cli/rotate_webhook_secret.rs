//! `riley-auth rotate-webhook-secret WEBHOOK_ID`: a new secret beside the old one, which signs too for a while.

use serde_json::json;

use super::Global;
use super::administration::{Administration, webhook_id, webhook_refused};
use crate::webhooks;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The webhook's id
    webhook_id: String,
    /// For how many seconds the old secret signs, too; 0 ends it at once. webhooks.secret_overlap_secs if it is left out
    #[arg(long, value_name = "SECONDS")]
    overlap_secs: Option<u32>,
}

pub(super) async fn run(global: &Global, args: &Args) -> anyhow::Result<()> {
    let opened = Administration::open(global)?;
    let webhook_id = webhook_id(&args.webhook_id)?;
    let overlap_secs = args
        .overlap_secs
        .unwrap_or(opened.config.webhooks.secret_overlap_secs);
    let (webhook, secret) = opened
        .perform(async |tx, recorder| {
            webhooks::rotate_secret(tx, recorder, webhook_id, overlap_secs)
                .await
                .map_err(webhook_refused)
        })
        .await?;
    let mut data = super::list_webhooks::describe(&webhook);
    if let Some(members) = data.as_object_mut() {
        members.insert("secret".into(), json!(secret.expose()));
    }
    global.print(&data, |data| {
        let until = data["previous_secret_expires_at"].as_str().unwrap_or_default();
        format!(
            "webhook_id  {webhook_id}\nsecret      {}\n\nThe secret is shown this once. The old one signs, too, until {until}.\n",
            secret.expose()
        )
    })
}
