//! The one outbound client: no redirects, no proxy from the environment, hard limits on time and size.
//!
//! Error texts name the step and the kind of failure, never the URL with its query and never what was answered.

use std::time::Duration;

use anyhow::{Context as _, bail};
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderValue};
use reqwest::{RequestBuilder, StatusCode};
use serde::de::DeserializeOwned;
use url::Url;

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
    client: reqwest::Client,
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
    pub(super) fn new(limits: Limits) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder()
            .connect_timeout(limits.connect)
            .timeout(limits.total)
            // A 307 from a token endpoint would carry our client secret to wherever it says.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .user_agent(concat!("riley-auth/", env!("CARGO_PKG_VERSION")))
            .build()
            .context("set up the client for upstream providers")?;
        Ok(Self {
            client,
            body_bytes: limits.body_bytes,
        })
    }

    /// GET. `step` says in the error what failed.
    pub(super) async fn get(
        &self,
        step: &'static str,
        url: &Url,
        bearer: Option<&str>,
    ) -> anyhow::Result<Answer> {
        let mut request = self.client.get(url.clone()).header(ACCEPT, "application/json");
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
            .client
            .post(url.clone())
            .header(ACCEPT, "application/json")
            .form(form);
        if let Some(value) = authorization {
            request = request.header(AUTHORIZATION, secret_header(value).context(step)?);
        }
        self.send(request).await.context(step)
    }

    async fn send(&self, request: RequestBuilder) -> anyhow::Result<Answer> {
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
