//! riley-auth as a client of upstream providers: where people really prove who they are.
//!
//! This module builds the URL to send a browser to and turns a callback into an [`Identity`] that was checked in full,
//! or into an [`UpstreamError`]. It knows no users, no cookies and no SQL: who the identity belongs to, whether `state`
//! fits this browser and what happens next are [`crate::auth`]'s business. Tokens of an upstream live as long as the call
//! that needed them; they are never stored and never logged.
//!
//! | file | what | specification |
//! | --- | --- | --- |
//! | `settings`, `presets` | what is configured, and what is known of each provider as data | |
//! | `http` | the one outbound client and its limits | |
//! | `discovery`, `keys` | documents of a provider that are cached | OpenID Connect Discovery 1.0, RFC 7517 |
//! | `authorization` | the request, and the callback's parameters | RFC 6749 §4.1.1, RFC 7636, RFC 9207 |
//! | `token` | code to tokens | RFC 6749 §4.1.3, §2.3.1 |
//! | `oidc`, `id_token` | OpenID Connect providers | OpenID Connect Core §3.1.3.7, §5.3 |
//! | `oauth2`, `github`, `discord` | providers without ID tokens | RFC 6749 |
//! | `identity`, `error` | what a login gives: somebody, or a fixed code | |
//! | `apple`, `microsoft` | habits of one provider | |
//! | `profile` | subjects, addresses, names and pictures, all untrusted | OpenID Connect Core §5.1 |
//! | `signup` | who may join | |

mod apple;
mod authorization;
mod discord;
mod discovery;
mod error;
mod github;
mod http;
mod id_token;
mod identity;
mod keys;
mod microsoft;
mod oauth2;
mod oidc;
mod presets;
mod profile;
mod settings;
mod signup;
mod token;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use url::Url;

use crate::clock::Clock;
use crate::config::Config;
use crate::config::providers::{EmailTrust, Preset, ReauthenticationMeans};
use crate::protocol::pkce::CodeVerifier;

pub use error::UpstreamError;
pub use http::Limits;
pub use id_token::LogoutToken;
pub use identity::Identity;
pub use profile::normalised_email;
pub use signup::signup_allowed;

use http::Http;
use oauth2::OAuth2Client;
use oidc::OidcClient;
use settings::{Protocol, Settings};

/// Seconds by which an upstream's clock may differ from ours.
const CLOCK_SKEW_SECS: i64 = 60;
/// How long an upstream that does not say who it is is left alone, at first: longer than its failure is believed.
const LEARN_AGAIN_AFTER: std::time::Duration = std::time::Duration::from_secs(6);
/// And from then on.
const LEARN_AGAIN_AFTER_LONGER: std::time::Duration = std::time::Duration::from_secs(30);

/// Every configured upstream. Cheap to clone; what is cached is shared.
#[derive(Clone)]
pub struct Upstreams {
    providers: Arc<BTreeMap<String, Provider>>,
}

impl Upstreams {
    /// Reads `[oauth.providers]`. Nothing is fetched, so that an upstream that is down cannot stop the start; an error is
    /// a mistake in the configuration and names the key.
    pub fn new(config: &Config, clock: Clock) -> anyhow::Result<Self> {
        Self::with_limits(config, clock, Limits::default())
    }

    /// [`new`](Self::new) with other limits on outbound requests.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a clock is a handle, passed like the others"
    )]
    pub fn with_limits(config: &Config, clock: Clock, limits: Limits) -> anyhow::Result<Self> {
        let http = Http::new(limits, configured_hosts(config))?;
        let mut providers = BTreeMap::new();
        for (name, provider) in &config.oauth.providers {
            let settings = Settings::resolve(name, provider, &config.claims.passthrough)?;
            providers.insert(name.clone(), Provider::new(settings, http.clone(), clock.clone()));
        }
        Ok(Self {
            providers: Arc::new(providers),
        })
    }

    /// Whether what a link says of an address is believed at all. A provider that is no longer configured is not, and
    /// neither is an issuer that the name led to once.
    pub fn vouches_for_email(&self, provider: &str, issuer: &str) -> bool {
        self.of_link(provider, issuer)
            .is_some_and(|provider| provider.email_trust() != EmailTrust::None)
    }

    /// The provider that can still prove the identity of a link: the one of its name, if that is its issuer's, or else another
    /// one of that issuer, since names may change. A name that was pointed at another issuer says nothing about identities of
    /// the one before.
    pub fn of_link(&self, name: &str, issuer: &str) -> Option<&Provider> {
        self.get(name)
            .filter(|provider| provider.speaks_for(issuer))
            .or_else(|| self.list().find(|provider| provider.speaks_for(issuer)))
    }

    /// What the issuers of links are like whose addresses are believed at all, as patterns of SQL's LIKE. A link that fits one
    /// need not be believed: [`of_link`](Self::of_link) tells.
    pub fn believed_issuers(&self) -> Vec<String> {
        self.list()
            .filter(|provider| provider.email_trust() != EmailTrust::None)
            .map(Provider::issuer_pattern)
            .collect()
    }

    /// The provider of that name.
    pub fn get(&self, name: &str) -> Option<&Provider> {
        self.providers.get(name)
    }

    /// All of them, by name.
    pub fn list(&self) -> impl Iterator<Item = &Provider> {
        self.providers.values()
    }

    /// Fetches what tells whose identities are whose, where the configuration does not, from all providers at once. Failures are
    /// logged.
    pub async fn learn_issuers(&self) {
        let waiting = self.list().filter(|provider| provider.waits_for_document());
        let learn = async |provider: &Provider| {
            if let Err(error) = provider.probe().await {
                tracing::warn!(
                    provider.name = provider.name(),
                    error = %error.detail(),
                    "an upstream is not available yet; identities of its tenant cannot be told from others until it is"
                );
            }
        };
        futures_util::future::join_all(waiting.map(learn)).await;
    }

    /// The same for what a start did not learn, until everything is known.
    pub async fn keep_learning_issuers(&self) {
        let mut pause = LEARN_AGAIN_AFTER;
        while self.list().any(Provider::waits_for_document) {
            tokio::time::sleep(pause).await;
            self.learn_issuers().await;
            pause = LEARN_AGAIN_AFTER_LONGER;
        }
    }
}

/// The hosts that the deployer named: in issuers and in endpoints by hand.
fn configured_hosts(config: &Config) -> BTreeSet<String> {
    let urls = config.oauth.providers.values().flat_map(|provider| {
        let issuer = provider.issuer.as_ref().map(ToString::to_string);
        let by_hand = [
            &provider.auth_url,
            &provider.token_url,
            &provider.userinfo_url,
            &provider.api_url,
        ];
        issuer
            .into_iter()
            .chain(by_hand.into_iter().flatten().map(ToString::to_string))
    });
    urls.filter_map(|url| Some(Url::parse(&url).ok()?.host_str()?.to_owned()))
        .collect()
}

/// One upstream provider.
pub struct Provider {
    settings: Settings,
    client: Client,
    http: Http,
}

enum Client {
    Oidc(Box<OidcClient>),
    OAuth2(Box<OAuth2Client>),
}

impl Provider {
    fn new(settings: Settings, http: Http, clock: Clock) -> Self {
        let client = match settings.protocol.clone() {
            Protocol::Oidc(endpoints) => Client::Oidc(Box::new(OidcClient::new(endpoints, &settings, clock))),
            Protocol::OAuth2(endpoints) => Client::OAuth2(Box::new(OAuth2Client::new(endpoints))),
        };
        Self {
            settings,
            client,
            http,
        }
    }

    /// The name in the configuration and in paths.
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// Whether identities of this issuer are this provider's. Where only its discovery document tells (a Microsoft tenant that is
    /// configured by a domain name), they are not before that was fetched.
    pub fn speaks_for(&self, issuer: &str) -> bool {
        match &self.client {
            Client::Oidc(client) => client.gives(issuer),
            Client::OAuth2(client) => client.identity_issuer() == issuer,
        }
    }

    /// Whether they may be, as far as anybody can tell by now: before that document is there, the configuration alone does. What
    /// may not is of a former issuer of its name.
    pub fn may_speak_for(&self, issuer: &str) -> bool {
        match &self.settings.protocol {
            Protocol::Oidc(endpoints) if self.waits_for_document() => endpoints.issuer.may_give(issuer),
            _ => self.speaks_for(issuer),
        }
    }

    /// Whether nobody can tell yet which identities are its own.
    fn waits_for_document(&self) -> bool {
        match (&self.client, &self.settings.protocol) {
            (Client::Oidc(client), Protocol::Oidc(endpoints)) => {
                endpoints.issuer.needs_document() && !client.has_document()
            }
            _ => false,
        }
    }

    /// What those issuers are like, as a pattern of SQL's LIKE.
    fn issuer_pattern(&self) -> String {
        let parts = match &self.settings.protocol {
            Protocol::Oidc(endpoints) => endpoints.issuer.parts(),
            Protocol::OAuth2(endpoints) => vec![endpoints.identity_issuer.as_str()],
        };
        let literal = |part: &&str| part.replace('\\', r"\\").replace('%', r"\%").replace('_', r"\_");
        parts.iter().map(literal).collect::<Vec<_>>().join("%")
    }

    /// What people read on the button.
    pub fn display_name(&self) -> &str {
        &self.settings.display_name
    }

    /// The preset it was configured by.
    pub fn preset(&self) -> Option<Preset> {
        self.settings.preset
    }

    /// How far a verified address of this provider is believed in general: what counts for links stored long ago.
    pub fn email_trust(&self) -> EmailTrust {
        self.settings.email_trust
    }

    /// How far a verified address of a link stored long ago is believed: Google's word on its own domain is authoritative,
    /// unless the configuration says something else. That a Workspace customer owned a domain then, no link says.
    pub fn email_trust_of_address(&self, email: &str) -> EmailTrust {
        if self.is_judged_by_google() && profile::is_google_domain(email) {
            return EmailTrust::Authoritative;
        }
        self.settings.email_trust
    }

    fn is_judged_by_google(&self) -> bool {
        self.settings.preset == Some(Preset::Google) && !self.settings.email_trust_is_configured
    }

    /// How far the address of this very identity is believed: Google is authoritative for its own domains and for those
    /// of its Workspace customers, unless the configuration says something else.
    pub fn email_trust_of(&self, identity: &Identity) -> EmailTrust {
        if self.is_judged_by_google() && profile::is_google_account(identity) {
            return EmailTrust::Authoritative;
        }
        self.settings.email_trust
    }

    /// What may be asked of it when a new login is demanded.
    pub fn reauthentication(&self) -> Reauthentication {
        self.settings.reauthentication
    }

    /// Whether somebody with this identity may join (`signup`, `allow_list`).
    pub fn signup_allowed(&self, identity: &Identity) -> bool {
        signup_allowed(
            self.settings.signup,
            &self.settings.allow_list,
            self.email_trust_of(identity),
            identity,
        )
    }

    /// Makes sure that the provider's discovery document is there and fits: for `validate` and for fetching ahead.
    pub async fn probe(&self) -> Result<(), UpstreamError> {
        match &self.client {
            Client::Oidc(client) => client.metadata(&self.http).await.map(|_| ()),
            Client::OAuth2(_) => Ok(()),
        }
    }

    /// Where it is talked to. `Unavailable` while the provider's discovery document cannot be had.
    pub async fn endpoints(&self) -> Result<Vec<Url>, UpstreamError> {
        Ok(match &self.client {
            Client::Oidc(client) => {
                let metadata = client.metadata(&self.http).await?;
                vec![
                    metadata.authorization_endpoint.clone(),
                    metadata.token_endpoint.clone(),
                    metadata.jwks_uri.clone(),
                ]
            }
            Client::OAuth2(client) => client.endpoints(),
        })
    }

    /// The URL to send the browser to. `Unavailable` while the provider's discovery document cannot be had.
    pub async fn authorization_url(&self, start: &StartRequest<'_>) -> Result<Url, UpstreamError> {
        let endpoint = match &self.client {
            Client::Oidc(client) => client.metadata(&self.http).await?.authorization_endpoint.clone(),
            Client::OAuth2(client) => client.authorization_endpoint().clone(),
        };
        Ok(authorization::request_url(endpoint, &self.settings, start))
    }

    /// Judges the callback, redeems its code and verifies what comes back. The caller has checked `state` already: a
    /// callback of another flow must not reach the network.
    pub async fn finish(
        &self,
        callback: &CallbackParams,
        expected: &Expected<'_>,
        now: OffsetDateTime,
    ) -> Result<Identity, UpstreamError> {
        let code = authorization::code_of(callback)?;
        let identity = match &self.client {
            Client::Oidc(client) => {
                client
                    .finish(&self.settings, &self.http, code, callback, expected, now)
                    .await?
            }
            Client::OAuth2(client) => {
                client
                    .finish(&self.settings, &self.http, code, expected, now)
                    .await?
            }
        };
        authorization::require_fresh(identity.auth_time, expected)?;
        Ok(identity)
    }

    /// Verifies a logout token of this provider (OpenID Connect Back-Channel Logout 1.0 §2.6). Whether its `jti` was seen
    /// before is for the caller to know. Providers without ID tokens send none: `Refused`.
    pub async fn verify_logout_token(
        &self,
        token: &str,
        now: OffsetDateTime,
    ) -> Result<LogoutToken, UpstreamError> {
        match &self.client {
            Client::Oidc(client) => {
                client
                    .verify_logout_token(&self.settings, &self.http, token, now)
                    .await
            }
            Client::OAuth2(_) => Err(UpstreamError::Refused("logout_token_unsupported")),
        }
    }
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
    pub const FULL: Self = Self {
        prompt_login: true,
        max_age: true,
        select_account: true,
    };
    /// Nothing at all.
    pub const NONE: Self = Self {
        prompt_login: false,
        max_age: false,
        select_account: false,
    };

    /// These means alone.
    pub fn of(means: &[ReauthenticationMeans]) -> Self {
        Self {
            prompt_login: means.contains(&ReauthenticationMeans::Login),
            max_age: means.contains(&ReauthenticationMeans::MaxAge),
            select_account: means.contains(&ReauthenticationMeans::SelectAccount),
        }
    }
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

/// The callback's parameters, from the query or a form_post. No `Debug`: a code reaches no log. What is serialised of it
/// must be sealed.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct CallbackParams {
    pub code: Option<String>,
    pub state: Option<String>,
    pub error: Option<String>,
    /// RFC 9207.
    pub iss: Option<String>,
    /// Apple, at the first login: a JSON document with the name.
    pub user: Option<String>,
}
