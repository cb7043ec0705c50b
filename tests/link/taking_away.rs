use reqwest::Method;
use serde_json::json;

use super::World;
use crate::common::checks;
use crate::common::linking::{
    begin_and_pass, link, linked_providers, links, proposal, sign_in, unlink, up_to_callback,
    wait_for_confirmation,
};
use crate::common::provider::{ISSUER, PAGES};

/// A link is taken away; sessions that were opened by it end, others go on, and apps hear of both.
#[tokio::test]
async fn unlinking_ends_what_was_opened_by_that_provider() {
    let world = World::start().await;
    let ada = world.member("ada").await;
    link(&ada, "google", "ada").await;
    let by_google = world.op.browser();
    sign_in(&by_google, "google", "ada").await;
    let account = ada.user_id().await;

    let done = unlink(&ada, "google").await;
    done.is_not_stored();
    assert_eq!(done.is(200).json(), json!({ "signed_out": false }));
    assert!(ada.is_signed_in().await);
    assert!(!by_google.is_signed_in().await);
    assert_eq!(
        world
            .count("SELECT count(*) FROM sessions WHERE ended_reason = 'unlinked'")
            .await,
        1
    );
    let deleted = world.events("link.deleted").await;
    assert_eq!(deleted.len(), 1);
    assert_eq!(deleted[0].1["user_id"], json!(account));
    assert_eq!(deleted[0].1["provider"], "google");
    assert_eq!(world.events("session.revoked").await[0].1["reason"], "unlinked");
    unlink(&ada, "google").await.refused_with(404, "not_found");

    // The identity is nobody's now: whoever comes by it is new.
    let newcomer = world.op.browser();
    let visit = begin_and_pass(&newcomer, "google", "ada").await;
    assert_eq!(visit.url.as_str(), format!("{PAGES}/link"));
    assert!(!newcomer.is_signed_in().await);

    // Who takes away what they are signed in by is signed out.
    link(&ada, "google", "alan").await;
    let here = world.op.browser();
    sign_in(&here, "google", "alan").await;
    assert_eq!(
        unlink(&here, "google").await.is(200).json(),
        json!({ "signed_out": true })
    );
    assert!(!here.is_signed_in().await);
    assert_eq!((here.cookie("refresh"), here.cookie("access")), (None, None));
}

/// The access cookie of a session that goes on says at once what is left of the profile, so that apps on sibling hosts do not show
/// what went with the identity.
#[tokio::test]
async fn the_access_cookie_says_what_is_left_of_the_profile() {
    let world = World::start().await;
    let ada = world.member("ada").await;
    link(&ada, "google", "ada").await;
    // The profile follows the provider of the last sign-in.
    sign_in(&world.op.browser(), "google", "ada").await;
    ada.renew().await.is(200);
    let before = checks::peek(&ada.cookie("access").unwrap());
    assert!(before["picture"].is_string(), "{before}");

    unlink(&ada, "google").await.is(200);
    let after = checks::peek(&ada.cookie("access").unwrap());
    assert_eq!(after.get("picture"), None, "{after}");
    for claim in ["sub", "sid", "auth_time", "username", "role"] {
        assert_eq!(after[claim], before[claim], "{claim}");
    }
    assert_ne!(after["jti"], before["jti"]);
}

/// AC-9: nobody locks themselves out, also not with a provider that cannot be used any more.
#[tokio::test]
async fn the_last_link_stays() {
    let world = World::start().await;
    let ada = world.member("ada").await;
    unlink(&ada, "github").await.refused_with(409, "last_link");
    for name in ["google", "gitlab", "GITHUB", "github%00", "github%20"] {
        unlink(&ada, name).await.refused_with(404, "not_found");
    }
    unlink(&world.op.browser(), "github")
        .await
        .refused_with(401, "unauthenticated");
    let unprotected = ada
        .fetch(
            &format!("{PAGES}/account"),
            Method::DELETE,
            &format!("{ISSUER}/auth/link/github"),
            &[],
            None,
        )
        .await
        .unwrap();
    unprotected.refused_with(403, "csrf_refused");

    link(&ada, "google", "ada").await;
    let without_google = world
        .op
        .reconfigured(|config| {
            config.oauth.providers.remove("google");
        })
        .await;
    let there = ada.at(&without_google);
    unlink(&there, "github").await.refused_with(409, "last_link");
    let listed = links(&there).await;
    assert_eq!(
        (&listed[0]["usable"], &listed[1]["usable"]),
        (&json!(true), &json!(false))
    );
    unlink(&there, "google").await.is(200);
    assert_eq!(linked_providers(&ada).await, ["github"]);
}

/// AC-3: taking a link away makes void whatever was begun before, in every browser of that person.
#[tokio::test]
async fn unlinking_makes_void_what_waits() {
    let world = World::start().await;
    let ada = world.member("ada").await;
    let phone = world.member("ada").await;
    let tablet = world.member("ada").await;
    link(&ada, "google", "ada").await;
    // Nothing else is to be proved there, so what waits is put where it would be.
    world
        .change("UPDATE oauth_links SET provider = 'parked' WHERE provider = 'google'")
        .await;
    wait_for_confirmation(&phone, "google", "alan").await;
    let under_way = up_to_callback(&tablet, "google", "alan").await;
    world
        .change("UPDATE oauth_links SET provider = 'google' WHERE provider = 'parked'")
        .await;

    unlink(&ada, "google").await.is(200);
    proposal(&phone).await.refused_with(404, "no_link");
    assert_eq!(tablet.open(under_way.as_str()).await.status().unwrap(), 400);
    assert_eq!(world.count("SELECT count(*) FROM pending_identities").await, 0);
    assert_eq!(world.count("SELECT count(*) FROM upstream_flows").await, 0);
}

/// §4.6: without its link a primary address gives way to the next one by the rule, and apps hear of it.
#[tokio::test]
async fn the_primary_address_falls_back_by_the_rule() {
    let world = World::start().await;
    let app = world.op.client().await;
    let ada = world.member("ada").await;
    link(&ada, "google", "alan").await;
    assert_eq!(
        world.events("user.updated").await,
        [],
        "the oldest verified one stays"
    );
    let before = links(&ada).await;
    assert_eq!(before[0]["is_primary"], true);
    world
        .change(
            "UPDATE users SET primary_link_id = (SELECT link_id FROM oauth_links WHERE provider = 'google')",
        )
        .await;
    assert_eq!(links(&ada).await[1]["is_primary"], true, "the owner's choice");

    let granted = ada.authorize(&app).scope("openid email").code().await;
    let tokens = app.redeem(&granted).await.tokens();
    let email = async || app.userinfo(&tokens.access_token).await.is(200).json()["email"].clone();
    assert_eq!(email().await, before[1]["email"]);
    unlink(&ada, "google").await.is(200);
    assert_eq!(email().await, before[0]["email"]);
    let updated = world.events("user.updated").await;
    assert_eq!(updated.len(), 1);
    assert_eq!(updated[0].1["changed"], json!(["email"]));
}

/// A link that brings the first verified address makes it the primary one.
#[tokio::test]
async fn the_first_verified_address_becomes_the_primary_one() {
    let world = World::start().await;
    let ada = world.member("ada").await;
    world
        .change("UPDATE oauth_links SET email_verified = false")
        .await;
    link(&ada, "google", "alan").await;
    assert_eq!(links(&ada).await[1]["is_primary"], true);
    assert_eq!(
        world.events("user.updated").await[0].1["changed"],
        json!(["email"])
    );
}
