//! An identity that joins an account by its verified address, and the way back.

use aws_lc_rs::rand::SecureRandom;
use serde_json::{Map, json};
use sqlx::PgTransaction;
use time::OffsetDateTime;
use uuid::Uuid;

use super::links::{announce_address, primary_address};
use super::newcomers::link;
use super::sessions::{EndReason, announce, end_sessions_of_user};
use crate::audit::{self, Action, Actor, Entry, Target};
use crate::db;
use crate::db::grants::RevocationReason;
use crate::db::oauth_links::Link;
use crate::db::users::{NewUser, User};
use crate::events::Event;
use crate::protocol::ids::{LinkId, UserId};
use crate::sealing::Keyring;
use crate::upstream::Identity;
use crate::usernames::Username;

/// Joins an identity to the account of `user_id`, whose row the caller has locked. The account's sessions end: whoever had
/// them had not proved this identity. Violates [`db::oauth_links::IDENTITY_LINKED`] or
/// [`db::oauth_links::PROVIDER_LINKED`] when there is one already; the transaction is of no use then.
///
/// The entry in the trail is [`merged`]'s, which belongs at the end of the transaction.
pub async fn merge(
    tx: &mut PgTransaction<'_>,
    user_id: UserId,
    identity: &Identity,
    now: OffsetDateTime,
) -> sqlx::Result<LinkId> {
    let before = primary_address(tx, user_id).await?;
    let link_id = link(tx, user_id, identity, now).await?;
    db::oauth_links::mark_merged(&mut **tx, link_id, now).await?;
    let merged = Event::AccountMerged {
        user_id,
        link_id,
        provider: identity.provider.clone(),
    };
    db::events::emit(tx, &[merged], now).await?;
    end_sessions_of_user(tx, user_id, None, EndReason::Merged, now).await?;
    announce_address(tx, user_id, before, now).await?;
    Ok(link_id)
}

/// What the trail says of a merge.
pub fn merged(user: &User, link_id: LinkId, provider: &str) -> Entry {
    Entry {
        action: Action::AccountMerged,
        target: Target::user(user.user_id, &user.username),
        details: json!({ "provider": provider, "link_id": link_id }),
    }
}

/// A merge to be undone, and on whose word.
pub struct Unmerging<'a> {
    pub link_id: LinkId,
    pub actor: &'a Actor,
    /// Names for the new account, best first, within the rules; a free one is taken.
    pub usernames: &'a [Username],
}

/// What came of it.
#[derive(Debug)]
pub struct Unmerged {
    /// The account that the identity had joined.
    pub user_id: UserId,
    /// The account that it has now.
    pub new_user: User,
    pub provider: String,
    /// Sessions that were opened by it and have ended.
    pub sessions_ended: usize,
    /// What apps were let have in such sessions and have no longer.
    pub grants_revoked: u64,
}

/// Why a merge was not undone. The caller rolls back.
#[derive(Debug)]
pub enum NotUnmerged {
    /// There is no such link.
    NotFound,
    /// The link is its account's by its owner's own doing.
    NotMerged,
    /// Nothing else leads to the account.
    LastLink,
    /// Every name that was derived is taken by now.
    NoUsername,
    Database(sqlx::Error),
}

impl From<sqlx::Error> for NotUnmerged {
    fn from(error: sqlx::Error) -> Self {
        if db::violates(&error, db::users::USERNAME_TAKEN) {
            Self::NoUsername
        } else {
            Self::Database(error)
        }
    }
}

/// Gives an identity that was merged into an account one of its own, with another `sub`. Sessions that were opened by it
/// end, and whatever apps were let have in them, offline access included.
///
/// Codes go before grants: an exchange that is under way has either made its grant by then or finds its code spent.
pub async fn unmerge(
    tx: &mut PgTransaction<'_>,
    unmerging: &Unmerging<'_>,
    keyring: &Keyring,
    rng: &(dyn SecureRandom + Sync),
    now: OffsetDateTime,
) -> Result<Unmerged, NotUnmerged> {
    let (user, link) = lock_merged(tx, unmerging.link_id).await?;
    let (user_id, link_id) = (user.user_id, link.link_id);
    let before = primary_address(tx, user_id).await?;

    let reason = EndReason::Unmerged;
    let ended = db::sessions::end_all_of_link(&mut **tx, user_id, link_id, reason.as_str(), now).await?;
    announce(tx, user_id, &ended, reason, now).await?;
    db::authorization_codes::spend_of_link(&mut **tx, user_id, link_id, now).await?;
    let revoked = RevocationReason::Unmerged;
    let grants_revoked = db::grants::revoke_of_link(&mut **tx, user_id, link_id, revoked, now).await?;
    db::pending_identities::discard_all(tx, user_id, None).await?;
    db::upstream_flows::discard_links(&mut **tx, user_id).await?;

    let new_user = account_of_its_own(tx, unmerging.usernames, now).await?;
    db::oauth_links::give_to(tx, link_id, new_user.user_id).await?;
    tell(tx, user_id, &new_user, &link, now).await?;
    announce_address(tx, user_id, before, now).await?;

    let entry = Entry {
        action: Action::AccountUnmerged,
        target: Target::user(user_id, &user.username),
        details: json!({ "provider": link.provider, "link_id": link_id, "new_user_id": new_user.user_id }),
    };
    audit::record(tx, keyring, rng, unmerging.actor, &entry, now).await?;
    Ok(Unmerged {
        user_id,
        new_user,
        provider: link.provider,
        sessions_ended: ended.len(),
        grants_revoked,
    })
}

/// The link and its account, locked; the account first, as everywhere.
async fn lock_merged(tx: &mut PgTransaction<'_>, link_id: LinkId) -> Result<(User, Link), NotUnmerged> {
    let owner = db::oauth_links::find_owner_of_link(&mut **tx, link_id)
        .await?
        .ok_or(NotUnmerged::NotFound)?;
    let user = db::users::lock(tx, owner).await?.ok_or(NotUnmerged::NotFound)?;
    let links = db::oauth_links::list_of_user(&mut **tx, owner).await?;
    let is_the_only_one = links.len() == 1;
    let link = links
        .into_iter()
        .find(|link| link.link_id == link_id)
        .ok_or(NotUnmerged::NotFound)?;
    if link.merged_at.is_none() {
        return Err(NotUnmerged::NotMerged);
    }
    if is_the_only_one {
        return Err(NotUnmerged::LastLink);
    }
    Ok((user, link))
}

/// An account without a link, under the best name that is free. Name and picture come with the next sign-in.
async fn account_of_its_own(
    tx: &mut PgTransaction<'_>,
    usernames: &[Username],
    now: OffsetDateTime,
) -> Result<User, NotUnmerged> {
    let folded: Vec<String> = usernames.iter().map(|name| name.folded.clone()).collect();
    let free = db::users::free_usernames(&mut **tx, &folded, now).await?;
    let username = usernames
        .iter()
        .find(|name| free.contains(&name.folded))
        .ok_or(NotUnmerged::NoUsername)?;
    let new = NewUser {
        user_id: UserId(Uuid::new_v4()),
        username: &username.name,
        username_folded: &username.folded,
        display_name: None,
        picture: None,
        upstream_claims: &Map::new(),
    };
    Ok(db::users::insert(&mut **tx, &new, now).await?)
}

async fn tell(
    tx: &mut PgTransaction<'_>,
    user_id: UserId,
    new_user: &User,
    link: &Link,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    let (link_id, new_user_id) = (link.link_id, new_user.user_id);
    let events = [
        Event::UserCreated {
            user_id: new_user_id,
            username: new_user.username.clone(),
        },
        Event::AccountUnmerged {
            user_id,
            new_user_id,
            link_id,
            provider: link.provider.clone(),
        },
        Event::LinkDeleted {
            user_id,
            link_id,
            provider: link.provider.clone(),
        },
        Event::LinkCreated {
            user_id: new_user_id,
            link_id,
            provider: link.provider.clone(),
        },
    ];
    db::events::emit(tx, &events, now).await
}
