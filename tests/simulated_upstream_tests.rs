//! The simulated upstream as its clients see it: over HTTP, each flavour by the habits its real provider documents.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey};
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
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
        .unwrap()
}

fn client() -> Client {
    Client {
        client_id: "app".to_owned(),
        client_secret: "sec ret+/%".to_owned(),
        redirect_uris: vec![CALLBACK.to_owned()],
        backchannel_logout_uri: None,
    }
}

async fn start(flavour: Flavour) -> SimulatedUpstream {
    start_with(Options::of(flavour)).await
}

async fn start_with(options: Options) -> SimulatedUpstream {
    // P-256, because RSA keys take longer to make.
    let options = Options {
        clients: vec![client()],
        signing_algorithm: SigningAlgorithm::Es256,
        ..options
    };
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
        Self {
            upstream,
            scope,
            cookie: None,
            http: http(),
        }
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
        let response = self
            .send(self.http.post(attribute(page, "action")).form(fields))
            .await;
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
    text.replace("&quot;", "\"")
        .replace("&#39;", "'")
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&")
}

/// The value of the first such attribute.
fn attribute(page: &str, name: &str) -> String {
    let rest = page
        .split_once(&format!("{name}=\""))
        .expect("the page has the attribute")
        .1;
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
    location
        .query_pairs()
        .find(|(given, _)| given == name)
        .map(|(_, value)| value.into_owned())
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
    http()
        .post(upstream.token_endpoint())
        .form(&form)
        .send()
        .await
        .unwrap()
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
    http()
        .get(url)
        .bearer_auth(token)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap()
}

/// The claims of the ID token, unverified.
fn claims(tokens: &Value) -> Value {
    let payload = tokens["id_token"]
        .as_str()
        .expect("an ID token")
        .split('.')
        .nth(1)
        .unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

/// Whether a published key verifies the ID token.
async fn verifies(upstream: &SimulatedUpstream, tokens: &Value) -> bool {
    let discovery = get_json(&upstream.discovery_url().unwrap()).await;
    let jwks: JwkSet =
        serde_json::from_value(get_json(discovery["jwks_uri"].as_str().unwrap()).await).unwrap();
    let id_token = tokens["id_token"].as_str().unwrap();
    let Ok(header) = jsonwebtoken::decode_header(id_token) else {
        return false;
    };
    let Some(jwk) = header.kid.and_then(|kid| jwks.find(&kid)) else {
        return false;
    };
    let (input, signature) = id_token.rsplit_once('.').unwrap();
    let key = DecodingKey::from_jwk(jwk).unwrap();
    jsonwebtoken::crypto::verify(signature, input.as_bytes(), &key, header.alg).unwrap()
}

/// OpenID Connect Discovery 1.0 §3, §4.3; Core §3.1.3.
#[tokio::test]
async fn a_plain_provider_discovers_signs_in_and_gives_a_verifiable_id_token() {
    let upstream = start(Flavour::Oidc).await;
    let discovery = get_json(&format!("{}/.well-known/openid-configuration", upstream.issuer())).await;
    assert_eq!(discovery["issuer"], upstream.issuer());
    assert_eq!(
        discovery["authorization_endpoint"],
        upstream.authorization_endpoint()
    );

    let response = Visit::of(&upstream, "openid email").sign_in("ada", &[]).await;
    assert_eq!(param(&response, "state").as_deref(), Some("state-1"));
    assert_eq!(param(&response, "iss"), Some(upstream.issuer()));
    let code = param(&response, "code").unwrap();
    let tokens: Value = redeem(&upstream, &code, &[]).await.json().await.unwrap();
    assert!(verifies(&upstream, &tokens).await);

    let claims = claims(&tokens);
    assert_eq!(claims["iss"], upstream.issuer());
    assert_eq!(
        (&claims["aud"], &claims["nonce"]),
        (&json!("app"), &json!("nonce-1"))
    );
    assert_eq!(claims["sub"], upstream.subject_of("ada"));
    assert_eq!(
        (&claims["email"], &claims["email_verified"]),
        (&json!("ada@engine.example"), &json!(true))
    );
    for name in ["iat", "exp", "auth_time"] {
        assert!(claims[name].is_i64(), "{name} of {claims}");
    }
    assert!(claims["sid"].is_string() && claims["acr"].is_string() && claims["amr"].is_array());
    assert_eq!(
        redeem(&upstream, &code, &[]).await.status(),
        StatusCode::BAD_REQUEST,
        "a code is good once"
    );
}

/// RFC 7518 §3.3: the default algorithm.
#[tokio::test]
async fn id_tokens_are_signed_by_rs256_unless_something_else_is_asked_for() {
    let options = Options {
        clients: vec![client()],
        ..Options::default()
    };
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
        let tokens = Visit::of(&upstream, "openid profile email address phone")
            .tokens(person)
            .await;
        let info = userinfo(&upstream, &tokens).await;
        let texts = "sub name given_name family_name middle_name nickname preferred_username profile picture website \
                     gender birthdate zoneinfo locale email phone_number";
        for name in texts.split_whitespace() {
            assert!(
                info[name].as_str().is_some_and(|text| !text.is_empty()),
                "{name} of {person}"
            );
        }
        assert!(info["updated_at"].is_i64());
        assert!(info["email_verified"].is_boolean() && info["phone_number_verified"].is_boolean());
        for name in [
            "formatted",
            "street_address",
            "locality",
            "region",
            "postal_code",
            "country",
        ] {
            assert!(info["address"][name].is_string(), "{name} of {person}");
        }
        assert_eq!(info["sub"], claims(&tokens)["sub"]);
    }
    let tokens = Visit::of(&upstream, "openid").tokens("ada").await;
    assert_eq!(
        userinfo(&upstream, &tokens).await,
        json!({ "sub": upstream.subject_of("ada") })
    );
}

#[tokio::test]
async fn anybody_who_is_typed_in_is_believed_and_stays_the_same_person() {
    let upstream = start(Flavour::Oidc).await;
    let mut people = Vec::new();
    for typed in ["Zoë <b>", " zoë <B> ", "someone@else.example"] {
        let mut visit = Visit::of(&upstream, "openid email");
        let page = visit
            .open(&[("login_hint", "\"><i>")])
            .await
            .text()
            .await
            .unwrap();
        assert!(
            page.contains(r#"value="&quot;&gt;&lt;i&gt;""#),
            "the hint is prefilled as text"
        );
        let response = visit
            .submit(&page, &[("username", typed), ("action", "sign-in")])
            .await;
        let code = param(&response, "code").unwrap();
        people.push(claims(&redeem(&upstream, &code, &[]).await.json().await.unwrap()));
    }
    assert_eq!(people[0]["sub"], people[1]["sub"]);
    assert_ne!(people[0]["sub"], people[2]["sub"]);
    assert_eq!(people[2]["email"], "someone@else.example");

    let mut nobody = Visit::of(&upstream, "openid");
    let page = nobody.open(&[]).await.text().await.unwrap();
    let page = nobody
        .submit(&page, &[("username", " "), ("action", "sign-in")])
        .await
        .text()
        .await
        .unwrap();
    assert!(page.contains(r#"id="fault""#));
}

/// OpenID Connect Core §3.1.2.1, §3.1.2.3: prompt and max_age.
#[tokio::test]
async fn somebody_who_is_signed_in_is_asked_again_only_on_demand() {
    let clock = Clock::held();
    let upstream = start_with(Options {
        clock: clock.clone(),
        ..Options::default()
    })
    .await;
    let mut ada = Visit::of(&upstream, "openid");
    let refusal = ada.open(&[("prompt", "none")]).await;
    assert_eq!(param(&refusal, "error").as_deref(), Some("login_required"));

    let first = claims(&ada.tokens("ada").await);
    clock.advance(Duration::minutes(5));
    for more in [&[][..], &[("prompt", "none")], &[("max_age", "3600")]] {
        let silent = ada.silent_claims(more).await;
        assert_eq!(
            (&silent["auth_time"], &silent["sid"]),
            (&first["auth_time"], &first["sid"])
        );
        assert_ne!(silent["iat"], first["iat"]);
    }
    for more in [
        ("prompt", "login"),
        ("prompt", "select_account"),
        ("max_age", "60"),
        ("max_age", "0"),
    ] {
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
    assert!(
        asked
            .iter()
            .any(|request| request.query("prompt") == Some("login")),
        "the log shows what was asked"
    );
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
    assert!(
        cookie
            .as_ref()
            .unwrap()
            .starts_with("simulated_upstream_session=")
    );
    let page = ada
        .send(http().get(format!("{}/logout", upstream.issuer())))
        .await
        .text()
        .await
        .unwrap();
    ada.submit(&page, &[]).await;
    ada.cookie = cookie;
    assert!(
        ada.open(&[])
            .await
            .text()
            .await
            .unwrap()
            .contains(r#"id="sign-in""#),
        "the old cookie is worthless"
    );
}

/// RFC 7636 §4.3, §4.6.
#[tokio::test]
async fn a_code_with_a_challenge_needs_its_verifier() {
    let upstream = start(Flavour::Oidc).await;
    let mut ada = Visit::of(&upstream, "openid");
    let challenge = [
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
        ("prompt", "login"),
    ];
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
    let plain = ada
        .open(&[("code_challenge", VERIFIER), ("code_challenge_method", "plain")])
        .await;
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
    let form = [
        ("grant_type", "authorization_code"),
        ("code", &code),
        ("redirect_uri", CALLBACK),
    ];
    let request = http()
        .post(upstream.token_endpoint())
        .basic_auth("app", Some("sec+ret%2B%2F%25"))
        .form(&form);
    assert_eq!(request.send().await.unwrap().status(), StatusCode::OK);

    for foreign in [
        ("redirect_uri", "https://evil.example.test/"),
        ("client_id", "unknown"),
    ] {
        assert_eq!(
            ada.open(&[foreign]).await.status(),
            StatusCode::BAD_REQUEST,
            "{foreign:?}"
        );
    }
}

#[tokio::test]
async fn without_registered_clients_every_client_is_accepted() {
    let path = "/tenant/one".to_owned();
    let options = Options {
        path,
        signing_algorithm: SigningAlgorithm::Es256,
        ..Options::default()
    };
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
    let page = ada
        .sign_in("ada", &[("response_mode", "form_post")])
        .await
        .text()
        .await
        .unwrap();
    assert_eq!(attribute(&page, "action"), CALLBACK);
    assert_eq!(hidden(&page, "state").as_deref(), Some("state-1"));
    assert_eq!(
        redeem(&upstream, &hidden(&page, "code").unwrap(), &[])
            .await
            .status(),
        StatusCode::OK
    );
}

#[tokio::test]
async fn google_names_the_workspace_and_ignores_prompt_login() {
    let upstream = start(Flavour::Google).await;
    let mut ada = Visit::of(&upstream, "openid email profile");
    let at_work = claims(&ada.tokens("ada").await);
    assert_eq!(
        (&at_work["hd"], &at_work["email_verified"]),
        (&json!("engine.example"), &json!(true))
    );
    assert!(at_work.get("auth_time").is_none());
    ada.silent_claims(&[("prompt", "login")]).await;
    assert!(
        ada.open(&[("prompt", "select_account")])
            .await
            .text()
            .await
            .unwrap()
            .contains("person-alan")
    );

    let at_home = claims(&Visit::of(&upstream, "openid email").tokens("alan").await);
    assert_eq!(at_home["email"], "alan@gmail.com");
    assert!(at_home.get("hd").is_none());
}

#[tokio::test]
async fn an_issuer_can_be_claimed_that_is_not_where_it_is_served() {
    let claimed_issuer = Some("https://accounts.google.com".to_owned());
    let upstream = start_with(Options {
        claimed_issuer,
        ..Options::of(Flavour::Google)
    })
    .await;
    let discovery = get_json(&upstream.discovery_url().unwrap()).await;
    assert_eq!(discovery["issuer"], "https://accounts.google.com");
    let tokens = Visit::of(&upstream, "openid").tokens("ada").await;
    assert_eq!(claims(&tokens)["iss"], "https://accounts.google.com");
}

#[tokio::test]
async fn github_answers_in_forms_and_tells_addresses_apart() {
    let upstream = start(Flavour::GitHub).await;
    let mut ada = Visit::of(&upstream, "read:user user:email read:org");
    let code = param(&ada.sign_in("ada", &[]).await, "code").unwrap();
    let response = redeem(&upstream, &code, &[]).await;
    let media_type = response.headers()[header::CONTENT_TYPE]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(media_type.starts_with("application/x-www-form-urlencoded"));
    assert!(response.text().await.unwrap().contains("token_type=bearer"));

    let used = redeem(&upstream, &code, &[]).await;
    assert_eq!(used.status(), StatusCode::OK, "errors too");
    assert!(used.text().await.unwrap().contains("error=bad_verification_code"));

    let code = param(&ada.open(&[("prompt", "login")]).await, "code").expect("prompt is ignored");
    let form = [
        ("client_id", "app"),
        ("client_secret", "sec ret+/%"),
        ("code", &code),
    ];
    let request = http()
        .post(upstream.token_endpoint())
        .header(header::ACCEPT, "application/json")
        .form(&form);
    let tokens: Value = request.send().await.unwrap().json().await.unwrap();
    let token = tokens["access_token"].as_str().unwrap();
    let get = |path: &str| {
        http()
            .get(format!("{}{path}", upstream.issuer()))
            .bearer_auth(token)
    };

    assert_eq!(
        get("/user").send().await.unwrap().status(),
        StatusCode::FORBIDDEN,
        "no User-Agent"
    );
    let get = async |path: &str| {
        let response = get(path).header(header::USER_AGENT, "test").send().await.unwrap();
        response.json::<Value>().await.unwrap()
    };
    let user = get("/user").await;
    assert_eq!(
        user["id"].as_u64().unwrap().to_string(),
        upstream.subject_of("ada")
    );
    assert_eq!((&user["login"], &user["email"]), (&json!("ada"), &Value::Null));
    let emails = get("/user/emails").await;
    let primary = emails
        .as_array()
        .unwrap()
        .iter()
        .find(|email| email["primary"] == true)
        .unwrap();
    assert_eq!(
        (&primary["email"], &primary["verified"]),
        (&json!("ada@engine.example"), &json!(true))
    );
    assert_eq!(get("/user/orgs").await[0]["login"], "engine-example");
}

#[tokio::test]
async fn gitlab_has_text_subjects_and_verified_addresses() {
    let upstream = start(Flavour::GitLab).await;
    let tokens = Visit::of(&upstream, "openid profile email").tokens("ada").await;
    let claims = claims(&tokens);
    assert_eq!(
        (&claims["sub"], &claims["email_verified"]),
        (&json!(upstream.subject_of("ada")), &json!(true))
    );
    assert!(claims["auth_time"].is_i64());
    assert_eq!(userinfo(&upstream, &tokens).await["preferred_username"], "ada");
}

#[tokio::test]
async fn microsoft_has_a_template_for_an_issuer_and_vouches_for_no_address() {
    let upstream = start(Flavour::Microsoft).await;
    let discovery = get_json(&upstream.discovery_url().unwrap()).await;
    assert_eq!(
        discovery["issuer"],
        format!("{}/{{tenantid}}/v2.0", upstream.base_url())
    );
    let tokens = Visit::of(&upstream, "openid profile email").tokens("ada").await;
    assert!(verifies(&upstream, &tokens).await);
    let claims = claims(&tokens);
    let tid = claims["tid"].as_str().unwrap();
    assert_eq!(claims["iss"], format!("{}/{tid}/v2.0", upstream.base_url()));
    assert!(claims["oid"].is_string() && claims["email"].is_string());
    assert!(claims.get("email_verified").is_none());

    let own = get_json(&format!(
        "{}/{tid}/v2.0/.well-known/openid-configuration",
        upstream.base_url()
    ))
    .await;
    assert_eq!(own["issuer"], claims["iss"]);
}

#[tokio::test]
async fn discord_has_ids_of_digits_in_a_string() {
    let upstream = start(Flavour::Discord).await;
    let tokens = Visit::of(&upstream, "identify email").tokens("ada").await;
    assert!(tokens.get("id_token").is_none());
    let user = userinfo(&upstream, &tokens).await;
    assert!(
        user["id"]
            .as_str()
            .unwrap()
            .bytes()
            .all(|byte| byte.is_ascii_digit())
    );
    assert_eq!(
        (&user["username"], &user["verified"]),
        (&json!("ada"), &json!(true))
    );
    assert!(user["avatar"].is_string() && user["global_name"].is_string());
}

#[tokio::test]
async fn a_plain_oauth_provider_has_a_document_and_no_id_token() {
    let upstream = start(Flavour::OAuth2).await;
    assert!(upstream.discovery_url().is_none());
    let tokens = Visit::of(&upstream, "profile email").tokens("ada").await;
    assert!(tokens.get("id_token").is_none());
    let user = userinfo(&upstream, &tokens).await;
    assert_eq!(
        (&user["id"], &user["login"]),
        (&json!(upstream.subject_of("ada")), &json!("ada"))
    );
}

/// Sign in with Apple REST API: client secrets are tokens, the name comes once, `email_verified` is a word.
#[tokio::test]
async fn apple_wants_form_post_and_a_signed_secret_and_tells_the_name_once() {
    let upstream = start(Flavour::Apple).await;
    let mut ada = Visit::of(&upstream, "openid name email");
    let refusal = ada.open(&[]).await;
    assert_eq!(param(&refusal, "error").as_deref(), Some("invalid_request"));

    let page = ada
        .sign_in("ada", &[("response_mode", "form_post")])
        .await
        .text()
        .await
        .unwrap();
    let user: Value = serde_json::from_str(&hidden(&page, "user").unwrap()).unwrap();
    assert_eq!(user["name"]["firstName"], "Ada");
    let code = hidden(&page, "code").unwrap();
    let secret = apple_secret(&upstream, "app");
    let response = redeem(&upstream, &code, &[("client_secret", &secret)]).await;
    let claims = claims(&response.json().await.unwrap());
    assert_eq!(claims["email_verified"], "true");
    assert!(upstream.userinfo_endpoint().is_none());

    let page = ada
        .sign_in("ada", &[("response_mode", "form_post")])
        .await
        .text()
        .await
        .unwrap();
    assert!(hidden(&page, "user").is_none());
    let code = hidden(&page, "code").unwrap();
    for secret in ["plain".to_owned(), apple_secret(&upstream, "another-client")] {
        let refusal = redeem(&upstream, &code, &[("client_secret", &secret)]).await;
        assert_eq!(refusal.status(), StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test]
async fn apple_verifies_the_signature_of_the_secret_if_it_knows_the_key() {
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let der: PublicKeyX509Der<'_> = key.public_key().as_der().unwrap();
    let pem = format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        STANDARD.encode(der.as_ref())
    );
    let upstream = start_with(Options {
        apple_public_key_pem: Some(pem),
        ..Options::of(Flavour::Apple)
    })
    .await;
    let mut ada = Visit::of(&upstream, "openid");
    let code = param(&ada.sign_in("ada", &[]).await, "code").unwrap();
    let forged = redeem(
        &upstream,
        &code,
        &[("client_secret", &apple_secret(&upstream, "app"))],
    )
    .await;
    assert_eq!(forged.status(), StatusCode::UNAUTHORIZED);
    let secret = apple_secret_by(&key, &upstream, "app");
    let response = redeem(&upstream, &code, &[("client_secret", &secret)]).await;
    assert_eq!(response.status(), StatusCode::OK);
}

fn apple_secret(upstream: &SimulatedUpstream, client_id: &str) -> String {
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    apple_secret_by(&key, upstream, client_id)
}

fn apple_secret_by(key: &EcdsaKeyPair, upstream: &SimulatedUpstream, client_id: &str) -> String {
    let now = Clock::default().now().unix_timestamp();
    let header = json!({ "alg": "ES256", "kid": "ABCDE12345" });
    let claims = json!({ "iss": "TEAM123456", "sub": client_id, "aud": upstream.issuer(), "iat": now, "exp": now + 300 });
    let encode = |part: Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let input = format!("{}.{}", encode(header), encode(claims));
    let signature = key.sign(&SystemRandom::new(), input.as_bytes()).unwrap();
    format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// OpenID Connect Core §3.1.3.7: each thing that a client has to check can be made wrong alone.
#[tokio::test]
async fn id_tokens_go_wrong_in_the_way_that_was_asked_for() {
    type Check = fn(&Value, &Value) -> bool;
    let cases: &[(Misbehaviour, Check)] = &[
        (Misbehaviour::WrongNonce, |bad, good| {
            bad["nonce"].is_string() && bad["nonce"] != good["nonce"]
        }),
        (Misbehaviour::MissingNonce, |bad, _| bad.get("nonce").is_none()),
        (Misbehaviour::WrongIssuer, |bad, good| bad["iss"] != good["iss"]),
        (Misbehaviour::WrongAudience, |bad, good| bad["aud"] != good["aud"]),
        (Misbehaviour::WrongAuthorizedParty, |bad, _| {
            bad["azp"] == "another-client"
        }),
        (Misbehaviour::ExpiredIdToken, |bad, good| {
            bad["exp"].as_i64() < good["iat"].as_i64()
        }),
        (Misbehaviour::FutureIat, |bad, good| {
            bad["iat"].as_i64() > good["iat"].as_i64().map(|iat| iat + 600)
        }),
        (Misbehaviour::UnverifiedEmail, |bad, _| {
            bad["email_verified"] == false
        }),
        (Misbehaviour::EmailVerifiedAsString, |bad, _| {
            bad["email_verified"] == "true"
        }),
        (Misbehaviour::NoEmail, |bad, _| {
            bad.get("email").is_none() && bad.get("email_verified").is_none()
        }),
        (Misbehaviour::SubjectAsNumber, |bad, _| bad["sub"].is_i64()),
        (Misbehaviour::SubjectAsFloat, |bad, _| bad["sub"].is_f64()),
        (Misbehaviour::SubjectEmpty, |bad, _| bad["sub"] == ""),
        (Misbehaviour::SubjectAsObject, |bad, _| bad["sub"].is_object()),
        (Misbehaviour::SubjectMissing, |bad, _| bad.get("sub").is_none()),
    ];
    let upstream = start(Flavour::Oidc).await;
    let good = claims(&Visit::of(&upstream, "openid email").tokens("ada").await);
    for (misbehaviour, is_wrong) in cases {
        assert!(!is_wrong(&good, &good), "{misbehaviour:?}");
        upstream.misbehave(*misbehaviour);
        let tokens = Visit::of(&upstream, "openid email").tokens("ada").await;
        assert!(is_wrong(&claims(&tokens), &good), "{misbehaviour:?}");
        assert!(verifies(&upstream, &tokens).await, "{misbehaviour:?}");
        upstream.behave();
    }
}

#[tokio::test]
async fn signatures_go_wrong_and_keys_rotate() {
    let upstream = start(Flavour::Oidc).await;
    for misbehaviour in [
        Misbehaviour::AlgNone,
        Misbehaviour::SignedWithClientSecret,
        Misbehaviour::UnpublishedKey,
    ] {
        upstream.misbehave_once(misbehaviour);
        let tokens = Visit::of(&upstream, "openid").tokens("ada").await;
        assert!(!verifies(&upstream, &tokens).await, "{misbehaviour:?}");
    }
    upstream.misbehave_once(Misbehaviour::MissingIdToken);
    assert!(
        Visit::of(&upstream, "openid")
            .tokens("ada")
            .await
            .get("id_token")
            .is_none()
    );

    let kid = |tokens: &Value| {
        jsonwebtoken::decode_header(tokens["id_token"].as_str().unwrap())
            .unwrap()
            .kid
    };
    let before = Visit::of(&upstream, "openid").tokens("ada").await;
    upstream.misbehave_once(Misbehaviour::RotatedKey);
    let after = Visit::of(&upstream, "openid").tokens("ada").await;
    assert_ne!(kid(&before), kid(&after));
    assert!(verifies(&upstream, &before).await && verifies(&upstream, &after).await);
    assert_eq!(
        kid(&after),
        kid(&Visit::of(&upstream, "openid").tokens("ada").await),
        "rotated once"
    );
}

#[tokio::test]
async fn endpoints_fail_in_the_way_that_was_asked_for() {
    let upstream = start(Flavour::Oidc).await;
    let discovery = upstream.discovery_url().unwrap();
    for (misbehaviour, url) in [
        (Misbehaviour::DiscoveryFails, &discovery),
        (Misbehaviour::JwksFails, &format!("{}/jwks", upstream.issuer())),
        (
            Misbehaviour::UserinfoFails,
            &upstream.userinfo_endpoint().unwrap(),
        ),
    ] {
        upstream.misbehave_once(misbehaviour);
        assert_eq!(status_of(url).await, StatusCode::INTERNAL_SERVER_ERROR);
        assert_ne!(status_of(url).await, StatusCode::INTERNAL_SERVER_ERROR);
    }
    upstream.misbehave_once(Misbehaviour::DiscoveryOtherIssuer);
    assert_ne!(get_json(&discovery).await["issuer"], upstream.issuer());
    upstream.misbehave_once(Misbehaviour::HugeBody);
    assert!(
        http()
            .get(&discovery)
            .send()
            .await
            .unwrap()
            .bytes()
            .await
            .unwrap()
            .len()
            > 1024 * 1024
    );

    for (misbehaviour, status) in [
        (Misbehaviour::TokenFails, StatusCode::INTERNAL_SERVER_ERROR),
        (Misbehaviour::TokenRedirects, StatusCode::TEMPORARY_REDIRECT),
        (Misbehaviour::TokenNotJson, StatusCode::OK),
        (Misbehaviour::CodeRefused, StatusCode::BAD_REQUEST),
    ] {
        upstream.misbehave(misbehaviour);
        let code = param(&Visit::of(&upstream, "openid").sign_in("ada", &[]).await, "code").unwrap();
        let response = redeem(&upstream, &code, &[]).await;
        assert_eq!(response.status(), status, "{misbehaviour:?}");
        assert!(response.json::<Value>().await.is_ok_and(|body| body.is_object()) == (status == 400));
        upstream.behave();
    }
    assert!(upstream.requests_to(Endpoint::Elsewhere).is_empty());

    upstream.misbehave(Misbehaviour::UserinfoOtherSubject);
    let tokens = Visit::of(&upstream, "openid").tokens("ada").await;
    assert_ne!(userinfo(&upstream, &tokens).await["sub"], claims(&tokens)["sub"]);
}

/// RFC 9207 §2.4, RFC 6749 §4.1.2.1.
#[tokio::test]
async fn authorization_responses_go_wrong_in_the_way_that_was_asked_for() {
    let upstream = start(Flavour::Oidc).await;
    let mut ada = Visit::of(&upstream, "openid");
    ada.tokens("ada").await;
    upstream.misbehave_once(Misbehaviour::WrongIssParameter);
    assert!(param(&ada.open(&[]).await, "iss").is_some_and(|iss| iss != upstream.issuer()));
    upstream.misbehave_once(Misbehaviour::MissingIssParameter);
    assert_eq!(param(&ada.open(&[]).await, "iss"), None);
    upstream.misbehave_once(Misbehaviour::WrongState);
    assert_ne!(param(&ada.open(&[]).await, "state").as_deref(), Some("state-1"));
    upstream.misbehave_once(Misbehaviour::Cancelled);
    assert_eq!(
        param(&ada.open(&[]).await, "error").as_deref(),
        Some("access_denied")
    );
    upstream.misbehave_once(Misbehaviour::HostileErrorDescription);
    assert!(
        param(&ada.open(&[]).await, "error_description")
            .unwrap()
            .contains("<script>")
    );
    let response = ada.open(&[]).await;
    assert!(param(&response, "code").is_some(), "once was once");
    assert_eq!(param(&response, "iss"), Some(upstream.issuer()));
}

#[tokio::test]
async fn an_upstream_that_ignores_reauthentication_returns_the_old_auth_time() {
    let clock = Clock::default();
    let upstream = start_with(Options {
        clock: clock.clone(),
        ..Options::default()
    })
    .await;
    let mut ada = Visit::of(&upstream, "openid");
    let first = claims(&ada.tokens("ada").await);
    upstream.misbehave(Misbehaviour::IgnoresReauthentication);
    clock.advance(Duration::hours(1));
    for more in [("prompt", "login"), ("max_age", "0")] {
        assert_eq!(ada.silent_claims(&[more]).await["auth_time"], first["auth_time"]);
    }
}

#[tokio::test]
async fn a_misbehaviour_chosen_on_the_page_concerns_that_sign_in_only() {
    let upstream = start(Flavour::Oidc).await;
    let mut ada = Visit::of(&upstream, "openid");
    let page = ada.open(&[]).await.text().await.unwrap();
    let response = ada
        .submit(&page, &[("person", "ada"), ("misbehaviour", "token-fails")])
        .await;
    let failing = param(&response, "code").unwrap();
    let fine = param(&ada.open(&[]).await, "code").unwrap();
    assert_eq!(
        redeem(&upstream, &failing, &[]).await.status(),
        StatusCode::INTERNAL_SERVER_ERROR
    );
    assert_eq!(redeem(&upstream, &fine, &[]).await.status(), StatusCode::OK);

    let page = ada.open(&[("prompt", "login")]).await.text().await.unwrap();
    let response = ada
        .submit(&page, &[("person", "ada"), ("misbehaviour", "cancelled")])
        .await;
    assert_eq!(param(&response, "error").as_deref(), Some("access_denied"));
}

#[tokio::test]
async fn misbehaviours_ticked_on_the_first_page_concern_everybody_until_changed() {
    let upstream = start(Flavour::Oidc).await;
    let (page, jwks) = (
        format!("{}/", upstream.issuer()),
        format!("{}/jwks", upstream.issuer()),
    );
    http()
        .post(&page)
        .form(&[("misbehaviour", "jwks-fails")])
        .send()
        .await
        .unwrap();
    assert_eq!(status_of(&jwks).await, StatusCode::INTERNAL_SERVER_ERROR);
    let shown = http().get(&page).send().await.unwrap().text().await.unwrap();
    assert!(shown.contains(r#"value="jwks-fails" checked"#));
    let nothing: [(&str, &str); 0] = [];
    http().post(&page).form(&nothing).send().await.unwrap();
    assert_eq!(status_of(&jwks).await, StatusCode::OK);
}

#[tokio::test]
async fn a_slow_upstream_answers_only_after_the_delay() {
    let delay = std::time::Duration::from_millis(300);
    let upstream = start_with(Options {
        delay,
        ..Options::default()
    })
    .await;
    upstream.misbehave(Misbehaviour::Slow);
    let impatient = http()
        .get(upstream.discovery_url().unwrap())
        .timeout(delay / 3)
        .send()
        .await;
    assert!(impatient.is_err_and(|error| error.is_timeout()));
    assert_eq!(
        status_of(&upstream.discovery_url().unwrap()).await,
        StatusCode::OK
    );
}

#[tokio::test]
async fn a_stopped_upstream_is_gone_and_can_come_back_at_its_address() {
    let upstream = start(Flavour::Oidc).await;
    let (address, url) = (upstream.address(), upstream.discovery_url().unwrap());
    upstream.stop().await;
    assert!(
        http()
            .get(&url)
            .send()
            .await
            .is_err_and(|error| error.is_connect())
    );
    let upstream = start_with(Options {
        listen: address,
        ..Options::default()
    })
    .await;
    assert_eq!(get_json(&url).await["issuer"], upstream.issuer());
}
