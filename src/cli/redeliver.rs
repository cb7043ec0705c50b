//! `riley-auth redeliver`: sends events or logout notices again, one or all that failed since a moment.

use serde_json::json;
use time::OffsetDateTime;
use uuid::Uuid;

use super::administration::{Administration, client_refused, webhook_refused};
use super::list_deliveries::To;
use super::{Global, moment};
use crate::clients::operations;
use crate::db::deliveries::{Addressee, Redelivery};
use crate::webhooks::{self, NotDone};

const EXAMPLES: &str = "\
Examples:
  riley-auth redeliver --webhook WEBHOOK_ID --failed-since 2026-01-31T00:00:00Z
  riley-auth redeliver --client-id CLIENT_ID --delivery DELIVERY_ID";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
#[group(id = "which", required = true, args = ["delivery_id", "failed_since"])]
pub(super) struct Args {
    #[command(flatten)]
    to: To,
    /// This delivery, failed or delivered
    #[arg(long = "delivery", value_name = "DELIVERY_ID")]
    delivery_id: Option<Uuid>,
    /// Every delivery that failed at this moment (RFC 3339) or later
    #[arg(long, value_name = "MOMENT", value_parser = moment)]
    failed_since: Option<OffsetDateTime>,
}

pub(super) async fn run(global: &Global, args: &Args) -> anyhow::Result<()> {
    let opened = Administration::open(global)?;
    let addressee = args.to.addressee()?;
    let which = match (args.delivery_id, args.failed_since) {
        (Some(delivery_id), _) => Redelivery::One(delivery_id),
        (None, Some(since)) => Redelivery::FailedSince(since),
        (None, None) => unreachable!("one of both is required"),
    };
    let deliveries = opened
        .perform(async |tx, recorder| match &addressee {
            Addressee::Webhook(webhook_id) => webhooks::redeliver(tx, recorder, *webhook_id, which)
                .await
                .map_err(|error| match (error, which) {
                    (NotDone::NotFound, Redelivery::One(_)) => no_such_delivery(),
                    (error, _) => webhook_refused(error),
                }),
            Addressee::Client(client_id) => operations::redeliver_logout(tx, recorder, client_id, which)
                .await
                .map_err(client_refused),
        })
        .await?;
    global.print(&json!({ "deliveries": deliveries }), |_| {
        let plural = if deliveries == 1 { "y" } else { "ies" };
        format!("a running server sends {deliveries} deliver{plural} again\n")
    })
}

/// For a delivery that is not there, of somebody else, or still to be sent.
pub(super) fn no_such_delivery() -> anyhow::Error {
    anyhow::anyhow!(
        "there is no such delivery, or it is still to be sent; `riley-auth list-deliveries` lists them"
    )
}
