//! When an identity joins an account that exists, and when it must not (AC-5, AC-6, AC-13).

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use common::provider::PAGES;
use common::upstreams::with_upstreams;
use common::{Browser, TestProvider, Visit};
use riley_auth::config::Config;
use riley_auth::config::oauth::{AccountMergePolicy, Onboarding};
use riley_auth::dev::simulated_upstream::{Flavour, Misbehaviour, SimulatedUpstream};
use serde_json::{Value, json};

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

/// AC-8: two sign-ins that would both merge make one link.
#[tokio::test]
async fn two_merges_at_once_make_one_link() {
    let both = Both::start(merging).await;
    let account = both.signed_in("github", "ada", &[]).await.user_id().await;
    let (one, two) = (both.op.browser(), both.op.browser());
    let (first, second) = (
        one.up_to_callback("google", "ada").await,
        two.up_to_callback("google", "ada").await,
    );
    tokio::join!(one.open(first.as_str()), two.open(second.as_str()));
    let who = [&one, &two];
    let mut inside = 0;
    for browser in who {
        if browser.is_signed_in().await {
            assert_eq!(browser.user_id().await, account);
            inside += 1;
        }
    }
    assert!(inside >= 1, "at least the later one is in");
    assert_eq!(
        (
            both.users().await,
            both.count("SELECT count(*) FROM oauth_links").await
        ),
        (1, 2)
    );
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

/// AC-5, way by way: what is missing, and that the newcomer gets an account of their own without hearing of the other.
#[tokio::test]
async fn an_address_that_is_not_proved_on_both_sides_merges_nothing() {
    let trusts = |trust: &str| json!({ "email_trust": trust });
    let unverified = &[Misbehaviour::UnverifiedEmail][..];
    for (why, github, google, github_wrong, google_wrong) in [
        (
            "the newcomer's address is unverified",
            json!({}),
            json!({}),
            &[][..],
            unverified,
        ),
        (
            "the account's address is unverified",
            json!({}),
            json!({}),
            unverified,
            &[],
        ),
        (
            "the newcomer's provider is not believed",
            json!({}),
            trusts("none"),
            &[],
            &[],
        ),
        (
            "the account's provider is not believed",
            trusts("none"),
            json!({}),
            &[],
            &[],
        ),
        ("neither is believed", trusts("none"), trusts("none"), &[], &[]),
        (
            "the flag is the string true",
            json!({}),
            json!({}),
            &[],
            &[Misbehaviour::EmailVerifiedAsString],
        ),
        (
            "there is no address",
            json!({}),
            json!({}),
            &[],
            &[Misbehaviour::NoEmail],
        ),
        (
            "the list of addresses is not to be had",
            json!({}),
            json!({}),
            &[Misbehaviour::EmailsFail],
            &[],
        ),
    ] {
        let both = Both::with(github, google, merging).await;
        let account = both
            .signed_in("github", "ada", github_wrong)
            .await
            .user_id()
            .await;
        let newcomer = both.signed_in("google", "ada", google_wrong).await;
        assert_ne!(newcomer.user_id().await, account, "{why}");
        assert_eq!(both.users().await, 2, "{why}");
    }
}

/// AC-6: Unicode folds differently here and there, so such addresses are never compared.
#[tokio::test]
async fn an_address_beyond_ascii_merges_nothing() {
    let both = Both::start(merging).await;
    let account = both
        .signed_in("github", "käte@example.test", &[])
        .await
        .user_id()
        .await;
    let newcomer = both.signed_in("google", "käte@example.test", &[]).await;
    assert_ne!(newcomer.user_id().await, account);
}

/// AC-5: an account that is disabled or deleted is not joined, and not brought back.
#[tokio::test]
async fn an_account_that_is_not_live_is_not_joined() {
    for sql in [
        "UPDATE users SET disabled_at = now()",
        "UPDATE users SET deleted_at = now(), username = NULL, username_folded = NULL",
    ] {
        let both = Both::start(merging).await;
        let account = both.signed_in("github", "ada", &[]).await.user_id().await;
        both.change(sql).await;
        let newcomer = both.signed_in("google", "ada", &[]).await;
        assert_ne!(newcomer.user_id().await, account, "{sql}");
        let dead = both
            .count("SELECT count(*) FROM users WHERE disabled_at IS NOT NULL OR deleted_at IS NOT NULL")
            .await;
        assert_eq!(dead, 1, "{sql}");
    }
}

/// AC-5: exactly one account. Where two have the address, or the one has another identity at that provider, a person decides.
#[tokio::test]
async fn where_it_is_not_clear_which_account_a_person_decides() {
    let both = Both::start(|_| ()).await;
    both.signed_in("github", "ada", &[]).await;
    let merging = both.op.reconfigured(merging).await;
    both.change(
        "INSERT INTO oauth_links (link_id, user_id, provider, issuer, subject, email_verified, created_at, last_login_at)
         SELECT gen_random_uuid(), user_id, 'google', 'https://other.example', '1', false, now(), now() FROM users",
    )
    .await;
    let visit = merging.browser().sign_in_amid("google", "ada", &[]).await;
    assert_eq!(
        visit.url.as_str(),
        format!("{PAGES}/link"),
        "the account has an identity at that provider"
    );

    both.change("DELETE FROM oauth_links WHERE provider = 'google'")
        .await;
    both.signed_in("github", "alan", &[]).await;
    both.change("UPDATE oauth_links SET email_folded = 'ada@engine.example'")
        .await;
    let ada = merging.browser();
    let visit = ada.sign_in_amid("google", "ada", &[]).await;
    assert_eq!(
        visit.url.as_str(),
        format!("{PAGES}/link"),
        "two accounts have the address"
    );
    assert!(!ada.is_signed_in().await);
    assert_eq!(ada.setup().await.is(200).json()["link_suggested"], true);
    assert_eq!(both.users().await, 2);
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
