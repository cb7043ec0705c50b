//! `riley-auth rotate-client-secret CLIENT_ID`: a new secret beside the old one, which stays good for a while.

use anyhow::{Context as _, bail};
use aws_lc_rs::rand::SystemRandom;
use serde_json::json;
use time::Duration;
use time::format_description::well_known::Rfc3339;

use super::Global;
use crate::clock::Clock;
use crate::protocol::ids::ClientId;
use crate::protocol::opaque::Opaque;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The client's id
    client_id: String,
    /// For how many seconds the old secret stays good; 0 ends it at once
    #[arg(long, value_name = "SECONDS", default_value_t = 86_400, value_parser = clap::value_parser!(u32).range(..=7_776_000))]
    overlap_secs: u32,
}

pub(super) async fn run(global: &Global, args: &Args) -> anyhow::Result<()> {
    let (_, db) = global.database()?;
    let client_id = ClientId(args.client_id.clone());
    let now = Clock::default().now();
    let previous_expires_at = now + Duration::seconds(args.overlap_secs.into());
    let secret = Opaque::generate(&SystemRandom::new());
    let rotated =
        crate::db::clients::rotate_secret(&db, &client_id, &secret.hash(), previous_expires_at, now)
            .await
            .context("the secret cannot be stored")?;
    if !rotated {
        bail!("there is no confidential client of this id; `riley-auth list-clients` lists them");
    }
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
