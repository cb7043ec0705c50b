//! Which usernames can be had, those among them that deleted accounts hold.
//!
//! A name that goes with its account is held as others are, but nothing of the person may remain: only an HMAC under a key of
//! the configuration says which names those are, so that a copy of the database alone tells nobody, however many names they
//! try. A hold made under a secret that is no longer configured (`database.previous_secret_keys`) is forgotten.

use aws_lc_rs::digest::{SHA256, digest};
use sqlx::PgExecutor;
use time::OffsetDateTime;

use crate::db;
use crate::db::users::Availability;
use crate::protocol::ids::UserId;
use crate::sealing::{Keyring, Purpose};
use crate::usernames::Username;

/// What a folded name is held as from now on.
pub fn held_as(keyring: &Keyring, folded: &str) -> Vec<u8> {
    keyring
        .authenticate(Purpose::HeldUsername, folded.as_bytes())
        .1
        .to_vec()
}

/// Whatever it may be held as: under each configured secret, and as versions without this key held it.
fn may_be_held_as(keyring: &Keyring, folded: &str) -> Vec<Vec<u8>> {
    let mut hashes: Vec<Vec<u8>> = keyring
        .authenticate_by_each(Purpose::HeldUsername, folded.as_bytes())
        .into_iter()
        .map(Vec::from)
        .collect();
    hashes.push(digest(&SHA256, folded.as_bytes()).as_ref().to_vec());
    hashes
}

/// Whether a folded name can be had, by `taker` if that is an account already.
pub async fn availability(
    db: impl PgExecutor<'_>,
    keyring: &Keyring,
    folded: &str,
    taker: Option<UserId>,
    now: OffsetDateTime,
) -> sqlx::Result<Availability> {
    let hashes = may_be_held_as(keyring, folded);
    db::users::username_availability(db, folded, &hashes, taker, now).await
}

/// Those of `names` that can be had, in their order.
pub async fn free(
    db: impl PgExecutor<'_>,
    keyring: &Keyring,
    names: Vec<Username>,
    now: OffsetDateTime,
) -> sqlx::Result<Vec<Username>> {
    let folded: Vec<String> = names.iter().map(|name| name.folded.clone()).collect();
    let (hashed, hashes): (Vec<String>, Vec<Vec<u8>>) = folded
        .iter()
        .flat_map(|name| {
            may_be_held_as(keyring, name)
                .into_iter()
                .map(|hash| (name.clone(), hash))
        })
        .unzip();
    let free = db::users::free_usernames(db, &folded, &hashed, &hashes, now).await?;
    Ok(names
        .into_iter()
        .filter(|name| free.contains(&name.folded))
        .collect())
}
