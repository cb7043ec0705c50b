//! The Basic OP, Form Post OP and Config OP plans of the official OpenID conformance suite, module by module, in this process.
//!
//! A function bears the name of the module that it mirrors, with underscores, and asserts what fails *or warns* there. What
//! the suite leaves to a person with an image (a second login page, an error page) is asserted by what the browser saw.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common::checks::{self, Discovery, Flow};
use common::person::Authorize;
use common::provider::ISSUER;
use common::{Answer, Browser, TestClient, TestProvider, random_text};
use reqwest::Method;
use rstest::rstest;
use serde_json::{Map, Value, json};

/// The plan `oidcc-basic-certification-test-plan` for static clients, in its order.
const BASIC_MODULES: &[&str] = &[
    "oidcc-server",
    "oidcc-response-type-missing",
    "oidcc-userinfo-get",
    "oidcc-userinfo-post-header",
    "oidcc-userinfo-post-body",
    "oidcc-ensure-request-without-nonce-succeeds-for-code-flow",
    "oidcc-scope-profile",
    "oidcc-scope-email",
    "oidcc-scope-address",
    "oidcc-scope-phone",
    "oidcc-scope-all",
    "oidcc-alternate-happy-flow",
    "oidcc-display-page",
    "oidcc-display-popup",
    "oidcc-prompt-login",
    "oidcc-prompt-none-not-logged-in",
    "oidcc-prompt-none-logged-in",
    "oidcc-max-age-1",
    "oidcc-max-age-10000",
    "oidcc-ensure-request-with-unknown-parameter-succeeds",
    "oidcc-id-token-hint",
    "oidcc-login-hint",
    "oidcc-ui-locales",
    "oidcc-claims-locales",
    "oidcc-ensure-request-with-acr-values-succeeds",
    "oidcc-codereuse",
    "oidcc-codereuse-30seconds",
    "oidcc-ensure-registered-redirect-uri",
    "oidcc-ensure-post-request-succeeds",
    "oidcc-server-client-secret-post",
    "oidcc-unsigned-request-object-supported-correctly-or-rejected-as-unsupported",
    "oidcc-claims-essential",
    "oidcc-ensure-request-object-with-redirect-uri",
    "oidcc-refresh-token",
    "oidcc-ensure-request-with-valid-pkce-succeeds",
];

/// The plan `oidcc-config-certification-test-plan`.
const CONFIG_MODULES: &[&str] = &["oidcc-discovery-endpoint-verification"];

/// How the answer reaches the app: the Basic plan, and the Form Post plan, which has the same modules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Query,
    FormPost,
}

/// What every module starts with.
struct Module {
    mode: Mode,
    op: TestProvider,
    app: TestClient,
    browser: Browser,
    discovery: Discovery,
}

impl Module {
    async fn start(mode: Mode) -> Self {
        let op = TestProvider::start().await;
        let app = op.asking_client().await;
        let browser = op.browser();
        let discovery = checks::preamble(&op).await;
        Self {
            mode,
            op,
            app,
            browser,
            discovery,
        }
    }

    fn authorize(&self) -> Authorize<'_> {
        self.of_mode(self.browser.authorize(&self.app))
    }

    fn of_mode<'a>(&self, request: Authorize<'a>) -> Authorize<'a> {
        match self.mode {
            Mode::Query => request,
            Mode::FormPost => request.with("response_mode", "form_post"),
        }
    }

    /// It arrived as this mode has it.
    fn arrived(&self, posted: bool) {
        assert_eq!(posted, self.mode == Mode::FormPost, "{:?}", self.mode);
    }

    /// The flow from the request to UserInfo, by somebody who signs in and agrees where asked.
    async fn flow(&self, request: Authorize<'_>) -> Flow {
        let granted = request.code_as("ada").await;
        self.arrived(granted.posted);
        checks::callback_is_sound(&granted, request.param("state").as_deref());
        checks::finish(&self.app, &self.discovery, &granted).await
    }

    /// A flow in which nobody is asked anything.
    async fn silent_flow(&self, request: Authorize<'_>) -> Flow {
        let granted = request.code().await;
        self.arrived(granted.posted);
        checks::callback_is_sound(&granted, request.param("state").as_deref());
        checks::finish(&self.app, &self.discovery, &granted).await
    }

    /// A flow with this scope, which has to be advertised.
    async fn scope_flow(&self, scope: &str) -> Flow {
        checks::scopes_are_supported(&self.discovery, scope);
        self.flow(self.authorize().scope(scope)).await
    }

    /// A flow with one parameter more.
    async fn flow_with(&self, name: &str, value: &str) -> Flow {
        self.flow(self.authorize().with(name, value)).await
    }

    async fn userinfo_by_post(&self, bearer: Option<&str>, form: &[(&str, &str)]) -> Answer {
        let request = self.op.request(Method::POST, "/oauth/userinfo").form(form);
        Answer::of(match bearer {
            Some(token) => request.bearer_auth(token),
            None => request,
        })
        .await
    }
}

fn assert_has(claims: &Map<String, Value>, names: &[&str]) {
    for name in names {
        assert!(
            claims.contains_key(*name),
            "{name} is missing: {:?}",
            claims.keys().collect::<Vec<_>>()
        );
    }
}

fn assert_has_not(claims: &Map<String, Value>, names: &[&str]) {
    for name in names {
        assert!(!claims.contains_key(*name), "{name} has no place here");
    }
}

const PROFILE: &[&str] = &[
    "name",
    "given_name",
    "family_name",
    "middle_name",
    "nickname",
    "profile",
    "picture",
    "website",
    "gender",
    "birthdate",
    "zoneinfo",
    "locale",
    "updated_at",
    "preferred_username",
    "sub",
];
const EMAIL: &[&str] = &["email", "email_verified"];
const PHONE: &[&str] = &["phone_number", "phone_number_verified"];

#[rstest]
#[tokio::test]
async fn oidcc_server(#[values(Mode::Query, Mode::FormPost)] mode: Mode) {
    let module = Module::start(mode).await;
    let flow = module.flow(module.authorize()).await;
    checks::id_token_holds_nothing_else(&flow.id_token);
}

#[rstest]
#[tokio::test]
async fn oidcc_response_type_missing(#[values(Mode::Query, Mode::FormPost)] mode: Mode) {
    let module = Module::start(mode).await;
    let request = module.authorize().without("response_type");
    let common::Outcome::Error(refused) = request.send().await else {
        panic!("the error goes to the app")
    };
    let allowed = ["invalid_request", "unsupported_response_type"];
    module.arrived(refused.posted);
    checks::error_redirect_is_sound(&refused, request.param("state").as_deref(), &allowed);
}

#[rstest]
#[tokio::test]
async fn oidcc_userinfo_get(#[values(Mode::Query, Mode::FormPost)] mode: Mode) {
    let module = Module::start(mode).await;
    let flow = module.flow(module.authorize()).await;
    checks::userinfo_is_sound(
        &module.app.userinfo(&flow.tokens.access_token).await,
        &flow.id_token,
    );
}

#[rstest]
#[tokio::test]
async fn oidcc_userinfo_post_header(#[values(Mode::Query, Mode::FormPost)] mode: Mode) {
    let module = Module::start(mode).await;
    let flow = module.flow(module.authorize()).await;
    let answer = module
        .userinfo_by_post(Some(&flow.tokens.access_token), &[])
        .await;
    checks::userinfo_is_sound(&answer, &flow.id_token);
}

#[rstest]
#[tokio::test]
async fn oidcc_userinfo_post_body(#[values(Mode::Query, Mode::FormPost)] mode: Mode) {
    let module = Module::start(mode).await;
    let flow = module.flow(module.authorize()).await;
    let answer = module
        .userinfo_by_post(None, &[("access_token", &flow.tokens.access_token)])
        .await;
    checks::userinfo_is_sound(&answer, &flow.id_token);
}

#[rstest]
#[tokio::test]
async fn oidcc_ensure_request_without_nonce_succeeds_for_code_flow(
    #[values(Mode::Query, Mode::FormPost)] mode: Mode,
) {
    let module = Module::start(mode).await;
    let flow = module.flow(module.authorize().without("nonce")).await;
    assert_has_not(&flow.id_token, &["nonce"]);
}

#[rstest]
#[tokio::test]
async fn oidcc_scope_profile(#[values(Mode::Query, Mode::FormPost)] mode: Mode) {
    let module = Module::start(mode).await;
    let flow = module.scope_flow("openid profile").await;
    assert_has(&flow.userinfo, PROFILE);
}

#[rstest]
#[tokio::test]
async fn oidcc_scope_email(#[values(Mode::Query, Mode::FormPost)] mode: Mode) {
    let module = Module::start(mode).await;
    let flow = module.scope_flow("openid email").await;
    assert_has(&flow.userinfo, EMAIL);
    assert_has_not(&flow.userinfo, &["name"]);
    assert_has_not(&flow.id_token, &["email", "name"]);
}

#[rstest]
#[tokio::test]
async fn oidcc_scope_address(#[values(Mode::Query, Mode::FormPost)] mode: Mode) {
    let module = Module::start(mode).await;
    let flow = module.scope_flow("openid address").await;
    assert_has(&flow.userinfo, &["address"]);
}

#[rstest]
#[tokio::test]
async fn oidcc_scope_phone(#[values(Mode::Query, Mode::FormPost)] mode: Mode) {
    let module = Module::start(mode).await;
    let flow = module.scope_flow("openid phone").await;
    assert_has(&flow.userinfo, PHONE);
}

#[rstest]
#[tokio::test]
async fn oidcc_scope_all(#[values(Mode::Query, Mode::FormPost)] mode: Mode) {
    let module = Module::start(mode).await;
    let flow = module.scope_flow("openid email phone address profile").await;
    for names in [PROFILE, EMAIL, PHONE, &["address"]] {
        assert_has(&flow.userinfo, names);
    }
}

#[rstest]
#[tokio::test]
async fn oidcc_alternate_happy_flow(#[values(Mode::Query, Mode::FormPost)] mode: Mode) {
    let module = Module::start(mode).await;
    checks::scopes_are_supported(&module.discovery, "email openid");
    let flow = module
        .flow(module.authorize().scope("email openid").reversed())
        .await;
    assert_has(&flow.userinfo, EMAIL);
    assert_has_not(&flow.userinfo, &["name"]);
    assert_has_not(&flow.id_token, &["email", "name"]);
}

#[rstest]
#[tokio::test]
async fn oidcc_display_page(#[values(Mode::Query, Mode::FormPost)] mode: Mode) {
    let module = Module::start(mode).await;
    module.flow_with("display", "page").await;
}

#[rstest]
#[tokio::test]
async fn oidcc_display_popup(#[values(Mode::Query, Mode::FormPost)] mode: Mode) {
    let module = Module::start(mode).await;
    module.flow_with("display", "popup").await;
}

#[rstest]
#[tokio::test]
async fn oidcc_prompt_login(#[values(Mode::Query, Mode::FormPost)] mode: Mode) {
    let module = Module::start(mode).await;
    let first = module.flow(module.authorize()).await;
    module.op.advance_secs(1);
    let again = module.authorize().prompt("login");
    // The suite wants to see this page.
    again.send().await.page("/login");
    let second = module.flow(again).await;
    assert!(second.auth_time() > first.auth_time());
    assert_eq!(second.sub(), first.sub());
}

#[rstest]
#[tokio::test]
async fn oidcc_prompt_none_not_logged_in(#[values(Mode::Query, Mode::FormPost)] mode: Mode) {
    let module = Module::start(mode).await;
    let state = format!("{}-._~{}", random_text(62), random_text(62));
    let request = module.authorize().prompt("none").with("state", &state);
    let common::Outcome::Error(refused) = request.send().await else {
        panic!("the error goes to the app")
    };
    let allowed = [
        "interaction_required",
        "login_required",
        "account_selection_required",
        "consent_required",
    ];
    module.arrived(refused.posted);
    checks::error_redirect_is_sound(&refused, Some(&state), &allowed);
}

#[rstest]
#[tokio::test]
async fn oidcc_prompt_none_logged_in(#[values(Mode::Query, Mode::FormPost)] mode: Mode) {
    let module = Module::start(mode).await;
    let first = module.flow(module.authorize()).await;
    module.op.advance_secs(2);
    let second = module.silent_flow(module.authorize().prompt("none")).await;
    assert_eq!(
        (second.sub(), second.auth_time()),
        (first.sub(), first.auth_time())
    );
}

#[rstest]
#[tokio::test]
async fn oidcc_max_age_1(#[values(Mode::Query, Mode::FormPost)] mode: Mode) {
    let module = Module::start(mode).await;
    let first = module.flow(module.authorize()).await;
    module.op.advance_secs(2);
    let again = module.authorize().max_age(1);
    again.send().await.page("/login");
    let second = module.flow(again).await;
    assert!(second.auth_time() > first.auth_time());
    assert!(second.auth_time() > module.op.now() - 300);
}

#[rstest]
#[tokio::test]
async fn oidcc_max_age_10000(#[values(Mode::Query, Mode::FormPost)] mode: Mode) {
    let module = Module::start(mode).await;
    let first = module.flow(module.authorize().max_age(15_000)).await;
    module.op.advance_secs(1);
    let second = module.silent_flow(module.authorize().max_age(10_000)).await;
    assert_eq!(
        (second.sub(), second.auth_time()),
        (first.sub(), first.auth_time())
    );
}

#[rstest]
#[tokio::test]
async fn oidcc_ensure_request_with_unknown_parameter_succeeds(
    #[values(Mode::Query, Mode::FormPost)] mode: Mode,
) {
    let module = Module::start(mode).await;
    module.flow_with("extra", "foobar").await;
}

#[rstest]
#[tokio::test]
async fn oidcc_id_token_hint(#[values(Mode::Query, Mode::FormPost)] mode: Mode) {
    let module = Module::start(mode).await;
    let first = module.flow(module.authorize()).await;
    module.op.advance_secs(2);
    let again = module
        .authorize()
        .prompt("none")
        .with("id_token_hint", first.tokens.id());
    let second = module.silent_flow(again).await;
    assert_eq!(
        (second.sub(), second.auth_time()),
        (first.sub(), first.auth_time())
    );
}

#[rstest]
#[tokio::test]
async fn oidcc_login_hint(#[values(Mode::Query, Mode::FormPost)] mode: Mode) {
    let module = Module::start(mode).await;
    module.flow_with("login_hint", "buffy@op.test").await;
}

#[rstest]
#[tokio::test]
async fn oidcc_ui_locales(#[values(Mode::Query, Mode::FormPost)] mode: Mode) {
    let module = Module::start(mode).await;
    module.flow_with("ui_locales", "se").await;
}

#[rstest]
#[tokio::test]
async fn oidcc_claims_locales(#[values(Mode::Query, Mode::FormPost)] mode: Mode) {
    let module = Module::start(mode).await;
    module.flow_with("claims_locales", "se").await;
}

#[rstest]
#[tokio::test]
async fn oidcc_ensure_request_with_acr_values_succeeds(#[values(Mode::Query, Mode::FormPost)] mode: Mode) {
    let module = Module::start(mode).await;
    let supported = module.discovery.metadata["acr_values_supported"]
        .as_array()
        .expect("an array")
        .clone();
    let values: Vec<&str> = supported.iter().map(|value| value.as_str().unwrap()).collect();
    let flow = module.flow_with("acr_values", &values.join(" ")).await;
    let acr = flow.id_token["acr"].as_str().expect("acr is a string");
    assert!(values.contains(&acr), "{acr} is none of {values:?}");
}

#[rstest]
#[tokio::test]
async fn oidcc_codereuse(#[values(Mode::Query, Mode::FormPost)] mode: Mode) {
    let module = Module::start(mode).await;
    let granted = module.authorize().code_as("ada").await;
    checks::finish(&module.app, &module.discovery, &granted).await;
    module.app.redeem(&granted).await.refused("invalid_grant");
}

#[rstest]
#[tokio::test]
async fn oidcc_codereuse_30seconds(#[values(Mode::Query, Mode::FormPost)] mode: Mode) {
    let module = Module::start(mode).await;
    let granted = module.authorize().code_as("ada").await;
    let flow = checks::finish(&module.app, &module.discovery, &granted).await;
    module.op.advance_secs(30);
    module.app.redeem(&granted).await.refused("invalid_grant");
    module
        .app
        .userinfo(&flow.tokens.access_token)
        .await
        .is_client_error();
}

#[rstest]
#[tokio::test]
async fn oidcc_ensure_registered_redirect_uri(#[values(Mode::Query, Mode::FormPost)] mode: Mode) {
    let module = Module::start(mode).await;
    let other = format!("{}/{}", module.app.redirect_uri(), random_text(10));
    let visit = module.authorize().with("redirect_uri", &other).visit().await;
    assert_eq!(visit.hops.len(), 1, "nobody is sent anywhere");
    module
        .authorize()
        .with("redirect_uri", &other)
        .send()
        .await
        .error_page();
}

#[rstest]
#[tokio::test]
async fn oidcc_ensure_post_request_succeeds(#[values(Mode::Query, Mode::FormPost)] mode: Mode) {
    let module = Module::start(mode).await;
    module.flow(module.authorize().post()).await;
    module.silent_flow(module.authorize().post()).await;
}

#[rstest]
#[tokio::test]
async fn oidcc_server_client_secret_post(#[values(Mode::Query, Mode::FormPost)] mode: Mode) {
    let module = Module::start(mode).await;
    let (app, granted) = (&module.app, module.authorize().code_as("ada").await);
    let form = [
        ("grant_type", "authorization_code"),
        ("code", granted.code.as_str()),
        ("redirect_uri", granted.redirect_uri.as_str()),
        ("client_id", app.client_id()),
        ("client_secret", app.secret()),
    ];
    let answer = module.op.post("/oauth/token", &form).await;
    let flow = checks::finish_with(app, &module.discovery, &granted, &answer).await;
    checks::id_token_holds_nothing_else(&flow.id_token);
}

/// A request object without a signature that holds every parameter of the request (OpenID Connect Core §6.1).
fn unsigned_object(request: &Authorize<'_>) -> String {
    let names = [
        "client_id",
        "nonce",
        "redirect_uri",
        "response_type",
        "scope",
        "state",
    ];
    let claims: Map<String, Value> = names
        .iter()
        .map(|name| ((*name).to_owned(), request.param(name).unwrap().into()))
        .collect();
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.", part(json!({ "alg": "none" })), part(claims.into()))
}

fn request_objects_are_advertised(metadata: &Value) {
    assert_eq!(metadata["request_parameter_supported"], true);
    if let Some(algorithms) = metadata.get("request_object_signing_alg_values_supported") {
        let algorithms = algorithms.as_array().expect("an array");
        assert!(
            ["none", "RS256"]
                .iter()
                .all(|name| algorithms.iter().any(|own| own == name))
        );
    }
}

#[rstest]
#[tokio::test]
async fn oidcc_unsigned_request_object_supported_correctly_or_rejected_as_unsupported(
    #[values(Mode::Query, Mode::FormPost)] mode: Mode,
) {
    let module = Module::start(mode).await;
    request_objects_are_advertised(&module.discovery.metadata);
    let whole = module.authorize();
    let (state, nonce) = (whole.param("state"), whole.param("nonce"));
    let object = unsigned_object(&whole);
    let granted = whole
        .without("state")
        .without("nonce")
        .with("request", &object)
        .code_as("ada")
        .await;
    checks::callback_is_sound(&granted, state.as_deref());
    checks::finish(
        &module.app,
        &module.discovery,
        &common::Granted { nonce, ..granted },
    )
    .await;
}

#[rstest]
#[tokio::test]
async fn oidcc_claims_essential(#[values(Mode::Query, Mode::FormPost)] mode: Mode) {
    let module = Module::start(mode).await;
    let flow = module
        .flow_with("claims", r#"{"userinfo":{"name":{"essential":true}}}"#)
        .await;
    assert_has(&flow.userinfo, &["name"]);
    assert_has_not(&flow.id_token, &["name"]);
}

#[rstest]
#[tokio::test]
async fn oidcc_ensure_request_object_with_redirect_uri(#[values(Mode::Query, Mode::FormPost)] mode: Mode) {
    let module = Module::start(mode).await;
    let whole = module.authorize();
    let (state, nonce) = (whole.param("state"), whole.param("nonce"));
    let object = unsigned_object(&whole);
    let wrong = format!("{}_invalid", module.app.redirect_uri());
    let request = whole
        .without("state")
        .without("nonce")
        .with("request", &object)
        .with("redirect_uri", &wrong);
    let granted = request.code_as("ada").await;
    checks::callback_is_sound(&granted, state.as_deref());
    checks::finish(
        &module.app,
        &module.discovery,
        &common::Granted { nonce, ..granted },
    )
    .await;
}

/// The checks of the suite on one refresh.
async fn refresh_is_sound(module: &Module, app: &TestClient, first: &Flow, scope: Option<&str>) {
    module.op.advance_secs(1);
    let refresh_token = first.tokens.refresh();
    let answer = match scope {
        Some(scope) => app.refresh_with_scope(refresh_token, scope).await,
        None => app.refresh(refresh_token).await,
    };
    let tokens = answer.tokens();
    checks::token_response_is_sound(&tokens);
    assert_ne!(tokens.access_token, first.tokens.access_token);
    let id_token = checks::id_token_is_sound(app, &module.discovery, &tokens);
    for name in ["iss", "sub", "aud", "auth_time", "azp"] {
        assert_eq!(id_token.get(name), first.id_token.get(name), "{name}");
    }
    assert_ne!(id_token["iat"], first.id_token["iat"]);
    checks::userinfo_is_sound(&app.userinfo(&tokens.access_token).await, &id_token);
}

#[rstest]
#[tokio::test]
async fn oidcc_refresh_token(#[values(Mode::Query, Mode::FormPost)] mode: Mode) {
    let module = Module::start(mode).await;
    let (op, app, other) = (&module.op, &module.app, module.op.asking_client().await);
    let scope = "openid offline_access";
    checks::scopes_are_supported(&module.discovery, scope);
    assert!(
        module.discovery.metadata["grant_types_supported"]
            .as_array()
            .unwrap()
            .contains(&"refresh_token".into())
    );
    let first = module
        .flow(module.authorize().scope(scope).prompt("consent"))
        .await;
    refresh_is_sound(&module, app, &first, Some(scope)).await;

    let nonce = format!("{}-._~{}", random_text(20), random_text(19));
    let second_browser = op.browser();
    let request = second_browser
        .authorize(&other)
        .scope(scope)
        .prompt("consent")
        .with("nonce", &nonce);
    let granted = request.code_as("ada").await;
    let second = checks::finish(&other, &module.discovery, &granted).await;
    refresh_is_sound(&module, &other, &second, None).await;
    app.refresh(second.tokens.refresh())
        .await
        .refused("invalid_grant");
}

#[rstest]
#[tokio::test]
async fn oidcc_ensure_request_with_valid_pkce_succeeds(#[values(Mode::Query, Mode::FormPost)] mode: Mode) {
    let module = Module::start(mode).await;
    let verifier = format!("{}.-_~{}.-_~", random_text(60), random_text(60));
    module.flow(module.authorize().pkce(&verifier)).await;
}

/// Members that the suite's schema for metadata knows and that we use.
const KNOWN_METADATA: &[&str] = &[
    "issuer",
    "authorization_endpoint",
    "token_endpoint",
    "userinfo_endpoint",
    "jwks_uri",
    "scopes_supported",
    "response_types_supported",
    "response_modes_supported",
    "grant_types_supported",
    "acr_values_supported",
    "subject_types_supported",
    "id_token_signing_alg_values_supported",
    "request_object_signing_alg_values_supported",
    "token_endpoint_auth_methods_supported",
    "display_values_supported",
    "claim_types_supported",
    "claims_supported",
    "service_documentation",
    "claims_locales_supported",
    "ui_locales_supported",
    "claims_parameter_supported",
    "request_parameter_supported",
    "request_uri_parameter_supported",
    "require_request_uri_registration",
    "op_policy_uri",
    "op_tos_uri",
    "prompt_values_supported",
    "revocation_endpoint",
    "revocation_endpoint_auth_methods_supported",
    "introspection_endpoint",
    "introspection_endpoint_auth_methods_supported",
    "code_challenge_methods_supported",
    "authorization_response_iss_parameter_supported",
    "end_session_endpoint",
    "backchannel_logout_supported",
    "backchannel_logout_session_supported",
];

fn metadata_has_the_right_types(metadata: &Map<String, Value>) {
    for (name, value) in metadata {
        assert!(
            KNOWN_METADATA.contains(&name.as_str()),
            "{name} is not in the suite's schema"
        );
        if name.ends_with("_supported") && !value.is_boolean() {
            let items = value.as_array().unwrap_or_else(|| panic!("{name} is an array"));
            assert!(
                items.iter().all(Value::is_string) && !items.is_empty(),
                "{name} holds strings"
            );
        }
        if name.ends_with("_endpoint") || name == "jwks_uri" {
            assert!(
                value.as_str().is_some_and(|url| url.starts_with("https://")),
                "{name} is an https URL"
            );
        }
    }
}

#[tokio::test]
async fn oidcc_discovery_endpoint_verification() {
    let op = TestProvider::start().await;
    let Value::Object(metadata) = op.get("/.well-known/openid-configuration").await.is(200).json() else {
        panic!("metadata is an object")
    };
    metadata_has_the_right_types(&metadata);
    assert_eq!(metadata["issuer"], ISSUER);
    let contains = |name: &str, value: &str| {
        let items = metadata
            .get(name)
            .and_then(Value::as_array)
            .unwrap_or_else(|| panic!("{name} is missing"));
        assert!(items.iter().any(|item| item == value), "{name} holds {value}");
    };
    contains("response_types_supported", "code");
    contains("subject_types_supported", "public");
    contains("id_token_signing_alg_values_supported", "RS256");
    contains("request_object_signing_alg_values_supported", "RS256");
    contains("scopes_supported", "openid");
    contains("claims_supported", "sub");
    contains("grant_types_supported", "authorization_code");
    contains("code_challenge_methods_supported", "S256");
    assert_has(
        &metadata,
        &[
            "authorization_endpoint",
            "token_endpoint",
            "userinfo_endpoint",
            "jwks_uri",
        ],
    );
    checks::preamble(&op).await;
}

/// A module without a function of its name would silently not be mirrored.
#[test]
fn every_module_of_the_plans_has_a_function_of_its_name() {
    assert_eq!((BASIC_MODULES.len(), CONFIG_MODULES.len()), (35, 1));
    let source = include_str!("conformance_tests.rs");
    for module in BASIC_MODULES.iter().chain(CONFIG_MODULES) {
        let function = format!("#[tokio::test]\nasync fn {}(", module.replace('-', "_"));
        assert_eq!(source.matches(&function).count(), 1, "{module} has no mirror");
    }
}
