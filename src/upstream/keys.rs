//! A provider's published keys (RFC 7517), cached, and fetched again when a token names one that is not among them.

use std::sync::{Arc, PoisonError, RwLock};

use anyhow::Context as _;
use serde_json::{Map, Value};
use time::{Duration, OffsetDateTime};
use url::Url;

use super::UpstreamError;
use super::http::Http;
use crate::clock::Clock;
use crate::jwt::foreign::{ForeignAlgorithm, ForeignKeys, ForeignVerifyError};
use crate::patience::elsewhere;

/// How long keys are used without asking again, so that a withdrawn one does not verify for ever.
const FRESH_FOR: Duration = Duration::HOUR;

/// At most one fetch for an unknown `kid` in this time: a flood of forged ones must cost the provider nothing.
const REFETCH_AFTER: Duration = Duration::MINUTE;

/// At most one attempt in this time while the provider does not answer.
const RETRY_AFTER: Duration = Duration::seconds(5);

/// The cached keys of one provider.
pub(super) struct JwksCache {
    clock: Clock,
    state: RwLock<State>,
    fetching: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    keys: Option<Known>,
    failed_at: Option<OffsetDateTime>,
    /// When an unknown `kid` last caused a fetch.
    refetched_at: Option<OffsetDateTime>,
    /// The same for tokens that anybody may send: forged ones must not keep the keys from a sign-in that needs them.
    refetched_for_strangers_at: Option<OffsetDateTime>,
}

/// Who brought the token that is verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bearer {
    /// The provider's own token endpoint.
    Provider,
    /// Whoever called us.
    Anybody,
}

#[derive(Clone)]
struct Known {
    keys: Arc<ForeignKeys>,
    /// Where they came from: another `jwks_uri` in the discovery document makes them void.
    uri: Url,
    fetched_at: OffsetDateTime,
}

impl JwksCache {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clock,
            state: RwLock::default(),
            fetching: tokio::sync::Mutex::default(),
        }
    }

    /// Verifies `token` by the keys at `uri` and returns its claims, of which none is judged.
    pub(super) async fn verify(
        &self,
        http: &Http,
        uri: &Url,
        token: &str,
        allowed: &[ForeignAlgorithm],
        bearer: Bearer,
    ) -> Result<Map<String, Value>, UpstreamError> {
        let known = self.get(http, uri).await?;
        let mut verified = known.keys.verify(token, allowed);
        if verified == Err(ForeignVerifyError::UnknownKid)
            && let Some(newer) = self.refetch(http, uri, known.fetched_at, bearer).await
        {
            verified = newer.verify(token, allowed);
        }
        match verified {
            Ok((_, claims)) => Ok(claims),
            Err(error) => Err(UpstreamError::Refused(refusal(error))),
        }
    }

    async fn get(&self, http: &Http, uri: &Url) -> Result<Known, UpstreamError> {
        if let Some(known) = self.known(uri) {
            return known;
        }
        let _fetching = elsewhere(self.fetching.lock()).await;
        if let Some(known) = self.known(uri) {
            return known;
        }
        match self.fetch(http, uri).await {
            Ok(known) => Ok(known),
            Err(error) => self.stale(uri).ok_or(UpstreamError::Unavailable(error)),
        }
    }

    /// Newer keys than those of `than`, if it is time to ask or somebody has asked since.
    async fn refetch(
        &self,
        http: &Http,
        uri: &Url,
        than: OffsetDateTime,
        bearer: Bearer,
    ) -> Option<Arc<ForeignKeys>> {
        let _fetching = elsewhere(self.fetching.lock()).await;
        if let Some(known) = self.stale(uri).filter(|known| known.fetched_at > than) {
            return Some(known.keys);
        }
        {
            let now = self.clock.now();
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            let refetched_at = match bearer {
                Bearer::Provider => &mut state.refetched_at,
                Bearer::Anybody => &mut state.refetched_for_strangers_at,
            };
            if refetched_at.is_some_and(|at| now < at + REFETCH_AFTER) {
                return None;
            }
            *refetched_at = Some(now);
        }
        self.fetch(http, uri).await.ok().map(|known| known.keys)
    }

    fn known(&self, uri: &Url) -> Option<Result<Known, UpstreamError>> {
        let now = self.clock.now();
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let failed_lately = state
            .failed_at
            .is_some_and(|failed_at| now < failed_at + RETRY_AFTER);
        match state.keys.as_ref().filter(|known| known.uri == *uri) {
            Some(known) if failed_lately || now < known.fetched_at + FRESH_FOR => Some(Ok(known.clone())),
            None if failed_lately => Some(Err(UpstreamError::unavailable(
                "the keys could not be fetched a moment ago",
            ))),
            _ => None,
        }
    }

    fn stale(&self, uri: &Url) -> Option<Known> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.keys.clone().filter(|known| known.uri == *uri)
    }

    async fn fetch(&self, http: &Http, uri: &Url) -> anyhow::Result<Known> {
        let fetched = fetch_keys(http, uri).await;
        let now = self.clock.now();
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        match fetched {
            Ok(keys) => {
                let known = Known {
                    keys: Arc::new(keys),
                    uri: uri.clone(),
                    fetched_at: now,
                };
                state.keys = Some(known.clone());
                state.failed_at = None;
                Ok(known)
            }
            Err(error) => {
                state.failed_at = Some(now);
                Err(error)
            }
        }
    }
}

async fn fetch_keys(http: &Http, uri: &Url) -> anyhow::Result<ForeignKeys> {
    let jwks: Value = http.get_json("fetch the keys", uri, None).await?;
    ForeignKeys::from_jwks(&jwks).context("read the keys")
}

/// The code of a refusal: what was wrong, never what was sent.
fn refusal(error: ForeignVerifyError) -> &'static str {
    match error {
        ForeignVerifyError::UnknownKid => "token_key_unknown",
        ForeignVerifyError::BadSignature => "token_signature_wrong",
        ForeignVerifyError::NotAllowed(_) => "token_algorithm_not_allowed",
        ForeignVerifyError::Malformed(_) => "token_malformed",
    }
}

/// The algorithms that a provider's tokens may be signed with: those it lists, as far as we verify them. RS256 if it
/// lists none, because every provider must support that (OpenID Connect Discovery 1.0 §3).
pub(super) fn allowed_algorithms(listed: &[String]) -> Vec<ForeignAlgorithm> {
    if listed.is_empty() {
        return vec![ForeignAlgorithm::RS256];
    }
    listed
        .iter()
        .filter_map(|name| name.parse().ok())
        .filter(|algorithm| *algorithm != ForeignAlgorithm::ES512)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8725 §3.1, §3.2: `none` and HMAC are not for public keys, whatever the provider lists.
    #[test]
    fn only_asymmetric_algorithms_are_allowed() {
        let listed = ["none", "HS256", "RS256", "EdDSA", "invented"].map(str::to_owned);
        assert_eq!(
            allowed_algorithms(&listed),
            [ForeignAlgorithm::RS256, ForeignAlgorithm::EdDSA]
        );
        assert_eq!(allowed_algorithms(&["HS256".to_owned()]), []);
        assert_eq!(allowed_algorithms(&[]), [ForeignAlgorithm::RS256]);
    }
}
