//! A registration as it is shown to administrators and on the command line: every field, nothing secret.

use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::protocol::algorithm::SigningAlgorithm;
use crate::protocol::client::{Client, ClientType, GrantType, TokenEndpointAuthMethod};
use crate::protocol::ids::ClientId;

/// A registered client.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ClientView {
    pub client_id: ClientId,
    pub name: String,
    pub client_type: ClientType,
    pub redirect_uris: Vec<String>,
    pub post_logout_redirect_uris: Vec<String>,
    pub backchannel_logout_uri: Option<String>,
    pub backchannel_logout_session_required: bool,
    /// What it may ask for beyond `openid profile email`, separated by spaces.
    pub scope: String,
    pub grant_types: Vec<GrantType>,
    pub auto_approve: bool,
    pub require_pkce: bool,
    /// `null`: a confidential client may use either secret method.
    pub token_endpoint_auth_method: Option<TokenEndpointAuthMethod>,
    /// `null`: the first signing key decides.
    pub id_token_signed_response_alg: Option<SigningAlgorithm>,
    pub claims_in_id_token: bool,
    /// `null`: the configured default.
    pub audience: Option<String>,
    #[schema(value_type = Option<Object>)]
    pub request_object_jwks: Option<serde_json::Value>,
    /// `null`: the configured default.
    pub refresh_reuse_leeway_secs: Option<u32>,
    pub disabled: bool,
    /// Until when the secret before the current one is good; `null` if there is none.
    #[serde(with = "time::serde::rfc3339::option")]
    pub previous_secret_expires_at: Option<OffsetDateTime>,
}

impl From<&Client> for ClientView {
    fn from(client: &Client) -> Self {
        Self {
            client_id: client.client_id.clone(),
            name: client.name.clone(),
            client_type: client.client_type,
            redirect_uris: client.redirect_uris.clone(),
            post_logout_redirect_uris: client.post_logout_redirect_uris.clone(),
            backchannel_logout_uri: client.backchannel_logout_uri.clone(),
            backchannel_logout_session_required: client.backchannel_logout_session_required,
            scope: client.scope.to_string(),
            grant_types: client.grant_types.clone(),
            auto_approve: client.auto_approve,
            require_pkce: client.must_use_pkce(),
            token_endpoint_auth_method: client.token_endpoint_auth_method,
            id_token_signed_response_alg: client.id_token_signed_response_alg,
            claims_in_id_token: client.claims_in_id_token,
            audience: client.audience.clone(),
            request_object_jwks: client.request_object_jwks.clone(),
            refresh_reuse_leeway_secs: client.refresh_reuse_leeway_secs,
            disabled: client.disabled,
            previous_secret_expires_at: client.secrets.iter().find_map(|secret| secret.expires_at),
        }
    }
}

/// The names of the fields in which two states of one registration differ.
pub fn changed(before: &Client, after: &Client) -> Vec<String> {
    let fields = |client: &Client| match serde_json::to_value(ClientView::from(client)) {
        Ok(serde_json::Value::Object(fields)) => fields,
        _ => serde_json::Map::new(),
    };
    let (before, after) = (fields(before), fields(after));
    after
        .into_iter()
        .filter(|(name, value)| before.get(name) != Some(value))
        .map(|(name, _)| name)
        .collect()
}
