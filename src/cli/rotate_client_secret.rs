//! `riley-auth rotate-client-secret CLIENT_ID`: a new secret beside the old one, which stays good for a while.

use serde_json::json;
use time::format_description::well_known::Rfc3339;

use super::Global;
use super::administration::{Administration, client_refused};
use crate::clients::operations::{self, DEFAULT_OVERLAP_SECS, MAX_OVERLAP_SECS};
use crate::protocol::ids::ClientId;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The client's id
    client_id: String,
    /// For how many seconds the old secret stays good; 0 ends it at once
    #[arg(long, value_name = "SECONDS", default_value_t = DEFAULT_OVERLAP_SECS, value_parser = clap::value_parser!(u32).range(..=i64::from(MAX_OVERLAP_SECS)))]
    overlap_secs: u32,
}

pub(super) async fn run(global: &Global, args: &Args) -> anyhow::Result<()> {
    let opened = Administration::open(global)?;
    let client_id = ClientId(args.client_id.clone());
    let rotation = opened
        .perform(async |tx, recorder| {
            operations::rotate_secret(tx, recorder, &client_id, args.overlap_secs)
                .await
                .map_err(client_refused)
        })
        .await?;
    let (secret, previous_expires_at) = (rotation.secret, rotation.previous_expires_at);
    let until = previous_expires_at.replace_nanosecond(0)?.format(&Rfc3339)?;
    let data = json!({
        "client_id": client_id,
        "client_secret": secret.expose(),
        "previous_secret_expires_at": until,
    });
    global.print(&data, |_| {
        format!(
            "client_id      {client_id}\nclient_secret  {}\n\nThe secret is shown this once. The old one is good until {until}.\n",
            secret.expose()
        )
    })
}
