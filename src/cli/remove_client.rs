//! `riley-auth remove-client CLIENT_ID`.

use serde_json::json;

use super::Global;
use super::administration::{Administration, client_refused};
use crate::clients::operations;
use crate::protocol::ids::ClientId;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The client's id
    client_id: String,
}

pub(super) async fn run(global: &Global, args: &Args) -> anyhow::Result<()> {
    let opened = Administration::open(global)?;
    let client_id = ClientId(args.client_id.clone());
    opened
        .perform(async |tx, recorder| {
            operations::delete(tx, recorder, &client_id)
                .await
                .map_err(client_refused)
        })
        .await?;
    let data = json!({ "removed": client_id });
    global.print(&data, |_| {
        format!("removed {client_id}, with its tokens, consents and webhooks\n")
    })
}
