use std::sync::Arc;

use reqwest::Method;
use serde_json::{Value, json};

use crate::common::races::{ROUNDS, at_once};
use crate::common::{Answer, Browser, Directory, Granted, TestClient, TestProvider};

async fn administrators(op: &TestProvider) -> i64 {
    sqlx::query_scalar(
        "SELECT count(*) FROM users WHERE role = 'admin' AND disabled_at IS NULL AND deleted_at IS NULL",
    )
    .fetch_one(op.db())
    .await
    .unwrap()
}

/// Makes everybody who is live an enabled administrator again.
async fn reinstate(op: &TestProvider) {
    sqlx::query("UPDATE users SET role = 'admin', disabled_at = NULL WHERE deleted_at IS NULL")
        .execute(op.db())
        .await
        .unwrap();
}

fn demote(by: &Arc<Browser>, user_id: &str) -> impl Future<Output = Answer> + Send + 'static {
    let (by, path) = (Arc::clone(by), format!("/admin/users/{user_id}/role"));
    async move { by.send(Method::PATCH, &path, &json!({ "role": "user" })).await }
}

fn disable(by: &Arc<Browser>, user_id: &str) -> impl Future<Output = Answer> + Send + 'static {
    let (by, path) = (Arc::clone(by), format!("/admin/users/{user_id}"));
    async move { by.send(Method::PATCH, &path, &json!({ "disabled": true })).await }
}

fn delete(by: &Arc<Browser>, user_id: &str) -> impl Future<Output = Answer> + Send + 'static {
    let (by, path) = (Arc::clone(by), format!("/admin/users/{user_id}"));
    async move { by.remove(&path).await }
}

/// AC-9: of two administrators who demote each other at once, one stays.
#[tokio::test(flavor = "multi_thread")]
async fn two_administrators_who_demote_each_other_leave_one() {
    let op = TestProvider::start().await;
    let one = Arc::new(op.administrator("one").await);
    let other = Arc::new(op.administrator("other").await);
    let (one_id, other_id) = (one.user_id().await, other.user_id().await);
    for _ in 0..ROUNDS {
        let answers = <[Answer; 2]>::from(at_once(demote(&one, &other_id), demote(&other, &one_id)).await);
        let mut statuses = answers.map(|answer| answer.status.as_u16());
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 403]);
        assert_eq!(administrators(&op).await, 1);
        reinstate(&op).await;
    }
}

/// AC-9: of two who demote themselves at once, one stays.
#[tokio::test(flavor = "multi_thread")]
async fn two_administrators_who_step_down_at_once_leave_one() {
    let op = TestProvider::start().await;
    let one = Arc::new(op.administrator("one").await);
    let other = Arc::new(op.administrator("other").await);
    let (one_id, other_id) = (one.user_id().await, other.user_id().await);
    for _ in 0..ROUNDS {
        let answers = <[Answer; 2]>::from(at_once(demote(&one, &one_id), demote(&other, &other_id)).await);
        let mut statuses = answers.map(|answer| answer.status.as_u16());
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 409]);
        assert_eq!(administrators(&op).await, 1);
        reinstate(&op).await;
    }
}

/// AC-9: one is deleted, the other demoted or disabled at the same moment, by each other: one stays.
#[tokio::test(flavor = "multi_thread")]
async fn deleting_and_demoting_at_once_leaves_one() {
    let op = TestProvider::with(|config| config.usernames.old_name_held_days = 0).await;
    let one = Arc::new(op.administrator("one").await);
    let one_id = one.user_id().await;
    for round in 0..ROUNDS {
        let other = Arc::new(op.administrator(&format!("other-{round}")).await);
        let other_id = other.user_id().await;
        let answers = <[Answer; 2]>::from(if round % 2 == 0 {
            at_once(delete(&one, &other_id), demote(&other, &one_id)).await
        } else {
            at_once(delete(&one, &other_id), demote(&one, &one_id)).await
        });
        let done = answers.iter().filter(|answer| answer.status.is_success()).count();
        assert_eq!(done, 1, "{answers:?}");
        assert_eq!(administrators(&op).await, 1);
        sqlx::query("UPDATE users SET role = 'user' WHERE user_id <> $1::text::uuid")
            .bind(&one_id)
            .execute(op.db())
            .await
            .unwrap();
        sqlx::query("UPDATE users SET role = 'admin' WHERE user_id = $1::text::uuid")
            .bind(&one_id)
            .execute(op.db())
            .await
            .unwrap();
    }
}

/// AC-9: one disables the other and is demoted by them at the same moment: one is left who can sign in.
#[tokio::test(flavor = "multi_thread")]
async fn disabling_and_demoting_each_other_at_once_leaves_one() {
    let op = TestProvider::start().await;
    let root = Arc::new(op.administrator("root").await);
    let root_id = root.user_id().await;
    for round in 0..ROUNDS {
        let other = Arc::new(op.administrator(&format!("other-{round}")).await);
        let other_id = other.user_id().await;
        let answers = <[Answer; 2]>::from(at_once(disable(&root, &other_id), demote(&other, &root_id)).await);
        let done = answers.iter().filter(|answer| answer.status.is_success()).count();
        assert_eq!(done, 1, "{answers:?}");
        assert_eq!(administrators(&op).await, 1);
        sqlx::query(
            "UPDATE users SET role = CASE WHEN user_id = $1::text::uuid THEN 'admin' ELSE 'user' END",
        )
        .bind(&root_id)
        .execute(op.db())
        .await
        .unwrap();
    }
}

/// Somebody who is on the way: a session with what an app has by it, a code that nobody has redeemed, another browser before its
/// callback.
struct UnderWay {
    browser: Arc<Browser>,
    user_id: String,
    offline: String,
    online: String,
    granted: Granted,
    coming: Arc<Browser>,
    callback: String,
}

async fn under_way(op: &TestProvider, app: &TestClient, person: &str) -> UnderWay {
    let browser = Arc::new(op.signed_in(person).await);
    let offline = app.tokens_of(&browser, person, "openid offline_access").await;
    let online = app.tokens_of(&browser, person, "openid").await;
    let coming = op.browser();
    let callback = coming.up_to_callback("simulated", person).await;
    UnderWay {
        user_id: browser.user_id().await,
        offline: offline.refresh().to_owned(),
        online: online.refresh().to_owned(),
        granted: browser.authorize(app).scope("openid offline_access").code().await,
        coming: Arc::new(coming),
        callback: callback.to_string(),
        browser,
    }
}

/// What came of everything that was under way.
struct Arrived {
    renewed: Answer,
    /// By the grants with and without offline access.
    refreshed: [Answer; 2],
    redeemed: Answer,
}

impl UnderWay {
    fn arrive(&self, app: &TestClient) -> impl Future<Output = Arrived> + Send + 'static {
        let (browser, coming, app) = (self.browser.clone(), self.coming.clone(), app.clone());
        let (offline, online) = (self.offline.clone(), self.online.clone());
        let (granted, callback) = (self.granted.clone(), self.callback.clone());
        async move {
            let (renewed, offline, online, redeemed, _) = tokio::join!(
                browser.renew(),
                app.refresh(&offline),
                app.refresh(&online),
                app.redeem(&granted),
                coming.open(&callback),
            );
            Arrived {
                renewed,
                refreshed: [offline, online],
                redeemed,
            }
        }
    }
}

/// Whether what a token request came to is worth anything by now.
async fn is_alive(app: &TestClient, answer: Answer) -> bool {
    if !answer.status.is_success() {
        answer.refused("invalid_grant");
        return false;
    }
    let tokens = answer.tokens();
    let is_active = app.is_active(&tokens.access_token).await;
    let refreshed = app.refresh(tokens.refresh()).await;
    assert_eq!(refreshed.status.is_success(), is_active, "{}", refreshed.text);
    is_active
}

/// SE-4, behind a barrier: whatever is under way while an account is disabled, a sign-in, a renewal, a refresh, an exchange,
/// leaves nothing that lives, also not once the account is enabled again.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_was_under_way_outlives_a_disabled_account() {
    let op = TestProvider::start().await;
    let app = op.client().await;
    let root = Arc::new(op.administrator("root").await);
    for round in 0..ROUNDS {
        let ada = under_way(&op, &app, &format!("somebody {round}")).await;
        let (disabled, arrived) = at_once(disable(&root, &ada.user_id), ada.arrive(&app)).await;
        disabled.is(200);
        if !arrived.renewed.status.is_success() {
            arrived.renewed.refused_with(401, "unauthenticated");
        }
        for browser in [&ada.browser, &ada.coming] {
            assert!(!browser.is_signed_in().await, "round {round}");
        }
        let path = format!("/admin/users/{}", ada.user_id);
        root.send(Method::PATCH, &path, &json!({ "disabled": false }))
            .await
            .is(200);
        for browser in [&ada.browser, &ada.coming] {
            assert!(!browser.is_signed_in().await, "round {round}: enabled again");
        }
        for answer in arrived.refreshed.into_iter().chain([arrived.redeemed]) {
            assert!(!is_alive(&app, answer).await, "round {round}");
        }
        let shown = root.read(&path).await;
        assert_eq!(shown["sessions"], json!([]), "round {round}");
    }
}

/// SE-4, behind a barrier: who is signed out everywhere by an administrator while everything is under way keeps offline access
/// alone, and not even that where it was to end, too. A sign-in that came later is a new session.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_but_offline_access_outlives_being_signed_out_by_an_administrator() {
    let op = TestProvider::start().await;
    let app = op.client().await;
    let root = Arc::new(op.administrator("root").await);
    for round in 0..ROUNDS {
        let offline_too = round % 2 == 1;
        let ada = under_way(&op, &app, &format!("somebody {round}")).await;
        let path = format!(
            "/admin/users/{}/sessions?include_offline={offline_too}",
            ada.user_id
        );
        let revoking = Arc::clone(&root);
        let (revoked, arrived) = at_once(async move { revoking.remove(&path).await }, ada.arrive(&app)).await;
        revoked.is(204);
        assert!(!ada.browser.is_signed_in().await, "round {round}");
        ada.browser.renew().await.refused_with(401, "unauthenticated");
        let [offline, online] = arrived.refreshed;
        assert_eq!(is_alive(&app, offline).await, !offline_too, "round {round}");
        assert!(!is_alive(&app, online).await, "round {round}");
        // A code needs its session; what it had become before, with offline access, stays or goes with the others.
        let redeemed = is_alive(&app, arrived.redeemed).await;
        assert!(!redeemed || !offline_too, "round {round}");
        let shown = root.read(&format!("/admin/users/{}", ada.user_id)).await;
        let sessions = shown["sessions"].as_array().unwrap().len();
        assert_eq!(
            sessions,
            usize::from(ada.coming.is_signed_in().await),
            "round {round}"
        );
    }
}

/// Two administrators, and nobody else who is one.
async fn pair(op: &TestProvider, round: usize) -> [Arc<Browser>; 2] {
    sqlx::query("UPDATE users SET role = 'user' WHERE deleted_at IS NULL")
        .execute(op.db())
        .await
        .unwrap();
    [
        Arc::new(op.administrator(&format!("left {round}")).await),
        Arc::new(op.administrator(&format!("right {round}")).await),
    ]
}

/// AC-9, behind a barrier: of two administrators who disable, or delete, each other at once, one stays; so they do where one
/// deletes their own account while the other one steps down.
#[tokio::test(flavor = "multi_thread")]
async fn however_two_administrators_put_each_other_out_one_stays() {
    let op = TestProvider::start().await;
    for round in 0..ROUNDS {
        let [one, other] = pair(&op, round).await;
        let (one_id, other_id) = (one.user_id().await, other.user_id().await);
        let answers = <[Answer; 2]>::from(match round % 3 {
            0 => at_once(disable(&one, &other_id), disable(&other, &one_id)).await,
            1 => at_once(delete(&one, &other_id), delete(&other, &one_id)).await,
            _ => {
                let leaving = Arc::clone(&one);
                let leave = async move { leaving.call(Method::DELETE, "/auth/me", None).await };
                at_once(leave, demote(&other, &other_id)).await
            }
        });
        let done = answers.iter().filter(|answer| answer.status.is_success()).count();
        assert_eq!(done, 1, "round {round}: {answers:?}");
        for refused in answers.iter().filter(|answer| !answer.status.is_success()) {
            assert!(matches!(refused.status.as_u16(), 401 | 403 | 409), "{refused:?}");
        }
        assert_eq!(administrators(&op).await, 1, "round {round}");
    }
}

/// How many requests and commands wait for a lock.
async fn waiting(op: &TestProvider) -> i64 {
    sqlx::query_scalar(
        "SELECT count(*) FROM pg_stat_activity
         WHERE datname = current_database() AND wait_event_type = 'Lock'",
    )
    .fetch_one(op.db())
    .await
    .unwrap()
}

/// AC-9: of a command that disables one administrator and a request that demotes the other, one is refused. Both are let go at
/// the same moment, when each waits for what the other one wants.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_and_a_request_do_not_put_out_the_last_two_administrators() {
    let op = TestProvider::start().await;
    let operator = Arc::new(Directory::with_key(&op.configuration_text()));
    let [one, other] = pair(&op, 0).await;
    let (one_id, other_id) = (one.user_id().await, other.user_id().await);
    let (mut commands, mut requests) = (0, 0);
    for round in 0..ROUNDS {
        let mut barrier = op.db().begin().await.unwrap();
        sqlx::query("SELECT FROM users WHERE role = 'admin' FOR UPDATE")
            .execute(&mut *barrier)
            .await
            .unwrap();
        let reached = async |count: i64| {
            while waiting(&op).await < count {
                tokio::task::yield_now().await;
            }
        };
        let (directory, target) = (Arc::clone(&operator), one_id.clone());
        let run = move || directory.run(&["disable", &target]);
        let command = async { tokio::task::spawn_blocking(run).await.unwrap() };
        let (command, request, ()) = tokio::join!(command, demote(&other, &other_id), async {
            reached(2).await;
            barrier.commit().await.unwrap();
        });
        let said = String::from_utf8_lossy(&command.stderr).into_owned();
        if command.status.success() {
            request.refused_with(409, "last_admin");
            commands += 1;
        } else {
            assert!(said.contains("last administrator"), "{said}");
            request.is(200);
            requests += 1;
        }
        assert_eq!(administrators(&op).await, 1, "round {round}");
        reinstate(&op).await;
    }
    assert_eq!(commands + requests, ROUNDS);
}

/// AC-11, behind a barrier: a name that is reserved while somebody takes it is theirs, or refused to them; nobody else has it after
/// that.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_reserved_while_somebody_takes_it_is_theirs_or_nobodys() {
    let op = TestProvider::with(|config| config.usernames.days_between_changes = 0).await;
    let root = Arc::new(op.administrator("root").await);
    let (ada, alan) = (Arc::new(op.signed_in("ada").await), op.signed_in("alan").await);
    for round in 0..ROUNDS {
        let name = json!({ "username": format!("name{round}") });
        let before = ada.me().await.json()["username"].clone();
        let (reserving, renaming) = (Arc::clone(&root), Arc::clone(&ada));
        let (reservation, change) = (name.clone(), name.clone());
        let (reserved, renamed) = at_once(
            async move {
                reserving
                    .send(Method::POST, "/admin/reserved-usernames", &reservation)
                    .await
            },
            async move { renaming.send(Method::PATCH, "/auth/me/username", &change).await },
        )
        .await;
        reserved.is(201);
        let has: Value = ada.me().await.json()["username"].clone();
        if renamed.status.is_success() {
            assert_eq!(has, name["username"], "round {round}");
        } else {
            renamed.refused_with(409, "username_reserved");
            assert_eq!(has, before, "round {round}");
        }
        let late = alan.send(Method::PATCH, "/auth/me/username", &name).await;
        assert_eq!(late.status, 409, "round {round}: {}", late.text);
    }
}

/// AD-6, behind a barrier: an exchange that meets the end of its app gives nothing that lives, and leaves nothing behind.
#[tokio::test(flavor = "multi_thread")]
async fn no_exchange_outlives_the_app_that_is_deleted_meanwhile() {
    let op = TestProvider::start().await;
    let witness = op.client().await;
    let root = Arc::new(op.administrator("root").await);
    let ada = op.signed_in("ada").await;
    for round in 0..ROUNDS {
        let app = op.client().await;
        let granted = ada.authorize(&app).scope("openid offline_access").code().await;
        let (redeeming, deleting) = (app.clone(), Arc::clone(&root));
        let path = format!("/admin/clients/{}", app.client_id());
        let (redeemed, deleted) = at_once(async move { redeeming.redeem(&granted).await }, async move {
            deleting.remove(&path).await
        })
        .await;
        deleted.is(204);
        if redeemed.status.is_success() {
            let tokens = redeemed.tokens();
            assert!(!witness.is_active(&tokens.access_token).await, "round {round}");
            witness.userinfo(&tokens.access_token).await.is(401);
            let refreshed = app.refresh(tokens.refresh()).await;
            let error = refreshed.json()["error"].clone();
            // By a copy of the app that is a moment old, or without any.
            assert!(
                error == "invalid_grant" || error == "invalid_client",
                "{}",
                refreshed.text
            );
        } else {
            let error = redeemed.json()["error"].clone();
            assert!(
                error == "invalid_grant" || error == "invalid_client",
                "{}",
                redeemed.text
            );
        }
        for table in ["grants", "authorization_codes", "refresh_tokens"] {
            let sql = format!("SELECT count(*) FROM {table}");
            let left: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
                .fetch_one(op.db())
                .await
                .unwrap();
            assert_eq!(left, 0, "round {round}: {table}");
        }
    }
}

/// AD-6, behind a barrier: of two rotations at once each is one. With an overlap both secrets that were answered are good, and the
/// one before them is not; without one, exactly one is.
#[tokio::test(flavor = "multi_thread")]
async fn two_rotations_of_one_secret_are_two() {
    let op = TestProvider::start().await;
    let root = Arc::new(op.administrator("root").await);
    let app = op.client().await;
    let knows = async |secret: &str| {
        let tried = TestClient::new(&op, app.client.clone(), Some(secret.to_owned()));
        tried.introspect("nothing").await.status == 200
    };
    let mut last: Vec<String> = vec![app.secret().to_owned()];
    for round in 0..ROUNDS {
        let overlap_secs = if round % 2 == 0 { 60 } else { 0 };
        let rotate = || {
            let (root, path) = (
                Arc::clone(&root),
                format!("/admin/clients/{}/secret", app.client_id()),
            );
            async move {
                let asked = json!({ "overlap_secs": overlap_secs });
                let answer = root.send(Method::POST, &path, &asked).await.is(201).json();
                answer["client_secret"].as_str().unwrap().to_owned()
            }
        };
        let (one, other) = at_once(rotate(), rotate()).await;
        assert_ne!(one, other);
        let good = usize::from(knows(&one).await) + usize::from(knows(&other).await);
        assert_eq!(good, if overlap_secs == 0 { 1 } else { 2 }, "round {round}");
        for old in &last {
            assert!(!knows(old).await, "round {round}: two rotations ago");
        }
        last = vec![one, other];
    }
}
