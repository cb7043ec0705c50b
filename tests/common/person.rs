//! What people do with their browsers, and what apps get to see of it.

use reqwest::Method;
use serde_json::json;
use url::Url;

use super::answer::Answer;
use super::app::TestClient;
use super::browser::{Browser, Navigation, Visit, query};
use super::html;
use super::provider::{APP, ISSUER, PAGES};
use super::random_text;

/// What an authorization request came to.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// The app has a code.
    Code(Granted),
    /// The app has an error.
    Error(Refused),
    /// The person is on a page of the deployer's: to sign in, to agree.
    Page(Url),
    /// The person is on a page of the provider or the upstream.
    ErrorPage { status: u16, text: String },
}

/// A code, and what the app remembers of its request.
#[derive(Clone, Debug)]
pub(crate) struct Granted {
    pub(crate) code: String,
    pub(crate) state: Option<String>,
    pub(crate) iss: Option<String>,
    pub(crate) nonce: Option<String>,
    pub(crate) verifier: Option<String>,
    pub(crate) redirect_uri: String,
    /// Every parameter as it arrived.
    pub(crate) params: Vec<(String, String)>,
    /// It came by a form, not in the query.
    pub(crate) posted: bool,
}

/// An error at the app.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    pub(crate) error: String,
    pub(crate) description: Option<String>,
    pub(crate) state: Option<String>,
    pub(crate) iss: Option<String>,
    pub(crate) params: Vec<(String, String)>,
    pub(crate) posted: bool,
}

/// An authorization request in the making.
pub(crate) struct Authorize<'a> {
    browser: &'a Browser,
    app: &'a TestClient,
    params: Vec<(String, String)>,
    verifier: Option<String>,
    post: bool,
    reverse: bool,
    from: String,
}

impl Browser {
    /// Signs in at the upstream and comes back.
    pub(crate) async fn sign_in(&self, person: &str) {
        let visit = self.open(&format!("{ISSUER}/auth/simulated")).await;
        let visit = self.pass_upstream(visit, person).await;
        assert_eq!(
            visit.url.as_str(),
            format!("{PAGES}/home"),
            "{:?}: {}",
            visit.status(),
            visit.text()
        );
    }

    /// Answers the upstream's page, if it shows one.
    pub(crate) async fn pass_upstream(&self, visit: Visit, person: &str) -> Visit {
        let at_upstream = visit.url.authority() == self.op.upstream().address().to_string();
        if at_upstream && visit.form().is_some() {
            self.submit(&visit, &[("person", person)]).await
        } else {
            visit
        }
    }

    /// Signs in from the login page, for the request that it was handed.
    pub(crate) async fn sign_in_at(&self, login_page: &Url, person: &str) -> Visit {
        let request_id = query(login_page, "request_id").expect("the login page is handed a request_id");
        let start = format!("{ISSUER}/auth/simulated?request_id={request_id}");
        let visit = self.follow(login_page.as_str(), &start).await;
        self.pass_upstream(visit, person).await
    }

    /// What the consent page reads.
    pub(crate) async fn consent_context(&self, consent_page: &Url) -> Answer {
        let consent_id = query(consent_page, "consent_id").expect("the consent page is handed a consent_id");
        let url = format!("{ISSUER}/oauth/consent?consent_id={consent_id}");
        self.fetch(consent_page.as_str(), Method::GET, &url, &[], None)
            .await
            .expect("the page may read")
    }

    /// What the consent page sends.
    pub(crate) async fn send_decision(&self, consent_page: &Url, approved: bool) -> Answer {
        let consent_id = query(consent_page, "consent_id").expect("the consent page is handed a consent_id");
        let body = json!({ "consent_id": consent_id, "approved": approved });
        let url = format!("{ISSUER}/oauth/consent");
        let headers = [("x-requested-with", "fetch")];
        let sent = self
            .fetch(consent_page.as_str(), Method::POST, &url, &headers, Some(&body))
            .await;
        sent.expect("the page may send")
    }

    /// Agrees or declines, and goes where the answer says.
    pub(crate) async fn decide(&self, consent_page: &Url, approved: bool) -> Visit {
        let answer = self.send_decision(consent_page, approved).await;
        let next = answer.is(200).json()["redirect_to"]
            .as_str()
            .expect("there is a way on")
            .to_owned();
        self.follow(consent_page.as_str(), &next).await
    }

    /// Starts an authorization request as the app would: response type code, scope openid, fresh state and nonce.
    pub(crate) fn authorize<'a>(&'a self, app: &'a TestClient) -> Authorize<'a> {
        let params = vec![
            ("client_id".to_owned(), app.client_id().to_owned()),
            ("nonce".to_owned(), random_text(10)),
            ("redirect_uri".to_owned(), app.redirect_uri().to_owned()),
            ("response_type".to_owned(), "code".to_owned()),
            ("scope".to_owned(), "openid".to_owned()),
            ("state".to_owned(), random_text(10)),
        ];
        Authorize {
            browser: self,
            app,
            params,
            verifier: None,
            post: false,
            reverse: false,
            from: format!("{APP}/"),
        }
    }
}

impl<'a> Authorize<'a> {
    /// The browser that sends it.
    pub(crate) fn browser(&self) -> &'a Browser {
        self.browser
    }

    /// Sets a parameter.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        match self.params.iter_mut().find(|(own, _)| own == name) {
            Some((_, own)) => value.clone_into(own),
            None => self.params.push((name.to_owned(), value.to_owned())),
        }
        self
    }

    /// Adds a parameter, a second time if need be.
    pub(crate) fn also(mut self, name: &str, value: &str) -> Self {
        self.params.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Leaves a parameter out.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.params.retain(|(own, _)| own != name);
        self
    }

    pub(crate) fn scope(self, scope: &str) -> Self {
        self.with("scope", scope)
    }

    pub(crate) fn prompt(self, prompt: &str) -> Self {
        self.with("prompt", prompt)
    }

    pub(crate) fn max_age(self, secs: i64) -> Self {
        self.with("max_age", &secs.to_string())
    }

    /// With this verifier's S256 challenge (RFC 7636 §4.2).
    pub(crate) fn pkce(mut self, verifier: &str) -> Self {
        self.verifier = Some(verifier.to_owned());
        self.with("code_challenge", &challenge(verifier))
            .with("code_challenge_method", "S256")
    }

    /// By a form that the app's page posts.
    pub(crate) fn post(mut self) -> Self {
        self.post = true;
        self
    }

    /// Parameters in the reverse of the usual order.
    pub(crate) fn reversed(mut self) -> Self {
        self.reverse = true;
        self
    }

    /// Started from a page of another origin than the app's.
    pub(crate) fn from(mut self, page: &str) -> Self {
        page.clone_into(&mut self.from);
        self
    }

    /// The URL of the request.
    pub(crate) fn url(&self) -> String {
        let mut url = Url::parse(&format!("{ISSUER}/oauth/authorize")).unwrap();
        url.query_pairs_mut().extend_pairs(self.ordered());
        url.into()
    }

    fn ordered(&self) -> Vec<(String, String)> {
        let mut params = self.params.clone();
        if self.reverse {
            params.reverse();
        }
        params
    }

    /// A parameter as it will be sent.
    pub(crate) fn param(&self, name: &str) -> Option<String> {
        self.params
            .iter()
            .find(|(own, _)| own == name)
            .map(|(_, value)| value.clone())
    }

    /// Sends the browser there and tells where it ends.
    pub(crate) async fn visit(&self) -> Visit {
        if self.post {
            let url = format!("{ISSUER}/oauth/authorize");
            self.browser.post_form(&self.from, &url, self.ordered()).await
        } else {
            self.browser.follow(&self.from, &self.url()).await
        }
    }

    /// What this visit means for the app.
    pub(crate) async fn read(&self, visit: Visit) -> Outcome {
        // The script on the page of `response_mode=form_post` sends its form.
        let own_form =
            visit.url.as_str().starts_with(ISSUER) && visit.status().is_some_and(|s| s.is_success());
        let visit = if own_form && visit.form().is_some() {
            self.browser.submit(&visit, &[]).await
        } else {
            visit
        };
        if let Some(answer) = &visit.answer {
            return Outcome::ErrorPage {
                status: answer.status.as_u16(),
                text: answer.text.clone(),
            };
        }
        if visit.url.origin().ascii_serialization() == PAGES {
            return Outcome::Page(visit.url);
        }
        let posted = !visit.posted.is_empty();
        let params: Vec<(String, String)> = if posted {
            let own = url::Url::parse(self.app.redirect_uri()).unwrap();
            assert_eq!(visit.url.query(), own.query(), "nothing comes in the query, too");
            visit.posted.clone()
        } else {
            visit
                .url
                .query_pairs()
                .map(|(name, value)| (name.into_owned(), value.into_owned()))
                .collect()
        };
        assert!(
            visit.url.as_str().starts_with(self.app.redirect_uri()),
            "sent to {}",
            visit.url
        );
        assert_eq!(visit.url.fragment(), None, "nothing comes in a fragment");
        let get = |name: &str| {
            params
                .iter()
                .find(|(own, _)| own == name)
                .map(|(_, value)| value.clone())
        };
        match (get("code"), get("error")) {
            (Some(code), None) => Outcome::Code(Granted {
                code,
                state: get("state"),
                iss: get("iss"),
                nonce: self.param("nonce"),
                verifier: self.verifier.clone(),
                redirect_uri: self.app.redirect_uri().to_owned(),
                params,
                posted,
            }),
            (None, Some(error)) => Outcome::Error(Refused {
                error,
                description: get("error_description"),
                state: get("state"),
                iss: get("iss"),
                params,
                posted,
            }),
            _ => panic!("neither a code nor an error: {params:?}"),
        }
    }

    /// Sends it and tells what came of it.
    pub(crate) async fn send(&self) -> Outcome {
        let visit = self.visit().await;
        self.read(visit).await
    }

    /// Sends it, signs in and agrees wherever that is asked for.
    pub(crate) async fn send_as(&self, person: &str) -> Outcome {
        let mut outcome = self.send().await;
        for _ in 0..4 {
            let Outcome::Page(page) = &outcome else { break };
            let visit = match page.path() {
                "/login" => self.browser.sign_in_at(page, person).await,
                "/consent" => self.browser.decide(page, true).await,
                other => panic!("an unexpected page: {other}"),
            };
            outcome = self.read(visit).await;
        }
        outcome
    }

    /// A code without anybody being asked.
    pub(crate) async fn code(&self) -> Granted {
        self.send().await.code()
    }

    /// A code, once this person has signed in and agreed.
    pub(crate) async fn code_as(&self, person: &str) -> Granted {
        self.send_as(person).await.code()
    }
}

impl Outcome {
    #[track_caller]
    pub(crate) fn code(self) -> Granted {
        match self {
            Self::Code(granted) => granted,
            other => panic!("no code: {other:?}"),
        }
    }

    /// The error at the app, which has to be this one.
    #[track_caller]
    pub(crate) fn refused(self, error: &str) -> Refused {
        match self {
            Self::Error(refused) if refused.error == error => refused,
            other => panic!("not {error}: {other:?}"),
        }
    }

    /// The page of the deployer's with this path.
    #[track_caller]
    pub(crate) fn page(self, path: &str) -> Url {
        match self {
            Self::Page(url) if url.path() == path => url,
            other => panic!("not the page {path}: {other:?}"),
        }
    }

    /// The provider's own error page, which shows an id and sends nobody anywhere.
    #[track_caller]
    pub(crate) fn error_page(self) {
        match self {
            Self::ErrorPage { status: 400, text } => {
                assert!(
                    html::text_of(&text, "error-id").is_some_and(|id| id.len() >= 8),
                    "{text}"
                );
            }
            other => panic!("no error page: {other:?}"),
        }
    }
}

/// RFC 7636 §4.2.
pub(crate) fn challenge(verifier: &str) -> String {
    use base64::Engine;
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, verifier.as_bytes());
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(digest)
}

/// A page from which the app's users come.
pub(crate) fn from_app(url: &str) -> Navigation {
    Navigation::get(url, Some(&format!("{APP}/")))
}
