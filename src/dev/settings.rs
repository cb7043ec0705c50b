//! The ports of `riley-auth dev`, and the configuration that follows from them.

use std::collections::BTreeMap;

use anyhow::{Context as _, anyhow};
use serde_json::json;

use super::data::DevData;
use super::simulated_upstream;
use crate::config::claims::PASSTHROUGH_CLAIMS;
use crate::config::{Config, Source};
use crate::protocol::client::{Client, ClientSecret, ClientType, GrantType};
use crate::protocol::ids::ClientId;
use crate::protocol::scope::ScopeSet;

/// The first of the four ports, unless `--port` says another.
pub const DEFAULT_PORT: u16 = 8081;

/// The name of the simulated upstream in the configuration, and so in its URLs.
pub const UPSTREAM: &str = "simulated";

/// The demo app's client id.
pub const DEMO_CLIENT_ID: &str = "demo-app";

/// What the demo app asks for: every standard scope, so that everything can be seen.
pub const DEMO_SCOPE: &str = "openid profile email address phone offline_access";

/// Where everything is. The upstream is reached by another host name than the rest, because cookies tell host names
/// apart but not ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    pub provider: u16,
    pub demo_app: u16,
    pub upstream: u16,
    pub front_end: u16,
}

impl Ports {
    /// Four ports in a row.
    pub fn starting_at(first: u16) -> anyhow::Result<Self> {
        let nth = |offset: u16| {
            first
                .checked_add(offset)
                .filter(|_| first != 0)
                .context("--port has to be from 1 to 65532: three more ports follow it")
        };
        Ok(Self {
            provider: nth(0)?,
            demo_app: nth(1)?,
            upstream: nth(2)?,
            front_end: nth(3)?,
        })
    }

    /// The issuer: what apps are given.
    pub fn issuer(self) -> String {
        format!("http://localhost:{}", self.provider)
    }

    pub fn demo_app_url(self) -> String {
        format!("http://localhost:{}", self.demo_app)
    }

    pub fn upstream_url(self) -> String {
        format!("http://127.0.0.1:{}", self.upstream)
    }

    pub fn front_end_url(self) -> String {
        format!("http://localhost:{}", self.front_end)
    }
}

/// The provider as the simulated upstream knows it: one client, with a secret of this run.
pub fn upstream_client(ports: Ports, secret: String) -> simulated_upstream::Client {
    simulated_upstream::Client {
        client_id: "development".to_owned(),
        client_secret: secret,
        redirect_uris: vec![format!("{}/auth/{UPSTREAM}/callback", ports.issuer())],
        backchannel_logout_uri: Some(format!("{}/auth/{UPSTREAM}/backchannel-logout", ports.issuer())),
    }
}

/// The configuration as a file would have it.
pub fn config_text(
    ports: Ports,
    database_url: &str,
    data: &DevData,
    upstream_client: &simulated_upstream::Client,
) -> anyhow::Result<String> {
    let page = |path: &str| format!("{}{path}", ports.front_end_url());
    let keys: Vec<_> = data
        .keys
        .iter()
        .map(|(algorithm, path)| json!({ "algorithm": algorithm.as_str(), "private_key_path": path }))
        .collect();
    let values = json!({
        "server": {
            "host": "127.0.0.1",
            "port": ports.provider,
            "first_party_origins": [ports.front_end_url()],
            // A single-page app is tried out on whatever port its tools chose.
            "cors_origins": ["*"],
            "shutdown_grace_secs": 3,
        },
        "database": { "url": database_url, "secret_key": data.secret_key.expose() },
        // Everything comes from one address here, load tests too.
        "rate_limiting": { "enabled": false },
        "jwt": { "issuer": ports.issuer(), "keys": keys },
        "oauth": {
            "login_url": page("/login"),
            "onboarding_url": page("/welcome"),
            "link_url": page("/link"),
            "consent_url": page("/consent"),
            "error_url": page("/error"),
            "signed_out_url": page("/signed-out"),
            "default_return_to": page("/account"),
            "providers": {
                UPSTREAM: {
                    "display_name": "the simulated provider",
                    "issuer": ports.upstream_url(),
                    "client_id": upstream_client.client_id,
                    "client_secret": upstream_client.client_secret,
                    "scopes": ["openid", "profile", "email", "address", "phone"],
                    "email_trust": "verified",
                    "allow_insecure_http": true,
                },
            },
        },
        "claims": { "passthrough": PASSTHROUGH_CLAIMS },
        // The demo app is on this machine and is told of logouts; receivers of webhooks are tried out here, too.
        "webhooks": { "allow_private_ips": true },
    });
    toml::to_string(&values).context("write the development configuration")
}

/// The configuration, checked by the same rules as a file.
pub fn config(text: &str) -> anyhow::Result<Config> {
    let source = Source {
        path: None,
        text: text.to_owned(),
        environment: BTreeMap::new(),
        offline: true,
    };
    let loaded = source
        .load()
        .map_err(|findings| anyhow!("the development configuration is wrong: {findings}"))?;
    Ok(loaded.config)
}

/// The demo app's registration: an ordinary confidential client that people are asked about.
pub fn demo_client(ports: Ports, data: &DevData) -> anyhow::Result<Client> {
    let url = ports.demo_app_url();
    Ok(Client {
        client_id: ClientId(DEMO_CLIENT_ID.to_owned()),
        name: "Demo app".to_owned(),
        client_type: ClientType::Confidential,
        secrets: vec![ClientSecret {
            hash: data.demo_client_secret.hash(),
            expires_at: None,
        }],
        redirect_uris: vec![format!("{url}/callback")],
        post_logout_redirect_uris: vec![format!("{url}/")],
        backchannel_logout_uri: Some(format!("{url}/backchannel-logout")),
        backchannel_logout_session_required: true,
        scope: ScopeSet::parse("address phone offline_access").context("the demo app's scopes")?,
        grant_types: vec![GrantType::AuthorizationCode, GrantType::RefreshToken],
        auto_approve: false,
        require_pkce: true,
        token_endpoint_auth_method: None,
        id_token_signed_response_alg: None,
        claims_in_id_token: false,
        audience: None,
        request_object_jwks: None,
        refresh_reuse_leeway_secs: None,
        disabled: false,
        generation: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_four_ports_follow_each_other_and_the_last_one_exists() {
        let ports = Ports::starting_at(DEFAULT_PORT).unwrap();
        assert_eq!(ports.issuer(), "http://localhost:8081");
        assert_eq!(ports.demo_app_url(), "http://localhost:8082");
        assert_eq!(ports.upstream_url(), "http://127.0.0.1:8083");
        assert_eq!(ports.front_end_url(), "http://localhost:8084");
        assert!(Ports::starting_at(65532).is_ok());
        assert!(Ports::starting_at(65533).is_err());
        assert!(Ports::starting_at(0).is_err());
    }

    #[test]
    fn the_configuration_keeps_every_rule_that_files_have_to_keep() {
        let parent = tempfile::tempdir().unwrap();
        let data = DevData::open(parent.path().join("data")).unwrap();
        let ports = Ports::starting_at(DEFAULT_PORT).unwrap();
        let client = upstream_client(ports, "secret".to_owned());
        let text = config_text(ports, "postgres://a:b@127.0.0.1:5432/c", &data, &client).unwrap();
        let config = config(&text).unwrap();
        assert_eq!(config.issuer(), "http://localhost:8081");
        assert_eq!(config.jwt.keys.len(), 2);
        assert_eq!(config.server.cors_origins, ["*"]);
        assert!(config.oauth.providers.contains_key(UPSTREAM));
    }
}
