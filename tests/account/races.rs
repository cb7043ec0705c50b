use std::sync::Arc;

use reqwest::Method;
use riley_auth::config::oauth::Onboarding;
use serde_json::json;

use super::{count, delete_account};
use crate::common::races::{ROUNDS, at_once};
use crate::common::{Answer, Browser, TestProvider, checks};

async fn rename(browser: &Browser, username: &str) -> Answer {
    let body = json!({ "username": username });
    browser
        .call(Method::PATCH, "/auth/me/username", Some(&body))
        .await
}

/// Nobody waits between two names, so that every round has new ones.
async fn hasty() -> TestProvider {
    TestProvider::with(|config| config.usernames.days_between_changes = 0).await
}

/// AC-11, DB-3: of two takers of one name exactly one has it.
#[tokio::test(flavor = "multi_thread")]
async fn two_takers_of_one_name_do_not_both_get_it() {
    let op = hasty().await;
    let takers = [
        Arc::new(op.signed_in("ada").await),
        Arc::new(op.signed_in("alan").await),
    ];
    for round in 0..ROUNDS {
        let [one, other] = takers.clone();
        let (lower, upper) = (format!("name{round}"), format!("NAME{round}"));
        let (first, second) = at_once(async move { rename(&one, &lower).await }, async move {
            rename(&other, &upper).await
        })
        .await;
        let mut answers = [&first, &second];
        answers.sort_by_key(|answer| answer.status.as_u16());
        answers[0].is(200);
        answers[1].refused_with(409, "username_taken");
    }
}

/// AC-11: the wait between two changes is kept inside of the transaction: of two changes at once one is too soon.
#[tokio::test(flavor = "multi_thread")]
async fn two_renames_of_one_person_are_one() {
    let op = TestProvider::start().await;
    let ada = Arc::new(op.signed_in("ada").await);
    for round in 0..ROUNDS {
        sqlx::query("UPDATE users SET username_changed_at = NULL")
            .execute(op.db())
            .await
            .unwrap();
        let (one, other) = (ada.clone(), ada.clone());
        let (a, b) = (format!("left{round}"), format!("right{round}"));
        let (first, second) = at_once(async move { rename(&one, &a).await }, async move {
            rename(&other, &b).await
        })
        .await;
        let mut answers = [&first, &second];
        answers.sort_by_key(|answer| answer.status.as_u16());
        answers[0].is(200);
        answers[1].refused_with(409, "username_changed_recently");
    }
}

/// AC-9: two administrators who delete themselves at once: one stays.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_two_administrators_cannot_both_go() {
    let op = hasty().await;
    for round in 0..ROUNDS {
        let pair = [
            op.signed_in(&format!("left {round}")).await,
            op.signed_in(&format!("right {round}")).await,
        ];
        sqlx::query("UPDATE users SET role = 'user' WHERE deleted_at IS NULL")
            .execute(op.db())
            .await
            .unwrap();
        for admin in &pair {
            sqlx::query("UPDATE users SET role = 'admin' WHERE user_id = $1")
                .bind(admin.user_id().await.parse::<uuid::Uuid>().unwrap())
                .execute(op.db())
                .await
                .unwrap();
        }
        let [one, other] = pair;
        let (first, second) = at_once(async move { delete_account(&one).await }, async move {
            delete_account(&other).await
        })
        .await;
        let mut answers = [&first, &second];
        answers.sort_by_key(|answer| answer.status.as_u16());
        answers[0].is(200);
        answers[1].refused_with(409, "last_admin");
        let left = "SELECT count(*) FROM users WHERE role = 'admin' AND deleted_at IS NULL";
        assert_eq!(count(&op, left).await, 1);
    }
}

/// AC-10: a sign-in that meets the deletion either came first, and is gone with it, or leads to somebody new.
#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_during_a_deletion_does_not_bring_the_account_back() {
    let op = hasty().await;
    for round in 0..ROUNDS {
        let person = format!("somebody {round}");
        let (here, there) = (op.signed_in(&person).await, op.browser());
        let sub = here.user_id().await;
        let callback = there.up_to_callback("simulated", &person).await;
        let (deleted, there) = at_once(async move { delete_account(&here).await }, async move {
            there.open(callback.as_str()).await;
            there
        })
        .await;
        deleted.is(200);
        if there.is_signed_in().await {
            assert_ne!(there.user_id().await, sub, "round {round}");
        }
        nothing_is_left(&op, &sub).await;
    }
}

/// AC-10: neither the session's renewal nor an app's refresh nor an exchange gives anything that outlives the deletion.
#[tokio::test(flavor = "multi_thread")]
async fn no_renewal_outlives_a_deletion() {
    let op = hasty().await;
    let app = op.client().await;
    for round in 0..ROUNDS {
        let person = format!("somebody {round}");
        let ada = Arc::new(op.signed_in(&person).await);
        let sub = ada.user_id().await;
        let tokens = app.tokens_of(&ada, &person, "openid offline_access").await;
        let granted = ada.authorize(&app).code().await;
        let other_tab = Arc::new(ada.copy());
        let (deleter, renewing, refreshing, redeeming) =
            (ada.clone(), other_tab.clone(), app.clone(), app.clone());
        let refresh_token = tokens.refresh().to_owned();
        let (deleted, (renewed, refreshed, redeemed)) =
            at_once(async move { delete_account(&deleter).await }, async move {
                tokio::join!(
                    renewing.renew(),
                    refreshing.refresh(&refresh_token),
                    redeeming.redeem(&granted)
                )
            })
            .await;
        // The renewal may have come first and spent the value that asked for the deletion, within its leeway.
        deleted.is(200);
        if renewed.status.is_success() {
            assert!(!other_tab.is_signed_in().await);
        } else {
            renewed.refused_with(401, "unauthenticated");
        }
        for answer in [refreshed, redeemed] {
            if answer.status.is_success() {
                let tokens = answer.tokens();
                assert!(!app.is_active(&tokens.access_token).await);
                app.refresh(tokens.refresh()).await.refused("invalid_grant");
            } else {
                answer.refused("invalid_grant");
            }
        }
        nothing_is_left(&op, &sub).await;
    }
}

/// Two deletions of one account are one: told once, on record once.
#[tokio::test(flavor = "multi_thread")]
async fn two_deletions_are_one() {
    let op = hasty().await;
    for round in 0..ROUNDS {
        let here = op.signed_in(&format!("somebody {round}")).await;
        let there = here.copy();
        let (first, second) = at_once(async move { delete_account(&here).await }, async move {
            delete_account(&there).await
        })
        .await;
        let mut answers = [&first, &second];
        answers.sort_by_key(|answer| answer.status.as_u16());
        answers[0].is(200);
        answers[1].refused_with(401, "unauthenticated");
    }
    let rounds = i64::try_from(ROUNDS).unwrap();
    assert_eq!(
        count(
            &op,
            "SELECT count(*) FROM events WHERE event_type = 'user.deleted'"
        )
        .await,
        rounds
    );
    assert_eq!(count(&op, "SELECT count(*) FROM audit_entries").await, rounds);
}

/// A new name and the end of the account at once: the names are held, and by hash alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_rename_during_a_deletion_leaves_no_name_behind() {
    let op = hasty().await;
    for round in 0..ROUNDS {
        let here = op.signed_in(&format!("somebody {round}")).await;
        let (there, sub) = (here.copy(), here.user_id().await);
        let name = format!("renamed{round}");
        let (renamed, deleted) = at_once(async move { rename(&there, &name).await }, async move {
            delete_account(&here).await
        })
        .await;
        deleted.is(200);
        assert!(matches!(renamed.status.as_u16(), 200 | 401), "{}", renamed.text);
        nothing_is_left(&op, &sub).await;
    }
    assert_eq!(count(&op, "SELECT count(*) FROM held_usernames").await, 0);
    let named = "SELECT count(*) FROM events WHERE data ?| '{username,old_username,new_username}'";
    assert_eq!(count(&op, named).await, 0);
}

/// SE-4, behind a barrier: a session that is ended from elsewhere while it renews itself is over, whichever came first, and so is
/// what apps have by it.
#[tokio::test(flavor = "multi_thread")]
async fn no_renewal_outlives_the_end_of_its_session() {
    let op = hasty().await;
    let app = op.client().await;
    let here = Arc::new(op.signed_in("ada").await);
    for round in 0..ROUNDS {
        let there = Arc::new(op.signed_in("ada").await);
        let tokens = app.tokens_of(&there, "ada", "openid").await;
        let session_id = checks::peek(&there.cookie("access").unwrap())["sid"].clone();
        let path = format!("/auth/sessions/{}", session_id.as_str().unwrap());
        let (ending, renewing, refreshing) = (here.clone(), there.clone(), app.clone());
        let refresh_token = tokens.refresh().to_owned();
        let (ended, (renewed, refreshed)) = at_once(
            async move { ending.call(Method::DELETE, &path, None).await },
            async move { tokio::join!(renewing.renew(), refreshing.refresh(&refresh_token)) },
        )
        .await;
        ended.is(204);
        if !renewed.status.is_success() {
            renewed.refused_with(401, "unauthenticated");
        }
        assert!(!there.is_signed_in().await, "round {round}");
        there.renew().await.refused_with(401, "unauthenticated");
        if refreshed.status.is_success() {
            let tokens = refreshed.tokens();
            assert!(!app.is_active(&tokens.access_token).await, "round {round}");
            app.refresh(tokens.refresh()).await.refused("invalid_grant");
        } else {
            refreshed.refused("invalid_grant");
        }
    }
    assert!(here.is_signed_in().await);
}

/// AC-11, behind a barrier: of somebody who takes another name and a newcomer who picks the same one exactly one has it.
#[tokio::test(flavor = "multi_thread")]
async fn a_rename_and_a_newcomer_do_not_both_get_one_name() {
    let op = TestProvider::with(|config| {
        config.usernames.days_between_changes = 0;
        config.oauth.onboarding = Onboarding::Prompt;
    })
    .await;
    let ada = op.browser();
    ada.sign_in_amid("simulated", "ada", &[]).await;
    ada.choose("ada").await.is(200);
    let ada = Arc::new(ada);
    for round in 0..ROUNDS {
        let newcomer = Arc::new(op.browser());
        newcomer
            .sign_in_amid("simulated", &format!("newcomer {round}"), &[])
            .await;
        let (renaming, choosing) = (ada.clone(), newcomer.clone());
        let (lower, upper) = (format!("name{round}"), format!("NAME{round}"));
        let (renamed, chosen) = at_once(async move { rename(&renaming, &lower).await }, async move {
            choosing.choose(&upper).await
        })
        .await;
        let (winner, loser) = if renamed.status.is_success() {
            (renamed, chosen)
        } else {
            (chosen, renamed)
        };
        winner.is(200);
        loser.refused_with(409, "username_taken");
        let holders: i64 = sqlx::query_scalar("SELECT count(*) FROM users WHERE username_folded = $1")
            .bind(format!("name{round}"))
            .fetch_one(op.db())
            .await
            .unwrap();
        assert_eq!(holders, 1, "round {round}");
        // Who lost goes on with another name.
        if !newcomer.is_signed_in().await {
            newcomer.choose(&format!("other{round}")).await.is(200);
        }
    }
}

/// Every table that names the account holds no row of it, but for the empty one and what only says that something happened.
async fn nothing_is_left(op: &TestProvider, sub: &str) {
    let user_id: uuid::Uuid = sub.parse().unwrap();
    for table in [
        "oauth_links",
        "sessions",
        "grants",
        "authorization_codes",
        "consents",
        "held_usernames",
        "authorization_requests",
        "upstream_flows",
        "pending_identities",
    ] {
        let sql = format!("SELECT count(*) FROM {table} WHERE user_id = $1");
        let rows: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
            .bind(user_id)
            .fetch_one(op.db())
            .await
            .unwrap();
        assert_eq!(rows, 0, "{table}");
    }
    let live = "SELECT count(*) FROM users WHERE user_id = $1 AND deleted_at IS NULL";
    let live: i64 = sqlx::query_scalar(live)
        .bind(user_id)
        .fetch_one(op.db())
        .await
        .unwrap();
    assert_eq!(live, 0);
}
