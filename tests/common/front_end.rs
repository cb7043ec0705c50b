//! The deployer's front end: what the scripts of its pages call. And a sign-in taken apart, for those who interfere with it.

use reqwest::Method;
use riley_auth::dev::simulated_upstream::Misbehaviour;
use serde_json::Value;
use url::Url;

use super::answer::Answer;
use super::browser::{Browser, Visit, query};
use super::provider::{ISSUER, PAGES};

/// The page whose scripts call us.
const PAGE: &str = "https://pages.op.test/account";
const FETCH: [(&str, &str); 1] = [("x-requested-with", "fetch")];

impl Browser {
    /// A call as a front end makes it: with credentials and the header that forms cannot send.
    pub(crate) async fn call(&self, method: Method, path: &str, json: Option<&Value>) -> Answer {
        let headers: &[(&str, &str)] = if method == Method::GET { &[] } else { &FETCH };
        let sent = self
            .fetch(PAGE, method, &format!("{ISSUER}{path}"), headers, json)
            .await;
        sent.expect("the deployer's pages may read what they ask for")
    }

    /// `GET /auth/me`.
    pub(crate) async fn me(&self) -> Answer {
        self.call(Method::GET, "/auth/me", None).await
    }

    /// Who is signed in here.
    pub(crate) async fn user_id(&self) -> String {
        self.me().await.is(200).json()["user_id"]
            .as_str()
            .expect("a user has an id")
            .to_owned()
    }

    /// `POST /auth/refresh`.
    pub(crate) async fn renew(&self) -> Answer {
        self.call(Method::POST, "/auth/refresh", None).await
    }

    /// `GET /auth/setup`.
    pub(crate) async fn setup(&self) -> Answer {
        self.call(Method::GET, "/auth/setup", None).await
    }

    /// `POST /auth/setup` with this username.
    pub(crate) async fn choose(&self, username: &str) -> Answer {
        self.call(
            Method::POST,
            "/auth/setup",
            Some(&serde_json::json!({ "username": username })),
        )
        .await
    }

    /// The value of one of our cookies, by the last part of its name.
    pub(crate) fn cookie(&self, kind: &str) -> Option<String> {
        let name = format!("__Host-auth_{kind}");
        self.jar()
            .find(&name, self.op.clock().now())
            .map(|cookie| cookie.value.clone())
    }

    /// Whether a live session sits in this browser.
    pub(crate) async fn is_signed_in(&self) -> bool {
        match self.me().await.status.as_u16() {
            200 => true,
            401 => false,
            other => panic!("GET /auth/me answers {other}"),
        }
    }

    /// Starts a sign-in (`simulated`, or `simulated?return_to=…`) and goes as far as the upstream's page.
    pub(crate) async fn start(&self, provider: &str) -> Visit {
        self.follow(&format!("{PAGES}/login"), &format!("{ISSUER}/auth/{provider}"))
            .await
    }

    /// Signs in at the upstream's page, with whatever goes wrong there this time. The URL of the callback, not yet visited.
    pub(crate) async fn callback_url(&self, page: &Visit, person: &str, wrong: &[Misbehaviour]) -> Url {
        let form = page
            .form()
            .unwrap_or_else(|| panic!("there is no form: {} {}", page.url, page.text()));
        let action = page.url.join(&form.action).expect("the action is a URL");
        let mut fields = vec![("person", person)];
        for misbehaviour in wrong {
            let known = Misbehaviour::ALL.iter().find(|(_, known)| known == misbehaviour);
            fields.push(("misbehaviour", known.expect("every one has a name").0));
        }
        let answer = Answer::of(self.op.http().post(action).form(&fields)).await;
        let location = answer
            .header("location")
            .unwrap_or_else(|| panic!("{}: {}", answer.status, answer.text));
        Url::parse(location).expect("the callback is a URL")
    }

    /// Starts, signs in upstream, and stops before the callback.
    pub(crate) async fn up_to_callback(&self, provider: &str, person: &str) -> Url {
        let page = self.start(provider).await;
        self.callback_url(&page, person, &[]).await
    }

    /// The same and the callback, with something going wrong at the upstream.
    pub(crate) async fn sign_in_amid(&self, provider: &str, person: &str, wrong: &[Misbehaviour]) -> Visit {
        let page = self.start(provider).await;
        let callback = self.callback_url(&page, person, wrong).await;
        self.follow(page.url.as_str(), callback.as_str()).await
    }
}

/// The URL with one parameter set to another value, or taken out.
pub(crate) fn with_param(url: &Url, name: &str, value: Option<&str>) -> Url {
    let pairs: Vec<(String, String)> = url
        .query_pairs()
        .into_owned()
        .filter(|(own, _)| own != name)
        .collect();
    let mut changed = url.clone();
    changed.query_pairs_mut().clear().extend_pairs(pairs);
    if let Some(value) = value {
        changed.query_pairs_mut().append_pair(name, value);
    }
    changed
}

/// A parameter that has to be there.
pub(crate) fn param(url: &Url, name: &str) -> String {
    query(url, name).unwrap_or_else(|| panic!("{name} is missing in {url}"))
}
