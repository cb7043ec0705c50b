//! The trail of who did what, on whom, when and from where.
//!
//! Each entry authenticates its predecessor (HMAC-SHA-256 under a key derived from `database.secret_key`), so that a changed,
//! missing or inserted entry is found. Personal fields are authenticated by salted commitments: a deletion empties them and
//! the chain still verifies. What follows the last entry is not authenticated by anything: who wants to know that none was
//! cut off at the end keeps the last `mac` elsewhere.

pub mod verify;
pub mod view;

use aws_lc_rs::digest;
use aws_lc_rs::rand::SecureRandom;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::db::{self, Transaction};
use crate::protocol::ids::{ClientId, UserId};
use crate::sealing::{Keyring, Purpose};

/// Who did it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// Somebody who was signed in, from this address as far as it is known.
    User {
        user_id: UserId,
        ip_address: Option<String>,
    },
    /// Somebody with a shell on the server.
    CommandLine,
    /// The program by itself, following its configuration.
    System,
}

impl Actor {
    /// As it is stored.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::User { .. } => "user",
            Self::CommandLine => "command_line",
            Self::System => "system",
        }
    }

    fn user_id(&self) -> Option<UserId> {
        match self {
            Self::User { user_id, .. } => Some(*user_id),
            Self::CommandLine | Self::System => None,
        }
    }

    fn personal(&self) -> Value {
        match self {
            Self::User {
                ip_address: Some(address),
                ..
            } => serde_json::json!({ "ip_address": address }),
            _ => serde_json::json!({}),
        }
    }
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    UserRoleChanged,
    UserDisabled,
    UserEnabled,
    UserDeleted,
    UserSessionsRevoked,
    EverythingRevoked,
    AccountMerged,
    AccountUnmerged,
    ClientCreated,
    ClientUpdated,
    ClientDeleted,
    ClientSecretRotated,
    UsernameReserved,
    UsernameReleased,
    WebhookCreated,
    WebhookUpdated,
    WebhookDeleted,
    WebhookSecretRotated,
    WebhookRedelivered,
    WebhookPinged,
    LogoutRedelivered,
    UserExported,
}

impl Action {
    /// Reads a name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::deserialize(serde::de::value::StrDeserializer::<serde::de::value::Error>::new(
            name,
        ))
        .ok()
    }

    /// As it is stored: the name in snake case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UserRoleChanged => "user_role_changed",
            Self::UserDisabled => "user_disabled",
            Self::UserEnabled => "user_enabled",
            Self::UserDeleted => "user_deleted",
            Self::UserSessionsRevoked => "user_sessions_revoked",
            Self::EverythingRevoked => "everything_revoked",
            Self::AccountMerged => "account_merged",
            Self::AccountUnmerged => "account_unmerged",
            Self::ClientCreated => "client_created",
            Self::ClientUpdated => "client_updated",
            Self::ClientDeleted => "client_deleted",
            Self::ClientSecretRotated => "client_secret_rotated",
            Self::UsernameReserved => "username_reserved",
            Self::UsernameReleased => "username_released",
            Self::WebhookCreated => "webhook_created",
            Self::WebhookUpdated => "webhook_updated",
            Self::WebhookDeleted => "webhook_deleted",
            Self::WebhookSecretRotated => "webhook_secret_rotated",
            Self::WebhookRedelivered => "webhook_redelivered",
            Self::WebhookPinged => "webhook_pinged",
            Self::LogoutRedelivered => "logout_redelivered",
            Self::UserExported => "user_exported",
        }
    }
}

/// On whom or what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// An account. `personal`: what a person would be recognised by (username), emptied when the account is deleted.
    User {
        user_id: UserId,
        personal: Value,
    },
    Client(ClientId),
    /// Neither: what kind of thing, and its id.
    Other(&'static str, String),
    Nothing,
}

impl Target {
    /// An account, under the name it has now.
    pub fn user(user_id: UserId, username: &str) -> Self {
        Self::User {
            user_id,
            personal: serde_json::json!({ "username": username }),
        }
    }

    fn kind_and_id(&self) -> (Option<&'static str>, Option<String>) {
        match self {
            Self::User { user_id, .. } => (Some("user"), Some(user_id.to_string())),
            Self::Client(client_id) => (Some("client"), Some(client_id.0.clone())),
            Self::Other(kind, id) => (Some(kind), Some(id.clone())),
            Self::Nothing => (None, None),
        }
    }
}

/// What is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub action: Action,
    pub target: Target,
    /// An object with what changed; nothing personal.
    pub details: Value,
}

/// A personal part of an entry, and what stands for it in the chain.
#[derive(Clone, Debug)]
pub struct Committed {
    /// JSON, exactly as it is committed to.
    pub text: String,
    pub salt: [u8; 32],
    pub commitment: [u8; 32],
}

impl Committed {
    fn new(value: &Value, rng: &dyn SecureRandom) -> Self {
        let mut salt = [0; 32];
        rng.fill(&mut salt)
            .expect("the operating system provides randomness");
        let text = value.to_string();
        let commitment = commitment(&salt, &text);
        Self {
            text,
            salt,
            commitment,
        }
    }
}

/// SHA-256 over the salt and the text: tells nothing of the text once the salt is gone.
pub fn commitment(salt: &[u8], text: &str) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(salt);
    context.update(text.as_bytes());
    context
        .finish()
        .as_ref()
        .try_into()
        .expect("SHA-256 has 32 bytes")
}

/// What an entry's `mac` is made over: every field that never changes, and the predecessor's `mac`. Each field is preceded
/// by its length, so that nothing can move from one to the next.
pub struct Chained<'a> {
    pub previous_mac: &'a [u8],
    pub sequence: i64,
    pub created_at: OffsetDateTime,
    pub actor: &'a str,
    pub actor_user_id: Option<UserId>,
    pub actor_commitment: &'a [u8],
    pub action: &'a str,
    pub target_kind: Option<&'a str>,
    pub target_id: Option<&'a str>,
    pub target_user_id: Option<UserId>,
    pub target_commitment: &'a [u8],
    pub details: &'a str,
}

impl Chained<'_> {
    /// The message.
    pub fn message(&self) -> Vec<u8> {
        let id = |user_id: Option<UserId>| user_id.map(|user_id| user_id.to_string());
        let (actor_user_id, target_user_id) = (id(self.actor_user_id), id(self.target_user_id));
        let sequence = self.sequence.to_string();
        // PostgreSQL keeps microseconds.
        let created_at = (self.created_at.unix_timestamp_nanos() / 1000).to_string();
        let fields: [Option<&[u8]>; 12] = [
            Some(self.previous_mac),
            Some(sequence.as_bytes()),
            Some(created_at.as_bytes()),
            Some(self.actor.as_bytes()),
            actor_user_id.as_deref().map(str::as_bytes),
            Some(self.actor_commitment),
            Some(self.action.as_bytes()),
            self.target_kind.map(str::as_bytes),
            self.target_id.map(str::as_bytes),
            target_user_id.as_deref().map(str::as_bytes),
            Some(self.target_commitment),
            Some(self.details.as_bytes()),
        ];
        let mut message = Vec::new();
        for field in fields {
            // An absent field is not an empty one.
            let length = field.map_or(u64::MAX, |field| field.len() as u64);
            message.extend_from_slice(&length.to_be_bytes());
            message.extend_from_slice(field.unwrap_or_default());
        }
        message
    }
}

/// Appends an entry in the transaction of what it tells of. Entries come one after the other: the chain's end stays locked
/// until `tx` ends.
pub async fn record(
    tx: &mut Transaction,
    keyring: &Keyring,
    rng: &(dyn SecureRandom + Sync),
    actor: &Actor,
    entry: &Entry,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    let end = db::audit::lock_end(tx).await?;
    let now = truncated_to_micros(now);
    let actor_personal = Committed::new(&actor.personal(), rng);
    let (target_personal, target_user_id) = match &entry.target {
        Target::User { user_id, personal } => (Committed::new(personal, rng), Some(*user_id)),
        _ => (Committed::new(&serde_json::json!({}), rng), None),
    };
    let (target_kind, target_id) = entry.target.kind_and_id();
    let details = entry.details.to_string();
    let chained = Chained {
        previous_mac: &end.mac,
        sequence: end.sequence + 1,
        created_at: now,
        actor: actor.kind(),
        actor_user_id: actor.user_id(),
        actor_commitment: &actor_personal.commitment,
        action: entry.action.as_str(),
        target_kind,
        target_id: target_id.as_deref(),
        target_user_id,
        target_commitment: &target_personal.commitment,
        details: &details,
    };
    let (key_id, mac) = keyring.authenticate(Purpose::AuditChain, &chained.message());
    db::audit::append(tx, &chained, &actor_personal, &target_personal, key_id, &mac).await
}

/// Who writes into the trail, with what keys, and when: what every operation that leaves an entry is handed.
#[derive(Clone, Copy)]
pub struct Recorder<'a> {
    pub keyring: &'a Keyring,
    pub rng: &'a (dyn SecureRandom + Sync),
    pub actor: &'a Actor,
    pub now: OffsetDateTime,
}

impl Recorder<'_> {
    /// [`record`]s an entry. The last thing to be done in `tx`: whoever else wants to write into the trail waits from here on.
    pub async fn record(&self, tx: &mut Transaction, entry: &Entry) -> sqlx::Result<()> {
        record(tx, self.keyring, self.rng, self.actor, entry, self.now).await
    }
}

fn truncated_to_micros(at: OffsetDateTime) -> OffsetDateTime {
    at.replace_nanosecond(at.nanosecond() / 1000 * 1000)
        .expect("fewer nanoseconds are nanoseconds too")
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use time::macros::datetime;

    use super::*;

    fn chained<'a>(action: &'a str, target_id: Option<&'a str>) -> Chained<'a> {
        Chained {
            previous_mac: &[],
            sequence: 1,
            created_at: datetime!(2026-01-01 12:00 UTC),
            actor: "system",
            actor_user_id: None,
            actor_commitment: &[0; 32],
            action,
            target_kind: None,
            target_id,
            target_user_id: None,
            target_commitment: &[0; 32],
            details: "{}",
        }
    }

    #[test]
    fn an_action_is_read_by_the_name_it_is_stored_under() {
        for action in [
            Action::UserRoleChanged,
            Action::EverythingRevoked,
            Action::ClientSecretRotated,
            Action::UsernameReleased,
            Action::WebhookPinged,
        ] {
            assert_eq!(Action::parse(action.as_str()), Some(action));
        }
        assert_eq!(Action::parse("user_crowned"), None);
    }

    #[test]
    fn no_two_entries_have_one_message() {
        let one = chained("user_disabled", Some("")).message();
        assert_ne!(one, chained("user_disabled", None).message());
        assert_ne!(one, chained("user_enabled", Some("")).message());
        assert_eq!(one, chained("user_disabled", Some("")).message());
    }

    #[test]
    fn a_commitment_fits_one_text_and_one_salt() {
        let value = serde_json::json!({ "username": "ada" });
        let (one, other) = (
            Committed::new(&value, &SystemRandom::new()),
            Committed::new(&value, &SystemRandom::new()),
        );
        assert_eq!(commitment(&one.salt, &one.text), one.commitment);
        assert_ne!(one.commitment, other.commitment);
        assert_ne!(commitment(&one.salt, "{}"), one.commitment);
    }
}
