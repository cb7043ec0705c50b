use std::sync::Arc;

use reqwest::Method;
use tokio::sync::Barrier;

use crate::common::provider::{APP, PAGES};
use crate::common::{Browser, TestProvider, Tokens};
use crate::{AFTER, leaving_client, logout_url, signed_in_to};

/// The ways in which a person ends a session.
#[derive(Clone, Copy, Debug)]
enum Route {
    Hinted,
    Confirmed,
    Posted,
    FrontEnd,
    Everywhere,
}

impl Route {
    const ALL: [Self; 5] = [
        Self::Hinted,
        Self::Confirmed,
        Self::Posted,
        Self::FrontEnd,
        Self::Everywhere,
    ];

    async fn take(self, browser: &Browser, id_token: &str) {
        let hinted = logout_url(&[("id_token_hint", id_token), ("post_logout_redirect_uri", AFTER)]);
        match self {
            Self::Hinted => {
                let visit = browser.follow(&format!("{APP}/"), &hinted).await;
                assert_eq!(visit.url.as_str(), AFTER);
            }
            Self::Confirmed => {
                let page = browser.open(&logout_url(&[])).await;
                let visit = browser.submit(&page, &[]).await;
                assert_eq!(visit.url.as_str(), format!("{PAGES}/signed-out"));
            }
            Self::Posted => {
                let form = vec![("id_token_hint".to_owned(), id_token.to_owned())];
                let visit = browser
                    .post_form(&format!("{APP}/"), &logout_url(&[]), form)
                    .await;
                assert_eq!(visit.url.as_str(), format!("{PAGES}/signed-out"));
            }
            Self::FrontEnd => {
                browser.call(Method::POST, "/auth/logout", None).await.is(200);
            }
            Self::Everywhere => {
                browser.call(Method::POST, "/auth/logout-all", None).await.is(200);
            }
        }
    }
}

async fn count(op: &TestProvider, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(op.db()).await.unwrap()
}

/// Back-Channel Logout §2.7: refresh tokens without `offline_access` end with the session, those with it do not; by every
/// route, at once, at every instance.
#[tokio::test]
async fn online_tokens_end_with_the_session_by_every_route_and_offline_ones_do_not() {
    let op = TestProvider::start().await;
    let other = op.second_instance().await;
    let app = leaving_client(&op).await;
    let keeper = op.client().await;
    for route in Route::ALL {
        let (ada, online) = signed_in_to(&app, "ada").await;
        let offline = keeper.tokens_of(&ada, "ada", "openid offline_access").await;
        let stolen = ada.copy();
        route.take(&ada, online.id()).await;
        assert!(!stolen.is_signed_in().await, "{route:?}");
        for instance in [&op, &other] {
            let app = app.at(instance);
            assert!(!app.is_active(&online.access_token).await, "{route:?}");
            assert!(!app.is_active(online.refresh()).await, "{route:?}");
            app.userinfo(&online.access_token).await.is(401);
        }
        app.refresh(online.refresh()).await.refused("invalid_grant");
        keeper.refresh(offline.refresh()).await.tokens();
    }
}

/// Two logouts at once: one event, one notice for each app.
#[tokio::test]
async fn of_two_logouts_at_once_apps_hear_once() {
    let op = TestProvider::start().await;
    let app = op
        .client_with(|client| {
            client.post_logout_redirect_uris = vec![AFTER.to_owned()];
            client.backchannel_logout_uri = Some("https://app.test/logged-out".to_owned());
        })
        .await;
    for round in 1..=100 {
        let (ada, tokens) = signed_in_to(&app, "ada").await;
        let url = logout_url(&[
            ("id_token_hint", tokens.id()),
            ("post_logout_redirect_uri", AFTER),
        ]);
        let barrier = Barrier::new(2);
        let (first, second) = (ada.copy(), ada.copy());
        let hinted = async {
            barrier.wait().await;
            first.follow(&format!("{APP}/"), &url).await.url
        };
        let called = async {
            barrier.wait().await;
            second.call(Method::POST, "/auth/logout", None).await
        };
        let (url, answer) = tokio::join!(hinted, called);
        assert_eq!(url.as_str(), AFTER);
        answer.is(200);
        let events = "SELECT count(*) FROM events WHERE event_type = 'session.revoked'";
        assert_eq!(count(&op, events).await, round);
        let notices = "SELECT count(*) FROM deliveries WHERE kind = 'backchannel_logout'";
        assert_eq!(count(&op, notices).await, round);
    }
}

/// RT-3: whatever a logout meets half-way, no token of the session lives once it has been answered, and an app that got
/// tokens in that moment is told that they are over.
#[tokio::test]
async fn no_token_outlives_a_logout_that_it_races() {
    let op = TestProvider::start().await;
    let first = leaving_client(&op).await;
    let second = op
        .client_with(|client| client.backchannel_logout_uri = Some("https://app.test/logged-out".to_owned()))
        .await;
    let mut redeemed = 0;
    for _ in 0..100 {
        let (ada, tokens) = signed_in_to(&first, "ada").await;
        let granted = ada.authorize(&second).code().await;
        let url = logout_url(&[
            ("id_token_hint", tokens.id()),
            ("post_logout_redirect_uri", AFTER),
        ]);
        let barrier = Arc::new(Barrier::new(3));
        let (logged_out, exchanged, refreshed) = tokio::join!(
            async {
                barrier.wait().await;
                ada.follow(&format!("{APP}/"), &url).await.url
            },
            async {
                barrier.wait().await;
                second.redeem(&granted).await
            },
            async {
                barrier.wait().await;
                first.refresh(tokens.refresh()).await
            },
        );
        assert_eq!(logged_out.as_str(), AFTER);
        let mut left: Vec<Tokens> = Vec::new();
        if exchanged.status == 200 {
            redeemed += 1;
            left.push(exchanged.tokens());
            second.refresh(left[0].refresh()).await.refused("invalid_grant");
        } else {
            exchanged.refused("invalid_grant");
        }
        if refreshed.status == 200 {
            left.push(refreshed.tokens());
        } else {
            refreshed.refused("invalid_grant");
        }
        for tokens in left {
            first.userinfo(&tokens.access_token).await.is(401);
            assert!(!first.is_active(&tokens.access_token).await);
        }
        first.refresh(tokens.refresh()).await.refused("invalid_grant");
        let untold = "SELECT count(*) FROM grants g JOIN oauth_clients c USING (client_id) \
                      WHERE c.backchannel_logout_uri IS NOT NULL AND NOT EXISTS \
                      (SELECT FROM deliveries d WHERE d.client_id = g.client_id AND d.session_id = g.session_id)";
        assert_eq!(count(&op, untold).await, 0, "an app has tokens and was not told");
    }
    assert!(
        redeemed > 0,
        "the exchange never came first, so the race was none"
    );
}
