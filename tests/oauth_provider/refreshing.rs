use super::*;

/// RFC 9700 §4.14.2: a refresh token is replaced at every use.
#[tokio::test]
async fn a_refresh_token_rotates() {
    let (op, app, ada) = start().await;
    let first = tokens(&app, &ada, "openid").await;
    let second = app.refresh(first.refresh()).await.tokens();
    let third = app.refresh(second.refresh()).await.tokens();
    assert_ne!(first.refresh(), second.refresh());
    assert_ne!(second.refresh(), third.refresh());
    assert_eq!(count(&op, LIVE_REFRESH_TOKENS).await, 1);
}

/// A lost response: the same token again within the leeway gives the same successor.
#[tokio::test]
async fn a_lost_response_can_be_asked_for_again_within_the_leeway() {
    let (op, app, ada) = start().await;
    let first = tokens(&app, &ada, "openid").await;
    let lost = app.refresh(first.refresh()).await.tokens();
    op.advance_secs(9);
    let again = app.refresh(first.refresh()).await.tokens();
    assert_eq!(lost.refresh(), again.refresh());
    app.refresh(again.refresh()).await.tokens();
}

/// Two generations back is always reuse, however quick.
#[tokio::test]
async fn a_token_whose_successor_was_used_revokes_the_family() {
    let (_op, app, ada) = start().await;
    let first = tokens(&app, &ada, "openid").await;
    let second = app.refresh(first.refresh()).await.tokens();
    let third = app.refresh(second.refresh()).await.tokens();
    app.refresh(first.refresh()).await.refused("invalid_grant");
    app.refresh(third.refresh()).await.refused("invalid_grant");
}

/// After the leeway the family ends with its access tokens, for every instance.
#[tokio::test]
async fn reuse_after_the_leeway_revokes_the_family_for_good() {
    let (op, app, ada) = start().await;
    let first = tokens(&app, &ada, "openid").await;
    let second = app.refresh(first.refresh()).await.tokens();
    op.advance_secs(11);
    app.refresh(first.refresh()).await.refused("invalid_grant");
    assert_eq!(
        count(&op, "select count(*) from grants where revoked_at is not null").await,
        1
    );
    let other = app.at(&op.second_instance().await);
    other.refresh(second.refresh()).await.refused("invalid_grant");
    assert_eq!(other.userinfo(&second.access_token).await.status, 401);
    assert!(!other.is_active(&first.access_token).await);
}

/// RFC 6749 §6, §10.4: bound to its client; an attempt of another costs its owner nothing.
#[tokio::test]
async fn another_clients_refresh_token_is_refused_and_stays_good() {
    let (op, app, ada) = start().await;
    let other = op.client().await;
    let first = tokens(&app, &ada, "openid").await;
    other.refresh(first.refresh()).await.refused("invalid_grant");
    let second = app.refresh(first.refresh()).await.tokens();
    op.advance_secs(60);
    other.refresh(first.refresh()).await.refused("invalid_grant");
    app.refresh(second.refresh()).await.tokens();
}

/// RFC 6749 §6: a narrower scope narrows the access token, not the refresh token; it is never widened.
#[tokio::test]
async fn scope_narrows_the_access_token_alone_and_never_widens() {
    let (_op, app, ada) = start().await;
    let first = tokens(&app, &ada, "openid email").await;
    app.refresh_with_scope(first.refresh(), "openid email phone")
        .await
        .refused("invalid_scope");
    let narrow = app.refresh_with_scope(first.refresh(), "openid").await.tokens();
    assert_eq!(narrow.scope, "openid");
    let userinfo = app.userinfo(&narrow.access_token).await;
    assert_eq!(userinfo.is(200).json().get("email"), None);
    let wide = app.refresh(narrow.refresh()).await.tokens();
    assert!(
        app.userinfo(&wide.access_token)
            .await
            .json()
            .get("email")
            .is_some()
    );
}

/// OpenID Connect Core §12.2.
#[tokio::test]
async fn a_refreshed_id_token_keeps_subject_session_and_auth_time() {
    let (op, app, ada) = start().await;
    let first = tokens(&app, &ada, "openid").await;
    op.advance_secs(100);
    let second = app.refresh(first.refresh()).await.tokens();
    let (before, after) = (checks::peek(first.id()), checks::peek(second.id()));
    for claim in ["iss", "sub", "aud", "sid", "auth_time", "nonce"] {
        assert_eq!(before[claim], after[claim], "{claim}");
    }
    assert!(after["iat"].as_i64() > before["iat"].as_i64());
}

#[tokio::test]
async fn an_unused_refresh_token_expires_and_use_puts_that_off() {
    let op = TestProvider::with(|config| config.jwt.refresh_token_ttl_secs = 1000).await;
    let (app, ada) = (op.client().await, op.signed_in("ada").await);
    let first = tokens(&app, &ada, "openid").await;
    op.advance_secs(900);
    let second = app.refresh(first.refresh()).await.tokens();
    op.advance_secs(900);
    let third = app.refresh(second.refresh()).await.tokens();
    op.advance_secs(1001);
    app.refresh(third.refresh()).await.refused("invalid_grant");
}

#[tokio::test]
async fn a_client_that_is_not_registered_for_the_grant_gets_no_refresh_token() {
    let (op, _app, ada) = start().await;
    let app = op.client_with(|client| client.grant_types.truncate(1)).await;
    let first = tokens(&app, &ada, "openid").await;
    assert_eq!(first.refresh_token, None);
    app.refresh(&random_text(43)).await.refused("unauthorized_client");
}

/// Security rule RT-12: what a client lost is missing from the next token.
#[tokio::test]
async fn a_scope_that_the_client_lost_vanishes_from_refreshed_tokens() {
    let (op, app, ada) = start().await;
    let first = tokens(&app, &ada, "openid phone").await;
    let lost = "update oauth_clients set scope = 'offline_access'";
    sqlx::query(lost).execute(op.db()).await.unwrap();
    let second = app.refresh(first.refresh()).await.tokens();
    assert_eq!(second.scope, "openid");
}

/// A session that is ended ends its online refresh tokens, and spares those that are offline.
#[tokio::test]
async fn the_end_of_a_session_ends_online_grants_alone() {
    let (op, app, ada) = start().await;
    let online = tokens(&app, &ada, "openid").await;
    let offline = tokens(&app, &ada, "openid offline_access").await;
    sqlx::query("update sessions set ended_at = now()")
        .execute(op.db())
        .await
        .unwrap();
    app.refresh(online.refresh()).await.refused("invalid_grant");
    assert_eq!(app.userinfo(&online.access_token).await.status, 401);
    app.refresh(offline.refresh()).await.tokens();
}
