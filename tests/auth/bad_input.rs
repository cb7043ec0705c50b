use reqwest::Method;
use riley_auth::config::oauth::Onboarding;
use serde_json::json;
use uuid::Uuid;

use crate::common::provider::{ISSUER, PAGES};
use crate::common::spoiled::{is_refused, spoiled};
use crate::common::tables::all_rows;
use crate::common::{Browser, TestProvider};

/// Every row but what `explain` shows: a refusal that a person sees is kept there.
async fn everything(op: &TestProvider) -> Vec<String> {
    all_rows(op.db(), &["error_reports"]).await
}

/// AC-1, AC-12: whatever is wrong with a newcomer's choice, what their upstream has proved waits on, and the right choice is
/// taken afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn a_choice_with_one_thing_wrong_is_refused_and_costs_nothing() {
    let op = TestProvider::with(|config| config.oauth.onboarding = Onboarding::Prompt).await;
    let ada = op.browser();
    ada.sign_in_amid("simulated", "ada", &[]).await;
    let valid = json!({ "username": "countess", "display_name": "Ada Lovelace" });
    let before = everything(&op).await;
    for body in spoiled(&valid) {
        let answer = ada.call(Method::POST, "/auth/setup", Some(&body)).await;
        let shown: String = body.to_string().chars().take(300).collect();
        is_refused(&answer, &shown);
        answer.is_not_stored();
    }
    assert_eq!(everything(&op).await, before);
    ada.call(Method::POST, "/auth/setup", Some(&valid)).await.is(200);
    let me = ada.me().await.is(200).json();
    assert_eq!(
        (&me["username"], &me["display_name"], &me["role"]),
        (&valid["username"], &valid["display_name"], &json!("user"))
    );
}

/// A page of ours answers what a browser asks for: 4xx, and no way on.
async fn is_refused_as_a_page(browser: &Browser, url: &str) -> u16 {
    let visit = browser.follow("https://elsewhere.example/", url).await;
    let status = visit.status().unwrap().as_u16();
    assert!((400..500).contains(&status), "{url}: {status} {}", visit.text());
    assert_eq!(visit.hops.len(), 1, "{url} leads to {}", visit.url);
    status
}

/// RD-1, UP-2: what names no provider is not found, and what no sign-in begins with is refused, before anything is stored.
#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_that_cannot_begin_stores_nothing() {
    let op = TestProvider::start().await;
    let browser = op.browser();
    let before = everything(&op).await;
    let endless = "9".repeat(3000);
    for name in [
        "nobody",
        "SIMULATED",
        "simulated%00",
        "simulated%20",
        "%00",
        "%ff",
        "%E2%80%AEdetalumis",
        "..%2fadmin",
        "simulated;a=b",
        "simulated%2fcallback",
        "'%20OR%20'1'='1",
        "__proto__",
        endless.as_str(),
    ] {
        let status = is_refused_as_a_page(&browser, &format!("{ISSUER}/auth/{name}")).await;
        assert_eq!(status, 404, "{name}");
    }
    let page = url::form_urlencoded::byte_serialize(PAGES.as_bytes()).collect::<String>();
    let stranger = Uuid::new_v4();
    for query in [
        "return_to=https%3A%2F%2Fevil.example%2F".to_owned(),
        "return_to=%2F%2Fevil.example".to_owned(),
        "return_to=%2F%5Cevil.example".to_owned(),
        "return_to=javascript%3Aalert(1)".to_owned(),
        "return_to=%00".to_owned(),
        "return_to=%2Fhome%00".to_owned(),
        "return_to=%2Fhome%0d%0aSet-Cookie%3A%20a%3Db".to_owned(),
        "return_to=%ff".to_owned(),
        format!("return_to={page}%40evil.example"),
        format!("return_to=%2F{}", "a".repeat(6000)),
        "return_to=%2Fhome&return_to=%2Felsewhere".to_owned(),
        "request_id=%00".to_owned(),
        format!("request_id={stranger}"),
        format!("request_id={}", "A".repeat(43)),
        "request_id=a&request_id=b".to_owned(),
    ] {
        is_refused_as_a_page(&browser, &format!("{ISSUER}/auth/simulated?{query}")).await;
    }
    assert_eq!(everything(&op).await, before);
}

/// UP-1, UP-2: an answer that no upstream gave is a page that says so; the sign-in that waits in this browser goes on.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_no_upstream_gave_costs_the_waiting_sign_in_nothing() {
    let op = TestProvider::start().await;
    let browser = op.browser();
    let callback = browser.up_to_callback("simulated", "ada").await;
    let before = everything(&op).await;
    let endless = "A".repeat(6000);
    for query in [
        "",
        "code=a",
        "state=",
        "code=a&state=%00",
        "code=a&state=%ff",
        "code=a&state=a&state=b",
        "error=access_denied",
        "error=access_denied&state=nobody",
        "error=%3Cscript%3E&state=%E2%80%AE",
        "code[]=a&state[]=b",
        &format!("code=a&state={endless}"),
    ] {
        let url = format!("{ISSUER}/auth/simulated/callback?{query}");
        is_refused_as_a_page(&browser, &url).await;
    }
    assert_eq!(everything(&op).await, before);
    browser.open(callback.as_str()).await;
    assert!(browser.is_signed_in().await);
}
