//! `riley-auth reserve-username NAME`, `release-username NAME`, `list-reserved-usernames`: names that nobody may take, beside
//! those of `usernames.reserved`.

use anyhow::Context as _;
use serde_json::json;
use time::format_description::well_known::Rfc3339;

use super::administration::Administration;
use super::{Global, table};
use crate::accounts::reservations::{self, Refused};
use crate::db;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The name, in any case of letters
    name: String,
}

pub(super) async fn reserve(global: &Global, args: &Args) -> anyhow::Result<()> {
    let opened = Administration::open(global)?;
    let name = opened
        .perform(async |tx, recorder| {
            reservations::reserve(tx, recorder, &args.name)
                .await
                .map_err(refused)
        })
        .await?;
    global.print(&json!({ "username": name, "reserved": true }), |_| {
        format!("nobody can take the name {name} any more; who has it keeps it\n")
    })
}

pub(super) async fn release(global: &Global, args: &Args) -> anyhow::Result<()> {
    let opened = Administration::open(global)?;
    let name = opened
        .perform(async |tx, recorder| {
            reservations::release(tx, recorder, &args.name)
                .await
                .map_err(refused)
        })
        .await?;
    global.print(&json!({ "username": name, "reserved": false }), |_| {
        format!("the name {name} can be taken again\n")
    })
}

pub(super) async fn list(global: &Global) -> anyhow::Result<()> {
    let (config, db) = global.database()?;
    let names = db::reserved_usernames::page(&db, None, i64::MAX)
        .await
        .context("the names cannot be read")?;
    let mut rows = Vec::new();
    for name in &config.usernames.reserved {
        rows.push(vec![name.clone(), "usernames.reserved".to_owned(), String::new()]);
    }
    for name in names {
        let since = name.created_at.replace_nanosecond(0)?.format(&Rfc3339)?;
        rows.push(vec![name.username_folded, "an administrator".to_owned(), since]);
    }
    let data: Vec<_> = rows
        .iter()
        .map(|row| {
            let is_configured = row[2].is_empty();
            json!({ "username": row[0], "configured": is_configured, "created_at": (!is_configured).then_some(&row[2]) })
        })
        .collect();
    global.print(&data, |_| {
        if rows.is_empty() {
            return "no name is reserved\n".to_owned();
        }
        table::render(&["NAME", "RESERVED BY", "SINCE"], &rows)
    })
}

fn refused(refused: Refused) -> anyhow::Error {
    match refused {
        Refused::Invalid => {
            anyhow::anyhow!("a reserved name is 1 to 100 characters that can be seen, without spaces")
        }
        Refused::AlreadyReserved => anyhow::anyhow!("this name is reserved already"),
        Refused::NotReserved => {
            anyhow::anyhow!("this name is not reserved; `riley-auth list-reserved-usernames` lists them")
        }
        Refused::Database(error) => anyhow::Error::new(error).context("the names cannot be changed"),
    }
}
