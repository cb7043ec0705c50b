//! Upstream. (Placeholder until the module is merged.)

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use time::OffsetDateTime;
use url::Url;

use crate::config::providers::EmailTrust;
use crate::protocol::pkce::CodeVerifier;

/// Placeholder.
pub struct Upstreams;

impl Upstreams {
    pub fn get(&self, _name: &str) -> Option<&Provider> {
        None
    }

    pub fn list(&self) -> impl Iterator<Item = &Provider> {
        std::iter::empty()
    }
}

/// Placeholder.
pub struct Provider;

impl Provider {
    pub fn name(&self) -> &str {
        todo!()
    }

    pub fn display_name(&self) -> &str {
        todo!()
    }

    pub fn email_trust(&self) -> EmailTrust {
        todo!()
    }

    pub fn email_trust_of(&self, _identity: &Identity) -> EmailTrust {
        todo!()
    }

    pub fn signup_allowed(&self, _identity: &Identity) -> bool {
        todo!()
    }

    pub async fn authorization_url(&self, _start: &StartRequest<'_>) -> Result<Url, UpstreamError> {
        todo!()
    }

    pub async fn finish(
        &self,
        _callback: &CallbackParams,
        _expected: &Expected<'_>,
        _now: OffsetDateTime,
    ) -> Result<Identity, UpstreamError> {
        todo!()
    }
}

pub fn normalised_email(_email: &str) -> Option<String> {
    todo!()
}

/// What an upstream can be asked for when a login must be a new one (product decision per preset: nothing is asked for
/// that the provider would ignore).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Reauthentication {
    /// `prompt=login`.
    pub prompt_login: bool,
    /// `max_age`, 0 included; such providers state `auth_time`.
    pub max_age: bool,
    /// `prompt=select_account`.
    pub select_account: bool,
}

impl Reauthentication {
    /// Everything that OpenID Connect Core §3.1.2.1 has.
    pub const FULL: Self = Self { prompt_login: true, max_age: true, select_account: true };
    /// Nothing at all.
    pub const NONE: Self = Self { prompt_login: false, max_age: false, select_account: false };
}

/// What a login is started with.
pub struct StartRequest<'a> {
    /// Our callback at this provider.
    pub redirect_uri: &'a str,
    pub state: &'a str,
    /// Sent to OpenID providers.
    pub nonce: &'a str,
    pub code_verifier: &'a CodeVerifier,
    pub login_hint: Option<&'a str>,
    /// A new login is demanded.
    pub reauthenticate: bool,
    /// The person should choose the account.
    pub select_account: bool,
    /// The age in seconds that a login may have; without meaning when `reauthenticate` is set.
    pub max_age_secs: Option<u64>,
    pub ui_locales: Option<&'a str>,
}

/// What the flow remembers and the callback is held against.
pub struct Expected<'a> {
    pub redirect_uri: &'a str,
    pub nonce: &'a str,
    pub code_verifier: &'a CodeVerifier,
    /// When a new login was demanded, in seconds since the epoch: an `auth_time` from before it is not fresh.
    pub reauthenticated_since: Option<i64>,
    /// Whether the demanded login must be proven by an `auth_time` (`reauth = "proven"`).
    pub require_proof: bool,
}

/// The callback's parameters, from the query or a form_post.
#[derive(Clone, Default, Deserialize)]
pub struct CallbackParams {
    pub code: Option<String>,
    pub state: Option<String>,
    pub error: Option<String>,
    /// RFC 9207.
    pub iss: Option<String>,
    /// Apple, at the first login: a JSON document with the name.
    pub user: Option<String>,
}

/// Somebody whom an upstream vouches for. (`issuer`, `subject`) is the identity; everything else is description.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    /// The provider's name in the configuration.
    pub provider: String,
    /// The issuer of the ID token, or a fixed id of a provider that has none (`https://github.com`).
    pub issuer: String,
    /// Stable, never reused, 1 to 255 characters.
    pub subject: String,
    /// What the username could be made from; not checked against any rule.
    pub username_hint: Option<String>,
    pub name: Option<String>,
    /// An https URL.
    pub picture: Option<String>,
    /// As the upstream writes it; see [`normalised_email`] for comparisons.
    pub email: Option<String>,
    /// Whether the upstream says that it verified the address.
    pub email_verified: bool,
    /// Google's `hd`.
    pub hosted_domain: Option<String>,
    /// Microsoft's `tid`.
    pub tenant: Option<String>,
    /// GitHub's organisations, asked for only if the allow list names any.
    pub organizations: Vec<String>,
    /// When the upstream says the person logged in, in seconds since the epoch.
    pub auth_time: Option<i64>,
    /// After `acr_map`; `None` if that does not know it.
    pub acr: Option<String>,
    pub amr: Option<Vec<String>>,
    /// The upstream's session, for its back-channel logout.
    pub sid: Option<String>,
    /// Standard claims of the right type (OpenID Connect Core §5.1), without `sub` and the address.
    pub claims: Map<String, Value>,
    /// How the person would recognise the account: username, else name, else subject.
    pub display: String,
}

impl std::fmt::Debug for Identity {
    /// Personal data stays out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("provider", &self.provider).finish_non_exhaustive()
    }
}

/// Why a login at an upstream came to nothing. Nothing in it repeats what the upstream wrote.
#[derive(Debug)]
pub enum UpstreamError {
    /// It cannot be reached or is broken; a later attempt may succeed.
    Unavailable(anyhow::Error),
    /// The person declined there.
    Denied,
    /// It answered something that must not be believed, or refused us; the code says which rule.
    Refused(&'static str),
    /// A new login was demanded and the upstream's is older, or unproven.
    NotFresh,
}

impl UpstreamError {
    /// A fixed code for machines: error pages, audit, metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "upstream_unavailable",
            Self::Denied => "access_denied",
            Self::Refused(code) => code,
            Self::NotFresh => "login_not_fresh",
        }
    }

    /// What the operator's log may say; never shown to people.
    pub fn detail(&self) -> String {
        match self {
            Self::Unavailable(error) => format!("{error:#}"),
            other => other.code().to_owned(),
        }
    }
}

impl std::fmt::Display for UpstreamError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.code())
    }
}

impl std::error::Error for UpstreamError {}
