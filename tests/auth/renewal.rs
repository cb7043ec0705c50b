use time::Duration;

use crate::common::TestProvider;
use crate::common::browser::Visit;
use crate::common::checks;

async fn live_sessions(op: &TestProvider) -> i64 {
    let sql = "SELECT count(*) FROM sessions WHERE ended_at IS NULL";
    sqlx::query_scalar(sql).fetch_one(op.db()).await.unwrap()
}

/// §4.2: a renewal gives another value of the session cookie and a new access cookie; `sid` and `auth_time` stay.
#[tokio::test]
async fn a_renewal_replaces_both_cookies_and_keeps_the_session() {
    let op = TestProvider::start().await;
    let ada = op.signed_in("ada").await;
    let (refresh, access) = (
        ada.cookie("refresh").unwrap(),
        checks::peek(&ada.cookie("access").unwrap()),
    );
    op.advance(Duration::minutes(14));
    let answer = ada.renew().await.is(200).json();
    assert_eq!(answer["expires_in"], 900);
    assert_eq!(answer["user"]["username"], "ada");
    assert_ne!(ada.cookie("refresh").unwrap(), refresh);
    let renewed = checks::peek(&ada.cookie("access").unwrap());
    assert_eq!(
        (&renewed["sid"], &renewed["auth_time"]),
        (&access["sid"], &access["auth_time"])
    );
    assert!(renewed["exp"].as_i64() > access["exp"].as_i64() && renewed["jti"] != access["jti"]);
}

/// §4.1: a session is valid while its refresh cookie is, even when the access cookie has run out.
#[tokio::test]
async fn nobody_is_sent_to_log_in_because_fifteen_minutes_went_by() {
    let op = TestProvider::start().await;
    let app = op.client().await;
    let ada = op.signed_in("ada").await;
    op.advance(Duration::days(3));
    assert_eq!(ada.cookie("access"), None, "the browser has dropped it");
    assert!(ada.is_signed_in().await);
    ada.authorize(&app).prompt("none").code().await;
    ada.renew().await.is(200);
    assert!(ada.cookie("access").is_some());
}

/// §4.4: an answer that was lost is given again within the leeway, as often as it is asked for.
#[tokio::test]
async fn a_lost_answer_is_given_again_within_the_leeway() {
    let op = TestProvider::start().await;
    let ada = op.signed_in("ada").await;
    let lost = ada.copy();
    lost.renew().await.is(200);
    op.advance_secs(9);
    ada.copy().renew().await.is(200);
    ada.renew().await.is(200);
    assert_eq!(ada.cookie("refresh"), lost.cookie("refresh"));
    assert!(ada.is_signed_in().await);
}

/// §4.4: after the leeway two parties hold the session and nobody can tell which is its owner: it ends for both. The slower
/// one's refusal clears no cookie, because it may meet the faster one's in the same jar.
#[tokio::test]
async fn a_copy_that_comes_too_late_ends_the_session_for_both() {
    let op = TestProvider::start().await;
    let ada = op.signed_in("ada").await;
    let thief = ada.copy();
    ada.renew().await.is(200);
    op.advance_secs(11);
    let refused = thief.renew().await;
    refused.refused_with(401, "unauthenticated");
    assert!(refused.header("set-cookie").is_none(), "{:?}", refused.headers);
    assert_eq!(live_sessions(&op).await, 0);
    assert!(!ada.is_signed_in().await);
    let again = ada.renew().await;
    again.is(401);
    assert!(again.header("set-cookie").is_none());
}

/// §4.4: once the successor is in use the old value is a copy, leeway or not.
#[tokio::test]
async fn a_spent_value_is_refused_once_its_successor_was_used() {
    let op = TestProvider::start().await;
    let ada = op.signed_in("ada").await;
    let thief = ada.copy();
    ada.renew().await.is(200);
    ada.renew().await.is(200);
    thief.renew().await.is(401);
    assert_eq!(live_sessions(&op).await, 0);
}

/// `refresh_reuse_leeway_secs = 0` is strict.
#[tokio::test]
async fn without_a_leeway_every_second_use_ends_the_session() {
    let op = TestProvider::with(|config| config.oauth.refresh_reuse_leeway_secs = 0).await;
    let ada = op.signed_in("ada").await;
    let twin = ada.copy();
    ada.renew().await.is(200);
    twin.renew().await.is(401);
    assert!(!ada.is_signed_in().await);
}

/// §4.2: a spent value opens the session only as long as it could be renewed again.
#[tokio::test]
async fn a_spent_value_opens_the_session_within_the_leeway_only() {
    let op = TestProvider::start().await;
    let ada = op.signed_in("ada").await;
    let tab = ada.copy();
    ada.renew().await.is(200);
    assert!(tab.is_signed_in().await, "a request that was under way meanwhile");
    op.advance_secs(11);
    assert!(!tab.is_signed_in().await);
    assert!(ada.is_signed_in().await, "looking is no reuse");
}

/// §4.4, SE-10: the life of a session slides by `refresh_token_ttl_secs`; `session_absolute_ttl_secs` caps it.
#[tokio::test]
async fn a_session_slides_until_it_is_idle_or_reaches_its_cap() {
    let op = TestProvider::start().await;
    let ada = op.signed_in("ada").await;
    for _ in 0..3 {
        op.advance(Duration::days(29));
        ada.renew().await.is(200);
    }
    let stale = ada.copy();
    let cookie = format!("__Host-auth_refresh={}", ada.cookie("refresh").unwrap());
    op.advance(Duration::days(30));
    assert_eq!(stale.cookie("refresh"), None, "the browser drops it in time");
    let request = op
        .request(reqwest::Method::GET, "/auth/me")
        .header("cookie", cookie);
    crate::common::Answer::of(request).await.is(401);

    let op = TestProvider::with(|config| config.jwt.session_absolute_ttl_secs = 40 * 86_400).await;
    let ada = op.signed_in("ada").await;
    op.advance(Duration::days(29));
    ada.renew().await.is(200);
    op.advance(Duration::days(10));
    assert!(ada.is_signed_in().await);
    op.advance(Duration::days(1));
    assert!(!ada.is_signed_in().await);
}

/// §4.2: issuing a code sets the session cookie again for longer, but never a value that a renewal in another tab has replaced
/// meanwhile: it would take the successor's place, and end the session as a stolen one when the leeway is over.
#[tokio::test]
async fn an_authorization_that_meets_a_renewal_does_not_bring_the_old_cookie_back() {
    let op = TestProvider::start().await;
    let app = op.client().await;
    let ada = op.signed_in("ada").await;
    let request = ada.authorize(&app).prompt("none");
    let sets_the_session = |visit: &Visit| {
        let answers = visit.hops.iter().map(|(_, answer)| answer);
        answers
            .flat_map(|answer| answer.headers.get_all("set-cookie"))
            .any(|cookie| cookie.to_str().unwrap().contains("_refresh="))
    };

    let mut renewal = op.db().begin().await.unwrap();
    sqlx::query("SELECT 1 FROM sessions FOR NO KEY UPDATE")
        .execute(&mut *renewal)
        .await
        .unwrap();
    let renew = async {
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
        while sqlx::query_scalar::<_, i64>(waiting)
            .fetch_one(op.db())
            .await
            .unwrap()
            == 0
        {
            tokio::task::yield_now().await;
        }
        sqlx::query("UPDATE session_tokens SET consumed_at = issued_at")
            .execute(&mut *renewal)
            .await
            .unwrap();
        renewal.commit().await.unwrap();
    };
    let (visit, ()) = tokio::join!(request.visit(), renew);
    assert!(!sets_the_session(&visit));
    request.read(visit).await.code();

    sqlx::query("UPDATE session_tokens SET consumed_at = NULL")
        .execute(op.db())
        .await
        .unwrap();
    assert!(sets_the_session(&request.visit().await), "otherwise it is set");
}
