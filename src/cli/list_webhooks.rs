//! `riley-auth list-webhooks`.

use anyhow::Context as _;
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

use super::{Global, table};
use crate::db::webhooks::Webhook;

/// Read at a time.
const PAGE: i64 = 500;

pub(super) async fn run(global: &Global) -> anyhow::Result<()> {
    let (_, db) = global.database()?;
    let mut webhooks: Vec<Webhook> = Vec::new();
    loop {
        let after = webhooks.last().map(|webhook| webhook.webhook_id);
        let page = crate::db::webhooks::page(&db, None, after, PAGE)
            .await
            .context("the webhooks cannot be read")?;
        if page.is_empty() {
            break;
        }
        webhooks.extend(page);
    }
    let data: Vec<Value> = webhooks.iter().map(describe).collect();
    global.print(&data, |_| {
        if webhooks.is_empty() {
            return "no webhook is registered; `riley-auth register-webhook` registers one\n".to_owned();
        }
        let rows: Vec<Vec<String>> = webhooks.iter().map(row).collect();
        table::render(
            &["WEBHOOK ID", "URL", "APP", "EVENTS", "STATE", "DESCRIPTION"],
            &rows,
        )
    })
}

fn row(webhook: &Webhook) -> Vec<String> {
    let all_or = |list: String| if list.is_empty() { "all".to_owned() } else { list };
    let state = if webhook.disabled_at.is_some() {
        "disabled"
    } else {
        "enabled"
    };
    vec![
        webhook.webhook_id.to_string(),
        webhook.url.clone(),
        all_or(
            webhook
                .client_id
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
        ),
        all_or(webhook.event_types.join(" ")),
        state.to_owned(),
        webhook.description.clone(),
    ]
}

/// Every field by its name, without anything secret.
pub(super) fn describe(webhook: &Webhook) -> Value {
    let at = |at: OffsetDateTime| at.to_offset(UtcOffset::UTC).format(&Rfc3339).ok();
    json!({
        "webhook_id": webhook.webhook_id,
        "client_id": webhook.client_id,
        "url": webhook.url,
        "description": webhook.description,
        "event_types": webhook.event_types,
        "disabled": webhook.disabled_at.is_some(),
        "previous_secret_expires_at": webhook.previous_secret_expires_at.and_then(at),
        "created_at": at(webhook.created_at),
        "updated_at": at(webhook.updated_at),
    })
}
