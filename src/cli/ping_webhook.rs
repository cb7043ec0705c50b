//! `riley-auth ping-webhook WEBHOOK_ID`: lets a running server send a `webhook.ping`.

use serde_json::json;

use super::Global;
use super::administration::{Administration, webhook_id, webhook_refused};
use crate::webhooks;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The webhook's id
    webhook_id: String,
}

pub(super) async fn run(global: &Global, args: &Args) -> anyhow::Result<()> {
    let opened = Administration::open(global)?;
    let webhook_id = webhook_id(&args.webhook_id)?;
    let delivery_id = opened
        .perform(async |tx, recorder| {
            webhooks::ping(tx, recorder, webhook_id)
                .await
                .map_err(webhook_refused)
        })
        .await?;
    let data = json!({ "webhook_id": webhook_id, "delivery_id": delivery_id });
    global.print(&data, |_| {
        format!("a running server sends it now, as delivery {delivery_id}\n")
    })
}
