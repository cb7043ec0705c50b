use reqwest::Method;
use serde_json::{Value, json};

use super::{count, events};
use crate::common::{Answer, Browser, TestProvider};

/// A body as it is, under this type.
async fn send(
    browser: &Browser,
    path: &str,
    content_type: Option<&str>,
    body: impl Into<reqwest::Body>,
) -> Answer {
    let cookie = format!("__Host-auth_refresh={}", browser.cookie("refresh").unwrap());
    let mut request = browser
        .op
        .request(Method::PATCH, path)
        .header("cookie", cookie)
        .header("x-requested-with", "fetch");
    if let Some(content_type) = content_type {
        request = request.header("content-type", content_type);
    }
    Answer::of(request.body(body)).await
}

async fn everything(op: &TestProvider) -> (Vec<Value>, usize, i64) {
    let users = "SELECT to_jsonb(u) FROM users u ORDER BY user_id";
    let users = sqlx::query_scalar(users).fetch_all(op.db()).await.unwrap();
    (
        users,
        events(op).await.len(),
        count(op, "SELECT count(*) FROM held_usernames").await,
    )
}

/// AC-12: members that nobody may set change nothing, not even beside one that may be set.
#[tokio::test]
async fn unknown_members_are_refused_and_change_nothing() {
    let op = TestProvider::start().await;
    let ada = op.signed_in("ada").await;
    let before = everything(&op).await;
    for (name, value) in [
        ("role", json!("admin")),
        ("user_id", json!(uuid::Uuid::new_v4())),
        ("id", json!(1)),
        ("sub", json!("x")),
        ("email", json!("a@b.example")),
        ("email_verified", json!(true)),
        ("provider", json!("github")),
        ("picture", json!("https://evil.example/")),
        ("disabled_at", Value::Null),
        ("__proto__", json!({ "role": "admin" })),
        ("display_name\u{0}", json!("x")),
    ] {
        for (path, mut body) in [
            ("/auth/me", json!({ "display_name": "Countess" })),
            ("/auth/me/username", json!({ "username": "countess" })),
        ] {
            body[name] = value.clone();
            let answer = ada.call(Method::PATCH, path, Some(&body)).await;
            answer.refused_with(400, "invalid_request");
        }
    }
    assert_eq!(everything(&op).await, before);
}

#[tokio::test]
async fn what_is_no_object_of_the_documented_form_is_refused() {
    let op = TestProvider::start().await;
    let ada = op.signed_in("ada").await;
    let before = everything(&op).await;
    let json = Some("application/json");
    for path in ["/auth/me", "/auth/me/username"] {
        for body in [
            "",
            "null",
            "true",
            "[]",
            "[\"ada\"]",
            "\"ada\"",
            "{",
            "{}{}",
            "{\"username\":null}",
            "{\"username\":[\"ada\"]}",
            "{\"username\":{}}",
            "{\"username\":1}",
            "{\"username\":\"ada2\",\"username\":\"ada3\"}",
            "{\"display_name\":1}",
            "{\"display_name\":\"a\",\"display_name\":\"b\"}",
            "{\"primary_link_id\":\"x\"}",
            "{\"primary_link_id\":1}",
            "{\"display_name\":\"\\ud800\"}",
        ] {
            send(&ada, path, json, body)
                .await
                .refused_with(400, "invalid_request");
        }
        send(&ada, path, json, vec![b'{', 0xff, b'}'])
            .await
            .refused_with(400, "invalid_request");
        send(
            &ada,
            path,
            json,
            format!("{{\"display_name\":{}1{}}}", "[".repeat(5000), "]".repeat(5000)),
        )
        .await
        .refused_with(400, "invalid_request");
        let text = "{\"username\":\"countess\"}";
        for content_type in [
            None,
            Some("text/plain"),
            Some("application/x-www-form-urlencoded"),
            Some("multipart/form-data"),
        ] {
            send(&ada, path, content_type, text)
                .await
                .refused_with(415, "unsupported_media_type");
        }
        let endless = format!("{{\"display_name\":\"{}\"}}", "a".repeat(100_000));
        send(&ada, path, json, endless)
            .await
            .refused_with(413, "payload_too_large");
    }
    assert_eq!(everything(&op).await, before);
}

/// Nobody who is not signed in learns anything, whatever they send: the session is asked for first.
#[tokio::test]
async fn without_a_session_there_is_one_answer() {
    let op = TestProvider::start().await;
    let alan = op.signed_in("alan").await;
    let session =
        alan.call(Method::GET, "/auth/sessions", None).await.json()["sessions"][0]["session_id"].clone();
    let own = format!("/auth/sessions/{}", session.as_str().unwrap());
    for (method, path) in [
        (Method::GET, "/auth/me"),
        (Method::PATCH, "/auth/me"),
        (Method::DELETE, "/auth/me"),
        (Method::PATCH, "/auth/me/username"),
        (Method::GET, "/auth/me/emails"),
        (Method::GET, "/auth/me/export"),
        (Method::GET, "/auth/me/consents"),
        (Method::DELETE, "/auth/me/consents/x"),
        (Method::GET, "/auth/sessions"),
        (Method::DELETE, "/auth/sessions"),
        (Method::DELETE, own.as_str()),
        (Method::DELETE, "/auth/sessions/x"),
    ] {
        let stranger = op
            .request(method.clone(), path)
            .header("x-requested-with", "fetch");
        Answer::of(stranger).await.refused_with(401, "unauthenticated");
        // SE-9: neither an access token nor the access cookie is a session.
        let token = alan.cookie("access").unwrap();
        let bearer = op
            .request(method.clone(), path)
            .header("x-requested-with", "fetch")
            .bearer_auth(&token);
        Answer::of(bearer).await.refused_with(401, "unauthenticated");
    }
    assert!(alan.is_signed_in().await);
}

/// Tricks with the path reach no handler, or the same one.
#[tokio::test]
async fn paths_with_tricks_lead_nowhere() {
    let op = TestProvider::start().await;
    let ada = op.signed_in("ada").await;
    let cookie = format!("__Host-auth_refresh={}", ada.cookie("refresh").unwrap());
    for path in [
        "/auth/me/",
        "//auth/me",
        "/auth//me",
        "/auth/Me",
        "/auth/me;x",
        "/auth/me/username/",
        "/auth/sessions/a/b",
    ] {
        for method in [Method::PATCH, Method::DELETE] {
            let request = op
                .request(method.clone(), path)
                .header("cookie", &cookie)
                .header("x-requested-with", "x");
            let answer = Answer::of(request).await;
            assert!(
                matches!(answer.status.as_u16(), 404 | 405),
                "{method} {path}: {}",
                answer.status
            );
        }
    }
    assert!(ada.is_signed_in().await);
}
