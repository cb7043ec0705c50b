//! The events that apps and operators can follow: what each is called and what it tells.
//!
//! An event is written in the transaction of the change it tells of ([`crate::db::events::emit`]) and delivered later. Its
//! payload holds ids, and beyond them only what an app needs to follow along; names in it are removed when the person is
//! deleted.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::protocol::ids::{ClientId, GrantId, LinkId, SessionId, UserId};

/// One event: `type` and `data` as receivers get them. The message that they are sent has its time, too; the API document
/// describes it under `webhooks`.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(tag = "type", content = "data")]
pub enum Event {
    /// Somebody has an account now.
    #[serde(rename = "user.created")]
    UserCreated { user_id: UserId, username: String },
    /// The profile changed; `changed` names the members that did (`display_name`, `picture`, `email`, `claims`).
    #[serde(rename = "user.updated")]
    UserUpdated { user_id: UserId, changed: Vec<String> },
    /// The account has another name.
    #[serde(rename = "user.username_changed")]
    UsernameChanged {
        user_id: UserId,
        old_username: String,
        new_username: String,
    },
    /// The account became an administrator's, or no longer is.
    #[serde(rename = "user.role_changed")]
    UserRoleChanged {
        user_id: UserId,
        old_role: String,
        new_role: String,
    },
    /// The account is gone for good; apps delete what they hold of this `sub`.
    #[serde(rename = "user.deleted")]
    UserDeleted { user_id: UserId },
    /// The account cannot sign in any more; its sessions and tokens have ended.
    #[serde(rename = "user.disabled")]
    UserDisabled { user_id: UserId },
    /// The account can sign in again.
    #[serde(rename = "user.enabled")]
    UserEnabled { user_id: UserId },
    /// Somebody signed in in a browser that had no session of theirs.
    #[serde(rename = "session.created")]
    SessionCreated {
        session_id: SessionId,
        user_id: UserId,
        /// The upstream provider's name in the configuration.
        provider: String,
    },
    /// A session was ended before its time.
    #[serde(rename = "session.revoked")]
    SessionRevoked {
        session_id: SessionId,
        user_id: UserId,
        /// Why, as [`crate::accounts::EndReason`] calls it.
        reason: String,
    },
    /// The account can be entered by another provider.
    #[serde(rename = "link.created")]
    LinkCreated {
        user_id: UserId,
        link_id: LinkId,
        provider: String,
    },
    /// A provider leads to this account no longer.
    #[serde(rename = "link.deleted")]
    LinkDeleted {
        user_id: UserId,
        link_id: LinkId,
        provider: String,
    },
    /// An identity joined the account that its verified address belongs to.
    #[serde(rename = "account.merged")]
    AccountMerged {
        user_id: UserId,
        link_id: LinkId,
        provider: String,
    },
    /// An identity that had joined an account was given one of its own.
    #[serde(rename = "account.unmerged")]
    AccountUnmerged {
        user_id: UserId,
        new_user_id: UserId,
        link_id: LinkId,
        provider: String,
    },
    /// A person let an app have these scopes.
    #[serde(rename = "consent.granted")]
    ConsentGranted {
        user_id: UserId,
        client_id: ClientId,
        /// Separated by spaces: all that is granted by now.
        scope: String,
    },
    /// A person withdrew what an app was let have; its tokens have ended.
    #[serde(rename = "consent.revoked")]
    ConsentRevoked { user_id: UserId, client_id: ClientId },
    /// An app was registered.
    #[serde(rename = "client.created")]
    ClientCreated { client_id: ClientId, name: String },
    /// An app's registration changed; `changed` names the fields.
    #[serde(rename = "client.updated")]
    ClientUpdated {
        client_id: ClientId,
        changed: Vec<String>,
    },
    /// An app was removed with everything it had.
    #[serde(rename = "client.deleted")]
    ClientDeleted { client_id: ClientId },
    /// A spent refresh token came again: somebody has a copy. Everything of its grant has ended.
    #[serde(rename = "refresh_token.reused")]
    RefreshTokenReused {
        user_id: UserId,
        client_id: ClientId,
        grant_id: GrantId,
    },
    /// Another key signs what is signed with this algorithm.
    #[serde(rename = "key.rotated")]
    KeyRotated {
        /// `ES256` or `RS256`.
        algorithm: String,
        kid: String,
        /// The key that signed before; absent for the first one.
        #[serde(skip_serializing_if = "Option::is_none")]
        previous_kid: Option<String>,
    },
    /// Sent on request, to try a webhook out.
    #[serde(rename = "webhook.ping")]
    WebhookPing {
        #[schema(value_type = String, format = Uuid)]
        webhook_id: Uuid,
    },
}

/// Every type of event, as webhooks can ask for them.
pub const EVENT_TYPES: [&str; 21] = [
    "user.created",
    "user.updated",
    "user.username_changed",
    "user.role_changed",
    "user.deleted",
    "user.disabled",
    "user.enabled",
    "session.created",
    "session.revoked",
    "link.created",
    "link.deleted",
    "account.merged",
    "account.unmerged",
    "consent.granted",
    "consent.revoked",
    "client.created",
    "client.updated",
    "client.deleted",
    "refresh_token.reused",
    "key.rotated",
    "webhook.ping",
];

impl Event {
    /// One of [`EVENT_TYPES`].
    pub fn event_type(&self) -> &'static str {
        match self {
            Self::UserCreated { .. } => "user.created",
            Self::UserUpdated { .. } => "user.updated",
            Self::UsernameChanged { .. } => "user.username_changed",
            Self::UserRoleChanged { .. } => "user.role_changed",
            Self::UserDeleted { .. } => "user.deleted",
            Self::UserDisabled { .. } => "user.disabled",
            Self::UserEnabled { .. } => "user.enabled",
            Self::SessionCreated { .. } => "session.created",
            Self::SessionRevoked { .. } => "session.revoked",
            Self::LinkCreated { .. } => "link.created",
            Self::LinkDeleted { .. } => "link.deleted",
            Self::AccountMerged { .. } => "account.merged",
            Self::AccountUnmerged { .. } => "account.unmerged",
            Self::ConsentGranted { .. } => "consent.granted",
            Self::ConsentRevoked { .. } => "consent.revoked",
            Self::ClientCreated { .. } => "client.created",
            Self::ClientUpdated { .. } => "client.updated",
            Self::ClientDeleted { .. } => "client.deleted",
            Self::RefreshTokenReused { .. } => "refresh_token.reused",
            Self::KeyRotated { .. } => "key.rotated",
            Self::WebhookPing { .. } => "webhook.ping",
        }
    }

    /// Whom it is about.
    pub fn user_id(&self) -> Option<UserId> {
        match self {
            Self::UserCreated { user_id, .. }
            | Self::UserUpdated { user_id, .. }
            | Self::UsernameChanged { user_id, .. }
            | Self::UserRoleChanged { user_id, .. }
            | Self::UserDeleted { user_id }
            | Self::UserDisabled { user_id }
            | Self::UserEnabled { user_id }
            | Self::SessionCreated { user_id, .. }
            | Self::SessionRevoked { user_id, .. }
            | Self::LinkCreated { user_id, .. }
            | Self::LinkDeleted { user_id, .. }
            | Self::AccountMerged { user_id, .. }
            | Self::AccountUnmerged { user_id, .. }
            | Self::ConsentGranted { user_id, .. }
            | Self::ConsentRevoked { user_id, .. }
            | Self::RefreshTokenReused { user_id, .. } => Some(*user_id),
            Self::ClientCreated { .. }
            | Self::ClientUpdated { .. }
            | Self::ClientDeleted { .. }
            | Self::KeyRotated { .. }
            | Self::WebhookPing { .. } => None,
        }
    }

    /// The client it concerns.
    pub fn client_id(&self) -> Option<&ClientId> {
        match self {
            Self::ConsentGranted { client_id, .. }
            | Self::ConsentRevoked { client_id, .. }
            | Self::ClientCreated { client_id, .. }
            | Self::ClientUpdated { client_id, .. }
            | Self::ClientDeleted { client_id }
            | Self::RefreshTokenReused { client_id, .. } => Some(client_id),
            _ => None,
        }
    }

    /// The payload: the object that receivers get as `data`.
    pub fn data(&self) -> Value {
        match serde_json::to_value(self).map(|mut event| event["data"].take()) {
            Ok(data) => data,
            Err(_) => unreachable!("an event consists of texts and ids"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_an_event_is_the_one_it_is_sent_under_and_stands_in_the_list() {
        let user_id = UserId(Uuid::from_u128(1));
        let events = [
            Event::UserDeleted { user_id },
            Event::UsernameChanged {
                user_id,
                old_username: "ada".into(),
                new_username: "countess".into(),
            },
            Event::KeyRotated {
                algorithm: "ES256".into(),
                kid: "new".into(),
                previous_kid: None,
            },
        ];
        for event in events {
            let sent = serde_json::to_value(&event).unwrap();
            assert_eq!(sent["type"], event.event_type());
            assert!(EVENT_TYPES.contains(&event.event_type()));
            assert_eq!(sent["data"], event.data());
        }
    }

    /// The document lists every variant, so a name that is missing from the list is found.
    #[test]
    fn the_list_has_every_variant() {
        let schema = serde_json::to_value(<Event as utoipa::PartialSchema>::schema()).unwrap();
        let variants = schema["oneOf"].as_array().unwrap();
        assert_eq!(variants.len(), EVENT_TYPES.len());
        let text = schema.to_string();
        for name in EVENT_TYPES {
            assert!(text.contains(&format!("\"{name}\"")), "{name}");
        }
    }
}
