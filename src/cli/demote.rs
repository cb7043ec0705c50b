//! `riley-auth demote USER`: makes an administrator a user like any other.

use serde_json::json;

use super::Global;
use super::administration::{Administration, account_refused};
use crate::accounts::administration::{self, Role};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The account's id or username
    user: String,
}

pub(super) async fn run(global: &Global, args: &Args) -> anyhow::Result<()> {
    let opened = Administration::open(global)?;
    let user = opened.person(&args.user).await?.user;
    let account = opened
        .perform(async |tx, recorder| {
            administration::set_role(tx, recorder, user.user_id, Role::User)
                .await
                .map_err(account_refused)
        })
        .await?;
    let data = json!({ "user_id": user.user_id, "username": user.username, "role": account.role, "disabled": account.disabled_at.is_some() });
    global.print(&data, |_| {
        format!("{} ({}) is no administrator\n", user.username, user.user_id)
    })
}
