//! The authorization request: from parameters to a typed request, and the way back to the client
//! (RFC 6749 §4.1.1, §4.1.2; OpenID Connect Core §3.1.2; RFC 9207).

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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use url::form_urlencoded;

    use super::super::client::ClientType;
    use super::super::fixtures::{
        CALLBACK, ISSUER, NOW, authorization_params, authorize, client, params, public_client, user,
    };
    use super::*;

    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

    fn refused(more: &[(&str, &str)]) -> OAuthErrorCode {
        authorize(&client(), more)
            .expect_err("the request is refused")
            .code
    }

    fn callback(more: &[(&str, &str)]) -> Callback {
        Callback::trust(&client(), &authorization_params(more), ISSUER).unwrap()
    }

    fn long(bytes: usize) -> String {
        "a".repeat(bytes)
    }

    // --- the way back -----------------------------------------------------------------------------------------------

    #[test]
    fn without_a_registered_redirect_uri_there_is_no_way_back() {
        for redirect_uri in ["", "https://app.example/cb/", "https://evil.example/cb"] {
            let params = authorization_params(&[("redirect_uri", redirect_uri)]);
            assert!(
                Callback::trust(&client(), &params, ISSUER).is_err(),
                "{redirect_uri}"
            );
        }
        let twice = params(&[("redirect_uri", CALLBACK), ("redirect_uri", CALLBACK)]);
        assert!(Callback::trust(&client(), &twice, ISSUER).is_err());
    }

    #[test]
    fn a_disabled_client_gets_no_answer_by_redirect() {
        let disabled = Client {
            disabled: true,
            ..client()
        };
        assert!(Callback::trust(&disabled, &authorization_params(&[]), ISSUER).is_err());
    }

    #[test]
    fn a_native_client_is_answered_at_the_port_it_listens_on() {
        let native = Client {
            client_type: ClientType::Native,
            redirect_uris: vec!["http://127.0.0.1/cb".to_owned()],
            ..client()
        };
        let params = authorization_params(&[("redirect_uri", "http://127.0.0.1:4711/cb")]);
        let callback = Callback::trust(&native, &params, ISSUER).unwrap();
        assert_eq!(callback.redirect_uri(), "http://127.0.0.1:4711/cb");
    }

    /// RFC 6749 §4.1.2, RFC 9207 §2.
    #[test]
    fn a_code_comes_with_state_and_issuer_in_this_order() {
        let response = callback(&[]).code("abc");
        let issuer = ISSUER.to_owned();
        assert_eq!(
            response.params,
            [
                ("code", "abc".to_owned()),
                ("state", "xyz".to_owned()),
                ("iss", issuer)
            ]
        );
        assert_eq!(
            response.location(),
            "https://app.example/cb?code=abc&state=xyz&iss=https%3A%2F%2Fauth.example"
        );
    }

    /// RFC 6749 §4.1.2.1.
    #[test]
    fn an_error_comes_with_description_state_and_issuer() {
        let refusal = OAuthRefusal::new(OAuthErrorCode::LoginRequired, "sign in");
        let names = |response: AuthorizationResponse| {
            response.params.iter().map(|(name, _)| *name).collect::<Vec<_>>()
        };
        assert_eq!(
            names(callback(&[]).error(&refusal)),
            ["error", "error_description", "state", "iss"]
        );
        assert_eq!(
            names(callback(&[("state", "")]).error(&refusal)),
            ["error", "error_description", "iss"]
        );
    }

    #[test]
    fn the_registered_query_is_kept() {
        let location = |redirect_uri: &str| {
            let response = AuthorizationResponse {
                redirect_uri: redirect_uri.to_owned(),
                response_mode: ResponseMode::Query,
                params: vec![("code", "abc".to_owned())],
            };
            response.location()
        };
        assert_eq!(
            location("https://a.example/?t=1"),
            "https://a.example/?t=1&code=abc"
        );
        assert_eq!(
            location("https://a.example/?t=1&"),
            "https://a.example/?t=1&code=abc"
        );
        assert_eq!(location("https://a.example/?"), "https://a.example/?code=abc");
        assert_eq!(location("com.example.app:/cb"), "com.example.app:/cb?code=abc");
    }

    #[test]
    fn a_state_that_is_too_long_or_doubled_is_refused_and_does_not_travel() {
        assert_eq!(
            authorize(&client(), &[("state", &long(4096))])
                .unwrap()
                .callback
                .state,
            Some(long(4096))
        );
        let too_long = long(4097);
        for more in [
            &[("state", too_long.as_str())][..],
            &[("state", "a"), ("state", "a")],
        ] {
            assert_eq!(refused(more), OAuthErrorCode::InvalidRequest);
            assert_eq!(callback(more).state, None);
        }
    }

    #[test]
    fn a_bad_response_mode_is_refused_by_query() {
        for more in [
            &[("response_mode", "fragment")][..],
            &[("response_mode", "form_post"), ("response_mode", "form_post")],
        ] {
            assert_eq!(callback(more).response_mode, ResponseMode::Query);
            assert_eq!(refused(more), OAuthErrorCode::InvalidRequest);
        }
        assert_eq!(
            callback(&[("response_mode", "form_post")]).response_mode,
            ResponseMode::FormPost
        );
    }

    #[test]
    fn a_callback_survives_storage() {
        let stored = serde_json::to_string(&authorize(&client(), &[("nonce", "n")]).unwrap()).unwrap();
        let request: AuthorizationRequest = serde_json::from_str(&stored).unwrap();
        assert_eq!(request.callback, callback(&[]));
    }

    // --- the request ------------------------------------------------------------------------------------------------

    #[test]
    fn a_plain_request_asks_for_nothing_special() {
        let request = authorize(
            &client(),
            &[("unknown", "1"), ("unknown", "2"), ("display", "hologram")],
        )
        .unwrap();
        assert_eq!(request.scope.to_string(), "openid");
        assert_eq!(request.prompt, Prompt::default());
        assert_eq!(
            (request.max_age_secs, request.nonce, request.received_at),
            (None, None, NOW)
        );
    }

    /// RFC 6749 §3.1.
    #[test]
    fn no_parameter_that_means_something_may_be_sent_twice() {
        for name in PARAMETERS {
            let twice = authorization_params(&[]).and(params(&[(name, "1"), (name, "1")]));
            let policy = Policy {
                issuer: ISSUER,
                defined_scopes: &ScopeSet::default(),
            };
            let refusal = AuthorizationRequest::parse(&twice, callback(&[]), &client(), &policy, NOW);
            assert_eq!(
                refusal.unwrap_err().code,
                OAuthErrorCode::InvalidRequest,
                "{name}"
            );
        }
    }

    #[test]
    fn only_the_code_flow_is_offered_and_the_refusal_says_so() {
        assert_eq!(refused(&[("response_type", "")]), OAuthErrorCode::InvalidRequest);
        for response_type in ["token", "id_token", "code id_token", "Code"] {
            let refusal = authorize(&client(), &[("response_type", response_type)]).unwrap_err();
            assert_eq!(refusal.code, OAuthErrorCode::UnsupportedResponseType);
            assert!(refusal.description.contains("only response_type=code is offered"));
        }
    }

    #[test]
    fn a_client_without_the_grant_is_unauthorized() {
        let other = Client {
            grant_types: vec![GrantType::RefreshToken],
            ..client()
        };
        let refusal = authorize(&other, &[]).unwrap_err();
        assert_eq!(refusal.code, OAuthErrorCode::UnauthorizedClient);
    }

    #[test]
    fn an_unknown_prompt_or_none_beside_another_is_refused() {
        for prompt in ["create", "none login", "LOGIN"] {
            assert_eq!(refused(&[("prompt", prompt)]), OAuthErrorCode::InvalidRequest);
        }
        assert!(
            authorize(&client(), &[("prompt", "login consent")])
                .unwrap()
                .prompt
                .login
        );
    }

    /// OpenID Connect Core §3.1.2.1.
    #[test]
    fn max_age_is_a_number_of_seconds() {
        for (text, secs) in [("0", 0), ("86400", 86400), ("2147483648", 1 << 31), ("007", 7)] {
            assert_eq!(
                authorize(&client(), &[("max_age", text)]).unwrap().max_age_secs,
                Some(secs)
            );
        }
        for text in [
            "-1",
            "+1",
            "1.5",
            "1e3",
            " 1",
            "abc",
            "2147483649",
            "99999999999999999999999",
        ] {
            assert_eq!(
                refused(&[("max_age", text)]),
                OAuthErrorCode::InvalidRequest,
                "{text}"
            );
        }
    }

    /// OpenID Connect Core §3.1.2.1; RFC 6749 §3.3.
    #[test]
    fn undefined_scopes_are_ignored_and_forbidden_ones_refused() {
        let scope =
            |text: &str| authorize(&client(), &[("scope", text)]).map(|request| request.scope.to_string());
        assert_eq!(scope("email nonsense openid api").unwrap(), "email openid api");
        for text in [
            "",
            "nonsense",
            "openid phone",
            "openid other",
            "openid  email",
            "open\"id",
        ] {
            assert_eq!(
                scope(text).unwrap_err().code,
                OAuthErrorCode::InvalidScope,
                "{text}"
            );
        }
    }

    /// RFC 7636 §4.4.1.
    #[test]
    fn pkce_is_demanded_of_public_clients_and_binds_whoever_sends_it() {
        let pkce = [("code_challenge", CHALLENGE), ("code_challenge_method", "S256")];
        assert!(
            authorize(&public_client(), &pkce)
                .unwrap()
                .code_challenge
                .is_some()
        );
        assert!(authorize(&client(), &pkce).unwrap().code_challenge.is_some());
        assert!(authorize(&client(), &[]).unwrap().code_challenge.is_none());
        let refusal = authorize(&public_client(), &[]).unwrap_err();
        assert_eq!(refusal.code, OAuthErrorCode::InvalidRequest);
        assert!(refusal.description.contains("code_challenge_method=S256"));
        assert_eq!(refused(&pkce[..1]), OAuthErrorCode::InvalidRequest);
        assert_eq!(refused(&pkce[1..]), OAuthErrorCode::InvalidRequest);
    }

    #[test]
    fn a_nonce_is_kept_as_it_is_up_to_4096_bytes() {
        let nonce = "-._~ +%\u{1f600}";
        assert_eq!(
            authorize(&client(), &[("nonce", nonce)])
                .unwrap()
                .nonce
                .as_deref(),
            Some(nonce)
        );
        assert_eq!(refused(&[("nonce", &long(4097))]), OAuthErrorCode::InvalidRequest);
    }

    #[test]
    fn hints_that_are_too_long_are_ignored() {
        let request = authorize(&client(), &[("login_hint", &long(513)), ("ui_locales", "de en")]).unwrap();
        assert_eq!(
            (request.login_hint, request.ui_locales.as_deref()),
            (None, Some("de en"))
        );
        let request = authorize(&client(), &[("login_hint", "a@b.example"), ("acr_values", "1 2")]).unwrap();
        assert_eq!(request.login_hint.as_deref(), Some("a@b.example"));
        assert_eq!(request.acr_values, ["1", "2"]);
    }

    /// OpenID Connect Core §5.5.
    #[test]
    fn claims_are_an_object_and_limited_to_what_the_client_may_have() {
        for claims in [
            "[]",
            "{",
            "1",
            r#"{"userinfo":1}"#,
            r#"{"userinfo":{"name":true}}"#,
        ] {
            assert_eq!(
                refused(&[("claims", claims)]),
                OAuthErrorCode::InvalidRequest,
                "{claims}"
            );
        }
        let claims = r#"{"userinfo":{"name":{"essential":true},"phone_number":null,"x":null},"id_token":{"email":null}}"#;
        let request = authorize(&client(), &[("claims", claims)]).unwrap();
        let kept = request.claims.as_ref().unwrap();
        assert_eq!(kept.userinfo.keys().collect::<Vec<_>>(), ["name"]);
        assert_eq!(kept.id_token.keys().collect::<Vec<_>>(), ["email"]);
        assert_eq!(request.consent_scope().to_string(), "openid profile email");
        assert_eq!(authorize(&client(), &[("claims", "{}")]).unwrap().claims, None);
    }

    /// OpenID Connect Core §3.1.2.2.
    #[test]
    fn a_sub_that_claims_ask_for_by_value_is_whom_the_request_is_about() {
        let claims = format!(r#"{{"id_token":{{"sub":{{"value":"{}"}}}}}}"#, user(3));
        assert_eq!(
            authorize(&client(), &[("claims", &claims)]).unwrap().hint_subject,
            Some(user(3))
        );
        let claims = r#"{"id_token":{"sub":{"value":"nobody"}}}"#;
        assert_eq!(refused(&[("claims", claims)]), OAuthErrorCode::LoginRequired);
    }

    #[test]
    fn a_stored_request_is_judged_again_by_the_registration_of_today() {
        let request = authorize(&client(), &[("scope", "openid api")]).unwrap();
        assert!(
            request.callback.is_still_trusted(&client()) && request.require_still_allowed(&client()).is_ok()
        );
        let moved = Client {
            redirect_uris: vec!["https://app.example/new".to_owned()],
            ..client()
        };
        let disabled = Client {
            disabled: true,
            ..client()
        };
        assert!(!request.callback.is_still_trusted(&moved) && !request.callback.is_still_trusted(&disabled));
        let without_scope = Client {
            scope: ScopeSet::default(),
            ..client()
        };
        let without_grant = Client {
            grant_types: Vec::new(),
            ..client()
        };
        for (client, code) in [
            (without_scope, OAuthErrorCode::InvalidScope),
            (without_grant, OAuthErrorCode::UnauthorizedClient),
            (public_client(), OAuthErrorCode::InvalidRequest),
        ] {
            assert_eq!(request.require_still_allowed(&client).unwrap_err().code, code);
        }
    }

    /// RFC 6749 §4.1.2.1: the characters of `error_description`.
    #[test]
    fn descriptions_are_printable_ascii_and_repeat_nothing() {
        let marker = "s3cret\"\\\u{e9}";
        for name in PARAMETERS
            .into_iter()
            .filter(|name| !matches!(*name, "client_id" | "redirect_uri"))
        {
            let Err(refusal) = authorize(&client(), &[(name, marker)]) else {
                continue;
            };
            assert!(!refusal.description.contains("s3cret"), "{name}");
            let admitted = |byte| matches!(byte, 0x20..=0x21 | 0x23..=0x5B | 0x5D..=0x7E);
            assert!(refusal.description.bytes().all(admitted), "{name}");
        }
    }

    #[test]
    fn error_codes_are_written_as_they_are_stored() {
        use OAuthErrorCode as Code;
        for code in [
            Code::InvalidRequest,
            Code::RequestUriNotSupported,
            Code::TemporarilyUnavailable,
        ] {
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
        }
    }

    proptest! {
        /// Whatever state holds, the client reads back exactly the parameters of the response, and nothing else.
        #[test]
        fn location_gives_back_exactly_the_parameters(state in "[^\\x00]{1,60}", query in "(\\?|\\?a=1|\\?a=1&)?") {
            let redirect_uri = format!("{CALLBACK}{query}");
            let own = Client { redirect_uris: vec![redirect_uri.clone()], ..client() };
            let params = params(&[("redirect_uri", &redirect_uri), ("state", &state)]);
            let response = Callback::trust(&own, &params, ISSUER).unwrap().code("abc");
            let location = response.location();
            prop_assert!(location.starts_with(&redirect_uri));
            prop_assert!(location.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#'));
            let (_, read) = location.split_once('?').unwrap();
            let mut expected = vec![("code", "abc".to_owned()), ("state", state), ("iss", ISSUER.to_owned())];
            if query.contains('a') {
                expected.insert(0, ("a", "1".to_owned()));
            }
            let read: Vec<_> = form_urlencoded::parse(read.as_bytes()).into_owned().collect();
            let expected: Vec<_> = expected.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            prop_assert_eq!(read, expected);
        }
    }
}
