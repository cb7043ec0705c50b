//! The discovery document of an OpenID provider (OpenID Connect Discovery 1.0 §3, §4), fetched lazily and cached.

use std::sync::{Arc, PoisonError, RwLock};

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use time::{Duration, OffsetDateTime};
use url::Url;

use super::UpstreamError;
use super::http::Http;
use super::microsoft;
use super::settings::is_secure;
use crate::clock::Clock;
use crate::patience::elsewhere;

/// How long a document is used without asking again.
const FRESH_FOR: Duration = Duration::HOUR;

/// How long a failure is believed: nobody waits for a provider that just did not answer.
const RETRY_AFTER: Duration = Duration::seconds(5);

/// The members that we use; unknown ones are ignored.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Metadata {
    pub(super) issuer: String,
    pub(super) authorization_endpoint: Url,
    pub(super) token_endpoint: Url,
    pub(super) userinfo_endpoint: Option<Url>,
    pub(super) jwks_uri: Url,
    #[serde(default)]
    pub(super) id_token_signing_alg_values_supported: Vec<String>,
    pub(super) token_endpoint_auth_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    pub(super) authorization_response_iss_parameter_supported: bool,
}

impl Metadata {
    /// Whether the document is the configured issuer's (§4.3: equal, byte for byte) and its endpoints may be used.
    fn check(&self, issuer: &IssuerRule, allow_insecure_http: bool) -> anyhow::Result<()> {
        ensure!(
            issuer.accepts_metadata_issuer(&self.issuer),
            "the discovery document names another issuer"
        );
        let endpoints = [
            Some(&self.authorization_endpoint),
            Some(&self.token_endpoint),
            self.userinfo_endpoint.as_ref(),
            Some(&self.jwks_uri),
        ];
        let secure = endpoints
            .into_iter()
            .flatten()
            .all(|url| is_secure(url, allow_insecure_http));
        ensure!(
            secure,
            "the discovery document names an endpoint that is not https"
        );
        Ok(())
    }
}

/// Which issuers are the configured one.
#[derive(Clone, Debug)]
pub(super) enum IssuerRule {
    Exact(String),
    /// Microsoft: one document for many issuers.
    Microsoft(microsoft::Tenancy),
}

impl IssuerRule {
    /// `tenant` is given for Microsoft alone.
    pub(super) fn new(issuer: &str, tenant: Option<&str>) -> Self {
        tenant
            .and_then(|tenant| microsoft::Tenancy::new(issuer, tenant))
            .map_or_else(|| Self::Exact(issuer.to_owned()), Self::Microsoft)
    }

    /// Where the discovery document is: the issuer without a trailing slash, then the well-known path (§4.1).
    pub(super) fn discovery_url(&self) -> Option<Url> {
        let issuer = match self {
            Self::Exact(issuer) => issuer.clone(),
            Self::Microsoft(tenancy) => tenancy.authority(),
        };
        format!(
            "{}/.well-known/openid-configuration",
            issuer.strip_suffix('/').unwrap_or(&issuer)
        )
        .parse()
        .ok()
    }

    /// Whether identities can be of this issuer. `document_issuer`: what the discovery document said, if it is known.
    pub(super) fn gives(&self, issuer: &str, document_issuer: Option<&str>) -> bool {
        match self {
            Self::Exact(expected) => expected == issuer,
            Self::Microsoft(tenancy) => tenancy.gives(issuer, document_issuer),
        }
    }

    /// The same as far as the configuration tells by itself.
    pub(super) fn may_give(&self, issuer: &str) -> bool {
        match self {
            Self::Exact(expected) => expected == issuer,
            Self::Microsoft(tenancy) => tenancy.may_give(issuer),
        }
    }

    /// Whether it takes the discovery document to know them.
    pub(super) fn needs_document(&self) -> bool {
        matches!(self, Self::Microsoft(tenancy) if tenancy.is_named_by_domain())
    }

    /// What every issuer that [`gives`](Self::gives) accepts is like: the texts between which anything may stand.
    pub(super) fn parts(&self) -> Vec<&str> {
        match self {
            Self::Exact(issuer) => vec![issuer],
            Self::Microsoft(tenancy) => {
                let (before, after) = tenancy.around_tenant();
                vec![before, after]
            }
        }
    }

    fn accepts_metadata_issuer(&self, issuer: &str) -> bool {
        match self {
            Self::Exact(expected) => expected == issuer,
            Self::Microsoft(tenancy) => tenancy.accepts_metadata_issuer(issuer),
        }
    }
}

/// The cached document of one provider.
pub(super) struct Discovery {
    issuer: IssuerRule,
    allow_insecure_http: bool,
    clock: Clock,
    state: RwLock<State>,
    /// Held while fetching: however many people wait, one request goes out.
    fetching: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    metadata: Option<(Arc<Metadata>, OffsetDateTime)>,
    failed_at: Option<OffsetDateTime>,
}

impl Discovery {
    pub(super) fn new(issuer: IssuerRule, allow_insecure_http: bool, clock: Clock) -> Self {
        Self {
            issuer,
            allow_insecure_http,
            clock,
            state: RwLock::default(),
            fetching: tokio::sync::Mutex::default(),
        }
    }

    pub(super) fn issuer(&self) -> &IssuerRule {
        &self.issuer
    }

    /// The issuer that the last document named, however old that is; `None` before there was one.
    pub(super) fn document_issuer(&self) -> Option<String> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state
            .metadata
            .as_ref()
            .map(|(metadata, _)| metadata.issuer.clone())
    }

    /// The document, fetched if there is none or it is old. An old one outlives failures to renew it.
    pub(super) async fn get(&self, http: &Http) -> Result<Arc<Metadata>, UpstreamError> {
        if let Some(known) = self.known() {
            return known;
        }
        let _fetching = elsewhere(self.fetching.lock()).await;
        // Somebody may have fetched it while this call waited.
        if let Some(known) = self.known() {
            return known;
        }
        let fetched = self.fetch(http).await;
        let now = self.clock.now();
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        match fetched {
            Ok(metadata) => {
                let metadata = Arc::new(metadata);
                *state = State {
                    metadata: Some((metadata.clone(), now)),
                    failed_at: None,
                };
                Ok(metadata)
            }
            Err(error) => {
                state.failed_at = Some(now);
                state
                    .metadata
                    .as_ref()
                    .map(|(metadata, _)| metadata.clone())
                    .ok_or(UpstreamError::Unavailable(error))
            }
        }
    }

    /// What can be answered without asking; `None` if it is time to ask.
    fn known(&self) -> Option<Result<Arc<Metadata>, UpstreamError>> {
        let now = self.clock.now();
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let failed_lately = state
            .failed_at
            .is_some_and(|failed_at| now < failed_at + RETRY_AFTER);
        match &state.metadata {
            Some((metadata, fetched_at)) if failed_lately || now < *fetched_at + FRESH_FOR => {
                Some(Ok(metadata.clone()))
            }
            None if failed_lately => Some(Err(UpstreamError::unavailable("discovery failed a moment ago"))),
            _ => None,
        }
    }

    async fn fetch(&self, http: &Http) -> anyhow::Result<Metadata> {
        let url = self.issuer.discovery_url().context("the issuer is not a URL")?;
        let metadata: Metadata = http.get_json("fetch the discovery document", &url, None).await?;
        metadata.check(&self.issuer, self.allow_insecure_http)?;
        Ok(metadata)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn metadata(issuer: &str, token_endpoint: &str) -> Metadata {
        serde_json::from_value(json!({
            "issuer": issuer,
            "authorization_endpoint": "https://op.test/authorize",
            "token_endpoint": token_endpoint,
            "jwks_uri": "https://op.test/jwks",
        }))
        .unwrap()
    }

    /// OpenID Connect Discovery 1.0 §4.3.
    #[test]
    fn the_issuer_must_be_equal_byte_for_byte() {
        let rule = IssuerRule::new("https://op.test", None);
        assert!(
            metadata("https://op.test", "https://op.test/token")
                .check(&rule, false)
                .is_ok()
        );
        for other in [
            "https://op.test/",
            "https://OP.test",
            "http://op.test",
            "https://op.test.evil.test",
            "",
        ] {
            assert!(
                metadata(other, "https://op.test/token")
                    .check(&rule, false)
                    .is_err(),
                "{other}"
            );
        }
    }

    #[test]
    fn endpoints_are_https_unless_development_allows_http() {
        let rule = IssuerRule::new("https://op.test", None);
        let plain = metadata("https://op.test", "http://op.test/token");
        assert!(plain.check(&rule, false).is_err());
        assert!(plain.check(&rule, true).is_ok());
        assert!(
            metadata("https://op.test", "file:///etc/passwd")
                .check(&rule, true)
                .is_err()
        );
    }

    /// OpenID Connect Discovery 1.0 §4.1.
    #[test]
    fn the_well_known_path_follows_the_issuer_without_a_trailing_slash() {
        for (issuer, url) in [
            (
                "https://op.test",
                "https://op.test/.well-known/openid-configuration",
            ),
            (
                "https://op.test/",
                "https://op.test/.well-known/openid-configuration",
            ),
            (
                "https://op.test/realm",
                "https://op.test/realm/.well-known/openid-configuration",
            ),
        ] {
            assert_eq!(
                IssuerRule::new(issuer, None).discovery_url().unwrap().as_str(),
                url
            );
        }
    }
}
