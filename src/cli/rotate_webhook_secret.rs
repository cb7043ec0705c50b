//! `riley-auth rotate-webhook-secret WEBHOOK_ID`: a new secret beside the old one, which signs too for a while.

use anyhow::Context as _;
use serde_json::json;

use super::Global;
use super::register_webhook::{Tools, explained, webhook_id};
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
    let (config, db) = global.database()?;
    let webhook_id = webhook_id(&args.webhook_id)?;
    let tools = Tools::new(&config);
    let overlap_secs = args.overlap_secs.unwrap_or(config.webhooks.secret_overlap_secs);
    let mut tx = db.begin().await.context("the database does not answer")?;
    let (webhook, secret) = webhooks::rotate_secret(&mut tx, &tools.recorder(), webhook_id, overlap_secs)
        .await
        .map_err(explained)?;
    tx.commit().await.context("the secret cannot be stored")?;
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
