//! Asking through the public URL as a stranger on the Internet does: no redirects followed, limits on time and size.

use std::error::Error as _;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::Context as _;
use reqwest::header::HeaderMap;
use serde_json::Value;
use tokio::net::TcpStream;
use url::Url;

use crate::config::Config;
use crate::config::finding::Finding;

/// From the start to the last byte.
const LIMIT: Duration = Duration::from_secs(10);
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Documents are small; what is longer is not ours.
const MAX_BODY_BYTES: usize = 1024 * 1024;

/// A client for what stands below the issuer.
pub(super) struct Outside {
    client: reqwest::Client,
    issuer: Url,
    /// Byte for byte as configured.
    base: String,
    at: Option<IpAddr>,
}

/// An answer, read to its end.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

/// Why there is none.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) problem: String,
    pub(super) mend: &'static str,
}

impl Outside {
    pub(super) fn new(config: &Config, at: Option<IpAddr>) -> anyhow::Result<Self> {
        let issuer = Url::parse(config.issuer()).context("the issuer is no URL")?;
        let mut builder = client();
        if let (Some(address), Some(host)) = (at, issuer.host_str()) {
            // The URL's port counts, not this one.
            builder = builder.resolve(host, SocketAddr::new(address, 0));
        }
        Ok(Self {
            client: builder.build().context("no HTTP client can be made")?,
            base: config.issuer().to_owned(),
            issuer,
            at,
        })
    }

    pub(super) fn scheme(&self) -> &str {
        self.issuer.scheme()
    }

    /// Host and port as they stand in `Host`.
    pub(super) fn authority(&self) -> String {
        let host = self.issuer.host_str().unwrap_or_default();
        match self.issuer.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        }
    }

    /// GET of a path below the issuer.
    pub(super) async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Result<Answer, Failure> {
        self.fetch(&format!("{}{path}", self.base), headers).await
    }

    /// GET of a path at the root of the issuer's host.
    pub(super) async fn get_at_root(&self, path: &str) -> Result<Answer, Failure> {
        let mut url = self.issuer.clone();
        url.set_path(path);
        self.fetch(url.as_str(), &[]).await
    }

    async fn fetch(&self, url: &str, headers: &[(&str, &str)]) -> Result<Answer, Failure> {
        let mut request = self.client.get(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        read(request).await
    }

    /// The address that this machine talks to the public host from; with address translation in between not the one that
    /// arrives there.
    pub(super) async fn own_address(&self) -> Option<IpAddr> {
        let host = self.issuer.host_str()?.trim_matches(['[', ']']).to_owned();
        let host = self.at.map_or(host, |address| address.to_string());
        let port = self.issuer.port_or_known_default()?;
        let connecting = TcpStream::connect((host.as_str(), port));
        let stream = tokio::time::timeout(CONNECT_LIMIT, connecting).await.ok()?.ok()?;
        Some(stream.local_addr().ok()?.ip().to_canonical())
    }

    /// An https issuer must not be served over plain http beside it.
    pub(super) async fn plain_http(&self) -> Option<Finding> {
        if self.issuer.scheme() != "https" || self.issuer.port().is_some() {
            return None;
        }
        let url = format!(
            "http://{}{}/health",
            self.authority(),
            self.issuer.path().trim_end_matches('/')
        );
        judge_plain_http(&self.fetch(&url, &[]).await.ok()?)
    }
}

/// `answer`: of `/health` over plain http. A redirect to https is what ought to be there.
fn judge_plain_http(answer: &Answer) -> Option<Finding> {
    let is_ours = answer.json().is_some_and(|json| json["status"] == "ok");
    is_ours.then(|| {
        Finding::error(
            "scheme",
            "the provider is served over plain http, too, where everybody on the way can read and change it",
            "let the proxy redirect port 80 to https, or close it",
        )
    })
}

/// A client as everything here uses it.
pub(super) fn client() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT_LIMIT)
        .timeout(LIMIT)
        .user_agent(concat!("riley-auth/", env!("CARGO_PKG_VERSION"), " validate"))
}

/// Sends and reads within the limits.
pub(super) async fn read(request: reqwest::RequestBuilder) -> Result<Answer, Failure> {
    let mut response = request.send().await.map_err(|error| Failure::of(&error))?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| Failure::of(&error))? {
        if body.len() + chunk.len() > MAX_BODY_BYTES {
            return Err(Failure {
                problem: "the answer is longer than a megabyte".to_owned(),
                mend: "see what answers there: it is not riley-auth",
            });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer {
        status,
        headers,
        body,
    })
}

impl Answer {
    pub(super) fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// Every value of a header that is text.
    pub(super) fn all(&self, name: &str) -> Vec<String> {
        let values = self.headers.get_all(name).iter();
        values
            .filter_map(|value| value.to_str().ok())
            .map(str::to_owned)
            .collect()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl Failure {
    /// In words that help, without the URL.
    pub(super) fn of(error: &reqwest::Error) -> Self {
        let mut causes = Vec::new();
        let mut next = error.source();
        while let Some(cause) = next {
            causes.push(cause.to_string());
            next = cause.source();
        }
        let innermost = causes.last().cloned().unwrap_or_default();
        let told = causes.join(": ").to_ascii_lowercase();
        let (problem, mend) = if told.contains("dns") || told.contains("lookup") {
            (
                format!("the host name does not resolve: {innermost}"),
                "add the name to DNS, or correct it",
            )
        } else if told.contains("certificate") {
            (
                format!("the certificate is not accepted: {innermost}"),
                "install a certificate for this very name, with the whole chain, from an authority that clients know",
            )
        } else if told.contains("tls") || told.contains("corrupt message") {
            (
                format!("what listens there does not speak TLS as it should: {innermost}"),
                "let the proxy terminate TLS at this port, with TLS 1.2 or 1.3",
            )
        } else if error.is_timeout() {
            (
                "nobody answers within ten seconds".to_owned(),
                "see that a firewall lets the request through, and that the proxy reaches the server",
            )
        } else if error.is_connect() {
            (
                format!("no connection can be made: {innermost}"),
                "start what listens there, and let the firewall through",
            )
        } else {
            (
                format!("the answer cannot be read: {innermost}"),
                "see what listens there: it does not speak HTTP as expected",
            )
        };
        Self { problem, mend }
    }

    pub(super) fn finding(&self, key: &str) -> Finding {
        Finding::error(key, self.problem.clone(), self.mend)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[test]
    fn a_provider_that_answers_over_plain_http_is_found() {
        let answer = |status: u16, body: &str| Answer {
            status,
            headers: HeaderMap::new(),
            body: body.as_bytes().to_vec(),
        };
        let finding = judge_plain_http(&answer(200, r#"{"status":"ok"}"#)).unwrap();
        assert!(
            finding.is_error() && finding.mend.contains("redirect"),
            "{finding}"
        );
        assert!(judge_plain_http(&answer(301, "")).is_none());
        assert!(judge_plain_http(&answer(200, "<html>It works!</html>")).is_none());
    }

    /// What is said of the answer to a GET there, by a client that waits for half a second.
    async fn failure_at(url: &str) -> Failure {
        let client = client().timeout(Duration::from_millis(500)).build().unwrap();
        match read(client.get(url)).await {
            Err(failure) => failure,
            Ok(answer) => panic!("{url} answers {}", answer.status),
        }
    }

    /// Whoever listens here says this to everybody, and goes.
    async fn says(words: Vec<u8>) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut asked = [0; 4096];
                let _ = stream.read(&mut asked).await;
                let _ = stream.write_all(&words).await;
            }
        });
        address
    }

    #[tokio::test]
    async fn what_keeps_an_answer_from_arriving_is_told_apart() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let nobody = {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            listener.local_addr().unwrap()
        };
        let garbage = says(b"\x00\x01 this is no HTTP\r\n\r\n".to_vec()).await;
        let mut endless = b"HTTP/1.1 200 OK\r\ncontent-length: 2000000\r\n\r\n".to_vec();
        endless.resize(2_000_000, b'a');
        let endless = says(endless).await;
        let plain = says(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n".to_vec()).await;
        for (url, problem) in [
            (
                format!("http://{}/", silent.local_addr().unwrap()),
                "nobody answers within",
            ),
            (format!("http://{nobody}/"), "no connection can be made"),
            (format!("http://{garbage}/"), "the answer cannot be read"),
            (
                format!("http://{endless}/"),
                "the answer is longer than a megabyte",
            ),
            (format!("https://{plain}/"), "does not speak TLS"),
            (
                "http://nobody.invalid/".to_owned(),
                "the host name does not resolve",
            ),
        ] {
            let failure = failure_at(&url).await;
            assert!(failure.problem.contains(problem), "{url}: {}", failure.problem);
            assert!(!failure.mend.is_empty());
        }
    }

    #[tokio::test]
    async fn a_certificate_that_no_authority_vouches_for_is_told_of() {
        crate::jwt::install_crypto_provider();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = acceptor.accept(stream).await;
            }
        });
        let failure = failure_at(&format!("https://localhost:{port}/")).await;
        assert!(
            failure.problem.contains("the certificate is not accepted"),
            "{}",
            failure.problem
        );
    }
}
