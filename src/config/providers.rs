//! `[oauth.providers.NAME]`: an upstream provider, by preset, by discovery or by hand.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use secrecy::SecretString;
use serde::Deserialize;
use url::Url;

use super::check::Check;
use super::tree::join;

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
    #[schemars(with = "Option<String>", extend("x-secret" = true))]
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
    /// What it can be asked for when a login has to be a new one; the preset's, all of it for an OpenID provider known by its
    /// issuer, nothing for one described by hand, otherwise. Name only what the provider honours.
    pub reauthentication: Option<Vec<ReauthenticationMeans>>,
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

/// A parameter of OpenID Connect Core §3.1.2.1 by which a provider can be asked for a login that is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReauthenticationMeans {
    /// `prompt=login`.
    Login,
    /// `prompt=select_account`.
    SelectAccount,
    /// `max_age`; such providers state `auth_time`.
    MaxAge,
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

/// Names that `/auth/{provider}` cannot have, because other routes stand there.
pub const RESERVED_NAMES: [&str; 14] = [
    "callback",
    "confirm",
    "emails",
    "link",
    "links",
    "logout",
    "logout-all",
    "me",
    "none",
    "providers",
    "refresh",
    "sessions",
    "setup",
    "username",
];

impl ProviderConfig {
    /// Whether it could prove by an `auth_time` that somebody has just signed in: what has no ID tokens cannot.
    pub(super) fn may_state_auth_time(&self) -> bool {
        self.issuer.is_some()
            || matches!(
                self.preset,
                Some(Preset::Google | Preset::Gitlab | Preset::Microsoft | Preset::Apple)
            )
    }

    /// The rules of this table. `issuer_is_loopback`: our own issuer is on this machine, so plain http may be allowed.
    pub(super) fn check(&self, name: &str, issuer_is_loopback: bool, check: &mut Check) {
        let key = join("oauth.providers", name);
        let plain =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
        if !(1..=32).contains(&name.len()) || !name.bytes().all(plain) {
            check.error(
                &key,
                "the name is not 1 to 32 characters out of a-z 0-9 _ -",
                "choose another name; it is part of URLs",
            );
        } else if RESERVED_NAMES.contains(&name) {
            check.error(
                &key,
                "the name belongs to a route of its own below /auth/",
                "choose another name",
            );
        }
        if self.client_id.trim().is_empty() {
            check.error(
                format!("{key}.client_id"),
                "the client id is empty",
                "write the one that the provider gave you",
            );
        }
        self.check_kind(&key, check);
        self.check_apple(&key, check);
        self.check_urls(&key, check);
        if self.allow_insecure_http && !issuer_is_loopback {
            check.error(
                format!("{key}.allow_insecure_http"),
                "plain http towards a provider is for development, and the issuer is not on loopback",
                "remove the key and use https",
            );
        }
        if self.tenant.is_some() && self.preset != Some(Preset::Microsoft) {
            check.error(
                format!("{key}.tenant"),
                "only the preset \"microsoft\" has tenants",
                "remove the key",
            );
        }
        let AllowList {
            email_domains,
            google_hosted_domains,
            github_organizations,
            microsoft_tenants,
        } = &self.allow_list;
        let lists = [
            email_domains,
            google_hosted_domains,
            github_organizations,
            microsoft_tenants,
        ];
        let lists_nothing = lists.iter().all(|list| list.is_empty());
        if self.signup == Signup::AllowList && lists_nothing {
            check.error(
                format!("{key}.signup"),
                "the allow list is empty, so nobody could join",
                "fill `allow_list`, or write \"closed\"",
            );
        } else if self.signup != Signup::AllowList && !lists_nothing {
            check.error(
                format!("{key}.allow_list"),
                "the allow list has no effect",
                "write signup = \"allow_list\", or remove the list",
            );
        }
    }

    /// Exactly one of preset, issuer and the three URLs; a preset may be given an issuer or URLs of its own.
    fn check_kind(&self, key: &str, check: &mut Check) {
        let urls = [&self.auth_url, &self.token_url, &self.userinfo_url];
        let given = urls.iter().filter(|url| url.is_some()).count();
        match (self.preset, &self.issuer, given) {
            (None, None, 0) => check.error(
                key,
                "nothing says what provider this is",
                "set `preset`, or `issuer`, or `auth_url`, `token_url` and `userinfo_url`",
            ),
            (None, Some(_), 1..) => check.error(
                format!("{key}.issuer"),
                "both `issuer` and URLs are given",
                "keep `issuer`, whose discovery names the URLs, or keep the URLs",
            ),
            (None, None, 1..=2) => {
                for (name, url) in ["auth_url", "token_url", "userinfo_url"].into_iter().zip(urls) {
                    if url.is_none() {
                        check.error(
                            format!("{key}.{name}"),
                            "a manual provider needs all three URLs",
                            format!("add `{name} = …`"),
                        );
                    }
                }
            }
            _ => {}
        }
        let manual = self.preset.is_none() && self.issuer.is_none() && given > 0;
        if manual
            && self
                .profile_mapping
                .as_ref()
                .is_none_or(|mapping| mapping.subject.trim().is_empty())
        {
            check.error(
                format!("{key}.profile_mapping"),
                "a manual provider must say which member of its profile is the user's id",
                "write profile_mapping = { subject = \"id\" }",
            );
        }
        if self.client_secret.is_none() && self.preset != Some(Preset::Apple) {
            check.error(
                format!("{key}.client_secret"),
                "the client secret is missing",
                "write client_secret = \"env:NAME\"",
            );
        }
    }

    fn check_apple(&self, key: &str, check: &mut Check) {
        let fields = [
            ("apple_team_id", self.apple_team_id.is_some()),
            ("apple_key_id", self.apple_key_id.is_some()),
            ("apple_private_key_path", self.apple_private_key_path.is_some()),
        ];
        for (name, given) in fields {
            if self.preset == Some(Preset::Apple) && !given {
                check.error(
                    format!("{key}.{name}"),
                    "Apple's client secret is made from this",
                    format!("add `{name} = …`"),
                );
            } else if self.preset != Some(Preset::Apple) && given {
                check.error(
                    format!("{key}.{name}"),
                    "only the preset \"apple\" uses this",
                    "remove the key",
                );
            }
        }
        if self.preset == Some(Preset::Apple) && self.client_secret.is_some() {
            check.error(
                format!("{key}.client_secret"),
                "Apple's client secret is made from its private key and expires",
                "remove the key",
            );
        }
    }

    fn check_urls(&self, key: &str, check: &mut Check) {
        let issuer = self.issuer.as_ref().map(|issuer| Url::parse(issuer).ok());
        let urls = [
            ("auth_url", &self.auth_url),
            ("token_url", &self.token_url),
            ("userinfo_url", &self.userinfo_url),
            ("api_url", &self.api_url),
        ];
        let urls = urls
            .into_iter()
            .filter_map(|(name, url)| Some((name, url.clone()?)));
        let insecure =
            |url: &Url| url.scheme() != "https" && !(url.scheme() == "http" && self.allow_insecure_http);
        if issuer.as_ref().is_some_and(Option::is_none) {
            check.error(
                format!("{key}.issuer"),
                "this is no URL",
                "write the provider's issuer, byte for byte as it writes it",
            );
        }
        for (name, url) in urls.chain(issuer.flatten().map(|url| ("issuer", url))) {
            if insecure(&url) {
                check.error(
                    format!("{key}.{name}"),
                    "the provider must be reached by https",
                    "write https://; for development alone there is `allow_insecure_http = true`",
                );
            }
        }
    }
}
