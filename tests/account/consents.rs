use reqwest::Method;
use serde_json::{Value, json};

use super::meanwhile::waits;
use super::{count, events_of};
use crate::common::races::{ROUNDS, at_once};
use crate::common::{Answer, Browser, Outcome, TestClient, TestProvider, checks};

async fn listed(browser: &Browser) -> Vec<Value> {
    let answer = browser.call(Method::GET, "/auth/me/consents", None).await;
    answer.is_not_stored();
    answer.is(200).json()["consents"].as_array().unwrap().clone()
}

async fn withdraw(browser: &Browser, client_id: &str) -> Answer {
    let path = format!("/auth/me/consents/{client_id}");
    browser.call(Method::DELETE, &path, None).await
}

/// An app that asks, and wants to be told of logouts.
async fn asking_app(op: &TestProvider) -> TestClient {
    op.client_with(|client| {
        client.auto_approve = false;
        client.backchannel_logout_uri = Some("https://app.test/logout".to_owned());
    })
    .await
}

#[tokio::test]
async fn a_person_sees_the_apps_they_let_in() {
    let op = TestProvider::start().await;
    let (app, silent) = (op.asking_client().await, op.client().await);
    let ada = op.browser();
    app.tokens_of(&ada, "ada", "openid email").await;
    silent.tokens_of(&ada, "ada", "openid").await;
    let consents = listed(&ada).await;
    assert_eq!(
        consents.len(),
        1,
        "who was never asked let nobody in: {consents:?}"
    );
    assert_eq!(
        (
            &consents[0]["client_id"],
            &consents[0]["name"],
            &consents[0]["scopes"]
        ),
        (
            &json!(app.client_id()),
            &json!("The App"),
            &json!(["openid", "email"])
        )
    );
    assert!(consents[0]["granted_at"].is_string() && consents[0]["last_signed_in_at"].is_string());
    assert_eq!(listed(&op.signed_in("alan").await).await, Vec::<Value>::new());
}

/// CO-8, WH-13: everything that the app has of this person ends at once, offline access and codes under way too; the app
/// is told, the session goes on, and the person is asked again.
#[tokio::test]
async fn withdrawing_a_consent_ends_what_the_app_has_at_once() {
    let op = TestProvider::start().await;
    let app = asking_app(&op).await;
    let (ada, alan) = (op.browser(), op.browser());
    let tokens = app.tokens_of(&ada, "ada", "openid offline_access").await;
    let others = app.tokens_of(&alan, "alan", "openid offline_access").await;
    let under_way = ada.authorize(&app).code().await;
    withdraw(&ada, app.client_id()).await.is(204);

    assert!(!app.is_active(&tokens.access_token).await);
    app.userinfo(&tokens.access_token).await.is(401);
    app.refresh(tokens.refresh()).await.refused("invalid_grant");
    app.redeem(&under_way).await.refused("invalid_grant");
    assert!(
        app.is_active(&others.access_token).await,
        "others keep what they granted"
    );
    assert!(ada.is_signed_in().await);
    assert_eq!(listed(&ada).await, Vec::<Value>::new());
    ada.authorize(&app).send().await.page("/consent");

    let revoked = events_of(&op, "consent.revoked").await;
    assert_eq!(revoked.len(), 1);
    assert_eq!(revoked[0]["client_id"], app.client_id());
    let sid = checks::peek(&ada.cookie("access").unwrap())["sid"].clone();
    let notices: Vec<(String, uuid::Uuid)> =
        sqlx::query_as("SELECT client_id, session_id FROM deliveries WHERE kind = 'backchannel_logout'")
            .fetch_all(op.db())
            .await
            .unwrap();
    assert_eq!(notices.len(), 1);
    assert_eq!(
        (&notices[0].0, json!(notices[0].1)),
        (&app.client_id().to_owned(), sid)
    );
    let reasons = "SELECT count(*) FROM grants WHERE revoked_reason = 'consent'";
    assert_eq!(count(&op, reasons).await, 1);
}

/// A consent that is somebody else's, of a client that never was, or withdrawn already: all the same, and nothing happens.
#[tokio::test]
async fn consents_of_others_do_not_exist() {
    let op = TestProvider::start().await;
    let app = asking_app(&op).await;
    let (ada, alan) = (op.browser(), op.signed_in("alan").await);
    let tokens = app.tokens_of(&ada, "ada", "openid").await;
    let others = withdraw(&alan, app.client_id()).await;
    others.refused_with(404, "not_found");
    for id in ["nobody", "%00", "a%2Fb", "%F0%9F%92%A9"] {
        let answer = withdraw(&alan, id).await;
        assert_eq!(
            (answer.status, &answer.text),
            (others.status, &others.text),
            "{id}"
        );
    }
    assert!(app.is_active(&tokens.access_token).await);
    withdraw(&ada, app.client_id()).await.is(204);
    withdraw(&ada, app.client_id())
        .await
        .refused_with(404, "not_found");
}

/// A code that is being redeemed while its consent is withdrawn gives nothing that lives.
#[tokio::test(flavor = "multi_thread")]
async fn no_exchange_outlives_the_consent_that_is_withdrawn_meanwhile() {
    let op = TestProvider::start().await;
    let app = op.asking_client().await;
    let ada = std::sync::Arc::new(op.signed_in("ada").await);
    for _ in 0..ROUNDS {
        let granted = ada.authorize(&app).code_as("ada").await;
        let (redeemer, browser, client_id) = (app.clone(), ada.clone(), app.client_id().to_owned());
        let (answer, withdrawn) = at_once(async move { redeemer.redeem(&granted).await }, async move {
            withdraw(&browser, &client_id).await
        })
        .await;
        withdrawn.is(204);
        if answer.status.is_success() {
            let tokens = answer.tokens();
            assert!(!app.is_active(&tokens.access_token).await);
            app.refresh(tokens.refresh()).await.refused("invalid_grant");
        } else {
            answer.refused("invalid_grant");
        }
    }
}

/// CO-8, behind a barrier: a refresh that meets the withdrawal comes to nothing: refused, or revoked with what it made.
#[tokio::test(flavor = "multi_thread")]
async fn no_refresh_outlives_the_consent_that_is_withdrawn_meanwhile() {
    let op = TestProvider::start().await;
    let app = op.asking_client().await;
    let ada = std::sync::Arc::new(op.signed_in("ada").await);
    for _ in 0..ROUNDS {
        let tokens = app.tokens_of(&ada, "ada", "openid offline_access").await;
        let (refreshing, browser, client_id) = (app.clone(), ada.clone(), app.client_id().to_owned());
        let refresh_token = tokens.refresh().to_owned();
        let (refreshed, withdrawn) = at_once(
            async move { refreshing.refresh(&refresh_token).await },
            async move { withdraw(&browser, &client_id).await },
        )
        .await;
        withdrawn.is(204);
        assert!(!app.is_active(&tokens.access_token).await);
        if refreshed.status.is_success() {
            let tokens = refreshed.tokens();
            assert!(!app.is_active(&tokens.access_token).await);
            app.refresh(tokens.refresh()).await.refused("invalid_grant");
        } else {
            refreshed.refused("invalid_grant");
        }
    }
}

/// CO-8, behind a barrier: a request that is resumed while the consent is withdrawn gives a code that is worth nothing, asks
/// for the consent, or comes to nothing. No app has anything that nobody consents to.
#[tokio::test(flavor = "multi_thread")]
async fn no_code_outlives_the_consent_that_is_withdrawn_meanwhile() {
    let op = TestProvider::start().await;
    let app = op.asking_client().await;
    let ada = std::sync::Arc::new(op.signed_in("ada").await);
    for _ in 0..ROUNDS {
        app.tokens_of(&ada, "ada", "openid").await;
        let (asking, browser, client_id) = (app.clone(), ada.clone(), app.client_id().to_owned());
        let resuming = ada.clone();
        let (outcome, withdrawn) = at_once(
            // By a form: stored, then resumed.
            async move { resuming.authorize(&asking).post().send().await },
            async move { withdraw(&browser, &client_id).await },
        )
        .await;
        withdrawn.is(204);
        match outcome {
            Outcome::Code(granted) => {
                app.redeem(&granted).await.refused("invalid_grant");
            }
            Outcome::Page(page) => assert_eq!(page.path(), "/consent"),
            // Withdrawn between the question whether there is one and the code: the app begins again.
            Outcome::Error(refused) => assert_eq!(refused.error, "consent_required"),
            other @ Outcome::ErrorPage { .. } => panic!("{other:?}"),
        }
        assert_eq!(listed(&ada).await, Vec::<Value>::new());
        let alive = "SELECT count(*) FROM grants WHERE revoked_at IS NULL";
        assert_eq!(count(&op, alive).await, 0);
    }
}

/// CO-8: a code is issued behind whoever withdraws the consent in the same session, who waits for nothing, and comes to nothing.
/// The app hears that the consent is gone, not the session.
#[tokio::test(flavor = "multi_thread")]
async fn a_code_waits_for_the_withdrawal_of_its_consent_and_says_what_is_gone() {
    let op = TestProvider::start().await;
    let app = op.asking_client().await;
    let ada = op.signed_in("ada").await;
    for by_form in [false, true] {
        app.tokens_of(&ada, "ada", "openid").await;
        let mut withdrawing = op.db().begin().await.unwrap();
        sqlx::query("SELECT session_id FROM sessions FOR NO KEY UPDATE")
            .execute(&mut *withdrawing)
            .await
            .unwrap();
        let request = ada.authorize(&app);
        let request = if by_form { request.post() } else { request };
        let withdrawn = async {
            while !waits(&op).await {
                tokio::task::yield_now().await;
            }
            sqlx::query("SET LOCAL lock_timeout = '100ms'")
                .execute(&mut *withdrawing)
                .await
                .unwrap();
            sqlx::query("DELETE FROM consents")
                .execute(&mut *withdrawing)
                .await
                .expect("nobody has the consent who waits for the session");
            withdrawing.commit().await.unwrap();
        };
        let (outcome, ()) = tokio::join!(request.send(), withdrawn);
        match outcome {
            Outcome::Error(refused) => assert_eq!(refused.error, "consent_required"),
            other => panic!("{other:?}"),
        }
        assert!(ada.is_signed_in().await);
    }
}
