use std::sync::Arc;

use tokio::sync::Barrier;

use super::World;
use crate::common::linking::{confirm_id, link, proposal, unlink, wait_for_confirmation};
use crate::common::races::{ROUNDS, all_at_once, at_once};

/// AC-9, behind a barrier: of two unlinks at once, one at most succeeds, and one link always stays.
#[tokio::test(flavor = "multi_thread")]
async fn two_unlinks_at_once_leave_one_link() {
    let world = World::start().await;
    let ada = Arc::new(world.member("ada").await);
    link(&ada, "google", "ada").await;
    world
        .change("CREATE TABLE kept AS SELECT * FROM oauth_links")
        .await;
    // The session itself shall outlive every round.
    world.change("UPDATE sessions SET link_id = NULL").await;
    let mut won = std::collections::BTreeMap::new();
    for round in 0..ROUNDS {
        let barrier = Arc::new(Barrier::new(2));
        let racers = ["github", "google"].map(|provider| {
            let (barrier, ada) = (Arc::clone(&barrier), Arc::clone(&ada));
            tokio::spawn(async move {
                barrier.wait().await;
                (provider, unlink(&ada, provider).await)
            })
        });
        let mut outcomes = Vec::new();
        for racer in racers {
            let (provider, answer) = racer.await.unwrap();
            match answer.status.as_u16() {
                200 => *won.entry(provider).or_insert(0) += 1,
                409 => answer.refused_with(409, "last_link"),
                other => panic!("{other}: {}", answer.text),
            }
            outcomes.push(answer.status.as_u16());
        }
        outcomes.sort_unstable();
        assert_eq!(outcomes, [200, 409], "round {round}");
        assert_eq!(
            world.count("SELECT count(*) FROM oauth_links").await,
            1,
            "round {round}"
        );
        world
            .change("INSERT INTO oauth_links SELECT * FROM kept ON CONFLICT DO NOTHING")
            .await;
    }
    assert_eq!(won.values().sum::<usize>(), ROUNDS);
    assert_eq!(
        world.events("link.deleted").await.len(),
        ROUNDS,
        "as many as were told of"
    );
}

/// AC-8, behind a barrier: of two accounts that link one identity at once one gets it, and the other one is told.
#[tokio::test(flavor = "multi_thread")]
async fn one_identity_linked_by_two_accounts_at_once_leads_to_one() {
    let world = World::start().await;
    let people = [
        Arc::new(world.member("ada").await),
        Arc::new(world.member("alan").await),
    ];
    for round in 0..ROUNDS {
        let barrier = Arc::new(Barrier::new(2));
        let mut racers = Vec::new();
        for person in &people {
            wait_for_confirmation(person, "google", "emmy").await;
            let id = proposal(person).await.is(200).json()["confirmation_id"]
                .as_str()
                .unwrap()
                .to_owned();
            let (barrier, person) = (Arc::clone(&barrier), Arc::clone(person));
            racers.push(tokio::spawn(async move {
                barrier.wait().await;
                confirm_id(&person, &id).await
            }));
        }
        let mut statuses = Vec::new();
        for racer in racers {
            let answer = racer.await.unwrap();
            if answer.status == 409 {
                answer.refused_with(409, "identity_linked");
            }
            statuses.push(answer.status.as_u16());
        }
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 409], "round {round}");
        assert_eq!(
            world
                .count("SELECT count(*) FROM oauth_links WHERE provider = 'google'")
                .await,
            1,
            "round {round}"
        );
        world
            .change("DELETE FROM oauth_links WHERE provider = 'google'")
            .await;
    }
}

/// AC-3, AC-9, behind a barrier: a confirmation and an unlink of the same person at once, in two browsers, leave something
/// to sign in with and nothing that waits.
#[tokio::test(flavor = "multi_thread")]
async fn a_confirmation_and_an_unlink_at_once_leave_an_account_that_can_be_entered() {
    let world = World::start().await;
    let (here, there) = (
        Arc::new(world.member("ada").await),
        Arc::new(world.member("ada").await),
    );
    world
        .change("CREATE TABLE kept AS SELECT * FROM oauth_links")
        .await;
    for round in 0..ROUNDS {
        world.change("UPDATE sessions SET link_id = NULL").await;
        wait_for_confirmation(&here, "google", "ada").await;
        let id = proposal(&here).await.is(200).json()["confirmation_id"]
            .as_str()
            .unwrap()
            .to_owned();
        let barrier = Arc::new(Barrier::new(2));
        let (one, two) = (Arc::clone(&barrier), barrier);
        let (confirmer, unlinker) = (Arc::clone(&here), Arc::clone(&there));
        let (confirmed, unlinked) = tokio::join!(
            tokio::spawn(async move {
                one.wait().await;
                confirm_id(&confirmer, &id).await
            }),
            tokio::spawn(async move {
                two.wait().await;
                unlink(&unlinker, "github").await
            }),
        );
        let statuses = (
            confirmed.unwrap().status.as_u16(),
            unlinked.unwrap().status.as_u16(),
        );
        // Confirmed first: GitHub may go. Unlinked first: that was the last one.
        assert!(
            matches!(statuses, (200, 200 | 409)),
            "round {round}: {statuses:?}"
        );
        let left = world.count("SELECT count(*) FROM oauth_links").await;
        assert_eq!(left, if statuses.1 == 200 { 1 } else { 2 }, "round {round}");
        assert_eq!(world.count("SELECT count(*) FROM pending_identities").await, 0);
        world.change("DELETE FROM oauth_links").await;
        world.change("INSERT INTO oauth_links SELECT * FROM kept").await;
    }
}

/// AC-3, behind a barrier: who confirms twice, in two tabs, has linked once.
#[tokio::test(flavor = "multi_thread")]
async fn two_confirmations_link_once() {
    let world = World::start().await;
    let ada = world.member("ada").await;
    for round in 0..ROUNDS {
        wait_for_confirmation(&ada, "google", "ada").await;
        let shown = proposal(&ada).await.is(200).json();
        let tabs = [ada.copy(), ada.copy()].map(|tab| {
            let id = shown["confirmation_id"].as_str().unwrap().to_owned();
            async move { confirm_id(&tab, &id).await.status.as_u16() }
        });
        let mut statuses = all_at_once(tabs.into()).await;
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 404], "round {round}");
        unlink(&ada, "google").await.is(200);
    }
}

/// AC-3, SE-4, behind a barrier: a sign-in by an identity that is taken away at the same moment either came first, and has ended
/// with it, or is a newcomer's. In no session is anybody signed in to the account by what does not lead to it.
#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_by_an_identity_that_is_taken_away_meanwhile_does_not_stay() {
    let world = World::start().await;
    let here = Arc::new(world.member("ada").await);
    let account = here.user_id().await;
    for round in 0..ROUNDS {
        let person = format!("somebody {round}");
        link(&here, "google", &person).await;
        let there = Arc::new(world.op.browser());
        let callback = there.up_to_callback("google", &person).await;
        let (unlinking, arriving) = (Arc::clone(&here), Arc::clone(&there));
        let (unlinked, _) = at_once(async move { unlink(&unlinking, "google").await }, async move {
            arriving.open(callback.as_str()).await
        })
        .await;
        unlinked.is(200);
        if there.is_signed_in().await {
            assert_ne!(there.user_id().await, account, "round {round}");
        }
        assert!(here.is_signed_in().await, "round {round}");
        let strays = "SELECT count(*) FROM sessions s
                      WHERE s.ended_at IS NULL
                        AND NOT EXISTS (SELECT FROM oauth_links l WHERE l.link_id = s.link_id AND l.user_id = s.user_id)";
        assert_eq!(world.count(strays).await, 0, "round {round}");
    }
}
