//! `[oauth]`: how people get in, and the deployer's own pages.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use url::Url;

use super::check::Check;
use super::providers::{EmailTrust, ProviderConfig};

/// `[oauth]`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OAuthConfig {
    /// The deployer's page where people choose how to sign in; handed `request_id`.
    pub login_url: Option<Url>,
    /// The page that asks for consent; handed `consent_id`.
    pub consent_url: Option<Url>,
    /// The page where a newcomer picks a username.
    pub onboarding_url: Option<Url>,
    /// The page where a link is confirmed: by whoever adds a provider, and by a newcomer whose verified address belongs to
    /// an account.
    pub link_url: Option<Url>,
    /// The page that our error page links to, with `error_id`.
    pub error_url: Option<Url>,
    /// Where a logout ends when the client names no place.
    pub signed_out_url: Option<Url>,
    /// Where a login ends when nobody said where to.
    pub default_return_to: Option<Url>,
    /// Without `login_url`: the upstream that a login goes straight to; `"none"`: `login_required` instead.
    pub default_provider: Option<String>,
    /// What a newcomer meets: a page to pick a name, or a name derived.
    pub onboarding: Onboarding,
    /// Whether a verified address may join a newcomer to an account.
    pub account_merge_policy: AccountMergePolicy,
    /// Whether an upstream that cannot prove a new login satisfies a demand for one.
    pub reauth: Reauth,
    /// The `aud` of access tokens whose client has none registered; none: the UserInfo URL.
    pub default_audience: Option<String>,
    /// The `acr` of ID tokens where the upstream's is not mapped.
    pub default_acr: String,
    /// Seconds within which a spent refresh token, presented again, gets its unused successor again; 0: strict.
    pub refresh_reuse_leeway_secs: u32,
    /// Upstream providers by name.
    pub providers: BTreeMap<String, ProviderConfig>,
}

/// What a newcomer meets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Onboarding {
    /// The person picks a username.
    #[default]
    Prompt,
    /// A free username is derived, no page is needed.
    Auto,
}

/// Whether and how accounts are merged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AccountMergePolicy {
    #[default]
    None,
    /// An address verified at trusted providers on both sides, held by exactly one live account.
    VerifiedEmail,
    /// The same, and both providers have to be authoritative for the address.
    AuthoritativeEmail,
}

impl AccountMergePolicy {
    /// How far both sides have to be believed for a merge; `None`: nobody is merged.
    pub fn demanded_trust(self) -> Option<EmailTrust> {
        match self {
            Self::None => None,
            Self::VerifiedEmail => Some(EmailTrust::Verified),
            Self::AuthoritativeEmail => Some(EmailTrust::Authoritative),
        }
    }
}

/// How truthful a re-authentication has to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reauth {
    /// A completed round trip to the upstream counts.
    #[default]
    RoundTrip,
    /// The upstream has to prove it by a fresh `auth_time`.
    Proven,
}

impl Default for OAuthConfig {
    fn default() -> Self {
        Self {
            login_url: None,
            consent_url: None,
            onboarding_url: None,
            link_url: None,
            error_url: None,
            signed_out_url: None,
            default_return_to: None,
            default_provider: None,
            onboarding: Onboarding::default(),
            account_merge_policy: AccountMergePolicy::default(),
            reauth: Reauth::default(),
            default_audience: None,
            default_acr: "0".to_owned(),
            refresh_reuse_leeway_secs: 10,
            providers: BTreeMap::new(),
        }
    }
}

impl OAuthConfig {
    /// The rules of this table; each provider has its own.
    pub(super) fn check(&self, check: &mut Check) {
        for (key, page) in [
            ("oauth.login_url", &self.login_url),
            ("oauth.consent_url", &self.consent_url),
            ("oauth.onboarding_url", &self.onboarding_url),
            ("oauth.link_url", &self.link_url),
            ("oauth.error_url", &self.error_url),
            ("oauth.signed_out_url", &self.signed_out_url),
            ("oauth.default_return_to", &self.default_return_to),
        ] {
            check.page(key, page.as_ref());
        }
        if let Some(name) = &self.default_provider
            && name != NO_PROVIDER
            && !self.providers.contains_key(name)
        {
            check.error(
                "oauth.default_provider",
                "there is no such provider",
                format!("write a name below `[oauth.providers]`, or \"{NO_PROVIDER}\""),
            );
        }
        if self
            .default_audience
            .as_ref()
            .is_some_and(|audience| audience.trim().is_empty())
        {
            check.error(
                "oauth.default_audience",
                "the audience is empty",
                "write the resource server's name, or remove the key",
            );
        }
        if self.default_acr.trim().is_empty() {
            check.error(
                "oauth.default_acr",
                "the acr is empty",
                "write \"0\", or what your clients understand",
            );
        }
        check.range(
            "oauth.refresh_reuse_leeway_secs",
            self.refresh_reuse_leeway_secs.into(),
            0,
            300,
        );
        let nobody_proves = !self
            .providers
            .values()
            .any(super::providers::ProviderConfig::may_state_auth_time);
        if self.reauth == Reauth::Proven && nobody_proves && !self.providers.is_empty() {
            check.warning(
                "oauth.reauth",
                "no provider can prove a new login by an auth_time, so an app that demands one gets login_required every time",
                "write \"round_trip\", or add an OpenID provider that states auth_time",
            );
        }
        if self.providers.is_empty() {
            check.warning(
                "oauth.providers",
                "there is no upstream provider, so nobody can sign in",
                "add a table such as `[oauth.providers.google]`",
            );
        }
    }
}

/// The `default_provider` that is none: `login_required` instead of a redirect.
pub const NO_PROVIDER: &str = "none";
