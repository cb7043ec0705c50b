//! What is cleaned up when, and what has to stay: time moves by the clock.

use reqwest::Method;
use riley_auth::clock::Clock;
use riley_auth::maintenance::clean_up;
use time::Duration;

use crate::common::TestProvider;

async fn rows(op: &TestProvider, table: &str) -> i64 {
    let sql = format!("SELECT count(*) FROM {table}");
    sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
        .fetch_one(op.db())
        .await
        .unwrap()
}

/// A whole round; the one that every server does at its start may still be under way.
async fn clean(op: &TestProvider) {
    while clean_up(op.state(), op.clock().now()).await.unwrap().shared {}
}

/// Leaves one waiting row of every kind behind.
async fn leave_everything_waiting(op: &TestProvider) {
    let asking = op.asking_client().await;
    op.browser().authorize(&asking).send().await.page("/login");
    op.browser().open("https://op.test/auth/simulated").await;
    op.browser()
        .authorize(&asking)
        .with("redirect_uri", "https://evil.test/")
        .send()
        .await
        .error_page();
    let browser = op.browser();
    let visit = browser.open("https://op.test/auth/simulated").await;
    browser.pass_upstream(visit, "bob").await;
    sqlx::raw_sql("INSERT INTO held_usernames VALUES ('carol', NULL, now() + interval '1 hour')")
        .execute(op.db())
        .await
        .unwrap();
    sqlx::raw_sql("INSERT INTO held_username_hashes VALUES (sha256('dave'), now() + interval '1 hour')")
        .execute(op.db())
        .await
        .unwrap();
}

const WAITING: [&str; 6] = [
    "authorization_requests",
    "upstream_flows",
    "error_reports",
    "pending_identities",
    "held_usernames",
    "held_username_hashes",
];

#[tokio::test]
async fn every_kind_of_waiting_row_goes_when_its_time_is_over_and_not_before() {
    let op = TestProvider::with(|config| {
        config.oauth.onboarding = toml::Value::String("prompt".to_owned()).try_into().unwrap();
    })
    .await;
    leave_everything_waiting(&op).await;
    clean(&op).await;
    for table in WAITING {
        assert!(rows(&op, table).await > 0, "{table} waits");
    }
    op.advance(Duration::days(8));
    clean(&op).await;
    for table in WAITING {
        assert_eq!(rows(&op, table).await, 0, "{table}");
    }
}

/// RFC 6749 §4.1.2: a used code is kept while what it gave can live, so that a late replay still ends it.
#[tokio::test]
async fn a_used_code_outlives_the_clean_up_with_its_family() {
    let op = TestProvider::start().await;
    let app = op.client().await;
    let browser = op.signed_in("alice").await;
    let granted = browser
        .authorize(&app)
        .scope("openid offline_access")
        .code()
        .await;
    let tokens = app.redeem(&granted).await.tokens();

    op.advance(Duration::days(29));
    clean(&op).await;
    let tokens = app.refresh(tokens.refresh()).await.tokens();
    op.advance(Duration::days(29));
    clean(&op).await;
    app.redeem(&granted).await.refused("invalid_grant");
    app.refresh(tokens.refresh()).await.refused("invalid_grant");
}

/// A spent token is recognized for as long as its family lives, the clean-up notwithstanding.
#[tokio::test]
async fn a_spent_refresh_token_is_recognized_after_the_clean_up() {
    let op = TestProvider::start().await;
    let app = op.client().await;
    let browser = op.signed_in("alice").await;
    let first = app.tokens_of(&browser, "alice", "openid offline_access").await;
    let second = app.refresh(first.refresh()).await.tokens();
    op.advance(Duration::days(20));
    clean(&op).await;
    app.refresh(first.refresh()).await.refused("invalid_grant");
    app.refresh(second.refresh()).await.refused("invalid_grant");
}

#[tokio::test]
async fn codes_grants_tokens_and_sessions_go_when_nothing_of_them_can_live() {
    let op = TestProvider::start().await;
    let app = op.client().await;
    let browser = op.signed_in("alice").await;
    app.tokens_of(&browser, "alice", "openid offline_access").await;
    browser.authorize(&app).code().await;
    op.advance(Duration::days(31));
    clean(&op).await;
    for table in [
        "authorization_codes",
        "grants",
        "refresh_tokens",
        "sessions",
        "session_tokens",
    ] {
        assert_eq!(rows(&op, table).await, 0, "{table}");
    }
    assert_eq!(rows(&op, "users").await, 1, "people stay");
}

/// Once the leeway is over, no stored value leads from an old token to the live one.
#[tokio::test]
async fn salts_are_erased_once_the_leeway_is_over() {
    let op = TestProvider::start().await;
    let app = op.client().await;
    let browser = op.signed_in("alice").await;
    let tokens = app.tokens_of(&browser, "alice", "openid offline_access").await;
    app.refresh(tokens.refresh()).await.tokens();
    clean(&op).await;
    assert_eq!(
        rows(&op, "refresh_tokens WHERE successor_salt IS NOT NULL").await,
        1
    );
    op.advance(Duration::seconds(301));
    clean(&op).await;
    assert_eq!(
        rows(&op, "refresh_tokens WHERE successor_salt IS NOT NULL").await,
        0
    );
}

/// More rows than a batch holds go in one call.
#[tokio::test]
async fn a_clean_up_goes_on_until_nothing_is_left() {
    let op = TestProvider::start().await;
    let fill = "INSERT INTO held_usernames SELECT 'name' || n, NULL, now() - interval '1 day'
                FROM generate_series(1, 2500) n";
    sqlx::raw_sql(fill).execute(op.db()).await.unwrap();
    clean(&op).await;
    assert_eq!(rows(&op, "held_usernames").await, 0);
}

/// A pool of one connection is enough: a batch needs no other.
#[tokio::test]
async fn a_clean_up_needs_one_connection() {
    let op = TestProvider::with(|config| {
        config.database.max_connections = 1;
        config.database.acquire_timeout_secs = 2;
    })
    .await;
    clean(&op).await;
}

/// A wall clock that is set back revives neither a code, nor a spent token, nor a session.
#[tokio::test]
async fn a_clock_that_is_set_back_revives_nothing() {
    let op = TestProvider::start().await;
    let app = op.client().await;
    let browser = op.signed_in("alice").await;
    let tokens = app.tokens_of(&browser, "alice", "openid offline_access").await;
    let granted = browser.authorize(&app).code().await;
    op.advance(Duration::seconds(901));
    app.redeem(&granted).await.refused("invalid_grant");
    app.userinfo(&tokens.access_token).await.is(401);
    op.clock().set_wall_clock(Duration::hours(-2));
    app.redeem(&granted).await.refused("invalid_grant");
    app.userinfo(&tokens.access_token).await.is(401);
    let fresh = app.refresh(tokens.refresh()).await.tokens();
    app.userinfo(&fresh.access_token).await.is(200);
    browser.authorize(&app).prompt("none").code().await;
}

/// RS-11: while `serve` runs and the wall clock is behind, time goes on at half its pace: leeways end.
#[tokio::test]
async fn a_clock_that_is_set_back_does_not_stand_still() {
    let op = TestProvider::start().await;
    let app = op.client().await;
    let browser = op.signed_in("alice").await;
    let tokens = app.tokens_of(&browser, "alice", "openid offline_access").await;
    let other = op.signed_in("bob").await;
    app.refresh(tokens.refresh()).await.tokens();
    let replaced = other.copy();
    other.call(Method::POST, "/auth/refresh", None).await.is(200);
    op.clock().set_wall_clock(-Duration::HOUR);
    let repeat = async || replaced.copy().call(Method::POST, "/auth/refresh", None).await;
    // A lost answer is repeated.
    repeat().await.is(200);
    app.refresh(tokens.refresh()).await.tokens();
    // Twice the leeway of ten seconds, and a little more.
    op.advance_secs(25);
    app.refresh(tokens.refresh()).await.refused("invalid_grant");
    repeat().await.is(401);
}

/// RS-11: nor does a restart after which it is an hour earlier, whatever its leeway was. What had merely run out is back for no
/// longer than the step, and nobody is locked out.
#[tokio::test]
async fn a_restart_with_the_clock_set_back_revives_nothing_that_was_spent() {
    let op = TestProvider::start().await;
    let earlier = Clock::held();
    op.advance(Duration::HOUR);
    let app = op.client().await;
    let browser = op.signed_in("alice").await;
    let spent_code = browser.authorize(&app).code().await;
    app.redeem(&spent_code).await.tokens();
    let unused_code = browser.authorize(&app).code().await;
    let scope = "openid offline_access";
    let spent = app.tokens_of(&browser, "alice", scope).await;
    app.refresh(spent.refresh()).await.tokens();
    let unspent = app.tokens_of(&browser, "alice", scope).await;
    let replaced = browser.copy();
    browser.call(Method::POST, "/auth/refresh", None).await.is(200);
    let signed_out = op.signed_in("bob").await;
    let ended = signed_out.copy();
    signed_out.call(Method::POST, "/auth/logout", None).await.is(200);
    // Every leeway is over, and the code has run out.
    op.advance_secs(301);
    app.redeem(&unused_code).await.refused("invalid_grant");
    assert!(!replaced.is_signed_in().await);

    let back = op.at_another_time(&earlier).await;
    let app = app.at(&back);
    app.redeem(&spent_code).await.refused("invalid_grant");
    app.refresh(spent.refresh()).await.refused("invalid_grant");
    assert!(!replaced.at(&back).is_signed_in().await);
    assert!(!ended.at(&back).is_signed_in().await);
    assert!(browser.at(&back).is_signed_in().await);
    let tokens = app.refresh(unspent.refresh()).await.tokens();
    app.refresh(tokens.refresh()).await.tokens();
    earlier.advance(Duration::HOUR + Duration::seconds(301));
    app.redeem(&unused_code).await.refused("invalid_grant");
}

/// RS-7: a long backlog keeps no server from stopping.
#[tokio::test]
async fn a_server_that_stops_begins_no_further_batch() {
    let op = TestProvider::start().await;
    op.browser().open("https://op.test/auth/simulated").await;
    let stopping = op.second_instance().await;
    stopping.state().shutdown.cancel();
    op.advance(Duration::days(8));
    let now = op.clock().now();
    assert_eq!(clean_up(stopping.state(), now).await.unwrap().rows, 0);
    assert!(rows(&op, "upstream_flows").await > 0);
    clean(&op).await;
    assert_eq!(rows(&op, "upstream_flows").await, 0, "otherwise it goes");
}
