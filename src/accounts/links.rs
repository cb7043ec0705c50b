//! What its owner does with the identities that lead to an account: adding another one, taking one away.

use time::OffsetDateTime;

use super::consents::forget_consents_since;
use super::newcomers::link;
use super::profile::announce_profile;
use super::sessions::{EndReason, announce};
use crate::db::grants::RevocationReason;
use crate::db::oauth_links::{Link, LinkChange};
use crate::db::users::Refreshed;
use crate::db::{self, Transaction};
use crate::events::Event;
use crate::protocol::ids::{LinkId, SessionId, UserId};
use crate::protocol::opaque::TokenHash;
use crate::upstream::Identity;

/// Why a link was not taken away. Nothing was written.
#[derive(Debug)]
pub enum NotUnlinked {
    /// The account has no identity of this provider.
    NotFound,
    /// Nothing that could be signed in with would be left.
    LastLink,
    Database(sqlx::Error),
}

impl From<sqlx::Error> for NotUnlinked {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

/// A link to be taken away.
pub struct Unlinking<'a> {
    pub user_id: UserId,
    /// The provider's name; the caller's text.
    pub provider: &'a str,
    /// Where the person is: what waits there for a confirmation goes too.
    pub browser_hash: &'a TokenHash,
    /// The session that asks.
    pub session_id: SessionId,
}

/// Adds an identity that its owner has confirmed. Violates [`db::oauth_links::IDENTITY_LINKED`] or
/// [`db::oauth_links::PROVIDER_LINKED`] when there is one already; the transaction is of no use then. `added_by`: the link
/// by which its owner is signed in.
///
/// `is_former`: whether a link is of an issuer that the provider's name led to once. It gives way: it keeps everything but the
/// name, so that it leads to the account again if the configuration is put back.
pub async fn add_link(
    tx: &mut Transaction,
    user_id: UserId,
    identity: &Identity,
    added_by: Option<LinkId>,
    is_former: impl Fn(&Link) -> bool,
    now: OffsetDateTime,
) -> sqlx::Result<LinkId> {
    let links = db::oauth_links::list_of_user(&mut **tx, user_id).await?;
    let in_the_way = |link: &&Link| link.provider == identity.provider && is_former(link);
    if let Some(former) = links.iter().find(in_the_way) {
        let name = former_name(&links, &identity.provider);
        db::oauth_links::rename_provider(&mut **tx, former.link_id, &name).await?;
    }
    // Not before: another name of its provider is no other address.
    let before = primary_address(tx, user_id).await?;
    let link_id = link(tx, user_id, identity, added_by, now).await?;
    announce_address(tx, user_id, before, now).await?;
    Ok(link_id)
}

/// What marks the name of a link whose name leads to another issuer by now.
pub const FORMER: &str = "~former";

/// What no provider is called, since names in the configuration have no tilde, and no other link of the account.
fn former_name(links: &[Link], provider: &str) -> String {
    let mut names = (1..).map(|number| match number {
        1 => format!("{provider}{FORMER}"),
        number => format!("{provider}{FORMER}{number}"),
    });
    let is_free = |name: &String| links.iter().all(|link| link.provider != *name);
    names.find(is_free).expect("an account has finitely many links")
}

/// Takes the identity of a provider away. Sessions that were last signed in to by it end; those are returned. Whatever
/// waits for this person's confirmation is void, so that nothing begun before brings the link back.
///
/// What it had filled of the profile goes with it: apps would go on hearing of an identity that is not the account's.
///
/// What apps were let have in its sessions goes on where it is offline access: its owner let them. Not so where the identity
/// came by a merge: who had it might not have been the owner, and nobody could tell later what was had through it.
///
/// `is_usable`: whether one can sign in by this link. The account's row is locked, so that of two at once
/// the second one sees what the first one left.
pub async fn unlink(
    tx: &mut Transaction,
    unlinking: &Unlinking<'_>,
    is_usable: impl Fn(&Link) -> bool,
    now: OffsetDateTime,
) -> Result<Vec<SessionId>, NotUnlinked> {
    let user_id = unlinking.user_id;
    db::users::lock_live(tx, user_id)
        .await?
        .ok_or(NotUnlinked::NotFound)?;
    let links = db::oauth_links::list_of_user(&mut **tx, user_id).await?;
    let signed_in_by = db::sessions::lock_live(tx, unlinking.session_id)
        .await?
        .and_then(|session| session.link_id);
    let link = removable(&links, unlinking.provider, signed_in_by, is_usable)?;
    let reason = EndReason::Unlinked;
    let ended = db::sessions::end_all_of_link(&mut **tx, user_id, link.link_id, reason.as_str(), now).await?;
    announce(tx, user_id, &ended, reason, now).await?;
    if let Some(merged_at) = link.merged_at {
        let reason = RevocationReason::Unlinked;
        revoke_what_was_had_by(tx, user_id, &[link.link_id], &ended, reason, now).await?;
        forget_consents_since(tx, user_id, merged_at, now).await?;
    }
    db::pending_identities::discard_all(tx, user_id, Some(unlinking.browser_hash)).await?;
    db::upstream_flows::discard_links(&mut **tx, user_id).await?;
    let forgotten = db::users::forget_filled_by(tx, user_id, &[link.link_id], now).await?;
    db::oauth_links::delete(tx, link.link_id).await?;
    let deleted = Event::LinkDeleted {
        user_id,
        link_id: link.link_id,
        provider: link.provider.clone(),
    };
    db::events::emit(tx, &[deleted], now).await?;
    announce_departure(tx, user_id, address_of(&links), forgotten, now).await?;
    Ok(ended)
}

/// Ends what apps were let have in any session that was ever signed in to by one of these links, offline access included.
/// How many grants were alive. Apps that lose something in another session than those that have `just_ended`, and were told
/// of by that, are told of a logout (OpenID Connect Back-Channel Logout §2.5).
///
/// Codes go before grants: an exchange that is under way has either made its grant by then or finds its code spent.
pub async fn revoke_what_was_had_by(
    tx: &mut Transaction,
    user_id: UserId,
    link_ids: &[LinkId],
    just_ended: &[SessionId],
    reason: RevocationReason,
    now: OffsetDateTime,
) -> sqlx::Result<u64> {
    let sessions = db::sessions::find_of_links(&mut **tx, user_id, link_ids).await?;
    db::authorization_codes::spend_of_sessions(&mut **tx, &sessions, now).await?;
    let mut untold = db::grants::sessions_with_live_grants(&mut **tx, &sessions).await?;
    untold.retain(|session_id| !just_ended.contains(session_id));
    db::deliveries::enqueue_logout(tx, &untold, now).await?;
    db::grants::revoke_of_sessions(&mut **tx, &sessions, reason, now).await
}

/// Whether a link came by a merge, itself or by what it came by, at any remove.
fn came_by_a_merge(links: &[Link], link: &Link) -> bool {
    let mut at = Some(link);
    while let Some(link) = at {
        if link.merged_at.is_some() {
            return true;
        }
        at = link
            .added_by
            .and_then(|by| links.iter().find(|other| other.link_id == by));
    }
    false
}

/// The link of this provider, if the account can be signed in to without it.
///
/// Whoever is signed in by an identity that came by a merge has not proved to be the account's owner, so they cannot take away
/// the last one that did not: the merge could not be undone any more.
fn removable<'a>(
    links: &'a [Link],
    provider: &str,
    signed_in_by: Option<LinkId>,
    is_usable: impl Fn(&Link) -> bool,
) -> Result<&'a Link, NotUnlinked> {
    let link = links
        .iter()
        .find(|link| link.provider == provider)
        .ok_or(NotUnlinked::NotFound)?;
    let by_the_owner = links
        .iter()
        .any(|other| Some(other.link_id) == signed_in_by && !came_by_a_merge(links, other));
    let others_can_be_used = links.iter().any(|other| {
        let stands_in = by_the_owner || came_by_a_merge(links, link) || !came_by_a_merge(links, other);
        other.link_id != link.link_id && is_usable(other) && stands_in
    });
    if others_can_be_used {
        Ok(link)
    } else {
        Err(NotUnlinked::LastLink)
    }
}

/// The primary address of an account and what its provider says of it, as apps are told.
#[derive(Debug, PartialEq, Eq)]
pub struct Address {
    email: String,
    email_verified: bool,
    provider: String,
}

/// The primary address as it is now.
pub async fn primary_address(tx: &mut Transaction, user_id: UserId) -> sqlx::Result<Option<Address>> {
    Ok(address_of(
        &db::oauth_links::list_of_user(&mut **tx, user_id).await?,
    ))
}

/// Whether apps are told another address after this change of a link: they know of the primary one alone.
pub async fn told_of(
    tx: &mut Transaction,
    user_id: UserId,
    link_id: LinkId,
    change: LinkChange,
) -> sqlx::Result<bool> {
    if !change.email_changed || change.was_primary {
        return Ok(change.email_changed);
    }
    let links = db::oauth_links::list_of_user(&mut **tx, user_id).await?;
    Ok(links
        .iter()
        .any(|link| link.link_id == link_id && link.is_primary))
}

/// Tells of another primary address, if it is not `before` any more.
pub async fn announce_address(
    tx: &mut Transaction,
    user_id: UserId,
    before: Option<Address>,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    announce_departure(tx, user_id, before, Refreshed::default(), now).await
}

/// The same when a link has left, with what it had filled of the profile.
pub async fn announce_departure(
    tx: &mut Transaction,
    user_id: UserId,
    before: Option<Address>,
    forgotten: Refreshed,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    let email_changed = primary_address(tx, user_id).await? != before;
    if email_changed {
        db::users::mark_updated(&mut **tx, user_id, now).await?;
    }
    announce_profile(tx, user_id, forgotten, email_changed, now).await
}

fn address_of(links: &[Link]) -> Option<Address> {
    let primary = links.iter().find(|link| link.is_primary)?;
    Some(Address {
        email: primary.email.clone()?,
        email_verified: primary.email_verified,
        provider: primary.provider.clone(),
    })
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;
    use uuid::Uuid;

    use super::*;

    fn link(number: u128, provider: &str) -> Link {
        Link {
            link_id: LinkId(Uuid::from_u128(number)),
            user_id: UserId(Uuid::from_u128(1)),
            provider: provider.to_owned(),
            issuer: format!("https://{provider}.example"),
            subject: String::new(),
            display: None,
            email: None,
            email_verified: false,
            is_primary: false,
            merged_at: None,
            added_by: None,
            created_at: datetime!(2026-01-01 0:00 UTC),
            last_login_at: datetime!(2026-01-01 0:00 UTC),
        }
    }

    #[test]
    fn a_link_goes_only_if_another_one_can_be_signed_in_with() {
        let both = [link(1, "github"), link(2, "google")];
        let configured = |link: &Link| link.provider == "github" || link.provider == "google";
        assert!(removable(&both, "github", None, configured).is_ok_and(|link| link.provider == "github"));
        assert!(removable(&both, "google", None, configured).is_ok_and(|link| link.provider == "google"));
        assert!(matches!(
            removable(&both[..1], "github", None, configured),
            Err(NotUnlinked::LastLink)
        ));
        assert!(matches!(
            removable(&both, "gitlab", None, configured),
            Err(NotUnlinked::NotFound)
        ));
    }

    /// A provider that was taken out of the configuration lets nobody in.
    #[test]
    fn a_link_that_cannot_be_used_does_not_count_as_another_one() {
        let both = [link(1, "github"), link(2, "gone")];
        let configured = |link: &Link| link.provider == "github";
        assert!(matches!(
            removable(&both, "github", None, configured),
            Err(NotUnlinked::LastLink)
        ));
        assert!(removable(&both, "gone", None, configured).is_ok());
    }

    #[test]
    fn who_was_merged_in_cannot_take_the_last_link_of_the_owner() {
        let mut links = [link(1, "github"), link(2, "google"), link(3, "gitlab")];
        links[1].merged_at = Some(datetime!(2026-01-02 0:00 UTC));
        links[2].added_by = Some(links[1].link_id);
        let by = |number| Some(LinkId(Uuid::from_u128(number)));
        let refused = |result| matches!(result, Err(NotUnlinked::LastLink));
        for stranger in [by(2), by(3), None] {
            assert!(refused(removable(&links, "github", stranger, |_| true)));
            assert!(removable(&links, "gitlab", stranger, |_| true).is_ok());
        }
        assert!(removable(&links, "github", by(1), |_| true).is_ok());
        links[2].added_by = by(1);
        assert!(removable(&links, "github", by(2), |_| true).is_ok());
    }
}
