use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use crate::common::provider::ISSUER;
use crate::common::{Browser, TestProvider};

fn names(page: &Value) -> Vec<&str> {
    let items = page["items"].as_array().unwrap();
    items
        .iter()
        .map(|item| item["username"].as_str().unwrap())
        .collect()
}

async fn set_role(root: &Browser, user_id: &str, role: &str) -> crate::common::Answer {
    root.send(
        Method::PATCH,
        &format!("/admin/users/{user_id}/role"),
        &json!({ "role": role }),
    )
    .await
}

async fn set_disabled(root: &Browser, user_id: &str, disabled: bool) -> crate::common::Answer {
    root.send(
        Method::PATCH,
        &format!("/admin/users/{user_id}"),
        &json!({ "disabled": disabled }),
    )
    .await
}

/// Accounts are found by the beginning of the name in any case, by id, by address, by role and by state.
#[tokio::test]
async fn accounts_are_found_by_name_id_address_role_and_state() {
    let op = TestProvider::start().await;
    let root = op.administrator("root").await;
    let ada = op.signed_in("ada").await;
    op.signed_in("adam").await;
    op.signed_in("bob").await;
    let ada_id = ada.user_id().await;
    let email: String = sqlx::query_scalar("SELECT email FROM oauth_links WHERE user_id = $1::text::uuid")
        .bind(&ada_id)
        .fetch_one(op.db())
        .await
        .unwrap();
    let find = async |query: &str| {
        let page = root.read(&format!("/admin/users?{query}&sort=username")).await;
        names(&page).join(" ")
    };
    assert_eq!(find("").await, "ada adam bob root");
    assert_eq!(find("username=AD").await, "ada adam");
    assert_eq!(find("username=adam").await, "adam");
    assert_eq!(find("username=%25").await, "");
    assert_eq!(find("username=_da").await, "");
    assert_eq!(find(&format!("user_id={ada_id}")).await, "ada");
    assert_eq!(find(&format!("email={}", email.replace('@', "%40"))).await, "ada");
    let upper = email.to_uppercase().replace('@', "%40");
    assert_eq!(find(&format!("email={upper}")).await, "ada");
    assert_eq!(find("email=nobody%40example.com").await, "");
    assert_eq!(find("email=nonsense").await, "");
    assert_eq!(find("role=admin").await, "root");
    assert_eq!(find("disabled=true").await, "");
    set_disabled(&root, &ada_id, true).await.is(200);
    assert_eq!(find("disabled=true").await, "ada");
    assert_eq!(find("disabled=false&username=a").await, "adam");
    assert_eq!(find("username=%F4%8F%BF%BF").await, "");
}

/// An address is found whether or not its provider says that it is theirs: it is what an administrator is written from.
#[tokio::test]
async fn an_account_is_found_by_an_address_that_nobody_verified() {
    let op = TestProvider::start().await;
    let root = op.administrator("root").await;
    let emails = op.signed_in("mallory").await.read("/auth/me/emails").await;
    assert_eq!(emails["emails"][0]["email_verified"], false, "{emails}");
    let email = emails["emails"][0]["email"].as_str().unwrap().replace('@', "%40");
    let found = root.read(&format!("/admin/users?email={email}")).await;
    assert_eq!(names(&found), ["mallory"]);
}

/// Every page of a list of accounts: `limit` at once, the filter sent with each cursor.
async fn all_pages(root: &Browser, filter: &str, limit: usize) -> (usize, Vec<String>) {
    let (mut pages, mut seen, mut cursor) = (0, Vec::new(), String::new());
    loop {
        let page = root
            .read(&format!("/admin/users?{filter}&limit={limit}{cursor}"))
            .await;
        pages += 1;
        seen.extend(names(&page).into_iter().map(str::to_owned));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return (pages, seen),
        }
    }
}

/// AD-5: a filter holds on every page, in either order, and the newest account comes first where nothing else is said.
#[tokio::test]
async fn a_filter_holds_on_every_page_and_the_newest_come_first() {
    let op = TestProvider::start().await;
    let root = op.administrator("root").await;
    // Administrators and disabled accounts lie between the others.
    for person in ["eve", "ada", "dan", "chief", "bob", "cleo"] {
        let browser = op.signed_in(person).await;
        if person == "chief" {
            set_role(&root, &browser.user_id().await, "admin").await.is(200);
        }
        if person == "dan" {
            set_disabled(&root, &browser.user_id().await, true).await.is(200);
        }
    }
    let newest = ["cleo", "bob", "chief", "dan", "ada", "eve", "root"];
    for limit in [1, 2, 3, 500] {
        for (filter, expected) in [
            ("", &newest[..]),
            ("sort=created_at", &newest),
            ("role=user", &["cleo", "bob", "dan", "ada", "eve"]),
            ("role=user&disabled=false", &["cleo", "bob", "ada", "eve"]),
            ("role=user&sort=username", &["ada", "bob", "cleo", "dan", "eve"]),
            ("role=admin&sort=username", &["chief", "root"]),
            ("disabled=true", &["dan"]),
            ("username=nobody", &[]),
        ] {
            let (pages, seen) = all_pages(&root, filter, limit).await;
            assert_eq!(seen, expected, "{filter} {limit}");
            assert_eq!(pages, expected.len().div_ceil(limit).max(1), "{filter} {limit}");
        }
    }
}

/// AD-5: page by page in either order, every account is seen once, also those of one moment.
#[tokio::test]
async fn pages_follow_each_other_without_gap_or_repetition() {
    let op = TestProvider::start().await;
    let root = op.administrator("root").await;
    for person in ["ada", "bob", "cleo", "dan", "eve", "fay"] {
        op.signed_in(person).await;
    }
    sqlx::query("UPDATE users SET created_at = '2026-01-01T00:00:00Z' WHERE username < 'd'")
        .execute(op.db())
        .await
        .unwrap();
    for sort in ["created_at", "username"] {
        for limit in [1, 2, 3, 7, 500] {
            let (mut seen, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
            loop {
                let page = root
                    .read(&format!("/admin/users?sort={sort}&limit={limit}{cursor}"))
                    .await;
                seen.extend(names(&page).into_iter().map(str::to_owned));
                pages += 1;
                let Some(next) = page["next_cursor"].as_str() else {
                    break;
                };
                cursor = format!("&cursor={next}");
            }
            assert_eq!(pages, 7_usize.div_ceil(limit), "{sort} {limit}");
            assert_eq!(seen.len(), 7, "{sort} {limit}: {seen:?}");
            assert_eq!(
                seen.iter().collect::<BTreeSet<_>>().len(),
                7,
                "{sort} {limit}: {seen:?}"
            );
            if sort == "username" {
                assert!(seen.is_sorted(), "{seen:?}");
            }
        }
    }
}

/// One account is shown with its identities, sessions and consents, and with nothing that opens anything.
#[tokio::test]
async fn an_account_is_shown_with_what_hangs_on_it() {
    let op = TestProvider::start().await;
    let root = op.administrator("root").await;
    let ada = op.signed_in("ada").await;
    let app = op.asking_client().await;
    app.tokens_of(&ada, "ada", "openid email").await;
    let shown = root.read(&format!("/admin/users/{}", ada.user_id().await)).await;
    assert_eq!(shown["username"], "ada");
    assert_eq!(
        (&shown["role"], &shown["disabled"]),
        (&json!("user"), &json!(false))
    );
    assert_eq!(shown["links"][0]["provider"], "simulated");
    assert!(shown["links"][0]["email"].as_str().unwrap().contains('@'));
    assert_eq!(shown["sessions"].as_array().unwrap().len(), 1);
    assert!(shown["sessions"][0]["ip_address"].is_string());
    assert_eq!(shown["consents"][0]["client_id"], app.client_id());
    assert_eq!(shown["consents"][0]["client_name"], "The App");
    let text = shown.to_string();
    for kind in ["refresh", "access"] {
        assert!(!text.contains(&ada.cookie(kind).unwrap()));
    }
    for hidden in ["hash", "token", "salt"] {
        assert!(!text.contains(hidden), "{hidden}");
    }
}

/// A role changes at once, is heard of, and leaves an entry; the same role again changes nothing.
#[tokio::test]
async fn a_role_changes_once_and_is_heard_of() {
    let op = TestProvider::start().await;
    let root = op.administrator("root").await;
    let ada = op.signed_in("ada").await;
    let id = ada.user_id().await;
    assert_eq!(
        set_role(&root, &id, "admin").await.is(200).json()["role"],
        "admin"
    );
    set_role(&root, &id, "admin").await.is(200);
    ada.read("/admin/users").await;
    assert_eq!(set_role(&ada, &id, "user").await.is(200).json()["role"], "user");
    assert!(ada.is_signed_in().await);
    let heard = op.events("user.role_changed").await;
    assert_eq!(
        heard,
        [
            json!({ "user_id": id, "old_role": "user", "new_role": "admin" }),
            json!({ "user_id": id, "old_role": "admin", "new_role": "user" }),
        ]
    );
    assert_eq!(op.trail_length().await, 2);
}

/// Disabling ends every session and token at once, offline ones too, and lets nobody in; the data stays. Enabling lets the
/// person sign in again and revives nothing.
#[tokio::test]
async fn a_disabled_account_has_lost_every_session_and_token_for_good() {
    let op = TestProvider::start().await;
    let root = op.administrator("root").await;
    let ada = op.signed_in("ada").await;
    let id = ada.user_id().await;
    let app = op.client().await;
    let online = app.tokens_of(&ada, "ada", "openid").await;
    let offline = app.tokens_of(&ada, "ada", "openid offline_access").await;
    let waiting = ada.authorize(&app).scope("openid").code().await;
    let disabled = set_disabled(&root, &id, true).await.is(200).json();
    assert_eq!(disabled["disabled"], true);
    assert!(disabled["disabled_at"].is_string());
    let dead = async || {
        assert!(!ada.is_signed_in().await);
        for tokens in [&online, &offline] {
            assert!(!app.is_active(&tokens.access_token).await);
            assert!(!app.is_active(tokens.refresh()).await);
            app.userinfo(&tokens.access_token).await.is(401);
            app.refresh(tokens.refresh()).await.refused("invalid_grant");
        }
    };
    dead().await;
    app.redeem(&waiting).await.refused("invalid_grant");
    let again = op.browser();
    let visit = again.open(&format!("{ISSUER}/auth/simulated")).await;
    again.pass_upstream(visit, "ada").await;
    assert!(!again.is_signed_in().await);
    assert_eq!(root.read(&format!("/admin/users/{id}")).await["username"], "ada");

    assert_eq!(
        set_disabled(&root, &id, false).await.is(200).json()["disabled"],
        false
    );
    dead().await;
    let back = op.signed_in("ada").await;
    assert_eq!(back.user_id().await, id);
    assert_eq!(op.events("user.disabled").await, [json!({ "user_id": id })]);
    assert_eq!(op.events("user.enabled").await, [json!({ "user_id": id })]);
    assert_eq!(op.events("session.revoked").await[0]["reason"], "user_disabled");
    set_disabled(&root, &id, false).await.is(200);
    assert_eq!(op.trail_length().await, 2);
}

/// Signing somebody out everywhere ends their sessions with the online tokens, and the offline ones if that is asked for.
#[tokio::test]
async fn somebody_is_signed_out_everywhere() {
    let op = TestProvider::start().await;
    let root = op.administrator("root").await;
    let app = op.client().await;
    let (one, other) = (op.signed_in("ada").await, op.signed_in("ada").await);
    let path = format!("/admin/users/{}/sessions", one.user_id().await);
    let online = app.tokens_of(&one, "ada", "openid").await;
    let offline = app.tokens_of(&one, "ada", "openid offline_access").await;
    root.remove(&path).await.is(204);
    assert!(!one.is_signed_in().await && !other.is_signed_in().await);
    assert!(!app.is_active(&online.access_token).await);
    assert!(app.is_active(&offline.access_token).await);
    root.remove(&format!("{path}?include_offline=true")).await.is(204);
    assert!(!app.is_active(&offline.access_token).await);
    app.refresh(offline.refresh()).await.refused("invalid_grant");
    assert_eq!(op.events("session.revoked").await.len(), 2);
    assert_eq!(op.trail_length().await, 2);
    assert!(root.is_signed_in().await);
}

/// An account is deleted for good, and the trail remembers who did it, not who it was.
#[tokio::test]
async fn an_account_is_deleted_and_the_trail_forgets_its_name() {
    let op = TestProvider::start().await;
    let root = op.administrator("root").await;
    let ada = op.signed_in("ada").await;
    let id = ada.user_id().await;
    set_role(&root, &id, "admin").await.is(200);
    let named = root.read(&format!("/admin/audit?target_id={id}")).await;
    assert_eq!(named["items"][0]["target_username"], "ada");
    root.remove(&format!("/admin/users/{id}")).await.is(204);
    assert!(!ada.is_signed_in().await);
    root.remove(&format!("/admin/users/{id}"))
        .await
        .refused_with(404, "not_found");
    let answer = root.call(Method::GET, &format!("/admin/users/{id}"), None).await;
    answer.refused_with(404, "not_found");
    assert_eq!(names(&root.read("/admin/users").await), ["root"]);
    let trail = root.read(&format!("/admin/audit?target_id={id}")).await;
    let entries = trail["items"].as_array().unwrap();
    assert_eq!(entries[0]["action"], "user_deleted");
    assert_eq!(entries[0]["actor_user_id"], json!(root.user_id().await));
    assert!(entries.iter().all(|entry| entry["target_username"].is_null()));
}

/// AC-9: the last administrator stays one, is not disabled and not deleted; a refusal has no effect at all.
#[tokio::test]
async fn the_last_administrator_stays() {
    let op = TestProvider::start().await;
    let root = op.administrator("root").await;
    let id = root.user_id().await;
    set_role(&root, &id, "user").await.refused_with(409, "last_admin");
    set_disabled(&root, &id, true)
        .await
        .refused_with(409, "last_admin");
    root.remove(&format!("/admin/users/{id}"))
        .await
        .refused_with(409, "last_admin");
    root.read("/admin/users").await;
    let effects: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM events WHERE event_type <> ALL ('{user.created,link.created,session.created,key.rotated}')",
    )
    .fetch_one(op.db())
    .await
    .unwrap();
    assert_eq!((effects, op.trail_length().await), (0, 0));
    // A disabled administrator does not count, whoever's account is live does.
    let other = op.administrator("other").await;
    let other_id = other.user_id().await;
    set_disabled(&root, &other_id, true).await.is(200);
    set_role(&root, &id, "user").await.refused_with(409, "last_admin");
    set_role(&root, &other_id, "user").await.is(200);
    set_role(&root, &other_id, "admin").await.is(200);
    set_role(&root, &id, "user").await.refused_with(409, "last_admin");
    set_disabled(&root, &other_id, false).await.is(200);
    set_role(&root, &id, "user").await.is(200);
}

/// Nobody has an id that was made up, whatever is to be done.
#[tokio::test]
async fn an_unknown_account_is_404_for_everything() {
    let op = TestProvider::start().await;
    let root = op.administrator("root").await;
    let id = "2b1fd1ae-6a47-4c07-8d07-3c6bd2c5b4a1";
    set_role(&root, id, "admin").await.refused_with(404, "not_found");
    set_disabled(&root, id, true).await.refused_with(404, "not_found");
    root.remove(&format!("/admin/users/{id}"))
        .await
        .refused_with(404, "not_found");
    root.remove(&format!("/admin/users/{id}/sessions"))
        .await
        .refused_with(404, "not_found");
    assert_eq!(op.trail_length().await, 0);
}
