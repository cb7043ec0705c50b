//! A registered client as the rules see it.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::algorithm::SigningAlgorithm;
use super::ids::ClientId;
use super::opaque::TokenHash;
use super::scope::{FOR_EVERY_CLIENT, ScopeSet};

/// A registered client (RFC 6749 §2). What is not `Option` always has a value; lists may be empty.
#[derive(Clone, Debug)]
pub struct Client {
    pub client_id: ClientId,
    /// Shown to people who are asked for consent.
    pub name: String,
    pub client_type: ClientType,
    /// Both secrets that may be valid: the current one, and the previous one while a rotation overlaps.
    pub secrets: Vec<ClientSecret>,
    pub redirect_uris: Vec<String>,
    pub post_logout_redirect_uris: Vec<String>,
    pub backchannel_logout_uri: Option<String>,
    pub backchannel_logout_session_required: bool,
    /// Allowed beyond `openid profile email`, which every client may ask for.
    pub scope: ScopeSet,
    pub grant_types: Vec<GrantType>,
    /// The deployer vouches for this client: nobody is asked for consent.
    pub auto_approve: bool,
    /// Only confidential clients may have `false` (RFC 9700 §2.1.1).
    pub require_pkce: bool,
    /// `None`: a confidential client may use either secret method.
    pub token_endpoint_auth_method: Option<TokenEndpointAuthMethod>,
    /// `None`: the first signing key decides.
    pub id_token_signed_response_alg: Option<SigningAlgorithm>,
    pub claims_in_id_token: bool,
    /// The `aud` of this client's access tokens; `None`: the configured default.
    pub audience: Option<String>,
    /// A JWK set by value; with one, only request objects signed by its keys are accepted.
    pub request_object_jwks: Option<serde_json::Value>,
    /// `None`: the configured default.
    pub refresh_reuse_leeway_secs: Option<u32>,
    pub disabled: bool,
    /// Changes with every write to the registration.
    pub generation: i64,
}

/// A secret of a confidential client: its hash, and until when it is good.
#[derive(Clone, Debug)]
pub struct ClientSecret {
    pub hash: TokenHash,
    pub expires_at: Option<OffsetDateTime>,
}

/// What kind of program the client is (RFC 6749 §2.1, RFC 8252).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ClientType {
    /// Holds a secret: a server.
    Confidential,
    /// Runs in a browser.
    Public,
    /// An app on a device: loopback and private-use-scheme redirects (RFC 8252 §7).
    Native,
}

/// How a client proves itself at the token endpoint (OpenID Connect Core §9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TokenEndpointAuthMethod {
    ClientSecretBasic,
    ClientSecretPost,
    None,
}

/// A grant type of the token endpoint (RFC 6749 §4.1.3, §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum GrantType {
    AuthorizationCode,
    RefreshToken,
}

impl Client {
    /// Whether the client may ask for `scope`, given that somebody has defined it.
    pub fn may_request(&self, scope: &str) -> bool {
        FOR_EVERY_CLIENT.contains(&scope) || self.scope.contains(scope)
    }

    /// Whether PKCE is demanded of this client (RFC 9700 §2.1.1): of public and native ones always.
    pub fn must_use_pkce(&self) -> bool {
        self.client_type != ClientType::Confidential || self.require_pkce
    }

    /// Whether the client is registered for `grant_type`.
    pub fn may_use(&self, grant_type: GrantType) -> bool {
        self.grant_types.contains(&grant_type)
    }
}

macro_rules! wire_names {
    ($type:ident { $($variant:ident => $name:literal),+ $(,)? }) => {
        impl $type {
            /// Every value there is.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The name on the wire and in the database.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// Reads a name.
            pub fn parse(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.as_str() == name)
            }
        }
    };
}

wire_names!(ClientType { Confidential => "confidential", Public => "public", Native => "native" });
wire_names!(TokenEndpointAuthMethod {
    ClientSecretBasic => "client_secret_basic",
    ClientSecretPost => "client_secret_post",
    None => "none",
});
wire_names!(GrantType { AuthorizationCode => "authorization_code", RefreshToken => "refresh_token" });
