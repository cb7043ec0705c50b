use super::*;

fn unsigned(claims: &serde_json::Value) -> String {
    let part = |text: String| URL_SAFE_NO_PAD.encode(text);
    format!(
        "{}.{}.",
        part(json!({ "alg": "none" }).to_string()),
        part(claims.to_string())
    )
}

/// OpenID Connect Core §6.1: what the object says replaces what the query says.
#[tokio::test]
async fn the_object_wins_over_the_query() {
    let (_op, app, ada) = start().await;
    let object = unsigned(&json!({ "state": "from-the-object", "scope": "openid email" }));
    let granted = ada.authorize(&app).with("request", &object).code().await;
    assert_eq!(granted.state.as_deref(), Some("from-the-object"));
    assert_eq!(app.redeem(&granted).await.tokens().scope, "openid email");
}

/// Security rule AZ-9: every redirect still goes only to a registered URI.
#[tokio::test]
async fn an_object_cannot_redirect_to_a_uri_that_is_not_registered() {
    let (_op, app, ada) = start().await;
    let object = unsigned(&json!({ "redirect_uri": "https://evil.test/callback" }));
    ada.authorize(&app)
        .with("request", &object)
        .send()
        .await
        .error_page();
}

#[tokio::test]
async fn objects_that_contradict_nest_or_cannot_be_read_are_refused() {
    let (_op, app, ada) = start().await;
    let objects = [
        unsigned(&json!({ "client_id": "another" })),
        unsigned(&json!({ "response_type": "token" })),
        unsigned(&json!({ "request": "x" })),
        unsigned(&json!({ "exp": 1 })),
        unsigned(&json!({ "aud": "https://another.test" })),
        unsigned(&json!({ "iss": "another" })),
        "not-a-jwt".to_owned(),
        "a.b.c".to_owned(),
    ];
    for object in objects {
        let outcome = ada.authorize(&app).with("request", &object).send().await;
        assert!(
            !matches!(outcome, Outcome::Code(_) | Outcome::Page(_)),
            "{object}: {outcome:?}"
        );
    }
}

#[tokio::test]
async fn a_client_with_registered_keys_accepts_only_signed_objects() {
    let (op, _app, ada) = start().await;
    let jwks = op.get("/.well-known/jwks.json").await.json();
    let app = op
        .client_with(|client| client.request_object_jwks = Some(jwks))
        .await;
    let object = unsigned(&json!({ "state": "x" }));
    ada.authorize(&app)
        .with("request", &object)
        .send()
        .await
        .refused("invalid_request_object");
}
