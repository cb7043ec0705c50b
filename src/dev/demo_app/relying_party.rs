//! The demo app's side of OpenID Connect: discovery, the code flow, UserInfo, refresh, revocation.
//!
//! Nothing here knows more of the provider than its issuer, a client id and a secret.

use std::borrow::Cow;
use std::time::Duration;

use anyhow::Context as _;
use aws_lc_rs::rand::SystemRandom;
use reqwest::{RequestBuilder, Response, StatusCode, header};
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use url::{Url, form_urlencoded};

use super::DemoAppOptions;
use super::id_token::{self, Expected};
use super::logout_token::{self, LoggedOut};
use super::memory::Pending;
use crate::jwt::foreign::{ForeignAlgorithm, ForeignHeader, ForeignKeys};
use crate::protocol::opaque::Opaque;
use crate::protocol::pkce::CodeVerifier;

const TIMEOUT: Duration = Duration::from_secs(10);
/// The longest answer that is read.
const MAX_BODY_BYTES: usize = 1024 * 1024;

/// Why there are no tokens.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The provider said so, in the words of RFC 6749 §4.1.2.1 and §5.2.
    #[error("{error}: {description}")]
    Provider { error: String, description: String },
    /// The provider's answer is one that an app must not accept.
    #[error("{0}")]
    Refused(Cow<'static, str>),
    /// There was no answer that could be read.
    #[error("{0:#}")]
    Unreachable(#[from] anyhow::Error),
}

fn refused<T>(why: &'static str) -> Result<T, Failure> {
    Err(Failure::Refused(why.into()))
}

/// What an app needs of the discovery document (OpenID Connect Discovery 1.0 §3).
#[derive(Clone, Debug, Deserialize)]
pub struct ProviderMetadata {
    issuer: String,
    authorization_endpoint: Url,
    token_endpoint: Url,
    jwks_uri: Url,
    userinfo_endpoint: Option<Url>,
    revocation_endpoint: Option<Url>,
    end_session_endpoint: Option<Url>,
    id_token_signing_alg_values_supported: Vec<String>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

/// A sign-in on its way.
pub struct Started {
    pub authorization_url: String,
    pub state: String,
    pub nonce: String,
    pub code_verifier: CodeVerifier,
    pub metadata: ProviderMetadata,
}

/// The parameters of an authorization response; a name that appears twice makes it unusable (RFC 6749 §3.1).
#[derive(Debug, Default)]
pub struct CallbackParams {
    pub state: Option<String>,
    code: Option<String>,
    iss: Option<String>,
    error: Option<String>,
    error_description: Option<String>,
    repeated: bool,
}

impl CallbackParams {
    /// Reads the query of the redirect URI.
    pub fn parse(query: &str) -> Self {
        let mut params = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let field = match &*name {
                "state" => &mut params.state,
                "code" => &mut params.code,
                "iss" => &mut params.iss,
                "error" => &mut params.error,
                "error_description" => &mut params.error_description,
                _ => continue,
            };
            params.repeated |= field.replace(value.into_owned()).is_some();
        }
        params
    }
}

/// Somebody who is signed in, with everything the provider told.
#[derive(Clone, Debug)]
pub struct SignedIn {
    pub id_token: String,
    pub id_token_header: Value,
    pub id_token_claims: Map<String, Value>,
    pub access_token: String,
    pub refresh_token: Option<String>,
    /// The token response as it came.
    pub token_response: Map<String, Value>,
    pub userinfo: Option<Map<String, Value>>,
    /// How often the tokens were refreshed.
    pub refreshes: u32,
    metadata: ProviderMetadata,
}

/// One registered app.
pub struct RelyingParty {
    options: DemoAppOptions,
    redirect_uri: String,
    http: reqwest::Client,
}

impl RelyingParty {
    /// Fails only if no HTTP client can be made.
    pub fn new(options: DemoAppOptions) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()?;
        Ok(Self {
            redirect_uri: format!("{}/callback", options.base_url),
            options,
            http,
        })
    }

    pub fn issuer(&self) -> &str {
        &self.options.issuer
    }

    /// Makes an authorization request (OpenID Connect Core §3.1.2.1, RFC 7636 §4.3).
    pub async fn start(&self, prompt: Option<&str>) -> Result<Started, Failure> {
        let metadata = self.discover().await?;
        let rng = SystemRandom::new();
        let state = Opaque::generate(&rng).expose();
        let nonce = Opaque::generate(&rng).expose();
        let code_verifier = CodeVerifier::generate(&rng);
        let challenge = code_verifier.challenge();
        let mut url = metadata.authorization_endpoint.clone();
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.options.client_id)
            .append_pair("redirect_uri", &self.redirect_uri)
            .append_pair("scope", &self.options.scope)
            .append_pair("state", &state)
            .append_pair("nonce", &nonce)
            .append_pair("code_challenge", challenge.as_str())
            .append_pair("code_challenge_method", "S256")
            .extend_pairs(prompt.map(|prompt| ("prompt", prompt)));
        Ok(Started {
            authorization_url: url.into(),
            state,
            nonce,
            code_verifier,
            metadata,
        })
    }

    /// Judges the authorization response and redeems its code (OpenID Connect Core §3.1.2.7, §3.1.3, §5.3).
    pub(super) async fn finish(
        &self,
        params: &CallbackParams,
        pending: &Pending,
    ) -> Result<SignedIn, Failure> {
        let metadata = &pending.metadata;
        if params.repeated {
            return refused("a parameter of the answer appears twice");
        }
        // RFC 9207 §2.4, before anything else of the answer is believed, errors included.
        match params.iss.as_deref() {
            Some(iss) if iss != metadata.issuer => {
                return refused("the answer comes from another issuer (iss)");
            }
            None if metadata.authorization_response_iss_parameter_supported => {
                return refused("the answer does not say which issuer it comes from (iss)");
            }
            _ => {}
        }
        if let Some(error) = &params.error {
            return Err(Failure::Provider {
                error: error.clone(),
                description: params.error_description.clone().unwrap_or_default(),
            });
        }
        let Some(code) = &params.code else {
            return refused("the answer holds neither a code nor an error");
        };
        let response = self
            .token_request(
                metadata,
                &[
                    ("grant_type", "authorization_code"),
                    ("code", code),
                    ("redirect_uri", &self.redirect_uri),
                    ("code_verifier", pending.code_verifier.expose()),
                ],
            )
            .await?;
        self.accept(metadata, response, Some(&pending.nonce), None).await
    }

    /// New tokens for the refresh token (RFC 6749 §6, OpenID Connect Core §12).
    pub async fn refresh(&self, known: &SignedIn) -> Result<SignedIn, Failure> {
        let Some(refresh_token) = &known.refresh_token else {
            return refused("the provider gave no refresh token");
        };
        let params = [("grant_type", "refresh_token"), ("refresh_token", refresh_token)];
        let response = self.token_request(&known.metadata, &params).await?;
        self.accept(&known.metadata, response, None, Some(known)).await
    }

    /// Revokes the tokens (RFC 7009) and returns where the provider's own session is ended, if the provider says where
    /// (OpenID Connect RP-Initiated Logout 1.0 §2).
    pub async fn sign_out(&self, known: &SignedIn) -> Option<String> {
        if let Some(endpoint) = &known.metadata.revocation_endpoint {
            let tokens = [
                ("refresh_token", known.refresh_token.as_deref()),
                ("access_token", Some(known.access_token.as_str())),
            ];
            for (hint, token) in tokens {
                let Some(token) = token else { continue };
                let request = self
                    .http
                    .post(endpoint.clone())
                    .form(&[("token", token), ("token_type_hint", hint)]);
                // The person is signed out here whatever the provider answers.
                match self.authenticated(request).send().await {
                    Ok(response) if response.status().is_success() => {}
                    Ok(response) => {
                        tracing::warn!(status = response.status().as_u16(), "a token was not revoked");
                    }
                    Err(_) => tracing::warn!("the revocation endpoint cannot be reached"),
                }
            }
        }
        let mut url = known.metadata.end_session_endpoint.clone()?;
        url.query_pairs_mut()
            .append_pair("id_token_hint", &known.id_token)
            .append_pair("client_id", &self.options.client_id)
            .append_pair("post_logout_redirect_uri", &format!("{}/", self.options.base_url));
        Some(url.into())
    }

    async fn discover(&self) -> Result<ProviderMetadata, Failure> {
        let url = format!("{}/.well-known/openid-configuration", self.options.issuer);
        let metadata: ProviderMetadata = self.get(&url).await?;
        // OpenID Connect Discovery 1.0 §4.3: byte for byte.
        if metadata.issuer != self.options.issuer {
            return refused("the discovery document is of another issuer");
        }
        Ok(metadata)
    }

    /// `client_secret_basic`: both parts are form-encoded first (RFC 6749 §2.3.1).
    fn authenticated(&self, request: RequestBuilder) -> RequestBuilder {
        let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        request.basic_auth(
            encode(&self.options.client_id),
            Some(encode(self.options.client_secret.expose_secret())),
        )
    }

    async fn token_request(
        &self,
        metadata: &ProviderMetadata,
        params: &[(&str, &str)],
    ) -> Result<Map<String, Value>, Failure> {
        let request = self.http.post(metadata.token_endpoint.clone()).form(params);
        let response = self
            .authenticated(request)
            .header(header::ACCEPT, "application/json")
            .send()
            .await
            .context("reach the token endpoint")?;
        let status = response.status();
        let body: Map<String, Value> = json(response).await?;
        if status == StatusCode::OK {
            return Ok(body);
        }
        let text = |name: &str| {
            body.get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        Err(Failure::Provider {
            error: text("error"),
            description: text("error_description"),
        })
    }

    /// Judges a token response (OpenID Connect Core §3.1.3.5, §12.2), and asks UserInfo.
    async fn accept(
        &self,
        metadata: &ProviderMetadata,
        response: Map<String, Value>,
        nonce: Option<&str>,
        before: Option<&SignedIn>,
    ) -> Result<SignedIn, Failure> {
        let text = |name: &str| response.get(name).and_then(Value::as_str);
        let Some(access_token) = text("access_token").map(str::to_owned) else {
            return refused("the token response holds no access_token");
        };
        if !text("token_type").is_some_and(|kind| kind.eq_ignore_ascii_case("bearer")) {
            return refused("the token_type is not Bearer");
        }
        let (id_token, header, claims) = match (text("id_token"), before) {
            (Some(token), _) => {
                let expected = Expected {
                    issuer: &metadata.issuer,
                    client_id: &self.options.client_id,
                    nonce,
                    access_token: &access_token,
                    before: before.map(|known| &known.id_token_claims),
                    now: self.options.clock.now(),
                };
                let claims = self.verify(metadata, token, &expected).await?;
                (token.to_owned(), decode(token, 0), claims)
            }
            // A refresh may answer without one; the first stays what it is.
            (None, Some(known)) => (
                known.id_token.clone(),
                known.id_token_header.clone(),
                known.id_token_claims.clone(),
            ),
            (None, None) => return refused("the token response holds no id_token"),
        };
        let userinfo = match &metadata.userinfo_endpoint {
            Some(endpoint) => Some(self.userinfo(endpoint, &access_token, claims.get("sub")).await?),
            None => None,
        };
        // RFC 6749 §6: without a new refresh token the old one stays in use.
        let refresh_token = text("refresh_token")
            .map(str::to_owned)
            .or_else(|| before.and_then(|known| known.refresh_token.clone()));
        Ok(SignedIn {
            id_token,
            id_token_header: header,
            id_token_claims: claims,
            access_token,
            refresh_token,
            token_response: response,
            userinfo,
            refreshes: before.map_or(0, |known| known.refreshes + 1),
            metadata: metadata.clone(),
        })
    }

    /// Judges a logout token (OpenID Connect Back-Channel Logout 1.0 §2.6). Whether it counted before is for the caller to know.
    pub async fn logged_out(&self, token: &str) -> Result<LoggedOut, Failure> {
        let metadata = self.discover().await?;
        let (_, claims) = self.verify_signature(&metadata, token).await?;
        let now = self.options.clock.now();
        logout_token::check(&claims, &metadata.issuer, &self.options.client_id, now)
            .map_err(|rule| Failure::Refused(format!("the logout token is not accepted: {rule}").into()))
    }

    /// Signature by the provider's published keys, then the claims.
    async fn verify(
        &self,
        metadata: &ProviderMetadata,
        token: &str,
        expected: &Expected<'_>,
    ) -> Result<Map<String, Value>, Failure> {
        let (header, claims) = self.verify_signature(metadata, token).await?;
        id_token::check(&claims, header.algorithm, expected)
            .map_err(|rule| Failure::Refused(format!("the ID token is not accepted: {rule}").into()))?;
        Ok(claims)
    }

    async fn verify_signature(
        &self,
        metadata: &ProviderMetadata,
        token: &str,
    ) -> Result<(ForeignHeader, Map<String, Value>), Failure> {
        let jwks: Value = self.get(metadata.jwks_uri.as_str()).await?;
        let keys =
            ForeignKeys::from_jwks(&jwks).map_err(|_| Failure::Refused("the JWKS cannot be read".into()))?;
        let allowed: Vec<ForeignAlgorithm> = metadata
            .id_token_signing_alg_values_supported
            .iter()
            .filter_map(|name| name.parse().ok())
            .collect();
        keys.verify(token, &allowed)
            .map_err(|error| Failure::Refused(format!("the token is not accepted: {error}").into()))
    }

    /// OpenID Connect Core §5.3.2: an answer about somebody else must not be used.
    async fn userinfo(
        &self,
        endpoint: &Url,
        access_token: &str,
        sub: Option<&Value>,
    ) -> Result<Map<String, Value>, Failure> {
        let response = self
            .http
            .get(endpoint.clone())
            .bearer_auth(access_token)
            .send()
            .await
            .context("reach the UserInfo endpoint")?;
        if response.status() != StatusCode::OK {
            return refused("UserInfo does not accept the access token");
        }
        let claims: Map<String, Value> = json(response).await?;
        if claims.get("sub") != sub {
            return refused("UserInfo speaks of somebody else than the ID token");
        }
        Ok(claims)
    }

    async fn get<T: DeserializeOwned>(&self, url: &str) -> Result<T, Failure> {
        let response = self
            .http
            .get(url)
            .send()
            .await
            .with_context(|| format!("reach {url}"))?;
        if response.status() != StatusCode::OK {
            return Err(anyhow::anyhow!("{url} answers {}", response.status()).into());
        }
        json(response).await
    }
}

async fn json<T: DeserializeOwned>(mut response: Response) -> Result<T, Failure> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.context("read the provider's answer")? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_BODY_BYTES {
            return refused("the provider's answer is too long");
        }
    }
    // The error of serde_json would repeat parts of the answer.
    serde_json::from_slice(&body)
        .map_err(|_| Failure::Refused("the provider's answer is not the JSON expected".into()))
}

/// One part of a compact JWT, decoded and not verified: to be looked at.
pub fn decode(token: &str, part: usize) -> Value {
    use base64::Engine as _;
    token
        .split('.')
        .nth(part)
        .and_then(|part| base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part).ok())
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or(Value::Null)
}
