//! The authorization request: from parameters to a typed request, and the way back to the client
//! (RFC 6749 §4.1.1, §4.1.2; OpenID Connect Core §3.1.2; RFC 9207).

use serde::{Deserialize, Serialize};

use super::claims::ClaimsRequest;
use super::client::Client;
use super::ids::{ClientId, UserId};
use super::params::Params;
use super::pkce::CodeChallenge;
use super::prompt::Prompt;
use super::scope::ScopeSet;

/// Error codes of OAuth 2.0 and OpenID Connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OAuthErrorCode {
    // RFC 6749 §4.1.2.1, §5.2
    InvalidRequest,
    InvalidClient,
    InvalidGrant,
    UnauthorizedClient,
    UnsupportedGrantType,
    InvalidScope,
    AccessDenied,
    UnsupportedResponseType,
    ServerError,
    TemporarilyUnavailable,
    // OpenID Connect Core §3.1.2.6
    InteractionRequired,
    LoginRequired,
    AccountSelectionRequired,
    ConsentRequired,
    InvalidRequestObject,
    RequestNotSupported,
    RequestUriNotSupported,
    RegistrationNotSupported,
}

/// A request that is refused: a code of the specification and our own words, never the caller's input. The words are
/// printable ASCII without quotes and backslashes (RFC 6749 §4.1.2.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OAuthRefusal {
    pub code: OAuthErrorCode,
    pub description: std::borrow::Cow<'static, str>,
}

/// How the response travels to the client (OAuth 2.0 Multiple Response Types §2.1, Form Post Response Mode).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResponseMode {
    #[default]
    Query,
    FormPost,
}

/// A destination that may be answered: made only from a redirect URI that is registered for the client. Every redirect to a
/// client, with a code or with an error, leaves through it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Callback {
    redirect_uri: String,
    response_mode: ResponseMode,
    state: Option<String>,
    issuer: String,
}

/// What goes back to the client: where to, how, and the parameters in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorizationResponse {
    pub redirect_uri: String,
    pub response_mode: ResponseMode,
    pub params: Vec<(&'static str, String)>,
}

/// What the deployment allows, beside the client's registration.
pub struct Policy<'a> {
    pub issuer: &'a str,
    /// All scopes that anybody defined: the standard ones and those of the configuration.
    pub defined_scopes: &'a ScopeSet,
}

/// An authorization request that has passed every check that needs no person.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AuthorizationRequest {
    pub client_id: ClientId,
    pub callback: Callback,
    /// What can be granted: defined, and allowed for the client.
    pub scope: ScopeSet,
    pub prompt: Prompt,
    pub max_age_secs: Option<u64>,
    pub nonce: Option<String>,
    pub code_challenge: Option<CodeChallenge>,
    pub login_hint: Option<String>,
    /// The raw hint; the endpoint verifies it with our own keys and puts the result into `hint_subject`.
    pub id_token_hint: Option<String>,
    pub hint_subject: Option<UserId>,
    pub acr_values: Vec<String>,
    pub ui_locales: Option<String>,
    pub claims: Option<ClaimsRequest>,
    /// When it arrived, seconds since the epoch: `max_age` is judged against this, once.
    pub received_at: i64,
}

impl OAuthRefusal {
    /// A refusal with its words.
    pub const fn new(code: OAuthErrorCode, description: &'static str) -> Self {
        Self {
            code,
            description: std::borrow::Cow::Borrowed(description),
        }
    }
}

impl OAuthErrorCode {
    /// The code on the wire.
    pub fn as_str(self) -> &'static str {
        todo!()
    }
}

impl Callback {
    /// The only way to a callback: `redirect_uri` is required and must be registered for `client`; `response_mode` and
    /// `state` are read leniently, because an error has to travel somewhere (a bad `response_mode` travels by query).
    pub fn trust(client: &Client, params: &Params, issuer: &str) -> Result<Self, OAuthRefusal> {
        let _ = (client, params, issuer);
        todo!()
    }

    /// The registered redirect URI that this response goes to.
    pub fn redirect_uri(&self) -> &str {
        &self.redirect_uri
    }

    /// The answer that carries a code, with `state` and `iss`.
    pub fn code(&self, code: &str) -> AuthorizationResponse {
        let _ = code;
        todo!()
    }

    /// The answer that carries an error, with `error_description`, `state` and `iss`.
    pub fn error(&self, refusal: &OAuthRefusal) -> AuthorizationResponse {
        let _ = refusal;
        todo!()
    }
}

impl AuthorizationResponse {
    /// The `Location` of a query response: the registered URI with the parameters appended to its own query.
    pub fn location(&self) -> String {
        todo!()
    }
}

impl AuthorizationRequest {
    /// Every check that needs no person, in this order, once `params` are those of the request object where one was sent
    /// and `callback` is trusted. Errors leave by `callback.error`.
    pub fn parse(
        params: &Params,
        callback: Callback,
        client: &Client,
        policy: &Policy<'_>,
        received_at: i64,
    ) -> Result<Self, OAuthRefusal> {
        let _ = (params, callback, client, policy, received_at);
        todo!()
    }
}
