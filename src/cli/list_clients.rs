//! `riley-auth list-clients`.

use anyhow::Context as _;
use serde_json::json;

use super::{Global, table};
use crate::protocol::client::Client;

pub(super) async fn run(global: &Global) -> anyhow::Result<()> {
    let (_, db) = global.database()?;
    let clients = crate::db::clients::list(&db)
        .await
        .context("the clients cannot be read")?;
    let data: Vec<serde_json::Value> = clients.iter().map(describe).collect();
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

/// Every field of a registration by its name, without anything secret.
pub(super) fn describe(client: &Client) -> serde_json::Value {
    json!({
        "client_id": client.client_id,
        "name": client.name,
        "client_type": client.client_type,
        "redirect_uris": client.redirect_uris,
        "post_logout_redirect_uris": client.post_logout_redirect_uris,
        "backchannel_logout_uri": client.backchannel_logout_uri,
        "backchannel_logout_session_required": client.backchannel_logout_session_required,
        "scope": client.scope,
        "grant_types": client.grant_types,
        "auto_approve": client.auto_approve,
        "require_pkce": client.must_use_pkce(),
        "token_endpoint_auth_method": client.token_endpoint_auth_method,
        "id_token_signed_response_alg": client.id_token_signed_response_alg,
        "claims_in_id_token": client.claims_in_id_token,
        "audience": client.audience,
        "request_object_jwks": client.request_object_jwks,
        "refresh_reuse_leeway_secs": client.refresh_reuse_leeway_secs,
        "disabled": client.disabled,
    })
}
