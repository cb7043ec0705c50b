use super::*;

/// RFC 6749 §4.1.2: a code is good for one use; a second one revokes what the first gave.
#[tokio::test]
async fn a_replayed_code_is_refused_and_its_tokens_die() {
    let (_op, app, ada) = start().await;
    let granted = ada.authorize(&app).code().await;
    let tokens = app.redeem(&granted).await.tokens();
    app.redeem(&granted).await.refused("invalid_grant");
    app.refresh(tokens.refresh()).await.refused("invalid_grant");
    assert_eq!(app.userinfo(&tokens.access_token).await.status, 401);
    assert!(!app.is_active(&tokens.access_token).await);
}

/// A replay after the code has expired, by another instance, still revokes what it gave.
#[tokio::test]
async fn a_late_replay_at_another_instance_revokes_too() {
    let (op, app, ada) = start().await;
    let granted = ada.authorize(&app).code().await;
    let tokens = app.redeem(&granted).await.tokens();
    op.advance_secs(600);
    let second = op.second_instance().await;
    app.at(&second).redeem(&granted).await.refused("invalid_grant");
    assert_eq!(app.userinfo(&tokens.access_token).await.status, 401);
}

/// RFC 6749 §10.5: a leaked code is no weapon: what others do with it changes nothing.
#[tokio::test]
async fn a_replay_by_another_client_revokes_nothing() {
    let (op, app, ada) = start().await;
    let other = op.client().await;
    let granted = ada.authorize(&app).code().await;
    other.redeem(&granted).await.refused("invalid_grant");
    let tokens = app.redeem(&granted).await.tokens();
    other.redeem(&granted).await.refused("invalid_grant");
    op.post("/oauth/token", &code_form(&granted))
        .await
        .is_client_error();
    assert_eq!(app.userinfo(&tokens.access_token).await.status, 200);
}

/// A replay that would never have been valid (wrong redirect_uri) does not revoke either.
#[tokio::test]
async fn a_replay_with_another_redirect_uri_revokes_nothing() {
    let (_op, app, ada) = start().await;
    let granted = ada.authorize(&app).code().await;
    let tokens = app.redeem(&granted).await.tokens();
    let wrong = Granted {
        redirect_uri: format!("{CALLBACK}/"),
        ..granted
    };
    app.redeem(&wrong).await.refused("invalid_grant");
    assert_eq!(app.userinfo(&tokens.access_token).await.status, 200);
}

/// RFC 6749 §4.1.3: the redirect URI of the request, byte for byte.
#[tokio::test]
async fn a_code_is_not_redeemed_with_another_redirect_uri_or_none() {
    let (_op, app, ada) = start().await;
    let granted = ada.authorize(&app).code().await;
    for redirect_uri in [
        format!("{CALLBACK}/"),
        format!("{CALLBACK}?x=1"),
        "https://APP.test/callback".into(),
    ] {
        app.redeem(&Granted {
            redirect_uri,
            ..granted.clone()
        })
        .await
        .refused("invalid_grant");
    }
    let form = [
        ("grant_type", "authorization_code"),
        ("code", granted.code.as_str()),
    ];
    app.post("/oauth/token", &form).await.is_client_error();
}

#[tokio::test]
async fn a_code_expires() {
    let (op, app, ada) = start().await;
    let granted = ada.authorize(&app).code().await;
    op.advance_secs(301);
    app.redeem(&granted).await.refused("invalid_grant");
}

/// Security rule TK-9.
#[tokio::test]
async fn of_twenty_parallel_exchanges_of_one_code_at_most_one_succeeds() {
    let (op, app, ada) = start().await;
    let second = op.second_instance().await;
    let apps = [app.clone(), app.at(&second)];
    let granted = ada.authorize(&app).code().await;
    let calls = (0..20).map(|i| {
        let (app, granted) = (apps[i % 2].clone(), granted.clone());
        tokio::spawn(async move { app.redeem(&granted).await })
    });
    let mut won = 0;
    for call in calls.collect::<Vec<_>>() {
        let answer = call.await.unwrap();
        if answer.status == 200 {
            won += 1;
        } else {
            answer.refused("invalid_grant");
        }
    }
    assert!(won <= 1, "{won} exchanges succeeded");
    assert_eq!(count(&op, "select count(*) from grants").await, 1);
}

/// Security rule TK-10.
#[tokio::test]
async fn a_code_of_a_person_who_is_gone_is_refused() {
    let (op, app, ada) = start().await;
    let granted = ada.authorize(&app).code().await;
    sqlx::query("update users set disabled_at = now()")
        .execute(op.db())
        .await
        .unwrap();
    app.redeem(&granted).await.refused("invalid_grant");
}
