//! What the caller of the simulated upstream decides.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::flavour::Flavour;
use crate::clock::Clock;

/// How a simulated upstream is set up. `Options::default()` is a plain OpenID Connect provider on a free loopback port.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which provider it plays.
    pub flavour: Flavour,
    /// The public URL, with or without a path; `None` is `http://ADDRESS` followed by `path`.
    pub issuer: Option<String>,
    /// The path of the issuer when `issuer` is `None`: empty, or `/` and at least one segment.
    pub path: String,
    /// What `iss` says, where it should differ from the address that is served (`https://accounts.google.com`).
    pub claimed_issuer: Option<String>,
    /// Where it listens. Port 0 is any free one.
    pub listen: SocketAddr,
    /// The registered clients. Empty: every client id, secret and redirect URI is accepted.
    pub clients: Vec<Client>,
    /// Whether responses carry `iss` and discovery says so (RFC 9207). `None`: as the flavour does.
    pub authorization_response_iss: Option<bool>,
    /// Refuses authorization requests without a `code_challenge` (RFC 7636 §4.4.1).
    pub require_pkce: bool,
    /// How ID tokens are signed.
    pub signing_algorithm: SigningAlgorithm,
    /// Of Microsoft only: the tenant in the discovery URL, `common`, `organizations`, `consumers`, an id or a
    /// domain name.
    pub tenant: String,
    /// Of Apple only: the public key (PEM) that verifies client secrets. `None`: only their shape is verified.
    pub apple_public_key_pem: Option<String>,
    /// How long [`Misbehaviour::Slow`](super::Misbehaviour::Slow) lets the caller wait.
    pub delay: Duration,
    /// The cookie of its own sessions. Cookies do not tell ports apart: two upstreams on one host need two names.
    pub cookie_name: String,
    /// Where `iat`, `exp` and `auth_time` come from.
    pub clock: Clock,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            flavour: Flavour::Oidc,
            issuer: None,
            path: String::new(),
            claimed_issuer: None,
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            clients: Vec::new(),
            authorization_response_iss: None,
            require_pkce: false,
            signing_algorithm: SigningAlgorithm::Rs256,
            tenant: "common".to_owned(),
            apple_public_key_pem: None,
            delay: Duration::from_secs(15),
            cookie_name: "simulated_upstream_session".to_owned(),
            clock: Clock::default(),
        }
    }
}

impl Options {
    /// The defaults for one flavour.
    pub fn of(flavour: Flavour) -> Self {
        Self {
            flavour,
            ..Self::default()
        }
    }
}

/// A client that the simulated upstream knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its public identifier.
    pub client_id: String,
    /// Its secret; unused by the Apple flavour, whose secrets are signed by the client.
    pub client_secret: String,
    /// Where responses may go, compared exactly. Empty: anywhere.
    pub redirect_uris: Vec<String>,
    /// Where it is told that somebody signed out here (OpenID Connect Back-Channel Logout 1.0 §2.2).
    pub backchannel_logout_uri: Option<String>,
}

impl Default for Client {
    fn default() -> Self {
        Self {
            client_id: "simulated-client".to_owned(),
            client_secret: "simulated-secret".to_owned(),
            redirect_uris: Vec::new(),
            backchannel_logout_uri: None,
        }
    }
}

/// The signature algorithm of ID tokens (RFC 7518 §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SigningAlgorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256, 2048 bits.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
}

impl SigningAlgorithm {
    /// The `alg` value.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
        }
    }
}
