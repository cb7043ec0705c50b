//! What happens to accounts and sessions, where more than one caller makes it happen: endpoints, admins, the command line.
//!
//! Each operation belongs inside a transaction of its caller, so that what is announced about it is written with it.

use sqlx::PgTransaction;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::db;
use crate::db::oauth_links::{LinkDescription, NewLink};
use crate::db::users::{Availability, NewUser, User};
use crate::protocol::ids::{LinkId, SessionId, UserId};
use crate::upstream::{Identity, normalised_email};
use crate::usernames::Username;

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
        }
    }
}

/// A newcomer's account.
pub struct NewAccount<'a> {
    pub username: &'a Username,
    pub display_name: Option<&'a str>,
    pub identity: &'a Identity,
    /// `[claims] passthrough`: of the upstream's claims, only these are kept.
    pub passthrough: &'a [String],
}

/// Why no account was made. The transaction is of no use any more.
#[derive(Debug)]
pub enum NotCreated {
    UsernameTaken,
    UsernameReserved,
    /// Somebody was faster: the identity belongs to an account by now.
    AlreadyLinked,
    Database(sqlx::Error),
}

impl From<sqlx::Error> for NotCreated {
    fn from(error: sqlx::Error) -> Self {
        if db::violates(&error, db::users::USERNAME_TAKEN) {
            Self::UsernameTaken
        } else if db::violates(&error, db::oauth_links::IDENTITY_LINKED) {
            Self::AlreadyLinked
        } else {
            Self::Database(error)
        }
    }
}

/// Makes an account with its first link.
pub async fn create(
    tx: &mut PgTransaction<'_>,
    new: &NewAccount<'_>,
    now: OffsetDateTime,
) -> Result<(User, LinkId), NotCreated> {
    match db::users::username_availability(&mut **tx, &new.username.folded, now).await? {
        Availability::Free => {}
        Availability::Taken => return Err(NotCreated::UsernameTaken),
        Availability::Reserved => return Err(NotCreated::UsernameReserved),
    }
    let user = db::users::insert(
        &mut **tx,
        &NewUser {
            // Random, not time-ordered: the `sub` of a token tells nothing.
            user_id: UserId(Uuid::new_v4()),
            username: &new.username.name,
            username_folded: &new.username.folded,
            display_name: new.display_name,
            picture: new.identity.picture.as_deref(),
            upstream_claims: &passed_on(new.identity, new.passthrough),
        },
        now,
    )
    .await?;
    let link_id = link(tx, user.user_id, new.identity, now).await?;
    Ok((user, link_id))
}

/// Links an identity to an account.
pub async fn link(
    tx: &mut PgTransaction<'_>,
    user_id: UserId,
    identity: &Identity,
    now: OffsetDateTime,
) -> sqlx::Result<LinkId> {
    let link_id = LinkId(time_ordered_id(now));
    let email_folded = identity.email.as_deref().and_then(normalised_email);
    db::oauth_links::insert(
        &mut **tx,
        &NewLink {
            link_id,
            user_id,
            provider: &identity.provider,
            issuer: &identity.issuer,
            subject: &identity.subject,
            description: describe(identity, email_folded.as_deref()),
        },
        now,
    )
    .await?;
    Ok(link_id)
}

/// What is kept of an identity beside (issuer, subject). `email_folded`: its address, normalised.
pub fn describe<'a>(identity: &'a Identity, email_folded: Option<&'a str>) -> LinkDescription<'a> {
    LinkDescription {
        display: Some(&identity.display),
        email: identity.email.as_deref(),
        email_folded,
        email_verified: identity.email_verified,
    }
}

/// The upstream's claims that are kept: those that somebody asked for.
pub fn passed_on(identity: &Identity, passthrough: &[String]) -> serde_json::Map<String, serde_json::Value> {
    identity
        .claims
        .iter()
        .filter(|(name, _)| passthrough.contains(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// A UUIDv7 of this moment: rows that are made one after the other lie side by side in their index.
fn time_ordered_id(now: OffsetDateTime) -> Uuid {
    let secs = u64::try_from(now.unix_timestamp()).unwrap_or(0);
    Uuid::new_v7(uuid::Timestamp::from_unix(
        uuid::NoContext,
        secs,
        now.nanosecond(),
    ))
}

/// Ends a session, and with it every online grant that hangs on it. Whether it was still going on.
pub async fn end_session(
    tx: &mut PgTransaction<'_>,
    session_id: SessionId,
    reason: EndReason,
    now: OffsetDateTime,
) -> sqlx::Result<bool> {
    db::sessions::end(&mut **tx, session_id, reason.as_str(), now).await
}

/// Ends every session of a user, `except` one if it is named. Those that were still going on.
pub async fn end_sessions_of_user(
    tx: &mut PgTransaction<'_>,
    user_id: UserId,
    except: Option<SessionId>,
    reason: EndReason,
    now: OffsetDateTime,
) -> sqlx::Result<Vec<SessionId>> {
    db::sessions::end_all_of_user(&mut **tx, user_id, except, reason.as_str(), now).await
}
