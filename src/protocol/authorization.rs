//! The authorization request: from parameters to a typed request, and the way back to the client
//! (RFC 6749 §4.1.1, §4.1.2; OpenID Connect Core §3.1.2; RFC 9207).

#[cfg(test)]
mod tests;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};

use super::claims::ClaimsRequest;
use super::client::{Client, GrantType};
use super::ids::{ClientId, UserId};
use super::params::Params;
use super::pkce::CodeChallenge;
use super::prompt::{InvalidPrompt, Prompt};
use super::redirect_uri;
use super::scope::ScopeSet;

/// The parameters of an authorization request that mean something here. None of them may be sent twice; others are ignored
/// (OpenID Connect Core §3.1.2.1).
pub const PARAMETERS: [&str; 21] = [
    "client_id",
    "redirect_uri",
    "response_type",
    "response_mode",
    "scope",
    "state",
    "nonce",
    "prompt",
    "max_age",
    "code_challenge",
    "code_challenge_method",
    "claims",
    "display",
    "acr_values",
    "ui_locales",
    "claims_locales",
    "login_hint",
    "id_token_hint",
    "request",
    "request_uri",
    "registration",
];

/// `state` comes back in a URL, so it has to fit into one.
pub const MAX_STATE_BYTES: usize = 4096;
/// The nonce comes back in the ID token.
pub const MAX_NONCE_BYTES: usize = 4096;
const MAX_CLAIMS_BYTES: usize = 8192;
const MAX_HINT_BYTES: usize = 512;
/// 2^31 seconds, 68 years.
const MAX_MAX_AGE_SECS: u64 = 1 << 31;

/// All but the unreserved characters of RFC 3986 §2.3.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

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

    /// `invalid_request`.
    pub const fn invalid_request(description: &'static str) -> Self {
        Self::new(OAuthErrorCode::InvalidRequest, description)
    }

    /// `invalid_grant`.
    pub const fn invalid_grant(description: &'static str) -> Self {
        Self::new(OAuthErrorCode::InvalidGrant, description)
    }

    /// `invalid_scope`.
    pub const fn invalid_scope(description: &'static str) -> Self {
        Self::new(OAuthErrorCode::InvalidScope, description)
    }

    /// `invalid_request` about a parameter. `name` is one of our own words, never the caller's.
    pub(super) fn invalid_request_about(name: &str, fault: &'static str) -> Self {
        Self {
            code: OAuthErrorCode::InvalidRequest,
            description: format!("{name} {fault}").into(),
        }
    }
}

impl OAuthErrorCode {
    /// The code on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidClient => "invalid_client",
            Self::InvalidGrant => "invalid_grant",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::InvalidScope => "invalid_scope",
            Self::AccessDenied => "access_denied",
            Self::UnsupportedResponseType => "unsupported_response_type",
            Self::ServerError => "server_error",
            Self::TemporarilyUnavailable => "temporarily_unavailable",
            Self::InteractionRequired => "interaction_required",
            Self::LoginRequired => "login_required",
            Self::AccountSelectionRequired => "account_selection_required",
            Self::ConsentRequired => "consent_required",
            Self::InvalidRequestObject => "invalid_request_object",
            Self::RequestNotSupported => "request_not_supported",
            Self::RequestUriNotSupported => "request_uri_not_supported",
            Self::RegistrationNotSupported => "registration_not_supported",
        }
    }
}

impl Callback {
    /// The only way to a callback: `redirect_uri` is required and must be registered for `client`; `response_mode` and
    /// `state` are read leniently, because an error has to travel somewhere (a bad `response_mode` travels by query, a bad
    /// `state` not at all; [`AuthorizationRequest::parse`] refuses both).
    pub fn trust(client: &Client, params: &Params, issuer: &str) -> Result<Self, OAuthRefusal> {
        let redirect_uri = params
            .get("redirect_uri")?
            .ok_or(OAuthRefusal::invalid_request("redirect_uri is missing"))?;
        if client.disabled {
            return Err(OAuthRefusal::new(
                OAuthErrorCode::UnauthorizedClient,
                "the client is disabled",
            ));
        }
        if !redirect_uri::is_registered(redirect_uri, &client.redirect_uris, client.client_type) {
            return Err(OAuthRefusal::invalid_request(
                "redirect_uri is not registered for this client",
            ));
        }
        let response_mode = match params.get("response_mode") {
            Ok(Some("form_post")) => ResponseMode::FormPost,
            _ => ResponseMode::Query,
        };
        let state = params.get("state").ok().flatten();
        Ok(Self {
            redirect_uri: redirect_uri.to_owned(),
            response_mode,
            state: state
                .filter(|state| state.len() <= MAX_STATE_BYTES)
                .map(str::to_owned),
            issuer: issuer.to_owned(),
        })
    }

    /// Whether a callback that was trusted when the request arrived may still be answered: the registration can have changed
    /// while a person was signing in. Where it may not, there is no redirect at all.
    pub fn is_still_trusted(&self, client: &Client) -> bool {
        !client.disabled
            && redirect_uri::is_registered(&self.redirect_uri, &client.redirect_uris, client.client_type)
    }

    /// The registered redirect URI that this response goes to.
    pub fn redirect_uri(&self) -> &str {
        &self.redirect_uri
    }

    /// The answer that carries a code, with `state` and `iss`.
    pub fn code(&self, code: &str) -> AuthorizationResponse {
        self.response(vec![("code", code.to_owned())])
    }

    /// The answer that carries an error, with `error_description`, `state` and `iss`.
    pub fn error(&self, refusal: &OAuthRefusal) -> AuthorizationResponse {
        self.response(vec![
            ("error", refusal.code.as_str().to_owned()),
            ("error_description", refusal.description.clone().into_owned()),
        ])
    }

    fn response(&self, mut params: Vec<(&'static str, String)>) -> AuthorizationResponse {
        params.extend(self.state.clone().map(|state| ("state", state)));
        params.push(("iss", self.issuer.clone())); // RFC 9207 §2
        AuthorizationResponse {
            redirect_uri: self.redirect_uri.clone(),
            response_mode: self.response_mode,
            params,
        }
    }
}

impl AuthorizationResponse {
    /// The `Location` of a query response: the registered URI with the parameters appended to its own query
    /// (RFC 6749 §3.1.2).
    ///
    /// Everything outside the unreserved characters is percent-encoded, the space too, so that readers of forms and readers
    /// of URIs find the same value, and no value can end the parameter or the header.
    pub fn location(&self) -> String {
        with_params(&self.redirect_uri, &self.params)
    }
}

/// `uri` with parameters behind whatever query it has.
pub(super) fn with_params(uri: &str, params: &[(&'static str, String)]) -> String {
    let mut location = uri.to_owned();
    let mut separator = match location.split_once('?') {
        None => "?",
        Some((_, query)) if query.is_empty() || query.ends_with('&') => "",
        Some(_) => "&",
    };
    for (name, value) in params {
        location.push_str(separator);
        location.push_str(name);
        location.push('=');
        location.extend(utf8_percent_encode(value, ENCODED));
        separator = "&";
    }
    location
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
        params.refuse_repeated(&PARAMETERS)?; // RFC 6749 §3.1
        refuse_long(params, "state", MAX_STATE_BYTES)?;
        require_code_response_type(params)?;
        require_known_response_mode(params)?;
        require_code_grant(client)?;
        let prompt = parse_prompt(params)?;
        let max_age_secs = parse_max_age(params)?;
        let scope = grantable_scope(params, client, policy)?;
        let code_challenge = CodeChallenge::parse(
            params.get("code_challenge")?,
            params.get("code_challenge_method")?,
            client.must_use_pkce(),
        )?;
        refuse_long(params, "nonce", MAX_NONCE_BYTES)?;
        let claims = parse_claims(params, client)?;
        let hint_subject = required_subject(claims.as_ref())?;
        Ok(Self {
            client_id: client.client_id.clone(),
            callback,
            scope,
            prompt,
            max_age_secs,
            nonce: params.get("nonce")?.map(str::to_owned),
            code_challenge,
            login_hint: short_hint(params, "login_hint")?,
            id_token_hint: params.get("id_token_hint")?.map(str::to_owned),
            hint_subject,
            acr_values: list(params.get("acr_values")?),
            ui_locales: short_hint(params, "ui_locales")?,
            claims,
            received_at,
        })
    }

    /// Judges a stored request again by the registration as it is now, before it is gone on with: a client that has lost a
    /// scope, the grant, or its freedom from PKCE meanwhile gets no code.
    pub fn require_still_allowed(&self, client: &Client) -> Result<(), OAuthRefusal> {
        require_code_grant(client)?;
        require_allowed(&self.scope, client)?;
        if client.must_use_pkce() && self.code_challenge.is_none() {
            return Err(OAuthRefusal::invalid_request(
                "this client has to use PKCE by now; start again",
            ));
        }
        Ok(())
    }

    /// What a person has to agree to before this request is answered: the scope, and the scopes whose claims the `claims`
    /// parameter asks for one by one. Without the latter, an app could ask for `openid` alone and read the address.
    pub fn consent_scope(&self) -> ScopeSet {
        let asked = self.claims.iter().flat_map(ClaimsRequest::scopes);
        asked.fold(self.scope.clone(), |mut scope, token| {
            scope.insert(token);
            scope
        })
    }
}

/// RFC 6749 §3.1.1, §4.1.2.1. Some libraries ask for the implicit flow by default, so the words name the way out.
fn require_code_response_type(params: &Params) -> Result<(), OAuthRefusal> {
    match params.get("response_type")? {
        Some("code") => Ok(()),
        Some(_) => Err(OAuthRefusal::new(
            OAuthErrorCode::UnsupportedResponseType,
            "only response_type=code is offered",
        )),
        None => Err(OAuthRefusal::invalid_request(
            "response_type is missing; only response_type=code is offered",
        )),
    }
}

fn require_known_response_mode(params: &Params) -> Result<(), OAuthRefusal> {
    match params.get("response_mode")? {
        None | Some("query" | "form_post") => Ok(()),
        Some(_) => Err(OAuthRefusal::invalid_request(
            "response_mode has to be query or form_post",
        )),
    }
}

fn require_code_grant(client: &Client) -> Result<(), OAuthRefusal> {
    if client.may_use(GrantType::AuthorizationCode) {
        return Ok(());
    }
    Err(OAuthRefusal::new(
        OAuthErrorCode::UnauthorizedClient,
        "this client is not registered for the grant type authorization_code",
    ))
}

fn parse_prompt(params: &Params) -> Result<Prompt, OAuthRefusal> {
    Prompt::parse(params.get("prompt")?).map_err(|invalid| {
        OAuthRefusal::invalid_request(match invalid {
            InvalidPrompt::Unknown => "prompt has a value that is not supported",
            InvalidPrompt::NoneWithOther => "prompt=none cannot be combined with another value",
        })
    })
}

/// OpenID Connect Core §3.1.2.1: seconds, a non-negative integer.
fn parse_max_age(params: &Params) -> Result<Option<u64>, OAuthRefusal> {
    let Some(text) = params.get("max_age")? else {
        return Ok(None);
    };
    let digits_only = text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(secs) if digits_only && secs <= MAX_MAX_AGE_SECS => Ok(Some(secs)),
        _ => Err(OAuthRefusal::invalid_request(
            "max_age has to be a number of seconds from 0 to 2147483648",
        )),
    }
}

/// What is defined and allowed. A scope that nobody defined is ignored (OpenID Connect Core §3.1.2.1); one that this client
/// may not have is an error, because its developer would otherwise look for the missing claims elsewhere.
fn grantable_scope(params: &Params, client: &Client, policy: &Policy<'_>) -> Result<ScopeSet, OAuthRefusal> {
    let requested = ScopeSet::parse(params.get("scope")?.unwrap_or_default()).map_err(|_| {
        OAuthRefusal::invalid_scope("scope has to be at most 50 scope tokens separated by single spaces")
    })?;
    let defined = requested.filtered(|token| policy.defined_scopes.contains(token));
    if defined.is_empty() {
        return Err(OAuthRefusal::invalid_scope(
            "scope names nothing that is offered here",
        ));
    }
    require_allowed(&defined, client)?;
    Ok(defined)
}

fn require_allowed(scope: &ScopeSet, client: &Client) -> Result<(), OAuthRefusal> {
    if scope.iter().all(|token| client.may_request(token)) {
        return Ok(());
    }
    Err(OAuthRefusal::invalid_scope(
        "scope names one that this client is not registered for",
    ))
}

/// OpenID Connect Core §5.5, without the claims that the client may not have.
fn parse_claims(params: &Params, client: &Client) -> Result<Option<ClaimsRequest>, OAuthRefusal> {
    refuse_long(params, "claims", MAX_CLAIMS_BYTES)?;
    let claims = params.get("claims")?.map(ClaimsRequest::parse).transpose()?;
    Ok(claims
        .map(|claims| claims.limited_to(client))
        .filter(|claims| *claims != ClaimsRequest::default()))
}

/// OpenID Connect Core §3.1.2.2: with a `sub` asked for by value, only that person may be answered with a code.
fn required_subject(claims: Option<&ClaimsRequest>) -> Result<Option<UserId>, OAuthRefusal> {
    let Some(value) = claims.and_then(ClaimsRequest::subject) else {
        return Ok(None);
    };
    value.parse().map(Some).map_err(|_| {
        OAuthRefusal::new(
            OAuthErrorCode::LoginRequired,
            "claims asks for a sub that is nobody here",
        )
    })
}

/// A value that only makes life easier: one that is too long or has control characters is ignored, nobody is kept from
/// signing in by it.
fn short_hint(params: &Params, name: &str) -> Result<Option<String>, OAuthRefusal> {
    let hint = params.get(name)?;
    Ok(hint
        .filter(|hint| hint.len() <= MAX_HINT_BYTES && !hint.contains(char::is_control))
        .map(str::to_owned))
}

fn refuse_long(params: &Params, name: &'static str, max_bytes: usize) -> Result<(), OAuthRefusal> {
    match params.get(name)? {
        Some(value) if value.len() > max_bytes => {
            Err(OAuthRefusal::invalid_request_about(name, "is too long"))
        }
        _ => Ok(()),
    }
}

/// A list separated by spaces.
fn list(text: Option<&str>) -> Vec<String> {
    let words = text.unwrap_or_default().split(' ');
    words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
}
