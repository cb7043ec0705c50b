//! Rate limits: who may send how many requests.
//!
//! Whoever is unknown, or fails to prove who they are, counts by address; a client that has proved who it is counts by its
//! id, so that a busy backend is not taken for an attacker. Guessing a client's secret counts by client and source together:
//! it slows the guesser down and does not lock out the client, which comes from elsewhere.
//!
//! | file | subject |
//! | --- | --- |
//! | [`rules`] | when a request is one too many; what counts as one source |
//! | [`memory`] | buckets of this instance |
//! | `redis.rs` | buckets that instances share |
//!
//! When the shared store does not answer, this instance's memory judges, and that is counted: an attacker who can disturb
//! the store must not switch the limits off, and nobody should be locked out by its absence.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::Duration;

use aws_lc_rs::digest;
use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use secrecy::SecretString;

use crate::clock::Clock;
use crate::config::rate_limiting::RateLimitingConfig;
use crate::error::ErrorBody;
use crate::http::page;
use crate::metrics::Metrics;
use crate::protocol::ids::ClientId;

pub mod memory;
#[cfg(feature = "redis")]
mod redis;
pub mod rules;
#[cfg(feature = "redis")]
mod shared;

use memory::Memory;
use rules::{Bucket, Key, Limit, PERIOD, Prefix, Quota, Subject, Tier, Verdict};

/// The limits of one instance.
pub struct Limits {
    quotas: RwLock<Option<Quotas>>,
    /// Where they come from, as the log shows it.
    numbers: Mutex<String>,
    memory: Memory,
    #[cfg(feature = "redis")]
    shared: Option<shared::Shared>,
    metrics: Metrics,
    clock: Clock,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Quotas {
    auth: Quota,
    standard: Quota,
    public: Quota,
    client: Option<Quota>,
}

/// A request too many. Its answer is 429 (RFC 6585 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limited {
    pub retry_after: Duration,
}

impl Limits {
    /// The limits that the configuration wants.
    pub fn new(config: &RateLimitingConfig, metrics: Metrics, clock: Clock) -> anyhow::Result<Self> {
        for limit in Limit::ALL {
            metrics.rate_limit_exists(limit.as_str());
        }
        Ok(Self {
            quotas: RwLock::new(Quotas::of_config(config)),
            numbers: Mutex::new(config.numbers()),
            memory: Memory::default(),
            #[cfg(feature = "redis")]
            shared: config.redis_url.as_ref().map(shared::Shared::new).transpose()?,
            metrics,
            clock,
        })
    }

    /// Takes over the numbers of a configuration that was read anew; what was counted so far stays. The shared store stays the
    /// one of the start. Tells the numbers from before, if anything is different.
    pub fn take_over(&self, config: &RateLimitingConfig) -> Option<String> {
        let new = Quotas::of_config(config);
        let mut quotas = self.quotas.write().unwrap_or_else(PoisonError::into_inner);
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *numbers, config.numbers());
        (std::mem::replace(&mut *quotas, new) != new).then_some(before)
    }

    fn quotas(&self) -> Option<Quotas> {
        *self.quotas.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request of nobody in particular by its address.
    pub async fn request(&self, tier: Tier, address: Option<IpAddr>) -> Result<(), Limited> {
        match self.by_address(tier, address) {
            Some(buckets) => self.take(Limit::Tier(tier), &buckets).await,
            None => Ok(()),
        }
    }

    /// Whether this instance knows that the address has nothing left. Counts nothing.
    pub fn is_exhausted(&self, tier: Tier, address: Option<IpAddr>) -> Result<(), Limited> {
        match self.by_address(tier, address) {
            Some(buckets) => self.look(Limit::Tier(tier), &buckets),
            None => Ok(()),
        }
    }

    /// Counts a request of a client that has proved who it is.
    pub async fn client(&self, client_id: &ClientId) -> Result<(), Limited> {
        let Some(quota) = self.quotas().and_then(|quotas| quotas.client) else {
            return Ok(());
        };
        let key = Key {
            limit: Limit::Client,
            subject: Subject::Client(digest_of(client_id)),
        };
        self.take(Limit::Client, &[(key, quota)]).await
    }

    /// Whether another secret of this client may be tried from there. Asked before the secret is looked at, so that a guess
    /// beyond the limit tells nothing, not even when it is right.
    pub fn may_guess(&self, client_id: &ClientId, address: Option<IpAddr>) -> Result<(), Limited> {
        match self.by_guesser(client_id, address) {
            Some(buckets) => self.look(Limit::SecretGuessing, &buckets),
            None => Ok(()),
        }
    }

    /// Counts a secret that was wrong.
    pub async fn guessed_wrong(&self, client_id: &ClientId, address: Option<IpAddr>) -> Result<(), Limited> {
        match self.by_guesser(client_id, address) {
            Some(buckets) => self.take(Limit::SecretGuessing, &buckets).await,
            None => Ok(()),
        }
    }

    fn by_address(&self, tier: Tier, address: Option<IpAddr>) -> Option<Vec<Bucket>> {
        let quota = self.quotas()?.of(tier);
        let limit = Limit::Tier(tier);
        Some(buckets(limit, quota, address, Subject::Address))
    }

    fn by_guesser(&self, client_id: &ClientId, address: Option<IpAddr>) -> Option<Vec<Bucket>> {
        let quota = self.quotas()?.auth;
        let client = digest_of(client_id);
        let subject = |prefix| Subject::Guesser(client, prefix);
        Some(buckets(Limit::SecretGuessing, quota, address, subject))
    }

    async fn take(&self, limit: Limit, buckets: &[Bucket]) -> Result<(), Limited> {
        let now = self.clock.monotonic();
        #[cfg(feature = "redis")]
        if let Some(shared) = &self.shared {
            // What was refused a moment ago need not be asked again; a flood costs no round trips.
            self.look(limit, buckets)?;
            match shared.take(buckets, now).await {
                Some(Verdict::Refused(wait)) => {
                    self.memory.remember_refusal(buckets, wait, now);
                    return Err(self.refuse(limit, wait));
                }
                Some(Verdict::Admitted) => return Ok(()),
                None => self.metrics.rate_limit_fallback(),
            }
        }
        match self.memory.take(buckets, now) {
            Verdict::Admitted => Ok(()),
            Verdict::Refused(wait) => Err(self.refuse(limit, wait)),
        }
    }

    fn look(&self, limit: Limit, buckets: &[Bucket]) -> Result<(), Limited> {
        match self.memory.look(buckets, self.clock.monotonic()) {
            Verdict::Admitted => Ok(()),
            Verdict::Refused(wait) => Err(self.refuse(limit, wait)),
        }
    }

    fn refuse(&self, limit: Limit, retry_after: Duration) -> Limited {
        self.metrics.rate_limit_hit(limit.as_str());
        Limited { retry_after }
    }
}

/// Why a shared store cannot be used, with the kind of error: its own words may hold the URL.
#[derive(Debug)]
pub enum StoreProblem {
    /// No connection, or no answer in time.
    Silent(String),
    /// It answers by an error.
    Refused(String),
}

/// Tries the shared store out, as the server will use it; counts nothing. The first question has to make the connection,
/// which a running server has; a store that is silent then is asked once more.
#[cfg(feature = "redis")]
pub async fn try_store(url: &SecretString) -> Result<(), StoreProblem> {
    let refused = |error: ::redis::RedisError| {
        let kind = format!("{:?}", error.kind());
        let silent = error.is_io_error() || error.is_timeout() || error.is_connection_refusal();
        if silent {
            StoreProblem::Silent(kind)
        } else {
            StoreProblem::Refused(kind)
        }
    };
    let store = redis::Redis::new(url).map_err(refused)?;
    match store.try_out().await.map_err(refused) {
        Err(StoreProblem::Silent(_)) => store.try_out().await.map_err(refused),
        told => told,
    }
}

/// This program has no support for one; the configuration was refused before.
#[cfg(not(feature = "redis"))]
pub async fn try_store(_: &SecretString) -> Result<(), StoreProblem> {
    Ok(())
}

impl Quotas {
    /// `None`: nothing is limited.
    fn of_config(config: &RateLimitingConfig) -> Option<Self> {
        config.enabled.then(|| Self {
            auth: Quota(config.auth_per_minute),
            standard: Quota(config.standard_per_minute),
            public: Quota(config.public_per_minute),
            client: (config.client_per_minute > 0).then_some(Quota(config.client_per_minute)),
        })
    }

    const fn of(&self, tier: Tier) -> Quota {
        match tier {
            Tier::Auth => self.auth,
            Tier::Standard => self.standard,
            Tier::Public | Tier::Unmatched => self.public,
        }
    }
}

/// The bucket of the smallest prefix, and that of the larger one around it.
fn buckets(
    limit: Limit,
    quota: Quota,
    address: Option<IpAddr>,
    subject: impl Fn(Prefix) -> Subject,
) -> Vec<Bucket> {
    let (fine, coarse) = Prefix::of(address);
    let key = |prefix| Key {
        limit,
        subject: subject(prefix),
    };
    let coarse = coarse.map(|prefix| (key(prefix), quota.coarse()));
    std::iter::once((key(fine), quota)).chain(coarse).collect()
}

fn digest_of(client_id: &ClientId) -> [u8; 16] {
    let digest = digest::digest(&digest::SHA256, client_id.as_str().as_bytes());
    let mut start = [0; 16];
    start.copy_from_slice(&digest.as_ref()[..16]);
    start
}

impl Limited {
    /// The seconds of `Retry-After`, rounded up, so that whoever obeys is admitted.
    fn retry_after(self) -> (HeaderName, HeaderValue) {
        let secs = self.retry_after.as_millis().div_ceil(1000).max(1);
        let secs = u64::try_from(secs).unwrap_or(PERIOD.as_secs());
        (header::RETRY_AFTER, HeaderValue::from(secs))
    }

    /// The same for a person at a browser.
    pub fn into_page(self) -> Response {
        let text = "Too many requests came from your network. Wait a moment, then try again.";
        let page = page::plain_page(StatusCode::TOO_MANY_REQUESTS, "Please wait a moment", text, "");
        ([self.retry_after()], page).into_response()
    }
}

impl IntoResponse for Limited {
    fn into_response(self) -> Response {
        let body = ErrorBody {
            error: "too_many_requests",
            error_description: Some("too many requests from there, try again later".into()),
        };
        let headers = [
            self.retry_after(),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        ];
        (StatusCode::TOO_MANY_REQUESTS, headers, Json(body)).into_response()
    }
}
