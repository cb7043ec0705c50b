//! The openidconnect crate with its defaults: discovery, code with PKCE, ID token, UserInfo, refresh.

use std::env::var;
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use openidconnect::core::{CoreAuthenticationFlow, CoreClient, CoreProviderMetadata, CoreUserInfoClaims};
use openidconnect::{
    AccessTokenHash, AuthorizationCode, ClientId, ClientSecret, CsrfToken, IssuerUrl, Nonce, OAuth2TokenResponse as _,
    PkceCodeChallenge, RedirectUrl, Scope, TokenResponse as _, reqwest,
};

fn main() -> anyhow::Result<()> {
    let discovery_url = var("DISCOVERY_URL")?;
    let issuer = discovery_url.trim_end_matches("/.well-known/openid-configuration");
    let redirect_uri = var("REDIRECT_URI")?;
    // The crate's documentation asks for this: a server must not send the client elsewhere.
    let http = reqwest::blocking::ClientBuilder::new().redirect(reqwest::redirect::Policy::none()).build()?;

    let metadata = CoreProviderMetadata::discover(&IssuerUrl::new(issuer.to_owned())?, &http).context("discovery")?;
    let client = CoreClient::from_provider_metadata(
        metadata,
        ClientId::new(var("CLIENT_ID")?),
        Some(ClientSecret::new(var("CLIENT_SECRET")?)),
    )
    .set_redirect_uri(RedirectUrl::new(redirect_uri.clone())?);

    let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
    let scope = var("SCOPE")?;
    // The crate adds `openid` itself.
    let scopes = scope.split(' ').filter(|scope| *scope != "openid").map(|scope| Scope::new(scope.to_owned()));
    let (authorization_url, state, nonce) = client
        .authorize_url(CoreAuthenticationFlow::AuthorizationCode, CsrfToken::new_random, Nonce::new_random)
        .add_scopes(scopes)
        .set_pkce_challenge(challenge)
        .url();

    let callback = sign_in(authorization_url.as_str(), &redirect_uri)?;
    let parameter = |wanted: &str| {
        let mut pairs = callback.query_pairs();
        pairs.find_map(|(name, value)| (name == wanted).then(|| value.into_owned())).context(wanted.to_owned())
    };
    ensure!(parameter("state")? == *state.secret(), "another state came back");

    let tokens = client
        .exchange_code(AuthorizationCode::new(parameter("code")?))?
        .set_pkce_verifier(verifier)
        .request(&http)
        .context("redeem the code")?;
    let id_token = tokens.id_token().context("no ID token")?;
    let id_token_verifier = client.id_token_verifier();
    let claims = id_token.claims(&id_token_verifier, &nonce).context("verify the ID token")?;
    let expected_hash = claims.access_token_hash().context("no at_hash")?;
    let hash = AccessTokenHash::from_token(
        tokens.access_token(),
        id_token.signing_alg()?,
        id_token.signing_key(&id_token_verifier)?,
    )?;
    ensure!(hash == *expected_hash, "at_hash is another token's");

    // Checks that `sub` is the ID token's.
    let person: CoreUserInfoClaims = client
        .user_info(tokens.access_token().clone(), Some(claims.subject().clone()))?
        .request(&http)
        .context("UserInfo")?;
    ensure!(person.preferred_username().is_some_and(|name| name.as_str() == "oscar"), "another username");

    let refresh_token = tokens.refresh_token().context("no refresh token")?;
    let refreshed = client.exchange_refresh_token(refresh_token)?.request(&http).context("refresh")?;
    ensure!(refreshed.access_token().secret() != tokens.access_token().secret(), "the same access token");
    Ok(())
}

/// Has the person sign in; the URL that the app is called with.
fn sign_in(authorization_url: &str, redirect_uri: &str) -> anyhow::Result<reqwest::Url> {
    let output = Command::new("node")
        .args([&var("PERSON")?, "oscar", authorization_url, redirect_uri])
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(output.status.success(), "the person did not get back to the app");
    Ok(reqwest::Url::parse(String::from_utf8(output.stdout)?.trim())?)
}
