use super::*;

/// RFC 7009 §2.1: either token ends the whole grant; unknown tokens are answered 200.
#[tokio::test]
async fn revoking_either_token_ends_both() {
    let (_op, app, ada) = start().await;
    for pick in [
        |tokens: &Tokens| tokens.access_token.clone(),
        |tokens: &Tokens| tokens.refresh().to_owned(),
    ] {
        let tokens = tokens(&app, &ada, "openid").await;
        app.revoke(&pick(&tokens)).await.is(200);
        assert_eq!(app.userinfo(&tokens.access_token).await.status, 401);
        assert!(!app.is_active(&tokens.access_token).await);
        app.refresh(tokens.refresh()).await.refused("invalid_grant");
    }
    app.revoke("unknown").await.is(200);
}

#[tokio::test]
async fn nobody_revokes_anothers_token_and_a_wrong_hint_hides_none() {
    let (op, app, ada) = start().await;
    let other = op.client().await;
    let tokens = tokens(&app, &ada, "openid").await;
    other.revoke(&tokens.access_token).await.is(200);
    other.revoke(tokens.refresh()).await.is(200);
    assert!(app.is_active(&tokens.access_token).await);
    let hinted = [("token", tokens.refresh()), ("token_type_hint", "access_token")];
    app.post("/oauth/revoke", &hinted).await.is(200);
    assert!(!app.is_active(&tokens.access_token).await);
}

#[tokio::test]
async fn both_endpoints_need_a_client_and_a_token() {
    let (op, app, _ada) = start().await;
    for path in ["/oauth/revoke", "/oauth/introspect"] {
        assert!(matches!(
            op.post(path, &[("token", "x")]).await.status.as_u16(),
            400 | 401
        ));
        app.post(path, &[]).await.refused("invalid_request");
        assert_eq!(op.get(path).await.status, 405);
    }
}

/// RFC 7662 §2.2: any confidential client may ask about access tokens, about refresh tokens only its own.
#[tokio::test]
async fn introspection_tells_resource_servers_about_access_tokens_alone() {
    let (op, app, ada) = start().await;
    let other = op.client().await;
    let tokens = tokens(&app, &ada, "openid profile").await;
    let seen = other.introspect(&tokens.access_token).await;
    seen.is_not_stored();
    let seen = seen.is(200).json();
    assert_eq!(
        (&seen["active"], &seen["client_id"]),
        (&json!(true), &json!(app.client_id()))
    );
    for name in [
        "sub",
        "scope",
        "aud",
        "iss",
        "exp",
        "iat",
        "jti",
        "token_type",
        "sid",
        "auth_time",
        "username",
    ] {
        assert!(seen.get(name).is_some(), "{name}");
    }
    assert!(app.is_active(tokens.refresh()).await);
    assert_eq!(
        other.introspect(tokens.refresh()).await.is(200).text,
        r#"{"active":false}"#
    );
}

/// RFC 7662 §2.2, §4: nothing else is active, and nothing is said why.
#[tokio::test]
async fn what_is_no_token_of_a_client_is_inactive_and_nothing_more() {
    let (op, app, ada) = start().await;
    let tokens = tokens(&app, &ada, "openid").await;
    let now = op.clock().now();
    let cookie = |name: &str| ada.jar().find(name, now).map(|cookie| cookie.value.clone());
    let access_cookie = cookie("__Host-auth_access").expect("the access cookie is there");
    let session_cookie = cookie("__Host-auth_refresh").expect("the session cookie is there");
    let forged = format!("{}x", tokens.access_token);
    for token in [
        tokens.id(),
        &access_cookie,
        &session_cookie,
        &forged,
        "x",
        "a.b.c",
    ] {
        assert_eq!(app.introspect(token).await.is(200).text, r#"{"active":false}"#);
    }
    op.advance_secs(901);
    assert!(!app.is_active(&tokens.access_token).await);
}

#[tokio::test]
async fn a_person_who_is_disabled_has_no_active_token() {
    let (op, app, ada) = start().await;
    let tokens = tokens(&app, &ada, "openid offline_access").await;
    sqlx::query("update users set disabled_at = now()")
        .execute(op.db())
        .await
        .unwrap();
    assert!(!app.is_active(&tokens.access_token).await);
    assert!(!app.is_active(tokens.refresh()).await);
    app.refresh(tokens.refresh()).await.refused("invalid_grant");
}
