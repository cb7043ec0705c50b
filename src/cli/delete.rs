//! `riley-auth delete USER --yes`.

use anyhow::bail;
use serde_json::json;

use super::Global;
use super::administration::Administration;
use crate::accounts::{self, Deletion, NotDeleted};
use crate::audit::Actor;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The account's id or username
    user: String,
    /// Really do it: this cannot be undone
    #[arg(long)]
    yes: bool,
}

pub(super) async fn run(global: &Global, args: &Args) -> anyhow::Result<()> {
    let opened = Administration::open(global)?;
    let account = opened.person(&args.user).await?;
    let (user_id, username) = (account.user.user_id, account.user.username);
    if !args.yes {
        bail!(
            "this would delete {username} ({user_id}) for good, with everything that is held of them; \
             repeat it with --yes"
        );
    }
    let deletion = Deletion {
        user_id,
        actor: &Actor::CommandLine,
        session_id: None,
        usernames: &opened.config.usernames,
    };
    opened
        .perform(async |tx, recorder| {
            accounts::delete(tx, &deletion, recorder.keyring, recorder.rng, recorder.now)
                .await
                .map_err(|refused| not_deleted(refused, &username))
        })
        .await?;
    // The name is gone from the database; scripts know whom they meant.
    let data = json!({ "deleted": user_id });
    global.print(&data, |_| {
        format!("deleted {username} ({user_id}), with everything that was held of them\n")
    })
}

fn not_deleted(refused: NotDeleted, username: &str) -> anyhow::Error {
    match refused {
        NotDeleted::NotFound | NotDeleted::SignedOut => anyhow::anyhow!("nobody has this id or username"),
        NotDeleted::LastAdmin => {
            anyhow::anyhow!("{username} is the last administrator; make somebody else one first")
        }
        NotDeleted::Database(error) => anyhow::Error::new(error).context("the account cannot be deleted"),
    }
}
