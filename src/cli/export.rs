//! `riley-auth export USER`: everything that is held of somebody.

use anyhow::{Context as _, bail};
use aws_lc_rs::rand::SystemRandom;
use serde_json::{Value, json};

use super::{Global, person, table};
use crate::accounts;
use crate::audit::{self, Action, Actor, Entry, Target};
use crate::clock::Clock;
use crate::db;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The account's id or username
    user: String,
}

pub(super) async fn run(global: &Global, args: &Args) -> anyhow::Result<()> {
    let (config, db) = global.database()?;
    let user_id = person::find(&db, &args.user).await?.user.user_id;
    let now = Clock::default().now();
    let mut tx = db.begin().await.context("the database cannot be asked")?;
    // Locked, so that no deletion comes between: what it empties would be written again.
    let user = db::users::lock(&mut tx, user_id)
        .await
        .context("the database cannot be asked")?
        .context("the account was deleted just now")?;
    // Whoever looks is on record before they see anything.
    let entry = Entry {
        action: Action::UserExported,
        target: Target::user(user_id, &user.username),
        details: json!({}),
    };
    audit::record(
        &mut tx,
        &config.keyring(),
        &SystemRandom::new(),
        &Actor::CommandLine,
        &entry,
        now,
    )
    .await
    .context("the audit trail cannot be written")?;
    tx.commit().await.context("the audit trail cannot be written")?;

    let mut tx = db.begin().await.context("the database cannot be asked")?;
    let export = accounts::export(&mut tx, user_id, now)
        .await
        .context("the account cannot be read")?;
    let Some(export) = export else {
        bail!("nobody has this id or username");
    };
    let data = serde_json::to_value(&export)?;
    global.print(&data, describe)
}

/// A heading and a table for each list; what is one value, one a line.
fn describe(export: &Value) -> String {
    export
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, member)| section(&name.replace('_', " "), member))
        .collect()
}

fn section(heading: &str, member: &Value) -> String {
    match member {
        Value::Object(fields) => {
            let rows: Vec<Vec<String>> = fields
                .iter()
                .map(|(field, value)| vec![field.replace('_', " "), cell(value)])
                .collect();
            format!("{heading}\n{}\n", table::render(&["FIELD", "VALUE"], &rows))
        }
        Value::Array(items) if items.is_empty() => format!("{heading}: none\n\n"),
        Value::Array(items) => format!("{heading}\n{}\n", list(items)),
        other => format!("{heading}: {}\n\n", cell(other)),
    }
}

/// A column for each field that says anything in any row.
fn list(items: &[Value]) -> String {
    let fields: Vec<&String> = items
        .iter()
        .find_map(Value::as_object)
        .into_iter()
        .flat_map(|first| first.keys())
        .filter(|field| items.iter().any(|item| !item[field.as_str()].is_null()))
        .collect();
    if fields.is_empty() {
        return items.iter().map(|item| cell(item) + "\n").collect();
    }
    let headings: Vec<String> = fields
        .iter()
        .map(|field| field.replace('_', " ").to_uppercase())
        .collect();
    let headings: Vec<&str> = headings.iter().map(String::as_str).collect();
    let rows: Vec<Vec<String>> = items
        .iter()
        .map(|item| fields.iter().map(|field| cell(&item[field.as_str()])).collect())
        .collect();
    table::render(&headings, &rows)
}

/// A value on one line. Much of it is other people's input: control characters must not reach the terminal.
fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    text.chars()
        .flat_map(|c| {
            if crate::clients::misleads(c) {
                c.escape_default().collect()
            } else {
                vec![c]
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_tables_for_people() {
        let export = json!({
            "account": { "username": "ada", "picture": null },
            "links": [{ "email": "a@x.example", "display": null }, { "email": "b\u{1b}", "display": null }],
            "sessions": [],
            "truncated": ["events"],
            "version": 1,
        });
        let expected = "account\nFIELD     VALUE\npicture\nusername  ada\n\nlinks\nEMAIL\na@x.example\nb\\u{1b}\n\n\
                        sessions: none\n\ntruncated\nevents\n\nversion: 1\n\n";
        assert_eq!(describe(&export), expected);
    }
}
