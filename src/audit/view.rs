//! An entry as administrators and operators read it.

use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::db::audit::StoredEntry;
use crate::protocol::ids::UserId;

/// Who did what, on whom or what, when and from where.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct EntryView {
    /// The entries are numbered from 1, without gaps.
    pub sequence: i64,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// `user`, `command_line` or `system`.
    pub actor: String,
    pub actor_user_id: Option<UserId>,
    /// From where; `null` if it is not known, or the account was deleted since.
    pub ip_address: Option<String>,
    /// One of [`super::Action`], or one of a later version.
    pub action: String,
    /// `user`, `client` or another kind of thing; `null` if it was done to nothing in particular.
    pub target_kind: Option<String>,
    pub target_id: Option<String>,
    /// What the account was called then; `null` if the target is none, or was deleted since.
    pub target_username: Option<String>,
    /// What changed; its members depend on the action.
    #[schema(value_type = Object)]
    pub details: serde_json::Value,
}

impl From<StoredEntry> for EntryView {
    fn from(entry: StoredEntry) -> Self {
        Self {
            sequence: entry.sequence,
            created_at: entry.created_at,
            ip_address: member(entry.actor_personal.as_deref(), "ip_address"),
            actor: entry.actor,
            actor_user_id: entry.actor_user_id,
            action: entry.action,
            target_kind: entry.target_kind,
            target_id: entry.target_id,
            target_username: member(entry.target_personal.as_deref(), "username"),
            details: serde_json::from_str(&entry.details).unwrap_or_default(),
        }
    }
}

fn member(personal: Option<&str>, name: &str) -> Option<String> {
    let personal: serde_json::Value = serde_json::from_str(personal?).ok()?;
    personal.get(name)?.as_str().map(str::to_owned)
}
