//! What is asked for in a registration or a change of one, as JSON.

use serde::{Deserialize, Deserializer};
use utoipa::ToSchema;

use super::NewClient;
use crate::protocol::algorithm::SigningAlgorithm;
use crate::protocol::client::{Client, ClientType, GrantType, TokenEndpointAuthMethod};

/// A client to be registered. Only `name` and `redirect_uris` have to be there.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientRegistration {
    /// What people know the app by; shown when they are asked for consent.
    #[schema(min_length = 1, max_length = 100, example = "Notes")]
    pub name: String,
    /// `confidential` if it is left out; cannot be changed later.
    #[serde(default = "confidential")]
    pub client_type: ClientType,
    #[schema(min_items = 1, max_items = 50, example = json!(["https://notes.example.com/callback"]))]
    pub redirect_uris: Vec<String>,
    #[serde(default)]
    #[schema(max_items = 50)]
    pub post_logout_redirect_uris: Vec<String>,
    #[serde(default)]
    pub backchannel_logout_uri: Option<String>,
    #[serde(default)]
    pub backchannel_logout_session_required: bool,
    /// Beyond `openid profile email`, separated by spaces.
    #[serde(default)]
    pub scope: String,
    /// Both if it is left out.
    #[serde(default = "both_grant_types")]
    pub grant_types: Vec<GrantType>,
    #[serde(default)]
    pub auto_approve: bool,
    /// On if it is left out; only a confidential client may do without.
    #[serde(default = "on")]
    pub require_pkce: bool,
    #[serde(default)]
    pub token_endpoint_auth_method: Option<TokenEndpointAuthMethod>,
    #[serde(default)]
    pub id_token_signed_response_alg: Option<SigningAlgorithm>,
    #[serde(default)]
    pub claims_in_id_token: bool,
    #[serde(default)]
    #[schema(max_length = 255)]
    pub audience: Option<String>,
    /// A JWK set of public keys, by value.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub request_object_jwks: Option<serde_json::Value>,
    #[serde(default)]
    #[schema(maximum = 300)]
    pub refresh_reuse_leeway_secs: Option<u32>,
}

/// What is to change of a registration: what is left out stays, `null` gives up what may be absent.
// Each member says for the API document whether it may be `null`; none has a default there, since leaving out is no value.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientChanges {
    #[serde(default, deserialize_with = "some")]
    #[schema(value_type = String, min_length = 1, max_length = 100)]
    pub name: Option<String>,
    #[serde(default, deserialize_with = "some")]
    #[schema(value_type = Vec<String>, min_items = 1, max_items = 50)]
    pub redirect_uris: Option<Vec<String>>,
    #[serde(default, deserialize_with = "some")]
    #[schema(value_type = Vec<String>, max_items = 50)]
    pub post_logout_redirect_uris: Option<Vec<String>>,
    #[serde(default, deserialize_with = "some")]
    #[schema(value_type = Option<String>)]
    pub backchannel_logout_uri: Option<Option<String>>,
    #[serde(default, deserialize_with = "some")]
    #[schema(value_type = bool)]
    pub backchannel_logout_session_required: Option<bool>,
    /// Beyond `openid profile email`, separated by spaces.
    #[serde(default, deserialize_with = "some")]
    #[schema(value_type = String)]
    pub scope: Option<String>,
    #[serde(default, deserialize_with = "some")]
    #[schema(value_type = Vec<GrantType>)]
    pub grant_types: Option<Vec<GrantType>>,
    #[serde(default, deserialize_with = "some")]
    #[schema(value_type = bool)]
    pub auto_approve: Option<bool>,
    #[serde(default, deserialize_with = "some")]
    #[schema(value_type = bool)]
    pub require_pkce: Option<bool>,
    #[serde(default, deserialize_with = "some")]
    #[schema(value_type = Option<TokenEndpointAuthMethod>)]
    pub token_endpoint_auth_method: Option<Option<TokenEndpointAuthMethod>>,
    #[serde(default, deserialize_with = "some")]
    #[schema(value_type = Option<SigningAlgorithm>)]
    pub id_token_signed_response_alg: Option<Option<SigningAlgorithm>>,
    #[serde(default, deserialize_with = "some")]
    #[schema(value_type = bool)]
    pub claims_in_id_token: Option<bool>,
    #[serde(default, deserialize_with = "some")]
    #[schema(value_type = Option<String>, max_length = 255)]
    pub audience: Option<Option<String>>,
    /// A JWK set of public keys, by value.
    #[serde(default, deserialize_with = "some")]
    #[schema(value_type = Option<Object>)]
    pub request_object_jwks: Option<Option<serde_json::Value>>,
    #[serde(default, deserialize_with = "some")]
    #[schema(value_type = Option<u32>, maximum = 300)]
    pub refresh_reuse_leeway_secs: Option<Option<u32>>,
    /// A disabled client gets nothing, and its tokens are good for nothing until it is enabled again.
    #[serde(default, deserialize_with = "some")]
    #[schema(value_type = bool)]
    pub disabled: Option<bool>,
}

/// A member that is there: `null` is a value of a `T` that has one, and a mistake for any other.
fn some<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

fn confidential() -> ClientType {
    ClientType::Confidential
}

fn both_grant_types() -> Vec<GrantType> {
    GrantType::ALL.to_vec()
}

fn on() -> bool {
    true
}

fn scopes(text: &str) -> Vec<String> {
    text.split(' ')
        .filter(|scope| !scope.is_empty())
        .map(str::to_owned)
        .collect()
}

impl From<ClientRegistration> for NewClient {
    fn from(asked: ClientRegistration) -> Self {
        Self {
            name: asked.name,
            client_type: asked.client_type,
            redirect_uris: asked.redirect_uris,
            post_logout_redirect_uris: asked.post_logout_redirect_uris,
            backchannel_logout_uri: asked.backchannel_logout_uri,
            backchannel_logout_session_required: asked.backchannel_logout_session_required,
            scopes: scopes(&asked.scope),
            grant_types: asked.grant_types,
            auto_approve: asked.auto_approve,
            require_pkce: asked.require_pkce,
            token_endpoint_auth_method: asked.token_endpoint_auth_method,
            id_token_signed_response_alg: asked.id_token_signed_response_alg,
            claims_in_id_token: asked.claims_in_id_token,
            audience: asked.audience,
            request_object_jwks: asked.request_object_jwks,
            refresh_reuse_leeway_secs: asked.refresh_reuse_leeway_secs,
        }
    }
}

impl ClientChanges {
    /// The registration as it would be asked for now, to be judged as a whole.
    pub fn applied_to(&self, client: &Client) -> NewClient {
        let asked = self.clone();
        NewClient {
            name: asked.name.unwrap_or_else(|| client.name.clone()),
            client_type: client.client_type,
            redirect_uris: asked
                .redirect_uris
                .unwrap_or_else(|| client.redirect_uris.clone()),
            post_logout_redirect_uris: asked
                .post_logout_redirect_uris
                .unwrap_or_else(|| client.post_logout_redirect_uris.clone()),
            backchannel_logout_uri: asked
                .backchannel_logout_uri
                .unwrap_or_else(|| client.backchannel_logout_uri.clone()),
            backchannel_logout_session_required: asked
                .backchannel_logout_session_required
                .unwrap_or(client.backchannel_logout_session_required),
            scopes: scopes(&asked.scope.unwrap_or_else(|| client.scope.to_string())),
            grant_types: asked.grant_types.unwrap_or_else(|| client.grant_types.clone()),
            auto_approve: asked.auto_approve.unwrap_or(client.auto_approve),
            require_pkce: asked.require_pkce.unwrap_or_else(|| client.must_use_pkce()),
            token_endpoint_auth_method: asked
                .token_endpoint_auth_method
                .unwrap_or(client.token_endpoint_auth_method),
            id_token_signed_response_alg: asked
                .id_token_signed_response_alg
                .unwrap_or(client.id_token_signed_response_alg),
            claims_in_id_token: asked.claims_in_id_token.unwrap_or(client.claims_in_id_token),
            audience: asked.audience.unwrap_or_else(|| client.audience.clone()),
            request_object_jwks: asked
                .request_object_jwks
                .unwrap_or_else(|| client.request_object_jwks.clone()),
            refresh_reuse_leeway_secs: asked
                .refresh_reuse_leeway_secs
                .unwrap_or(client.refresh_reuse_leeway_secs),
        }
    }

    /// Whether nothing but `disabled` is named: that can be changed whatever the rules of today say of the rest.
    pub fn only_disables_or_enables(&self) -> bool {
        self.name.is_none()
            && self.redirect_uris.is_none()
            && self.post_logout_redirect_uris.is_none()
            && self.backchannel_logout_uri.is_none()
            && self.backchannel_logout_session_required.is_none()
            && self.scope.is_none()
            && self.grant_types.is_none()
            && self.auto_approve.is_none()
            && self.require_pkce.is_none()
            && self.token_endpoint_auth_method.is_none()
            && self.id_token_signed_response_alg.is_none()
            && self.claims_in_id_token.is_none()
            && self.audience.is_none()
            && self.request_object_jwks.is_none()
            && self.refresh_reuse_leeway_secs.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_gives_up_what_may_be_absent_and_nothing_else() {
        let read = |json| serde_json::from_str::<ClientChanges>(json);
        assert_eq!(read("{}").unwrap().audience, None);
        assert_eq!(read(r#"{"audience":null}"#).unwrap().audience, Some(None));
        assert_eq!(
            read(r#"{"audience":"api"}"#).unwrap().audience,
            Some(Some("api".to_owned()))
        );
        for json in [
            r#"{"name":null}"#,
            r#"{"redirect_uris":null}"#,
            r#"{"disabled":null}"#,
            r#"{"auto_approve":"true"}"#,
            r#"{"client_id":"other"}"#,
            r#"{"client_type":"public"}"#,
            r#"{"secret_hash":"x"}"#,
            r#"{"generation":1}"#,
            r#"{"name":"a","name":"b"}"#,
        ] {
            assert!(read(json).is_err(), "{json}");
        }
    }

    #[test]
    fn a_registration_has_a_name_and_a_redirect_uri() {
        let read = |json| serde_json::from_str::<ClientRegistration>(json);
        let least = read(r#"{"name":"a","redirect_uris":["https://a.example/"]}"#).unwrap();
        assert!(least.require_pkce && !least.auto_approve);
        assert_eq!(least.client_type, ClientType::Confidential);
        assert_eq!(least.grant_types.len(), 2);
        for json in [
            r#"{"name":"a"}"#,
            r#"{"name":"a","redirect_uris":"https://a.example/"}"#,
            r#"{"name":"a","redirect_uris":[],"client_secret":"mine"}"#,
            r#"{"name":"a","redirect_uris":[],"client_type":"trusted"}"#,
        ] {
            assert!(read(json).is_err(), "{json}");
        }
    }
}
