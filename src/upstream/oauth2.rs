//! A provider without ID tokens: code, access token, and a document about whoever it belongs to (RFC 6749).

use secrecy::ExposeSecret as _;
use serde_json::{Map, Value};
use time::OffsetDateTime;
use url::Url;

use super::http::Http;
use super::settings::{OAuth2Endpoints, ProfileSource, Settings};
use super::token::{self, SecretPlacement};
use super::{Expected, Identity, UpstreamError, discord, github, profile};
use crate::config::providers::ProfileMapping;

/// One OAuth 2.0 provider.
pub(super) struct OAuth2Client {
    endpoints: OAuth2Endpoints,
}

/// What a profile says, read with distrust.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Profile {
    pub(super) subject: String,
    pub(super) username: Option<String>,
    pub(super) name: Option<String>,
    pub(super) picture: Option<String>,
    pub(super) email: Option<String>,
    pub(super) email_verified: bool,
    pub(super) organizations: Vec<String>,
    /// The standard claims among the document's members.
    pub(super) claims: Map<String, Value>,
}

impl OAuth2Client {
    pub(super) fn new(endpoints: OAuth2Endpoints) -> Self {
        Self { endpoints }
    }

    pub(super) fn endpoints(&self) -> Vec<Url> {
        let OAuth2Endpoints {
            auth_url,
            token_url,
            userinfo_url,
            ..
        } = &self.endpoints;
        vec![auth_url.clone(), token_url.clone(), userinfo_url.clone()]
    }

    /// Whose word the identities are.
    pub(super) fn identity_issuer(&self) -> &str {
        &self.endpoints.identity_issuer
    }

    pub(super) fn authorization_endpoint(&self) -> &Url {
        &self.endpoints.auth_url
    }

    pub(super) async fn finish(
        &self,
        settings: &Settings,
        http: &Http,
        code: &str,
        expected: &Expected<'_>,
        now: OffsetDateTime,
    ) -> Result<Identity, UpstreamError> {
        // GitHub and Discord document the body alone; others must take Basic (RFC 6749 §2.3.1).
        let placement = match &self.endpoints.profile {
            ProfileSource::Mapping(_) => SecretPlacement::Basic,
            ProfileSource::Discord | ProfileSource::GitHub { .. } => SecretPlacement::Body,
        };
        let endpoint = &self.endpoints.token_url;
        let tokens = token::redeem(http, endpoint, settings, placement, code, expected, now).await?;
        let access_token = tokens
            .access_token
            .ok_or(UpstreamError::Refused("token_response_invalid"))?;
        let access_token = access_token.expose_secret();

        let document: Value = http
            .get_json(
                "fetch the profile",
                &self.endpoints.userinfo_url,
                Some(access_token),
            )
            .await
            .map_err(UpstreamError::Unavailable)?;
        let profile = match &self.endpoints.profile {
            ProfileSource::Mapping(mapping) => mapped(&document, mapping, settings),
            ProfileSource::Discord => discord::profile(&document),
            ProfileSource::GitHub {
                api_url,
                organizations,
            } => {
                let more = github::fetch(http, api_url, access_token, *organizations, &settings.name).await;
                github::profile(&document, &more, settings.allow_insecure_http)
            }
        };
        let profile = profile.ok_or(UpstreamError::Refused("subject_invalid"))?;
        Ok(self.identity(profile, settings))
    }

    fn identity(&self, profile: Profile, settings: &Settings) -> Identity {
        let Profile {
            subject,
            username,
            name,
            picture,
            email,
            email_verified,
            organizations,
            claims,
        } = profile;
        Identity {
            provider: settings.name.clone(),
            issuer: self.endpoints.identity_issuer.clone(),
            display: profile::display(username.as_deref(), name.as_deref(), &subject),
            username_hint: profile::username_hint(username, None),
            subject,
            name,
            picture,
            email_verified: email_verified && email.is_some(),
            email,
            hosted_domain: None,
            tenant: None,
            organizations,
            auth_time: None,
            acr: None,
            amr: None,
            sid: None,
            claims,
        }
    }
}

/// Reads a document by `profile_mapping`. `None` without a usable subject.
fn mapped(document: &Value, mapping: &ProfileMapping, settings: &Settings) -> Option<Profile> {
    let at = |path: &Option<String>| path.as_deref().and_then(|path| profile::at_path(document, path));
    let empty = Map::new();
    let members = document.as_object().unwrap_or(&empty);
    Some(Profile {
        subject: profile::subject(profile::at_path(document, &mapping.subject))?,
        username: profile::text(at(&mapping.username)),
        name: profile::text(at(&mapping.name)),
        picture: profile::link(at(&mapping.picture), settings.allow_insecure_http),
        email: profile::email(at(&mapping.email)),
        email_verified: profile::email_verified(
            at(&mapping.email_verified),
            settings.email_verified_as_string,
        ),
        organizations: Vec::new(),
        claims: profile::standard_claims(members, settings.allow_insecure_http),
    })
}
