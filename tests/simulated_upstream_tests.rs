//! The simulated upstream as its clients see it: over HTTP, each flavour by the habits its real provider documents.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use reqwest::{Response, StatusCode, header};
use riley_auth::clock::Clock;
use riley_auth::dev::simulated_upstream::{
    Client, Endpoint, Flavour, Misbehaviour, Options, SigningAlgorithm, SimulatedUpstream,
};
use serde_json::{Value, json};
use time::Duration;
use url::Url;

const CALLBACK: &str = "https://app.example.test/callback";
/// RFC 7636 Appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

fn http() -> reqwest::Client {
    reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build().unwrap()
}

fn client() -> Client {
    Client {
        client_id: "app".to_owned(),
        client_secret: "sec ret+/%".to_owned(),
        redirect_uris: vec![CALLBACK.to_owned()],
    }
}

async fn start(flavour: Flavour) -> SimulatedUpstream {
    start_with(Options::of(flavour)).await
}

async fn start_with(options: Options) -> SimulatedUpstream {
    // P-256, because RSA keys take longer to make.
    let options = Options { clients: vec![client()], signing_algorithm: SigningAlgorithm::Es256, ..options };
    SimulatedUpstream::start(options).await.unwrap()
}

/// Somebody with a browser that keeps one cookie, on the way to one application.
struct Visit<'a> {
    upstream: &'a SimulatedUpstream,
    scope: &'static str,
    cookie: Option<String>,
    http: reqwest::Client,
}

impl<'a> Visit<'a> {
    fn of(upstream: &'a SimulatedUpstream, scope: &'static str) -> Self {
        Self { upstream, scope, cookie: None, http: http() }
    }

    /// Opens the authorization endpoint; `more` replaces or adds parameters.
    async fn open(&self, more: &[(&str, &str)]) -> Response {
        let mut params = vec![
            ("response_type", "code"),
            ("client_id", "app"),
            ("redirect_uri", CALLBACK),
            ("scope", self.scope),
            ("state", "state-1"),
            ("nonce", "nonce-1"),
        ];
        params.retain(|(name, _)| !more.iter().any(|(given, _)| given == name));
        params.extend(more);
        let url = Url::parse_with_params(&self.upstream.authorization_endpoint(), params).unwrap();
        self.send(self.http.get(url)).await
    }

    /// Sends the form of the page with these fields.
    async fn submit(&mut self, page: &str, fields: &[(&str, &str)]) -> Response {
        let response = self.send(self.http.post(attribute(page, "action")).form(fields)).await;
        if let Some(cookie) = response.headers().get(header::SET_COOKIE) {
            self.cookie = Some(cookie.to_str().unwrap().split(';').next().unwrap().to_owned());
        }
        response
    }

    async fn send(&self, mut request: reqwest::RequestBuilder) -> Response {
        if let Some(cookie) = &self.cookie {
            request = request.header(header::COOKIE, cookie);
        }
        request.send().await.unwrap()
    }

    /// Opens the page and signs in by the button of this person.
    async fn sign_in(&mut self, person: &str, more: &[(&str, &str)]) -> Response {
        let page = self.open(more).await.text().await.unwrap();
        assert!(page.contains(r#"id="sign-in""#), "no sign-in page: {page}");
        self.submit(&page, &[("person", person)]).await
    }

    async fn tokens(&mut self, person: &str) -> Value {
        let code = param(&self.sign_in(person, &[]).await, "code").unwrap();
        redeem(self.upstream, &code, &[]).await.json().await.unwrap()
    }

    /// The claims of a sign-in in which nobody is asked.
    async fn silent_claims(&self, more: &[(&str, &str)]) -> Value {
        let code = param(&self.open(more).await, "code").expect("a silent sign-in");
        claims(&redeem(self.upstream, &code, &[]).await.json().await.unwrap())
    }
}

fn unescape(text: &str) -> String {
    text.replace("&quot;", "\"").replace("&#39;", "'").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}

/// The value of the first such attribute.
fn attribute(page: &str, name: &str) -> String {
    let rest = page.split_once(&format!("{name}=\"")).expect("the page has the attribute").1;
    unescape(rest.split_once('"').unwrap().0)
}

/// A hidden field of a form_post page.
fn hidden(page: &str, name: &str) -> Option<String> {
    let rest = page.split_once(&format!(r#"name="{name}" value=""#))?.1;
    Some(unescape(rest.split_once('"')?.0))
}

/// A parameter of the redirect to the application.
fn param(response: &Response, name: &str) -> Option<String> {
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    let location = Url::parse(response.headers()[header::LOCATION].to_str().unwrap()).unwrap();
    assert!(location.as_str().starts_with(CALLBACK));
    location.query_pairs().find(|(given, _)| given == name).map(|(_, value)| value.into_owned())
}

async fn redeem(upstream: &SimulatedUpstream, code: &str, more: &[(&str, &str)]) -> Response {
    let secret = upstream.client_secret();
    let mut form = vec![
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", CALLBACK),
        ("client_id", "app"),
        ("client_secret", &secret),
    ];
    form.retain(|(name, _)| !more.iter().any(|(given, _)| given == name));
    form.extend(more);
    http().post(upstream.token_endpoint()).form(&form).send().await.unwrap()
}

async fn get_json(url: &str) -> Value {
    let response = http().get(url).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    response.json().await.unwrap()
}

async fn status_of(url: &str) -> StatusCode {
    http().get(url).send().await.unwrap().status()
}

async fn userinfo(upstream: &SimulatedUpstream, tokens: &Value) -> Value {
    let token = tokens["access_token"].as_str().unwrap();
    let url = upstream.userinfo_endpoint().unwrap();
    http().get(url).bearer_auth(token).send().await.unwrap().json().await.unwrap()
}

/// The claims of the ID token, unverified.
fn claims(tokens: &Value) -> Value {
    let payload = tokens["id_token"].as_str().expect("an ID token").split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

/// Whether a published key verifies the ID token.
async fn verifies(upstream: &SimulatedUpstream, tokens: &Value) -> bool {
    let discovery = get_json(&upstream.discovery_url().unwrap()).await;
    let jwks: JwkSet = serde_json::from_value(get_json(discovery["jwks_uri"].as_str().unwrap()).await).unwrap();
    let id_token = tokens["id_token"].as_str().unwrap();
    let Ok(header) = jsonwebtoken::decode_header(id_token) else { return false };
    let Some(jwk) = header.kid.and_then(|kid| jwks.find(&kid)) else { return false };
    let mut validation = Validation::new(header.alg);
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    jsonwebtoken::decode::<Value>(id_token, &DecodingKey::from_jwk(jwk).unwrap(), &validation).is_ok()
}

/// OpenID Connect Discovery 1.0 §3, §4.3; Core §3.1.3.
#[tokio::test]
async fn a_plain_provider_discovers_signs_in_and_gives_a_verifiable_id_token() {
    let upstream = start(Flavour::Oidc).await;
    let discovery = get_json(&format!("{}/.well-known/openid-configuration", upstream.issuer())).await;
    assert_eq!(discovery["issuer"], upstream.issuer());
    assert_eq!(discovery["authorization_endpoint"], upstream.authorization_endpoint());

    let response = Visit::of(&upstream, "openid email").sign_in("ada", &[]).await;
    assert_eq!(param(&response, "state").as_deref(), Some("state-1"));
    assert_eq!(param(&response, "iss"), Some(upstream.issuer()));
    let code = param(&response, "code").unwrap();
    let tokens: Value = redeem(&upstream, &code, &[]).await.json().await.unwrap();
    assert!(verifies(&upstream, &tokens).await);

    let claims = claims(&tokens);
    assert_eq!(claims["iss"], upstream.issuer());
    assert_eq!((&claims["aud"], &claims["nonce"]), (&json!("app"), &json!("nonce-1")));
    assert_eq!(claims["sub"], upstream.subject_of("ada"));
    assert_eq!((&claims["email"], &claims["email_verified"]), (&json!("ada@engine.example"), &json!(true)));
    for name in ["iat", "exp", "auth_time"] {
        assert!(claims[name].is_i64(), "{name} of {claims}");
    }
    assert!(claims["sid"].is_string() && claims["acr"].is_string() && claims["amr"].is_array());
    assert_eq!(redeem(&upstream, &code, &[]).await.status(), StatusCode::BAD_REQUEST, "a code is good once");
}

/// RFC 7518 §3.3: the default algorithm.
#[tokio::test]
async fn id_tokens_are_signed_by_rs256_unless_something_else_is_asked_for() {
    let options = Options { clients: vec![client()], ..Options::default() };
    let upstream = SimulatedUpstream::start(options).await.unwrap();
    let tokens = Visit::of(&upstream, "openid").tokens("ada").await;
    let header = jsonwebtoken::decode_header(tokens["id_token"].as_str().unwrap()).unwrap();
    assert_eq!(header.alg, Algorithm::RS256);
    assert!(verifies(&upstream, &tokens).await);
}

/// OpenID Connect Core §5.1, §5.4.
#[tokio::test]
async fn built_in_people_carry_every_standard_claim_with_its_type() {
    let upstream = start(Flavour::Oidc).await;
    for person in ["ada", "alan", "grace", "emmy", "mallory"] {
        let tokens = Visit::of(&upstream, "openid profile email address phone").tokens(person).await;
        let info = userinfo(&upstream, &tokens).await;
        let texts = "sub name given_name family_name middle_name nickname preferred_username profile picture website \
                     gender birthdate zoneinfo locale email phone_number";
        for name in texts.split_whitespace() {
            assert!(info[name].as_str().is_some_and(|text| !text.is_empty()), "{name} of {person}");
        }
        assert!(info["updated_at"].is_i64());
        assert!(info["email_verified"].is_boolean() && info["phone_number_verified"].is_boolean());
        for name in ["formatted", "street_address", "locality", "region", "postal_code", "country"] {
            assert!(info["address"][name].is_string(), "{name} of {person}");
        }
        assert_eq!(info["sub"], claims(&tokens)["sub"]);
    }
    let tokens = Visit::of(&upstream, "openid").tokens("ada").await;
    assert_eq!(userinfo(&upstream, &tokens).await, json!({ "sub": upstream.subject_of("ada") }));
}

#[tokio::test]
async fn anybody_who_is_typed_in_is_believed_and_stays_the_same_person() {
    let upstream = start(Flavour::Oidc).await;
    let mut people = Vec::new();
    for typed in ["Zoë <b>", " zoë <B> ", "someone@else.example"] {
        let mut visit = Visit::of(&upstream, "openid email");
        let page = visit.open(&[("login_hint", "\"><i>")]).await.text().await.unwrap();
        assert!(page.contains(r#"value="&quot;&gt;&lt;i&gt;""#), "the hint is prefilled as text");
        let response = visit.submit(&page, &[("username", typed), ("action", "sign-in")]).await;
        let code = param(&response, "code").unwrap();
        people.push(claims(&redeem(&upstream, &code, &[]).await.json().await.unwrap()));
    }
    assert_eq!(people[0]["sub"], people[1]["sub"]);
    assert_ne!(people[0]["sub"], people[2]["sub"]);
    assert_eq!(people[2]["email"], "someone@else.example");

    let mut nobody = Visit::of(&upstream, "openid");
    let page = nobody.open(&[]).await.text().await.unwrap();
    let page = nobody.submit(&page, &[("username", " "), ("action", "sign-in")]).await.text().await.unwrap();
    assert!(page.contains(r#"id="fault""#));
}

/// OpenID Connect Core §3.1.2.1, §3.1.2.3: prompt and max_age.
#[tokio::test]
async fn somebody_who_is_signed_in_is_asked_again_only_on_demand() {
    let clock = Clock::default();
    let upstream = start_with(Options { clock: clock.clone(), ..Options::default() }).await;
    let mut ada = Visit::of(&upstream, "openid");
    let refusal = ada.open(&[("prompt", "none")]).await;
    assert_eq!(param(&refusal, "error").as_deref(), Some("login_required"));

    let first = claims(&ada.tokens("ada").await);
    clock.advance(Duration::minutes(5));
    for more in [&[][..], &[("prompt", "none")], &[("max_age", "3600")]] {
        let silent = ada.silent_claims(more).await;
        assert_eq!((&silent["auth_time"], &silent["sid"]), (&first["auth_time"], &first["sid"]));
        assert_ne!(silent["iat"], first["iat"]);
    }
    for more in [("prompt", "login"), ("prompt", "select_account"), ("max_age", "60"), ("max_age", "0")] {
        clock.advance(Duration::minutes(5));
        let before = ada.silent_claims(&[]).await["auth_time"].as_i64().unwrap();
        let code = param(&ada.sign_in("ada", &[more]).await, "code").unwrap();
        let again = claims(&redeem(&upstream, &code, &[]).await.json().await.unwrap());
        assert!(again["auth_time"].as_i64().unwrap() > before, "{more:?}");
        assert_eq!(again["sid"], first["sid"]);
    }
    clock.advance(Duration::minutes(5));
    let too_old = ada.open(&[("prompt", "none"), ("max_age", "60")]).await;
    assert_eq!(param(&too_old, "error").as_deref(), Some("login_required"));
    let asked = upstream.requests_to(Endpoint::Authorize);
    assert!(asked.iter().any(|request| request.query("prompt") == Some("login")), "the log shows what was asked");
}

#[tokio::test]
async fn consent_is_asked_on_demand_and_declining_leads_back_with_an_error() {
    let upstream = start(Flavour::Oidc).await;
    let mut ada = Visit::of(&upstream, "openid");
    ada.tokens("ada").await;
    let page = ada.open(&[("prompt", "consent")]).await.text().await.unwrap();
    assert!(param(&ada.submit(&page, &[("action", "allow")]).await, "code").is_some());
    let response = ada.submit(&page, &[("action", "cancel")]).await;
    assert_eq!(param(&response, "error").as_deref(), Some("access_denied"));
    assert_eq!(param(&response, "state").as_deref(), Some("state-1"));
}

#[tokio::test]
async fn signing_out_ends_the_session() {
    let upstream = start(Flavour::Oidc).await;
    let mut ada = Visit::of(&upstream, "openid");
    ada.tokens("ada").await;
    let cookie = ada.cookie.clone();
    assert!(cookie.as_ref().unwrap().starts_with("simulated_upstream_session="));
    let page = ada.send(http().get(format!("{}/logout", upstream.issuer()))).await.text().await.unwrap();
    ada.submit(&page, &[]).await;
    ada.cookie = cookie;
    assert!(ada.open(&[]).await.text().await.unwrap().contains(r#"id="sign-in""#), "the old cookie is worthless");
}

/// RFC 7636 §4.3, §4.6.
#[tokio::test]
async fn a_code_with_a_challenge_needs_its_verifier() {
    let upstream = start(Flavour::Oidc).await;
    let mut ada = Visit::of(&upstream, "openid");
    let challenge = [("code_challenge", CHALLENGE), ("code_challenge_method", "S256"), ("prompt", "login")];
    for (more, status) in [
        (&[("code_verifier", VERIFIER)][..], StatusCode::OK),
        (&[("code_verifier", "another")], StatusCode::BAD_REQUEST),
        (&[], StatusCode::BAD_REQUEST),
    ] {
        let code = param(&ada.sign_in("ada", &challenge).await, "code").unwrap();
        assert_eq!(redeem(&upstream, &code, more).await.status(), status, "{more:?}");
    }
    let code = param(&ada.open(&[]).await, "code").unwrap();
    let stripped = redeem(&upstream, &code, &[("code_verifier", VERIFIER)]).await;
    assert_eq!(stripped.status(), StatusCode::BAD_REQUEST);
    let plain = ada.open(&[("code_challenge", VERIFIER), ("code_challenge_method", "plain")]).await;
    assert_eq!(param(&plain, "error").as_deref(), Some("invalid_request"));
}

/// RFC 6749 §2.3.1: both halves of the Basic credentials are form-encoded.
#[tokio::test]
async fn clients_prove_themselves_by_header_or_form_and_strangers_are_refused() {
    let upstream = start(Flavour::Oidc).await;
    let mut ada = Visit::of(&upstream, "openid");
    let code = param(&ada.sign_in("ada", &[]).await, "code").unwrap();
    let wrong = redeem(&upstream, &code, &[("client_secret", "wrong")]).await;
    assert_eq!(wrong.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(wrong.json::<Value>().await.unwrap()["error"], "invalid_client");
    let form = [("grant_type", "authorization_code"), ("code", &code), ("redirect_uri", CALLBACK)];
    let request = http().post(upstream.token_endpoint()).basic_auth("app", Some("sec+ret%2B%2F%25")).form(&form);
    assert_eq!(request.send().await.unwrap().status(), StatusCode::OK);

    for foreign in [("redirect_uri", "https://evil.example.test/"), ("client_id", "unknown")] {
        assert_eq!(ada.open(&[foreign]).await.status(), StatusCode::BAD_REQUEST, "{foreign:?}");
    }
}

#[tokio::test]
async fn without_registered_clients_every_client_is_accepted() {
    let path = "/tenant/one".to_owned();
    let options = Options { path, signing_algorithm: SigningAlgorithm::Es256, ..Options::default() };
    let upstream = SimulatedUpstream::start(options).await.unwrap();
    assert!(upstream.issuer().ends_with("/tenant/one"));
    let tokens = Visit::of(&upstream, "openid").tokens("ada").await;
    assert_eq!(claims(&tokens)["iss"], upstream.issuer(), "also below a path");
    assert!(verifies(&upstream, &tokens).await);
    assert_eq!(upstream.requests_to(Endpoint::Token)[0].path, "/tenant/one/token");
}

/// OAuth 2.0 Form Post Response Mode §2.
#[tokio::test]
async fn a_form_post_response_carries_the_parameters_in_a_form() {
    let upstream = start(Flavour::Oidc).await;
    let mut ada = Visit::of(&upstream, "openid");
    let page = ada.sign_in("ada", &[("response_mode", "form_post")]).await.text().await.unwrap();
    assert_eq!(attribute(&page, "action"), CALLBACK);
    assert_eq!(hidden(&page, "state").as_deref(), Some("state-1"));
    assert_eq!(redeem(&upstream, &hidden(&page, "code").unwrap(), &[]).await.status(), StatusCode::OK);
}
