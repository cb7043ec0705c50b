use riley_auth::clock::Clock;
use riley_auth::config::Config;
use riley_auth::config::providers::{AllowList, EmailTrust, Preset, ProviderConfig, Signup};
use riley_auth::dev::simulated_upstream::{Endpoint, Flavour, Misbehaviour, Options};

use crate::common::html;
use crate::common::provider::{PAGES, start_upstream};
use crate::common::{TestProvider, Visit};

fn change(config: &mut Config, change: impl FnOnce(&mut ProviderConfig)) {
    change(config.oauth.providers.get_mut("simulated").unwrap());
}

fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(|name| (*name).to_owned()).collect()
}

/// Whether somebody who is new gets in; a refusal is a page with an id, and nothing is made.
async fn gets_in(op: &TestProvider, person: &str, wrong: &[Misbehaviour]) -> bool {
    let browser = op.browser();
    let visit = browser.sign_in_amid("simulated", person, wrong).await;
    if visit.url.as_str() == format!("{PAGES}/home") {
        return true;
    }
    is_refused(&visit, "may not join");
    assert!(!browser.is_signed_in().await);
    let users: i64 = sqlx::query_scalar("SELECT count(*) FROM users WHERE username = $1")
        .bind(person)
        .fetch_one(op.db())
        .await
        .unwrap();
    assert_eq!(users, 0);
    false
}

fn is_refused(visit: &Visit, words: &str) {
    assert_eq!(visit.status().unwrap(), 403, "{}", visit.url);
    assert!(visit.text().contains(words), "{}", visit.text());
    assert!(html::text_of(visit.text(), "error-id").is_some());
}

/// `signup = "closed"`: nobody new; accounts that exist go on.
#[tokio::test]
async fn a_closed_provider_admits_those_whom_it_knows() {
    let open = TestProvider::start().await;
    let ada = open.signed_in("ada").await.user_id().await;
    let closed = open
        .reconfigured(|config| change(config, |provider| provider.signup = Signup::Closed))
        .await;
    let visit = closed.browser().sign_in_amid("simulated", "alan", &[]).await;
    is_refused(&visit, "New accounts cannot be made");
    assert_eq!(closed.signed_in("ada").await.user_id().await, ada);
}

/// Verified addresses of a domain admit, from a provider that is trusted to say so.
#[tokio::test]
async fn by_domain_only_verified_addresses_of_a_trusted_provider_admit() {
    let list = AllowList {
        email_domains: names(&["Engine.example"]),
        ..AllowList::default()
    };
    let op = TestProvider::with(|config| {
        change(config, |provider| {
            provider.signup = Signup::AllowList;
            provider.allow_list = list.clone();
        });
    })
    .await;
    assert!(gets_in(&op, "ada", &[]).await);
    for (person, wrong) in [
        ("grace", None),
        ("eve@engine.example.evil.test", None),
        ("eve@sub.engine.example", None),
        ("new@engine.example", Some(Misbehaviour::UnverifiedEmail)),
        ("new@engine.example", Some(Misbehaviour::EmailVerifiedAsString)),
        ("new@engine.example", Some(Misbehaviour::NoEmail)),
    ] {
        assert!(
            !gets_in(&op, person, wrong.as_slice()).await,
            "{person} {wrong:?}"
        );
    }
    assert!(gets_in(&op, "new@engine.example", &[]).await);

    let untrusted = TestProvider::with(|config| {
        change(config, |provider| {
            provider.signup = Signup::AllowList;
            provider.allow_list = list;
            provider.email_trust = Some(EmailTrust::None);
        });
    })
    .await;
    assert!(
        !gets_in(&untrusted, "ada", &[]).await,
        "a provider that is not believed proves no domain"
    );
}

/// A provider of this flavour that admits by this list.
async fn by(flavour: Flavour, preset: Preset, allow_list: impl FnOnce(&str) -> AllowList) -> TestProvider {
    let clock = Clock::held();
    let upstream = start_upstream(Options::of(flavour), &clock).await;
    let (issuer, base) = (upstream.issuer(), upstream.base_url().to_owned());
    let urls = [upstream.authorization_endpoint(), upstream.token_endpoint()].map(|url| url.parse().unwrap());
    let tenant = tenant_of_ada();
    TestProvider::beside(clock, upstream, |config| {
        change(config, |provider| {
            provider.preset = Some(preset);
            provider.scopes = None;
            provider.email_trust = None;
            provider.signup = Signup::AllowList;
            provider.allow_list = allow_list(&tenant);
            if preset == Preset::Github {
                provider.issuer = None;
                let [auth_url, token_url] = urls;
                provider.auth_url = Some(auth_url);
                provider.token_url = Some(token_url);
                provider.api_url = Some(base.parse().unwrap());
            } else {
                provider.issuer = Some(issuer);
            }
        });
    })
    .await
}

/// The tenant that the simulated Microsoft gives to people of `engine.example`.
fn tenant_of_ada() -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, b"engine.example");
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest.as_ref()[16..]);
    uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
}

/// §6: by Google's `hd`, GitHub's organisations, Microsoft's tenant.
#[tokio::test]
async fn organisations_of_the_presets_admit_their_members() {
    let google = |_: &str| AllowList {
        google_hosted_domains: names(&["engine.example"]),
        ..AllowList::default()
    };
    let github = |_: &str| AllowList {
        github_organizations: names(&["engine-example"]),
        ..AllowList::default()
    };
    let microsoft = |tenant: &str| AllowList {
        microsoft_tenants: names(&[tenant]),
        ..AllowList::default()
    };
    let google = by(Flavour::Google, Preset::Google, google).await;
    let github = by(Flavour::GitHub, Preset::Github, github).await;
    let microsoft = by(Flavour::Microsoft, Preset::Microsoft, microsoft).await;
    for op in [&google, &github, &microsoft] {
        assert!(gets_in(op, "ada", &[]).await);
        assert!(!gets_in(op, "grace", &[]).await, "of another organisation");
        assert!(!gets_in(op, "alan", &[]).await, "of none");
    }
    assert!(!github.upstream().requests_to(Endpoint::Organisations).is_empty());
}

/// §3.4: a disabled account stays out, whichever way somebody comes, and is not made anew.
#[tokio::test]
async fn a_disabled_account_stays_out() {
    let op = TestProvider::start().await;
    let app = op.client().await;
    let ada = op.browser();
    let tokens = app.tokens_of(&ada, "ada", "openid offline_access").await;
    sqlx::query("UPDATE users SET disabled_at = now()")
        .execute(op.db())
        .await
        .unwrap();

    assert!(!ada.is_signed_in().await);
    ada.renew().await.is(401);
    ada.authorize(&app)
        .prompt("none")
        .send()
        .await
        .refused("login_required");
    assert!(!app.is_active(&tokens.access_token).await);
    app.refresh(tokens.refresh()).await.refused("invalid_grant");
    app.userinfo(&tokens.access_token).await.is(401);
    let visit = op.browser().sign_in_amid("simulated", "ada", &[]).await;
    is_refused(&visit, "This account is disabled");
    let users: i64 = sqlx::query_scalar("SELECT count(*) FROM users")
        .fetch_one(op.db())
        .await
        .unwrap();
    assert_eq!(users, 1);

    sqlx::query("UPDATE users SET disabled_at = NULL")
        .execute(op.db())
        .await
        .unwrap();
    op.signed_in("ada").await;
}

/// Without a login page there is nowhere to try another account, so the app is told; with one, the request waits.
#[tokio::test]
async fn an_app_is_told_of_somebody_who_may_not_join_when_there_is_no_login_page() {
    let op = TestProvider::with(|config| {
        config.oauth.login_url = None;
        change(config, |provider| provider.signup = Signup::Closed);
    })
    .await;
    let app = op.client().await;
    let ada = op.browser();
    let request = ada.authorize(&app);
    let page = request.visit().await;
    let callback = ada.callback_url(&page, "ada", &[]).await;
    let visit = ada.follow(page.url.as_str(), callback.as_str()).await;
    request.read(visit).await.refused("access_denied");
}
