//! `GET /health/outside`: what arrives here of a request that was sent to the public URL; for `riley-auth validate --live`.
//!
//! It tells addresses of proxies and of the caller, which are nobody's business. So the caller proves with every request
//! that it holds `database.secret_key`, by a code over issuer, time and a nonce; to everybody else this path does not exist.
//! The answer is made of nothing but that request: no database, no person, no secret.

use std::net::SocketAddr;

use axum::Json;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::error::{AppError, ErrorBody};
use crate::http::client_ip::ClientIp;
use crate::http::cookies::{CookieKind, Cookies};
use crate::http::no_store::NoStore;
use crate::http::now::Now;
use crate::http::state::AppState;
use crate::sealing::{KeyId, Keyring, Purpose};

/// Below the issuer.
pub const PATH: &str = "/health/outside";
/// Carries the proof. A header of its own, since whether `Authorization` arrives is one of the questions.
pub const PROOF: &str = "x-live-proof";
/// Seconds by which the clocks of both sides may differ. A proof that somebody copies is good for as long.
const PROOF_GOOD_FOR_SECS: u64 = 600;
/// Entries of a header that are told, so that the answer stays small.
const MAX_ENTRIES: usize = 20;
/// Headers that only proxies write.
const SIGNS_OF_PROXIES: [&str; 7] = [
    "via",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
    "cf-connecting-ip",
];
/// Every cookie that a browser is ever sent.
pub const COOKIES: [CookieKind; 4] = [
    CookieKind::Refresh,
    CookieKind::Access,
    CookieKind::Browser,
    CookieKind::Setup,
];

/// What arrived. The cookies are in the answer's own headers: the removal of each, with the attributes of the real ones.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Seen {
    /// The nonce of the proof: an answer with another one was kept by a cache.
    pub nonce: String,
    /// The other end of the socket.
    #[schema(value_type = Option<String>)]
    pub peer_address: Option<std::net::IpAddr>,
    /// Whom the server takes for the client: what limits, sessions and the audit trail go by.
    #[schema(value_type = Option<String>)]
    pub client_address: Option<std::net::IpAddr>,
    /// `server.behind_proxy`, as this instance has it.
    pub behind_proxy: bool,
    /// The entries of all `X-Forwarded-For` lines, in order.
    pub forwarded_for: Vec<String>,
    /// The entries of all `X-Forwarded-Proto` lines, in order.
    pub forwarded_proto: Vec<String>,
    pub host: Option<String>,
    /// The names of headers that only proxies write.
    pub signs_of_proxies: Vec<String>,
    /// Whether `Authorization` arrived.
    pub authorization: bool,
    /// Whether the session cookie arrived.
    pub cookie: bool,
    /// Whether the query arrived.
    pub query: bool,
    /// The server's clock, in microseconds since the epoch.
    pub now_micros: i64,
}

/// Makes and judges proofs.
pub struct ProofKey<'k> {
    keyring: &'k Keyring,
    issuer: &'k str,
}

impl<'k> ProofKey<'k> {
    /// Of one deployment: its secrets and its issuer.
    pub fn new(keyring: &'k Keyring, issuer: &'k str) -> Self {
        Self { keyring, issuer }
    }

    /// The value of [`PROOF`] for one request. `nonce`: visible ASCII without a dot.
    pub fn prove(&self, nonce: &str, now: OffsetDateTime) -> String {
        let seconds = now.unix_timestamp();
        let message = self.message(seconds, nonce);
        let (KeyId(id), tag) = self.keyring.authenticate(Purpose::LiveProof, message.as_bytes());
        let [id, tag] = [&id[..], &tag].map(|bytes| URL_SAFE_NO_PAD.encode(bytes));
        format!("{seconds}.{nonce}.{id}.{tag}")
    }

    /// The nonce of a proof that is good at `now`.
    pub fn judge<'p>(&self, proof: &'p str, now: OffsetDateTime) -> Option<&'p str> {
        let [seconds, nonce, id, tag] = proof.split('.').collect::<Vec<_>>().try_into().ok()?;
        let seconds: i64 = seconds.parse().ok()?;
        let id = URL_SAFE_NO_PAD.decode(id).ok()?.try_into().ok()?;
        let tag = URL_SAFE_NO_PAD.decode(tag).ok()?;
        let message = self.message(seconds, nonce);
        let is_ours = self
            .keyring
            .verify(Purpose::LiveProof, KeyId(id), message.as_bytes(), &tag)?;
        let is_recent = seconds.abs_diff(now.unix_timestamp()) <= PROOF_GOOD_FOR_SECS;
        (is_ours && is_recent).then_some(nonce)
    }

    fn message(&self, seconds: i64, nonce: &str) -> String {
        format!("{seconds}\n{nonce}\n{}", self.issuer)
    }
}

/// Answers who proves to hold the key; to everybody else nothing is here.
#[utoipa::path(get, path = "/health/outside", tag = "operation", operation_id = "outside",
    params(("x-live-proof" = Option<String>, Header, description = "Made by `riley-auth validate --live` from `database.secret_key`")),
    responses((status = 200, body = Seen),
        (status = 404, body = ErrorBody, description = "The proof is missing or wrong")))]
pub async fn outside(
    State(state): State<AppState>,
    Now(now): Now,
    client: ClientIp,
    request: Request,
) -> Result<Response, AppError> {
    let headers = request.headers();
    let proof = headers.get(PROOF).and_then(|value| value.to_str().ok());
    let key = ProofKey::new(&state.keyring, state.config.issuer());
    let nonce = proof
        .and_then(|proof| key.judge(proof, now).map(str::to_owned))
        .ok_or_else(AppError::not_found)?;
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let cookies = Cookies::new(&state.config);
    let seen = Seen {
        nonce,
        peer_address: peer.map(|ConnectInfo(peer)| peer.ip().to_canonical()),
        client_address: client.0,
        behind_proxy: state.config.server.behind_proxy,
        forwarded_for: entries(headers, "x-forwarded-for"),
        forwarded_proto: entries(headers, "x-forwarded-proto"),
        host: headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok())
            .map(str::to_owned),
        signs_of_proxies: SIGNS_OF_PROXIES
            .into_iter()
            .filter(|name| headers.contains_key(*name))
            .map(str::to_owned)
            .collect(),
        authorization: headers.contains_key(header::AUTHORIZATION),
        cookie: !matches!(
            cookies.read(headers, CookieKind::Refresh),
            crate::http::cookies::CookieValue::Absent
        ),
        query: request.uri().query().is_some_and(|query| !query.is_empty()),
        now_micros: i64::try_from(now.unix_timestamp_nanos() / 1_000).unwrap_or(i64::MAX),
    };
    let mut response = NoStore(Json(seen)).into_response();
    for kind in COOKIES {
        response
            .headers_mut()
            .append(header::SET_COOKIE, cookies.clear(kind));
    }
    Ok(response)
}

fn entries(headers: &HeaderMap, name: &str) -> Vec<String> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(|entry| entry.trim().to_owned())
        .take(MAX_ENTRIES)
        .collect()
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;
    use time::Duration;

    use super::*;

    fn keyring(current: &str, previous: &[&str]) -> Keyring {
        let secret = |text: &str| SecretString::from(text.repeat(32));
        let previous: Vec<SecretString> = previous.iter().map(|text| secret(text)).collect();
        Keyring::new(&secret(current), &previous)
    }

    #[test]
    fn a_proof_is_good_for_its_secret_its_issuer_and_its_time_alone() {
        const ISSUER: &str = "https://a.example";
        let now = OffsetDateTime::UNIX_EPOCH + Duration::days(20_000);
        let ring = keyring("a", &[]);
        let ours = ProofKey::new(&ring, ISSUER);
        let proof = ours.prove("nonce", now);
        assert_eq!(ours.judge(&proof, now), Some("nonce"));
        assert_eq!(ours.judge(&proof, now + Duration::minutes(9)), Some("nonce"));
        assert_eq!(ours.judge(&proof, now + Duration::minutes(11)), None);
        assert_eq!(ours.judge(&proof, now - Duration::minutes(11)), None);
        let rotated = keyring("b", &["a"]);
        assert_eq!(ProofKey::new(&rotated, ISSUER).judge(&proof, now), Some("nonce"));
        let other = keyring("b", &[]);
        assert_eq!(ProofKey::new(&other, ISSUER).judge(&proof, now), None);
        assert_eq!(ProofKey::new(&ring, "https://b.example").judge(&proof, now), None);
        for broken in [
            proof.replace("nonce", "other"),
            format!("{proof}.more"),
            format!("{proof}x"),
            "1.2".to_owned(),
            String::new(),
        ] {
            assert_eq!(ours.judge(&broken, now), None, "{broken}");
        }
    }
}
