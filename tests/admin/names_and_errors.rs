use reqwest::Method;
use serde_json::json;

use crate::common::provider::ISSUER;
use crate::common::{Directory, TestProvider};

const NAMES: &str = "/admin/reserved-usernames";

/// A name that was reserved is nobody's to take, in any case of letters, until it is released; each leaves an entry.
#[tokio::test]
async fn a_reserved_name_cannot_be_taken_until_it_is_released() {
    let op = TestProvider::with(|config| {
        config.oauth.onboarding = riley_auth::config::oauth::Onboarding::Prompt;
    })
    .await;
    let newcomer = op.browser();
    newcomer.open(&format!("{ISSUER}/auth/simulated")).await;
    let root = {
        let browser = op.browser();
        let page = browser.open(&format!("{ISSUER}/auth/simulated")).await;
        browser.pass_upstream(page, "root").await;
        browser.choose("root-account").await.is(200);
        browser
    };
    sqlx::query("UPDATE users SET role = 'admin'")
        .execute(op.db())
        .await
        .unwrap();
    let reserved = root
        .send(Method::POST, NAMES, &json!({ "username": "Treasury" }))
        .await;
    assert_eq!(reserved.is(201).json()["username"], "treasury");
    root.send(Method::POST, NAMES, &json!({ "username": "TREASURY" }))
        .await
        .refused_with(409, "already_reserved");
    assert_eq!(root.read(NAMES).await["items"][0]["username"], "treasury");
    let page = newcomer.open(&format!("{ISSUER}/auth/simulated")).await;
    newcomer.pass_upstream(page, "newcomer").await;
    newcomer
        .choose("treasurY")
        .await
        .refused_with(409, "username_reserved");
    root.remove(&format!("{NAMES}/TreaSury")).await.is(204);
    root.remove(&format!("{NAMES}/treasury"))
        .await
        .refused_with(404, "not_found");
    newcomer.choose("treasury").await.is(200);
    let trail = root.read("/admin/audit").await;
    let actions: Vec<&str> = trail["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["action"].as_str().unwrap())
        .collect();
    assert_eq!(actions, ["username_released", "username_reserved"]);
    assert_eq!(trail["items"][0]["target_id"], "treasury");
}

/// Names that turn the text beside them, hide in it or are endless are not reserved.
#[tokio::test]
async fn a_reserved_name_can_be_seen_and_has_an_end() {
    let op = TestProvider::start().await;
    let root = op.administrator("root").await;
    for name in [
        "",
        " ",
        "a b",
        "a\u{202e}b",
        "a\u{200b}b",
        "a\nb",
        "a\u{7}",
        &"a".repeat(101),
    ] {
        let answer = root.send(Method::POST, NAMES, &json!({ "username": name })).await;
        answer.refused_with(400, "username_invalid");
    }
    assert_eq!(op.trail_length().await, 0);
}

/// Page by page, each name once.
#[tokio::test]
async fn reserved_names_come_page_by_page() {
    let op = TestProvider::start().await;
    let root = op.administrator("root").await;
    for name in ["c", "a", "\u{e9}", "b", "d"] {
        root.send(Method::POST, NAMES, &json!({ "username": name }))
            .await
            .is(201);
    }
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = root.read(&format!("{NAMES}?limit=2{cursor}")).await;
        for item in page["items"].as_array().unwrap() {
            seen.push(item["username"].as_str().unwrap().to_owned());
        }
        let Some(next) = page["next_cursor"].as_str() else {
            break;
        };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(seen, ["a", "b", "c", "d", "\u{e9}"]);
}

/// What an error page's id stands for is shown as `explain` shows it.
#[tokio::test]
async fn an_error_report_is_what_explain_shows() {
    let op = TestProvider::start().await;
    let root = op.administrator("root").await;
    let app = op.client().await;
    let refused = root
        .open(&format!(
            "{ISSUER}/oauth/authorize?client_id={}&redirect_uri=https%3A%2F%2Fapp.test%2Fother&response_type=code&scope=openid",
            app.client_id()
        ))
        .await;
    let text = refused.text();
    let id = text
        .split("id=\"error-id\">")
        .nth(1)
        .unwrap()
        .split('<')
        .next()
        .unwrap();
    let report = root.read(&format!("/admin/errors/{id}")).await;
    assert_eq!(report["registered"]["client_id"], app.client_id());
    assert_eq!(report["nearest_redirect_uri"], app.redirect_uri());
    let directory = Directory::with_key(&op.configuration_text());
    let shown = directory.run(&["explain", id, "--json"]);
    assert!(shown.status.success());
    assert_eq!(
        serde_json::from_slice::<serde_json::Value>(&shown.stdout).unwrap(),
        report
    );
}
