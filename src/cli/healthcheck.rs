//! `riley-auth healthcheck`: asks the server that runs on this machine whether it can answer requests; for images without
//! a shell, and for supervisors.

use std::time::Duration;

use serde::Serialize;
use url::Url;

use super::{AlreadyReported, Global};
use crate::config::Config;
use crate::config::finding::ConfigFindings;

const EXAMPLES: &str = "\
Examples:
  riley-auth healthcheck
  riley-auth healthcheck --liveness
  riley-auth healthcheck --url http://127.0.0.1:9000/ready";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// What to ask instead of /ready at the configured listen address; any answer but 2xx is a failure
    #[arg(long, value_name = "URL")]
    url: Option<Url>,
    /// Ask /health: the process is alive, whatever its database does
    #[arg(long, conflicts_with = "url")]
    liveness: bool,
    /// Seconds to wait for the answer
    #[arg(long, value_name = "SECONDS", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=60))]
    timeout_secs: u64,
}

#[derive(Serialize)]
struct Health {
    healthy: bool,
    url: String,
    /// What the server says; `None`: it does not answer.
    status: Option<u16>,
    /// Why it is not healthy.
    reason: Option<String>,
}

pub(super) async fn run(global: &Global, args: &Args) -> anyhow::Result<()> {
    let url = match &args.url {
        Some(url) => url.to_string(),
        None => configured_url(global, args.liveness)?,
    };
    let health = ask(url, Duration::from_secs(args.timeout_secs)).await?;
    global.print(&health, |health| match &health.reason {
        None => format!("healthy: {}\n", health.url),
        Some(reason) => format!("unhealthy: {}: {reason}\n", health.url),
    })?;
    if health.healthy {
        Ok(())
    } else {
        Err(AlreadyReported.into())
    }
}

/// The secrets need not be at hand, and what else may be wrong with the configuration is not asked here: address, port
/// and path are enough.
fn configured_url(global: &Global, liveness: bool) -> anyhow::Result<String> {
    let mut source = global.source()?;
    source.offline = true;
    let (config, findings) = source.check();
    let usable = |key: &str| {
        !findings
            .iter()
            .any(|finding| finding.is_error() && (finding.key.starts_with(key) || finding.key.is_empty()))
    };
    match config {
        Some(config) if usable("server") && usable("jwt.issuer") => local_url(&config, liveness),
        _ => Err(ConfigFindings(findings).into()),
    }
}

/// A server that listens on every interface is asked on loopback.
fn local_url(config: &Config, liveness: bool) -> anyhow::Result<String> {
    if config.server.port == 0 {
        anyhow::bail!("server.port is 0, so nobody knows the port: name what to ask with --url");
    }
    let mut server = config.server.clone();
    if let Ok(address) = server.host.parse::<std::net::IpAddr>()
        && address.is_unspecified()
    {
        let loopback = if address.is_ipv4() { "127.0.0.1" } else { "::1" };
        loopback.clone_into(&mut server.host);
    }
    let route = if liveness { "health" } else { "ready" };
    Ok(format!(
        "http://{}{}/{route}",
        server.listen_address(),
        config.issuer_path()
    ))
}

async fn ask(url: String, timeout: Duration) -> anyhow::Result<Health> {
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .timeout(timeout)
        .build()?;
    Ok(match client.get(&url).send().await {
        Ok(response) => {
            let status = response.status();
            let body: serde_json::Value = match response.bytes().await {
                Ok(body) => serde_json::from_slice(&body).unwrap_or_default(),
                Err(_) => serde_json::Value::Null,
            };
            let reason = body["reason"].as_str().map(str::to_owned);
            Health {
                healthy: status.is_success(),
                url,
                status: Some(status.as_u16()),
                reason: (!status.is_success())
                    .then(|| reason.unwrap_or_else(|| format!("the answer is {status}"))),
            }
        }
        Err(error) => Health {
            healthy: false,
            url,
            status: None,
            reason: Some(
                if error.is_timeout() {
                    "no answer in time"
                } else if error.is_connect() {
                    "nobody listens there"
                } else {
                    "the answer cannot be read"
                }
                .to_owned(),
            ),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(server: &str, issuer: &str) -> String {
        let text = format!(
            "[server]\n{server}\n[database]\nurl = \"postgres://a@b/c\"\nsecret_key = \"k\"\n[jwt]\nissuer = \"{issuer}\"\n"
        );
        let config: Config = toml::from_str(&text).unwrap();
        local_url(&config, false).unwrap_or_else(|error| error.to_string())
    }

    #[test]
    fn every_interface_is_asked_on_loopback_and_below_the_issuers_path() {
        for (server, issuer, url) in [
            ("", "https://a.example", "http://127.0.0.1:8081/ready"),
            (
                "host = \"0.0.0.0\"\nport = 80",
                "https://a.example",
                "http://127.0.0.1:80/ready",
            ),
            (
                "host = \"::\"",
                "https://a.example/id",
                "http://[::1]:8081/id/ready",
            ),
            (
                "host = \"10.1.2.3\"",
                "https://a.example",
                "http://10.1.2.3:8081/ready",
            ),
        ] {
            assert_eq!(asked(server, issuer), url);
        }
        assert!(asked("port = 0", "https://a.example").contains("--url"));
    }
}
