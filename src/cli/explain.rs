//! `riley-auth explain ID`: what was received, what was registered, and the rule.

use anyhow::{Context as _, bail};

use super::Global;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The id that stands on the error page
    id: String,
}

pub(super) async fn run(global: &Global, args: &Args) -> anyhow::Result<()> {
    let (_, db) = global.database()?;
    let report = crate::db::error_reports::find(&db, args.id.trim())
        .await
        .context("the database cannot be asked")?;
    let Some(report) = report else {
        bail!("there is no report of this id; reports are kept for seven days");
    };
    global.print(&report, |report| {
        let mut text = String::new();
        describe(report, 0, &mut text);
        text
    })
}

/// One `name: value` a line, what is nested indented below its name.
fn describe(value: &serde_json::Value, depth: usize, text: &mut String) {
    use std::fmt::Write as _;

    use serde_json::Value;
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let name = name.replace('_', " ");
                if member.is_object() || member.is_array() {
                    let _ = writeln!(text, "{indent}{name}:");
                    describe(member, depth + 1, text);
                } else {
                    let _ = writeln!(text, "{indent}{name}: {}", plain(member));
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                if item.is_object() || item.is_array() {
                    describe(item, depth + 1, text);
                } else {
                    let _ = writeln!(text, "{indent}- {}", plain(item));
                }
            }
        }
        other => {
            let _ = writeln!(text, "{indent}{}", plain(other));
        }
    }
}

/// A scalar as text. Requests are other people's input: control characters must not reach the terminal.
fn plain(value: &serde_json::Value) -> String {
    match value.as_str() {
        Some(text) => text
            .chars()
            .flat_map(|c| {
                if c.is_control() {
                    c.escape_default().collect()
                } else {
                    vec![c]
                }
            })
            .collect(),
        None => value.to_string(),
    }
}
