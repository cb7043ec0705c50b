//! What an account shows of its owner: what they choose themselves, and what the upstream brings along at a login.

use time::OffsetDateTime;

use crate::clients;
use crate::db::oauth_links::LinkedEmail;
use crate::db::users::{Refreshed, UpstreamProfile, User};
use crate::db::{self, Transaction};
use crate::events::Event;
use crate::protocol::ids::{LinkId, UserId};

/// What the owner wants otherwise; `None`: as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProfileChange<'a> {
    /// As [`display_name`] lets it through; `Some(None)` removes it.
    pub display_name: Option<Option<&'a str>>,
    /// The link whose address is to be the primary one; `Some(None)` leaves the choice to the rule.
    pub primary_link_id: Option<Option<LinkId>>,
}

/// Why the profile stays as it was.
#[derive(Debug)]
pub enum NotChanged {
    /// There is no such account that could be used.
    NotFound,
    /// No link of this account has this id and an address.
    UnknownLink,
    Database(sqlx::Error),
}

impl From<sqlx::Error> for NotChanged {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

/// The rule that a display name breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DisplayNameRefused {
    Misleading,
    TooLong,
}

impl DisplayNameRefused {
    /// The code that front ends match on.
    pub fn code(self) -> &'static str {
        match self {
            Self::Misleading => "display_name_invalid",
            Self::TooLong => "display_name_too_long",
        }
    }

    /// The rule in words.
    pub fn description(self) -> &'static str {
        match self {
            Self::Misleading => "the display name has control characters or marks of direction",
            Self::TooLong => "the display name is too long",
        }
    }
}

/// A display name that somebody chose: trimmed; empty means none. Controls, marks of direction and endless names are
/// refused. `max_length` counts characters.
pub fn display_name(chosen: Option<&str>, max_length: usize) -> Result<Option<&str>, DisplayNameRefused> {
    let Some(name) = chosen.map(str::trim).filter(|name| !name.is_empty()) else {
        return Ok(None);
    };
    if name.chars().any(clients::misleads) {
        return Err(DisplayNameRefused::Misleading);
    }
    // Bounded, so that an endless name costs nothing.
    if name.chars().take(max_length + 1).count() > max_length {
        return Err(DisplayNameRefused::TooLong);
    }
    Ok(Some(name))
}

/// Writes what the owner chose, and tells of it if anything is otherwise than before.
pub async fn change_profile(
    tx: &mut Transaction,
    user_id: UserId,
    change: &ProfileChange<'_>,
    now: OffsetDateTime,
) -> Result<(), NotChanged> {
    let account = db::users::lock_account(tx, user_id)
        .await?
        .ok_or(NotChanged::NotFound)?;
    let before = db::oauth_links::emails_of(&mut **tx, user_id).await?;
    let link_id = change.primary_link_id.unwrap_or(account.primary_link_id);
    if let Some(Some(link_id)) = change.primary_link_id
        && !before.iter().any(|email| email.link_id == link_id)
    {
        return Err(NotChanged::UnknownLink);
    }
    let old_name = account.user.display_name.as_deref();
    let name = change.display_name.unwrap_or(old_name);
    if (name, link_id) == (old_name, account.primary_link_id) {
        return Ok(());
    }
    db::users::set_profile(tx, user_id, name, link_id, now).await?;
    let after = db::oauth_links::emails_of(&mut **tx, user_id).await?;
    let changed = [
        ("display_name", name != old_name),
        ("email", primary(&before) != primary(&after)),
    ];
    announce(tx, user_id, changed, now).await?;
    Ok(())
}

fn primary(emails: &[LinkedEmail]) -> Option<(&str, bool)> {
    let primary = emails.iter().find(|email| email.primary)?;
    Some((&primary.email, primary.email_verified))
}

/// Takes over what the upstream says at a login, and tells of what is otherwise than before. `email_changed`: the login
/// brought another address. The account as it is then; `None` if there is none. The caller has locked it.
pub async fn refresh_profile(
    tx: &mut Transaction,
    user_id: UserId,
    profile: &UpstreamProfile<'_>,
    email_changed: bool,
    now: OffsetDateTime,
) -> sqlx::Result<Option<User>> {
    let Some((user, refreshed)) = db::users::refresh_profile(tx, user_id, profile, now).await? else {
        return Ok(None);
    };
    announce_profile(tx, user_id, refreshed, email_changed, now).await?;
    Ok(Some(user))
}

/// Tells of what is otherwise than before of what the upstream fills, if anything is.
pub async fn announce_profile(
    tx: &mut Transaction,
    user_id: UserId,
    refreshed: Refreshed,
    email_changed: bool,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    let changed = [
        ("display_name", refreshed.display_name),
        ("picture", refreshed.picture),
        ("email", email_changed),
        ("claims", refreshed.claims),
    ];
    announce(tx, user_id, changed, now).await
}

/// `user.updated` with the members that did change, if any.
async fn announce(
    tx: &mut Transaction,
    user_id: UserId,
    members: impl IntoIterator<Item = (&'static str, bool)>,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    let changed: Vec<String> = members
        .into_iter()
        .filter(|(_, changed)| *changed)
        .map(|(member, _)| member.to_owned())
        .collect();
    if changed.is_empty() {
        return Ok(());
    }
    db::events::emit(tx, &[Event::UserUpdated { user_id, changed }], now).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_display_name_is_trimmed_and_bounded() {
        assert_eq!(display_name(Some(" Ada "), 200), Ok(Some("Ada")));
        assert_eq!(display_name(Some("  "), 200), Ok(None));
        assert_eq!(display_name(None, 200), Ok(None));
        assert_eq!(
            display_name(Some("Ada King Lovelace"), 200),
            Ok(Some("Ada King Lovelace"))
        );
        assert_eq!(display_name(Some("Adaé"), 4), Ok(Some("Adaé")));
        assert_eq!(display_name(Some("Adaéx"), 4), Err(DisplayNameRefused::TooLong));
    }

    #[test]
    fn a_display_name_cannot_turn_the_text_beside_it() {
        for name in [
            "\u{202e}evil",
            "two\nlines",
            "nul\0",
            "Ada\u{0}x",
            "a\u{200f}b",
            "a\u{2066}b",
        ] {
            assert_eq!(
                display_name(Some(name), 200),
                Err(DisplayNameRefused::Misleading),
                "{name:?}"
            );
        }
    }
}
