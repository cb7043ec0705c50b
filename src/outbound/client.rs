//! One request over one connection, to an address that was judged, within limits.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, USER_AGENT};
use axum::http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls_platform_verifier::ConfigVerifierExt as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use url::{Host, Url};

use super::target::{self, Policy, check_url};

/// The status line and headers of an answer.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// What of a body is read before the connection is closed. Nobody looks at it; it is taken so that the other end can finish.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// How long that may take once the status is known, beyond the limit for the status.
const BODY_PATIENCE: Duration = Duration::from_secs(1);
/// How much later the next address of a name is tried, as long as none has answered (RFC 8305 §5).
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);

/// Limits of time.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Until a connection stands, name and TLS included.
    pub connect: Duration,
    /// Until the status is known.
    pub total: Duration,
}

impl Limits {
    /// What one request may take, its answer's body included.
    pub fn longest(self) -> Duration {
        self.total + BODY_PATIENCE
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            total: Duration::from_secs(10),
        }
    }
}

/// Why there was no answer: a fixed code, which names no address and repeats nothing that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The URL is none that may be asked.
    UrlNotAllowed,
    /// The host has no address, or one that is not public.
    NoPublicAddress,
    /// No connection, or it broke.
    ConnectionFailed,
    /// The other end could not prove who it is, or speaks no TLS that is good enough.
    TlsFailed,
    TimedOut,
    /// More than 16 KiB of headers, or no HTTP.
    InvalidAnswer,
}

impl Failure {
    /// As it is stored and shown.
    pub fn code(self) -> &'static str {
        match self {
            Self::UrlNotAllowed => "url_not_allowed",
            Self::NoPublicAddress => "no_public_address",
            Self::ConnectionFailed => "connection_failed",
            Self::TlsFailed => "tls_failed",
            Self::TimedOut => "timed_out",
            Self::InvalidAnswer => "invalid_answer",
        }
    }
}

/// The client. A clone costs little.
#[derive(Clone)]
pub struct Client {
    policy: Policy,
    limits: Limits,
    tls: Arc<rustls::ClientConfig>,
}

impl Client {
    /// Trusts the certificates that the system trusts.
    pub fn new(policy: Policy) -> anyhow::Result<Self> {
        let tls = rustls::ClientConfig::with_platform_verifier()
            .context("set up TLS for webhooks and logout notices")?;
        Ok(Self::with_tls(policy, Limits::default(), tls))
    }

    /// With limits and trusted certificates of the caller's own.
    pub fn with_tls(policy: Policy, limits: Limits, mut tls: rustls::ClientConfig) -> Self {
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self {
            policy,
            limits,
            tls: Arc::new(tls),
        }
    }

    /// What it may ask.
    pub fn policy(&self) -> Policy {
        self.policy
    }

    /// `POST`. The status of the answer, whichever it is; a redirect is not followed.
    pub async fn post(
        &self,
        url: &Url,
        content_type: &'static str,
        headers: HeaderMap,
        body: String,
    ) -> Result<StatusCode, Failure> {
        if check_url(url, self.policy).is_err() {
            target::note_blocked(Failure::UrlNotAllowed.code());
            return Err(Failure::UrlNotAllowed);
        }
        let request = request(url, content_type, headers, body)?;
        let deadline = Instant::now() + self.limits.total;
        let (status, answer) = timeout_at(deadline, self.exchange(url, request))
            .await
            .unwrap_or(Err(Failure::TimedOut))?;
        // The status is the answer, whenever it came; that the rest is late or never ends changes nothing.
        let _ = timeout(BODY_PATIENCE, answer.take_some()).await;
        Ok(status)
    }

    async fn exchange(
        &self,
        url: &Url,
        request: Request<Full<Bytes>>,
    ) -> Result<(StatusCode, Rest), Failure> {
        let deadline = Instant::now() + self.limits.connect;
        let stream = timeout_at(deadline, self.connect(url))
            .await
            .unwrap_or(Err(Failure::TimedOut))?;
        if url.scheme() != "https" {
            return send(stream, request).await;
        }
        let name = server_name(url).ok_or(Failure::UrlNotAllowed)?;
        let connected = timeout_at(
            deadline,
            TlsConnector::from(Arc::clone(&self.tls)).connect(name, stream),
        )
        .await
        .map_err(|_| Failure::TimedOut)?;
        send(connected.map_err(|_| Failure::TlsFailed)?, request).await
    }

    /// A connection to one of the addresses that the name has now, and only after all of them were judged.
    async fn connect(&self, url: &Url) -> Result<TcpStream, Failure> {
        let addresses = target::resolve(url, self.policy)
            .await
            .ok_or(Failure::NoPublicAddress)?;
        let mut attempts = JoinSet::new();
        let mut after = Duration::ZERO;
        for address in addresses {
            attempts.spawn(async move {
                tokio::time::sleep(after).await;
                TcpStream::connect(address).await
            });
            after += NEXT_ADDRESS_AFTER;
        }
        while let Some(attempt) = attempts.join_next().await {
            if let Ok(Ok(stream)) = attempt {
                return self.checked(stream);
            }
        }
        Err(Failure::ConnectionFailed)
    }

    /// Who is at the other end is judged once more, before anything is sent.
    fn checked(&self, stream: TcpStream) -> Result<TcpStream, Failure> {
        let peer: SocketAddr = stream.peer_addr().map_err(|_| Failure::ConnectionFailed)?;
        if !target::is_allowed(peer, self.policy) {
            return Err(Failure::NoPublicAddress);
        }
        // A request is written as a whole; waiting for more would only delay it.
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }
}

fn server_name(url: &Url) -> Option<ServerName<'static>> {
    match url.host()? {
        // Certificates are not made out to the root's dot.
        Host::Domain(name) => ServerName::try_from(name.strip_suffix('.').unwrap_or(name).to_owned()).ok(),
        Host::Ipv4(address) => Some(ServerName::IpAddress(std::net::IpAddr::V4(address).into())),
        Host::Ipv6(address) => Some(ServerName::IpAddress(std::net::IpAddr::V6(address).into())),
    }
}

fn request(
    url: &Url,
    content_type: &'static str,
    headers: HeaderMap,
    body: String,
) -> Result<Request<Full<Bytes>>, Failure> {
    let host = url.host_str().ok_or(Failure::UrlNotAllowed)?;
    let authority = url
        .port()
        .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let target = &url[url::Position::BeforePath..url::Position::AfterQuery];
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(target)
        .header(HOST, authority)
        .header(USER_AGENT, "riley-auth")
        .header(CONTENT_TYPE, HeaderValue::from_static(content_type))
        .header(CONTENT_LENGTH, body.len())
        .body(Full::new(Bytes::from(body)))
        .map_err(|_| Failure::UrlNotAllowed)?;
    request.headers_mut().extend(headers);
    Ok(request)
}

async fn send(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, Rest), Failure> {
    let (mut sender, connection) = http1::Builder::new()
        .max_header_size(MAX_HEAD_BYTES)
        .max_buf_size(2 * MAX_HEAD_BYTES)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|_| Failure::ConnectionFailed)?;
    // Dropped with this set, and so closed, whatever happens.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let response = sender.send_request(request).await.map_err(|error| {
        if error.is_parse() || error.is_parse_too_large() {
            Failure::InvalidAnswer
        } else {
            Failure::ConnectionFailed
        }
    })?;
    let status = response.status();
    let rest = Rest {
        body: response.into_body(),
        _driver: driver,
    };
    Ok((status, rest))
}

/// What comes after the head of an answer, and the connection that it comes by.
struct Rest {
    body: Incoming,
    /// Ends, and with it the connection, when this is dropped.
    _driver: JoinSet<hyper::Result<()>>,
}

impl Rest {
    async fn take_some(mut self) {
        let mut taken = 0;
        while taken < MAX_BODY_BYTES
            && let Some(Ok(frame)) = self.body.frame().await
        {
            taken += frame.data_ref().map_or(0, Bytes::len);
        }
    }
}
