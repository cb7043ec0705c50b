//! Accounts for newcomers, and the identities that lead to an account.

use time::OffsetDateTime;
use uuid::Uuid;

use super::names;
use crate::db::oauth_links::{LinkDescription, NewLink};
use crate::db::retry::Failure;
use crate::db::users::{Availability, NewUser, User};
use crate::db::{self, Transaction};
use crate::events::Event;
use crate::protocol::ids::{LinkId, UserId, time_ordered_id};
use crate::sealing::Keyring;
use crate::upstream::{Identity, normalised_email};
use crate::usernames::Username;

/// A newcomer's account.
pub struct NewAccount<'a> {
    pub username: &'a Username,
    /// What its owner wants to be called; none: as the upstream calls them.
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

impl Failure for NotCreated {
    fn of_database(&self) -> Option<&sqlx::Error> {
        match self {
            Self::Database(error) => Some(error),
            _ => None,
        }
    }
}

/// Makes an account with its first link.
pub async fn create(
    tx: &mut Transaction,
    new: &NewAccount<'_>,
    keyring: &Keyring,
    now: OffsetDateTime,
) -> Result<(User, LinkId), NotCreated> {
    let link_id = LinkId(time_ordered_id(now));
    let picture = new.identity.picture.as_deref();
    let upstream_claims = passed_on(new.identity, new.passthrough);
    let upstream_name = new.identity.name.as_deref();
    let user = db::users::insert(
        &mut **tx,
        &NewUser {
            // Random, not time-ordered: the `sub` of a token tells nothing.
            user_id: UserId(Uuid::new_v4()),
            username: &new.username.name,
            username_folded: &new.username.folded,
            display_name: new.display_name.or(upstream_name),
            picture,
            upstream_claims: &upstream_claims,
            display_name_link_id: upstream_name
                .filter(|_| new.display_name.is_none())
                .map(|_| link_id),
            picture_link_id: picture.map(|_| link_id),
            claims_link_id: (!upstream_claims.is_empty()).then_some(link_id),
        },
        now,
    )
    .await?;
    // Now that the name is ours: who had it when we looked, and gave it up since, holds it.
    let (name, taker) = (&new.username.folded, Some(user.user_id));
    match names::availability(&mut **tx, keyring, name, taker, now).await? {
        Availability::Free => {}
        Availability::Taken => return Err(NotCreated::UsernameTaken),
        Availability::Reserved => return Err(NotCreated::UsernameReserved),
    }
    let created = Event::UserCreated {
        user_id: user.user_id,
        username: user.username.clone(),
    };
    db::events::emit(tx, &[created], now).await?;
    link_as(tx, link_id, user.user_id, new.identity, None, now).await?;
    Ok((user, link_id))
}

/// Links an identity to an account. `added_by`: the link of that account that it comes by; `None` for the first one.
pub async fn link(
    tx: &mut Transaction,
    user_id: UserId,
    identity: &Identity,
    added_by: Option<LinkId>,
    now: OffsetDateTime,
) -> sqlx::Result<LinkId> {
    let link_id = LinkId(time_ordered_id(now));
    link_as(tx, link_id, user_id, identity, added_by, now).await?;
    Ok(link_id)
}

async fn link_as(
    tx: &mut Transaction,
    link_id: LinkId,
    user_id: UserId,
    identity: &Identity,
    added_by: Option<LinkId>,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    let email_folded = identity.email.as_deref().and_then(normalised_email);
    db::oauth_links::insert(
        &mut **tx,
        &NewLink {
            link_id,
            user_id,
            provider: &identity.provider,
            issuer: &identity.issuer,
            subject: &identity.subject,
            added_by,
            description: describe(identity, email_folded.as_deref()),
        },
        now,
    )
    .await?;
    let created = Event::LinkCreated {
        user_id,
        link_id,
        provider: identity.provider.clone(),
    };
    db::events::emit(tx, &[created], now).await
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
