use std::collections::HashSet;
use std::sync::Arc;

use riley_auth::config::Config;
use riley_auth::config::oauth::Onboarding;

use crate::common::provider::PAGES;
use crate::common::races::{ROUNDS, all_at_once, at_once};
use crate::common::{Browser, TestProvider};

fn prompt(config: &mut Config) {
    config.oauth.onboarding = Onboarding::Prompt;
}

/// A newcomer before the page that asks for a name.
async fn newcomer(op: &TestProvider, person: &str) -> Browser {
    let browser = op.browser();
    let visit = browser.sign_in_amid("simulated", person, &[]).await;
    assert_eq!(visit.url.as_str(), format!("{PAGES}/welcome"));
    browser
}

async fn count(op: &TestProvider, sql: &'static str) -> usize {
    let rows: i64 = sqlx::query_scalar(sql).fetch_one(op.db()).await.unwrap();
    usize::try_from(rows).unwrap()
}

/// AC-1: who clicks twice, at two instances, has one account, one link and one session.
#[tokio::test(flavor = "multi_thread")]
async fn a_double_click_makes_one_account() {
    let op = TestProvider::with(prompt).await;
    let other = op.second_instance().await;
    for round in 0..ROUNDS {
        let name = format!("somebody{round}");
        let here = newcomer(&op, &name).await;
        let there = here.at(&other);
        let twin = name.clone();
        let (one, two) = at_once(async move { here.choose(&name).await }, async move {
            there.choose(&twin).await
        })
        .await;
        let mut statuses = [one.status.as_u16(), two.status.as_u16()];
        statuses.sort_unstable();
        assert!(
            matches!(statuses, [200, 404 | 409]),
            "round {round}: {statuses:?}"
        );
    }
    for table in [
        "SELECT count(*) FROM users",
        "SELECT count(*) FROM oauth_links",
        "SELECT count(*) FROM sessions",
    ] {
        assert_eq!(count(&op, table).await, ROUNDS, "{table}");
    }
}

/// AC-11: uniqueness is decided by the database. Who loses may go on with another name.
#[tokio::test(flavor = "multi_thread")]
async fn two_newcomers_race_for_a_name_and_one_gets_it() {
    let op = TestProvider::with(prompt).await;
    for round in 0..ROUNDS {
        let ada = Arc::new(newcomer(&op, &format!("ada {round}")).await);
        let alan = Arc::new(newcomer(&op, &format!("alan {round}")).await);
        let (left, right) = (Arc::clone(&ada), Arc::clone(&alan));
        let (lower, upper) = (format!("prize{round}"), format!("PRIZE{round}"));
        let (one, two) = at_once(async move { left.choose(&lower).await }, async move {
            right.choose(&upper).await
        })
        .await;
        let (loser, refusal, winner) = if one.status == 200 {
            (&alan, two, one)
        } else {
            (&ada, one, two)
        };
        winner.is(200);
        refusal.refused_with(409, "username_taken");
        loser.choose(&format!("consolation{round}")).await.is(200);
    }
}

/// §6: the identity itself is linked once, however many browsers it is proved in.
#[tokio::test(flavor = "multi_thread")]
async fn one_identity_in_two_browsers_makes_one_account() {
    let op = TestProvider::with(prompt).await;
    for round in 0..ROUNDS {
        let person = format!("somebody {round}");
        let (here, there) = (newcomer(&op, &person).await, newcomer(&op, &person).await);
        let (left, right) = (format!("left{round}"), format!("right{round}"));
        let (one, two) = at_once(async move { here.choose(&left).await }, async move {
            there.choose(&right).await
        })
        .await;
        let (winner, loser) = if one.status == 200 { (one, two) } else { (two, one) };
        winner.is(200);
        loser.refused_with(409, "already_linked");
        assert_eq!(count(&op, "SELECT count(*) FROM users").await, round + 1);
    }
}

/// The same by "auto": whoever is slower finds the account that the other has just made, and is not asked whose it is.
#[tokio::test(flavor = "multi_thread")]
async fn one_identity_at_once_in_many_browsers_is_one_person() {
    let op = TestProvider::start().await;
    let other = op.second_instance().await;
    for round in 0..ROUNDS {
        let person = format!("somebody {round}");
        let mut arrivals = Vec::new();
        for at in [&op, &other, &op] {
            let browser = op.browser();
            let callback = browser.up_to_callback("simulated", &person).await;
            let browser = browser.at(at);
            arrivals.push(async move {
                let visit = browser.open(callback.as_str()).await;
                assert_eq!(visit.url.as_str(), format!("{PAGES}/home"), "{}", visit.text());
                browser.user_id().await
            });
        }
        let people: HashSet<String> = all_at_once(arrivals).await.into_iter().collect();
        assert_eq!(people.len(), 1, "round {round}");
        assert_eq!(count(&op, "SELECT count(*) FROM users").await, round + 1);
    }
}

/// UP-1: of two callbacks of one sign-in at once, one gets in.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_callbacks_at_once_one_gets_in() {
    let op = TestProvider::start().await;
    let home = format!("{PAGES}/home");
    for round in 0..ROUNDS {
        let ada = op.browser();
        let callback = ada.up_to_callback("simulated", "ada").await;
        let (copy, again) = (ada.copy(), callback.clone());
        let (one, two) = at_once(async move { ada.open(callback.as_str()).await }, async move {
            copy.open(again.as_str()).await
        })
        .await;
        let arrived = [one, two]
            .iter()
            .filter(|visit| visit.url.as_str() == home)
            .count();
        assert_eq!(arrived, 1, "round {round}");
    }
}

/// RT, §4.4: tabs that renew at once, at two instances, all have the same successor: the session never branches.
#[tokio::test(flavor = "multi_thread")]
async fn racing_tabs_all_get_the_same_successor() {
    let op = TestProvider::start().await;
    let other = op.second_instance().await;
    let ada = op.signed_in("ada").await;
    for round in 0..ROUNDS {
        let tabs = (0..4).map(|tab| if tab % 2 == 0 { ada.at(&op) } else { ada.at(&other) });
        let renewals = tabs.map(|tab| async move {
            tab.renew().await.is(200);
            assert!(tab.cookie("access").is_some());
            tab.cookie("refresh").unwrap()
        });
        let values: HashSet<String> = all_at_once(renewals.collect()).await.into_iter().collect();
        assert_eq!(values.len(), 1, "round {round}");
        ada.renew().await.is(200);
        assert!(values.contains(&ada.cookie("refresh").unwrap()), "round {round}");
    }
    assert_eq!(
        count(&op, "SELECT count(*) FROM sessions WHERE ended_at IS NULL").await,
        1
    );
    // Every value with its successor, and the first one.
    assert_eq!(
        count(&op, "SELECT count(*) FROM session_tokens").await,
        ROUNDS + 1
    );
    assert!(ada.is_signed_in().await);
}
