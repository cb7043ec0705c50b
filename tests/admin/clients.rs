use reqwest::Method;
use serde_json::{Value, json};

use crate::common::provider::CALLBACK;
use crate::common::{Answer, Browser, Outcome, TestClient, TestProvider};

const CLIENTS: &str = "/admin/clients";

async fn create(root: &Browser, body: &Value) -> Answer {
    root.send(Method::POST, CLIENTS, body).await
}

async fn change(root: &Browser, client_id: &str, body: &Value) -> Answer {
    root.send(Method::PATCH, &format!("{CLIENTS}/{client_id}"), body)
        .await
}

/// The app behind a registration that the API answered.
fn app_of(op: &TestProvider, like: &TestClient, registered: &Value) -> TestClient {
    let mut app = like.at(op);
    registered["client_id"]
        .as_str()
        .unwrap()
        .clone_into(&mut app.client.client_id.0);
    app.secret = registered["client_secret"].as_str().map(str::to_owned);
    app
}

/// An app is registered over the API, works with its secret, and the secret is never shown again (AD-6).
#[tokio::test]
async fn an_app_that_is_registered_works_and_its_secret_is_shown_once() {
    let op = TestProvider::start().await;
    let root = op.administrator("root").await;
    let body = json!({ "name": " Notes ", "redirect_uris": [CALLBACK], "auto_approve": true, "require_pkce": false, "scope": "offline_access phone" });
    let answer = create(&root, &body).await;
    answer.is(201).is_not_stored();
    let registered = answer.json();
    let secret = registered["client_secret"].as_str().unwrap().to_owned();
    assert_eq!(registered["name"], "Notes");
    assert_eq!(registered["scope"], "offline_access phone");
    let app = app_of(&op, &op.client().await, &registered);
    app.tokens_of(&op.browser(), "ada", "openid offline_access").await;
    for shown in [
        root.read(&format!("{CLIENTS}/{}", app.client_id())).await,
        root.read(CLIENTS).await,
        change(&root, app.client_id(), &json!({ "name": "Notes 2" }))
            .await
            .is(200)
            .json(),
        root.read("/admin/audit").await,
    ] {
        let text = shown.to_string();
        assert!(
            !text.contains(&secret) && !text.contains("secret_hash") && !text.contains("client_secret\"")
        );
    }
    let id = app.client_id();
    assert_eq!(
        op.events("client.created").await,
        [json!({ "client_id": id, "name": "Notes" })]
    );
    assert_eq!(
        op.events("client.updated").await,
        [json!({ "client_id": id, "changed": ["name"] })]
    );
}

/// Every field can be set, read and changed; what is left out stays, `null` gives up what may be absent.
#[tokio::test]
async fn every_field_is_set_read_and_changed() {
    let op = TestProvider::start().await;
    let root = op.administrator("root").await;
    let full = json!({
        "name": "Notes", "client_type": "confidential", "redirect_uris": ["https://a.example/cb"],
        "post_logout_redirect_uris": ["https://a.example/out"], "backchannel_logout_uri": "https://a.example/bc",
        "backchannel_logout_session_required": true, "scope": "phone", "grant_types": ["authorization_code"],
        "auto_approve": true, "require_pkce": false, "token_endpoint_auth_method": "client_secret_post",
        "id_token_signed_response_alg": null, "claims_in_id_token": true, "audience": "https://api.example",
        "refresh_reuse_leeway_secs": 0
    });
    let registered = create(&root, &full).await.is(201).json();
    for (field, value) in full.as_object().unwrap() {
        assert_eq!(&registered[field], value, "{field}");
    }
    let id = registered["client_id"].as_str().unwrap();
    let changes = json!({
        "name": "Other", "redirect_uris": ["https://b.example/cb", "https://b.example/cb2"], "post_logout_redirect_uris": [],
        "backchannel_logout_uri": null, "backchannel_logout_session_required": false, "scope": "address",
        "grant_types": ["authorization_code", "refresh_token"], "auto_approve": false, "require_pkce": true,
        "token_endpoint_auth_method": null, "claims_in_id_token": false, "audience": null,
        "refresh_reuse_leeway_secs": null, "disabled": true
    });
    let changed = change(&root, id, &changes).await.is(200).json();
    for (field, value) in changes.as_object().unwrap() {
        assert_eq!(&changed[field], value, "{field}");
    }
    assert_eq!(root.read(&format!("{CLIENTS}/{id}")).await, changed);
    assert_eq!(changed["client_type"], "confidential");
    // Nothing is different: nothing is written.
    let before = op.trail_length().await;
    assert_eq!(change(&root, id, &changes).await.is(200).json(), changed);
    assert_eq!(change(&root, id, &json!({})).await.is(200).json(), changed);
    assert_eq!(op.trail_length().await, before);
}

/// AZ-4, AZ-25, AD-8: the rules of a registration hold for the API, for a new one and for a change, and say which field.
#[tokio::test]
async fn what_breaks_a_rule_is_neither_registered_nor_changed() {
    let op = TestProvider::start().await;
    let root = op.administrator("root").await;
    let id = op
        .client_with(|client| client.auto_approve = false)
        .await
        .client_id()
        .to_owned();
    let native = op
        .client_with(|client| {
            client.client_type = riley_auth::protocol::client::ClientType::Native;
            client.redirect_uris = vec!["http://127.0.0.1/cb".to_owned()];
            client.auto_approve = false;
        })
        .await;
    let breaks = [
        ("redirect_uris", json!([])),
        ("redirect_uris", json!(["http://a.example/"])),
        ("redirect_uris", json!(["https://a.example/#f"])),
        ("redirect_uris", json!(["https://u@a.example/"])),
        ("redirect_uris", json!(["https://*.a.example/"])),
        ("redirect_uris", json!(["JavaScript:alert(1)"])),
        ("redirect_uris", json!(["https://a.example/..;/x"])),
        ("redirect_uris", json!(["https://a.example/%2e%2e/x"])),
        ("redirect_uris", json!(["https://a.example/?code=1"])),
        ("redirect_uris", json!(["https://a.example/\r\nx: y"])),
        ("redirect_uris", json!(["https://\u{e4}.example/"])),
        (
            "redirect_uris",
            json!([format!("https://a.example/{}", "a".repeat(2048))]),
        ),
        (
            "redirect_uris",
            json!(["https://a.example/", "https://a.example/"]),
        ),
        (
            "redirect_uris",
            json!(
                (0..51)
                    .map(|i| format!("https://a.example/{i}"))
                    .collect::<Vec<_>>()
            ),
        ),
        ("post_logout_redirect_uris", json!(["ftp://a.example/"])),
        ("backchannel_logout_uri", json!("http://a.example/")),
        ("name", json!("")),
        ("name", json!("a\u{202e}b")),
        ("name", json!("a\nb")),
        ("name", json!("a".repeat(101))),
        ("scope", json!("unheard-of")),
        ("grant_types", json!(["refresh_token"])),
        ("audience", json!("https://op.test")),
        ("audience", json!("a b")),
        ("token_endpoint_auth_method", json!("none")),
        ("refresh_reuse_leeway_secs", json!(301)),
        ("request_object_jwks", json!({ "keys": [] })),
        (
            "request_object_jwks",
            json!({ "keys": [{ "kty": "oct", "k": "AA" }] }),
        ),
        (
            "request_object_jwks",
            json!({ "keys": [], "pad": "a".repeat(70_000) }),
        ),
    ];
    let length = op.trail_length().await;
    for (field, value) in breaks {
        let mut new = json!({ "name": "A", "redirect_uris": ["https://a.example/"] });
        new[field] = value.clone();
        for refused in [
            create(&root, &new).await,
            change(&root, &id, &json!({ field: value })).await,
        ] {
            refused.refused_with(400, "invalid_client");
            let said = refused.json()["error_description"].as_str().unwrap().to_owned();
            assert!(said.contains(field), "{field}: {said}");
            assert!(said.len() < 4096);
        }
    }
    change(&root, native.client_id(), &json!({ "auto_approve": true }))
        .await
        .refused_with(400, "invalid_client");
    change(&root, native.client_id(), &json!({ "require_pkce": false }))
        .await
        .refused_with(400, "invalid_client");
    for body in [
        json!({ "grant_types": ["password"] }),
        json!({ "id_token_signed_response_alg": "none" }),
        json!({ "refresh_reuse_leeway_secs": -1 }),
    ] {
        change(&root, &id, &body)
            .await
            .refused_with(400, "invalid_request");
    }
    assert_eq!(op.trail_length().await, length);
}

/// AZ-24: a change is seen at once, also by another instance that holds a copy of the client in memory.
#[tokio::test]
async fn a_change_is_seen_at_once_by_every_instance() {
    let op = TestProvider::start().await;
    let elsewhere = op.second_instance().await;
    let root = op.administrator("root").await;
    let app = op.client().await;
    let ada = op.signed_in("ada").await;
    let there = ada.at(&elsewhere);
    let app_there = app.at(&elsewhere);
    let tokens = app.tokens_of(&ada, "ada", "openid").await;
    app_there
        .redeem(&there.authorize(&app_there).scope("openid").code().await)
        .await
        .tokens();

    change(&root, app.client_id(), &json!({ "disabled": true }))
        .await
        .is(200);
    for (op_app, browser) in [(&app, &ada), (&app_there, &there)] {
        assert!(matches!(
            browser.authorize(op_app).scope("openid").send().await,
            Outcome::ErrorPage { .. }
        ));
        op_app.refresh(tokens.refresh()).await.refused("invalid_client");
        op_app.userinfo(&tokens.access_token).await.is(401);
    }
    change(&root, app.client_id(), &json!({ "disabled": false }))
        .await
        .is(200);
    app_there.refresh(tokens.refresh()).await.tokens();

    let moved = json!({ "redirect_uris": ["https://app.test/moved"] });
    change(&root, app.client_id(), &moved).await.is(200);
    for (op_app, browser) in [(&app, &ada), (&app_there, &there)] {
        assert!(matches!(
            browser.authorize(op_app).scope("openid").send().await,
            Outcome::ErrorPage { .. }
        ));
    }
}

/// A disabled client can be enabled although the rules of today would not admit it any more.
#[tokio::test]
async fn disabling_asks_for_no_rule_of_today() {
    let op = TestProvider::start().await;
    let root = op.administrator("root").await;
    let app = op
        .client_with(|client| client.redirect_uris = vec!["http://no-longer.example/".to_owned()])
        .await;
    change(&root, app.client_id(), &json!({ "name": "Other" }))
        .await
        .refused_with(400, "invalid_client");
    for disabled in [true, false] {
        let changed = change(&root, app.client_id(), &json!({ "disabled": disabled }))
            .await
            .is(200)
            .json();
        assert_eq!(changed["disabled"], disabled);
    }
}

/// A new secret works at once, the old one for the overlap and no longer; the one before that ends.
#[tokio::test]
async fn a_secret_is_replaced_with_an_overlap() {
    let op = TestProvider::start().await;
    let root = op.administrator("root").await;
    let app = op.client().await;
    let path = format!("{CLIENTS}/{}/secret", app.client_id());
    let with = |secret: &Value| TestClient {
        secret: secret.as_str().map(str::to_owned),
        ..app.clone()
    };
    let token = app.tokens_of(&op.browser(), "ada", "openid").await.access_token;
    let works = async |app: &TestClient| app.introspect(&token).await.status == 200;
    let answer = root
        .send(Method::POST, &path, &json!({ "overlap_secs": 60 }))
        .await;
    answer.is(201).is_not_stored();
    let second = with(&answer.json()["client_secret"]);
    assert!(works(&app).await && works(&second).await);
    op.advance_secs(61);
    assert!(!works(&app).await && works(&second).await);
    let third = with(
        &root
            .send(Method::POST, &path, &json!({ "overlap_secs": 0 }))
            .await
            .is(201)
            .json()["client_secret"],
    );
    assert!(!works(&second).await && works(&third).await);
    let fourth = root.send(Method::POST, &path, &json!({})).await.is(201).json();
    assert!(works(&third).await && works(&with(&fourth["client_secret"])).await);
    root.send(Method::POST, &path, &json!({ "overlap_secs": 7_776_001 }))
        .await
        .refused_with(400, "invalid_request");
    root.send(Method::POST, &path, &json!({ "client_secret": "mine" }))
        .await
        .refused_with(400, "invalid_request");
    let public = op.public_client().await;
    let path = format!("{CLIENTS}/{}/secret", public.client_id());
    root.send(Method::POST, &path, &json!({}))
        .await
        .refused_with(409, "not_confidential");
    root.send(Method::POST, "/admin/clients/nobody/secret", &json!({}))
        .await
        .refused_with(404, "not_found");
    assert_eq!(
        op.events("client.updated").await[0]["changed"],
        json!(["client_secret"])
    );
}

/// AD-6: with an app go its codes, tokens, consents, pending requests and webhooks, at once.
#[tokio::test]
async fn a_removed_app_leaves_nothing_behind() {
    let op = TestProvider::start().await;
    let root = op.administrator("root").await;
    let app = op.asking_client().await;
    let resource_server = op.client().await;
    let ada = op.signed_in("ada").await;
    let tokens = app.tokens_of(&ada, "ada", "openid offline_access").await;
    let waiting = ada.authorize(&app).scope("openid").code().await;
    ada.authorize(&app)
        .scope("openid")
        .prompt("consent")
        .send()
        .await
        .page("/consent");
    sqlx::query(
        "INSERT INTO webhooks (webhook_id, client_id, url, sealed_secret, created_at, updated_at)
         VALUES (gen_random_uuid(), $1, 'https://app.test/hook', '\\x00', now(), now())",
    )
    .bind(app.client_id())
    .execute(op.db())
    .await
    .unwrap();
    root.remove(&format!("{CLIENTS}/{}", app.client_id()))
        .await
        .is(204);
    app.redeem(&waiting).await.is_client_error();
    app.refresh(tokens.refresh()).await.is_client_error();
    app.userinfo(&tokens.access_token).await.is(401);
    assert!(!resource_server.is_active(&tokens.access_token).await);
    assert!(matches!(
        ada.authorize(&app).scope("openid").send().await,
        Outcome::ErrorPage { .. }
    ));
    let left: i64 = sqlx::query_scalar(
        "SELECT (SELECT count(*) FROM grants WHERE client_id = $1)
              + (SELECT count(*) FROM authorization_codes WHERE client_id = $1)
              + (SELECT count(*) FROM authorization_requests WHERE client_id = $1)
              + (SELECT count(*) FROM consents WHERE client_id = $1)
              + (SELECT count(*) FROM webhooks WHERE client_id = $1)
              + (SELECT count(*) FROM deliveries WHERE client_id = $1)
              + (SELECT count(*) FROM refresh_tokens t WHERE NOT EXISTS (SELECT FROM grants g WHERE g.grant_id = t.grant_id))",
    )
    .bind(app.client_id())
    .fetch_one(op.db())
    .await
    .unwrap();
    assert_eq!(left, 0);
    root.remove(&format!("{CLIENTS}/{}", app.client_id()))
        .await
        .refused_with(404, "not_found");
    assert_eq!(
        op.events("client.deleted").await,
        [json!({ "client_id": app.client_id() })]
    );
}

/// Page by page in the order of the names; apps of one name are told apart.
#[tokio::test]
async fn apps_come_page_by_page() {
    let op = TestProvider::start().await;
    let root = op.administrator("root").await;
    for name in ["b", "a", "a", "c", "\u{e9}"] {
        let body = json!({ "name": name, "redirect_uris": ["https://a.example/"] });
        create(&root, &body).await.is(201);
    }
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = root.read(&format!("{CLIENTS}?limit=2{cursor}")).await;
        for item in page["items"].as_array().unwrap() {
            seen.push((
                item["name"].as_str().unwrap().to_owned(),
                item["client_id"].clone().to_string(),
            ));
        }
        let Some(next) = page["next_cursor"].as_str() else {
            break;
        };
        cursor = format!("&cursor={next}");
    }
    let names: Vec<&str> = seen.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["a", "a", "b", "c", "\u{e9}"]);
    assert!(seen.is_sorted());
}
