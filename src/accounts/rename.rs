//! Another name for an account (`[usernames]`). What a name may look like is [`crate::usernames`]'s business; whether this
//! person can have it now is judged here, under the lock of their row.

use time::{Duration, OffsetDateTime};

use super::names;
use crate::config::usernames::UsernamesConfig;
use crate::db::users::{Account, Availability, User};
use crate::db::{self, Transaction};
use crate::events::Event;
use crate::protocol::ids::UserId;
use crate::sealing::Keyring;
use crate::usernames::Username;

/// Why the name stays as it was. The transaction is of no use any more.
#[derive(Debug)]
pub enum NotRenamed {
    /// There is no such account that could be used.
    NotFound,
    /// The configuration lets nobody change their name.
    NotAllowed,
    /// The last change is too recent; the next one is possible then.
    TooSoon(OffsetDateTime),
    /// Somebody has it, or a former owner's hold is not over.
    Taken,
    /// An administrator has reserved it.
    Reserved,
    Database(sqlx::Error),
}

impl From<sqlx::Error> for NotRenamed {
    fn from(error: sqlx::Error) -> Self {
        if db::violates(&error, db::users::USERNAME_TAKEN) {
            Self::Taken
        } else {
            Self::Database(error)
        }
    }
}

/// Gives an account another name and tells of it. The old name is held for a while, and its owner may come back to it.
///
/// The name it has already changes nothing. Another case of the same name takes nothing from anybody and gives nothing up:
/// no wait before it, none after it.
pub async fn rename(
    tx: &mut Transaction,
    user_id: UserId,
    username: &Username,
    rules: &UsernamesConfig,
    keyring: &Keyring,
    now: OffsetDateTime,
) -> Result<User, NotRenamed> {
    let account = db::users::lock_account(tx, user_id)
        .await?
        .ok_or(NotRenamed::NotFound)?;
    if account.user.username == username.name {
        return Ok(account.user);
    }
    if !rules.changes_allowed {
        return Err(NotRenamed::NotAllowed);
    }
    let same_name = account.username_folded == username.folded;
    if !same_name && let Some(allowed_at) = next_change_at(&account, rules, now) {
        return Err(NotRenamed::TooSoon(allowed_at));
    }
    let changed_at = if same_name {
        account.username_changed_at
    } else {
        Some(now)
    };
    db::users::set_username(tx, user_id, username, changed_at, now).await?;
    if !same_name {
        take(tx, &account, username, rules, keyring, now).await?;
    }
    let changed = Event::UsernameChanged {
        user_id,
        old_username: account.user.username.clone(),
        new_username: username.name.clone(),
    };
    db::events::emit(tx, &[changed], now).await?;
    Ok(User {
        username: username.name.clone(),
        ..account.user
    })
}

/// From when on another name can be taken; `None`: now.
pub fn next_change_at(
    account: &Account,
    rules: &UsernamesConfig,
    now: OffsetDateTime,
) -> Option<OffsetDateTime> {
    let wait = Duration::days(i64::from(rules.days_between_changes));
    account
        .username_changed_at
        .map(|changed_at| changed_at + wait)
        .filter(|allowed_at| *allowed_at > now)
}

/// The new name, which is the account's by now, was free, and the old one is held. Looked at afterwards: whoever gave the name
/// up a moment before holds it.
async fn take(
    tx: &mut Transaction,
    account: &Account,
    username: &Username,
    rules: &UsernamesConfig,
    keyring: &Keyring,
    now: OffsetDateTime,
) -> Result<(), NotRenamed> {
    let user_id = account.user.user_id;
    match names::availability(&mut **tx, keyring, &username.folded, Some(user_id), now).await? {
        Availability::Free => {}
        Availability::Taken => return Err(NotRenamed::Taken),
        Availability::Reserved => return Err(NotRenamed::Reserved),
    }
    db::users::release_username(tx, &username.folded).await?;
    if rules.old_name_held_days > 0 {
        let held_until = now + Duration::days(i64::from(rules.old_name_held_days));
        db::users::hold_username(tx, &account.username_folded, user_id, held_until).await?;
    }
    Ok(())
}
