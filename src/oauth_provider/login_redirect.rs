//! Where a person is sent to sign in or to agree: the deployer's pages, or straight to the only upstream.

use url::Url;

use crate::config::Config;
use crate::protocol::opaque::Opaque;

/// Where a stored request goes on to sign in: `login_url`, else the one upstream there is or that is named as default.
/// `None`: nowhere, which is `login_required` at the app.
pub fn login(config: &Config, request: &Opaque) -> Option<String> {
    if let Some(login_url) = &config.oauth.login_url {
        return Some(with_id(login_url, "request_id", request));
    }
    let provider = match config.oauth.default_provider.as_deref() {
        Some("none") => return None,
        Some(name) => name,
        None => {
            let mut names = config.oauth.providers.keys();
            match (names.next(), names.next()) {
                (Some(only), None) => only,
                _ => return None,
            }
        }
    };
    Some(format!(
        "{}/auth/{provider}?request_id={}",
        config.jwt.issuer,
        request.expose()
    ))
}

/// Where a stored request goes on to ask for consent. `None`: nowhere, which is `consent_required` at the app.
pub fn consent(config: &Config, request: &Opaque) -> Option<String> {
    config
        .oauth
        .consent_url
        .as_ref()
        .map(|url| with_id(url, "consent_id", request))
}

/// Where a stored request is resumed.
pub fn resume(config: &Config, request: &Opaque) -> String {
    format!(
        "{}/oauth/authorize/resume?request={}",
        config.jwt.issuer,
        request.expose()
    )
}

/// A page of the deployer with one opaque id and nothing else.
fn with_id(page: &Url, name: &str, id: &Opaque) -> String {
    let mut url = page.clone();
    url.query_pairs_mut().append_pair(name, &id.expose());
    url.into()
}
