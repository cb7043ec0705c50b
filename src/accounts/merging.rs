//! An identity that joins an account by its verified address, and the way back.

use aws_lc_rs::rand::SecureRandom;
use serde_json::{Map, json};
use time::OffsetDateTime;
use uuid::Uuid;

use super::consents::forget_consents_since;
use super::links::{announce_address, announce_departure, primary_address, revoke_what_was_had_by};
use super::names;
use super::newcomers::link;
use super::sessions::{EndReason, announce, end_sessions_of_user};
use crate::audit::{self, Action, Actor, Entry, Target};
use crate::db::grants::RevocationReason;
use crate::db::oauth_links::Link;
use crate::db::retry::Failure;
use crate::db::users::{Availability, NewUser, User};
use crate::db::{self, Transaction};
use crate::events::Event;
use crate::protocol::ids::{LinkId, UserId};
use crate::sealing::Keyring;
use crate::upstream::Identity;
use crate::usernames::{Username, UsernameRules};

/// Joins an identity to the account of `user_id`, whose row the caller has locked, by the address of its link `joined_by`. The
/// account's sessions end: whoever had them had not proved this identity. Violates [`db::oauth_links::IDENTITY_LINKED`] or
/// [`db::oauth_links::PROVIDER_LINKED`] when there is one already; the transaction is of no use then.
///
/// The entry in the trail is [`merged`]'s, which belongs at the end of the transaction.
pub async fn merge(
    tx: &mut Transaction,
    user_id: UserId,
    identity: &Identity,
    joined_by: LinkId,
    now: OffsetDateTime,
) -> sqlx::Result<LinkId> {
    let before = primary_address(tx, user_id).await?;
    let link_id = link(tx, user_id, identity, Some(joined_by), now).await?;
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
    /// Whose link it has to be; `None`: whoever's it is.
    pub owner: Option<UserId>,
    pub actor: &'a Actor,
    /// Names for the new account, best first, within the rules; a free one is taken.
    pub usernames: &'a [Username],
}

/// Names for the account of an identity that is to have one of its own, best first.
pub fn names_of_its_own(link: &Link, rules: &UsernameRules, rng: &dyn SecureRandom) -> Vec<Username> {
    // Never from an address: a username is public.
    let hint = link.display.as_deref().filter(|display| !display.contains('@'));
    let hints: Vec<&str> = hint.into_iter().collect();
    rules.candidates(&hints, rng)
}

/// What came of it.
#[derive(Debug)]
pub struct Unmerged {
    /// The account that the identity had joined.
    pub user_id: UserId,
    /// The account that it has now.
    pub new_user: User,
    pub provider: String,
    /// The providers of the identities that came by it and went along, oldest first.
    pub went_along: Vec<String>,
    /// Sessions that were signed in to by any of them and have ended.
    pub sessions_ended: usize,
    /// What apps were let have in such sessions and have no longer.
    pub grants_revoked: u64,
}

/// Why a merge was not undone. The caller rolls back.
#[derive(Debug)]
pub enum NotUnmerged {
    /// There is no such link, or it is not the account's that was named.
    NotFound,
    /// The link is its account's by its owner's own doing.
    NotMerged,
    /// Nothing leads to the account but what came by this link.
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

impl Failure for NotUnmerged {
    fn of_database(&self) -> Option<&sqlx::Error> {
        match self {
            Self::Database(error) => Some(error),
            _ => None,
        }
    }
}

/// Gives an identity that was merged into an account one of its own, with another `sub`. Sessions that it ever signed in to
/// end, and whatever apps were let have in them, offline access included.
///
/// What came to the account by it goes along, at any remove: identities that were linked in its sessions, and those that
/// were merged by its address. Whoever it is has proved those identities, and the account's owner may have had no part in
/// that; left behind, each would still lead into the account that the merge is undone to protect. Ended instead, they would
/// be newcomers at their next sign-in, while their owner has an account now.
pub async fn unmerge(
    tx: &mut Transaction,
    unmerging: &Unmerging<'_>,
    keyring: &Keyring,
    rng: &(dyn SecureRandom + Sync),
    now: OffsetDateTime,
) -> Result<Unmerged, NotUnmerged> {
    let merged = lock_merged(tx, unmerging).await?;
    let (user_id, links) = (merged.user.user_id, merged.links());
    let before = primary_address(tx, user_id).await?;

    let reason = EndReason::Unmerged;
    let sessions = db::sessions::find_of_links(&mut **tx, user_id, &links).await?;
    let ended = db::sessions::end_these(&mut **tx, &sessions, reason.as_str(), now).await?;
    announce(tx, user_id, &ended, reason, now).await?;
    let revoked = RevocationReason::Unmerged;
    let grants_revoked = revoke_what_was_had_by(tx, user_id, &links, &ended, revoked, now).await?;
    if let Some(merged_at) = merged.link.merged_at {
        forget_consents_since(tx, user_id, merged_at, now).await?;
    }
    db::pending_identities::discard_all(tx, user_id, None).await?;
    db::upstream_flows::discard_links(&mut **tx, user_id).await?;

    let new_user = account_of_its_own(tx, unmerging.usernames, keyring, now).await?;
    // Apps would go on hearing what a stranger's provider says, as if it were of the account's owner.
    let forgotten = db::users::forget_filled_by(tx, user_id, &links, now).await?;
    db::oauth_links::give_to(tx, merged.link.link_id, &links, new_user.user_id).await?;
    tell(tx, &merged, &new_user, now).await?;
    announce_departure(tx, user_id, before, forgotten, now).await?;

    let went_along: Vec<String> = merged.went_along().map(|link| link.provider.clone()).collect();
    let details = json!({
        "provider": merged.link.provider,
        "link_id": merged.link.link_id,
        "went_along": merged.went_along().map(|link| link.link_id).collect::<Vec<_>>(),
        "new_user_id": new_user.user_id,
    });
    let entry = Entry {
        action: Action::AccountUnmerged,
        target: Target::user(user_id, &merged.user.username),
        details,
    };
    audit::record(tx, keyring, rng, unmerging.actor, &entry, now).await?;
    Ok(Unmerged {
        user_id,
        new_user,
        provider: merged.link.provider,
        went_along,
        sessions_ended: ended.len(),
        grants_revoked,
    })
}

/// A merge that can be undone; the account is locked.
struct Merged {
    user: User,
    link: Link,
    /// The merged link and what came by it, oldest first.
    leaving: Vec<Link>,
}

impl Merged {
    fn links(&self) -> Vec<LinkId> {
        self.leaving.iter().map(|link| link.link_id).collect()
    }

    fn went_along(&self) -> impl Iterator<Item = &Link> {
        self.leaving
            .iter()
            .filter(|link| link.link_id != self.link.link_id)
    }
}

/// The link, what came by it, and their account, locked; the account first, as everywhere. Found again under that lock: the
/// link may have changed hands since it was named.
async fn lock_merged(tx: &mut Transaction, unmerging: &Unmerging<'_>) -> Result<Merged, NotUnmerged> {
    let link_id = unmerging.link_id;
    let owner = match unmerging.owner {
        Some(owner) => owner,
        None => db::oauth_links::find_owner_of_link(&mut **tx, link_id)
            .await?
            .ok_or(NotUnmerged::NotFound)?,
    };
    let user = db::users::lock(tx, owner).await?.ok_or(NotUnmerged::NotFound)?;
    let links = db::oauth_links::list_of_user(&mut **tx, owner).await?;
    let link = links
        .iter()
        .find(|link| link.link_id == link_id)
        .cloned()
        .ok_or(NotUnmerged::NotFound)?;
    if link.merged_at.is_none() {
        return Err(NotUnmerged::NotMerged);
    }
    let leaving = came_by(&links, link_id);
    if leaving.len() == links.len() {
        return Err(NotUnmerged::LastLink);
    }
    Ok(Merged { user, link, leaving })
}

/// The link `root` and those that came by it, at any remove, in the order of `links`.
fn came_by(links: &[Link], root: LinkId) -> Vec<Link> {
    let mut ids = vec![root];
    loop {
        let is_next =
            |link: &&Link| !ids.contains(&link.link_id) && link.added_by.is_some_and(|by| ids.contains(&by));
        match links.iter().find(is_next) {
            Some(link) => ids.push(link.link_id),
            None => break,
        }
    }
    links
        .iter()
        .filter(|link| ids.contains(&link.link_id))
        .cloned()
        .collect()
}

/// An account without a link, under the best name that is free. Name and picture come with the next sign-in.
async fn account_of_its_own(
    tx: &mut Transaction,
    usernames: &[Username],
    keyring: &Keyring,
    now: OffsetDateTime,
) -> Result<User, NotUnmerged> {
    let free = names::free(&mut **tx, keyring, usernames.to_vec(), now).await?;
    let username = free.first().ok_or(NotUnmerged::NoUsername)?;
    let new = NewUser {
        user_id: UserId(Uuid::new_v4()),
        username: &username.name,
        username_folded: &username.folded,
        display_name: None,
        picture: None,
        upstream_claims: &Map::new(),
        display_name_link_id: None,
        picture_link_id: None,
        claims_link_id: None,
    };
    let user = db::users::insert(&mut **tx, &new, now).await?;
    // As for every newcomer: judged again once the name is ours.
    match names::availability(&mut **tx, keyring, new.username_folded, Some(user.user_id), now).await? {
        Availability::Free => Ok(user),
        Availability::Taken | Availability::Reserved => Err(NotUnmerged::NoUsername),
    }
}

/// Both accounts' apps hear of every identity that changed hands.
async fn tell(
    tx: &mut Transaction,
    merged: &Merged,
    new_user: &User,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    let (user_id, new_user_id) = (merged.user.user_id, new_user.user_id);
    let mut events = vec![
        Event::UserCreated {
            user_id: new_user_id,
            username: new_user.username.clone(),
        },
        Event::AccountUnmerged {
            user_id,
            new_user_id,
            link_id: merged.link.link_id,
            provider: merged.link.provider.clone(),
        },
    ];
    for link in &merged.leaving {
        let (link_id, provider) = (link.link_id, &link.provider);
        events.push(Event::LinkDeleted {
            user_id,
            link_id,
            provider: provider.clone(),
        });
        events.push(Event::LinkCreated {
            user_id: new_user_id,
            link_id,
            provider: provider.clone(),
        });
    }
    db::events::emit(tx, &events, now).await
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    fn link(number: u128, added_by: Option<u128>) -> Link {
        Link {
            link_id: LinkId(Uuid::from_u128(number)),
            user_id: UserId(Uuid::from_u128(1)),
            provider: format!("provider{number}"),
            issuer: String::new(),
            subject: String::new(),
            display: None,
            email: None,
            email_verified: false,
            is_primary: false,
            merged_at: None,
            added_by: added_by.map(|number| LinkId(Uuid::from_u128(number))),
            created_at: datetime!(2026-01-01 0:00 UTC),
            last_login_at: datetime!(2026-01-01 0:00 UTC),
        }
    }

    fn leaving(links: &[Link], root: u128) -> Vec<u128> {
        came_by(links, LinkId(Uuid::from_u128(root)))
            .iter()
            .map(|link| link.link_id.0.as_u128())
            .collect()
    }

    #[test]
    fn what_came_by_a_link_leaves_with_it_at_any_remove() {
        let links = [
            link(1, None),
            link(2, Some(1)),
            link(3, Some(2)),
            link(4, Some(3)),
            link(5, Some(1)),
            link(6, Some(99)),
        ];
        assert_eq!(leaving(&links, 2), [2, 3, 4]);
        assert_eq!(leaving(&links, 5), [5]);
        assert_eq!(leaving(&links, 1), [1, 2, 3, 4, 5]);
    }
}
