use std::collections::BTreeSet;
use std::time::Duration;

use reqwest::Method;
use riley_auth::accounts::{self, EndReason};
use riley_auth::clients::{NewClient, validate};
use riley_auth::jwt::{KeySet, KeySource, generate};
use riley_auth::protocol::algorithm::SigningAlgorithm;
use riley_auth::protocol::redirect_uri::validate_backchannel_logout_uri;
use secrecy::SecretString;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use crate::common::checks::{self, peek};
use crate::common::provider::ISSUER;
use crate::common::{TestClient, TestProvider, html};
use crate::receiver::{Received, Receiver};
use crate::{ended_reasons, listening_client, provider, sid};

/// The claims of a notice, its signature verified by the published keys.
async fn verified(op: &TestProvider, received: &Received) -> Map<String, Value> {
    let jwks = op.get("/.well-known/jwks.json").await.json();
    checks::verify(received.token(), &jwks)
}

/// Waits until nothing is under way, and tells how each delivery stands: status, attempts, the codes of the attempts.
async fn deliveries(op: &TestProvider, attempts: i64) -> Vec<(String, Vec<Option<String>>)> {
    for _ in 0..2000 {
        let made: i64 = sqlx::query_scalar("SELECT count(*) FROM delivery_attempts")
            .fetch_one(op.db())
            .await
            .unwrap();
        if made >= attempts {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let sql = "SELECT d.status, array_agg(a.error ORDER BY a.attempt) FROM deliveries d \
               JOIN delivery_attempts a USING (delivery_id) GROUP BY d.delivery_id ORDER BY d.created_at";
    sqlx::query_as(sql).fetch_all(op.db()).await.unwrap()
}

async fn log_out(browser: &crate::common::Browser) {
    browser.call(Method::POST, "/auth/logout", None).await.is(200);
}

/// Back-Channel Logout §2.1: what is advertised is implemented.
#[tokio::test]
async fn discovery_promises_logout_with_sid() {
    let op = TestProvider::start().await;
    let metadata = op.get("/.well-known/openid-configuration").await.json();
    assert_eq!(metadata["backchannel_logout_supported"], true);
    assert_eq!(metadata["backchannel_logout_session_supported"], true);
    assert_eq!(metadata["end_session_endpoint"], format!("{ISSUER}/oauth/logout"));
    assert!(metadata.get("frontchannel_logout_supported").is_none());
}

/// Back-Channel Logout §2.2: an absolute https URI without a fragment.
#[test]
fn only_an_https_uri_can_be_told_of_a_logout() {
    assert!(validate_backchannel_logout_uri("https://app.test/logged-out", false).is_ok());
    for refused in [
        "http://app.test/logged-out",
        "https://app.test/logged-out#part",
        "https://user@app.test/logged-out",
        "javascript:alert(1)",
        "/logged-out",
    ] {
        assert!(
            validate_backchannel_logout_uri(refused, false).is_err(),
            "{refused}"
        );
    }
}

/// Back-Channel Logout §2.4, §2.5: the form, the header, every claim.
#[tokio::test]
async fn a_logout_token_says_who_where_and_when_and_nothing_else() {
    let (op, receiver) = (provider().await, Receiver::start().await);
    let app = listening_client(&op, &receiver).await;
    let ada = op.browser();
    let tokens = app.tokens_of(&ada, "ada", "openid").await;
    let id_token = peek(tokens.id());
    op.advance_secs(100);
    log_out(&ada).await;

    let received = receiver.wait_for(1).await.remove(0);
    assert_eq!(received.content_type, "application/x-www-form-urlencoded");
    let names: Vec<_> = received.form.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["logout_token"]);
    let header = jsonwebtoken::decode_header(received.token()).unwrap();
    assert_eq!(header.typ.as_deref(), Some("logout+jwt"));
    let claims = verified(&op, &received).await;
    let names: BTreeSet<_> = claims.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        ["aud", "events", "exp", "iat", "iss", "jti", "sid", "sub"].into()
    );
    assert_eq!(claims["iss"], ISSUER);
    assert_eq!(claims["aud"], app.client_id());
    assert_eq!(claims["sub"], id_token["sub"]);
    assert_eq!(claims["sid"], id_token["sid"]);
    assert_eq!(
        claims["events"],
        json!({ "http://schemas.openid.net/event/backchannel-logout": {} })
    );
    let (iat, exp) = (claims["iat"].as_i64().unwrap(), claims["exp"].as_i64().unwrap());
    assert!((iat - op.now()).abs() <= 30 && exp > iat && exp - iat <= 120);
    assert!(claims["jti"].as_str().unwrap().len() >= 16);
    assert_eq!(deliveries(&op, 1).await, [("delivered".to_owned(), vec![None])]);
}

/// Product rule: the apps of that session, all of them, and no others. `logout-all`: the apps of each session, by its `sid`.
#[tokio::test]
async fn the_apps_of_the_session_are_told_and_no_others() {
    let (op, receiver) = (provider().await, Receiver::start().await);
    let (first, second) = (
        listening_client(&op, &receiver).await,
        listening_client(&op, &receiver).await,
    );
    let third = listening_client(&op, &receiver).await;
    let deaf = op.client().await;
    let (here, there, alan) = (op.browser(), op.browser(), op.browser());
    for app in [&first, &second, &deaf] {
        app.tokens_of(&here, "ada", "openid").await;
        app.tokens_of(&here, "ada", "openid").await;
    }
    second.tokens_of(&there, "ada", "openid").await;
    third.tokens_of(&there, "ada", "openid").await;
    third.tokens_of(&alan, "alan", "openid").await;
    let (sid_here, sid_there) = (sid(&here), sid(&there));
    log_out(&here).await;
    let told = |received: Vec<Received>| -> BTreeSet<(String, String)> {
        received
            .iter()
            .map(|received| peek(received.token()))
            .map(|claims| {
                (
                    claims["aud"].as_str().unwrap().to_owned(),
                    claims["sid"].as_str().unwrap().to_owned(),
                )
            })
            .collect()
    };
    let pair = |app: &TestClient, sid: &str| (app.client_id().to_owned(), sid.to_owned());
    let mut expected = BTreeSet::from([pair(&first, &sid_here), pair(&second, &sid_here)]);
    assert_eq!(told(receiver.wait_for(2).await), expected);

    there.call(Method::POST, "/auth/logout-all", None).await.is(200);
    expected.extend([pair(&second, &sid_there), pair(&third, &sid_there)]);
    assert_eq!(told(receiver.wait_for(4).await), expected);
    assert_eq!(deliveries(&op, 4).await.len(), 4);
    assert_eq!(receiver.received().len(), 4);
}

/// Back-Channel Logout §2.4: signed as the app's ID tokens are.
#[tokio::test]
async fn a_logout_token_is_signed_with_the_apps_algorithm() {
    let (op, receiver) = (provider().await, Receiver::start().await);
    for algorithm in [SigningAlgorithm::Es256, SigningAlgorithm::Rs256] {
        let uri = receiver.uri();
        let app = op
            .client_with(|client| {
                client.backchannel_logout_uri = Some(uri);
                client.id_token_signed_response_alg = Some(algorithm);
            })
            .await;
        let ada = op.browser();
        app.tokens_of(&ada, "ada", "openid").await;
        log_out(&ada).await;
        let received = receiver.wait_for(receiver.received().len().max(1)).await;
        let count = if algorithm == SigningAlgorithm::Es256 {
            1
        } else {
            2
        };
        let received = if received.len() < count {
            receiver.wait_for(count).await
        } else {
            received
        };
        let header = jsonwebtoken::decode_header(received[count - 1].token()).unwrap();
        assert_eq!(format!("{:?}", header.alg), algorithm.as_str());
        verified(&op, &received[count - 1]).await;
    }
}

/// WH-12, WH-14: an answer that may change is asked for again, with a token made anew; three times and no more.
#[tokio::test]
async fn a_notice_that_fails_is_repeated_with_a_new_token_and_a_bounded_number_of_times() {
    let (op, receiver) = (provider().await, Receiver::start().await);
    let app = listening_client(&op, &receiver).await;
    receiver.answer(&[500, 302, 202]);
    let ada = op.browser();
    app.tokens_of(&ada, "ada", "openid").await;
    log_out(&ada).await;
    for attempt in 1..=3 {
        receiver.wait_for(attempt).await;
        deliveries(&op, i64::try_from(attempt).unwrap()).await;
        op.advance(time::Duration::hours(2));
    }
    let codes = [
        "refused_by_receiver",
        "redirect_not_followed",
        "refused_by_receiver",
    ];
    let codes: Vec<_> = codes.iter().map(|code| Some((*code).to_owned())).collect();
    assert_eq!(deliveries(&op, 3).await, [("failed".to_owned(), codes)]);
    let received = receiver.received();
    let claims: Vec<_> = received.iter().map(|received| peek(received.token())).collect();
    assert_eq!(claims.len(), 3);
    let identifiers: BTreeSet<_> = claims.iter().map(|claims| claims["jti"].to_string()).collect();
    assert_eq!(identifiers.len(), 3, "each attempt has a token of its own");
    assert!(claims[1]["iat"].as_i64().unwrap() - claims[0]["iat"].as_i64().unwrap() >= 7200);
}

/// WH-14, Back-Channel Logout §2.8: 400 is final; 204 is as good as 200.
#[tokio::test]
async fn bad_request_is_final_and_no_content_is_a_success() {
    let (op, receiver) = (provider().await, Receiver::start().await);
    let app = listening_client(&op, &receiver).await;
    for (status, expected, code) in [
        (400, "failed", Some("refused_by_receiver")),
        (204, "delivered", None),
    ] {
        receiver.answer(&[status]);
        let ada = op.browser();
        app.tokens_of(&ada, "ada", "openid").await;
        log_out(&ada).await;
        let attempts = if status == 400 { 1 } else { 2 };
        let last = deliveries(&op, attempts).await.pop().unwrap();
        assert_eq!(last, (expected.to_owned(), vec![code.map(str::to_owned)]));
        op.advance(time::Duration::hours(2));
    }
    assert_eq!(receiver.received().len(), 2);
}

/// WH-2, WH-6: a URI that leads into our own network is not asked, and what is kept of it names no address.
#[tokio::test]
async fn a_private_address_is_not_told() {
    let (op, receiver) = (TestProvider::start().await, Receiver::start().await);
    for uri in [
        receiver.uri(),
        receiver.uri().replace("http://", "https://"),
        "https://localhost/x".to_owned(),
    ] {
        let app = op
            .client_with(|client| client.backchannel_logout_uri = Some(uri))
            .await;
        let ada = op.browser();
        app.tokens_of(&ada, "ada", "openid").await;
        log_out(&ada).await;
    }
    for (_, codes) in deliveries(&op, 3).await {
        let code = codes[0].as_deref().unwrap();
        assert!(["url_not_allowed", "no_public_address"].contains(&code), "{code}");
    }
    assert!(receiver.received().is_empty());
}

/// WH-6: a registration is refused whose URI leads into our own network, by API and command line alike; a machine of a
/// developer, whose issuer is on loopback, has its apps there, too.
#[tokio::test]
async fn a_private_address_is_not_registered() {
    let op = TestProvider::start().await;
    let root = op.administrator("root").await;
    let registration = |uri: &str| json!({ "name": "App", "redirect_uris": ["https://app.test/callback"], "backchannel_logout_uri": uri });
    for uri in [
        "https://127.0.0.1/out",
        "https://[::1]/out",
        "https://[::ffff:10.0.0.1]/out",
        "https://2130706433/out",
        "https://169.254.169.254/out",
        "https://localhost/out",
        "https://app.test:22/out",
    ] {
        root.send(Method::POST, "/admin/clients", &registration(uri))
            .await
            .refused_with(400, "invalid_client");
    }
    let public = registration("https://app.test:8443/out");
    let created = root.send(Method::POST, "/admin/clients", &public).await;
    let created = created.is(201).json();
    let path = format!("/admin/clients/{}", created["client_id"].as_str().unwrap());
    let change = json!({ "backchannel_logout_uri": "https://10.0.0.1/out" });
    root.send(Method::PATCH, &path, &change)
        .await
        .refused_with(400, "invalid_client");
    let mut development = (*op.state().config).clone();
    development.jwt.issuer = "http://localhost:8081".to_owned();
    let new = NewClient {
        name: "App".to_owned(),
        redirect_uris: vec!["http://localhost:9000/callback".to_owned()],
        backchannel_logout_uri: Some("http://127.0.0.1:9000/out".to_owned()),
        ..NewClient::default()
    };
    assert!(validate(&new, &development).is_ok());
}

/// What we could not sign costs the app none of its attempts, and is sent as soon as we can.
#[tokio::test]
async fn keys_that_we_lack_cost_no_attempt() {
    let (op, receiver) = (provider().await, Receiver::start().await);
    let app = op
        .client_with(|client| {
            client.backchannel_logout_uri = Some(receiver.uri());
            client.id_token_signed_response_alg = Some(SigningAlgorithm::Rs256);
        })
        .await;
    let ada = op.browser();
    app.tokens_of(&ada, "ada", "openid").await;
    let es256 = generate::generate(SigningAlgorithm::Es256, None).unwrap();
    let source = |algorithm, pem: &SecretString| KeySource {
        algorithm,
        kid: None,
        private_key_pem: Some(pem.clone()),
        public_key_pem: None,
        signs_from: None,
        origin: "a test".to_owned(),
    };
    let without_rsa = vec![source(SigningAlgorithm::Es256, &es256.private_key_pem)];
    op.state().keys.replace(KeySet::new(without_rsa).unwrap());
    log_out(&ada).await;
    let waits = async || -> (String, i32, OffsetDateTime) {
        sqlx::query_as("SELECT status, attempts, next_attempt_at FROM deliveries")
            .fetch_one(op.db())
            .await
            .unwrap()
    };
    // It is put off more often than there are attempts.
    let mut last = waits().await.2;
    for _ in 0..5 {
        let next = loop {
            let (status, attempts, next) = waits().await;
            assert_eq!((status.as_str(), attempts), ("pending", 0));
            if next != last {
                break next;
            }
            op.advance(time::Duration::seconds(30));
            op.wake_workers().await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        last = next;
    }
    let rs256 = generate::generate(SigningAlgorithm::Rs256, None).unwrap();
    let with_rsa = vec![
        source(SigningAlgorithm::Es256, &es256.private_key_pem),
        source(SigningAlgorithm::Rs256, &rs256.private_key_pem),
    ];
    op.state().keys.replace(KeySet::new(with_rsa).unwrap());
    while receiver.received().is_empty() {
        op.advance(time::Duration::seconds(30));
        op.wake_workers().await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    verified(&op, &receiver.wait_for(1).await[0]).await;
    assert_eq!(deliveries(&op, 1).await, [("delivered".to_owned(), vec![None])]);
}

/// §2.5, WH-10: an administrator sees which logouts an app was told of, and lets it be told again.
#[tokio::test]
async fn an_administrator_sees_notices_and_sends_failed_ones_again() {
    let (op, receiver) = (provider().await, Receiver::start().await);
    let app = listening_client(&op, &receiver).await;
    let root = op.administrator("root").await;
    receiver.answer(&[400, 400]);
    let mut told = Vec::new();
    for person in ["ada", "alan"] {
        let browser = op.browser();
        app.tokens_of(&browser, person, "openid").await;
        told.push((browser.user_id().await, sid(&browser)));
        log_out(&browser).await;
        deliveries(&op, i64::try_from(told.len()).unwrap()).await;
        op.advance(time::Duration::minutes(1));
    }
    let path = format!("/admin/clients/{}/deliveries", app.client_id());
    let listed = root.read(&format!("{path}?status=failed&limit=1")).await;
    let last = &listed["items"][0];
    assert_eq!(
        (&last["user_id"], &last["session_id"], &last["status"]),
        (&json!(told[1].0), &json!(told[1].1), &json!("failed"))
    );
    assert_eq!(
        (&last["attempts"][0]["status_code"], &last["attempts"][0]["error"]),
        (&json!(400), &json!("refused_by_receiver"))
    );
    let cursor = listed["next_cursor"].as_str().unwrap();
    let first = root
        .read(&format!("{path}?status=failed&limit=1&cursor={cursor}"))
        .await;
    assert_eq!(first["items"][0]["user_id"], json!(told[0].0));

    let again = format!("/admin/clients/{}/redeliver", app.client_id());
    let one = json!({ "delivery_id": first["items"][0]["delivery_id"] });
    let answer = root.send(Method::POST, &again, &one).await;
    assert_eq!(answer.is(202).json(), json!({ "deliveries": 1 }));
    let claims = verified(&op, &receiver.wait_for(3).await[2]).await;
    assert_eq!(claims["sid"], json!(told[0].1));
    let since = json!({ "failed_since": "2020-01-01T00:00:00Z" });
    let answer = root.send(Method::POST, &again, &since).await;
    assert_eq!(answer.is(202).json(), json!({ "deliveries": 1 }), "the other one");
    let claims = verified(&op, &receiver.wait_for(4).await[3]).await;
    assert_eq!(claims["sid"], json!(told[1].1));
    for (status, codes) in deliveries(&op, 4).await {
        assert_eq!(
            (status.as_str(), codes),
            ("delivered", vec![Some("refused_by_receiver".to_owned()), None])
        );
    }
    // Nobody else's, nothing unknown, no moment that the calendar does not have.
    let other = listening_client(&op, &receiver).await;
    let others = format!("/admin/clients/{}/redeliver", other.client_id());
    root.send(Method::POST, &others, &one)
        .await
        .refused_with(404, "not_found");
    root.send(Method::POST, "/admin/clients/nobody/redeliver", &since)
        .await
        .refused_with(404, "not_found");
    for body in [json!({}), json!({ "failed_since": "9999-12-31T23:59:59-01:00" })] {
        root.send(Method::POST, &again, &body)
            .await
            .refused_with(400, "invalid_request");
    }
    let from = "/admin/audit?from=9999-12-31T23:59:59-01:00";
    root.call(Method::GET, from, None)
        .await
        .refused_with(400, "invalid_request");
    let actions: Vec<String> =
        sqlx::query_scalar("SELECT action FROM audit_entries WHERE action = 'logout_redelivered'")
            .fetch_all(op.db())
            .await
            .unwrap();
    assert_eq!(actions.len(), 2);
}

/// WH-13: whatever ends a session, its apps are told in the same transaction, and the event names the reason.
#[tokio::test]
async fn every_reason_for_which_a_session_ends_tells_its_apps() {
    let (op, receiver) = (provider().await, Receiver::start().await);
    let app = listening_client(&op, &receiver).await;
    let reasons = [
        EndReason::Logout,
        EndReason::LogoutAll,
        EndReason::OtherPerson,
        EndReason::TokenReused,
        EndReason::Merged,
        EndReason::Unmerged,
        EndReason::Unlinked,
        EndReason::Revoked,
        EndReason::Administrator,
        EndReason::Disabled,
        EndReason::Deleted,
        EndReason::Upstream,
    ];
    for (index, reason) in reasons.into_iter().enumerate() {
        let ada = op.browser();
        app.tokens_of(&ada, "ada", "openid").await;
        let session_id = sid(&ada).parse().unwrap();
        let mut tx = op.db().begin().await.unwrap();
        assert!(
            accounts::end_session(&mut tx, session_id, reason, op.clock().now())
                .await
                .unwrap()
        );
        assert!(
            !accounts::end_session(&mut tx, session_id, reason, op.clock().now())
                .await
                .unwrap()
        );
        tx.commit().await.unwrap();
        let received = receiver.wait_for(index + 1).await;
        assert_eq!(peek(received[index].token())["sid"], session_id.to_string());
        let told: Vec<String> = sqlx::query_scalar(
            "SELECT data->>'reason' FROM events WHERE event_type = 'session.revoked' AND data->>'session_id' = $1",
        )
        .bind(session_id.to_string())
        .fetch_all(op.db())
        .await
        .unwrap();
        assert_eq!(told, [reason.as_str()]);
    }
    assert_eq!(receiver.received().len(), reasons.len());
}

/// A rolled-back transaction tells nobody.
#[tokio::test]
async fn a_logout_that_did_not_happen_is_not_told() {
    let (op, receiver) = (provider().await, Receiver::start().await);
    let app = listening_client(&op, &receiver).await;
    let ada = op.browser();
    app.tokens_of(&ada, "ada", "openid").await;
    let mut tx = op.db().begin().await.unwrap();
    let session_id = sid(&ada).parse().unwrap();
    accounts::end_session(&mut tx, session_id, EndReason::Logout, op.clock().now())
        .await
        .unwrap();
    tx.rollback().await.unwrap();
    let written: i64 = sqlx::query_scalar("SELECT count(*) FROM deliveries")
        .fetch_one(op.db())
        .await
        .unwrap();
    assert_eq!(written, 0);
    assert!(ada.is_signed_in().await);
}

/// Another person signs in in the same browser: the apps of the one who was there are told.
#[tokio::test]
async fn the_apps_of_whoever_was_there_before_are_told() {
    let (op, receiver) = (provider().await, Receiver::start().await);
    let app = listening_client(&op, &receiver).await;
    let browser = op.browser();
    app.tokens_of(&browser, "ada", "openid").await;
    let before = sid(&browser);
    op.upstream().sign_everybody_out();
    browser.sign_in_amid("simulated", "alan", &[]).await;
    let received = receiver.wait_for(1).await;
    assert_eq!(peek(received[0].token())["sid"], before);
    assert_eq!(ended_reasons(&op).await, [Some("other_person".to_owned()), None]);
}

/// An app that got its tokens days ago and asks for none since is told, though nothing of its grant could be used any more.
#[tokio::test]
async fn an_app_is_told_after_the_clean_up_of_everything_that_ran_out() {
    let (op, receiver) = (provider().await, Receiver::start().await);
    let uri = receiver.uri();
    let app = op
        .client_with(|client| {
            client.backchannel_logout_uri = Some(uri);
            client.grant_types.pop();
        })
        .await;
    let deaf = op
        .client_with(|client| {
            client.grant_types.pop();
        })
        .await;
    let ada = op.browser();
    for _ in 0..3 {
        app.tokens_of(&ada, "ada", "openid").await;
        deaf.tokens_of(&ada, "ada", "openid").await;
    }
    op.advance(time::Duration::days(3));
    riley_auth::maintenance::clean_up(op.state(), op.clock().now())
        .await
        .unwrap();
    let kept: i64 = sqlx::query_scalar("SELECT count(*) FROM grants")
        .fetch_one(op.db())
        .await
        .unwrap();
    assert_eq!(kept, 1, "the last one of the app that wants to hear");
    log_out(&ada).await;
    let received = receiver.wait_for(1).await;
    assert_eq!(peek(received[0].token())["aud"], app.client_id());
    riley_auth::maintenance::clean_up(op.state(), op.clock().now())
        .await
        .unwrap();
    let kept: i64 = sqlx::query_scalar("SELECT count(*) FROM grants")
        .fetch_one(op.db())
        .await
        .unwrap();
    assert_eq!(kept, 0);
}

/// An app that has a code in its hands may be redeeming it at this moment, so it is told.
#[tokio::test]
async fn an_app_with_an_unredeemed_code_is_told() {
    let (op, receiver) = (provider().await, Receiver::start().await);
    let app = listening_client(&op, &receiver).await;
    let ada = op.signed_in("ada").await;
    let granted = ada.authorize(&app).code().await;
    log_out(&ada).await;
    app.redeem(&granted).await.refused("invalid_grant");
    receiver.wait_for(1).await;

    let ada = op.signed_in("ada").await;
    ada.authorize(&app).code().await;
    op.advance_secs(301);
    log_out(&ada).await;
    assert_eq!(deliveries(&op, 1).await.len(), 1, "an expired code is nothing");
}

/// WH-12, JW-3: a logout token is accepted as nothing else.
#[tokio::test]
async fn a_logout_token_passes_for_no_other_token() {
    let (op, receiver) = (provider().await, Receiver::start().await);
    let app = listening_client(&op, &receiver).await;
    let ada = op.browser();
    app.tokens_of(&ada, "ada", "openid").await;
    log_out(&ada).await;
    let received = receiver.wait_for(1).await.remove(0);
    app.userinfo(received.token()).await.is(401);
    assert!(!app.is_active(received.token()).await);
    app.refresh(received.token()).await.refused("invalid_grant");
    let path = format!("/oauth/logout?id_token_hint={}", received.token());
    let page = op.get(&path).await;
    assert!(html::text_of(&page.is(400).text, "error-id").is_some());
}

/// The plan `oidcc-backchannel-rp-initiated-logout-certification-test-plan`: its discovery module.
#[tokio::test]
async fn oidcc_backchannel_logout_discovery_endpoint_verification() {
    let op = TestProvider::start().await;
    let metadata = op.get("/.well-known/openid-configuration").await.json();
    for member in [
        "backchannel_logout_supported",
        "backchannel_logout_session_supported",
    ] {
        assert_eq!(metadata[member], true, "{member}");
    }
    for (name, value) in metadata.as_object().unwrap() {
        assert!(
            !name.ends_with("_endpoint") || value.as_str().unwrap().starts_with("https://"),
            "{name}"
        );
    }
}

/// The same plan's other module: the notice and the redirect, both, and then nobody is signed in.
#[tokio::test]
async fn oidcc_backchannel_rp_initiated_logout() {
    const AFTER: &str = "https://app.test/post_logout_redirect";
    let (op, receiver) = (provider().await, Receiver::start().await);
    let uri = receiver.uri();
    let app = op
        .client_with(|client| {
            client.backchannel_logout_uri = Some(uri);
            client.post_logout_redirect_uris = vec![AFTER.to_owned()];
        })
        .await;
    let ada = op.browser();
    let tokens = app.tokens_of(&ada, "ada", "openid").await;
    let id_token = peek(tokens.id());
    let params = [
        ("id_token_hint", tokens.id()),
        ("post_logout_redirect_uri", AFTER),
        ("state", "s"),
    ];
    let url = url::Url::parse_with_params(&format!("{ISSUER}/oauth/logout"), params).unwrap();
    let visit = ada.follow("https://app.test/", url.as_str()).await;
    assert_eq!(visit.url.as_str(), format!("{AFTER}?state=s"));
    let received = receiver.wait_for(1).await.remove(0);
    assert_eq!(received.form.len(), 1);
    let claims = verified(&op, &received).await;
    assert_eq!(
        (&claims["sub"], &claims["sid"]),
        (&id_token["sub"], &id_token["sid"])
    );
    assert!(!claims.contains_key("nonce"));
    ada.authorize(&app)
        .prompt("none")
        .send()
        .await
        .refused("login_required");
}
