//! Several upstreams at once, each configured as its preset wants it, with its addresses in place of the real ones.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use riley_auth::clock::Clock;
use riley_auth::config::Config;
use riley_auth::config::providers::ProviderConfig;
use riley_auth::dev::simulated_upstream::{Flavour, Options, SimulatedUpstream};
use serde_json::{Value, json};

use super::provider::{TestProvider, start_upstream};

/// A provider whose upstreams are these: name, flavour, further keys of the configuration. The first one is the kit's own.
pub(crate) async fn with_upstreams(
    list: &[(&str, Flavour, Value)],
    change: impl FnOnce(&mut Config),
) -> (TestProvider, Vec<SimulatedUpstream>) {
    let clock = Clock::held();
    let key = apple_key();
    let mut upstreams = Vec::new();
    let mut providers = Vec::new();
    for (name, flavour, more) in list {
        let options = Options {
            cookie_name: format!("session_at_{name}"),
            require_pkce: true,
            ..Options::of(*flavour)
        };
        let upstream = start_upstream(options, &clock).await;
        let provider = provider(&upstream, *flavour, more, &key);
        providers.push(((*name).to_owned(), provider));
        upstreams.push(upstream);
    }
    let first = upstreams.remove(0);
    let op = TestProvider::beside(clock, first, |config| {
        config.oauth.providers = providers.into_iter().collect();
        change(config);
    })
    .await;
    (op, upstreams)
}

fn provider(
    upstream: &SimulatedUpstream,
    flavour: Flavour,
    more: &Value,
    apple_key: &tempfile::NamedTempFile,
) -> ProviderConfig {
    let by_issuer = |preset: &str| json!({ "preset": preset, "issuer": upstream.issuer() });
    let by_urls = |preset: &str| {
        json!({
            "preset": preset,
            "auth_url": upstream.authorization_endpoint(),
            "token_url": upstream.token_endpoint(),
            "userinfo_url": upstream.userinfo_endpoint(),
        })
    };
    let mut table = match flavour {
        Flavour::Oidc => json!({ "issuer": upstream.issuer() }),
        Flavour::Google => by_issuer("google"),
        Flavour::GitLab => by_issuer("gitlab"),
        Flavour::Microsoft => by_issuer("microsoft"),
        Flavour::Apple => by_issuer("apple"),
        Flavour::Discord => by_urls("discord"),
        Flavour::GitHub => by_urls("github"),
        Flavour::OAuth2 => json!({
            "auth_url": upstream.authorization_endpoint(),
            "token_url": upstream.token_endpoint(),
            "userinfo_url": upstream.userinfo_endpoint(),
            "scopes": ["profile", "email"],
            "profile_mapping": { "subject": "id", "username": "login", "name": "name", "picture": "picture",
                "email": "email", "email_verified": "email_verified" },
        }),
    };
    merge(
        &mut table,
        &json!({ "client_id": upstream.client_id(), "allow_insecure_http": true }),
    );
    if flavour == Flavour::GitHub {
        merge(&mut table, &json!({ "api_url": upstream.base_url() }));
    }
    if flavour == Flavour::Apple {
        let apple = json!({ "apple_team_id": "TEAM", "apple_key_id": "KEY", "apple_private_key_path": apple_key.path() });
        merge(&mut table, &apple);
    } else {
        merge(&mut table, &json!({ "client_secret": upstream.client_secret() }));
    }
    merge(&mut table, more);
    serde_json::from_value(table).expect("the provider is configured as the documentation says")
}

fn merge(table: &mut Value, more: &Value) {
    let more = more.as_object().expect("a table").clone();
    table.as_object_mut().expect("a table").extend(more);
}

fn apple_key() -> tempfile::NamedTempFile {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key can be made");
    let der = STANDARD.encode(pair.to_pkcs8v1().expect("it has a private half").as_ref());
    let file = tempfile::NamedTempFile::new().expect("a file can be made");
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{der}\n-----END PRIVATE KEY-----\n");
    std::fs::write(file.path(), pem).expect("it can be written");
    file
}
