//! The openidconnect crate with its defaults: discovery, code with PKCE, ID token, UserInfo, refresh, sign-out.

use std::env::var;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, ensure};
use openidconnect::core::{CoreAuthenticationFlow, CoreClient, CoreJwsSigningAlgorithm, CoreUserInfoClaims};
use openidconnect::{
    AccessTokenHash, AuthorizationCode, ClientId, ClientSecret, CsrfToken, IssuerUrl, LogoutRequest, Nonce,
    OAuth2TokenResponse as _, PkceCodeChallenge, PostLogoutRedirectUrl, ProviderMetadataWithLogout, RedirectUrl, Scope,
    TokenResponse as _, reqwest,
};

fn main() -> anyhow::Result<()> {
    let (name, algorithm) = match var("ID_TOKEN_ALG").as_deref() {
        Ok("ES256") => ("oscar-es256", CoreJwsSigningAlgorithm::EcdsaP256Sha256),
        _ => ("oscar", CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256),
    };
    let mut person = Person::new(name)?;
    let discovery_url = var("DISCOVERY_URL")?;
    let issuer = discovery_url.trim_end_matches("/.well-known/openid-configuration");
    let redirect_uri = var("REDIRECT_URI")?;
    // The crate's documentation asks for this: a server must not send the client elsewhere.
    let http = reqwest::blocking::ClientBuilder::new().redirect(reqwest::redirect::Policy::none()).build()?;

    // `CoreProviderMetadata` would do, but for the sign-out.
    let metadata = ProviderMetadataWithLogout::discover(&IssuerUrl::new(issuer.to_owned())?, &http).context("discovery")?;
    let end_session_endpoint = metadata.additional_metadata().end_session_endpoint.clone().context("no sign-out")?;
    let client = CoreClient::from_provider_metadata(
        metadata,
        ClientId::new(var("CLIENT_ID")?),
        Some(ClientSecret::new(var("CLIENT_SECRET")?)),
    )
    .set_redirect_uri(RedirectUrl::new(redirect_uri.clone())?);

    let scope = var("SCOPE")?;
    let authorization_url = || {
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        // The crate adds `openid` itself.
        let scopes = scope.split(' ').filter(|scope| *scope != "openid").map(|scope| Scope::new(scope.to_owned()));
        let (url, state, nonce) = client
            .authorize_url(CoreAuthenticationFlow::AuthorizationCode, CsrfToken::new_random, Nonce::new_random)
            .add_scopes(scopes)
            .set_pkce_challenge(challenge)
            .url();
        (url, state, nonce, verifier)
    };

    let (url, state, nonce, verifier) = authorization_url();
    let (callback, actions) = person.go_to(url.as_str())?;
    ensure!(actions == "login,upstream,welcome,consent", "the person did {actions}");
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
    ensure!(*id_token.signing_alg()? == algorithm, "signed by another algorithm");
    let claims = id_token.claims(&id_token_verifier, &nonce).context("verify the ID token")?;
    let expected_hash = claims.access_token_hash().context("no at_hash")?;
    let hash = AccessTokenHash::from_token(
        tokens.access_token(),
        id_token.signing_alg()?,
        id_token.signing_key(&id_token_verifier)?,
    )?;
    ensure!(hash == *expected_hash, "at_hash is another token's");

    // Checks that `sub` is the ID token's.
    let who: CoreUserInfoClaims = client
        .user_info(tokens.access_token().clone(), Some(claims.subject().clone()))?
        .request(&http)
        .context("UserInfo")?;
    ensure!(who.preferred_username().is_some_and(|username| username.as_str() == name), "another username");

    let mut refresh_token = tokens.refresh_token().context("no refresh token")?.clone();
    // Twice, because the second refresh needs what the first one brought.
    for _ in 0..2 {
        let refreshed = client.exchange_refresh_token(&refresh_token)?.request(&http).context("refresh")?;
        ensure!(refreshed.access_token().secret() != tokens.access_token().secret(), "the same access token");
        let _: CoreUserInfoClaims = client
            .user_info(refreshed.access_token().clone(), Some(claims.subject().clone()))?
            .request(&http)
            .context("UserInfo after a refresh")?;
        refresh_token = refreshed.refresh_token().context("no other refresh token")?.clone();
    }

    let signed_out = var("POST_LOGOUT_REDIRECT_URI")?;
    let logout = LogoutRequest::from(end_session_endpoint)
        .set_id_token_hint(id_token)
        .set_post_logout_redirect_uri(PostLogoutRedirectUrl::new(signed_out.clone())?)
        .http_get_url();
    let (end, actions) = person.go_to(logout.as_str())?;
    ensure!(end.as_str() == signed_out && actions == "-", "the sign-out ended at {end} after {actions}");
    ensure!(
        client.exchange_refresh_token(&refresh_token)?.request(&http).is_err(),
        "a refresh token outlived its session"
    );
    let (_, actions) = person.go_to(authorization_url().0.as_str())?;
    ensure!(actions == "login", "the provider's session did not end: the person did {actions}");
    person.leave()
}

/// The person of `person.mjs`.
struct Person {
    process: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Person {
    fn new(name: &str) -> anyhow::Result<Self> {
        let mut process = Command::new("node")
            .args([&var("PERSON")?, name, &var("ISSUER")?, &var("APP_URL")?])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let to = process.stdin.take().context("no way to the person")?;
        let from = BufReader::new(process.stdout.take().context("no way from the person")?);
        Ok(Self { process, to, from })
    }

    /// The URL that the app is called with, and what the person did on the way.
    fn go_to(&mut self, url: &str) -> anyhow::Result<(reqwest::Url, String)> {
        writeln!(self.to, "{url}")?;
        let mut line = String::new();
        self.from.read_line(&mut line)?;
        let (end, actions) = line.trim().split_once(' ').context("the person did not get back to the app")?;
        Ok((reqwest::Url::parse(end)?, actions.to_owned()))
    }

    fn leave(mut self) -> anyhow::Result<()> {
        drop(self.to);
        ensure!(self.process.wait()?.success(), "the person failed");
        Ok(())
    }
}
