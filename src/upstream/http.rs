//! The one outbound client: no redirects, no proxy from the environment, hard limits on time and size.
//!
//! A host that the configuration names is the deployer's decision, wherever it is. One that only a discovery document names
//! must have public addresses, judged when the connection is made: whoever writes that document must not be able to make this
//! server ask its own network.
//!
//! Error texts name the step and the kind of failure, never the URL with its query and never what was answered.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderValue};
use reqwest::{RequestBuilder, StatusCode};
use serde::de::DeserializeOwned;
use url::{Host, Url};

use crate::outbound::Policy;
use crate::outbound::address::is_public;
use crate::outbound::target::{all_allowed, note_blocked};
use crate::patience::elsewhere;

/// Limits of every request to an upstream.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Until a connection stands.
    pub connect: Duration,
    /// From the start to the last byte of the body.
    pub total: Duration,
    /// Bytes of a body; a longer one is a failure.
    pub body_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            total: Duration::from_secs(10),
            body_bytes: 1024 * 1024,
        }
    }
}

/// The client. Clones share its connections.
#[derive(Clone)]
pub(super) struct Http {
    /// For hosts that the configuration names.
    client: reqwest::Client,
    /// For all others.
    guarded: reqwest::Client,
    configured_hosts: Arc<BTreeSet<String>>,
    body_bytes: usize,
}

/// A response whose body was read within the limit.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    body: Vec<u8>,
}

impl Answer {
    /// The body, if it is JSON of that form.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_slice(&self.body).ok()
    }
}

impl Http {
    /// `configured_hosts`: as they stand in URLs.
    pub(super) fn new(limits: Limits, configured_hosts: BTreeSet<String>) -> anyhow::Result<Self> {
        let builder = || {
            reqwest::Client::builder()
                .connect_timeout(limits.connect)
                .timeout(limits.total)
                // A 307 from a token endpoint would carry our client secret to wherever it says.
                .redirect(reqwest::redirect::Policy::none())
                .no_proxy()
                .user_agent(concat!("riley-auth/", env!("CARGO_PKG_VERSION")))
        };
        let built = builder().build().and_then(|client| {
            let guarded = builder().dns_resolver(Arc::new(PublicAddresses)).build()?;
            Ok((client, guarded))
        });
        let (client, guarded) = built.context("set up the client for upstream providers")?;
        Ok(Self {
            client,
            guarded,
            configured_hosts: Arc::new(configured_hosts),
            body_bytes: limits.body_bytes,
        })
    }

    /// The client for this URL. A literal address never meets the resolver, so it is judged here.
    fn client_for(&self, url: &Url) -> anyhow::Result<&reqwest::Client> {
        let host = url.host_str().unwrap_or_default();
        if self.configured_hosts.contains(host) {
            return Ok(&self.client);
        }
        let literal = match url.host() {
            Some(Host::Ipv4(address)) => Some(IpAddr::from(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::from(address)),
            _ => None,
        };
        if literal.is_some_and(|address| !is_public(address)) {
            note_blocked("no_public_address");
            bail!("the discovery document names an address that is not public");
        }
        Ok(&self.guarded)
    }

    /// GET. `step` says in the error what failed.
    pub(super) async fn get(
        &self,
        step: &'static str,
        url: &Url,
        bearer: Option<&str>,
    ) -> anyhow::Result<Answer> {
        let mut request = self
            .client_for(url)
            .context(step)?
            .get(url.clone())
            .header(ACCEPT, "application/json");
        if let Some(token) = bearer {
            request = request.header(
                AUTHORIZATION,
                secret_header(&format!("Bearer {token}")).context(step)?,
            );
        }
        self.send(request).await.context(step)
    }

    /// GET that must answer 200 with JSON.
    pub(super) async fn get_json<T: DeserializeOwned>(
        &self,
        step: &'static str,
        url: &Url,
        bearer: Option<&str>,
    ) -> anyhow::Result<T> {
        let answer = self.get(step, url, bearer).await?;
        if answer.status != StatusCode::OK {
            return Err(anyhow::anyhow!("answered {}", answer.status.as_u16()).context(step));
        }
        answer
            .json()
            .with_context(|| format!("{step}: not the JSON it should be"))
    }

    /// POST of a form, with an `Authorization` value if there is one.
    pub(super) async fn post_form(
        &self,
        step: &'static str,
        url: &Url,
        form: &[(&str, &str)],
        authorization: Option<&str>,
    ) -> anyhow::Result<Answer> {
        let mut request = self
            .client_for(url)
            .context(step)?
            .post(url.clone())
            .header(ACCEPT, "application/json")
            .form(form);
        if let Some(value) = authorization {
            request = request.header(AUTHORIZATION, secret_header(value).context(step)?);
        }
        self.send(request).await.context(step)
    }

    async fn send(&self, request: RequestBuilder) -> anyhow::Result<Answer> {
        elsewhere(self.exchange(request)).await
    }

    async fn exchange(&self, request: RequestBuilder) -> anyhow::Result<Answer> {
        let mut response = request.send().await.map_err(reqwest::Error::without_url)?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(reqwest::Error::without_url)? {
            if body.len() + chunk.len() > self.body_bytes {
                bail!("the answer is longer than {} bytes", self.body_bytes);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status, body })
    }
}

fn secret_header(value: &str) -> anyhow::Result<HeaderValue> {
    // The underlying error says nothing of the value.
    let mut value = HeaderValue::from_str(value).context("a credential that cannot stand in a header")?;
    value.set_sensitive(true);
    Ok(value)
}

/// Finds names that have public addresses alone.
struct PublicAddresses;

impl Resolve for PublicAddresses {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let guarded = Policy {
                allow_private_ips: false,
            };
            let allowed = all_allowed(found, guarded).ok_or_else(|| {
                note_blocked("no_public_address");
                "the name has no public address"
            })?;
            let addresses: Addrs = Box::new(allowed.into_iter());
            Ok(addresses)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a discovery document names leads nowhere private; what the deployer configured does.
    #[tokio::test]
    async fn a_host_that_nobody_configured_must_be_public() {
        crate::jwt::install_crypto_provider();
        let http = Http::new(Limits::default(), BTreeSet::from(["127.0.0.1".to_owned()])).unwrap();
        let error = async |url: &str| {
            let error = http.get("ask", &url.parse().unwrap(), None).await.err().unwrap();
            format!("{error:#}")
        };
        for url in [
            "http://[::1]:1/",
            "http://169.254.169.254/latest",
            "http://10.0.0.1/",
        ] {
            assert!(error(url).await.contains("not public"), "{url}");
        }
        assert!(error("http://localhost:1/").await.contains("no public address"));
        assert!(!error("http://127.0.0.1:1/").await.contains("public"));
    }

    /// UP-12: who cannot be reached is given up long before who is slow. The queue of this listener is full, so that further
    /// connections are begun and never made.
    #[tokio::test]
    async fn connecting_has_a_limit_of_its_own() {
        crate::jwt::install_crypto_provider();
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.local_addr().unwrap();
        let _listener = socket.listen(1).unwrap();
        let mut queued = Vec::new();
        while let Ok(connected) = tokio::time::timeout(
            Duration::from_millis(300),
            tokio::net::TcpStream::connect(address),
        )
        .await
        {
            queued.push(connected.unwrap());
            assert!(queued.len() < 100, "the queue never fills");
        }
        let limits = Limits {
            connect: Duration::from_millis(200),
            total: Duration::from_mins(10),
            ..Limits::default()
        };
        let http = Http::new(limits, BTreeSet::from(["127.0.0.1".to_owned()])).unwrap();
        let url = format!("http://{address}/").parse().unwrap();
        let asked = tokio::time::timeout(Duration::from_secs(10), http.get("ask", &url, None)).await;
        assert!(asked.expect("connecting is given up").is_err());
    }
}
