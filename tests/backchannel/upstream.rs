use reqwest::Method;
use riley_auth::dev::simulated_upstream::Misbehaviour;
use serde_json::{Value, json};

use crate::common::checks::peek;
use crate::common::{Answer, TestProvider};
use crate::receiver::Receiver;
use crate::{ended_reasons, listening_client, provider, sid};

const PATH: &str = "/auth/simulated/backchannel-logout";

async fn send(op: &TestProvider, token: &str) -> Answer {
    op.post(PATH, &[("logout_token", token)]).await
}

/// Signs these claims at the upstream and sends them.
async fn send_claims(op: &TestProvider, claims: &Value) -> Answer {
    send(op, &op.upstream().sign_logout_token(claims).unwrap()).await
}

/// Back-Channel Logout §2.7: one upstream session ends the sessions opened through it, and our apps hear of it.
#[tokio::test]
async fn the_end_of_an_upstream_session_ends_ours_and_our_apps_hear_of_it() {
    let (op, receiver) = (provider().await, Receiver::start().await);
    let app = listening_client(&op, &receiver).await;
    let (here, there, alan) = (op.browser(), op.browser(), op.signed_in("alan").await);
    let tokens = app.tokens_of(&here, "ada", "openid").await;
    let upstream_sid = op.upstream().sids_of("ada").remove(0);
    app.tokens_of(&there, "ada", "openid").await;
    let ours = sid(&here);

    let claims = op
        .upstream()
        .logout_token_claims(Some("ada"), Some(&upstream_sid));
    let answer = send_claims(&op, &claims).await;
    answer.is(200).is_not_stored();
    assert!(answer.text.is_empty());
    assert!(!here.is_signed_in().await);
    assert!(there.is_signed_in().await && alan.is_signed_in().await);
    app.refresh(tokens.refresh()).await.refused("invalid_grant");
    let received = receiver.wait_for(1).await;
    assert_eq!(peek(received[0].token())["sid"], ours);
    let reasons: Vec<_> = ended_reasons(&op).await.into_iter().flatten().collect();
    assert_eq!(reasons, ["upstream_logout"]);
}

/// §2.4: a token without `sid` speaks of every session of that person, and of nobody else's.
#[tokio::test]
async fn a_token_with_a_subject_alone_ends_all_sessions_of_that_identity() {
    let op = provider().await;
    let (here, there, alan) = (
        op.signed_in("ada").await,
        op.signed_in("ada").await,
        op.signed_in("alan").await,
    );
    let claims = op.upstream().logout_token_claims(Some("ada"), None);
    send_claims(&op, &claims).await.is(200);
    assert!(!here.is_signed_in().await && !there.is_signed_in().await);
    assert!(alan.is_signed_in().await);
}

/// A `sid` of somebody else's, or one that we have never seen, ends nothing; the answer is the same.
#[tokio::test]
async fn a_session_that_is_not_that_persons_is_left_alone() {
    let op = provider().await;
    let ada = op.signed_in("ada").await;
    let upstream_sid = op.upstream().sids_of("ada").remove(0);
    for (person, sid) in [
        (Some("alan"), upstream_sid.as_str()),
        (None, "unknown"),
        (Some("ada"), "unknown"),
    ] {
        let claims = op.upstream().logout_token_claims(person, Some(sid));
        send_claims(&op, &claims).await.is(200);
    }
    assert!(ada.is_signed_in().await);
    let by_sid_alone = op.upstream().logout_token_claims(None, Some(&upstream_sid));
    send_claims(&op, &by_sid_alone).await.is(200);
    assert!(!ada.is_signed_in().await);
}

/// §2.6: a token counts once, at whichever instance, as long as it would be accepted; what is remembered of it is forgotten.
#[tokio::test]
async fn a_token_counts_once() {
    let op = provider().await;
    let other = op.second_instance().await;
    let token = op
        .upstream()
        .sign_logout_token(&op.upstream().logout_token_claims(Some("ada"), None))
        .unwrap();
    send(&op, &token).await.is(200);
    let ada = op.signed_in("ada").await;
    for instance in [&op, &other] {
        send(instance, &token).await.refused_with(400, "invalid_request");
    }
    assert!(ada.is_signed_in().await);
    op.advance_secs(601);
    riley_auth::maintenance::clean_up(op.state(), op.clock().now())
        .await
        .unwrap();
    let kept: i64 = sqlx::query_scalar("SELECT count(*) FROM upstream_logout_tokens")
        .fetch_one(op.db())
        .await
        .unwrap();
    assert_eq!(kept, 0);
    send(&op, &token).await.refused_with(400, "invalid_request");
    assert!(ada.is_signed_in().await);
}

/// Of a hundred at once, one counts.
#[tokio::test]
async fn of_the_same_token_sent_at_once_one_counts() {
    let op = provider().await;
    for _ in 0..100 {
        let claims = op.upstream().logout_token_claims(Some("ada"), None);
        let token = op.upstream().sign_logout_token(&claims).unwrap();
        let barrier = tokio::sync::Barrier::new(2);
        let one = async {
            barrier.wait().await;
            send(&op, &token).await.status.as_u16()
        };
        let two = async {
            barrier.wait().await;
            send(&op, &token).await.status.as_u16()
        };
        let (one, two) = tokio::join!(one, two);
        assert_eq!(one.min(two), 200);
        assert_eq!(one.max(two), 400);
    }
}

/// §2.6, §2.8: what is wrong in any way is 400, uncached, and ends nothing.
#[tokio::test]
async fn a_token_that_is_wrong_in_any_way_ends_nothing() {
    let op = provider().await;
    let ada = op.signed_in("ada").await;
    let good = op.upstream().logout_token_claims(Some("ada"), None);
    let now = op.now();
    for (name, value) in [
        ("iss", json!("https://evil.example")),
        ("iss", Value::Null),
        ("aud", json!("another-client")),
        ("aud", Value::Null),
        ("exp", json!(now - 3600)),
        ("exp", json!((now + 60).to_string())),
        ("exp", Value::Null),
        ("iat", json!(now + 3600)),
        ("iat", json!(now - 700)),
        ("iat", Value::Null),
        ("jti", json!("")),
        ("jti", Value::Null),
        ("events", json!({})),
        (
            "events",
            json!({ "http://schemas.openid.net/event/backchannel-logout": true }),
        ),
        ("events", Value::Null),
        ("nonce", json!("n")),
        ("sub", Value::Null),
        ("sid", json!(5)),
    ] {
        let mut claims = good.clone();
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
        let answer = send_claims(&op, &claims).await;
        answer.refused_with(400, "invalid_request");
        answer.is_not_stored();
    }
    let token = op.upstream().sign_logout_token(&good).unwrap();
    let parts: Vec<&str> = token.split('.').collect();
    for forged in [
        format!("eyJhbGciOiJub25lIn0.{}.", parts[1]),
        format!("{}.{}.{}", parts[0], parts[1], "A".repeat(parts[2].len())),
        "nonsense".to_owned(),
        "a.b.c".to_owned(),
        "x".repeat(33 * 1024),
    ] {
        send(&op, &forged).await.refused_with(400, "invalid_request");
    }
    assert!(ada.is_signed_in().await);
}

/// §2.5: a form with one parameter, by POST, for a provider that there is.
#[tokio::test]
async fn what_is_no_logout_request_is_refused() {
    let op = provider().await;
    op.post("/auth/nobody/backchannel-logout", &[("logout_token", "x")])
        .await
        .refused_with(404, "not_found");
    op.post(PATH, &[]).await.refused_with(400, "invalid_request");
    op.post(PATH, &[("logout_token", "x"), ("logout_token", "y")])
        .await
        .refused_with(400, "invalid_request");
    let json = op
        .request(Method::POST, PATH)
        .json(&json!({ "logout_token": "x" }));
    Answer::of(json).await.refused_with(400, "invalid_request");
    op.post(PATH, &[("logout_token", &"x".repeat(70_000))])
        .await
        .is(413)
        .is_not_stored();
    assert_eq!(op.get(PATH).await.is(405).header("allow"), Some("POST"));
}

/// What cannot be judged is not refused for good: the upstream may try again.
#[tokio::test]
async fn without_the_providers_keys_the_answer_is_503() {
    let op = provider().await;
    let ada = op.signed_in("ada").await;
    let fresh = op.second_instance().await;
    op.upstream().misbehave(Misbehaviour::JwksFails);
    let claims = op.upstream().logout_token_claims(Some("ada"), None);
    let answer = send_claims(&fresh, &claims).await;
    assert!(answer.is(503).header("retry-after").is_some());
    op.upstream().behave();
    op.advance_secs(10);
    send_claims(&fresh, &claims).await.is(200);
    assert!(!ada.is_signed_in().await);
}

/// Strangers may send tokens with made-up key ids; the fetch that they cause is not the one that a sign-in needs after a change of
/// keys.
#[tokio::test]
async fn forged_tokens_do_not_keep_new_keys_from_a_sign_in() {
    let op = provider().await;
    op.signed_in("ada").await;
    // {"alg":"ES256","kid":"made-up"}
    let forged = "eyJhbGciOiJFUzI1NiIsImtpZCI6Im1hZGUtdXAifQ.e30.AAAA";
    for _ in 0..3 {
        send(&op, forged).await.refused_with(400, "invalid_request");
    }
    op.upstream().rotate_key().unwrap();
    op.upstream().sign_everybody_out();
    op.signed_in("alan").await;
}
