use reqwest::Method;
use riley_auth::dev::simulated_upstream::Endpoint;
use serde_json::json;
use time::Duration;
use url::Url;

use super::World;
use crate::common::Browser;
use crate::common::linking::{
    begin_and_pass, confirm, confirm_id, linked_providers, proposal, sign_in, up_to_callback,
    wait_for_confirmation,
};
use crate::common::provider::{ISSUER, PAGES};

/// AC-2, UP-2: a callback counts for the person and session that began, and no upstream is asked before that is certain.
#[tokio::test]
async fn a_link_ends_with_the_person_and_the_session_that_began_it() {
    let world = World::start().await;
    let changed = format!("{PAGES}/link?error=session_changed");
    let token_requests = || world.google.requests_to(Endpoint::Token).len();

    // Signed out meanwhile.
    let ada = world.member("ada").await;
    let callback = up_to_callback(&ada, "google", "ada").await;
    let before = token_requests();
    ada.call(Method::POST, "/auth/logout", None).await.is(200);
    let browser_again = ada.cookie("browser");
    assert_eq!(browser_again, None, "a logout takes the browser's name away, too");
    assert_eq!(ada.open(callback.as_str()).await.status().unwrap(), 400);

    // Another session of the same person in this browser.
    let ada = world.member("ada").await;
    let callback = up_to_callback(&ada, "google", "ada").await;
    world
        .change("UPDATE sessions SET ended_at = now(), ended_reason = 'test'")
        .await;
    sign_in(&ada, "github", "ada").await;
    assert_eq!(ada.open(callback.as_str()).await.url.as_str(), changed);
    assert_eq!(
        ada.open(callback.as_str()).await.status().unwrap(),
        400,
        "it is used up all the same"
    );

    // Another person in this browser.
    let browser = world.member("ada").await;
    let callback = up_to_callback(&browser, "google", "ada").await;
    world.op.upstream().sign_everybody_out();
    sign_in(&browser, "github", "emmy").await;
    assert_eq!(browser.open(callback.as_str()).await.url.as_str(), changed);

    // No session at all, the browser's name still there.
    let ada = world.member("ada").await;
    let callback = up_to_callback(&ada, "google", "ada").await;
    world
        .change("UPDATE sessions SET ended_at = now(), ended_reason = 'test'")
        .await;
    assert_eq!(ada.open(callback.as_str()).await.url.as_str(), changed);

    // Another browser.
    let ada = world.member("ada").await;
    let callback = up_to_callback(&ada, "google", "ada").await;
    let emmy = world.member("emmy").await;
    assert_eq!(emmy.open(callback.as_str()).await.status().unwrap(), 400);
    assert_eq!(token_requests(), before, "no code was sent to the upstream");
    assert_eq!(
        ada.open(callback.as_str()).await.url.as_str(),
        format!("{PAGES}/link")
    );
    assert_eq!(
        world
            .count("SELECT count(*) FROM oauth_links WHERE provider = 'google'")
            .await,
        0
    );
}

/// UP-1: the callback of a link comes within ten minutes and at its own provider.
#[tokio::test]
async fn the_callback_of_a_link_is_bound_to_its_time_and_provider() {
    let world = World::start().await;
    let ada = world.member("ada").await;
    let callback = up_to_callback(&ada, "google", "ada").await;
    let elsewhere = callback.as_str().replace("/auth/google/", "/auth/github/");
    assert_eq!(ada.open(&elsewhere).await.status().unwrap(), 400);
    let callback = up_to_callback(&ada, "google", "ada").await;
    world.op.advance(Duration::minutes(11));
    assert_eq!(ada.open(callback.as_str()).await.status().unwrap(), 400);
    assert_eq!(linked_providers(&ada).await, ["github"]);
}

/// AC-1, AC-4: what waits is confirmed by its starter, in their session, in their browser, and by nobody else.
#[tokio::test]
async fn only_its_starter_confirms_what_waits() {
    let world = World::start().await;
    let ada = world.member("ada").await;
    wait_for_confirmation(&ada, "google", "ada").await;
    let id = proposal(&ada).await.json()["confirmation_id"]
        .as_str()
        .unwrap()
        .to_owned();

    let refuse = async |browser: &Browser, status: u16, code: &str, why: &str| {
        let seen = proposal(browser).await;
        assert_eq!(seen.json()["error"], code, "{why}");
        seen.refused_with(status, code);
        confirm_id(browser, &id).await.refused_with(status, code);
        assert_eq!(
            world.count("SELECT count(*) FROM pending_identities").await,
            1,
            "{why}"
        );
    };
    // A thief of the one cookie, signed in as somebody else or not at all.
    let setup = |from: &Browser, to: &Browser, names: &[&str]| {
        for name in names {
            let name = format!("__Host-auth_{name}");
            let jar = from.jar();
            let cookie = jar.find(&name, world.op.clock().now()).unwrap();
            let line = format!("{name}={}; Path=/; Secure; HttpOnly", cookie.value);
            let url = Url::parse(&format!("{ISSUER}/")).unwrap();
            to.change_cookies(|jar| {
                jar.store(
                    &url,
                    &line,
                    crate::common::cookies::Context::SameSite,
                    world.op.clock().now(),
                );
            });
        }
    };
    let stranger = world.op.browser();
    setup(&ada, &stranger, &["setup", "browser"]);
    refuse(&stranger, 401, "unauthenticated", "nobody is signed in").await;
    let emmy = world.member("emmy").await;
    setup(&ada, &emmy, &["setup"]);
    refuse(&emmy, 404, "no_link", "another person, another browser").await;
    setup(&ada, &emmy, &["setup", "browser"]);
    refuse(&emmy, 404, "no_link", "another person with the browser's name").await;
    let elsewhere = world.member("ada").await;
    setup(&ada, &elsewhere, &["setup", "browser"]);
    refuse(&elsewhere, 404, "no_link", "another session of the same person").await;

    confirm(&ada).await.is(200);
}

/// AC-3: a confirmation counts once, names what it confirms, and waits for ten minutes.
#[tokio::test]
async fn a_confirmation_counts_once_and_for_what_was_shown() {
    let world = World::start().await;
    let ada = world.member("ada").await;
    wait_for_confirmation(&ada, "google", "ada").await;
    let first = proposal(&ada).await.json()["confirmation_id"]
        .as_str()
        .unwrap()
        .to_owned();
    // Another tab has begun anew: the page that shows the first one confirms nothing.
    wait_for_confirmation(&ada, "google", "alan").await;
    confirm_id(&ada, &first).await.refused_with(404, "no_link");
    let second = proposal(&ada).await.json()["confirmation_id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_ne!(first, second);
    for body in [
        json!({}),
        json!([second]),
        json!({ "confirmation_id": [second] }),
        json!({ "confirmation_id": second, "role": "admin" }),
        json!({ "confirmation_id": second, "email_verified": true }),
        json!({ "confirmation_id": second, "user_id": "00000000-0000-4000-8000-000000000000" }),
    ] {
        ada.call(Method::POST, "/auth/link/confirm", Some(&body))
            .await
            .refused_with(400, "invalid_request");
    }
    confirm_id(&ada, "\u{0}")
        .await
        .refused_with(400, "invalid_request");
    for id in ["", "x", "\u{202e}", &"A".repeat(43), &"A".repeat(5000)] {
        confirm_id(&ada, id).await.refused_with(404, "no_link");
    }
    ada.call(Method::POST, "/auth/link/confirm", None)
        .await
        .refused_with(415, "unsupported_media_type");
    let unprotected = ada
        .fetch(
            &format!("{PAGES}/link"),
            Method::POST,
            &format!("{ISSUER}/auth/link/confirm"),
            &[],
            Some(&json!({ "confirmation_id": second })),
        )
        .await
        .unwrap();
    unprotected.refused_with(403, "csrf_refused");
    assert_eq!(linked_providers(&ada).await, ["github"]);

    let copy = ada.copy();
    let (one, two) = tokio::join!(confirm_id(&ada, &second), confirm_id(&copy, &second));
    let mut statuses = [one.status.as_u16(), two.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 404], "a double click links once");
    confirm_id(&ada, &second).await.refused_with(404, "no_link");
    confirm_id(&copy, &second).await.refused_with(404, "no_link");

    let emmy = world.member("emmy").await;
    wait_for_confirmation(&emmy, "google", "emmy").await;
    world.op.advance(Duration::minutes(10));
    proposal(&emmy).await.refused_with(404, "no_link");
}

/// AC-3: who signed in more than ten minutes ago does it again, and then confirms the same identity.
#[tokio::test]
async fn a_confirmation_needs_a_fresh_session() {
    let world = World::start().await;
    let ada = world.member("ada").await;
    world.op.advance(Duration::minutes(9));
    wait_for_confirmation(&ada, "google", "ada").await;
    world.op.advance(Duration::seconds(61));
    let shown = proposal(&ada).await.is(200).json();
    assert_eq!(shown["reauthentication_required"], true);
    let id = shown["confirmation_id"].as_str().unwrap();
    confirm_id(&ada, id)
        .await
        .refused_with(403, "reauthentication_required");
    ada.renew().await.is(200);
    confirm_id(&ada, id)
        .await
        .refused_with(403, "reauthentication_required");
    assert_eq!(linked_providers(&ada).await, ["github"]);

    let visit = begin_and_pass(&ada, &format!("github?return_to={PAGES}/link"), "ada").await;
    assert_eq!(visit.url.as_str(), format!("{PAGES}/link"));
    assert_eq!(proposal(&ada).await.json()["reauthentication_required"], false);
    confirm_id(&ada, id).await.is(200);
    assert_eq!(linked_providers(&ada).await, ["github", "google"]);
}
