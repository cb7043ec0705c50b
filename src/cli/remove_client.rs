//! `riley-auth remove-client CLIENT_ID`.

use anyhow::{Context as _, bail};
use serde_json::json;

use super::Global;
use crate::protocol::ids::ClientId;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The client's id
    client_id: String,
}

pub(super) async fn run(global: &Global, args: &Args) -> anyhow::Result<()> {
    let (_, db) = global.database()?;
    let client_id = ClientId(args.client_id.clone());
    if !crate::db::clients::delete(&db, &client_id)
        .await
        .context("the client cannot be removed")?
    {
        bail!("there is no such client; `riley-auth list-clients` lists them");
    }
    let data = json!({ "removed": client_id });
    global.print(&data, |_| {
        format!("removed {client_id}, with its tokens and consents\n")
    })
}
