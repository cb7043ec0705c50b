//! `riley-auth list-users`.

use anyhow::Context as _;
use serde::Serialize;
use time::format_description::well_known::Rfc3339;

use super::{Global, table};
use crate::accounts::administration::AccountView;
use crate::db;
use crate::db::accounts::{AccountFilter, Position};
use crate::upstream::normalised_email;
use crate::usernames;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only those whose username begins like this, in any case of letters
    #[arg(long, value_name = "PREFIX")]
    username: Option<String>,
    /// Only who has this address at a linked provider
    #[arg(long, value_name = "ADDRESS")]
    email: Option<String>,
    /// Only administrators
    #[arg(long)]
    admins: bool,
    /// Only disabled accounts
    #[arg(long)]
    disabled: bool,
    /// At most this many, the newest
    #[arg(long, value_name = "NUMBER", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

/// The accounts, and whether there are more.
#[derive(Serialize)]
struct Listed {
    users: Vec<AccountView>,
    more: bool,
}

pub(super) async fn run(global: &Global, args: &Args) -> anyhow::Result<()> {
    let (_, db) = global.database()?;
    let prefix = args.username.as_deref().map(usernames::fold);
    let email_folded = args.email.as_deref().map(|email| {
        // What cannot be compared, nobody has.
        normalised_email(email).unwrap_or_default()
    });
    let filter = AccountFilter {
        username_prefix: prefix.as_deref(),
        user_id: None,
        email_folded: email_folded.as_deref(),
        role: args.admins.then_some("admin"),
        disabled: args.disabled.then_some(true),
    };
    let mut tx = db.begin().await.context("the database cannot be asked")?;
    let mut found = db::accounts::search(
        &mut tx,
        &filter,
        &Position::Newest(None),
        i64::from(args.limit) + 1,
    )
    .await
    .context("the accounts cannot be read")?;
    let wanted = usize::try_from(args.limit)?;
    let more = found.len() > wanted;
    found.truncate(wanted);
    let listed = Listed {
        users: found.into_iter().map(AccountView::from).collect(),
        more,
    };
    global.print(&listed, |listed| {
        if listed.users.is_empty() {
            return "nobody is found\n".to_owned();
        }
        let rows: Vec<Vec<String>> = listed.users.iter().map(row).collect();
        let mut text = table::render(&["USER ID", "USERNAME", "ROLE", "STATE", "SINCE"], &rows);
        if listed.more {
            text.push_str("and more: name a higher --limit, or the beginning of a username\n");
        }
        text
    })
}

fn row(user: &AccountView) -> Vec<String> {
    let since = user.created_at.replace_nanosecond(0).unwrap_or(user.created_at);
    vec![
        user.user_id.to_string(),
        user.username.clone(),
        user.role.clone(),
        if user.disabled { "disabled" } else { "enabled" }.to_owned(),
        since.format(&Rfc3339).unwrap_or_default(),
    ]
}
