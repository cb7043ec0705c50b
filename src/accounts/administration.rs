//! What administrators and operators do to accounts: role, disabling and enabling, revoking.
//!
//! Each operation locks the administrators first, so that the last one never vanishes, whatever happens at the same time;
//! then changes, announces, and writes into the trail, all in the caller's transaction.

use serde::{Deserialize, Serialize};
use serde_json::json;
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::sessions::{EndReason, end_sessions_of_user};
use crate::audit::{Action, Actor, Entry, Recorder, Target};
use crate::db::accounts::Account;
use crate::db::grants::RevocationReason;
use crate::db::{self, Transaction};
use crate::events::Event;
use crate::protocol::ids::{SessionId, UserId};

/// Sessions that are ended by one statement of [`revoke_everything`].
const SESSIONS_PER_STATEMENT: i64 = 1000;

/// What an account may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    User,
    Admin,
}

impl Role {
    /// As it is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Admin => "admin",
        }
    }
}

/// An account as administrators see it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = AdministeredAccount)]
pub struct AccountView {
    pub user_id: UserId,
    pub username: String,
    pub display_name: Option<String>,
    pub picture: Option<String>,
    /// `user` or `admin`.
    pub role: String,
    pub disabled: bool,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
    /// Since when it is disabled.
    #[serde(with = "time::serde::rfc3339::option")]
    pub disabled_at: Option<OffsetDateTime>,
}

impl From<Account> for AccountView {
    fn from(account: Account) -> Self {
        Self {
            user_id: account.user_id,
            username: account.username,
            display_name: account.display_name,
            picture: account.picture,
            role: account.role,
            disabled: account.disabled_at.is_some(),
            created_at: account.created_at,
            updated_at: account.updated_at,
            disabled_at: account.disabled_at,
        }
    }
}

/// Why nothing was done. The transaction is of no use any more.
#[derive(Debug)]
pub enum Refused {
    /// No live account has this id.
    NoSuchUser,
    /// Nobody could administrate any more.
    LastAdministrator,
    /// Who acts was demoted or disabled while the request was under way.
    NotAnAdministrator,
    Database(sqlx::Error),
}

impl From<sqlx::Error> for Refused {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

/// What is to be ended of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revoke {
    /// Its sessions, and with them every token that is not `offline_access`.
    Sessions,
    /// Every token too.
    SessionsAndTokens,
}

/// What was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Ended {
    pub sessions: usize,
    /// Grants that were ended by themselves, not with their session.
    pub grants: u64,
}

/// An account whose row is locked, and the administrators there are.
struct Locked {
    account: Account,
    admins: Vec<UserId>,
}

impl Locked {
    /// Refuses to take away the only one that is left.
    fn require_another_administrator(&self) -> Result<(), Refused> {
        let account = &self.account;
        let can_act = account.role == Role::Admin.as_str() && account.disabled_at.is_none();
        // Somebody who was promoted while we waited is not among them, and counts as the last rather than not.
        if can_act && self.admins.iter().all(|admin| *admin == account.user_id) {
            Err(Refused::LastAdministrator)
        } else {
            Ok(())
        }
    }

    fn target(&self) -> Target {
        Target::user(self.account.user_id, &self.account.username)
    }
}

async fn lock(tx: &mut Transaction, recorder: &Recorder<'_>, user_id: UserId) -> Result<Locked, Refused> {
    let admins = require_actor(tx, recorder.actor).await?;
    let account = db::accounts::lock(tx, user_id)
        .await?
        .ok_or(Refused::NoSuchUser)?;
    Ok(Locked { account, admins })
}

/// Judges again, under the lock of all administrators, whether who acts is one: of two who demote each other the slower one
/// is no administrator any more. The administrators there are.
pub async fn require_actor(tx: &mut Transaction, actor: &Actor) -> Result<Vec<UserId>, Refused> {
    let admins = db::users::lock_admins(tx).await?;
    match actor {
        Actor::User { user_id, .. } if !admins.contains(user_id) => Err(Refused::NotAnAdministrator),
        _ => Ok(admins),
    }
}

/// Judges whether who acts is an administrator, after whoever is taking that away, and lets go of them again: for what takes
/// long, as a deletion may. [`require_still`] belongs at its end.
pub async fn await_actor(tx: &mut Transaction, actor: &Actor) -> Result<(), Refused> {
    let Actor::User { user_id, .. } = actor else {
        return Ok(());
    };
    tx.set_savepoint().await?;
    let is_administrator = db::users::hold_administrator(tx, *user_id).await?;
    tx.rollback_to_savepoint().await?;
    is_administrator.then_some(()).ok_or(Refused::NotAnAdministrator)
}

/// Judges again at the end whether who acts is an administrator: who was demoted while it went on has nothing done. Who has
/// `removed` themselves was one until then.
pub async fn require_still(tx: &mut Transaction, actor: &Actor, removed: UserId) -> Result<(), Refused> {
    match actor {
        Actor::User { user_id, .. } if *user_id != removed => {
            let is_administrator = db::users::is_administrator(&mut **tx, *user_id).await?;
            is_administrator.then_some(()).ok_or(Refused::NotAnAdministrator)
        }
        _ => Ok(()),
    }
}

/// Gives the account this role. Its sessions go on; what they may do is judged at every request. Nothing is written when it
/// has the role already.
pub async fn set_role(
    tx: &mut Transaction,
    recorder: &Recorder<'_>,
    user_id: UserId,
    role: Role,
) -> Result<Account, Refused> {
    let locked = lock(tx, recorder, user_id).await?;
    let old_role = locked.account.role.clone();
    if old_role == role.as_str() {
        return Ok(locked.account);
    }
    if role == Role::User {
        locked.require_another_administrator()?;
    }
    db::accounts::set_role(tx, user_id, role.as_str(), recorder.now).await?;
    let changed = Event::UserRoleChanged {
        user_id,
        old_role: old_role.clone(),
        new_role: role.as_str().to_owned(),
    };
    db::events::emit(tx, &[changed], recorder.now).await?;
    let entry = Entry {
        action: Action::UserRoleChanged,
        target: locked.target(),
        details: json!({ "old_role": old_role, "new_role": role.as_str() }),
    };
    recorder.record(tx, &entry).await?;
    Ok(Account {
        role: role.as_str().to_owned(),
        updated_at: recorder.now,
        ..locked.account
    })
}

/// Disables the account: nobody signs in to it, its sessions and every token of it end at once and stay ended, its data
/// stays. Nothing is written when it is disabled already.
pub async fn disable(
    tx: &mut Transaction,
    recorder: &Recorder<'_>,
    user_id: UserId,
) -> Result<Account, Refused> {
    let locked = lock(tx, recorder, user_id).await?;
    if locked.account.disabled_at.is_some() {
        return Ok(locked.account);
    }
    locked.require_another_administrator()?;
    let now = recorder.now;
    db::accounts::set_disabled(tx, user_id, Some(now), now).await?;
    db::events::emit(tx, &[Event::UserDisabled { user_id }], now).await?;
    // Apps with offline access outlived these sessions and learn of the end only now.
    let ended_before = db::deletion::find_ended_with_offline_access(tx, user_id).await?;
    let ended = end_sessions_of_user(tx, user_id, None, EndReason::Disabled, now).await?;
    db::deliveries::enqueue_logout(tx, &ended_before, now).await?;
    // Offline grants too, so that none comes back when the account is enabled.
    db::grants::revoke_all_of_user(tx, user_id, RevocationReason::Administrator, now).await?;
    let entry = Entry {
        action: Action::UserDisabled,
        target: locked.target(),
        details: json!({ "sessions": ended.len() }),
    };
    recorder.record(tx, &entry).await?;
    Ok(Account {
        disabled_at: Some(now),
        updated_at: now,
        ..locked.account
    })
}

/// Lets the person sign in again. Nothing is written when they may already.
pub async fn enable(
    tx: &mut Transaction,
    recorder: &Recorder<'_>,
    user_id: UserId,
) -> Result<Account, Refused> {
    let locked = lock(tx, recorder, user_id).await?;
    if locked.account.disabled_at.is_none() {
        return Ok(locked.account);
    }
    let now = recorder.now;
    db::accounts::set_disabled(tx, user_id, None, now).await?;
    db::events::emit(tx, &[Event::UserEnabled { user_id }], now).await?;
    let entry = Entry {
        action: Action::UserEnabled,
        target: locked.target(),
        details: json!({}),
    };
    recorder.record(tx, &entry).await?;
    Ok(Account {
        disabled_at: None,
        updated_at: now,
        ..locked.account
    })
}

/// Signs the person out everywhere, and with [`Revoke::SessionsAndTokens`] out of every app for good.
pub async fn revoke(
    tx: &mut Transaction,
    recorder: &Recorder<'_>,
    user_id: UserId,
    what: Revoke,
) -> Result<Ended, Refused> {
    let locked = lock(tx, recorder, user_id).await?;
    let now = recorder.now;
    let ended_before = db::deletion::find_ended_with_offline_access(tx, user_id).await?;
    let sessions = end_sessions_of_user(tx, user_id, None, EndReason::Administrator, now).await?;
    let grants = match what {
        Revoke::Sessions => 0,
        Revoke::SessionsAndTokens => {
            db::deliveries::enqueue_logout(tx, &ended_before, now).await?;
            db::grants::revoke_all_of_user(tx, user_id, RevocationReason::Administrator, now).await?
        }
    };
    let ended = Ended {
        sessions: sessions.len(),
        grants,
    };
    let entry = Entry {
        action: Action::UserSessionsRevoked,
        target: locked.target(),
        details: json!({ "sessions": ended.sessions, "offline": what == Revoke::SessionsAndTokens }),
    };
    recorder.record(tx, &entry).await?;
    Ok(ended)
}

/// Ends every session and every token of everybody: after a backup was restored, whose rows have forgotten what was spent
/// and revoked since.
pub async fn revoke_everything(tx: &mut Transaction, recorder: &Recorder<'_>) -> sqlx::Result<Ended> {
    let (now, reason) = (recorder.now, EndReason::Administrator.as_str());
    let mut sessions = 0;
    loop {
        let ended = db::sessions::end_some(tx, reason, SESSIONS_PER_STATEMENT, now).await?;
        if ended.is_empty() {
            break;
        }
        sessions += ended.len();
        let events: Vec<Event> = ended
            .iter()
            .map(|(user_id, session_id)| Event::SessionRevoked {
                session_id: *session_id,
                user_id: *user_id,
                reason: reason.to_owned(),
            })
            .collect();
        db::events::emit(tx, &events, now).await?;
        let session_ids: Vec<SessionId> = ended.iter().map(|(_, session_id)| *session_id).collect();
        db::deliveries::enqueue_logout(tx, &session_ids, now).await?;
    }
    let grants = db::grants::revoke_all(tx, RevocationReason::Administrator, now).await?;
    let entry = Entry {
        action: Action::EverythingRevoked,
        target: Target::Nothing,
        details: json!({ "sessions": sessions, "grants": grants }),
    };
    recorder.record(tx, &entry).await?;
    Ok(Ended { sessions, grants })
}
