//! `riley-auth list-clients`.

use anyhow::Context as _;

use super::{Global, table};
use crate::clients::ClientView;
use crate::protocol::client::Client;

pub(super) async fn run(global: &Global) -> anyhow::Result<()> {
    let (_, db) = global.database()?;
    let clients = crate::db::clients::list(&db)
        .await
        .context("the clients cannot be read")?;
    let data: Vec<ClientView> = clients.iter().map(ClientView::from).collect();
    global.print(&data, |_| {
        if clients.is_empty() {
            return "no client is registered; `riley-auth register-client` registers one\n".to_owned();
        }
        let rows: Vec<Vec<String>> = clients.iter().map(row).collect();
        table::render(
            &["CLIENT ID", "NAME", "TYPE", "REDIRECT URIS", "SCOPES", "STATE"],
            &rows,
        )
    })
}

fn row(client: &Client) -> Vec<String> {
    vec![
        client.client_id.to_string(),
        client.name.clone(),
        client.client_type.as_str().to_owned(),
        client.redirect_uris.join(" "),
        client.scope.to_string(),
        if client.disabled { "disabled" } else { "enabled" }.to_owned(),
    ]
}
