//! `[oauth.providers.NAME]` and the preset's data, joined into what the clients work with.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail, ensure};
use secrecy::SecretString;
use url::Url;

use super::Reauthentication;
use super::apple::AppleKey;
use super::discovery::IssuerRule;
use super::presets::{self, PresetData};
use crate::config::providers::{AllowList, EmailTrust, Preset, ProfileMapping, ProviderConfig, Signup};

/// All that is decided before the first request.
pub(super) struct Settings {
    pub(super) name: String,
    pub(super) display_name: String,
    pub(super) preset: Option<Preset>,
    pub(super) client_id: String,
    pub(super) credential: Credential,
    pub(super) scopes: Vec<String>,
    pub(super) email_trust: EmailTrust,
    pub(super) email_trust_is_configured: bool,
    pub(super) email_verified_as_string: bool,
    pub(super) form_post: bool,
    pub(super) reauthentication: Reauthentication,
    pub(super) acr_map: BTreeMap<String, String>,
    pub(super) signup: Signup,
    pub(super) allow_list: AllowList,
    pub(super) allow_insecure_http: bool,
    /// Claims that UserInfo is asked for when the ID token lacks them.
    pub(super) passthrough: Vec<String>,
    pub(super) protocol: Protocol,
}

/// How we prove to the token endpoint who we are.
pub(super) enum Credential {
    /// A public client: PKCE alone.
    None,
    Secret(SecretString),
    /// A secret signed anew for each request.
    Apple(AppleKey),
}

#[derive(Clone)]
pub(super) enum Protocol {
    Oidc(OidcEndpoints),
    OAuth2(OAuth2Endpoints),
}

/// An issuer, and endpoints that are configured in place of those it publishes.
#[derive(Clone)]
pub(super) struct OidcEndpoints {
    pub(super) issuer: IssuerRule,
    pub(super) auth_url: Option<Url>,
    pub(super) token_url: Option<Url>,
    pub(super) userinfo_url: Option<Url>,
}

#[derive(Clone)]
pub(super) struct OAuth2Endpoints {
    /// What stands for the issuer in the identity. It changes with the provider's address, so that subjects of another
    /// provider never meet links of this one.
    pub(super) identity_issuer: String,
    pub(super) auth_url: Url,
    pub(super) token_url: Url,
    pub(super) userinfo_url: Url,
    pub(super) profile: ProfileSource,
}

/// Where the description of a person comes from without ID tokens.
#[derive(Clone)]
pub(super) enum ProfileSource {
    Mapping(ProfileMapping),
    Discord,
    GitHub { api_url: Url, organizations: bool },
}

impl Settings {
    /// An error names the key that is wrong.
    pub(super) fn resolve(
        name: &str,
        config: &ProviderConfig,
        passthrough: &[String],
    ) -> anyhow::Result<Self> {
        resolve(name, config, passthrough).with_context(|| format!("oauth.providers.{name}"))
    }
}

fn resolve(name: &str, config: &ProviderConfig, passthrough: &[String]) -> anyhow::Result<Settings> {
    let data = match config.preset {
        Some(preset) => presets::of(preset),
        None if config.issuer.is_some() => presets::BY_ISSUER,
        None => presets::BY_HAND,
    };
    ensure!(!config.client_id.is_empty(), "client_id is empty");
    for (key, url) in [
        ("auth_url", &config.auth_url),
        ("token_url", &config.token_url),
        ("userinfo_url", &config.userinfo_url),
        ("api_url", &config.api_url),
    ] {
        if let Some(url) = url {
            ensure!(
                is_secure(url, config.allow_insecure_http),
                "{key} must be an https URL"
            );
        }
    }
    let speaks_oidc = config.preset.is_none() || data.issuer.is_some();
    ensure!(
        config.issuer.is_none() || speaks_oidc,
        "issuer: this preset is no OpenID provider"
    );
    let protocol = match config.issuer.as_deref().or(data.issuer) {
        Some(issuer) => Protocol::Oidc(oidc_endpoints(issuer, config)?),
        None => Protocol::OAuth2(oauth2_endpoints(config, data)?),
    };
    let display_name = config
        .display_name
        .clone()
        .unwrap_or_else(|| match data.display_name {
            "" => name.to_owned(),
            known => known.to_owned(),
        });
    Ok(Settings {
        name: name.to_owned(),
        display_name,
        preset: config.preset,
        client_id: config.client_id.clone(),
        credential: credential(config)?,
        scopes: scopes(config, data, &protocol),
        email_trust: config.email_trust.unwrap_or(data.email_trust),
        email_trust_is_configured: config.email_trust.is_some(),
        email_verified_as_string: config.email_verified_as_string || data.email_verified_as_string,
        form_post: data.form_post,
        reauthentication: config
            .reauthentication
            .as_deref()
            .map_or(data.reauthentication, Reauthentication::of),
        acr_map: config.acr_map.clone(),
        signup: config.signup,
        allow_list: config.allow_list.clone(),
        allow_insecure_http: config.allow_insecure_http,
        passthrough: passthrough.to_vec(),
        protocol,
    })
}

fn oidc_endpoints(issuer: &str, config: &ProviderConfig) -> anyhow::Result<OidcEndpoints> {
    let tenant = match config.preset {
        Some(Preset::Microsoft) => Some(config.tenant.as_deref().unwrap_or("common")),
        _ => None,
    };
    let issuer = IssuerRule::new(issuer, tenant);
    let url = issuer.discovery_url().context("issuer is not a URL")?;
    ensure!(
        is_secure(&url, config.allow_insecure_http),
        "issuer must be an https URL"
    );
    Ok(OidcEndpoints {
        issuer,
        auth_url: config.auth_url.clone(),
        token_url: config.token_url.clone(),
        userinfo_url: config.userinfo_url.clone(),
    })
}

fn oauth2_endpoints(config: &ProviderConfig, data: &PresetData) -> anyhow::Result<OAuth2Endpoints> {
    let auth_url = endpoint("auth_url", config.auth_url.as_ref(), data.auth_url)?;
    let token_url = endpoint("token_url", config.token_url.as_ref(), data.token_url)?;
    let userinfo = match (config.preset, &config.api_url) {
        (Some(Preset::Github), Some(api)) => below(api, "user"),
        _ => None,
    };
    let userinfo_url = endpoint(
        "userinfo_url",
        config.userinfo_url.as_ref().or(userinfo.as_ref()),
        data.userinfo_url,
    )?;

    let (profile, identity_issuer) = match config.preset {
        Some(Preset::Github) => {
            let api_url = config
                .api_url
                .clone()
                .or_else(|| parent_of(&userinfo_url))
                .context("api_url is missing")?;
            let organizations = !config.allow_list.github_organizations.is_empty();
            (
                ProfileSource::GitHub {
                    api_url,
                    organizations,
                },
                auth_url.origin().ascii_serialization(),
            )
        }
        Some(_) => (ProfileSource::Discord, auth_url.origin().ascii_serialization()),
        None => {
            let mapping = config
                .profile_mapping
                .clone()
                .context("profile_mapping is missing")?;
            ensure!(!mapping.subject.is_empty(), "profile_mapping.subject is missing");
            let mut id = userinfo_url.clone();
            id.set_query(None);
            id.set_fragment(None);
            (ProfileSource::Mapping(mapping), id.into())
        }
    };
    Ok(OAuth2Endpoints {
        identity_issuer,
        auth_url,
        token_url,
        userinfo_url,
        profile,
    })
}

fn endpoint(key: &str, configured: Option<&Url>, known: &str) -> anyhow::Result<Url> {
    match configured {
        Some(url) => Ok(url.clone()),
        None if known.is_empty() => bail!("{key} is missing: set preset, issuer, or the three URLs"),
        None => Ok(known.parse().expect("the URLs of presets are URLs")),
    }
}

fn credential(config: &ProviderConfig) -> anyhow::Result<Credential> {
    if config.preset == Some(Preset::Apple) {
        return Ok(Credential::Apple(AppleKey::load(config)?));
    }
    Ok(config
        .client_secret
        .clone()
        .map_or(Credential::None, Credential::Secret))
}

fn scopes(config: &ProviderConfig, data: &PresetData, protocol: &Protocol) -> Vec<String> {
    let mut scopes = match &config.scopes {
        Some(scopes) => scopes.clone(),
        None => data.scopes.iter().map(|&scope| scope.to_owned()).collect(),
    };
    let needed = match protocol {
        // Without it the answer is no OpenID Connect at all (Core §3.1.2.1).
        Protocol::Oidc(_) => "openid",
        // Private memberships are listed only with it.
        Protocol::OAuth2(OAuth2Endpoints {
            profile: ProfileSource::GitHub {
                organizations: true, ..
            },
            ..
        }) => "read:org",
        Protocol::OAuth2(_) => return scopes,
    };
    if !scopes.iter().any(|scope| scope == needed) {
        scopes.insert(0, needed.to_owned());
    }
    scopes
}

/// Whether `url` may be used: https, or http where development allows it.
pub(super) fn is_secure(url: &Url, allow_insecure_http: bool) -> bool {
    match url.scheme() {
        "https" => true,
        "http" => allow_insecure_http,
        _ => false,
    }
}

/// `base` with more path segments (separated by `/`), whether or not `base` ends in a slash.
pub(super) fn below(base: &Url, path: &str) -> Option<Url> {
    let mut url = base.clone();
    url.path_segments_mut()
        .ok()?
        .pop_if_empty()
        .extend(path.split('/'));
    Some(url)
}

fn parent_of(url: &Url) -> Option<Url> {
    let mut url = url.clone();
    url.path_segments_mut().ok()?.pop_if_empty().pop();
    url.set_query(None);
    Some(url)
}
