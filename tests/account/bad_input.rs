use std::collections::BTreeSet;

use reqwest::Method;
use riley_auth::dev::simulated_upstream::Flavour;
use serde_json::{Value, json};

use crate::common::cookies::Context;
use crate::common::linking::link;
use crate::common::provider::ISSUER;
use crate::common::raw::Reply;
use crate::common::routes::tricks;
use crate::common::tables::{LAST_SEEN, all_rows};
use crate::common::upstreams::with_upstreams;
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

/// AC-12: members that nobody may set change nothing, not even beside one that may be set.
#[tokio::test]
async fn unknown_members_are_refused_and_change_nothing() {
    let op = TestProvider::start().await;
    let ada = op.signed_in("ada").await;
    let before = all_rows(op.db(), LAST_SEEN).await;
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
    assert_eq!(all_rows(op.db(), LAST_SEEN).await, before);
}

#[tokio::test]
async fn what_is_no_object_of_the_documented_form_is_refused() {
    let op = TestProvider::start().await;
    let ada = op.signed_in("ada").await;
    let before = all_rows(op.db(), LAST_SEEN).await;
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
    assert_eq!(all_rows(op.db(), LAST_SEEN).await, before);
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

/// What is sent to this operation, so that it would be done.
fn body(operation: &str) -> Value {
    match operation {
        "change_account" => json!({ "display_name": "Countess" }),
        "rename_account" => json!({ "username": "countess" }),
        _ => json!({}),
    }
}

/// Tricks with the path reach no handler: each write of an account's owner, by the method that it has, as bytes that nothing
/// normalises, with a session that may. Not a row has changed; without the trick it is done, so that it was the trick that was
/// refused.
#[tokio::test(flavor = "multi_thread")]
async fn paths_with_tricks_lead_nowhere() {
    let list = [
        ("simulated", Flavour::Oidc, json!({})),
        ("gitlab", Flavour::GitLab, json!({})),
    ];
    let (op, _upstreams) = with_upstreams(&list, |_| ()).await;
    let app = op.asking_client().await;
    let document = op.get("/openapi.json").await.is(200).json();
    let mut written = BTreeSet::new();
    for (template, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let is_own = ["account", "session"]
                .iter()
                .any(|tag| operation["tags"][0] == *tag);
            let id = operation["operationId"].as_str().unwrap();
            // What is shown changes nothing; a link waits for a sign-in elsewhere.
            if !is_own || method == "get" || id == "confirm_link" || !template.starts_with("/auth/") {
                continue;
            }
            let person = format!("person {id}");
            let ada = op.signed_in(&person).await;
            app.tokens_of(&ada, &person, "openid").await;
            if id != "start_link" {
                link(&ada, "gitlab", &person).await;
            }
            let elsewhere = op.signed_in(&person).await;
            let sessions = ada.call(Method::GET, "/auth/sessions", None).await.json();
            let other = sessions["sessions"].as_array().unwrap().iter();
            let other = other.filter(|session| session["current"] == false);
            let other = other
                .map(|session| session["session_id"].as_str().unwrap())
                .next()
                .unwrap();
            let path = template
                .replace("{client_id}", app.client_id())
                .replace("{session_id}", other)
                .replace("{provider}", "gitlab");
            let send = async |path: &str| {
                let body = body(id).to_string();
                let request = format!(
                    "{} {path} HTTP/1.1\r\nHost: op.test\r\nConnection: close\r\nCookie: {}\r\n\
                     Sec-Fetch-Site: same-origin\r\nX-Requested-With: fetch\r\nContent-Type: application/json\r\n\
                     Content-Length: {}\r\n\r\n{body}",
                    method.to_uppercase(),
                    cookies(&ada),
                    body.len(),
                );
                Reply::to(op.address(), request.as_bytes()).await
            };
            let before = all_rows(op.db(), LAST_SEEN).await;
            for trick in tricks(&path) {
                let reply = send(&trick).await;
                assert!((400..500).contains(&reply.status), "{id} {trick}: {reply:?}");
                assert_eq!(reply.header("set-cookie"), None, "{id} {trick}");
            }
            assert_eq!(all_rows(op.db(), LAST_SEEN).await, before, "{id}");
            assert!(ada.is_signed_in().await && elsewhere.is_signed_in().await, "{id}");
            let reply = send(&path).await;
            assert!((200..300).contains(&reply.status), "{id}: {reply:?}");
            assert_ne!(all_rows(op.db(), LAST_SEEN).await, before, "{id}");
            written.insert(id.to_owned());
        }
    }
    assert!(written.len() >= 10, "{written:?}");
}

/// Every cookie of this browser, as it sends them to the provider.
fn cookies(browser: &Browser) -> String {
    let url = url::Url::parse(ISSUER).unwrap();
    let now = browser.op.clock().now();
    browser.jar().header(&url, Context::SameSite, now).unwrap()
}
