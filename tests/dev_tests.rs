//! The demo app and the front end of `riley-auth dev`, as a browser meets them: over HTTP.
//!
//! The demo app is an ordinary app, so here it signs people in with the simulated upstream instead of riley-auth.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeMap;

use reqwest::{StatusCode, header};
use riley_auth::clock::Clock;
use riley_auth::dev::demo_app::{self, DemoAppOptions};
use riley_auth::dev::front_end;
use riley_auth::dev::listen::{listen, serve};
use riley_auth::dev::simulated_upstream::{
    Client, Misbehaviour, Options, SigningAlgorithm, SimulatedUpstream,
};
use tokio_util::sync::{CancellationToken, DropGuard};
use url::Url;

/// Something served on loopback until this is dropped.
struct Served {
    url: String,
    _stop: DropGuard,
}

async fn serve_on_free_port(router: impl FnOnce(&str) -> axum::Router) -> Served {
    let listeners = listen(0, "the test").await.unwrap();
    let url = format!("http://{}", listeners[0].local_addr().unwrap());
    let stop = CancellationToken::new();
    tokio::spawn(serve(router(&url), listeners, stop.clone()));
    Served {
        url,
        _stop: stop.drop_guard(),
    }
}

/// A demo app whose provider is the simulated upstream.
struct Scene {
    app: Served,
    upstream: SimulatedUpstream,
}

impl Scene {
    async fn set() -> Self {
        let client = Client {
            client_id: "demo".to_owned(),
            client_secret: "a secret, with : and %".to_owned(),
            redirect_uris: Vec::new(),
            backchannel_logout_uri: None,
        };
        let options = Options {
            clients: vec![client.clone()],
            signing_algorithm: SigningAlgorithm::Es256,
            authorization_response_iss: Some(true),
            require_pkce: true,
            ..Options::default()
        };
        let upstream = SimulatedUpstream::start(options).await.unwrap();
        let issuer = upstream.issuer();
        let app = serve_on_free_port(|url| {
            demo_app::router(DemoAppOptions {
                issuer,
                client_id: client.client_id,
                client_secret: client.client_secret.into(),
                base_url: url.to_owned(),
                scope: "openid profile email".to_owned(),
                signed_out_url: "http://localhost:9/signed-out".to_owned(),
                clock: Clock::default(),
            })
            .unwrap()
        })
        .await;
        Self { app, upstream }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.app.url)
    }
}

struct Page {
    status: StatusCode,
    headers: header::HeaderMap,
    text: String,
}

impl Page {
    fn location(&self) -> &str {
        self.headers[header::LOCATION].to_str().unwrap()
    }

    fn has(&self, id: &str) -> bool {
        self.text.contains(&format!("id=\"{id}\""))
    }

    /// The JSON shown in the element.
    fn json(&self, id: &str) -> serde_json::Value {
        let (_, rest) = self.text.split_once(&format!("id=\"{id}\"")).unwrap();
        let (_, rest) = rest.split_once('>').unwrap();
        let (json, _) = rest.split_once("</pre>").unwrap();
        serde_json::from_str(&json.replace("&quot;", "\"").replace("&amp;", "&")).unwrap()
    }
}

/// Keeps cookies by name and follows nothing by itself.
struct Browser {
    http: reqwest::Client,
    cookies: BTreeMap<String, String>,
}

impl Browser {
    fn new() -> Self {
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .unwrap();
        Self {
            http,
            cookies: BTreeMap::new(),
        }
    }

    async fn get(&mut self, url: &str) -> Page {
        let request = self.http.get(url);
        self.send(request).await
    }

    async fn post(&mut self, url: &str, form: &[(&str, &str)]) -> Page {
        let request = self.http.post(url).form(form);
        self.send(request).await
    }

    async fn send(&mut self, request: reqwest::RequestBuilder) -> Page {
        let cookies: Vec<String> = self
            .cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let response = request
            .header(header::COOKIE, cookies.join("; "))
            .send()
            .await
            .unwrap();
        for cookie in response.headers().get_all(header::SET_COOKIE) {
            let (pair, attributes) = cookie.to_str().unwrap().split_once(';').unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            if attributes.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        Page {
            status: response.status(),
            headers: response.headers().clone(),
            text: response.text().await.unwrap(),
        }
    }

    /// From the demo app's button through the upstream's form: the address of the answer.
    async fn sign_in_upstream(&mut self, scene: &Scene, form: &[(&str, &str)]) -> String {
        let start = self.get(&scene.url("/sign-in")).await;
        assert_eq!(start.status, StatusCode::SEE_OTHER, "{}", start.text);
        let page = self.get(start.location()).await;
        let (_, rest) = page.text.split_once("action=\"").unwrap();
        let action = rest.split_once('"').unwrap().0.replace("&amp;", "&");
        let action = Url::parse(start.location()).unwrap().join(&action).unwrap();
        let answer = self.post(action.as_str(), form).await;
        assert!(answer.status.is_redirection(), "{}", answer.text);
        answer.location().to_owned()
    }

    async fn sign_in(&mut self, scene: &Scene) -> Page {
        let answer = self.sign_in_upstream(scene, &[("username", "ada")]).await;
        self.get(&answer).await
    }
}

/// OpenID Connect Core §3.1.2.1, RFC 7636 §4.3.
#[tokio::test]
async fn a_sign_in_starts_with_pkce_state_and_nonce_of_its_own() {
    let scene = Scene::set().await;
    let mut browser = Browser::new();
    let mut seen = Vec::new();
    for _ in 0..2 {
        let start = browser.get(&scene.url("/sign-in?prompt=login&scope=evil")).await;
        let url = Url::parse(start.location()).unwrap();
        let params: BTreeMap<String, String> = url.query_pairs().into_owned().collect();
        assert_eq!(params["response_type"], "code");
        assert_eq!(params["code_challenge_method"], "S256");
        assert_eq!(params["code_challenge"].len(), 43);
        assert_eq!(params["redirect_uri"], scene.url("/callback"));
        assert_eq!(params["scope"], "openid profile email");
        assert_eq!(params["prompt"], "login");
        seen.extend(["state", "nonce", "code_challenge"].map(|name| params[name].clone()));
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 6, "nothing is used twice");
}

#[tokio::test]
async fn somebody_signs_in_sees_what_was_told_and_signs_out() {
    let scene = Scene::set().await;
    let mut browser = Browser::new();
    let before = browser.get(&scene.url("/")).await;
    assert!(before.has("sign-in") && !before.has("id-token"));
    let planted = "a-handle-that-somebody-planted-before-hand-0";
    browser
        .cookies
        .insert("demo_session".to_owned(), planted.to_owned());

    let done = browser.sign_in(&scene).await;
    assert_eq!(
        (done.status, done.location()),
        (StatusCode::SEE_OTHER, "/"),
        "{}",
        done.text
    );
    assert_ne!(browser.cookies["demo_session"], planted);
    let page = browser.get(&scene.url("/")).await;
    let subject = scene.upstream.subject_of("ada");
    assert_eq!(page.json("id-token")["claims"]["sub"], subject);
    assert_eq!(page.json("id-token")["header"]["alg"], "ES256");
    assert_eq!(page.json("userinfo")["sub"], subject);
    assert!(
        page.has("access-token") && page.has("sign-out") && page.has("sign-in-again") && page.has("silent")
    );
    let shown = page.json("token-response")["id_token"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        shown.len() < 60 && shown.contains("characters"),
        "the ID token is shortened: {shown}"
    );

    let out = browser.post(&scene.url("/sign-out"), &[]).await;
    assert_eq!(out.location(), "http://localhost:9/signed-out");
    assert!(!browser.cookies.contains_key("demo_session"));
    let after = browser.get(&scene.url("/")).await;
    assert!(after.has("sign-in") && !after.has("id-token"));
}

/// OpenID Connect Back-Channel Logout §2.6, §2.7: the provider's word ends the session it names and no other, once.
#[tokio::test]
async fn the_provider_signs_people_out_of_the_session_that_it_names() {
    let scene = Scene::set().await;
    let (mut here, mut there) = (Browser::new(), Browser::new());
    here.sign_in(&scene).await;
    let sid = scene.upstream.sids_of("ada").remove(0);
    there.sign_in(&scene).await;
    let notice = scene.url("/backchannel-logout");
    let claims = scene.upstream.logout_token_claims(Some("ada"), Some(&sid));
    let mut elsewhere = claims.clone();
    elsewhere["aud"] = "another".into();
    let sign = |claims| scene.upstream.sign_logout_token(claims).unwrap();
    for refused in [sign(&elsewhere), "nonsense".to_owned(), String::new()] {
        let answer = Browser::new().post(&notice, &[("logout_token", &refused)]).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    }
    assert!(here.get(&scene.url("/")).await.has("id-token"));

    let token = sign(&claims);
    let answer = Browser::new().post(&notice, &[("logout_token", &token)]).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store");
    assert!(!here.get(&scene.url("/")).await.has("id-token"));
    assert!(there.get(&scene.url("/")).await.has("id-token"));
    let again = Browser::new().post(&notice, &[("logout_token", &token)]).await;
    assert_eq!(again.status, StatusCode::BAD_REQUEST);
}

/// RFC 6749 §10.12: `state` binds the answer to the browser that asked.
#[tokio::test]
async fn an_answer_that_this_browser_did_not_ask_for_signs_nobody_in() {
    let scene = Scene::set().await;
    let mut attacker = Browser::new();
    let answer = attacker.sign_in_upstream(&scene, &[("username", "eve")]).await;
    let mut victim = Browser::new();
    victim.get(&scene.url("/sign-in")).await;
    let page = victim.get(&answer).await;
    assert_eq!(page.status, StatusCode::BAD_REQUEST);
    assert!(page.has("error"));
    assert!(!victim.get(&scene.url("/")).await.has("id-token"));
}

#[tokio::test]
async fn an_answer_is_used_once() {
    let scene = Scene::set().await;
    let mut browser = Browser::new();
    let answer = browser.sign_in_upstream(&scene, &[("username", "ada")]).await;
    assert_eq!(browser.get(&answer).await.status, StatusCode::SEE_OTHER);
    assert_eq!(browser.get(&answer).await.status, StatusCode::BAD_REQUEST);
}

/// OpenID Connect Core §3.1.3.7, RFC 9207 §2.4: whatever an app must not accept signs nobody in.
#[tokio::test]
async fn nothing_that_a_misbehaving_provider_says_signs_anybody_in() {
    use Misbehaviour as M;
    let scene = Scene::set().await;
    let misbehaviours = [
        M::WrongNonce,
        M::MissingNonce,
        M::WrongIssuer,
        M::WrongAudience,
        M::WrongAuthorizedParty,
        M::ExpiredIdToken,
        M::FutureIat,
        M::AlgNone,
        M::SignedWithClientSecret,
        M::UnpublishedKey,
        M::MissingIdToken,
        M::WrongIssParameter,
        M::MissingIssParameter,
        M::WrongState,
        M::UserinfoOtherSubject,
        M::SubjectMissing,
        M::SubjectEmpty,
        M::SubjectAsNumber,
        M::TokenFails,
        M::TokenRedirects,
        M::TokenNotJson,
        M::CodeRefused,
        M::JwksFails,
        M::UserinfoFails,
    ];
    for misbehaviour in misbehaviours {
        let mut browser = Browser::new();
        let start = browser.get(&scene.url("/sign-in")).await;
        let page = browser.get(start.location()).await;
        let (_, rest) = page.text.split_once("action=\"").unwrap();
        let action = rest.split_once('"').unwrap().0.replace("&amp;", "&");
        let action = Url::parse(start.location()).unwrap().join(&action).unwrap();
        scene.upstream.misbehave(misbehaviour);
        let answer = browser.post(action.as_str(), &[("username", "ada")]).await;
        let end = browser.get(answer.location()).await;
        scene.upstream.behave();
        assert!(
            end.status.is_client_error() || end.status.is_server_error(),
            "{misbehaviour:?}: {}",
            end.status
        );
        assert!(end.has("error"), "{misbehaviour:?}");
        let home = browser.get(&scene.url("/")).await;
        assert!(!home.has("id-token"), "{misbehaviour:?}");
    }
    let mut browser = Browser::new();
    assert_eq!(browser.sign_in(&scene).await.status, StatusCode::SEE_OTHER);
}

/// RFC 6749 §4.1.2.1: what the provider says went wrong is shown, and is nothing but text.
#[tokio::test]
async fn a_cancelled_sign_in_and_a_hostile_error_are_told_to_the_person_as_text() {
    let scene = Scene::set().await;
    let cases = [
        (("action", "cancel"), "access_denied"),
        (("misbehaviour", "hostile-error-description"), "server_error"),
    ];
    for (field, error) in cases {
        let mut browser = Browser::new();
        let answer = browser
            .sign_in_upstream(&scene, &[("username", "ada"), field])
            .await;
        let page = browser.get(&answer).await;
        assert_eq!(page.status, StatusCode::BAD_REQUEST);
        assert!(page.has("error") && page.text.contains(error), "{}", page.text);
        assert!(
            !page.text.contains("<script") && !page.text.contains("<img"),
            "{}",
            page.text
        );
        assert!(!browser.get(&scene.url("/")).await.has("id-token"));
    }
}

/// OpenID Connect Core §3.1.2.6.
#[tokio::test]
async fn a_silent_sign_in_without_a_session_says_login_required() {
    let scene = Scene::set().await;
    let mut browser = Browser::new();
    let start = browser.get(&scene.url("/sign-in?prompt=none")).await;
    let answer = browser.get(start.location()).await;
    let page = browser.get(answer.location()).await;
    assert!(
        page.has("error") && page.text.contains("login_required"),
        "{}",
        page.text
    );
}

#[tokio::test]
async fn forms_of_other_origins_change_nothing() {
    let scene = Scene::set().await;
    let mut browser = Browser::new();
    browser.sign_in(&scene).await;
    for path in ["/sign-out", "/refresh"] {
        for site in ["same-site", "cross-site"] {
            let request = browser.http.post(scene.url(path)).header("Sec-Fetch-Site", site);
            assert_eq!(browser.send(request).await.status, StatusCode::FORBIDDEN);
        }
    }
    assert!(browser.get(&scene.url("/")).await.has("id-token"));
}

/// DNS rebinding: a foreign name that leads here is not answered.
#[tokio::test]
async fn nothing_answers_under_a_foreign_host_name() {
    let scene = Scene::set().await;
    let pages = serve_on_free_port(|_| front_end::router("http://localhost:8081")).await;
    let http = Browser::new().http;
    for base in [&scene.app.url, &pages.url] {
        for path in ["/", "/login", "/style.css", "/nowhere"] {
            let url = format!("{base}{path}");
            let answered = http
                .get(&url)
                .header(header::HOST, "localhost:1")
                .send()
                .await
                .unwrap();
            assert_ne!(answered.status(), StatusCode::MISDIRECTED_REQUEST, "{url}");
            for host in ["evil.example", "localhost.evil.example:8082", ""] {
                let refused = http.get(&url).header(header::HOST, host).send().await.unwrap();
                assert!(
                    matches!(refused.status().as_u16(), 400 | 421),
                    "{url} under {host:?}: {}",
                    refused.status()
                );
            }
        }
    }
}

#[tokio::test]
async fn every_page_of_the_front_end_runs_its_own_script_alone_and_calls_the_api_alone() {
    let issuer = "http://localhost:8081";
    let pages = serve_on_free_port(|_| front_end::router(issuer)).await;
    let mut browser = Browser::new();
    let ids = [
        ("/login", "providers"),
        ("/welcome", "create-account"),
        ("/link", "confirm-link"),
        ("/consent", "approve"),
        ("/account", "sign-out"),
        ("/signed-out", "sign-out"),
        ("/error", "error-id"),
    ];
    for (path, id) in ids {
        let page = browser
            .get(&format!("{}{path}?request_id=%22%3E%3Cscript%3E", pages.url))
            .await;
        assert_eq!(page.status, StatusCode::OK, "{path}");
        assert!(page.has(id) && page.has("message"), "{path}");
        assert!(page.text.contains(&format!("data-issuer=\"{issuer}\"")), "{path}");
        assert_eq!(
            page.text.matches("<script").count(),
            1,
            "{path}: one script, nothing echoed"
        );
        let policy = page.headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        for part in [
            "default-src 'none'",
            "script-src 'self'",
            "connect-src http://localhost:8081;",
            "frame-ancestors 'none'",
        ] {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(page.headers[header::REFERRER_POLICY], "no-referrer");
    }
    let script = browser.get(&format!("{}/pages.js", pages.url)).await;
    assert!(
        script.headers[header::CONTENT_TYPE]
            .to_str()
            .unwrap()
            .starts_with("text/javascript")
    );
    // Text from the API is never parsed as HTML.
    assert!(!script.text.contains("innerHTML"));
}
