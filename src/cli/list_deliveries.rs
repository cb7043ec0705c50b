//! `riley-auth list-deliveries`: what a webhook was sent, or which logouts an app was told of, and what came of it.

use anyhow::Context as _;
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

use super::administration::webhook_id;
use super::{Global, table};
use crate::db;
use crate::db::deliveries::{Addressee, Attempt};
use crate::protocol::ids::ClientId;

/// The most that are listed.
const MOST: u16 = 500;

/// Who deliveries go to: one or the other.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(super) struct To {
    /// The webhook that is sent events
    #[arg(long = "webhook", value_name = "WEBHOOK_ID")]
    webhook_id: Option<String>,
    /// The app that is told of logouts
    #[arg(long, value_name = "CLIENT_ID")]
    client_id: Option<String>,
}

impl To {
    pub(super) fn addressee(&self) -> anyhow::Result<Addressee> {
        match (&self.webhook_id, &self.client_id) {
            (Some(webhook), _) => webhook_id(webhook).map(Addressee::Webhook),
            (None, Some(client)) => Ok(Addressee::Client(ClientId(client.clone()))),
            (None, None) => unreachable!("one of both is required"),
        }
    }
}

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    to: To,
    /// These alone
    #[arg(long, value_parser = ["pending", "delivered", "failed"])]
    status: Option<String>,
    /// How many, the newest first
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=i64::from(MOST)))]
    limit: u16,
}

pub(super) async fn run(global: &Global, args: &Args) -> anyhow::Result<()> {
    let (_, db) = global.database()?;
    let (status, limit) = (args.status.as_deref(), i64::from(args.limit));
    let data: Vec<Value> = match args.to.addressee()? {
        Addressee::Webhook(webhook_id) => {
            let all = db::deliveries::page_of_webhook(&db, webhook_id, status, None, limit).await;
            let all = all.context("the deliveries cannot be read")?;
            let described = all.iter().map(|one| {
                let mut data = described(&one.status, one.created_at, one.completed_at, &one.attempts);
                data["delivery_id"] = json!(one.delivery_id);
                data["event_id"] = json!(one.event_id);
                data["event_type"] = json!(one.event_type);
                data
            });
            described.collect()
        }
        Addressee::Client(client_id) => {
            let all = db::deliveries::page_of_client(&db, &client_id, status, None, limit).await;
            let all = all.context("the deliveries cannot be read")?;
            let described = all.iter().map(|one| {
                let mut data = described(&one.status, one.created_at, one.completed_at, &one.attempts);
                data["delivery_id"] = json!(one.delivery_id);
                data["user_id"] = json!(one.user_id);
                data["session_id"] = json!(one.session_id);
                data
            });
            described.collect()
        }
    };
    global.print(&data, |data| {
        if data.is_empty() {
            return "there is none\n".to_owned();
        }
        let rows: Vec<Vec<String>> = data.iter().map(row).collect();
        table::render(
            &["DELIVERY ID", "CREATED", "WHAT", "STATUS", "ATTEMPTS", "LAST"],
            &rows,
        )
    })
}

fn described(
    status: &str,
    created_at: OffsetDateTime,
    completed_at: Option<OffsetDateTime>,
    attempts: &[Attempt],
) -> Value {
    let at = |at: OffsetDateTime| at.to_offset(UtcOffset::UTC).format(&Rfc3339).ok();
    let attempts: Vec<Value> = attempts
        .iter()
        .map(|one| {
            json!({
                "attempt": one.attempt,
                "attempted_at": at(one.attempted_at),
                "duration_ms": one.duration_ms,
                "status_code": one.status_code,
                "error": one.error,
            })
        })
        .collect();
    json!({
        "status": status,
        "created_at": at(created_at),
        "completed_at": completed_at.and_then(at),
        "attempts": attempts,
    })
}

fn row(data: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let attempts = data["attempts"].as_array().map_or(&[][..], Vec::as_slice);
    let last = attempts.last().map_or_else(String::new, |last| {
        let code = last["status_code"].as_i64().map(|code| code.to_string());
        let error = last["error"].as_str().map(str::to_owned);
        [code, error]
            .into_iter()
            .flatten()
            .collect::<Vec<String>>()
            .join(" ")
    });
    let what = if data["event_type"].is_string() {
        text(&data["event_type"])
    } else {
        format!("logout of {}", text(&data["user_id"]))
    };
    vec![
        text(&data["delivery_id"]),
        text(&data["created_at"]),
        what,
        text(&data["status"]),
        attempts.len().to_string(),
        last,
    ]
}
