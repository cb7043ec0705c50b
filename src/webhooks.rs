//! Who hears of events: registered, changed, given another secret, sent something again. One set of rules for the HTTP API and
//! the command line.
//!
//! Each operation belongs inside a transaction of its caller and leaves an entry in the audit trail there.

use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};
use url::Url;
use uuid::Uuid;

use crate::audit::{Action, Entry, Recorder, Target};
use crate::clients::misleads;
use crate::config::finding::Finding;
use crate::db::deliveries::{Addressee, Redelivery};
use crate::db::webhooks::Webhook;
use crate::db::{self, Transaction};
use crate::delivery::signature::{SECRET_BYTES, printed_secret};
use crate::events::{EVENT_TYPES, Event};
use crate::outbound::target::MAX_URL_BYTES;
use crate::outbound::{self, Policy};
use crate::protocol::ids::{ClientId, time_ordered_id};
use crate::sealing::Purpose;

/// The longest description, in characters.
pub const MAX_DESCRIPTION_CHARS: usize = 200;
/// The longest overlap of two secrets.
pub const MAX_SECRET_OVERLAP_SECS: u32 = 7_776_000;

/// What a webhook is to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewWebhook {
    /// `None`: hears of everything.
    pub client_id: Option<ClientId>,
    pub url: String,
    pub description: String,
    /// Empty: all.
    pub event_types: Vec<String>,
}

/// What is to be changed; `None` stays as it is. Who a webhook belongs to never changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    pub url: Option<String>,
    pub description: Option<String>,
    pub event_types: Option<Vec<String>>,
    pub disabled: Option<bool>,
}

/// A secret as its owner gets to see it, this once.
pub struct NewSecret(String);

impl NewSecret {
    /// `whsec_` and the secret in base64.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for NewSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NewSecret([REDACTED])")
    }
}

/// Why an operation did nothing.
#[derive(Debug)]
pub enum NotDone {
    /// What is wrong with what was asked.
    Invalid(Vec<Finding>),
    /// There is no such webhook, or no such delivery of it.
    NotFound,
    Database(sqlx::Error),
}

impl From<sqlx::Error> for NotDone {
    fn from(error: sqlx::Error) -> Self {
        if db::violates(&error, db::webhooks::CLIENT_EXISTS) {
            return Self::Invalid(vec![Finding::error(
                "client_id",
                "there is no such client",
                "name a registered one, or leave it out",
            )]);
        }
        Self::Database(error)
    }
}

/// Registers a webhook.
pub async fn create(
    tx: &mut Transaction,
    recorder: &Recorder<'_>,
    policy: Policy,
    new: &NewWebhook,
) -> Result<(Webhook, NewSecret), NotDone> {
    let webhook = Webhook {
        webhook_id: time_ordered_id(recorder.now),
        client_id: new.client_id.clone(),
        url: new.url.clone(),
        description: new.description.clone(),
        event_types: new.event_types.clone(),
        disabled_at: None,
        previous_secret_expires_at: None,
        created_at: recorder.now,
        updated_at: recorder.now,
    };
    check(&webhook, policy)?;
    let (secret, sealed) = new_secret(recorder);
    db::webhooks::insert(tx, &webhook, &sealed).await?;
    let details = json!({ "client_id": webhook.client_id, "event_types": webhook.event_types });
    record(tx, recorder, Action::WebhookCreated, webhook.webhook_id, details).await?;
    Ok((webhook, secret))
}

/// Changes a webhook. While it is disabled nothing new is enqueued for it, and what waits goes on waiting.
pub async fn change(
    tx: &mut Transaction,
    recorder: &Recorder<'_>,
    policy: Policy,
    webhook_id: Uuid,
    change: &Change,
) -> Result<Webhook, NotDone> {
    let before = db::webhooks::lock(tx, webhook_id)
        .await?
        .ok_or(NotDone::NotFound)?;
    let mut webhook = before.clone();
    if let Some(url) = &change.url {
        webhook.url.clone_from(url);
    }
    if let Some(description) = &change.description {
        webhook.description.clone_from(description);
    }
    if let Some(event_types) = &change.event_types {
        webhook.event_types.clone_from(event_types);
    }
    match change.disabled {
        Some(true) => webhook.disabled_at = webhook.disabled_at.or(Some(recorder.now)),
        Some(false) => webhook.disabled_at = None,
        None => {}
    }
    let changed = changed_fields(&before, &webhook);
    if changed.is_empty() {
        return Ok(before);
    }
    check(&webhook, policy)?;
    webhook.updated_at = recorder.now;
    db::webhooks::update(tx, &webhook).await?;
    record(
        tx,
        recorder,
        Action::WebhookUpdated,
        webhook_id,
        json!({ "changed": changed }),
    )
    .await?;
    Ok(webhook)
}

/// Removes a webhook with everything that is to be sent to it.
pub async fn remove(tx: &mut Transaction, recorder: &Recorder<'_>, webhook_id: Uuid) -> Result<(), NotDone> {
    if !db::webhooks::delete(tx, webhook_id).await? {
        return Err(NotDone::NotFound);
    }
    record(tx, recorder, Action::WebhookDeleted, webhook_id, json!({})).await
}

/// Another secret. The one before signs, too, for `overlap_secs`: a receiver that knows either takes what it gets.
pub async fn rotate_secret(
    tx: &mut Transaction,
    recorder: &Recorder<'_>,
    webhook_id: Uuid,
    overlap_secs: u32,
) -> Result<(Webhook, NewSecret), NotDone> {
    if overlap_secs > MAX_SECRET_OVERLAP_SECS {
        return Err(NotDone::Invalid(vec![Finding::error(
            "overlap_secs",
            format!("the overlap is above {MAX_SECRET_OVERLAP_SECS} seconds"),
            "write a smaller number; 0 ends the old secret at once",
        )]));
    }
    let (secret, sealed) = new_secret(recorder);
    let previous_expires_at = recorder.now + Duration::seconds(overlap_secs.into());
    let webhook = db::webhooks::rotate_secret(tx, webhook_id, &sealed, previous_expires_at, recorder.now)
        .await?
        .ok_or(NotDone::NotFound)?;
    let details = json!({ "overlap_secs": overlap_secs });
    record(tx, recorder, Action::WebhookSecretRotated, webhook_id, details).await?;
    Ok((webhook, secret))
}

/// Sends something again; attempts are counted anew. How many deliveries that are.
pub async fn redeliver(
    tx: &mut Transaction,
    recorder: &Recorder<'_>,
    webhook_id: Uuid,
    which: Redelivery,
) -> Result<u64, NotDone> {
    db::webhooks::lock(tx, webhook_id)
        .await?
        .ok_or(NotDone::NotFound)?;
    let count = db::deliveries::redeliver(tx, &Addressee::Webhook(webhook_id), which, recorder.now).await?;
    if count == 0 && matches!(which, Redelivery::One(_)) {
        return Err(NotDone::NotFound);
    }
    let details = json!({ "deliveries": count });
    record(tx, recorder, Action::WebhookRedelivered, webhook_id, details).await?;
    Ok(count)
}

/// Sends a `webhook.ping` to this webhook alone. The delivery's id.
pub async fn ping(tx: &mut Transaction, recorder: &Recorder<'_>, webhook_id: Uuid) -> Result<Uuid, NotDone> {
    db::webhooks::lock(tx, webhook_id)
        .await?
        .ok_or(NotDone::NotFound)?;
    let event = Event::WebhookPing { webhook_id };
    let delivery_id = db::events::emit_to(tx, &event, webhook_id, recorder.now).await?;
    record(tx, recorder, Action::WebhookPinged, webhook_id, json!({})).await?;
    Ok(delivery_id)
}

async fn record(
    tx: &mut Transaction,
    recorder: &Recorder<'_>,
    action: Action,
    webhook_id: Uuid,
    details: Value,
) -> Result<(), NotDone> {
    let entry = Entry {
        action,
        target: Target::Other("webhook", webhook_id.to_string()),
        details,
    };
    Ok(recorder.record(tx, &entry).await?)
}

fn new_secret(recorder: &Recorder<'_>) -> (NewSecret, Vec<u8>) {
    let mut secret = [0; SECRET_BYTES];
    recorder
        .rng
        .fill(&mut secret)
        .expect("the operating system provides randomness");
    let sealed = recorder
        .keyring
        .seal(Purpose::WebhookSecret, recorder.rng, &secret);
    (NewSecret(printed_secret(&secret)), sealed)
}

fn changed_fields(before: &Webhook, after: &Webhook) -> Vec<&'static str> {
    let fields = [
        ("url", before.url != after.url),
        ("description", before.description != after.description),
        ("event_types", before.event_types != after.event_types),
        (
            "disabled",
            before.disabled_at.is_some() != after.disabled_at.is_some(),
        ),
    ];
    fields
        .into_iter()
        .filter_map(|(name, changed)| changed.then_some(name))
        .collect()
}

/// Whether a webhook may be as it is.
fn check(webhook: &Webhook, policy: Policy) -> Result<(), NotDone> {
    let mut findings = Vec::new();
    match Url::parse(&webhook.url) {
        // A parser drops line breaks and encodes what a URL cannot hold: whoever reads the text would see another URL.
        _ if !webhook.url.bytes().all(|byte| byte.is_ascii_graphic()) => findings.push(Finding::error(
            "url",
            "the URL has spaces, control characters or letters outside ASCII",
            "percent-encode them",
        )),
        Ok(_) if webhook.url.len() > MAX_URL_BYTES => findings.push(Finding::error(
            "url",
            "the URL is longer than 2048 bytes",
            "name a shorter one",
        )),
        Ok(url) => {
            if let Err(refused) = outbound::check_url(&url, policy) {
                findings.push(Finding::error(
                    "url",
                    refused.0,
                    "name an https URL of a public host, on port 443 or from 1024 on",
                ));
            }
        }
        Err(_) => findings.push(Finding::error(
            "url",
            "this is no absolute URL",
            "write it with https:// and the host",
        )),
    }
    if webhook.description.chars().count() > MAX_DESCRIPTION_CHARS
        || webhook.description.chars().any(misleads)
    {
        findings.push(Finding::error(
            "description",
            format!(
                "the description is longer than {MAX_DESCRIPTION_CHARS} characters, or has line breaks, marks of direction or other controls"
            ),
            "write one short line",
        ));
    }
    for (index, event_type) in webhook.event_types.iter().enumerate() {
        let key = format!("event_types[{index}]");
        if !EVENT_TYPES.contains(&event_type.as_str()) {
            findings.push(Finding::error(
                key,
                "there is no such event",
                format!("name some of {}", EVENT_TYPES.join(", ")),
            ));
        } else if webhook.event_types[..index].contains(event_type) {
            findings.push(Finding::error(key, "the event is named twice", "name it once"));
        }
    }
    if findings.is_empty() {
        Ok(())
    } else {
        Err(NotDone::Invalid(findings))
    }
}

/// Whether the secret before this one still signs.
pub fn previous_secret_signs_until(webhook: &Webhook, now: OffsetDateTime) -> Option<OffsetDateTime> {
    webhook
        .previous_secret_expires_at
        .filter(|expires_at| now < *expires_at)
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    fn refused(change: impl FnOnce(&mut Webhook)) -> Vec<String> {
        let now = datetime!(2026-01-01 12:00 UTC);
        let mut webhook = Webhook {
            webhook_id: Uuid::nil(),
            client_id: None,
            url: "https://app.example/hook".into(),
            description: String::new(),
            event_types: Vec::new(),
            disabled_at: None,
            previous_secret_expires_at: None,
            created_at: now,
            updated_at: now,
        };
        change(&mut webhook);
        let policy = Policy {
            allow_private_ips: false,
        };
        match check(&webhook, policy) {
            Ok(()) => Vec::new(),
            Err(NotDone::Invalid(findings)) => findings.into_iter().map(|finding| finding.key).collect(),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_mistake_of_a_registration_is_named() {
        assert!(refused(|_| ()).is_empty());
        assert_eq!(refused(|webhook| webhook.url = "/hook".into()), ["url"]);
        assert_eq!(refused(|webhook| webhook.url = "https://[::1]/".into()), ["url"]);
        assert_eq!(
            refused(|webhook| webhook.description = "a\u{202e}b".into()),
            ["description"]
        );
        assert_eq!(
            refused(|webhook| {
                webhook.url = "http://app.example/".into();
                webhook.event_types = vec!["user.created".into(), "user.created".into(), "user.born".into()];
            }),
            ["url", "event_types[1]", "event_types[2]"]
        );
    }
}
