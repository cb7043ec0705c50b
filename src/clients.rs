//! Registration of clients: one set of rules for the command line and the admin API.
//!
//! | file | what |
//! | --- | --- |
//! | here | what may be registered |
//! | [`changes`] | registrations and changes as JSON |
//! | [`operations`] | what is done to registrations, with its event and its entry in the trail |
//! | [`view`] | a registration as it is shown |

use aws_lc_rs::rand::SecureRandom;
use url::Url;

use crate::config::Config;
use crate::config::finding::Finding;
use crate::outbound;
use crate::protocol::algorithm::SigningAlgorithm;
use crate::protocol::client::{Client, ClientSecret, ClientType, GrantType, TokenEndpointAuthMethod};
use crate::protocol::ids::ClientId;
use crate::protocol::opaque::Opaque;
use crate::protocol::redirect_uri::{self, MAX_REDIRECT_URIS};
use crate::protocol::request_object;
use crate::protocol::scope::{FOR_EVERY_CLIENT, ScopeSet, is_scope_token};

pub mod changes;
pub mod operations;
pub mod view;

pub use changes::{ClientChanges, ClientRegistration};
pub use view::ClientView;

/// A name is shown to people on one line.
const MAX_NAME_CHARS: usize = 100;
/// An audience travels in every access token.
const MAX_AUDIENCE_BYTES: usize = 255;
/// A set of request-object keys is loaded with the client.
const MAX_JWKS_BYTES: usize = 64 * 1024;
/// As the table's constraint has it.
const MAX_REFRESH_REUSE_LEEWAY_SECS: u32 = 300;

/// A registration as it is asked for.
#[derive(Clone, Debug)]
pub struct NewClient {
    pub name: String,
    pub client_type: ClientType,
    pub redirect_uris: Vec<String>,
    pub post_logout_redirect_uris: Vec<String>,
    pub backchannel_logout_uri: Option<String>,
    pub backchannel_logout_session_required: bool,
    /// Beyond `openid profile email`, which may be named and change nothing.
    pub scopes: Vec<String>,
    pub grant_types: Vec<GrantType>,
    pub auto_approve: bool,
    pub require_pkce: bool,
    pub token_endpoint_auth_method: Option<TokenEndpointAuthMethod>,
    pub id_token_signed_response_alg: Option<SigningAlgorithm>,
    pub claims_in_id_token: bool,
    pub audience: Option<String>,
    pub request_object_jwks: Option<serde_json::Value>,
    pub refresh_reuse_leeway_secs: Option<u32>,
}

impl Default for NewClient {
    fn default() -> Self {
        Self {
            name: String::new(),
            client_type: ClientType::Confidential,
            redirect_uris: Vec::new(),
            post_logout_redirect_uris: Vec::new(),
            backchannel_logout_uri: None,
            backchannel_logout_session_required: false,
            scopes: Vec::new(),
            grant_types: vec![GrantType::AuthorizationCode, GrantType::RefreshToken],
            auto_approve: false,
            require_pkce: true,
            token_endpoint_auth_method: None,
            id_token_signed_response_alg: None,
            claims_in_id_token: false,
            audience: None,
            request_object_jwks: None,
            refresh_reuse_leeway_secs: None,
        }
    }
}

/// A client that is ready to be stored, and its secret, to be shown once.
#[derive(Debug)]
pub struct Registration {
    pub client: Client,
    /// `None` for public and native clients.
    pub secret: Option<Opaque>,
}

/// Applies every rule and reports all that are broken; the findings' keys are the fields' names.
///
/// The client has no id and no secret yet: [`register`] gives it both.
pub fn validate(new: &NewClient, config: &Config) -> Result<Client, Vec<Finding>> {
    let mut findings = Vec::new();
    check_texts(new, config, &mut findings);
    check_uris(new, config.issuer_is_loopback_http(), &mut findings);
    check_backchannel_logout(new, config, &mut findings);
    check_scopes(new, config, &mut findings);
    check_authentication(new, config, &mut findings);
    check_request_object_jwks(new, &mut findings);
    if !findings.is_empty() {
        return Err(findings);
    }
    let mut scope = ScopeSet::default();
    new.scopes
        .iter()
        .filter(|name| !FOR_EVERY_CLIENT.contains(&name.as_str()))
        .for_each(|name| scope.insert(name));
    let confidential = new.client_type == ClientType::Confidential;
    Ok(Client {
        client_id: ClientId(String::new()),
        name: new.name.trim().to_owned(),
        client_type: new.client_type,
        secrets: Vec::new(),
        redirect_uris: new.redirect_uris.clone(),
        post_logout_redirect_uris: new.post_logout_redirect_uris.clone(),
        backchannel_logout_uri: new.backchannel_logout_uri.clone(),
        backchannel_logout_session_required: new.backchannel_logout_session_required,
        scope,
        // Each once, in one order.
        grant_types: GrantType::ALL
            .iter()
            .copied()
            .filter(|grant| new.grant_types.contains(grant))
            .collect(),
        auto_approve: new.auto_approve,
        require_pkce: new.require_pkce,
        token_endpoint_auth_method: if confidential {
            new.token_endpoint_auth_method
        } else {
            Some(TokenEndpointAuthMethod::None)
        },
        id_token_signed_response_alg: new.id_token_signed_response_alg,
        claims_in_id_token: new.claims_in_id_token,
        audience: new.audience.clone(),
        request_object_jwks: new.request_object_jwks.clone(),
        refresh_reuse_leeway_secs: new.refresh_reuse_leeway_secs,
        disabled: false,
        generation: 0,
    })
}

/// [`validate`], then an id of its own and, for a confidential client, a secret.
pub fn register(
    new: &NewClient,
    config: &Config,
    rng: &dyn SecureRandom,
) -> Result<Registration, Vec<Finding>> {
    let mut client = validate(new, config)?;
    client.client_id = new_client_id(rng);
    let secret = (client.client_type == ClientType::Confidential).then(|| Opaque::generate(rng));
    client.secrets = secret
        .iter()
        .map(|secret| ClientSecret {
            hash: secret.hash(),
            expires_at: None,
        })
        .collect();
    Ok(Registration { client, secret })
}

/// 22 letters and digits (131 bits). No other characters, so that no form or header encoding of a library changes it
/// (RFC 6749 §2.3.1 form-encodes it before Basic, and some libraries do not).
fn new_client_id(rng: &dyn SecureRandom) -> ClientId {
    const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    const LENGTH: usize = 22;
    let mut id = String::with_capacity(LENGTH);
    while id.len() < LENGTH {
        let mut bytes = [0; 32];
        rng.fill(&mut bytes)
            .expect("the system's random source does not fail once it works");
        // 248 is the last multiple of 62: without the bytes above it, every character is equally likely.
        let fair = bytes.iter().filter(|byte| **byte < 248);
        id.extend(
            fair.map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()]))
                .take(LENGTH - id.len()),
        );
    }
    ClientId(id)
}

fn check_texts(new: &NewClient, config: &Config, findings: &mut Vec<Finding>) {
    let name = new.name.trim();
    if name.is_empty() || name.chars().count() > MAX_NAME_CHARS || name.chars().any(misleads) {
        findings.push(Finding::error(
            "name",
            format!(
                "the name is not 1 to {MAX_NAME_CHARS} characters without line breaks, marks of direction and other controls"
            ),
            "write what people know the app by",
        ));
    }
    if let Some(audience) = &new.audience {
        let printable = |byte: u8| byte.is_ascii_graphic();
        if audience.is_empty() || audience.len() > MAX_AUDIENCE_BYTES || !audience.bytes().all(printable) {
            findings.push(Finding::error(
                "audience",
                format!(
                    "the audience is not 1 to {MAX_AUDIENCE_BYTES} printable ASCII characters without spaces"
                ),
                "write the resource server's name, usually its URL",
            ));
        }
        if audience == config.issuer() {
            findings.push(Finding::error(
                "audience",
                "the issuer itself is the audience of browser sessions",
                "write the resource server's name, so that an access token cannot pass for a session",
            ));
        }
    }
    if new
        .refresh_reuse_leeway_secs
        .is_some_and(|secs| secs > MAX_REFRESH_REUSE_LEEWAY_SECS)
    {
        findings.push(Finding::error(
            "refresh_reuse_leeway_secs",
            format!("the leeway is above {MAX_REFRESH_REUSE_LEEWAY_SECS} seconds"),
            "write a smaller number; 0 is strict",
        ));
    }
}

/// Controls, and marks that turn or hide the text beside them: a page must show a name as it was given.
pub fn misleads(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn check_uris(new: &NewClient, issuer_is_loopback: bool, findings: &mut Vec<Finding>) {
    if new.redirect_uris.is_empty() {
        findings.push(Finding::error(
            "redirect_uris",
            "there is no redirect URI",
            "name at least one",
        ));
    }
    let lists = [
        ("redirect_uris", &new.redirect_uris),
        ("post_logout_redirect_uris", &new.post_logout_redirect_uris),
    ];
    for (field, uris) in lists {
        if uris.len() > MAX_REDIRECT_URIS {
            findings.push(Finding::error(
                field,
                format!("there are more than {MAX_REDIRECT_URIS}"),
                "register fewer",
            ));
        }
        for (index, uri) in uris.iter().enumerate() {
            let judged = if field == "redirect_uris" {
                redirect_uri::validate_registration(uri, new.client_type, issuer_is_loopback)
            } else {
                redirect_uri::validate_post_logout_registration(uri, new.client_type, issuer_is_loopback)
            };
            let key = format!("{field}[{index}]");
            if let Err(refused) = judged {
                findings.push(Finding::error(key, refused.0, "register another URI"));
            } else if uris[..index].contains(uri) {
                findings.push(Finding::error(key, "the URI is named twice", "name it once"));
            }
        }
    }
    // RFC 8252 §8.6, RFC 6749 §10.2: whoever can claim the redirect would get codes without anybody being asked.
    if new.auto_approve && !redirect_uri::auto_approve_is_provable(&new.redirect_uris, issuer_is_loopback) {
        findings.push(Finding::error(
            "auto_approve",
            "any program on the device could pose as a client with loopback or private-use-scheme redirects",
            "leave auto_approve out, or register https redirects alone",
        ));
    }
}

/// A URI that this server itself will ask: judged as a webhook's is, except in development, where apps are on loopback, too.
/// Which addresses a name leads to is judged again at each connection.
fn check_backchannel_logout(new: &NewClient, config: &Config, findings: &mut Vec<Finding>) {
    const FIELD: &str = "backchannel_logout_uri";
    let Some(uri) = &new.backchannel_logout_uri else {
        if new.backchannel_logout_session_required {
            findings.push(Finding::error(
                "backchannel_logout_session_required",
                "there is no back-channel logout URI to send a session to",
                "set backchannel_logout_uri, or leave this out",
            ));
        }
        return;
    };
    let issuer_is_loopback = config.issuer_is_loopback_http();
    if let Err(refused) = redirect_uri::validate_backchannel_logout_uri(uri, issuer_is_loopback) {
        findings.push(Finding::error(FIELD, refused.0, "register another URI"));
    } else if !issuer_is_loopback
        && let Ok(url) = Url::parse(uri)
        && let Err(refused) = outbound::check_url(&url, config.webhooks.policy())
    {
        findings.push(Finding::error(
            FIELD,
            refused.0,
            "name an https URL of a public host, on port 443 or from 1024 on",
        ));
    }
}

fn check_scopes(new: &NewClient, config: &Config, findings: &mut Vec<Finding>) {
    let defined = config.defined_scopes();
    for (index, scope) in new.scopes.iter().enumerate() {
        let key = format!("scopes[{index}]");
        if !is_scope_token(scope) {
            findings.push(Finding::error(
                key,
                "this is no scope name",
                "name one scope at a time, without spaces",
            ));
        } else if !defined.contains(scope) {
            findings.push(Finding::error(
                key,
                "nobody defined this scope",
                format!("add a table below `[scopes]` of the configuration, or name one of {defined}"),
            ));
        }
    }
    if !new.grant_types.contains(&GrantType::AuthorizationCode) {
        findings.push(Finding::error(
            "grant_types",
            "authorization_code is missing",
            "add it: every sign-in begins with a code",
        ));
    }
    if new.scopes.iter().any(|scope| scope == "offline_access")
        && !new.grant_types.contains(&GrantType::RefreshToken)
    {
        findings.push(Finding::error(
            "grant_types",
            "offline_access needs the grant refresh_token",
            "add refresh_token, or leave the scope out",
        ));
    }
}

fn check_authentication(new: &NewClient, config: &Config, findings: &mut Vec<Finding>) {
    let confidential = new.client_type == ClientType::Confidential;
    match new.token_endpoint_auth_method {
        Some(TokenEndpointAuthMethod::None) if confidential => findings.push(Finding::error(
            "token_endpoint_auth_method",
            "a confidential client proves itself by its secret",
            "leave it out, or register a public client",
        )),
        Some(TokenEndpointAuthMethod::ClientSecretBasic | TokenEndpointAuthMethod::ClientSecretPost)
            if !confidential =>
        {
            findings.push(Finding::error(
                "token_endpoint_auth_method",
                "only a confidential client has a secret",
                "leave it out, or register a confidential client",
            ));
        }
        _ => {}
    }
    if !new.require_pkce && !confidential {
        findings.push(Finding::error(
            "require_pkce",
            "PKCE is always required of public and native clients (RFC 9700 §2.1.1)",
            "leave it on, or register a confidential client",
        ));
    }
    if let Some(algorithm) = new.id_token_signed_response_alg
        && !config
            .jwt
            .key_list()
            .iter()
            .any(|key| key.algorithm == algorithm && key.private_key_path.is_some())
    {
        findings.push(Finding::error(
            "id_token_signed_response_alg",
            format!("no {algorithm} key is configured that could sign"),
            format!(
                "add one with `riley-auth generate-keys --algorithm {}`",
                algorithm.as_str().to_lowercase()
            ),
        ));
    }
}

fn check_request_object_jwks(new: &NewClient, findings: &mut Vec<Finding>) {
    let Some(jwks) = &new.request_object_jwks else {
        return;
    };
    if jwks.to_string().len() > MAX_JWKS_BYTES {
        findings.push(Finding::error(
            "request_object_jwks",
            "the JWK set is longer than 64 KiB",
            "register the keys that the app signs with, and no others",
        ));
    } else if let Err(problem) = request_object::validate_jwks(jwks) {
        findings.push(Finding::error(
            "request_object_jwks",
            problem,
            "write {\"keys\": […]} with the public RSA or P-256 keys; replace a private one, it has left its place",
        ));
    }
}
