//! How a session ends, whoever ends it: its row says so, online grants end with it, apps are told.

use std::collections::BTreeMap;

use time::OffsetDateTime;

use crate::db::{self, Transaction};
use crate::events::Event;
use crate::protocol::ids::{SessionId, UserId};
use crate::upstream::LogoutToken;

/// Why a session ended; the text is what its row says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// The person signed out.
    Logout,
    /// The person signed out everywhere.
    LogoutAll,
    /// Another person signed in in the same browser.
    OtherPerson,
    /// A spent value of its cookie was presented.
    TokenReused,
    /// An identity was merged into the account: what was open before may be somebody else's.
    Merged,
    /// The identity it was opened with was given an account of its own.
    Unmerged,
    /// The provider it was opened with leads to the account no longer.
    Unlinked,
    /// The person ended it from another session.
    Revoked,
    /// An administrator or operator ended it.
    Administrator,
    /// The account was disabled.
    Disabled,
    /// The account was deleted.
    Deleted,
    /// The upstream provider says that its session has ended.
    Upstream,
}

impl EndReason {
    /// As it is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Logout => "logout",
            Self::LogoutAll => "logout_all",
            Self::OtherPerson => "other_person",
            Self::TokenReused => "token_reused",
            Self::Merged => "account_merged",
            Self::Unmerged => "account_unmerged",
            Self::Unlinked => "unlinked",
            Self::Revoked => "revoked",
            Self::Administrator => "administrator",
            Self::Disabled => "user_disabled",
            Self::Deleted => "user_deleted",
            Self::Upstream => "upstream_logout",
        }
    }
}

/// Ends a session, and with it every online grant that hangs on it; its apps are told. Whether it was still going on.
pub async fn end_session(
    tx: &mut Transaction,
    session_id: SessionId,
    reason: EndReason,
    now: OffsetDateTime,
) -> sqlx::Result<bool> {
    let Some(user_id) = db::sessions::end(&mut **tx, session_id, reason.as_str(), now).await? else {
        return Ok(false);
    };
    announce(tx, user_id, &[session_id], reason, now).await?;
    Ok(true)
}

/// The same for a session that has to be of this user; `false` also if it is somebody else's.
pub async fn end_own_session(
    tx: &mut Transaction,
    user_id: UserId,
    session_id: SessionId,
    reason: EndReason,
    now: OffsetDateTime,
) -> sqlx::Result<bool> {
    if !db::sessions::end_of_user(&mut **tx, session_id, user_id, reason.as_str(), now).await? {
        return Ok(false);
    }
    announce(tx, user_id, &[session_id], reason, now).await?;
    Ok(true)
}

/// Ends every session of a user, `except` one if it is named; their apps are told. Those that were still going on.
pub async fn end_sessions_of_user(
    tx: &mut Transaction,
    user_id: UserId,
    except: Option<SessionId>,
    reason: EndReason,
    now: OffsetDateTime,
) -> sqlx::Result<Vec<SessionId>> {
    let ended = db::sessions::end_all_of_user(&mut **tx, user_id, except, reason.as_str(), now).await?;
    announce(tx, user_id, &ended, reason, now).await?;
    Ok(ended)
}

/// Ends the sessions that an upstream's logout token speaks of (OpenID Connect Back-Channel Logout 1.0 §2.7): those opened
/// through that upstream session, or with no session named all that this identity opened. How many those were.
pub async fn end_sessions_of_upstream(
    tx: &mut Transaction,
    provider: &str,
    token: &LogoutToken,
    now: OffsetDateTime,
) -> sqlx::Result<usize> {
    let reason = EndReason::Upstream;
    let (issuer, why) = (token.issuer.as_str(), reason.as_str());
    let ended = match (token.sid.as_deref(), token.subject.as_deref()) {
        (Some(sid), subject) => {
            db::upstream_logout::end_of_upstream_session(tx, provider, sid, issuer, subject, why, now).await?
        }
        (None, Some(subject)) => {
            db::upstream_logout::end_of_identity(tx, provider, issuer, subject, why, now).await?
        }
        (None, None) => Vec::new(),
    };
    // A session of the upstream's belongs to one person, but nothing here depends on that being so.
    let mut by_user: BTreeMap<UserId, Vec<SessionId>> = BTreeMap::new();
    for session in &ended {
        by_user
            .entry(session.user_id)
            .or_default()
            .push(session.session_id);
    }
    for (user_id, sessions) in by_user {
        announce(tx, user_id, &sessions, reason, now).await?;
    }
    Ok(ended.len())
}

/// Tells of sessions of `user_id` that have just been ended in `tx`: an event each, a logout notice per app.
pub async fn announce(
    tx: &mut Transaction,
    user_id: UserId,
    ended: &[SessionId],
    reason: EndReason,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    let events: Vec<Event> = ended
        .iter()
        .map(|session_id| Event::SessionRevoked {
            session_id: *session_id,
            user_id,
            reason: reason.as_str().to_owned(),
        })
        .collect();
    db::events::emit(tx, &events, now).await?;
    db::deliveries::enqueue_logout(tx, ended, now).await
}
