//! The end of an account, whoever asks for it: its owner, an administrator, the command line.

use aws_lc_rs::rand::SecureRandom;
use serde_json::json;
use time::{Duration, OffsetDateTime};

use super::names;
use super::sessions::{EndReason, end_sessions_of_user};
use crate::audit::{self, Action, Actor, Entry, Target};
use crate::config::usernames::UsernamesConfig;
use crate::db::{self, Transaction};
use crate::events::Event;
use crate::protocol::ids::{SessionId, UserId};
use crate::sealing::Keyring;

/// What the statements of a deletion may take each.
const DELETION_SECS: u32 = 25;

/// Whose account goes, and on whose word.
pub struct Deletion<'a> {
    pub user_id: UserId,
    pub actor: &'a Actor,
    /// The session by which the owner asks for it, an administrator included; `None`: it is not the owner who does.
    pub session_id: Option<SessionId>,
    /// Says for how long the name is held.
    pub usernames: &'a UsernamesConfig,
}

/// Why nothing was deleted. Nothing was written either; the caller rolls back.
#[derive(Debug)]
pub enum NotDeleted {
    /// There is no such account, or not any more.
    NotFound,
    /// The owner's session has ended meanwhile, or their account was disabled.
    SignedOut,
    /// Nobody would be left to administer anything.
    LastAdmin,
    Database(sqlx::Error),
}

impl From<sqlx::Error> for NotDeleted {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

/// Deletes an account: its row is emptied, everything else that is held of the person goes, everything that was open ends,
/// and apps are told. One transaction; what is refused has changed nothing.
///
/// Whatever may run at the same time finds either the account as it was or nothing: sign-ins lock the account's row, which
/// is locked here first; codes need a session that goes on; an exchange locks its code and a refresh its grant, which go
/// after them in that order.
///
/// It may take long, so that of the administrators' rows it locks none but to delete one of them.
pub async fn delete(
    tx: &mut Transaction,
    deletion: &Deletion<'_>,
    keyring: &Keyring,
    rng: &(dyn SecureRandom + Sync),
    now: OffsetDateTime,
) -> Result<(), NotDeleted> {
    let user_id = deletion.user_id;
    // Years of spent tokens go with their grants.
    db::allow_time(tx, DELETION_SECS).await?;
    let account = db::users::lock_to_remove(tx, user_id)
        .await?
        .ok_or(NotDeleted::NotFound)?;
    if let Some(session_id) = deletion.session_id {
        // Judged under the lock: whoever was signed out or disabled while this waited deletes nothing.
        let session = db::sessions::lock_live(tx, session_id).await?;
        if session.is_none() || account.disabled {
            return Err(NotDeleted::SignedOut);
        }
    }
    if account.is_last_admin {
        return Err(NotDeleted::LastAdmin);
    }
    // Apps with offline access outlived these sessions and learn of the end only now.
    let ended_before = db::deletion::find_ended_with_offline_access(tx, user_id).await?;
    end_sessions_of_user(tx, user_id, None, EndReason::Deleted, now).await?;
    // After the sessions: who resumes a request locks them first, too.
    db::deletion::delete_waiting(tx, user_id).await?;
    db::deliveries::enqueue_logout(tx, &ended_before, now).await?;
    // Who hears of it is read from the grants, so before they go.
    db::events::emit(tx, &[Event::UserDeleted { user_id }], now).await?;
    db::deletion::delete_access(tx, user_id).await?;
    let held_days = i64::from(deletion.usernames.old_name_held_days);
    let held_until = (held_days > 0).then(|| now + Duration::days(held_days));
    let names = db::deletion::take_names(tx, user_id, held_until, now).await?;
    let (hashes, until): (Vec<_>, Vec<_>) = names
        .iter()
        .map(|(name, until)| (names::held_as(keyring, name), *until))
        .unzip();
    db::deletion::hold_by_hash(tx, &hashes, &until).await?;
    db::deletion::anonymise(tx, user_id, now).await?;
    db::events::scrub(tx, user_id, now).await?;
    let entry = Entry {
        action: Action::UserDeleted,
        target: Target::user(user_id, &account.username),
        details: json!({}),
    };
    audit::record(tx, keyring, rng, deletion.actor, &entry, now).await?;
    // The entry's own personal fields go with the others: they stood only for their commitments.
    db::audit::forget(tx, user_id).await?;
    Ok(())
}
