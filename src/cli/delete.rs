//! `riley-auth delete USER --yes`.

use anyhow::{Context as _, bail};
use aws_lc_rs::rand::SystemRandom;
use serde_json::json;

use super::{Global, person};
use crate::accounts::{self, Deletion, NotDeleted};
use crate::audit::Actor;
use crate::clock::Clock;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The account's id or username
    user: String,
    /// Really do it: this cannot be undone
    #[arg(long)]
    yes: bool,
}

pub(super) async fn run(global: &Global, args: &Args) -> anyhow::Result<()> {
    let (config, db) = global.database()?;
    let account = person::find(&db, &args.user).await?;
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
        usernames: &config.usernames,
    };
    let now = Clock::default().now();
    let mut tx = db.begin().await.context("the database cannot be asked")?;
    match accounts::delete(&mut tx, &deletion, &config.keyring(), &SystemRandom::new(), now).await {
        Ok(()) => tx.commit().await.context("the account cannot be deleted")?,
        Err(NotDeleted::NotFound) => bail!("nobody has this id or username"),
        Err(NotDeleted::LastAdmin) => {
            bail!("{username} is the last administrator; make somebody else one first")
        }
        Err(NotDeleted::Database(error)) => {
            return Err(error).context("the account cannot be deleted");
        }
    }
    // The name is gone from the database; scripts know whom they meant.
    let data = json!({ "deleted": user_id });
    global.print(&data, |_| {
        format!("deleted {username} ({user_id}), with everything that was held of them\n")
    })
}
