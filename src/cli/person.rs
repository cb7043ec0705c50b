//! Whom a command is about: an account by its id or its username.

use anyhow::{Context as _, bail};

use crate::db::users::Account;
use crate::db::{self, Pool};
use crate::protocol::ids::UserId;
use crate::usernames;

/// The live account of this id or username; usernames without regard to case.
pub(super) async fn find(db: &Pool, text: &str) -> anyhow::Result<Account> {
    let text = text.trim();
    let found = match text.parse::<UserId>() {
        Ok(user_id) => db::users::find_account(db, user_id).await,
        Err(_) => db::users::find_account_by_name(db, &usernames::fold(text)).await,
    };
    match found.context("the database cannot be asked")? {
        Some(account) => Ok(account),
        None => bail!("nobody has this id or username"),
    }
}
