//! `riley-auth change-client CLIENT_ID`: what is said of a registered app; what is not named stays. `show-client` is its
//! sibling that changes nothing.

use std::path::PathBuf;

use clap::error::ErrorKind;

use super::Global;
use super::administration::{Administration, client_refused};
use super::register_client::{one_of, request_object_jwks};
use super::show_client;
use crate::clients::{ClientChanges, ClientView, operations};
use crate::protocol::algorithm::SigningAlgorithm;
use crate::protocol::client::{GrantType, TokenEndpointAuthMethod};
use crate::protocol::ids::ClientId;

const EXAMPLES: &str = "\
Examples:
  riley-auth change-client CLIENT_ID --redirect-uri https://notes.example.com/callback
  riley-auth change-client CLIENT_ID --require-pkce false --id-token-signed-response-alg RS256
  riley-auth change-client CLIENT_ID --unset audience --disable";

/// What may be absent of a registration, under the name that it has there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
enum Absent {
    PostLogoutRedirectUris,
    BackchannelLogoutUri,
    Scope,
    TokenEndpointAuthMethod,
    IdTokenSignedResponseAlg,
    Audience,
    RequestObjectJwks,
    RefreshReuseLeewaySecs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
#[group(skip)]
pub(super) struct Args {
    /// The client's id
    client_id: String,
    #[command(flatten)]
    change: Change,
}

#[derive(Debug, clap::Args)]
#[group(skip)]
struct Change {
    /// What people know the app by
    #[arg(long)]
    name: Option<String>,
    /// Where codes may be sent from now on, instead of where they might before; may be repeated
    #[arg(long = "redirect-uri", value_name = "URI")]
    redirect_uris: Vec<String>,
    /// Where a logout may lead, instead of where it might before; may be repeated
    #[arg(long = "post-logout-redirect-uri", value_name = "URI")]
    post_logout_redirect_uris: Vec<String>,
    /// What is told that a session ended
    #[arg(long, value_name = "URI")]
    backchannel_logout_uri: Option<String>,
    /// Whether the app needs the session's id (sid) in logout tokens
    #[arg(long, value_name = "BOOL")]
    backchannel_logout_session_required: Option<bool>,
    /// A scope beyond openid, profile and email, instead of those it had; may be repeated
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// A grant type, instead of those it had; may be repeated
    #[arg(long = "grant-type", value_name = "GRANT", value_parser = one_of(GrantType::ALL, GrantType::as_str, GrantType::parse))]
    grant_types: Vec<GrantType>,
    /// Whether nobody is asked for consent, since the app is ours
    #[arg(long, value_name = "BOOL")]
    auto_approve: Option<bool>,
    /// Whether requests without PKCE are refused; only a confidential client may do without
    #[arg(long, value_name = "BOOL")]
    require_pkce: Option<bool>,
    /// How the app proves itself
    #[arg(long, value_name = "METHOD", value_parser = one_of(TokenEndpointAuthMethod::ALL, TokenEndpointAuthMethod::as_str, TokenEndpointAuthMethod::parse))]
    token_endpoint_auth_method: Option<TokenEndpointAuthMethod>,
    /// The algorithm of this app's ID tokens
    #[arg(long, value_name = "ALG", value_parser = ["ES256", "RS256"])]
    id_token_signed_response_alg: Option<String>,
    /// Whether profile and email claims stand in ID tokens
    #[arg(long, value_name = "BOOL")]
    claims_in_id_token: Option<bool>,
    /// The aud of this app's access tokens
    #[arg(long)]
    audience: Option<String>,
    /// A JWK set: only request objects signed by its keys are accepted
    #[arg(long, value_name = "FILE")]
    request_object_jwks: Option<PathBuf>,
    /// Seconds within which a spent refresh token gets its unused successor again; 0 is strict
    #[arg(long, value_name = "SECONDS")]
    refresh_reuse_leeway_secs: Option<u32>,
    /// Give this up; may be repeated
    #[arg(long, value_name = "FIELD")]
    unset: Vec<Absent>,
    /// Give it nothing, and let its tokens be good for nothing until it is enabled again
    #[arg(long, conflicts_with = "enable")]
    disable: bool,
    /// Serve it again
    #[arg(long)]
    enable: bool,
}

pub(super) async fn run(global: &Global, args: Args) -> anyhow::Result<()> {
    let changes = args.change.into_changes()?;
    if changes.only_disables_or_enables() && changes.disabled.is_none() {
        // Not as a group that clap requires: it would name all of them in one word of the manual's synopsis.
        let mut command = super::command();
        let said = "say what is to change; `riley-auth change-client --help` lists it";
        command.error(ErrorKind::MissingRequiredArgument, said).exit();
    }
    let opened = Administration::open(global)?;
    let client_id = ClientId(args.client_id);
    let client = opened
        .perform(async |tx, recorder| {
            operations::update(tx, recorder, &client_id, &changes, &opened.config)
                .await
                .map_err(client_refused)
        })
        .await?;
    global.print(&ClientView::from(&client), show_client::describe)
}

impl Change {
    fn into_changes(self) -> anyhow::Result<ClientChanges> {
        let unset = self.unset;
        let given_up = |field: Absent| unset.contains(&field);
        Ok(ClientChanges {
            name: self.name,
            redirect_uris: some(self.redirect_uris),
            post_logout_redirect_uris: list(
                self.post_logout_redirect_uris,
                given_up(Absent::PostLogoutRedirectUris),
                "--post-logout-redirect-uri",
            )?,
            backchannel_logout_uri: value(
                self.backchannel_logout_uri,
                given_up(Absent::BackchannelLogoutUri),
                "--backchannel-logout-uri",
            )?,
            backchannel_logout_session_required: self.backchannel_logout_session_required,
            scope: list(self.scopes, given_up(Absent::Scope), "--scope")?.map(|scopes| scopes.join(" ")),
            grant_types: some(self.grant_types),
            auto_approve: self.auto_approve,
            require_pkce: self.require_pkce,
            token_endpoint_auth_method: value(
                self.token_endpoint_auth_method,
                given_up(Absent::TokenEndpointAuthMethod),
                "--token-endpoint-auth-method",
            )?,
            id_token_signed_response_alg: value(
                self.id_token_signed_response_alg
                    .map(|name| name.parse::<SigningAlgorithm>())
                    .transpose()?,
                given_up(Absent::IdTokenSignedResponseAlg),
                "--id-token-signed-response-alg",
            )?,
            claims_in_id_token: self.claims_in_id_token,
            audience: value(self.audience, given_up(Absent::Audience), "--audience")?,
            request_object_jwks: value(
                self.request_object_jwks
                    .as_deref()
                    .map(request_object_jwks)
                    .transpose()?,
                given_up(Absent::RequestObjectJwks),
                "--request-object-jwks",
            )?,
            refresh_reuse_leeway_secs: value(
                self.refresh_reuse_leeway_secs,
                given_up(Absent::RefreshReuseLeewaySecs),
                "--refresh-reuse-leeway-secs",
            )?,
            disabled: (self.disable || self.enable).then_some(self.disable),
        })
    }
}

/// A list that was named; one that was not is left as it is.
fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

fn list<T>(named: Vec<T>, given_up: bool, flag: &str) -> anyhow::Result<Option<Vec<T>>> {
    Ok(value(some(named), given_up, flag)?.map(Option::unwrap_or_default))
}

/// What stands in place of the value before: nothing was said, it is given up, or another.
#[expect(
    clippy::option_option,
    reason = "the members of ClientChanges have these three states"
)]
fn value<T>(named: Option<T>, given_up: bool, flag: &str) -> anyhow::Result<Option<Option<T>>> {
    match (named, given_up) {
        (Some(_), true) => anyhow::bail!("{flag} and --unset say different things"),
        (named, given_up) => Ok((named.is_some() || given_up).then_some(named)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_named_stays_and_what_is_unset_goes() {
        assert_eq!(value::<u32>(None, false, "--x").unwrap(), None);
        assert_eq!(value::<u32>(None, true, "--x").unwrap(), Some(None));
        assert_eq!(value(Some(1), false, "--x").unwrap(), Some(Some(1)));
        assert!(value(Some(1), true, "--x").is_err());
        assert_eq!(list::<u32>(Vec::new(), true, "--x").unwrap(), Some(Vec::new()));
        assert_eq!(list::<u32>(Vec::new(), false, "--x").unwrap(), None);
    }
}
