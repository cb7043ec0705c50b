use serde_json::json;
use time::Duration;

use super::World;
use crate::common::linking::{
    begin_and_pass, confirm, confirm_id, linked_providers, names_no_address, proposal, sign_in,
};
use crate::common::provider::PAGES;

/// §5: a newcomer whose proved address belongs to an account signs in there, in the same browser, and confirms.
#[tokio::test]
async fn a_newcomer_with_a_known_address_is_shown_the_way_to_their_account() {
    let world = World::start().await;
    let account = world.member("ada").await.user_id().await;
    let ada = world.op.browser();
    let visit = begin_and_pass(&ada, "google", "ada").await;
    assert_eq!(visit.url.as_str(), format!("{PAGES}/link"));
    names_no_address(&visit);
    assert_eq!(ada.setup().await.is(200).json()["link_suggested"], true);
    proposal(&ada).await.refused_with(401, "unauthenticated");

    let visit = begin_and_pass(&ada, &format!("github?return_to={PAGES}/link"), "ada").await;
    assert_eq!(visit.url.as_str(), format!("{PAGES}/link"), "the way back");
    names_no_address(&visit);
    assert_eq!(ada.user_id().await, account);
    assert_eq!(
        linked_providers(&ada).await,
        ["github"],
        "signing in is not confirming"
    );
    let shown = proposal(&ada).await.is(200).json();
    assert_eq!(shown["provider"]["name"], "google");
    assert_eq!(shown["email"], "a***@engine.example");
    assert_eq!(shown["reauthentication_required"], false);
    let done = confirm(&ada).await.is(200).json();
    assert_eq!(done["redirect_to"], format!("{PAGES}/home"));
    assert_eq!(
        ada.user_id().await,
        account,
        "the session goes on under a new cookie"
    );
    assert_eq!(linked_providers(&ada).await, ["github", "google"]);
    assert_eq!(world.count("SELECT count(*) FROM users").await, 1);
    assert_eq!(
        world
            .count("SELECT count(*) FROM sessions WHERE ended_at IS NULL")
            .await,
        2
    );
    ada.setup().await.refused_with(404, "no_setup");
    proposal(&ada).await.refused_with(404, "no_link");
}

/// The app that waited gets its code: the sign-in that it asked for is finished by the confirmation.
#[tokio::test]
async fn an_app_that_waits_is_answered_after_the_confirmation() {
    let world = World::start().await;
    let app = world.op.client().await;
    let account = world.member("ada").await.user_id().await;
    let ada = world.op.browser();
    let request = ada.authorize(&app).prompt("login");
    let login = request.visit().await;
    let request_id = login.query("request_id").unwrap();
    let visit = begin_and_pass(&ada, &format!("google?request_id={request_id}"), "ada").await;
    assert_eq!(visit.url.as_str(), format!("{PAGES}/link"));
    world.op.advance(Duration::minutes(1));
    begin_and_pass(&ada, &format!("github?return_to={PAGES}/link"), "ada").await;
    let next = confirm(&ada).await.is(200).json()["redirect_to"]
        .as_str()
        .unwrap()
        .to_owned();
    let granted = request
        .read(ada.follow(&format!("{PAGES}/link"), &next).await)
        .await
        .code();
    let tokens = app.redeem(&granted).await.tokens();
    assert_eq!(
        app.userinfo(&tokens.access_token).await.json()["sub"],
        json!(account)
    );
}

/// AC-13: whose account has the address is not said, and an account of one's own can be had instead.
#[tokio::test]
async fn a_newcomer_may_go_on_to_an_account_of_their_own() {
    let world = World::start().await;
    let account = world.member("ada").await.user_id().await;
    let ada = world.op.browser();
    begin_and_pass(&ada, "google", "ada").await;
    let known = ada.setup().await.is(200).text.clone();
    assert!(!known.contains(&account));
    ada.choose("another-ada").await.is(200);
    assert_ne!(ada.user_id().await, account);
    proposal(&ada).await.refused_with(404, "no_link");
}

/// AC-4, AC-13: an identity that nothing was suggested for is not linked by way of the onboarding's handle, and nobody else
/// confirms one that something was.
#[tokio::test]
async fn what_was_not_suggested_is_not_confirmed() {
    use riley_auth::config::oauth::Onboarding;
    let world = World::with(|config| config.oauth.onboarding = Onboarding::Prompt).await;
    let ada = world.op.browser();
    begin_and_pass(&ada, "github", "ada").await;
    ada.choose("ada").await.is(200);
    world.op.upstream().sign_everybody_out();

    // A newcomer without any account's address, then a member in the same browser.
    let shared = world.op.browser();
    let visit = begin_and_pass(&shared, "google", "emmy").await;
    assert_eq!(visit.url.as_str(), format!("{PAGES}/welcome"));
    sign_in(&shared, "github", "ada").await;
    proposal(&shared).await.refused_with(404, "no_link");
    confirm_id(&shared, &"A".repeat(43))
        .await
        .refused_with(404, "no_link");
    assert_eq!(linked_providers(&shared).await, ["github"]);

    // What was suggested because of one account is not another one's, whoever sits there.
    let alan = world.op.browser();
    begin_and_pass(&alan, "github", "alan").await;
    alan.choose("alan").await.is(200);
    world.op.upstream().sign_everybody_out();
    let kiosk = world.op.browser();
    begin_and_pass(&kiosk, "google", "ada").await;
    assert_eq!(kiosk.setup().await.json()["link_suggested"], true);
    sign_in(&kiosk, "github", "alan").await;
    proposal(&kiosk).await.refused_with(404, "no_link");
    assert_eq!(linked_providers(&kiosk).await, ["github"]);

    // Suggested in one browser, asked for in another.
    let newcomer = world.op.browser();
    begin_and_pass(&newcomer, "google", "ada").await;
    proposal(&ada).await.refused_with(404, "no_link");
    // A cookie of the newcomer's in the member's browser is bound to the browser that it came from.
    assert_eq!(newcomer.setup().await.json()["link_suggested"], true);
}
