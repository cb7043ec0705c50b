//! `riley-auth remove-webhook WEBHOOK_ID`.

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
    opened
        .perform(async |tx, recorder| {
            webhooks::remove(tx, recorder, webhook_id)
                .await
                .map_err(webhook_refused)
        })
        .await?;
    let data = json!({ "removed": webhook_id });
    global.print(&data, |_| {
        format!("removed {webhook_id}, with what was still to be sent to it\n")
    })
}
