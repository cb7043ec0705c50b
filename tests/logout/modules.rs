//! A function bears the name of the module that it mirrors, with underscores, and asserts what fails *or warns* there. What
//! the suite leaves to a person with an image is asserted by what the browser saw.

use serde_json::Value;
use url::Url;

use crate::common::checks::{self, Discovery, path_of};
use crate::common::provider::{APP, ISSUER};
use crate::common::{Browser, TestClient, TestProvider, Tokens, html, random_text};
use crate::logout_url;

/// The plan `oidcc-rp-initiated-logout-certification-test-plan`, in its order.
const RP_INITIATED_MODULES: &[&str] = &[
    "oidcc-rp-initiated-logout-discovery-endpoint-verification",
    "oidcc-rp-initiated-logout",
    "oidcc-rp-initiated-logout-bad-post-logout-redirect-uri",
    "oidcc-rp-initiated-logout-modified-id-token-hint",
    "oidcc-rp-initiated-logout-no-id-token-hint",
    "oidcc-rp-initiated-logout-no-params",
    "oidcc-rp-initiated-logout-no-post-logout-redirect-uri",
    "oidcc-rp-initiated-logout-no-state",
    "oidcc-rp-initiated-logout-only-state",
    "oidcc-rp-initiated-logout-query-added-to-post-logout-redirect-uri",
    "oidcc-rp-initiated-logout-bad-id-token-hint",
];

/// The suite's own addresses have this shape: the redirect URI with another last part.
const POST_LOGOUT: &str = "https://app.test/post_logout_redirect";

/// What every module but the first begins with: an authorization flow, checked at every step.
struct Begun {
    op: TestProvider,
    app: TestClient,
    ada: Browser,
    tokens: Tokens,
}

async fn begin() -> Begun {
    // The deployment that the suite meets has no page of its own for the end of a logout.
    let op = TestProvider::with(|config| config.oauth.signed_out_url = None).await;
    let discovery: Discovery = checks::preamble(&op).await;
    let app = op
        .client_with(|client| client.post_logout_redirect_uris = vec![POST_LOGOUT.to_owned()])
        .await;
    let ada = op.browser();
    let granted = ada.authorize(&app).code_as("ada").await;
    let flow = checks::finish(&app, &discovery, &granted).await;
    assert!(flow.id_token["sid"].is_string());
    assert_eq!(
        path_of(&discovery.metadata, "end_session_endpoint"),
        "/oauth/logout"
    );
    Begun {
        op,
        app,
        ada,
        tokens: flow.tokens,
    }
}

impl Begun {
    fn params<'a>(&'a self, state: &'a str) -> Vec<(&'static str, &'a str)> {
        vec![
            ("id_token_hint", self.tokens.id()),
            ("post_logout_redirect_uri", POST_LOGOUT),
            ("state", state),
        ]
    }

    async fn visit(&self, params: &[(&str, &str)]) -> crate::common::browser::Visit {
        self.ada.follow(&format!("{APP}/"), &logout_url(params)).await
    }

    /// The last step of the modules that redirect: nobody is signed in any more.
    async fn prompt_none_fails(&self) {
        let state = random_text(128);
        let request = self.ada.authorize(&self.app).prompt("none").with("state", &state);
        let refused = request.send().await.refused("login_required");
        let allowed = ["login_required", "interaction_required"];
        checks::error_redirect_is_sound(&refused, Some(&state), &allowed);
    }

    /// No redirect, and a page that tells what is wrong; the suite wants a picture of it.
    async fn is_refused_on_a_page(&self, params: &[(&str, &str)]) {
        let visit = self.visit(params).await;
        assert!(visit.url.as_str().starts_with(ISSUER), "sent to {}", visit.url);
        assert_eq!(visit.status().unwrap(), 400);
        assert!(html::text_of(visit.text(), "error-title").is_some());
        assert!(self.ada.is_signed_in().await);
    }

    /// The person confirms where that is asked for, and sees that it is done.
    async fn ends_on_a_page(&self, params: &[(&str, &str)]) {
        let mut visit = self.visit(params).await;
        if visit.form().is_some() {
            visit = self.ada.submit(&visit, &[]).await;
        }
        assert!(visit.url.as_str().starts_with(ISSUER), "sent to {}", visit.url);
        assert_eq!(visit.status().unwrap(), 200);
        assert!(html::text_of(visit.text(), "signed-out").is_some());
        assert!(!self.ada.is_signed_in().await);
    }
}

fn all_endpoints_are_https(metadata: &Value) {
    for (name, value) in metadata.as_object().unwrap() {
        if name.ends_with("_endpoint") {
            let url = Url::parse(value.as_str().expect("a string")).expect("a URL");
            assert_eq!(url.scheme(), "https", "{name}");
        }
    }
}

#[tokio::test]
async fn oidcc_rp_initiated_logout_discovery_endpoint_verification() {
    let op = TestProvider::start().await;
    let metadata = op.get("/.well-known/openid-configuration").await.is(200).json();
    all_endpoints_are_https(&metadata);
    assert!(metadata["end_session_endpoint"].is_string());
}

#[tokio::test]
async fn oidcc_rp_initiated_logout() {
    let begun = begin().await;
    let state = random_text(128);
    let visit = begun.visit(&begun.params(&state)).await;
    assert_eq!(visit.url.as_str(), format!("{POST_LOGOUT}?state={state}"));
    begun.prompt_none_fails().await;
}

#[tokio::test]
async fn oidcc_rp_initiated_logout_bad_post_logout_redirect_uri() {
    let begun = begin().await;
    let mut params = begun.params("s");
    params[1].1 = "https://app.test/another";
    begun.is_refused_on_a_page(&params).await;
}

#[tokio::test]
async fn oidcc_rp_initiated_logout_modified_id_token_hint() {
    let begun = begin().await;
    let payload = begun.tokens.id().split('.').nth(1).unwrap();
    let unsigned = format!("eyJhbGciOiJub25lIn0.{payload}.");
    let mut params = begun.params("s");
    params[0].1 = &unsigned;
    begun.is_refused_on_a_page(&params).await;
}

#[tokio::test]
async fn oidcc_rp_initiated_logout_no_id_token_hint() {
    let begun = begin().await;
    begun.is_refused_on_a_page(&begun.params("s")[1..]).await;
}

#[tokio::test]
async fn oidcc_rp_initiated_logout_no_params() {
    begin().await.ends_on_a_page(&[]).await;
}

#[tokio::test]
async fn oidcc_rp_initiated_logout_no_post_logout_redirect_uri() {
    let begun = begin().await;
    let mut params = begun.params("s");
    params.remove(1);
    begun.ends_on_a_page(&params).await;
}

#[tokio::test]
async fn oidcc_rp_initiated_logout_no_state() {
    let begun = begin().await;
    let visit = begun.visit(&begun.params("")[..2]).await;
    assert_eq!(visit.url.as_str(), POST_LOGOUT);
    begun.prompt_none_fails().await;
}

#[tokio::test]
async fn oidcc_rp_initiated_logout_only_state() {
    begin().await.ends_on_a_page(&[("state", "s")]).await;
}

#[tokio::test]
async fn oidcc_rp_initiated_logout_query_added_to_post_logout_redirect_uri() {
    let begun = begin().await;
    let with_query = format!("{POST_LOGOUT}?foo=bar");
    let mut params = begun.params("s");
    params[1].1 = &with_query;
    begun.is_refused_on_a_page(&params).await;
}

/// Signed by somebody else, and named by a key of ours.
#[tokio::test]
async fn oidcc_rp_initiated_logout_bad_id_token_hint() {
    let begun = begin().await;
    let parts: Vec<&str> = begun.tokens.id().split('.').collect();
    let foreign = begun
        .op
        .upstream()
        .sign_logout_token(&checks::peek(begun.tokens.id()))
        .unwrap();
    let signature = foreign.split('.').nth(2).unwrap();
    for hint in [foreign.clone(), format!("{}.{}.{signature}", parts[0], parts[1])] {
        let mut params = begun.params("s");
        params[0].1 = &hint;
        begun.is_refused_on_a_page(&params).await;
    }
}

/// A module without a function of its name would silently not be mirrored.
#[test]
fn every_module_of_the_plan_has_a_function_of_its_name() {
    assert_eq!(RP_INITIATED_MODULES.len(), 11);
    let source = include_str!("modules.rs");
    for module in RP_INITIATED_MODULES {
        let function = format!("#[tokio::test]\nasync fn {}() {{", module.replace('-', "_"));
        assert_eq!(source.matches(&function).count(), 1, "{module} has no mirror");
    }
}
