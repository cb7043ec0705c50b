//! Another identity for an account: asked for, proved at its provider, shown, confirmed; and taken away again.

use reqwest::Method;
use serde_json::{Value, json};
use url::Url;

use super::answer::Answer;
use super::browser::{Browser, Visit};
use super::provider::PAGES;

/// Signs in by a provider, answering its page if it shows one.
pub(crate) async fn sign_in(browser: &Browser, provider: &str, person: &str) {
    let visit = begin_and_pass(browser, provider, person).await;
    assert_eq!(visit.url.as_str(), format!("{PAGES}/home"), "{}", visit.text());
}

pub(crate) async fn begin_and_pass(browser: &Browser, provider: &str, person: &str) -> Visit {
    let page = browser.start(provider).await;
    if page.form().is_none() {
        return page;
    }
    browser.submit(&page, &[("person", person)]).await
}

/// Asks to link a provider.
pub(crate) async fn ask(browser: &Browser, provider: &str) -> Answer {
    browser
        .call(Method::POST, &format!("/auth/link/{provider}"), None)
        .await
}

/// The upstream's page, by way of the URL that asking gave.
pub(crate) async fn at_upstream(browser: &Browser, provider: &str) -> Visit {
    let asked = ask(browser, provider).await;
    asked.is_not_stored();
    let url = asked.is(200).json()["authorization_url"]
        .as_str()
        .unwrap()
        .to_owned();
    browser.follow(&format!("{PAGES}/account"), &url).await
}

/// Proves to be this person there; the callback is not visited yet.
pub(crate) async fn up_to_callback(browser: &Browser, provider: &str, person: &str) -> Url {
    let page = at_upstream(browser, provider).await;
    browser.callback_url(&page, person, &[]).await
}

/// The same and the callback.
pub(crate) async fn prove(browser: &Browser, provider: &str, person: &str) -> Visit {
    let callback = up_to_callback(browser, provider, person).await;
    browser.open(callback.as_str()).await
}

/// Proves it and ends on the page that asks.
pub(crate) async fn wait_for_confirmation(browser: &Browser, provider: &str, person: &str) {
    let visit = prove(browser, provider, person).await;
    assert_eq!(
        visit.url.as_str(),
        format!("{PAGES}/link"),
        "nothing stands in the URL: {}",
        visit.text()
    );
    names_no_address(&visit);
}

pub(crate) async fn proposal(browser: &Browser) -> Answer {
    browser.call(Method::GET, "/auth/link/confirm", None).await
}

pub(crate) async fn confirm_id(browser: &Browser, confirmation_id: &str) -> Answer {
    let body = json!({ "confirmation_id": confirmation_id });
    browser
        .call(Method::POST, "/auth/link/confirm", Some(&body))
        .await
}

/// Confirms what is shown.
pub(crate) async fn confirm(browser: &Browser) -> Answer {
    let shown = proposal(browser).await.is(200).json();
    confirm_id(browser, shown["confirmation_id"].as_str().unwrap()).await
}

pub(crate) async fn link(browser: &Browser, provider: &str, person: &str) {
    wait_for_confirmation(browser, provider, person).await;
    confirm(browser).await.is(200);
}

pub(crate) async fn unlink(browser: &Browser, provider: &str) -> Answer {
    browser
        .call(Method::DELETE, &format!("/auth/link/{provider}"), None)
        .await
}

pub(crate) async fn links(browser: &Browser) -> Value {
    browser
        .call(Method::GET, "/auth/me/links", None)
        .await
        .is(200)
        .json()
}

pub(crate) async fn linked_providers(browser: &Browser) -> Vec<String> {
    let links = links(browser).await;
    let name = |link: &Value| link["provider"].as_str().unwrap().to_owned();
    links.as_array().unwrap().iter().map(name).collect()
}

/// AC-13: no address stands in any URL on the way.
pub(crate) fn names_no_address(visit: &Visit) {
    for url in visit.hops.iter().map(|(url, _)| url).chain([&visit.url]) {
        assert!(
            !url.as_str().contains('@') && !url.as_str().contains("%40"),
            "{url}"
        );
    }
}
