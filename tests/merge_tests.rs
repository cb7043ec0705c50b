//! When an identity joins an account that exists, when it must not, and how it is given one of its own again (AC-5 to AC-8,
//! AC-13).

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::process::Output;
use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use common::provider::PAGES;
use common::races::{ROUNDS, all_at_once};
use common::upstreams::with_upstreams;
use common::{Browser, Directory, TestClient, TestProvider, Visit};
use reqwest::Method;
use riley_auth::accounts::{self, NotUnmerged, Unmerged, Unmerging};
use riley_auth::audit::Actor;
use riley_auth::config::Config;
use riley_auth::config::oauth::{AccountMergePolicy, Onboarding};
use riley_auth::dev::simulated_upstream::{Flavour, Misbehaviour, SimulatedUpstream};
use riley_auth::protocol::ids::LinkId;
use riley_auth::usernames::UsernameRules;
use serde_json::{Value, json};

/// What else goes when a merge is undone, and whose word a provider's name is.
#[path = "merge/undone.rs"]
mod undone;

/// When nothing is merged, way by way.
#[path = "merge/refused.rs"]
mod refused;

/// Merges that meet something else, behind a barrier, a hundred rounds; and undoing one over HTTP.
#[path = "merge/races.rs"]
mod races;

/// Undoes the merge of a link, as an operator.
async fn unmerge(op: &TestProvider, link_id: LinkId) -> Result<Unmerged, NotUnmerged> {
    let state = op.state();
    let rules = UsernameRules::new(&state.config.usernames).unwrap();
    let unmerging = Unmerging {
        link_id,
        owner: None,
        actor: &Actor::CommandLine,
        usernames: &rules.candidates(&["ada"], &SystemRandom::new()),
    };
    let mut tx = op.db().begin().await?;
    let now = op.clock().now();
    let done = accounts::unmerge(&mut tx, &unmerging, &state.keyring, &state.rng, now).await?;
    tx.commit().await?;
    Ok(done)
}

fn merging(config: &mut Config) {
    config.oauth.account_merge_policy = AccountMergePolicy::VerifiedEmail;
}

/// GitHub, where people were first, and Google, by which they come later.
struct Both {
    op: TestProvider,
    _google: Vec<SimulatedUpstream>,
}

impl Both {
    async fn start(change: impl FnOnce(&mut Config)) -> Self {
        Self::with(json!({}), json!({}), change).await
    }

    async fn with(github: Value, google: Value, change: impl FnOnce(&mut Config)) -> Self {
        let list = [
            ("github", Flavour::GitHub, github),
            ("google", Flavour::Google, google),
        ];
        let (op, google) = with_upstreams(&list, change).await;
        Self { op, _google: google }
    }

    /// Somebody who is in, by this provider.
    async fn signed_in(&self, provider: &str, person: &str, wrong: &[Misbehaviour]) -> Browser {
        let browser = self.op.browser();
        let visit = browser.sign_in_amid(provider, person, wrong).await;
        assert_eq!(visit.url.as_str(), format!("{PAGES}/home"), "{}", visit.text());
        names_no_address(&visit);
        browser
    }

    async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(self.op.db()).await.unwrap()
    }

    async fn users(&self) -> i64 {
        self.count("SELECT count(*) FROM users").await
    }

    async fn change(&self, sql: &'static str) {
        sqlx::query(sql).execute(self.op.db()).await.unwrap();
    }

    /// The data of every event of this type, oldest first.
    async fn events(&self, event_type: &str) -> Vec<Value> {
        sqlx::query_scalar("SELECT data FROM events WHERE event_type = $1 ORDER BY created_at, event_id")
            .bind(event_type)
            .fetch_all(self.op.db())
            .await
            .unwrap()
    }

    /// Actor, action, target, what of it is personal, details.
    async fn trail(&self) -> Vec<(String, String, Option<String>, Option<String>, String)> {
        sqlx::query_as(
            "SELECT actor, action, target_id, target_personal, details FROM audit_entries ORDER BY sequence",
        )
        .fetch_all(self.op.db())
        .await
        .unwrap()
    }

    /// The link of this provider.
    async fn link_id(&self, provider: &str) -> LinkId {
        let link_id = sqlx::query_scalar("SELECT link_id FROM oauth_links WHERE provider = $1")
            .bind(provider)
            .fetch_one(self.op.db());
        LinkId(link_id.await.unwrap())
    }

    /// Undoes the merge of a link, as an operator.
    async fn unmerge(&self, link_id: LinkId) -> Result<Unmerged, NotUnmerged> {
        unmerge(&self.op, link_id).await
    }

    /// Tokens of an app for somebody who is signed in here.
    async fn tokens(&self, browser: &Browser, app: &TestClient, scope: &str) -> common::Tokens {
        let granted = browser.authorize(app).scope(scope).code().await;
        app.redeem(&granted).await.tokens()
    }
}

/// AC-13: no address stands in any URL on the way.
fn names_no_address(visit: &Visit) {
    for url in visit.hops.iter().map(|(url, _)| url).chain([&visit.url]) {
        assert!(
            !url.as_str().contains('@') && !url.as_str().contains("%40"),
            "{url}"
        );
    }
}

/// §5, v4's example: GitHub first, Google later, both verified and trusted, one account.
#[tokio::test]
async fn github_first_and_google_later_are_one_account() {
    let both = Both::start(merging).await;
    let github = both.signed_in("github", "ada", &[]).await;
    let account = github.user_id().await;
    let google = both.signed_in("google", "ada", &[]).await;
    assert_eq!(google.user_id().await, account);
    assert_eq!(both.users().await, 1);
    let links: Vec<String> =
        sqlx::query_scalar("SELECT provider FROM oauth_links ORDER BY created_at, link_id")
            .fetch_all(both.op.db())
            .await
            .unwrap();
    assert_eq!(links, ["github", "google"]);

    // From now on each of them leads there.
    for provider in ["github", "google"] {
        assert_eq!(
            both.signed_in(provider, "ada", &[]).await.user_id().await,
            account
        );
    }
}

/// AC-5, AC-7: apps hear of a merge, and it stands in the trail as the program's own doing, without anything personal in the
/// part that stays.
#[tokio::test]
async fn a_merge_is_told_of_and_stands_in_the_trail() {
    let both = Both::start(merging).await;
    let account = both.signed_in("github", "ada", &[]).await.user_id().await;
    both.signed_in("google", "ada", &[]).await;
    let link_id: LinkId = sqlx::query_scalar("SELECT link_id FROM oauth_links WHERE provider = 'google'")
        .fetch_one(both.op.db())
        .await
        .map(LinkId)
        .unwrap();
    let told = json!({ "user_id": account, "link_id": link_id, "provider": "google" });
    let of_google = |events: Vec<Value>| -> Vec<Value> {
        events
            .into_iter()
            .filter(|data| data["provider"] == "google")
            .collect()
    };
    assert_eq!(both.events("account.merged").await, std::slice::from_ref(&told));
    assert_eq!(of_google(both.events("link.created").await), [told]);
    let ended = both.events("session.revoked").await;
    assert_eq!(ended.len(), 1);
    assert_eq!(ended[0]["reason"], "account_merged");

    let entries = both.trail().await;
    assert_eq!(entries.len(), 1);
    let (actor, action, target, personal, details) = &entries[0];
    assert_eq!(
        (actor.as_str(), action.as_str(), target.as_deref()),
        ("system", "account_merged", Some(account.as_str()))
    );
    assert_eq!(personal.as_deref(), Some(r#"{"username":"ada"}"#));
    let details: Value = serde_json::from_str(details).unwrap();
    assert_eq!(details, json!({ "provider": "google", "link_id": link_id }));
}

/// What is not a merge is not called one.
#[tokio::test]
async fn an_account_of_ones_own_is_not_in_the_trail() {
    let both = Both::start(|config| config.oauth.link_url = None).await;
    both.signed_in("github", "ada", &[]).await;
    both.signed_in("google", "ada", &[]).await;
    assert_eq!(both.trail().await.len(), 0);
    assert_eq!(both.events("account.merged").await.len(), 0);
    assert_eq!(
        both.count("SELECT count(*) FROM oauth_links WHERE merged_at IS NOT NULL")
            .await,
        0
    );
}

/// AC-7: whoever was signed in before the merge had not proved the new identity.
#[tokio::test]
async fn a_merge_ends_the_sessions_that_were_open_before_it() {
    let both = Both::start(merging).await;
    let elsewhere = both.signed_in("github", "ada", &[]).await;
    let here = both.signed_in("github", "ada", &[]).await;
    let (account, before) = (here.user_id().await, here.copy());
    both.op.upstream().sign_everybody_out();
    let visit = here.sign_in_amid("google", "ada", &[]).await;
    assert_eq!(visit.url.as_str(), format!("{PAGES}/home"));
    assert_eq!(here.user_id().await, account);
    assert!(!elsewhere.is_signed_in().await && !before.is_signed_in().await);
    let merged = both
        .count("SELECT count(*) FROM sessions WHERE ended_reason = 'account_merged'")
        .await;
    assert_eq!(
        (merged, both.count("SELECT count(*) FROM sessions").await),
        (2, 3)
    );
}

/// AC-8, behind a barrier: two sign-ins that would both merge make one link, and both are in.
#[tokio::test(flavor = "multi_thread")]
async fn two_merges_at_once_make_one_link() {
    let both = Both::start(merging).await;
    let account = both.signed_in("github", "ada", &[]).await.user_id().await;
    for round in 0..ROUNDS {
        let mut arrivals = Vec::new();
        for _ in 0..2 {
            let browser = both.op.browser();
            let page = browser.start("google").await;
            let callback = browser.callback_url(&page, "ada", &[]).await;
            arrivals.push(async move {
                browser.open(callback.as_str()).await;
                browser
            });
        }
        let mut inside = 0;
        for browser in all_at_once(arrivals).await {
            if browser.is_signed_in().await {
                assert_eq!(browser.user_id().await, account, "round {round}");
                inside += 1;
            }
        }
        assert!(inside >= 1, "round {round}: at least the later one is in");
        assert_eq!(
            (
                both.users().await,
                both.count("SELECT count(*) FROM oauth_links").await
            ),
            (1, 2),
            "round {round}"
        );
        both.change("DELETE FROM oauth_links WHERE provider = 'google'")
            .await;
    }
    assert_eq!(both.events("account.merged").await.len(), ROUNDS);
}

/// AC-6: domains and local parts are compared as ASCII without case.
#[tokio::test]
async fn addresses_are_compared_without_case() {
    let both = Both::start(merging).await;
    let account = both.signed_in("github", "ada", &[]).await.user_id().await;
    both.change("UPDATE oauth_links SET email = 'Ada@ENGINE.example'")
        .await;
    assert_eq!(
        both.signed_in("google", "ada", &[]).await.user_id().await,
        account
    );
}

/// §5: without the policy the person hears of it, by `link_suggested`, and goes on to an account of their own.
#[tokio::test]
async fn without_the_policy_the_person_is_only_asked() {
    let both = Both::start(|_| ()).await;
    let account = both.signed_in("github", "ada", &[]).await.user_id().await;
    let ada = both.op.browser();
    let visit = ada.sign_in_amid("google", "ada", &[]).await;
    assert_eq!(
        visit.url.as_str(),
        format!("{PAGES}/link"),
        "the page is handed nothing"
    );
    names_no_address(&visit);
    assert!(!ada.is_signed_in().await);
    let known = ada.setup().await.is(200).json();
    assert_eq!(known["link_suggested"], true);
    assert!(
        !known.to_string().contains(&account),
        "whose account it is is not said: {known}"
    );

    ada.choose("another-ada").await.is(200);
    assert_ne!(ada.user_id().await, account);
    assert_eq!(both.users().await, 2);
}

/// AC-13: nobody but who proved the address at a trusted provider learns that it has an account.
#[tokio::test]
async fn nobody_else_learns_that_an_address_has_an_account() {
    let asking = |config: &mut Config| config.oauth.onboarding = Onboarding::Prompt;
    for (google, wrong) in [
        (json!({ "email_trust": "none" }), &[][..]),
        (json!({}), &[Misbehaviour::UnverifiedEmail]),
        (json!({}), &[Misbehaviour::EmailVerifiedAsString]),
    ] {
        let both = Both::with(json!({}), google, asking).await;
        let ada = both.op.browser();
        ada.sign_in_amid("github", "ada", &[]).await;
        ada.choose("ada").await.is(200);
        let eve = both.op.browser();
        let visit = eve.sign_in_amid("google", "ada", wrong).await;
        assert_eq!(visit.url.as_str(), format!("{PAGES}/welcome"), "{wrong:?}");
        assert_eq!(eve.setup().await.json()["link_suggested"], false, "{wrong:?}");
    }
}

/// §5: without `link_url` and with derived names there is nobody to ask: an account of their own.
#[tokio::test]
async fn without_a_page_to_ask_on_the_newcomer_gets_an_account() {
    let both = Both::start(|config| config.oauth.link_url = None).await;
    let account = both.signed_in("github", "ada", &[]).await.user_id().await;
    assert_ne!(
        both.signed_in("google", "ada", &[]).await.user_id().await,
        account
    );
}

/// UP-7: the identity is the subject, never the address. Somebody who gives an address away takes no account along.
#[tokio::test]
async fn a_known_identity_stays_where_it_is_whatever_its_address() {
    let both = Both::start(merging).await;
    let ada = both.signed_in("github", "ada", &[]).await.user_id().await;
    let alan = both.signed_in("github", "alan", &[]).await.user_id().await;
    both.change("UPDATE oauth_links SET email_folded = 'ada@engine.example'")
        .await;
    assert_eq!(both.signed_in("github", "alan", &[]).await.user_id().await, alan);
    assert_eq!(both.signed_in("github", "ada", &[]).await.user_id().await, ada);
}

/// §5: the identity gets an account of its own under another `sub`; sessions and tokens that were had through it end, those
/// of the account's owner go on.
#[tokio::test]
async fn a_merge_that_is_undone_gives_the_identity_an_account_of_its_own() {
    let both = Both::start(merging).await;
    let app = both.op.client().await;
    both.signed_in("github", "ada", &[]).await;
    let stranger = both.signed_in("google", "ada", &[]).await;
    let owner = both.signed_in("github", "ada", &[]).await;
    let account = owner.user_id().await;
    assert_eq!(stranger.user_id().await, account);
    let owners = both.tokens(&owner, &app, "openid offline_access").await;
    let strangers = both.tokens(&stranger, &app, "openid").await;
    let lasting = both.tokens(&stranger, &app, "openid offline_access").await;
    let unused = stranger
        .authorize(&app)
        .scope("openid offline_access")
        .code()
        .await;

    let link_id = both.link_id("google").await;
    let done = both.unmerge(link_id).await.unwrap();
    assert_eq!(done.user_id.to_string(), account);
    assert_ne!(done.new_user.user_id.to_string(), account);
    assert_eq!((done.sessions_ended, done.grants_revoked), (1, 2));
    assert_eq!(done.new_user.username, "ada2");

    assert!(!stranger.is_signed_in().await);
    assert!(owner.is_signed_in().await);
    for tokens in [&strangers, &lasting] {
        assert!(!app.is_active(&tokens.access_token).await);
        app.refresh(tokens.refresh()).await.refused("invalid_grant");
    }
    app.redeem(&unused).await.refused("invalid_grant");
    assert!(app.is_active(&owners.access_token).await);
    app.refresh(owners.refresh()).await.tokens();

    // From now on each leads to its own, and nothing merges them again.
    let again = both.signed_in("google", "ada", &[]).await;
    assert_eq!(again.user_id().await, done.new_user.user_id.to_string());
    assert_eq!(
        both.signed_in("github", "ada", &[]).await.user_id().await,
        account
    );
    assert_eq!(both.users().await, 2);
    let tokens = both.tokens(&again, &app, "openid").await;
    let sub = app.userinfo(&tokens.access_token).await.json()["sub"].clone();
    assert_eq!(sub, done.new_user.user_id.to_string());
}

/// §5, §7: apps hear of it, and it stands in the trail with who did it.
#[tokio::test]
async fn a_merge_that_is_undone_is_told_of_and_stands_in_the_trail() {
    let both = Both::start(merging).await;
    both.signed_in("github", "ada", &[]).await;
    both.signed_in("google", "ada", &[]).await;
    both.change(
        "UPDATE users SET primary_link_id = (SELECT link_id FROM oauth_links WHERE provider = 'google')",
    )
    .await;
    let link_id = both.link_id("google").await;
    let done = both.unmerge(link_id).await.unwrap();
    let (old, new) = (done.user_id, done.new_user.user_id);
    assert_eq!(
        both.events("account.unmerged").await,
        [json!({ "user_id": old, "new_user_id": new, "link_id": link_id, "provider": "google" })]
    );
    assert_eq!(
        both.events("link.deleted").await,
        [json!({ "user_id": old, "link_id": link_id, "provider": "google" })]
    );
    assert_eq!(
        both.events("link.created").await.last().unwrap()["user_id"],
        json!(new)
    );
    assert_eq!(
        both.events("user.created").await.last().unwrap()["user_id"],
        json!(new)
    );
    assert_eq!(
        both.events("user.updated").await,
        [json!({ "user_id": old, "changed": ["email"] })],
        "the address that the owner had chosen was the other identity's"
    );
    let trail = both.trail().await;
    assert_eq!(trail.len(), 2);
    let (actor, action, target, _, details) = &trail[1];
    assert_eq!(
        (actor.as_str(), action.as_str(), target.clone()),
        ("command_line", "account_unmerged", Some(old.to_string()))
    );
    let details: Value = serde_json::from_str(details).unwrap();
    assert_eq!(
        details,
        json!({ "provider": "google", "link_id": link_id, "went_along": [], "new_user_id": new })
    );
}

/// What was no merge, or what nothing would be left of, is not undone, and nothing changes.
#[tokio::test]
async fn only_a_merge_is_undone() {
    let both = Both::start(merging).await;
    both.signed_in("github", "ada", &[]).await;
    let ada = both.signed_in("google", "ada", &[]).await;
    let (github, google) = (both.link_id("github").await, both.link_id("google").await);
    let refused = both.unmerge(github).await;
    assert!(matches!(refused, Err(NotUnmerged::NotMerged)), "{refused:?}");
    let refused = both.unmerge(LinkId(uuid::Uuid::new_v4())).await;
    assert!(matches!(refused, Err(NotUnmerged::NotFound)), "{refused:?}");

    let owner = both.signed_in("github", "ada", &[]).await;
    owner
        .call(Method::DELETE, "/auth/link/github", None)
        .await
        .is(200);
    let refused = both.unmerge(google).await;
    assert!(matches!(refused, Err(NotUnmerged::LastLink)), "{refused:?}");
    assert!(ada.is_signed_in().await);
    assert_eq!((both.users().await, both.trail().await.len()), (1, 1));
}

/// A merge is undone once, also by two administrators at once, and what was undone is no merge any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_merge_is_undone_once() {
    let both = Both::start(merging).await;
    let roots = ["root", "other"].map(|person| both.signed_in("github", person, &[]));
    let [one, other] = roots;
    let roots = [Arc::new(one.await), Arc::new(other.await)];
    both.change("UPDATE users SET role = 'admin'").await;
    let account = both.signed_in("github", "ada", &[]).await.user_id().await;
    both.signed_in("google", "ada", &[]).await;
    let link_id = both.link_id("google").await;
    let path = format!("/admin/users/{account}/links/{link_id}/unmerge");
    for round in 0..ROUNDS {
        let undoing = [&roots[0], &roots[1]].map(|root| {
            let (root, path) = (Arc::clone(root), path.clone());
            async move { root.call(Method::POST, &path, None).await.status.as_u16() }
        });
        let mut statuses = all_at_once(undoing.into()).await;
        statuses.sort_unstable();
        assert_eq!(statuses[0], 200, "round {round}");
        assert!(matches!(statuses[1], 404 | 409), "round {round}: {statuses:?}");
        let refused = both.unmerge(link_id).await;
        assert!(matches!(refused, Err(NotUnmerged::NotMerged)), "{refused:?}");
        both.change(undone::MERGED_AGAIN).await;
    }
    let rounds = i64::try_from(ROUNDS).unwrap();
    assert_eq!(both.users().await, rounds + 3);
    assert_eq!(both.trail().await.len(), ROUNDS + 1);
}

/// §8: the command takes the link or the account and its provider, speaks to people and programs, and says what is wrong.
#[tokio::test]
async fn the_command_undoes_a_merge_by_link_or_by_account_and_provider() {
    let both = Both::start(merging).await;
    let account = both.signed_in("github", "ada", &[]).await.user_id().await;
    both.signed_in("google", "ada", &[]).await;
    let operator = Directory::with_key(&both.op.configuration_text());
    let said = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
    for (arguments, complaint) in [
        (&["unmerge", "nonsense"][..], "not the id of a link"),
        (
            &["unmerge", "00000000-0000-7000-8000-000000000000"],
            "no such link",
        ),
        (&["unmerge", "nobody", "google"], "no such link"),
        (&["unmerge", "ada", "gitlab"], "no such link"),
        (&["unmerge", "ada", "github"], "its owner linked it"),
    ] {
        let output = operator.run(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(
            said(&output).contains(complaint),
            "{arguments:?}: {}",
            said(&output)
        );
    }
    assert_eq!(operator.run(&["unmerge"]).status.code(), Some(2));

    let output = operator.run(&["unmerge", "ADA", "google", "--json"]);
    assert!(output.status.success(), "{}", said(&output));
    let done: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(done["user_id"], json!(account));
    assert_eq!(done["provider"], "google");
    assert_eq!(done["sessions_ended"], 1);
    let google = both.signed_in("google", "ada", &[]).await;
    assert_eq!(done["new_user_id"], json!(google.user_id().await));
    assert_eq!(google.me().await.json()["username"], done["new_username"]);

    // By the id of the link, another one.
    both.signed_in("github", "grace", &[]).await;
    both.signed_in("google", "grace", &[]).await;
    let link_id: uuid::Uuid =
        sqlx::query_scalar("SELECT link_id FROM oauth_links WHERE merged_at IS NOT NULL")
            .fetch_one(both.op.db())
            .await
            .unwrap();
    let output = operator.run(&["unmerge", &link_id.to_string()]);
    assert!(output.status.success(), "{}", said(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("has left account") && !text.contains('@'), "{text}");
    assert_eq!(both.users().await, 4);
}

/// AC-5: whose the address is is judged while the account is locked. A merge that had to wait for the owner to take the
/// address away joins nothing.
#[tokio::test]
async fn an_address_that_is_taken_away_meanwhile_merges_nothing() {
    let both = Both::start(|config| {
        merging(config);
        config.oauth.link_url = None;
    })
    .await;
    let account = both.signed_in("github", "ada", &[]).await.user_id().await;
    let newcomer = both.op.browser();
    let callback = newcomer.up_to_callback("google", "ada").await;

    let mut owner = both.op.db().begin().await.unwrap();
    sqlx::query("SELECT FROM users FOR NO KEY UPDATE")
        .execute(&mut *owner)
        .await
        .unwrap();
    let coming = newcomer.open(callback.as_str());
    let leaving = async {
        let waits = "SELECT count(*) FROM pg_stat_activity
                     WHERE datname = current_database() AND wait_event_type = 'Lock'";
        while both.count(waits).await == 0 {
            tokio::task::yield_now().await;
        }
        sqlx::query("UPDATE oauth_links SET email_folded = NULL, email = NULL")
            .execute(&mut *owner)
            .await
            .unwrap();
        owner.commit().await.unwrap();
    };
    let (visit, ()) = tokio::join!(coming, leaving);
    assert_eq!(visit.url.as_str(), format!("{PAGES}/home"), "{}", visit.text());
    assert_ne!(newcomer.user_id().await, account);
    assert_eq!(both.events("account.merged").await.len(), 0);
    assert_eq!(both.trail().await.len(), 0);
}
