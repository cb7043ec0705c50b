use reqwest::Method;
use serde_json::{Value, json};
use time::Duration;

use super::events_of;
use crate::common::{Answer, Browser, TestProvider, checks};

async fn listed(browser: &Browser) -> Vec<Value> {
    let answer = browser.call(Method::GET, "/auth/sessions", None).await;
    answer.is_not_stored();
    answer.is(200).json()["sessions"].as_array().unwrap().clone()
}

async fn end(browser: &Browser, session_id: &str) -> Answer {
    browser
        .call(Method::DELETE, &format!("/auth/sessions/{session_id}"), None)
        .await
}

fn sid(browser: &Browser) -> String {
    checks::peek(&browser.cookie("access").unwrap())["sid"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// §3.2: device, address, times, and which of them asks; nobody else's.
#[tokio::test]
async fn a_person_sees_where_they_are_signed_in() {
    let op = TestProvider::with(|config| config.server.behind_proxy = true).await;
    let firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
    let there = op
        .browser()
        .saying("user-agent", firefox)
        .saying("x-forwarded-for", "192.0.2.1, 203.0.113.7");
    there.sign_in("ada").await;
    let (sid_there, _alan) = (sid(&there), op.signed_in("alan").await);
    op.advance(Duration::hours(1));
    let here = op.signed_in("ada").await;
    let sessions = listed(&here).await;
    assert_eq!(sessions.len(), 2, "{sessions:?}");
    assert_eq!(
        (&sessions[0]["session_id"], &sessions[0]["current"]),
        (&json!(sid(&here)), &json!(true))
    );
    assert_eq!(
        (&sessions[1]["session_id"], &sessions[1]["current"]),
        (&json!(sid_there), &json!(false))
    );
    assert_eq!(
        (&sessions[1]["device"], &sessions[1]["ip_address"]),
        (&json!("Firefox on Linux"), &json!("203.0.113.7")),
        "as the browser says of itself, and as the nearest proxy saw it"
    );
    let seen = sessions[1].to_string();
    assert!(!seen.contains("Gecko") && !seen.contains("192.0.2.1"), "{seen}");
    assert_eq!(sessions[0]["device"], "An unknown device");
    assert_eq!(
        (&sessions[0]["ip_address"], &sessions[0]["provider"]),
        (&json!("127.0.0.1"), &json!("simulated"))
    );
    for time in ["created_at", "signed_in_at", "last_used_at", "expires_at"] {
        assert!(
            sessions[0][time].as_str().unwrap() > sessions[1][time].as_str().unwrap(),
            "{time}"
        );
    }
    op.browser()
        .call(Method::GET, "/auth/sessions", None)
        .await
        .refused_with(401, "unauthenticated");
}

/// What has ended or run out is not listed.
#[tokio::test]
async fn only_sessions_that_go_on_are_listed() {
    let op = TestProvider::start().await;
    let (out, _idle) = (op.signed_in("ada").await, op.signed_in("ada").await);
    out.call(Method::POST, "/auth/logout", None).await.is(200);
    op.advance(Duration::days(31));
    let here = op.signed_in("ada").await;
    assert_eq!(listed(&here).await.len(), 1);
}

/// SE-4: a session that is ended from another one is over at its next request, with its tokens.
#[tokio::test]
async fn a_person_ends_one_of_their_sessions() {
    let op = TestProvider::start().await;
    let app = op.client().await;
    let (here, there) = (op.signed_in("ada").await, op.signed_in("ada").await);
    let tokens = app.tokens_of(&there, "ada", "openid").await;
    let ended = end(&here, &sid(&there)).await;
    ended.is(204);
    assert!(here.is_signed_in().await && !there.is_signed_in().await);
    assert!(!app.is_active(&tokens.access_token).await);
    app.refresh(tokens.refresh()).await.refused("invalid_grant");
    assert_eq!(listed(&here).await.len(), 1);
    let revoked = events_of(&op, "session.revoked").await;
    assert_eq!(revoked.len(), 1);
    assert_eq!(
        (&revoked[0]["session_id"], &revoked[0]["reason"]),
        (&json!(sid(&there)), &json!("revoked"))
    );
    end(&here, &sid(&there)).await.refused_with(404, "not_found");
}

/// SE-8: somebody else's session, one that never was and what is no id at all are the same.
#[tokio::test]
async fn sessions_of_others_do_not_exist() {
    let op = TestProvider::start().await;
    let (ada, alan) = (op.signed_in("ada").await, op.signed_in("alan").await);
    let others = end(&ada, &sid(&alan)).await;
    others.refused_with(404, "not_found");
    for id in [
        uuid::Uuid::new_v4().to_string(),
        "x".to_owned(),
        "%00".to_owned(),
        "x".repeat(500),
    ] {
        let answer = end(&ada, &id).await;
        assert_eq!(
            (answer.status, &answer.text),
            (others.status, &others.text),
            "{id}"
        );
    }
    assert!(alan.is_signed_in().await);
    assert_eq!(events_of(&op, "session.revoked").await, Vec::<Value>::new());
}

/// SE-8: ending the session that asks is a logout.
#[tokio::test]
async fn ending_the_current_session_is_a_logout() {
    let op = TestProvider::start().await;
    let ada = op.signed_in("ada").await;
    let answer = end(&ada, &sid(&ada)).await;
    assert!(answer.is(200).json()["redirect_to"].is_string());
    assert_eq!((ada.cookie("refresh"), ada.cookie("access")), (None, None));
    assert!(!ada.is_signed_in().await);
}

#[tokio::test]
async fn a_person_ends_all_other_sessions() {
    let op = TestProvider::start().await;
    let here = op.signed_in("ada").await;
    let others = [op.signed_in("ada").await, op.signed_in("ada").await];
    let alan = op.signed_in("alan").await;
    let answer = here.call(Method::DELETE, "/auth/sessions", None).await;
    assert_eq!(answer.is(200).json(), json!({ "ended": 2 }));
    for browser in &others {
        assert!(!browser.is_signed_in().await);
    }
    assert!(here.is_signed_in().await && alan.is_signed_in().await);
    let answer = here.call(Method::DELETE, "/auth/sessions", None).await;
    assert_eq!(answer.is(200).json(), json!({ "ended": 0 }));
}
