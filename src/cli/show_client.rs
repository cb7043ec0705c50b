//! `riley-auth show-client CLIENT_ID`: everything that is said of a registered app, nothing secret.

use anyhow::Context as _;

use super::Global;
use super::administration::client_refused;
use crate::clients::ClientView;
use crate::clients::operations::Refused;
use crate::db;
use crate::protocol::ids::ClientId;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The client's id
    client_id: String,
}

pub(super) async fn run(global: &Global, args: &Args) -> anyhow::Result<()> {
    let (_, db) = global.database()?;
    let client = db::clients::find(&db, &ClientId(args.client_id.clone()))
        .await
        .context("the client cannot be read")?
        .ok_or_else(|| client_refused(Refused::NoSuchClient))?;
    global.print(&ClientView::from(&client), describe)
}

/// A line for each field that is set, under the name that it has in the administration's JSON.
pub(super) fn describe(client: &ClientView) -> String {
    let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(client) else {
        return String::new();
    };
    let width = fields.keys().map(String::len).max().unwrap_or_default();
    let mut text = String::new();
    for (name, value) in fields {
        let lines = match value {
            serde_json::Value::Null => continue,
            serde_json::Value::Array(items) => items.iter().map(plain).collect(),
            other => vec![plain(&other)],
        };
        let lines = lines.join(&format!("\n{:width$}  ", ""));
        text.push_str(format!("{name:width$}  {lines}").trim_end());
        text.push('\n');
    }
    text
}

/// Text without quotes; names and URIs have no line breaks.
fn plain(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
