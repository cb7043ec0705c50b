//! `riley-auth revoke USER` and `revoke --all`: sessions and tokens end at once, those for offline access too.

use anyhow::Context as _;
use serde_json::json;

use super::Global;
use super::administration::{Administration, account_refused};
use crate::accounts::administration::{self, Revoke};
use crate::db;

/// Everybody's sessions and tokens may be many.
const EVERYTHING_SECS: u32 = 3600;

#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("whose").required(true)))]
pub(super) struct Args {
    /// The account's id or username
    #[arg(group = "whose")]
    user: Option<String>,
    /// Everybody's: after a backup was restored, which has forgotten what was spent and revoked since
    #[arg(long, group = "whose")]
    all: bool,
}

pub(super) async fn run(global: &Global, args: &Args) -> anyhow::Result<()> {
    let opened = Administration::open(global)?;
    let Some(user) = &args.user else {
        return everybody(global, &opened).await;
    };
    let user = opened.person(user).await?.user;
    let what = Revoke::SessionsAndTokens;
    let ended = opened
        .perform(async |tx, recorder| {
            administration::revoke(tx, recorder, user.user_id, what)
                .await
                .map_err(account_refused)
        })
        .await?;
    let data = json!({ "user_id": user.user_id, "username": user.username, "sessions": ended.sessions, "grants": ended.grants });
    global.print(&data, |_| {
        format!(
            "{} ({}) is signed out everywhere: {} sessions and every token have ended\n",
            user.username, user.user_id, ended.sessions
        )
    })
}

async fn everybody(global: &Global, opened: &Administration) -> anyhow::Result<()> {
    let ended = opened
        .perform(async |tx, recorder| {
            db::allow_time(tx, EVERYTHING_SECS).await?;
            administration::revoke_everything(tx, recorder)
                .await
                .context("the sessions and tokens cannot be ended")
        })
        .await?;
    global.print(&ended, |ended| {
        format!(
            "everybody is signed out: {} sessions and {} grants with all their tokens have ended\n",
            ended.sessions, ended.grants
        )
    })
}
