//! `riley-auth ping-webhook WEBHOOK_ID`: lets a running server send a `webhook.ping`.

use anyhow::Context as _;
use serde_json::json;

use super::Global;
use super::register_webhook::{Tools, explained, webhook_id};
use crate::webhooks;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The webhook's id
    webhook_id: String,
}

pub(super) async fn run(global: &Global, args: &Args) -> anyhow::Result<()> {
    let (config, db) = global.database()?;
    let webhook_id = webhook_id(&args.webhook_id)?;
    let tools = Tools::new(&config);
    let mut tx = db.begin().await.context("the database does not answer")?;
    let delivery_id = webhooks::ping(&mut tx, &tools.recorder(), webhook_id)
        .await
        .map_err(explained)?;
    tx.commit().await.context("the ping cannot be stored")?;
    let data = json!({ "webhook_id": webhook_id, "delivery_id": delivery_id });
    global.print(&data, |_| {
        format!("a running server sends it now, as delivery {delivery_id}\n")
    })
}
