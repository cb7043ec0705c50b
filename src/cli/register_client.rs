//! `riley-auth register-client`: every field as a flag; the secret is printed once.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::builder::PossibleValuesParser;
use clap::builder::TypedValueParser as _;
use serde_json::json;

use super::Global;
use super::administration::{Administration, client_refused};
use crate::clients::{self, ClientView, NewClient, Registration, operations};
use crate::config::Config;
use crate::config::finding::ConfigFindings;
use crate::protocol::algorithm::SigningAlgorithm;
use crate::protocol::client::{ClientType, GrantType, TokenEndpointAuthMethod};

const EXAMPLES: &str = "\
Examples:
  riley-auth register-client --name Notes --redirect-uri https://notes.example.com/callback
  riley-auth register-client --name 'Notes for the browser' --type public --redirect-uri https://notes.example.com/
  riley-auth register-client --name 'Notes for the desk' --type native --redirect-uri http://127.0.0.1/callback";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// What people know the app by; shown when they are asked for consent
    #[arg(long)]
    name: String,
    /// confidential: a server with a secret; public: runs in a browser; native: an app on a device
    #[arg(long = "type", value_name = "TYPE", default_value = "confidential", value_parser = one_of(ClientType::ALL, ClientType::as_str, ClientType::parse))]
    client_type: ClientType,
    /// Where codes may be sent, compared byte for byte; may be repeated
    #[arg(long = "redirect-uri", value_name = "URI", required = true)]
    redirect_uris: Vec<String>,
    /// Where a logout may lead; may be repeated
    #[arg(long = "post-logout-redirect-uri", value_name = "URI")]
    post_logout_redirect_uris: Vec<String>,
    /// What is told that a session ended
    #[arg(long, value_name = "URI")]
    backchannel_logout_uri: Option<String>,
    /// The app needs the session's id (sid) in logout tokens
    #[arg(long)]
    backchannel_logout_session_required: bool,
    /// A scope beyond openid, profile and email; may be repeated
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// A grant type; both if none is named
    #[arg(long = "grant-type", value_name = "GRANT", value_parser = one_of(GrantType::ALL, GrantType::as_str, GrantType::parse))]
    grant_types: Vec<GrantType>,
    /// The app is ours: nobody is asked for consent
    #[arg(long)]
    auto_approve: bool,
    /// Admit requests without PKCE, for confidential clients that cannot do it
    #[arg(long)]
    no_require_pkce: bool,
    /// How the app proves itself; either secret method if none is named
    #[arg(long, value_name = "METHOD", value_parser = one_of(TokenEndpointAuthMethod::ALL, TokenEndpointAuthMethod::as_str, TokenEndpointAuthMethod::parse))]
    token_endpoint_auth_method: Option<TokenEndpointAuthMethod>,
    /// The algorithm of this app's ID tokens; the first signing key's if none is named
    #[arg(long, value_name = "ALG", value_parser = ["ES256", "RS256"])]
    id_token_signed_response_alg: Option<String>,
    /// Put profile and email claims into ID tokens, for apps that never ask UserInfo
    #[arg(long)]
    claims_in_id_token: bool,
    /// The aud of this app's access tokens
    #[arg(long)]
    audience: Option<String>,
    /// A JWK set: only request objects signed by its keys are accepted
    #[arg(long, value_name = "FILE")]
    request_object_jwks: Option<PathBuf>,
    /// Seconds within which a spent refresh token gets its unused successor again; 0 is strict
    #[arg(long, value_name = "SECONDS")]
    refresh_reuse_leeway_secs: Option<u32>,
}

/// A parser for the wire names of an enumeration.
pub(super) fn one_of<T: Copy + Send + Sync + 'static>(
    all: &'static [T],
    name: fn(T) -> &'static str,
    parse: fn(&str) -> Option<T>,
) -> impl clap::builder::TypedValueParser<Value = T> {
    PossibleValuesParser::new(all.iter().map(|value| name(*value)))
        .try_map(move |text| parse(&text).ok_or("unknown"))
}

/// The JWK set in a file.
pub(super) fn request_object_jwks(path: &Path) -> anyhow::Result<serde_json::Value> {
    let text = std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is no JSON", path.display()))
}

impl Args {
    fn into_new_client(self) -> anyhow::Result<NewClient> {
        let jwks = self.request_object_jwks.as_deref().map(request_object_jwks);
        let both = vec![GrantType::AuthorizationCode, GrantType::RefreshToken];
        Ok(NewClient {
            name: self.name,
            client_type: self.client_type,
            redirect_uris: self.redirect_uris,
            post_logout_redirect_uris: self.post_logout_redirect_uris,
            backchannel_logout_uri: self.backchannel_logout_uri,
            backchannel_logout_session_required: self.backchannel_logout_session_required,
            scopes: self.scopes,
            grant_types: if self.grant_types.is_empty() {
                both
            } else {
                self.grant_types
            },
            auto_approve: self.auto_approve,
            require_pkce: !self.no_require_pkce,
            token_endpoint_auth_method: self.token_endpoint_auth_method,
            id_token_signed_response_alg: self
                .id_token_signed_response_alg
                .map(|name| name.parse::<SigningAlgorithm>())
                .transpose()?,
            claims_in_id_token: self.claims_in_id_token,
            audience: self.audience,
            request_object_jwks: jwks.transpose()?,
            refresh_reuse_leeway_secs: self.refresh_reuse_leeway_secs,
        })
    }
}

pub(super) async fn run(global: &Global, args: Args) -> anyhow::Result<()> {
    let opened = Administration::open(global)?;
    let config = &opened.config;
    let new = args.into_new_client()?;
    // What breaks a rule is said without asking the database.
    clients::validate(&new, config).map_err(ConfigFindings)?;
    let registration = opened
        .perform(async |tx, recorder| {
            operations::create(tx, recorder, &new, config)
                .await
                .map_err(client_refused)
        })
        .await?;
    let discovery = format!("{}/.well-known/openid-configuration", config.issuer());
    let secret = registration
        .secret
        .as_ref()
        .map(crate::protocol::opaque::Opaque::expose);
    let mut data = serde_json::to_value(ClientView::from(&registration.client))?;
    if let Some(members) = data.as_object_mut() {
        members.insert("client_secret".into(), json!(secret));
        members.insert("issuer".into(), json!(config.issuer()));
        members.insert("discovery_url".into(), json!(discovery));
    }
    global.print(&data, |_| {
        describe(config, &registration, secret.as_deref(), &discovery)
    })
}

fn describe(config: &Config, registration: &Registration, secret: Option<&str>, discovery: &str) -> String {
    let client = &registration.client;
    let secret_line = secret.map_or_else(String::new, |secret| format!("client_secret  {secret}\n"));
    let scopes = client
        .scope
        .iter()
        .fold("openid profile email".to_owned(), |all, scope| {
            format!("{all} {scope}")
        });
    let uris = client.redirect_uris.join("\n               ");
    let mut text = format!(
        "client_id      {}\n{secret_line}issuer         {}\ndiscovery      {discovery}\nredirect_uri   {uris}\nscopes         {scopes}\n",
        client.client_id,
        config.issuer(),
    );
    if secret.is_some() {
        text.push_str("\nThe secret is shown this once: store it now, where the app finds it.\n");
    }
    if client.must_use_pkce() {
        text.push_str("\nThe app uses the authorization code flow with PKCE (S256).");
        if client.client_type == ClientType::Confidential {
            let id = &client.client_id;
            text += " If its library cannot do PKCE:\nriley-auth change-client ";
            text += id.as_str();
            text += " --require-pkce false";
        }
        text.push('\n');
    }
    text
}
