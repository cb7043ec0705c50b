use std::sync::Arc;

use reqwest::Method;
use serde_json::{Value, json};

use super::{Both, merging};
use crate::common::Browser;
use crate::common::races::{ROUNDS, at_once};

fn arriving(browser: &Arc<Browser>, callback: &url::Url) -> impl Future<Output = ()> + Send + 'static {
    let (browser, callback) = (Arc::clone(browser), callback.to_string());
    async move {
        browser.open(&callback).await;
    }
}

/// AC-5, AC-10, behind a barrier: whoever would be merged into an account that is deleted at the same moment either came first,
/// and the session that asked for the deletion has ended by that, or has an account of their own. Nobody is in an account that
/// is gone, and no identity leads there.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_merged_into_an_account_that_is_deleted_meanwhile() {
    let both = Both::start(merging).await;
    for round in 0..ROUNDS {
        let person = format!("somebody{round}");
        let owner = both.signed_in("github", &person, &[]).await;
        let account = owner.user_id().await;
        let newcomer = Arc::new(both.op.browser());
        let callback = newcomer.up_to_callback("google", &person).await;
        let merges = both.events("account.merged").await.len();
        let (deleted, ()) = at_once(
            async move { owner.call(Method::DELETE, "/auth/me", None).await },
            arriving(&newcomer, &callback),
        )
        .await;
        assert!(newcomer.is_signed_in().await, "round {round}");
        let merged = both.events("account.merged").await.len() - merges;
        if deleted.status == 200 {
            assert_eq!(merged, 0, "round {round}");
            assert_ne!(newcomer.user_id().await, account, "round {round}");
        } else {
            deleted.refused_with(401, "unauthenticated");
            assert_eq!(merged, 1, "round {round}");
            assert_eq!(newcomer.user_id().await, account, "round {round}");
        }
        let strays = "SELECT count(*) FROM users u WHERE deleted_at IS NOT NULL AND (
                          EXISTS (SELECT FROM oauth_links l WHERE l.user_id = u.user_id)
                          OR EXISTS (SELECT FROM sessions s WHERE s.user_id = u.user_id))";
        assert_eq!(both.count(strays).await, 0, "round {round}");
    }
}

/// AC-5, behind a barrier: two newcomers with one proved address, by two providers at once, are one account by a merge that is
/// told of and on record, or two. Each identity leads to one account, and nobody is in another one than theirs.
#[tokio::test(flavor = "multi_thread")]
async fn two_newcomers_with_one_address_at_once_are_one_or_two_and_on_record() {
    let both = Both::start(merging).await;
    for round in 0..ROUNDS {
        let person = format!("somebody{round}");
        let browsers = [Arc::new(both.op.browser()), Arc::new(both.op.browser())];
        let [one, other] = &browsers;
        let callbacks = [
            one.up_to_callback("github", &person).await,
            other.up_to_callback("google", &person).await,
        ];
        let before = (both.users().await, both.events("account.merged").await.len());
        at_once(arriving(one, &callbacks[0]), arriving(other, &callbacks[1])).await;
        let made = both.users().await - before.0;
        let merged = both.events("account.merged").await.len() - before.1;
        let merged = i64::try_from(merged).unwrap();
        assert_eq!(made + merged, 2, "round {round}");
        assert!(made >= 1, "round {round}");
        assert_eq!(
            both.trail().await.len(),
            both.events("account.merged").await.len()
        );
        let links = "SELECT count(*) FROM oauth_links WHERE merged_at IS NOT NULL";
        assert_eq!(
            both.count(links).await,
            both.count("SELECT count(*) FROM audit_entries").await
        );
        // Whoever was in before a merge is out; who is in is where their identity leads.
        let mut inside = 0;
        for (browser, provider) in browsers.iter().zip(["github", "google"]) {
            if browser.is_signed_in().await {
                let account = browser.user_id().await;
                let again = both.signed_in(provider, &person, &[]).await.user_id().await;
                assert_eq!(account, again, "round {round}");
                inside += 1;
            }
        }
        assert!(inside >= 1, "round {round}");
        let strays = "SELECT count(*) FROM sessions s
                      WHERE s.ended_at IS NULL
                        AND NOT EXISTS (SELECT FROM oauth_links l WHERE l.link_id = s.link_id AND l.user_id = s.user_id)";
        assert_eq!(both.count(strays).await, 0, "round {round}");
    }
}

/// AC-5, SE-4, behind a barrier: an administrator undoes a merge while the identity signs in, and while the stranger takes the
/// owner's identity away. Whatever comes first, the stranger ends in an account of their own, and the owner's leads to theirs.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_stays_where_they_were_merged_once_it_is_undone() {
    let both = Both::start(merging).await;
    let root = both.signed_in("github", "root", &[]).await;
    both.change("UPDATE users SET role = 'admin'").await;
    let root = Arc::new(root);
    for round in 0..ROUNDS {
        let person = format!("somebody{round}");
        let owner = both.signed_in("github", &person, &[]).await;
        let account = owner.user_id().await;
        let stranger = Arc::new(both.signed_in("google", &person, &[]).await);
        assert_eq!(stranger.user_id().await, account);
        let links = root.read(&format!("/admin/users/{account}")).await["links"].clone();
        let google = links
            .as_array()
            .unwrap()
            .iter()
            .find(|link| link["provider"] == "google");
        let link_id = google.unwrap()["link_id"].as_str().unwrap().to_owned();
        let path = format!("/admin/users/{account}/links/{link_id}/unmerge");
        let again = Arc::new(both.op.browser());
        let callback = again.up_to_callback("google", &person).await;
        let (undoing, renaming) = (Arc::clone(&root), Arc::clone(&stranger));
        let arrival = arriving(&again, &callback);
        let (undone, (changed, ())) = at_once(
            async move { undoing.call(Method::POST, &path, None).await },
            async move {
                let change = json!({ "display_name": "A stranger" });
                tokio::join!(renaming.call(Method::PATCH, "/auth/me", Some(&change)), arrival)
            },
        )
        .await;
        let new = undone.is(200).json()["new_user_id"].clone();
        assert!(matches!(changed.status.as_u16(), 200 | 401), "{}", changed.text);
        assert!(!stranger.is_signed_in().await, "round {round}");
        if again.is_signed_in().await {
            assert_eq!(json!(again.user_id().await), new, "round {round}");
        }
        let back = both.signed_in("google", &person, &[]).await;
        assert_eq!(json!(back.user_id().await), new, "round {round}");
        let owner = both.signed_in("github", &person, &[]).await;
        assert_eq!(owner.user_id().await, account, "round {round}");
        let strays = "SELECT count(*) FROM sessions s
                      WHERE s.ended_at IS NULL
                        AND NOT EXISTS (SELECT FROM oauth_links l WHERE l.link_id = s.link_id AND l.user_id = s.user_id)";
        assert_eq!(both.count(strays).await, 0, "round {round}");
    }
}

/// §5: an administrator undoes a merge as the command does: what came by it goes along, both accounts' apps hear of it, the
/// trail says who did it. What is no merge, or somebody else's, is refused and nothing changes.
#[tokio::test]
async fn an_administrator_undoes_a_merge_as_the_command_does() {
    let both = Both::start(merging).await;
    let root = both.signed_in("github", "root", &[]).await;
    both.change("UPDATE users SET role = 'admin'").await;
    let account = both.signed_in("github", "ada", &[]).await.user_id().await;
    let stranger = both.signed_in("google", "ada", &[]).await;
    let links = root.read(&format!("/admin/users/{account}")).await["links"].clone();
    let of = |provider: &str| {
        let found = links
            .as_array()
            .unwrap()
            .iter()
            .find(|link| link["provider"] == provider);
        found.unwrap()["link_id"].as_str().unwrap().to_owned()
    };
    let undo = async |user: &str, link: &str| {
        let path = format!("/admin/users/{user}/links/{link}/unmerge");
        root.call(Method::POST, &path, None).await
    };
    undo(&account, &of("github"))
        .await
        .refused_with(409, "not_merged");
    let roots = root.user_id().await;
    undo(&roots, &of("google")).await.refused_with(404, "not_found");
    assert_eq!(both.trail().await.len(), 1);
    assert!(stranger.is_signed_in().await);

    let done = undo(&account, &of("google")).await.is(200).json();
    let new = both.signed_in("google", "ada", &[]).await;
    assert_eq!(
        done,
        json!({
            "link_id": of("google"), "provider": "google", "went_along": [], "user_id": account,
            "new_user_id": new.user_id().await, "new_username": new.me().await.json()["username"],
            "sessions_ended": 1, "grants_revoked": 0,
        })
    );
    assert!(!stranger.is_signed_in().await);
    let (actor, action, target, _, _) = both.trail().await.pop().unwrap();
    assert_eq!(
        (actor.as_str(), action.as_str(), target),
        ("user", "account_unmerged", Some(account.clone()))
    );
    let told: Vec<Value> = both.events("account.unmerged").await;
    assert_eq!(told.len(), 1);
    undo(&account, &of("google")).await.refused_with(404, "not_found");

    // The last thing that leads to an account stays.
    both.signed_in("github", "grace", &[]).await;
    both.signed_in("google", "grace", &[]).await;
    let grace = both.signed_in("github", "grace", &[]).await;
    let account = grace.user_id().await;
    grace
        .call(Method::DELETE, "/auth/link/github", None)
        .await
        .is(200);
    let left = root.read(&format!("/admin/users/{account}")).await["links"].clone();
    let refused = undo(&account, left[0]["link_id"].as_str().unwrap()).await;
    refused.refused_with(409, "last_link");
}
