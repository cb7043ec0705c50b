//! Where a browser goes next. Pages of the deployer are handed one opaque id, or a fixed error code, and nothing else.

use url::Url;

use super::flow::Target;
use crate::config::Config;
use crate::http::return_to::ReturnTo;
use crate::protocol::opaque::Opaque;

/// Where a login that succeeded leads. `None`: nobody has said.
pub fn after_login(config: &Config, target: &Target) -> Option<String> {
    match target {
        Target::Request(handle) => Some(resume(config, handle)),
        Target::ReturnTo(url) => {
            ReturnTo::parse(url, config).map_or_else(|| default(config), |url| Some(url.as_str().to_owned()))
        }
        Target::Default => default(config),
    }
}

/// Where a stored authorization request goes on.
pub fn resume(config: &Config, handle: &str) -> String {
    format!("{}/oauth/authorize/resume?request={handle}", config.jwt.issuer)
}

/// The login page, for another attempt at the same request, with the fixed code of what became of the last one. `None`: the
/// deployer has none.
pub fn login_page_again(config: &Config, request: &Opaque, code: &'static str) -> Option<String> {
    let page = config.oauth.login_url.as_ref()?;
    let mut url = page.clone();
    url.query_pairs_mut()
        .append_pair("request_id", &request.expose())
        .append_pair("error", code);
    Some(url.into())
}

/// The page that a login nobody's app waits for goes back to when it failed, with a fixed code.
pub fn failed_login_page(config: &Config, code: &'static str) -> Option<String> {
    let page = config
        .oauth
        .login_url
        .as_ref()
        .or(config.oauth.default_return_to.as_ref());
    page.map(|page| with(page, "error", code))
}

/// The page on which a link is confirmed. `None`: the deployer has none.
pub fn link_page(config: &Config) -> Option<String> {
    config.oauth.link_url.as_ref().map(Url::to_string)
}

/// The page that a link goes back to when it came to nothing, with a fixed code.
pub fn failed_link_page(config: &Config, code: &'static str) -> Option<String> {
    let page = config
        .oauth
        .link_url
        .as_ref()
        .or(config.oauth.default_return_to.as_ref());
    page.map(|page| with(page, "error", code))
}

/// Our own callback at a provider.
pub fn callback(config: &Config, provider: &str) -> String {
    format!("{}/auth/{provider}/callback", config.jwt.issuer)
}

fn default(config: &Config) -> Option<String> {
    config.oauth.default_return_to.as_ref().map(Url::to_string)
}

fn with(page: &Url, name: &str, value: &str) -> String {
    let mut url = page.clone();
    url.query_pairs_mut().append_pair(name, value);
    url.into()
}
