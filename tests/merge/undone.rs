use std::sync::Arc;

use reqwest::Method;
use riley_auth::accounts::NotUnmerged;
use riley_auth::config::oauth::AccountMergePolicy;
use riley_auth::dev::simulated_upstream::{Flavour, SimulatedUpstream};
use riley_auth::protocol::ids::LinkId;
use serde_json::{Map, Value, json};

use super::unmerge;
use crate::common::linking::{
    confirm_id, link, linked_providers, proposal, sign_in, unlink, wait_for_confirmation,
};
use crate::common::races::{ROUNDS, at_once};
use crate::common::upstreams::with_upstreams;
use crate::common::{Browser, TestClient, TestProvider};

/// GitHub, where the owner was first; Google, by which a stranger with the same address was merged in; and others that either
/// may add. Whoever says that an address is verified is believed.
struct Wrong {
    op: TestProvider,
    _others: Vec<SimulatedUpstream>,
    owner: Browser,
    stranger: Browser,
    account: String,
}

impl Wrong {
    async fn start() -> Self {
        let verified = || json!({ "email_trust": "verified" });
        let list = [
            ("github", Flavour::GitHub, json!({})),
            ("google", Flavour::Google, json!({})),
            ("gitlab", Flavour::GitLab, json!({})),
            ("work", Flavour::Oidc, verified()),
            ("club", Flavour::Oidc, verified()),
        ];
        let (op, others) = with_upstreams(&list, |config| {
            config.oauth.account_merge_policy = AccountMergePolicy::VerifiedEmail;
        })
        .await;
        let signed_in = async |provider: &str| {
            let browser = op.browser();
            sign_in(&browser, provider, "ada").await;
            browser
        };
        signed_in("github").await;
        let stranger = signed_in("google").await;
        let owner = signed_in("github").await;
        let account = owner.user_id().await;
        assert_eq!(stranger.user_id().await, account, "the merge that was wrong");
        Self {
            op,
            _others: others,
            owner,
            stranger,
            account,
        }
    }

    async fn signed_in(&self, provider: &str, person: &str) -> Browser {
        let browser = self.op.browser();
        sign_in(&browser, provider, person).await;
        browser
    }

    /// Who this identity is today.
    async fn whose(&self, provider: &str, person: &str) -> String {
        self.signed_in(provider, person).await.user_id().await
    }

    async fn link_id(&self, provider: &str) -> LinkId {
        let link_id = sqlx::query_scalar("SELECT link_id FROM oauth_links WHERE provider = $1")
            .bind(provider)
            .fetch_one(self.op.db());
        LinkId(link_id.await.unwrap())
    }

    /// Somebody who administrates, and where the merge is undone.
    async fn administrator(&self) -> (Arc<Browser>, String) {
        let root = self.signed_in("club", "root").await;
        let promoted = sqlx::query("UPDATE users SET role = 'admin' WHERE user_id = $1::text::uuid")
            .bind(root.user_id().await)
            .execute(self.op.db());
        promoted.await.unwrap();
        let link_id = self.link_id("google").await;
        let path = format!("/admin/users/{}/links/{link_id}/unmerge", self.account);
        (Arc::new(root), path)
    }

    async fn change(&self, sql: &'static str) {
        sqlx::query(sql).execute(self.op.db()).await.unwrap();
    }
}

/// Whoever was merged in wrongly and added identities of their own, at any remove, has them in an account of their own
/// afterwards, and none of them leads to the other one. What its owner added stays.
#[tokio::test]
async fn what_was_linked_through_a_merge_leaves_with_it() {
    let wrong = Wrong::start().await;
    let app = wrong.op.client().await;
    link(&wrong.stranger, "gitlab", "mallory").await;
    let by_gitlab = wrong.signed_in("gitlab", "mallory").await;
    link(&by_gitlab, "club", "mallory the second").await;
    let by_club = wrong.signed_in("club", "mallory the second").await;
    link(&wrong.owner, "work", "ada at work").await;
    assert_eq!(by_club.user_id().await, wrong.account);
    let lasting = "openid offline_access";
    let hidden = app.tokens_of(&by_club, "mallory the second", lasting).await;
    let own = app.tokens_of(&wrong.owner, "ada", lasting).await;

    let done = unmerge(&wrong.op, wrong.link_id("google").await).await.unwrap();
    assert_eq!(done.went_along, ["gitlab", "club"]);
    assert_eq!((done.sessions_ended, done.grants_revoked), (3, 1));
    for browser in [&wrong.stranger, &by_gitlab, &by_club] {
        assert!(!browser.is_signed_in().await);
    }
    assert!(!app.is_active(&hidden.access_token).await);
    app.refresh(hidden.refresh()).await.refused("invalid_grant");

    assert!(wrong.owner.is_signed_in().await && app.is_active(&own.access_token).await);
    assert_eq!(linked_providers(&wrong.owner).await, ["github", "work"]);
    let new = done.new_user.user_id.to_string();
    for (provider, person) in [
        ("google", "ada"),
        ("gitlab", "mallory"),
        ("club", "mallory the second"),
    ] {
        assert_eq!(wrong.whose(provider, person).await, new, "{provider}");
    }
    assert_eq!(wrong.whose("github", "ada").await, wrong.account);
    assert_eq!(wrong.whose("work", "ada at work").await, wrong.account);

    let trail: Value =
        sqlx::query_scalar("SELECT details::jsonb FROM audit_entries WHERE action = 'account_unmerged'")
            .fetch_one(wrong.op.db())
            .await
            .unwrap();
    assert_eq!(trail["went_along"].as_array().unwrap().len(), 2);
    for (event_type, user_id) in [("link.deleted", &wrong.account), ("link.created", &new)] {
        let told = wrong.op.events(event_type).await;
        let of_them = told.iter().filter(|data| data["user_id"] == **user_id);
        assert!(of_them.count() >= 3, "{event_type}: {told:?}");
    }
}

/// An identity that came by the merge and was taken away before does not leave behind what it let apps have, nor what they may
/// have without being asked.
#[tokio::test]
async fn what_a_removed_identity_let_apps_have_ends_with_the_merge_that_it_came_by() {
    let wrong = Wrong::start().await;
    let app = wrong.op.client().await;
    let asking = wrong.op.client_with(|client| client.auto_approve = false).await;
    link(&wrong.stranger, "gitlab", "mallory").await;
    let by_gitlab = wrong.signed_in("gitlab", "mallory").await;
    let hidden = app
        .tokens_of(&by_gitlab, "mallory", "openid offline_access")
        .await;
    asking.tokens_of(&by_gitlab, "mallory", "openid").await;
    unlink(&wrong.stranger, "gitlab").await.is(200);
    app.refresh(hidden.refresh()).await.tokens();

    unmerge(&wrong.op, wrong.link_id("google").await).await.unwrap();
    app.refresh(hidden.refresh()).await.refused("invalid_grant");
    assert!(!app.is_active(&hidden.access_token).await);
    let silent = wrong.owner.authorize(&asking).scope("openid").prompt("none");
    silent.send().await.refused("consent_required");
}

/// Whoever was merged in cannot take away what the account's owner signs in by, which would leave nothing to go back to.
#[tokio::test]
async fn who_was_merged_in_cannot_shut_the_owner_out() {
    let wrong = Wrong::start().await;
    unlink(&wrong.stranger, "github")
        .await
        .refused_with(409, "last_link");
    link(&wrong.stranger, "gitlab", "mallory").await;
    unlink(&wrong.stranger, "github")
        .await
        .refused_with(409, "last_link");
    link(&wrong.owner, "work", "ada at work").await;
    unlink(&wrong.stranger, "github").await.is(200);
    unmerge(&wrong.op, wrong.link_id("google").await).await.unwrap();
    assert_eq!(wrong.whose("work", "ada at work").await, wrong.account);
}

/// An identity that was merged in by the address of one that was wrongly linked leaves with that one.
#[tokio::test]
async fn what_was_merged_by_a_wrong_address_leaves_with_it() {
    let wrong = Wrong::start().await;
    link(&wrong.stranger, "club", "moriarty").await;
    assert_eq!(
        wrong.whose("work", "moriarty").await,
        wrong.account,
        "merged by the address"
    );
    let done = unmerge(&wrong.op, wrong.link_id("google").await).await.unwrap();
    assert_eq!(done.went_along, ["club", "work"]);
    assert_eq!(
        wrong.whose("work", "moriarty").await,
        done.new_user.user_id.to_string()
    );
    let owner = wrong.signed_in("github", "ada").await;
    assert_eq!(linked_providers(&owner).await, ["github"]);
}

/// A session is ended with all that was had through it, if the merged identity ever signed in to it: also when somebody
/// signed in to it by another one since.
#[tokio::test]
async fn a_session_that_was_renewed_by_another_identity_ends_too() {
    let wrong = Wrong::start().await;
    let app = wrong.op.client().await;
    let lasting = app
        .tokens_of(&wrong.stranger, "ada", "openid offline_access")
        .await;
    sign_in(&wrong.stranger, "github", "ada").await;
    let other = app.tokens_of(&wrong.owner, "ada", "openid").await;
    unmerge(&wrong.op, wrong.link_id("google").await).await.unwrap();
    assert!(!wrong.stranger.is_signed_in().await && wrong.owner.is_signed_in().await);
    app.refresh(lasting.refresh()).await.refused("invalid_grant");
    assert!(app.is_active(&other.access_token).await);
}

/// Taking the merged identity away hides nothing: what apps had by it ends, and what came by it can be separated in its
/// place.
#[tokio::test]
async fn taking_a_merged_identity_away_leaves_what_came_by_it_as_merged() {
    let wrong = Wrong::start().await;
    let app = wrong.op.client().await;
    let lasting = app
        .tokens_of(&wrong.stranger, "ada", "openid offline_access")
        .await;
    link(&wrong.stranger, "gitlab", "mallory").await;
    let by_gitlab = wrong.signed_in("gitlab", "mallory").await;
    link(&by_gitlab, "club", "mallory the second").await;
    unlink(&by_gitlab, "google").await.is(200);
    app.refresh(lasting.refresh()).await.refused("invalid_grant");

    let done = unmerge(&wrong.op, wrong.link_id("gitlab").await).await.unwrap();
    assert_eq!(done.went_along, ["club"]);
    assert!(!by_gitlab.is_signed_in().await && wrong.owner.is_signed_in().await);
    assert_eq!(linked_providers(&wrong.owner).await, ["github"]);
}

/// What its owner added to an account of their own is not the merge's, however the identities came to be there.
#[tokio::test]
async fn where_nothing_else_would_be_left_a_merge_is_not_undone() {
    let wrong = Wrong::start().await;
    link(&wrong.stranger, "gitlab", "mallory").await;
    unlink(&wrong.owner, "github").await.is(200);
    let refused = unmerge(&wrong.op, wrong.link_id("google").await).await;
    assert!(matches!(refused, Err(NotUnmerged::LastLink)), "{refused:?}");
    assert!(wrong.stranger.is_signed_in().await);
}

/// Something and the end of the merge, by an administrator, at the same moment; what came of the former.
async fn meanwhile<F>(racer: F, root: &Arc<Browser>, path: &str) -> F::Output
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    let (root, path) = (Arc::clone(root), path.to_owned());
    let undo = async move { root.call(Method::POST, &path, None).await };
    let (done, undone) = at_once(racer, undo).await;
    undone.is(200);
    done
}

/// The merge as it was, for another round.
pub(super) const MERGED_AGAIN: &str = "UPDATE oauth_links l
    SET user_id = g.user_id, merged_at = g.created_at, added_by_link_id = g.link_id
    FROM oauth_links g WHERE g.provider = 'github' AND l.provider = 'google' AND g.email_folded = l.email_folded";

/// Behind a barrier: a sign-in by the merged identity comes first, and its session is ended with the others, or it comes
/// later, and is one of the new account.
#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_while_the_merge_is_undone_does_not_lead_to_the_old_account() {
    let wrong = Wrong::start().await;
    let (root, path) = wrong.administrator().await;
    let mut inside = 0;
    for round in 0..ROUNDS {
        let browser = Arc::new(wrong.op.browser());
        let page = browser.start("google").await;
        let callback = browser.callback_url(&page, "ada", &[]).await;
        let here = Arc::clone(&browser);
        let comes = async move { here.open(callback.as_str()).await };
        meanwhile(comes, &root, &path).await;
        if browser.is_signed_in().await {
            inside += 1;
            assert_ne!(browser.user_id().await, wrong.account, "round {round}");
        }
        wrong.change(MERGED_AGAIN).await;
    }
    assert!(inside > 0, "some of them came later");
    assert!(wrong.owner.is_signed_in().await);
}

/// Behind a barrier: a link that is confirmed while the merge is undone goes along or is not made; it never stays behind.
#[tokio::test(flavor = "multi_thread")]
async fn a_confirmation_while_the_merge_is_undone_adds_nothing_to_the_old_account() {
    let wrong = Wrong::start().await;
    let (root, path) = wrong.administrator().await;
    for round in 0..ROUNDS {
        let browser = Arc::new(wrong.signed_in("google", "ada").await);
        wait_for_confirmation(&browser, "gitlab", "mallory").await;
        let shown = proposal(&browser).await.is(200).json();
        let id = shown["confirmation_id"].as_str().unwrap().to_owned();
        let here = Arc::clone(&browser);
        let confirmed = async move { confirm_id(&here, &id).await };
        let confirmed = meanwhile(confirmed, &root, &path).await;
        assert!(
            matches!(confirmed.status.as_u16(), 200 | 401 | 404),
            "round {round}: {}",
            confirmed.text
        );
        assert!(!browser.is_signed_in().await, "round {round}");
        assert_eq!(linked_providers(&wrong.owner).await, ["github"], "round {round}");
        wrong
            .change("DELETE FROM oauth_links WHERE provider = 'gitlab'")
            .await;
        wrong.change(MERGED_AGAIN).await;
    }
}

/// A provider's name is pointed at another issuer: what the old one said of people counts for nothing any more, and nobody's
/// last way in is taken for one that still is.
#[tokio::test]
async fn a_name_that_leads_to_another_issuer_does_not_speak_for_the_one_before() {
    let list = [
        ("google", Flavour::Google, json!({})),
        ("github", Flavour::GitHub, json!({})),
        ("other", Flavour::Google, json!({})),
    ];
    let (op, _others) = with_upstreams(&list, |_| ()).await;
    let ada = op.browser();
    sign_in(&ada, "google", "ada").await;
    let account = ada.user_id().await;
    let emails = ada.call(Method::GET, "/auth/me/emails", None).await.json();
    assert_eq!(emails["emails"][0]["email_verified"], true);

    let moved = op
        .reconfigured(|config| {
            config.oauth.account_merge_policy = AccountMergePolicy::VerifiedEmail;
            let other = config.oauth.providers.remove("other").unwrap();
            config.oauth.providers.insert("google".to_owned(), other);
        })
        .await;
    let ada = ada.at(&moved);
    let newcomer = moved.browser();
    sign_in(&newcomer, "github", "ada").await;
    assert_ne!(
        newcomer.user_id().await,
        account,
        "the old issuer's word is not the new one's"
    );
    let again = moved.browser();
    sign_in(&again, "google", "ada").await;
    assert_ne!(again.user_id().await, account, "another issuer, another identity");

    let emails = ada.call(Method::GET, "/auth/me/emails", None).await.json();
    assert_eq!(emails["emails"][0]["email_verified"], false);
    assert_eq!(ada.me().await.json()["email_verified"], false);
    let links = ada.call(Method::GET, "/auth/me/links", None).await.json();
    assert_eq!(
        (&links[0]["usable"], &links[0]["email_verified"]),
        (&json!(false), &json!(false))
    );
    let app = moved.client().await;
    let tokens = app.tokens_of(&ada, "ada", "openid email").await;
    let told = app.userinfo(&tokens.access_token).await.json();
    assert_eq!(told["email_verified"], false);
    link(&ada, "github", "ada of old").await;
    unlink(&ada, "github").await.refused_with(409, "last_link");
}

/// What apps hear of somebody.
async fn heard(app: &TestClient, access_token: &str) -> Map<String, Value> {
    let told = app.userinfo(access_token).await.is(200).json();
    told.as_object().unwrap().clone()
}

/// What the upstream alone can have said: picture and claims that are passed on.
const UPSTREAMS: [&str; 3] = ["picture", "given_name", "family_name"];

/// §4.6: what a stranger's provider said of them is not said of the account's owner once the merge is undone. Apps are told
/// that it has changed, and the owner's own provider fills it again.
#[tokio::test]
async fn what_a_merged_identity_said_of_itself_leaves_with_it() {
    let wrong = Wrong::start().await;
    let app = wrong.op.client().await;
    let tokens = app.tokens_of(&wrong.owner, "ada", "openid profile").await;
    let before = heard(&app, &tokens.access_token).await;
    assert!(
        before.contains_key("picture") && !before.contains_key("given_name"),
        "{before:?}"
    );

    // The stranger comes again, and the profile follows their provider.
    wrong.signed_in("google", "ada").await;
    let followed = heard(&app, &tokens.access_token).await;
    for member in UPSTREAMS {
        assert!(followed.contains_key(member), "{member}: {followed:?}");
    }
    unmerge(&wrong.op, wrong.link_id("google").await).await.unwrap();
    let after = heard(&app, &tokens.access_token).await;
    for member in UPSTREAMS {
        assert!(!after.contains_key(member), "{member}: {after:?}");
    }
    assert_eq!(
        after["name"], before["name"],
        "the owner's own provider had given it"
    );
    let told = wrong.op.events("user.updated").await;
    assert_eq!(
        told.last().unwrap(),
        &json!({ "user_id": wrong.account, "changed": ["picture", "claims"] })
    );
    let me = wrong.owner.me().await.is(200).json();
    assert_eq!(me["picture"], Value::Null);
    let export = wrong.owner.call(Method::GET, "/auth/me/export", None).await;
    assert_eq!(export.is(200).json()["account"]["upstream_claims"], json!({}));

    wrong.signed_in("github", "ada").await;
    let again = heard(&app, &tokens.access_token).await;
    assert_eq!(again["picture"], before["picture"]);
    assert!(!again.contains_key("given_name"), "{again:?}");
}

/// The same when its owner takes an identity away that they had linked: apps hear no more of it. A name that the owner chose
/// stays theirs.
#[tokio::test]
async fn what_a_linked_identity_said_of_itself_leaves_with_it() {
    let wrong = Wrong::start().await;
    let app = wrong.op.client().await;
    link(&wrong.owner, "work", "alan").await;
    let tokens = app.tokens_of(&wrong.owner, "ada", "openid profile").await;
    wrong.signed_in("work", "alan").await;
    let followed = heard(&app, &tokens.access_token).await;
    for member in UPSTREAMS {
        assert!(followed.contains_key(member), "{member}: {followed:?}");
    }
    unlink(&wrong.owner, "work").await.is(200);
    let after = heard(&app, &tokens.access_token).await;
    for member in UPSTREAMS {
        assert!(!after.contains_key(member), "{member}: {after:?}");
    }
    let told = wrong.op.events("user.updated").await;
    assert_eq!(told.last().unwrap()["changed"], json!(["picture", "claims"]));

    // What another one has filled meanwhile stays.
    link(&wrong.owner, "work", "alan").await;
    wrong.signed_in("work", "alan").await;
    wrong.signed_in("github", "ada").await;
    let filled = heard(&app, &tokens.access_token).await;
    let told = wrong.op.events("user.updated").await.len();
    unlink(&wrong.owner, "work").await.is(200);
    assert_eq!(heard(&app, &tokens.access_token).await, filled);
    assert_eq!(wrong.op.events("user.updated").await.len(), told);
}

/// A display name that a provider gave leaves with it; one that its owner chose stays.
#[tokio::test]
async fn a_name_that_a_provider_gave_leaves_with_it_and_a_chosen_one_stays() {
    for chosen in [None, Some("The Countess")] {
        let wrong = Wrong::start().await;
        let rename = |name: Option<&str>| json!({ "display_name": name });
        let change = async |browser: &Browser, body: Value| {
            browser.call(Method::PATCH, "/auth/me", Some(&body)).await.is(200);
        };
        link(&wrong.owner, "work", "alan").await;
        change(&wrong.owner, rename(None)).await;
        wrong.signed_in("work", "alan").await;
        let name = async || wrong.owner.me().await.is(200).json()["display_name"].clone();
        assert_ne!(name().await, Value::Null);
        if chosen.is_some() {
            change(&wrong.owner, rename(chosen)).await;
        }
        unlink(&wrong.owner, "work").await.is(200);
        assert_eq!(name().await, json!(chosen));
        let told = wrong.op.events("user.updated").await.pop().unwrap();
        let changed = told["changed"].as_array().unwrap();
        assert_eq!(
            changed.contains(&json!("display_name")),
            chosen.is_none(),
            "{changed:?}"
        );
    }
}
