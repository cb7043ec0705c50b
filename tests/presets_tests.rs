//! Each preset signs people in through the whole product, by configuration alone.
//!
//! The upstreams are simulated after the documentation of the real ones, whose addresses are overridden; the real ones are
//! not reached from here.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use common::front_end::param;
use common::provider::{ISSUER, PAGES};
use common::upstreams::with_upstreams;
use common::{Browser, TestProvider, Visit};
use reqwest::Method;
use riley_auth::dev::simulated_upstream::{Endpoint, Flavour};
use serde_json::json;

const PRESETS: [(&str, &str, Flavour); 6] = [
    ("google", "Google", Flavour::Google),
    ("github", "GitHub", Flavour::GitHub),
    ("gitlab", "GitLab", Flavour::GitLab),
    ("microsoft", "Microsoft", Flavour::Microsoft),
    ("discord", "Discord", Flavour::Discord),
    ("apple", "Apple", Flavour::Apple),
];

/// As a person does it: the button, the provider's page, and the page that posts, where there is one.
async fn sign_in(browser: &Browser, start: &str, person: &str) -> Visit {
    let page = browser.start(start).await;
    let visit = browser.submit(&page, &[("person", person)]).await;
    let posts = visit.url.scheme() == "http" && visit.form().is_some();
    if posts {
        browser.submit(&visit, &[]).await
    } else {
        visit
    }
}

async fn start(flavour: Flavour, name: &str) -> TestProvider {
    with_upstreams(&[(name, flavour, json!({}))], |_| ()).await.0
}

/// §5: every preset makes an account, finds it again, and finishes an app's request.
#[tokio::test]
async fn every_preset_signs_people_in() {
    for (name, display_name, flavour) in PRESETS {
        let op = start(flavour, name).await;
        let listed = op
            .browser()
            .call(Method::GET, "/auth/providers", None)
            .await
            .json();
        let start_url = format!("{ISSUER}/auth/{name}");
        assert_eq!(
            listed,
            json!([{ "name": name, "display_name": display_name, "start_url": start_url }])
        );

        let ada = op.browser();
        let visit = sign_in(&ada, name, "ada").await;
        assert_eq!(
            visit.url.as_str(),
            format!("{PAGES}/home"),
            "{name}: {}",
            visit.text()
        );
        let me = ada.me().await.is(200).json();
        assert!(
            me["display_name"].as_str().is_some_and(|own| own.contains("Ada")),
            "{name}: {me}"
        );
        let (provider, subject, verified): (String, String, bool) =
            sqlx::query_as("SELECT provider, subject, email_verified FROM oauth_links")
                .fetch_one(op.db())
                .await
                .unwrap();
        assert_eq!(
            (provider.as_str(), subject),
            (name, op.upstream().subject_of("ada")),
            "{name}"
        );
        assert_eq!(verified, flavour != Flavour::Microsoft, "{name}");

        op.upstream().sign_everybody_out();
        let app = op.client().await;
        let elsewhere = op.browser();
        let request = elsewhere.authorize(&app).scope("openid profile email");
        let login = request.send().await.page("/login");
        let from_request = format!("{name}?request_id={}", param(&login, "request_id"));
        let visit = sign_in(&elsewhere, &from_request, "ada").await;
        let granted = request.read(visit).await.code();
        let tokens = app.redeem(&granted).await.tokens();
        let userinfo = app.userinfo(&tokens.access_token).await.is(200).json();
        assert_eq!(userinfo["sub"], me["user_id"], "{name}");
        assert_eq!(
            userinfo["name"], me["display_name"],
            "{name}: a name that is told once is kept"
        );
        let trusted = !matches!(flavour, Flavour::Microsoft | Flavour::Discord);
        assert_eq!(userinfo["email_verified"], trusted, "{name}: {userinfo}");
        assert!(
            userinfo["email"]
                .as_str()
                .is_some_and(|email| email.starts_with("ada@")),
            "{name}"
        );
    }
}

/// §6: a derived username is public, so it is never made of the mailbox; where the provider has no username, of the name.
#[tokio::test]
async fn no_username_is_made_of_the_address() {
    // Apple has no usernames at all.
    let op = start(Flavour::Apple, "apple").await;
    let emmy = op.browser();
    sign_in(&emmy, "apple", "emmy").await;
    let username = emmy.me().await.is(200).json()["username"].clone();
    let derived = username.as_str().unwrap();
    assert!(
        derived.starts_with("emmy-") && derived.ends_with("-noether"),
        "{derived}"
    );
}

/// Form_post: the answer comes by a cross-site POST without our cookies; the code stands in no URL.
#[tokio::test]
async fn apple_answers_by_a_form_from_another_site() {
    let op = start(Flavour::Apple, "apple").await;
    let ada = op.browser();
    let visit = sign_in(&ada, "apple", "ada").await;
    let ours: Vec<_> = visit
        .hops
        .iter()
        .filter(|(url, _)| url.as_str().starts_with(ISSUER))
        .collect();
    assert_eq!(ours.len(), 2, "the POST and the GET that has the cookies");
    assert_eq!(ours[0].1.status, 303);
    assert!(
        ours[0].1.header("set-cookie").is_none(),
        "a cross-site POST sets nothing"
    );
    assert!(
        ours.iter().all(|(url, _)| !url.as_str().contains("code=")),
        "{:?}",
        ours[1].0
    );
    assert!(ada.is_signed_in().await);
    let asked = op.upstream().requests_to(Endpoint::Authorize);
    assert_eq!(asked[0].query("response_mode"), Some("form_post"));
    let secret = op.upstream().requests_to(Endpoint::Token)[0]
        .form("client_secret")
        .unwrap()
        .to_owned();
    assert_eq!(
        secret.split('.').count(),
        3,
        "a secret that is signed anew for each request"
    );
}

/// Somebody who declines there comes back to the login page, whatever the provider calls it.
#[tokio::test]
async fn declining_leads_back_to_the_login_page_at_every_preset() {
    for (name, _, flavour) in PRESETS {
        let op = start(flavour, name).await;
        let ada = op.browser();
        let page = ada.start(name).await;
        let visit = ada.submit(&page, &[("action", "cancel")]).await;
        let posts = visit.url.scheme() == "http" && visit.form().is_some();
        let visit = if posts {
            ada.submit(&visit, &[]).await
        } else {
            visit
        };
        assert_eq!(
            visit.url.as_str(),
            format!("{PAGES}/login?error=access_denied"),
            "{name}"
        );
        assert!(!ada.is_signed_in().await, "{name}");
    }
}

/// All of them in one deployment: one person, six identities, no address merged without the policy.
#[tokio::test]
async fn all_presets_live_side_by_side() {
    let list = PRESETS.map(|(name, _, flavour)| (name, flavour, json!({})));
    let (op, _others) = with_upstreams(&list, |config| config.oauth.link_url = None).await;
    let mut accounts = std::collections::BTreeSet::new();
    for (name, _, _) in PRESETS {
        let browser = op.browser();
        let visit = sign_in(&browser, name, "ada").await;
        assert_eq!(visit.url.as_str(), format!("{PAGES}/home"), "{name}");
        accounts.insert(browser.user_id().await);
    }
    assert_eq!(accounts.len(), PRESETS.len());
}
