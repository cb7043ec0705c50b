//! What is done to registrations, by administrators and on the command line: each operation writes, announces, and leaves
//! an entry in the trail, in the transaction of its caller.

use serde_json::json;
use time::{Duration, OffsetDateTime};

use super::view::changed;
use super::{ClientChanges, NewClient, Registration, register, validate};
use crate::audit::{Action, Entry, Recorder, Target};
use crate::config::Config;
use crate::config::finding::Finding;
use crate::db::deliveries::{Addressee, Redelivery};
use crate::db::{self, Transaction};
use crate::events::Event;
use crate::protocol::client::{Client, ClientType};
use crate::protocol::ids::ClientId;
use crate::protocol::opaque::Opaque;

/// For how long the secret that is replaced stays good, unless somebody says otherwise.
pub const DEFAULT_OVERLAP_SECS: u32 = 86_400;
/// 90 days.
pub const MAX_OVERLAP_SECS: u32 = 7_776_000;
/// Seconds that the removal of an app may take: one that was used for years has much to remove.
const DELETION_SECS: u32 = 25;

/// Why nothing was done. The transaction is of no use any more.
#[derive(Debug)]
pub enum Refused {
    NoSuchClient,
    /// It has no such logout notice that could be sent again.
    NoSuchDelivery,
    /// A public or native client has no secret.
    NotConfidential,
    /// The rules that the registration would break.
    Invalid(Vec<Finding>),
    Database(sqlx::Error),
}

impl From<sqlx::Error> for Refused {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

/// A new secret, to be shown once.
#[derive(Debug)]
pub struct Rotation {
    pub secret: Opaque,
    /// Until when the one before it is good.
    pub previous_expires_at: OffsetDateTime,
}

/// Registers a client.
pub async fn create(
    tx: &mut Transaction,
    recorder: &Recorder<'_>,
    new: &NewClient,
    config: &Config,
) -> Result<Registration, Refused> {
    let registration = register(new, config, recorder.rng).map_err(Refused::Invalid)?;
    let client = &registration.client;
    db::clients::insert(&mut **tx, client, recorder.now).await?;
    let created = Event::ClientCreated {
        client_id: client.client_id.clone(),
        name: client.name.clone(),
    };
    db::events::emit(tx, &[created], recorder.now).await?;
    let details = json!({ "name": client.name, "client_type": client.client_type });
    record(tx, recorder, Action::ClientCreated, &client.client_id, details).await?;
    Ok(registration)
}

/// Changes a registration; the whole is judged by the rules of today, unless it is only disabled or enabled. Nothing is
/// written when nothing is different.
pub async fn update(
    tx: &mut Transaction,
    recorder: &Recorder<'_>,
    client_id: &ClientId,
    changes: &ClientChanges,
    config: &Config,
) -> Result<Client, Refused> {
    let before = db::clients::lock(tx, client_id)
        .await?
        .ok_or(Refused::NoSuchClient)?;
    let judged = if changes.only_disables_or_enables() {
        before.clone()
    } else {
        validate(&changes.applied_to(&before), config).map_err(Refused::Invalid)?
    };
    let after = Client {
        client_id: before.client_id.clone(),
        secrets: before.secrets.clone(),
        disabled: changes.disabled.unwrap_or(before.disabled),
        generation: before.generation,
        ..judged
    };
    let changed = changed(&before, &after);
    if changed.is_empty() {
        return Ok(before);
    }
    db::clients::update(tx, &after, recorder.now).await?;
    let updated = Event::ClientUpdated {
        client_id: client_id.clone(),
        changed: changed.clone(),
    };
    db::events::emit(tx, &[updated], recorder.now).await?;
    let mut details = json!({ "changed": changed });
    if before.disabled != after.disabled {
        details["disabled"] = after.disabled.into();
    }
    record(tx, recorder, Action::ClientUpdated, client_id, details).await?;
    Ok(after)
}

/// Removes a client with its codes, grants, tokens, consents, pending requests and webhooks.
pub async fn delete(
    tx: &mut Transaction,
    recorder: &Recorder<'_>,
    client_id: &ClientId,
) -> Result<(), Refused> {
    db::allow_time(tx, DELETION_SECS).await?;
    let client = db::clients::lock(tx, client_id)
        .await?
        .ok_or(Refused::NoSuchClient)?;
    db::clients::delete(&mut **tx, client_id).await?;
    let deleted = Event::ClientDeleted {
        client_id: client_id.clone(),
    };
    db::events::emit(tx, &[deleted], recorder.now).await?;
    let details = json!({ "name": client.name });
    record(tx, recorder, Action::ClientDeleted, client_id, details).await?;
    Ok(())
}

/// Gives a confidential client a new secret; the one before it stays good for `overlap_secs`, and the one before that ends.
pub async fn rotate_secret(
    tx: &mut Transaction,
    recorder: &Recorder<'_>,
    client_id: &ClientId,
    overlap_secs: u32,
) -> Result<Rotation, Refused> {
    let client = db::clients::lock(tx, client_id)
        .await?
        .ok_or(Refused::NoSuchClient)?;
    if client.client_type != ClientType::Confidential {
        return Err(Refused::NotConfidential);
    }
    let rotation = Rotation {
        secret: Opaque::generate(recorder.rng),
        previous_expires_at: recorder.now + Duration::seconds(i64::from(overlap_secs.min(MAX_OVERLAP_SECS))),
    };
    let hash = rotation.secret.hash();
    db::clients::rotate_secret(
        &mut **tx,
        client_id,
        &hash,
        rotation.previous_expires_at,
        recorder.now,
    )
    .await?;
    let updated = Event::ClientUpdated {
        client_id: client_id.clone(),
        changed: vec!["client_secret".to_owned()],
    };
    db::events::emit(tx, &[updated], recorder.now).await?;
    let details = json!({ "overlap_secs": overlap_secs });
    record(tx, recorder, Action::ClientSecretRotated, client_id, details).await?;
    Ok(rotation)
}

/// Tells an app again of logouts that it was told of, or failed to be told of: the notices are made anew, attempts are counted
/// anew. How many they are; `NoSuchDelivery` if one was named and is none of this app's, or still to be sent.
pub async fn redeliver_logout(
    tx: &mut Transaction,
    recorder: &Recorder<'_>,
    client_id: &ClientId,
    which: Redelivery,
) -> Result<u64, Refused> {
    db::clients::lock(tx, client_id)
        .await?
        .ok_or(Refused::NoSuchClient)?;
    let addressee = Addressee::Client(client_id.clone());
    let count = db::deliveries::redeliver(tx, &addressee, which, recorder.now).await?;
    if count == 0 && matches!(which, Redelivery::One(_)) {
        return Err(Refused::NoSuchDelivery);
    }
    let details = json!({ "deliveries": count });
    record(tx, recorder, Action::LogoutRedelivered, client_id, details).await?;
    Ok(count)
}

async fn record(
    tx: &mut Transaction,
    recorder: &Recorder<'_>,
    action: Action,
    client_id: &ClientId,
    details: serde_json::Value,
) -> sqlx::Result<()> {
    let entry = Entry {
        action,
        target: Target::Client(client_id.clone()),
        details,
    };
    recorder.record(tx, &entry).await
}
