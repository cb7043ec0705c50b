use reqwest::Method;
use riley_auth::config::oauth::AccountMergePolicy;
use riley_auth::dev::simulated_upstream::{Flavour, Misbehaviour};
use serde_json::{Value, json};

use super::World;
use crate::common::linking::{
    ask, at_upstream, begin_and_pass, confirm, link, linked_providers, links, proposal, prove, sign_in,
    unlink, up_to_callback, wait_for_confirmation,
};
use crate::common::provider::{ISSUER, PAGES};
use crate::common::upstreams::with_upstreams;

/// §3.2 from end to end: asked for by POST, proved upstream, shown, confirmed; from then on both lead there.
#[tokio::test]
async fn a_person_adds_a_provider_and_signs_in_by_either() {
    let world = World::start().await;
    let ada = world.member("ada").await;
    let account = ada.user_id().await;
    wait_for_confirmation(&ada, "google", "alan").await;

    let shown = proposal(&ada).await;
    shown.is_not_stored();
    let shown = shown.is(200).json();
    assert_eq!(
        shown["provider"],
        json!({ "name": "google", "display_name": "Google" })
    );
    assert_eq!(shown["username"], "ada");
    assert_eq!(shown["reauthentication_required"], false);
    let email = shown["email"].as_str().unwrap();
    assert!(email.starts_with("a***@"), "{email}");
    assert!(!shown["display"].as_str().unwrap().is_empty());
    assert_eq!(
        linked_providers(&ada).await,
        ["github"],
        "nothing is linked before the person says so"
    );

    let done = confirm(&ada).await.is(200).json();
    assert_eq!(done["provider"], "google");
    assert_eq!(done["redirect_to"], format!("{PAGES}/home"));
    assert_eq!(ada.cookie("setup"), None, "the handle is used up");
    assert_eq!(world.count("SELECT count(*) FROM pending_identities").await, 0);
    assert_eq!(ada.user_id().await, account);

    let links = links(&ada).await;
    assert_eq!(links[0]["provider"], "github");
    assert_eq!(links[1]["provider"], "google");
    assert_eq!(links[1]["provider_display_name"], "Google");
    assert_eq!(links[1]["link_id"], done["link_id"]);
    assert_eq!(
        (&links[0]["is_primary"], &links[1]["is_primary"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(links[1]["email_verified"], true);
    for (provider, person) in [("github", "ada"), ("google", "alan")] {
        let browser = world.op.browser();
        sign_in(&browser, provider, person).await;
        assert_eq!(browser.user_id().await, account, "{provider}");
    }
    // AC-7: apps hear of it.
    let created = world.events("link.created").await;
    assert_eq!(created[1].1["provider"], "google");
    assert_eq!(created[1].1["user_id"], json!(account));
}

/// SE-6: a link cannot be started by a navigation, nor by a foreign page, nor by nobody.
#[tokio::test]
async fn linking_is_started_by_a_protected_post_alone() {
    let world = World::start().await;
    let ada = world.member("ada").await;
    let url = format!("{ISSUER}/auth/link/google");
    for method in [Method::GET, Method::HEAD, Method::PUT] {
        let answer = ada
            .fetch(&format!("{ISSUER}/"), method.clone(), &url, &[], None)
            .await
            .unwrap();
        assert_eq!(answer.status, 405, "{method}");
    }
    assert_eq!(ada.open(&url).await.status().unwrap(), 405);
    let form = ada.post_form("https://evil.test/", &url, Vec::new()).await;
    assert!(form.status().unwrap().is_client_error());
    let form = ada.post_form(&format!("{PAGES}/"), &url, Vec::new()).await;
    assert_eq!(
        form.status().unwrap(),
        403,
        "a form of our own site sends no header"
    );
    ask(&world.op.browser(), "google")
        .await
        .refused_with(401, "unauthenticated");
    assert_eq!(world.count("SELECT count(*) FROM upstream_flows").await, 0);
    ask(&ada, "google").await.is(200);
    assert_eq!(
        world
            .count("SELECT count(*) FROM upstream_flows WHERE kind = 'link' AND user_id IS NOT NULL")
            .await,
        1
    );
}

/// What a page may ask for, and what it may not.
#[tokio::test]
async fn a_start_that_cannot_come_to_anything_is_refused() {
    let world = World::start().await;
    let ada = world.member("ada").await;
    ask(&ada, "github").await.refused_with(409, "provider_linked");
    for name in [
        "gitlab",
        "GOOGLE",
        "google%00",
        "google%2fconfirm",
        "a%F0%9F%92%A9",
    ] {
        ask(&ada, name).await.refused_with(404, "not_found");
    }
    let with = async |body: Value| ada.call(Method::POST, "/auth/link/google", Some(&body)).await;
    for body in [
        json!([]),
        json!(null),
        json!({ "return_to": ["x"] }),
        json!({ "return_to": "/", "role": "admin" }),
        json!({ "user_id": "00000000-0000-4000-8000-000000000000" }),
    ] {
        with(body.clone()).await.refused_with(400, "invalid_request");
    }
    let endless = format!("{PAGES}/{}", "a".repeat(2048));
    for place in ["https://evil.test/", "//evil.test", "/\\evil.test", &endless] {
        with(json!({ "return_to": place }))
            .await
            .refused_with(400, "invalid_return_to");
    }
    // NUL is refused in every body alike.
    with(json!({ "return_to": "/\u{0}" }))
        .await
        .refused_with(400, "invalid_request");
    assert_eq!(world.count("SELECT count(*) FROM upstream_flows").await, 0);
    with(json!({ "return_to": format!("{PAGES}/account?tab=links") }))
        .await
        .is(200);
    with(json!({})).await.is(200);

    let without_page = world.op.reconfigured(|config| config.oauth.link_url = None).await;
    ask(&ada.at(&without_page), "google")
        .await
        .refused_with(403, "interaction_required");
}

/// `return_to` leads on after the confirmation, and nothing is appended to it.
#[tokio::test]
async fn a_link_ends_where_it_was_started_for() {
    let world = World::start().await;
    let ada = world.member("ada").await;
    let place = format!("{PAGES}/account?tab=links");
    let asked = ada
        .call(
            Method::POST,
            "/auth/link/google",
            Some(&json!({ "return_to": place })),
        )
        .await;
    let url = asked.is(200).json()["authorization_url"]
        .as_str()
        .unwrap()
        .to_owned();
    let page = ada.open(&url).await;
    let callback = ada.callback_url(&page, "ada", &[]).await;
    ada.open(callback.as_str()).await;
    assert_eq!(confirm(&ada).await.is(200).json()["redirect_to"], place);
}

/// §3.2: an answer by form_post comes without cookies and is fetched by a GET that has them, a link's, too.
#[tokio::test]
async fn a_provider_that_answers_by_form_post_is_linked_like_any_other() {
    let list = [
        ("github", Flavour::GitHub, json!({})),
        ("apple", Flavour::Apple, json!({})),
    ];
    let (op, _apple) = with_upstreams(&list, |_| ()).await;
    let ada = op.browser();
    sign_in(&ada, "github", "ada").await;
    let page = at_upstream(&ada, "apple").await;
    let answer = ada.submit(&page, &[("person", "ada")]).await;
    let visit = ada.submit(&answer, &[]).await;
    assert_eq!(visit.url.as_str(), format!("{PAGES}/link"), "{}", visit.text());
    confirm(&ada).await.is(200);
    assert_eq!(linked_providers(&ada).await, ["github", "apple"]);
}

/// AC-8: an identity that leads to another account stays there, and only who has proved it hears that.
#[tokio::test]
async fn an_identity_of_another_account_is_not_taken() {
    let world = World::start().await;
    let emmy = world.member("emmy").await;
    link(&emmy, "google", "emmy").await;
    let ada = world.member("ada").await;
    let visit = prove(&ada, "google", "emmy").await;
    assert_eq!(visit.url.as_str(), format!("{PAGES}/link?error=identity_linked"));
    assert_eq!(ada.cookie("setup"), None);
    proposal(&ada).await.refused_with(404, "no_link");

    // It was free when it was proved.
    wait_for_confirmation(&ada, "google", "alan").await;
    let alan = world.member("alan").await;
    link(&alan, "google", "alan").await;
    confirm(&ada).await.refused_with(409, "identity_linked");
    proposal(&ada).await.refused_with(404, "no_link");
    assert_eq!(linked_providers(&ada).await, ["github"]);
}

/// One identity of each provider, and one's own is nothing new.
#[tokio::test]
async fn a_second_identity_of_a_provider_is_refused_and_ones_own_leads_back() {
    let world = World::start().await;
    let ada = world.member("ada").await;
    let (tab, late) = (
        up_to_callback(&ada, "google", "ada").await,
        up_to_callback(&ada, "google", "alan").await,
    );
    link(&ada, "google", "ada").await;
    assert_eq!(
        ada.open(tab.as_str()).await.url.as_str(),
        format!("{PAGES}/home"),
        "there is nothing to confirm"
    );
    assert_eq!(
        ada.open(late.as_str()).await.url.as_str(),
        format!("{PAGES}/link"),
        "another identity of that provider"
    );
    confirm(&ada).await.refused_with(409, "provider_linked");
    assert_eq!(linked_providers(&ada).await, ["github", "google"]);
    assert_eq!(world.count("SELECT count(*) FROM pending_identities").await, 0);
}

/// A link of an issuer that the provider's name led to once keeps nobody from linking there: it gives way, and leads to the account
/// again when the configuration is put back. It is no reason to merge anybody, either.
#[tokio::test]
async fn a_link_of_a_former_issuer_gives_way() {
    let list = [
        ("github", Flavour::GitHub, json!({})),
        ("google", Flavour::Google, json!({})),
        ("next", Flavour::Google, json!({})),
    ];
    let (op, _others) = with_upstreams(&list, |config| {
        config.oauth.account_merge_policy = AccountMergePolicy::VerifiedEmail;
    })
    .await;
    let ada = op.browser();
    sign_in(&ada, "github", "ada").await;
    let account = ada.user_id().await;
    link(&ada, "google", "alan").await;
    let moved = op
        .reconfigured(|config| {
            let next = config.oauth.providers.remove("next").unwrap();
            config.oauth.providers.insert("google".to_owned(), next);
        })
        .await;

    let newcomer = moved.browser();
    let visit = begin_and_pass(&newcomer, "google", "ada").await;
    assert_eq!(
        visit.url.as_str(),
        format!("{PAGES}/link"),
        "suggested, not merged"
    );
    let there = ada.at(&moved);
    link(&there, "google", "emmy").await;
    assert_eq!(
        linked_providers(&there).await,
        ["github", "google~former", "google"]
    );
    let listed = links(&there).await;
    let each = |what: &str| -> Vec<Value> {
        let listed = listed.as_array().unwrap().iter();
        listed.map(|link| link[what].clone()).collect()
    };
    assert_eq!(each("usable"), [true, false, true]);
    assert_eq!(each("provider_display_name"), ["GitHub", "Google", "Google"]);
    ask(&there, "google").await.refused_with(409, "provider_linked");
    let browser = moved.browser();
    sign_in(&browser, "google", "emmy").await;
    assert_eq!(browser.user_id().await, account);

    // Put back, the former one leads there as before, under the name that it has by now.
    let browser = op.browser();
    sign_in(&browser, "google", "alan").await;
    assert_eq!(browser.user_id().await, account);
    assert_eq!(
        linked_providers(&browser).await,
        ["github", "google~former", "google"]
    );
    unlink(&ada, "google~former").await.is(200);
    assert_eq!(linked_providers(&ada).await, ["github", "google"]);
}

/// The same for whoever came by it first: their primary address is still the former one's, and apps hear of no change.
#[tokio::test]
async fn a_former_issuer_that_gives_way_changes_no_address() {
    let list = [
        ("google", Flavour::Google, json!({})),
        ("github", Flavour::GitHub, json!({})),
        ("next", Flavour::Google, json!({})),
    ];
    let (op, _others) = with_upstreams(&list, |_| ()).await;
    let ada = op.browser();
    sign_in(&ada, "google", "ada").await;
    link(&ada, "github", "alan").await;
    let moved = op
        .reconfigured(|config| {
            let next = config.oauth.providers.remove("next").unwrap();
            config.oauth.providers.insert("google".to_owned(), next);
        })
        .await;
    let there = ada.at(&moved);
    link(&there, "google", "emmy").await;
    let links = links(&there).await;
    assert_eq!(
        (&links[0]["provider"], &links[0]["is_primary"]),
        (&json!("google~former"), &json!(true))
    );
    assert_eq!(op.events("user.updated").await, Vec::<Value>::new());
    assert_eq!(op.events("link.created").await.len(), 3);
}

/// UP-4: whatever goes wrong upstream links nothing; the page hears of it by a fixed code.
#[tokio::test]
async fn a_link_that_fails_upstream_leaves_everything_as_it_was() {
    let world = World::start().await;
    let ada = world.member("ada").await;
    for (wrong, code) in [
        (Misbehaviour::WrongNonce, "sign_in_failed"),
        (Misbehaviour::UnpublishedKey, "sign_in_failed"),
        (Misbehaviour::TokenFails, "upstream_unavailable"),
    ] {
        let page = at_upstream(&ada, "google").await;
        let callback = ada.callback_url(&page, "ada", &[wrong]).await;
        let visit = ada.open(callback.as_str()).await;
        assert_eq!(
            visit.url.as_str(),
            format!("{PAGES}/link?error={code}"),
            "{wrong:?}"
        );
    }
    assert!(ada.is_signed_in().await);
    assert_eq!(linked_providers(&ada).await, ["github"]);
    assert_eq!(world.count("SELECT count(*) FROM upstream_flows").await, 0);
}
