//! `[oauth.providers.NAME]`: an upstream provider, by preset, by discovery or by hand.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use secrecy::SecretString;
use serde::Deserialize;
use url::Url;

/// `[oauth.providers.NAME]`. Exactly one of `preset`, `issuer`, or the three URLs says what it is.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProviderConfig {
    /// A provider whose endpoints and quirks are known.
    pub preset: Option<Preset>,
    /// What people read on the button; the name or the preset's own otherwise.
    pub display_name: Option<String>,
    pub client_id: String,
    /// Not for Apple, whose secret is made from `apple_private_key_path`.
    #[schemars(with = "Option<String>")]
    pub client_secret: Option<SecretString>,
    /// OpenID Connect Discovery by issuer; with a preset, in place of its own (a self-hosted GitLab).
    pub issuer: Option<String>,
    /// Manual OAuth 2.0; with a preset, in place of its own.
    pub auth_url: Option<Url>,
    pub token_url: Option<Url>,
    pub userinfo_url: Option<Url>,
    /// GitHub: the API that lists addresses and organisations.
    pub api_url: Option<Url>,
    /// Manual OAuth 2.0: our word to the member of the provider's profile.
    pub profile_mapping: Option<ProfileMapping>,
    /// Scopes to ask for; the preset's, or `openid profile email`, otherwise.
    pub scopes: Option<Vec<String>>,
    /// How far this provider's `email_verified` is believed; the preset's, or `none`, otherwise.
    pub email_trust: Option<EmailTrust>,
    /// Microsoft: the tenant, in place of `common`.
    pub tenant: Option<String>,
    /// Apple.
    pub apple_team_id: Option<String>,
    pub apple_key_id: Option<String>,
    pub apple_private_key_path: Option<std::path::PathBuf>,
    /// Who may join by this provider.
    #[serde(default)]
    pub signup: Signup,
    #[serde(default)]
    pub allow_list: AllowList,
    /// The provider's `acr` values to ours.
    #[serde(default)]
    pub acr_map: BTreeMap<String, String>,
    /// Admits `email_verified = "true"`, a string.
    #[serde(default)]
    pub email_verified_as_string: bool,
    /// Admits plain http and private addresses: for development alone.
    #[serde(default)]
    pub allow_insecure_http: bool,
}

/// A provider whose endpoints and quirks are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    Google,
    Github,
    Gitlab,
    Microsoft,
    Discord,
    Apple,
}

/// How far a provider's word about an address is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EmailTrust {
    None,
    Verified,
    Authoritative,
}

/// Our word to the member of a profile document; dots go into nested objects.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ProfileMapping {
    pub subject: String,
    pub username: Option<String>,
    pub name: Option<String>,
    pub picture: Option<String>,
    pub email: Option<String>,
    pub email_verified: Option<String>,
}

/// Who may join by a provider.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Signup {
    #[default]
    Open,
    /// Whoever matches `allow_list`.
    AllowList,
    /// Nobody new; accounts that exist go on.
    Closed,
}

/// `[oauth.providers.NAME.allow_list]`: any one match admits.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AllowList {
    /// Domains of verified addresses.
    pub email_domains: Vec<String>,
    /// Google Workspace domains (`hd`).
    pub google_hosted_domains: Vec<String>,
    pub github_organizations: Vec<String>,
    /// Microsoft tenant ids (`tid`).
    pub microsoft_tenants: Vec<String>,
}
