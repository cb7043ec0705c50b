//! An OpenID provider: code, ID token, and UserInfo for what the ID token leaves out.

use std::sync::Arc;

use secrecy::ExposeSecret as _;
use serde_json::{Map, Value};
use time::OffsetDateTime;
use url::Url;

use super::discovery::{Discovery, IssuerRule, Metadata};
use super::http::Http;
use super::id_token::{self, LogoutToken, Rules, Verified};
use super::keys::{Bearer, JwksCache, allowed_algorithms};
use super::settings::{OidcEndpoints, Settings};
use super::token::{self, SecretPlacement};
use super::{CallbackParams, Expected, Identity, UpstreamError, apple, authorization, profile};
use crate::clock::Clock;
use crate::config::providers::Preset;

/// What only the signed ID token may say: of the login, of the session, of the organisation that the account belongs to.
/// Some providers let people write members of their UserInfo themselves.
const OF_THE_ID_TOKEN: [&str; 8] = ["auth_time", "acr", "amr", "sid", "azp", "nonce", "hd", "tid"];

/// The most entries of `amr` that are kept.
const MAX_AMR: usize = 16;

/// One OpenID provider.
pub(super) struct OidcClient {
    endpoints: OidcEndpoints,
    discovery: Discovery,
    jwks: JwksCache,
}

impl OidcClient {
    pub(super) fn new(endpoints: OidcEndpoints, settings: &Settings, clock: Clock) -> Self {
        let discovery = Discovery::new(
            endpoints.issuer.clone(),
            settings.allow_insecure_http,
            clock.clone(),
        );
        Self {
            endpoints,
            discovery,
            jwks: JwksCache::new(clock),
        }
    }

    /// Whether identities of this issuer are this provider's, as far as is known without asking.
    pub(super) fn gives(&self, issuer: &str) -> bool {
        let rule = self.discovery.issuer();
        if rule.needs_document() {
            return rule.gives(issuer, self.discovery.document_issuer().as_deref());
        }
        rule.gives(issuer, None)
    }

    /// Whether the discovery document was ever fetched.
    pub(super) fn has_document(&self) -> bool {
        self.discovery.document_issuer().is_some()
    }

    /// The discovery document, with the endpoints that the configuration puts in place of its own.
    pub(super) async fn metadata(&self, http: &Http) -> Result<Arc<Metadata>, UpstreamError> {
        let metadata = self.discovery.get(http).await?;
        let configured = &self.endpoints;
        if configured.auth_url.is_none()
            && configured.token_url.is_none()
            && configured.userinfo_url.is_none()
        {
            return Ok(metadata);
        }
        let published = (*metadata).clone();
        Ok(Arc::new(Metadata {
            authorization_endpoint: configured
                .auth_url
                .clone()
                .unwrap_or(published.authorization_endpoint),
            token_endpoint: configured.token_url.clone().unwrap_or(published.token_endpoint),
            userinfo_endpoint: configured.userinfo_url.clone().or(published.userinfo_endpoint),
            ..published
        }))
    }

    pub(super) async fn finish(
        &self,
        settings: &Settings,
        http: &Http,
        code: &str,
        callback: &CallbackParams,
        expected: &Expected<'_>,
        now: OffsetDateTime,
    ) -> Result<Identity, UpstreamError> {
        let metadata = self.metadata(http).await?;
        // Before the code goes anywhere: another provider's response must not make us send it (RFC 9207 §2.4).
        if let IssuerRule::Exact(issuer) = self.discovery.issuer() {
            let announced = metadata.authorization_response_iss_parameter_supported;
            authorization::check_iss(callback.iss.as_deref(), issuer, announced)?;
        }
        let placement = SecretPlacement::of(metadata.token_endpoint_auth_methods_supported.as_deref());
        let endpoint = &metadata.token_endpoint;
        let tokens = token::redeem(http, endpoint, settings, placement, code, expected, now).await?;
        let id_token = tokens
            .id_token
            .ok_or(UpstreamError::Refused("id_token_missing"))?;

        let mut claims = self
            .verify(&metadata, http, id_token.expose_secret(), Bearer::Provider)
            .await?;
        let verified =
            id_token::check_id_token(&claims, &self.rules(&metadata, settings, now), expected.nonce)
                .map_err(UpstreamError::Refused)?;

        if let (Some(endpoint), Some(access_token)) = (&metadata.userinfo_endpoint, &tokens.access_token)
            && userinfo_is_needed(&claims, settings)
        {
            match userinfo(http, endpoint, access_token.expose_secret(), &verified.subject).await {
                Ok(more) => complete(&mut claims, more),
                // The person is proven; what is missing is description, and without a claim no address is verified.
                Err(UpstreamError::Unavailable(error)) => {
                    let detail = format!("{error:#}");
                    tracing::warn!(
                        provider.name = settings.name,
                        error = detail,
                        "UserInfo of an upstream failed"
                    );
                }
                Err(error) => return Err(error),
            }
        }
        if settings.preset == Some(Preset::Apple) {
            apple::add_name(&mut claims, callback.user.as_deref());
        }
        Ok(identity(&claims, verified, settings))
    }

    pub(super) async fn verify_logout_token(
        &self,
        settings: &Settings,
        http: &Http,
        token: &str,
        now: OffsetDateTime,
    ) -> Result<LogoutToken, UpstreamError> {
        let metadata = self.metadata(http).await?;
        let claims = self.verify(&metadata, http, token, Bearer::Anybody).await?;
        id_token::check_logout_token(&claims, &self.rules(&metadata, settings, now))
            .map_err(UpstreamError::Refused)
    }

    async fn verify(
        &self,
        metadata: &Metadata,
        http: &Http,
        token: &str,
        bearer: Bearer,
    ) -> Result<Map<String, Value>, UpstreamError> {
        let allowed = allowed_algorithms(&metadata.id_token_signing_alg_values_supported);
        self.jwks
            .verify(http, &metadata.jwks_uri, token, &allowed, bearer)
            .await
    }

    fn rules<'a>(&'a self, metadata: &'a Metadata, settings: &'a Settings, now: OffsetDateTime) -> Rules<'a> {
        Rules {
            issuer: self.discovery.issuer(),
            metadata_issuer: &metadata.issuer,
            client_id: &settings.client_id,
            now,
        }
    }
}

/// Whether the ID token leaves out what an account is made from, or what is to be passed on.
fn userinfo_is_needed(claims: &Map<String, Value>, settings: &Settings) -> bool {
    let wanted = ["name", "email", "email_verified"];
    let lacks = |name: &str| !claims.contains_key(name);
    wanted.into_iter().any(lacks) || settings.passthrough.iter().any(|name| lacks(name))
}

/// OpenID Connect Core §5.3: claims of the same subject, or nothing. §5.3.2: `sub` must be there and equal, because an
/// access token may have been exchanged for another person's.
async fn userinfo(
    http: &Http,
    endpoint: &Url,
    access_token: &str,
    subject: &str,
) -> Result<Map<String, Value>, UpstreamError> {
    let claims: Map<String, Value> = http
        .get_json("fetch UserInfo", endpoint, Some(access_token))
        .await
        .map_err(UpstreamError::Unavailable)?;
    if profile::subject(claims.get("sub")).as_deref() != Some(subject) {
        return Err(UpstreamError::Refused("userinfo_subject"));
    }
    Ok(claims)
}

/// Adds what UserInfo says beyond the signed ID token. `email_verified` belongs to the address beside it: it is taken
/// over only with that address.
fn complete(claims: &mut Map<String, Value>, more: Map<String, Value>) {
    let same_address = claims
        .get("email")
        .is_none_or(|email| more.get("email") == Some(email));
    if !claims.contains_key("email") {
        claims.remove("email_verified");
    }
    for (name, value) in more {
        if (name == "email_verified" && !same_address) || OF_THE_ID_TOKEN.contains(&name.as_str()) {
            continue;
        }
        claims.entry(name).or_insert(value);
    }
}

fn identity(claims: &Map<String, Value>, verified: Verified, settings: &Settings) -> Identity {
    let text = |name: &str| profile::text(claims.get(name));
    let email = profile::email(claims.get("email"));
    let verifies = profile::email_verified(claims.get("email_verified"), settings.email_verified_as_string);
    let (name, username) = (
        text("name").or_else(|| joined_name(claims)),
        text("preferred_username"),
    );
    let of_preset =
        |preset: Preset, claim: &str| (settings.preset == Some(preset)).then(|| text(claim)).flatten();
    let acr = claims.get("acr").and_then(Value::as_str);
    let amr = claims.get("amr").and_then(Value::as_array);
    Identity {
        provider: settings.name.clone(),
        display: profile::display(username.as_deref(), name.as_deref(), &verified.subject),
        username_hint: profile::username_hint(username, text("nickname")),
        email_verified: verifies && email.is_some(),
        email,
        hosted_domain: of_preset(Preset::Google, "hd"),
        tenant: of_preset(Preset::Microsoft, "tid"),
        organizations: Vec::new(),
        auth_time: id_token::seconds(claims, "auth_time"),
        acr: acr.and_then(|acr| settings.acr_map.get(acr)).cloned(),
        amr: amr.map(|methods| {
            methods
                .iter()
                .filter_map(|method| profile::text(Some(method)))
                .take(MAX_AMR)
                .collect()
        }),
        sid: profile::subject(claims.get("sid").filter(|sid| sid.is_string())),
        picture: profile::link(claims.get("picture"), settings.allow_insecure_http),
        claims: profile::standard_claims(claims, settings.allow_insecure_http),
        name,
        issuer: verified.issuer,
        subject: verified.subject,
    }
}

fn joined_name(claims: &Map<String, Value>) -> Option<String> {
    let parts = ["given_name", "family_name"].map(|name| profile::text(claims.get(name)));
    let name = parts.into_iter().flatten().collect::<Vec<_>>().join(" ");
    profile::text(Some(&Value::String(name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn completed(id_token: Value, userinfo: Value) -> Value {
        let (Value::Object(mut claims), Value::Object(more)) = (id_token, userinfo) else {
            panic!("two objects")
        };
        complete(&mut claims, more);
        Value::Object(claims)
    }

    #[test]
    fn userinfo_adds_and_never_replaces() {
        let claims = completed(
            json!({ "sub": "1", "name": "Ada" }),
            json!({ "sub": "1", "name": "Eve", "locale": "en" }),
        );
        assert_eq!(claims, json!({ "sub": "1", "name": "Ada", "locale": "en" }));
    }

    /// A provider may let people write their own profile: it must not raise the `acr` or freshen the login.
    #[test]
    fn what_the_id_token_says_of_the_login_is_not_userinfos_to_add() {
        let claims = completed(
            json!({ "sub": "1" }),
            json!({ "sub": "1", "acr": "high", "amr": ["hwk"], "auth_time": 4_000_000_000_u64, "hd": "example.com" }),
        );
        assert_eq!(claims, json!({ "sub": "1" }));
    }

    /// OpenID Connect Core §5.7 and §5.1: `email_verified` speaks of the address beside it.
    #[test]
    fn email_verified_never_passes_to_another_address() {
        let other = completed(
            json!({ "email": "a@x" }),
            json!({ "email": "b@x", "email_verified": true }),
        );
        assert_eq!(other, json!({ "email": "a@x" }));
        let same = completed(
            json!({ "email": "a@x" }),
            json!({ "email": "a@x", "email_verified": true }),
        );
        assert_eq!(same, json!({ "email": "a@x", "email_verified": true }));
        let alone = completed(json!({ "email_verified": true }), json!({ "email": "b@x" }));
        assert_eq!(alone, json!({ "email": "b@x" }));
    }
}
