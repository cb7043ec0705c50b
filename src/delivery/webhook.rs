//! One attempt to tell a webhook of an event (Standard Webhooks).

use axum::http::{HeaderMap, HeaderValue, StatusCode};
use serde::Serialize;
use serde_json::value::RawValue;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use url::Url;
use uuid::Uuid;

use super::{Outcome, signature};
use crate::http::state::AppState;
use crate::sealing::{Keyring, Purpose};

/// An event, and the webhook that is to hear of it.
#[derive(Clone, Debug)]
pub struct EventNotice {
    pub event_id: Uuid,
    pub event_type: String,
    /// The payload, a JSON object.
    pub data: String,
    pub created_at: OffsetDateTime,
    pub url: String,
    pub sealed_secret: Vec<u8>,
    pub sealed_previous_secret: Option<Vec<u8>>,
    pub previous_secret_expires_at: Option<OffsetDateTime>,
}

/// What is sent.
#[derive(Serialize)]
struct Body<'a> {
    #[serde(rename = "type")]
    event_type: &'a str,
    timestamp: String,
    data: &'a RawValue,
}

/// Tells the webhook. 2xx is a success, 410 is final (the receiver is gone for good), everything else may work later.
pub async fn send(state: &AppState, notice: &EventNotice, now: OffsetDateTime) -> Outcome {
    let not_sent = |code| Outcome::Retry {
        code,
        status_code: None,
    };
    let Some(secrets) = secrets(&state.keyring, notice, now) else {
        return Outcome::NotAttempted {
            code: "secret_unreadable",
        };
    };
    let Ok(url) = Url::parse(&notice.url) else {
        return not_sent("url_not_allowed");
    };
    let Some(body) = body(notice) else {
        return not_sent("not_written");
    };
    let Some(headers) = headers(&secrets, notice.event_id, now.unix_timestamp(), &body) else {
        return not_sent("not_written");
    };
    match state.outbound.post(&url, "application/json", headers, body).await {
        Ok(StatusCode::GONE) => Outcome::Permanent {
            code: "receiver_gone",
            status_code: Some(StatusCode::GONE.as_u16()),
        },
        answer => Outcome::of(answer),
    }
}

/// The secrets that sign now, the current one first. `None`: it was sealed under a key that is not configured any more.
fn secrets(keyring: &Keyring, notice: &EventNotice, now: OffsetDateTime) -> Option<Vec<Vec<u8>>> {
    let mut secrets = vec![keyring.open(Purpose::WebhookSecret, &notice.sealed_secret)?];
    if notice
        .previous_secret_expires_at
        .is_some_and(|expires_at| now < expires_at)
        && let Some(sealed) = &notice.sealed_previous_secret
    {
        secrets.extend(keyring.open(Purpose::WebhookSecret, sealed));
    }
    Some(secrets)
}

fn body(notice: &EventNotice) -> Option<String> {
    let data: &RawValue = serde_json::from_str(&notice.data).ok()?;
    let body = Body {
        event_type: &notice.event_type,
        timestamp: notice.created_at.format(&Rfc3339).ok()?,
        data,
    };
    serde_json::to_string(&body).ok()
}

fn headers(secrets: &[Vec<u8>], event_id: Uuid, timestamp: i64, body: &str) -> Option<HeaderMap> {
    let id = event_id.to_string();
    let signature = signature::header(secrets, &id, timestamp, body);
    let mut headers = HeaderMap::new();
    headers.insert("webhook-id", HeaderValue::from_str(&id).ok()?);
    headers.insert("webhook-timestamp", HeaderValue::from(timestamp));
    headers.insert("webhook-signature", HeaderValue::from_str(&signature).ok()?);
    Some(headers)
}
