//! `riley-auth unmerge LINK_ID`, or `riley-auth unmerge USER PROVIDER`: an identity that joined an account by its address gets
//! an account of its own again.

use anyhow::{Context as _, anyhow, bail};
use aws_lc_rs::rand::SystemRandom;
use serde_json::json;
use time::OffsetDateTime;

use super::Global;
use crate::accounts::{self, NotUnmerged, Unmerged, Unmerging};
use crate::audit::Actor;
use crate::clock::Clock;
use crate::config::Config;
use crate::db::oauth_links::Link;
use crate::db::retry::retrying;
use crate::db::{self, Pool};
use crate::protocol::ids::{LinkId, UserId};
use crate::usernames::{UsernameRules, fold};

/// How often another name is looked for when somebody else was faster.
const ATTEMPTS: usize = 3;
const UNREADABLE: &str = "the links cannot be read";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The link's id, as the audit trail names it; or, with PROVIDER, the id or username of the account it joined
    #[arg(value_name = "LINK_ID|USER")]
    link_or_user: String,
    /// The provider whose identity joined the account
    #[arg(value_name = "PROVIDER")]
    provider: Option<String>,
}

pub(super) async fn run(global: &Global, args: &Args) -> anyhow::Result<()> {
    let (config, db) = global.database()?;
    let link = find(&db, args).await?;
    let done = unmerge(&config, &db, &link, Clock::default().now()).await?;
    let data = json!({
        "link_id": link.link_id,
        "provider": done.provider,
        "went_along": done.went_along,
        "user_id": done.user_id,
        "new_user_id": done.new_user.user_id,
        "new_username": done.new_user.username,
        "sessions_ended": done.sessions_ended,
        "grants_revoked": done.grants_revoked,
    });
    let went_along = done.went_along.join(", ");
    global.print(&data, |_| {
        format!(
            "the identity at {} has left account {} and has account {} now, under the name {}\n\
             what came by it and went along: {}\n\
             sessions ended: {}, tokens' grants revoked: {}\n",
            done.provider,
            done.user_id,
            done.new_user.user_id,
            done.new_user.username,
            if went_along.is_empty() {
                "nothing"
            } else {
                &went_along
            },
            done.sessions_ended,
            done.grants_revoked,
        )
    })
}

async fn find(db: &Pool, args: &Args) -> anyhow::Result<Link> {
    let link = match &args.provider {
        None => by_id(db, &args.link_or_user).await?,
        Some(provider) => by_owner(db, &args.link_or_user, provider).await?,
    };
    link.context("there is no such link or account")
}

async fn by_id(db: &Pool, link_id: &str) -> anyhow::Result<Option<Link>> {
    let link_id: LinkId = link_id
        .parse()
        .map_err(|_| anyhow!("this is not the id of a link; name the account and the provider instead"))?;
    let owner = db::oauth_links::find_owner_of_link(db, link_id)
        .await
        .context(UNREADABLE)?;
    let Some(owner) = owner else { return Ok(None) };
    let links = db::oauth_links::list_of_user(db, owner)
        .await
        .context(UNREADABLE)?;
    Ok(links.into_iter().find(|link| link.link_id == link_id))
}

async fn by_owner(db: &Pool, user: &str, provider: &str) -> anyhow::Result<Option<Link>> {
    let owner: Option<UserId> = match user.parse() {
        Ok(user_id) => Some(user_id),
        Err(_) => db::users::find_by_username(db, &fold(user))
            .await
            .context(UNREADABLE)?,
    };
    let Some(owner) = owner else { return Ok(None) };
    let links = db::oauth_links::list_of_user(db, owner)
        .await
        .context(UNREADABLE)?;
    Ok(links.into_iter().find(|link| link.provider == provider))
}

async fn unmerge(config: &Config, db: &Pool, link: &Link, now: OffsetDateTime) -> anyhow::Result<Unmerged> {
    let rng = SystemRandom::new();
    let keyring = config.keyring();
    let rules = UsernameRules::new(&config.usernames).context("usernames.pattern")?;
    for _ in 0..ATTEMPTS {
        let unmerging = Unmerging {
            link_id: link.link_id,
            owner: None,
            actor: &Actor::CommandLine,
            usernames: &accounts::names_of_its_own(link, &rules, &rng),
        };
        let undone = retrying(&rng, || async {
            let mut tx = db.begin().await?;
            let done = accounts::unmerge(&mut tx, &unmerging, &keyring, &rng, now).await?;
            tx.commit().await?;
            Ok(done)
        });
        match undone.await {
            Ok(done) => return Ok(done),
            Err(NotUnmerged::NoUsername) => {}
            Err(NotUnmerged::NotFound) => bail!("there is no such link or account"),
            Err(NotUnmerged::NotMerged) => {
                bail!("this identity did not join the account by a merge: its owner linked it")
            }
            Err(NotUnmerged::LastLink) => {
                bail!("nothing else leads to this account: there is nobody left to separate it from")
            }
            Err(NotUnmerged::Database(error)) => {
                return Err(anyhow::Error::new(error).context("the merge cannot be undone"));
            }
        }
    }
    bail!("no free username could be derived under usernames.pattern, try again")
}
