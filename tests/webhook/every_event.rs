//! Every event of the list, from the change that somebody makes to what a receiver got.

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::rand::SystemRandom;
use reqwest::Method;
use riley_auth::accounts::{self, Unmerging};
use riley_auth::audit::Actor;
use riley_auth::config::oauth::AccountMergePolicy;
use riley_auth::dev::simulated_upstream::Flavour;
use riley_auth::events::EVENT_TYPES;
use riley_auth::jwt::{KeySet, KeySource, generate};
use riley_auth::protocol::algorithm::SigningAlgorithm;
use riley_auth::protocol::ids::LinkId;
use riley_auth::server::key_record;
use riley_auth::usernames::UsernameRules;
use serde_json::{Value, json};

use crate::common::provider::PAGES;
use crate::common::receiver::Receiver;
use crate::common::schema::misfit;
use crate::common::upstreams::with_upstreams;
use crate::common::webhooks::on_loopback;
use crate::common::{Browser, TestProvider, checks};
use crate::{ask, documented, members};

/// What was done, and what a receiver has to hear of it.
struct World {
    op: TestProvider,
    root: Browser,
    expected: Vec<(&'static str, Value)>,
}

impl World {
    fn expect(&mut self, event_type: &'static str, data: Value) {
        self.expected.push((event_type, data));
    }

    /// Somebody who signs in by this provider.
    async fn signed_in(&self, provider: &str, person: &str) -> Browser {
        signed_in(&self.op, provider, person).await
    }

    /// A change by the administrator.
    async fn administer(&self, method: Method, path: &str, body: Value) -> Value {
        let answer = ask(&self.root, method, path, Some(body)).await;
        assert!(answer.status.is_success(), "{path}: {answer:?}");
        answer.json()
    }

    /// An account, its session, its names.
    async fn accounts(&mut self) {
        let ada = self.signed_in("github", "ada").await;
        let user_id = ada.user_id().await;
        let link_id = link_id(&ada, "github").await;
        self.expect("user.created", json!({ "user_id": user_id, "username": "ada" }));
        let link = json!({ "user_id": user_id, "link_id": link_id, "provider": "github" });
        self.expect("link.created", link);
        let session = json!({ "session_id": sid(&ada), "user_id": user_id, "provider": "github" });
        self.expect("session.created", session);

        let display_name = json!({ "display_name": "The Countess" });
        ask(&ada, Method::PATCH, "/auth/me", Some(display_name))
            .await
            .is(200);
        let updated = json!({ "user_id": user_id, "changed": ["display_name"] });
        self.expect("user.updated", updated);
        let username = json!({ "username": "countess" });
        ask(&ada, Method::PATCH, "/auth/me/username", Some(username))
            .await
            .is(200);
        let renamed = json!({ "user_id": user_id, "old_username": "ada", "new_username": "countess" });
        self.expect("user.username_changed", renamed);

        let path = format!("/admin/users/{user_id}");
        let role = json!({ "role": "admin" });
        self.administer(Method::PATCH, &format!("{path}/role"), role)
            .await;
        let role = json!({ "user_id": user_id, "old_role": "user", "new_role": "admin" });
        self.expect("user.role_changed", role);
        let ended = json!({ "session_id": sid(&ada), "user_id": user_id, "reason": "user_disabled" });
        self.administer(Method::PATCH, &path, json!({ "disabled": true }))
            .await;
        self.expect("user.disabled", json!({ "user_id": user_id }));
        self.expect("session.revoked", ended);
        self.administer(Method::PATCH, &path, json!({ "disabled": false }))
            .await;
        self.expect("user.enabled", json!({ "user_id": user_id }));
    }

    /// An identity joins an account and leaves it, by its owner and by an operator.
    async fn identities(&mut self) {
        let alan = self.signed_in("github", "alan@gmail.com").await;
        let user_id = alan.user_id().await;
        let alan = self.signed_in("google", "alan@gmail.com").await;
        assert_eq!(alan.user_id().await, user_id, "the address joins them");
        let joined = link_id(&alan, "google").await;
        let told = json!({ "user_id": user_id, "link_id": joined, "provider": "google" });
        self.expect("account.merged", told.clone());
        ask(&alan, Method::DELETE, "/auth/link/google", None)
            .await
            .is(200);
        let unlinked = self.op.events("link.deleted").await;
        assert_eq!(unlinked.len(), 1);
        assert_eq!(
            (&unlinked[0]["user_id"], &unlinked[0]["provider"]),
            (&json!(user_id), &json!("google"))
        );
        self.expect("link.deleted", unlinked[0].clone());

        let grace = self.signed_in("github", "grace@gmail.com").await;
        let user_id = grace.user_id().await;
        let joined = link_id(&self.signed_in("google", "grace@gmail.com").await, "google").await;
        let new_user_id = self.unmerge(&joined).await;
        let told = json!({
            "user_id": user_id, "new_user_id": new_user_id, "link_id": joined, "provider": "google",
        });
        self.expect("account.unmerged", told);
    }

    /// As `riley-auth unmerge` does it. The account that the identity has now.
    async fn unmerge(&self, link_id: &str) -> String {
        let state = self.op.state();
        let rules = UsernameRules::new(&state.config.usernames).unwrap();
        let unmerging = Unmerging {
            link_id: link_id.parse::<LinkId>().unwrap(),
            owner: None,
            actor: &Actor::CommandLine,
            usernames: &rules.candidates(&["hopper"], &SystemRandom::new()),
        };
        let mut tx = self.op.db().begin().await.unwrap();
        let now = self.op.clock().now();
        let done = accounts::unmerge(&mut tx, &unmerging, &state.keyring, &state.rng, now)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        done.new_user.user_id.to_string()
    }

    /// An app, from its registration to its removal, and what somebody lets it have.
    async fn apps(&mut self) {
        let new = json!({ "name": "Notes", "redirect_uris": ["https://notes.example/callback"] });
        let created = self.administer(Method::POST, "/admin/clients", new).await;
        let client_id = created["client_id"].as_str().unwrap();
        let told = json!({ "client_id": client_id, "name": "Notes" });
        self.expect("client.created", told);
        let path = format!("/admin/clients/{client_id}");
        let change = json!({ "name": "Better notes", "claims_in_id_token": true });
        self.administer(Method::PATCH, &path, change).await;
        let told = json!({ "client_id": client_id, "changed": ["claims_in_id_token", "name"] });
        self.expect("client.updated", told);
        ask(&self.root, Method::DELETE, &path, None).await.is(204);
        self.expect("client.deleted", json!({ "client_id": client_id }));

        let app = self.op.asking_client().await;
        let (client_id, mary) = (app.client_id(), self.signed_in("github", "mary").await);
        let user_id = mary.user_id().await;
        let request = mary.authorize(&app).scope("openid profile");
        let page = request.send().await.page("/consent");
        let visit = mary.decide(&page, true).await;
        let tokens = app.redeem(&request.read(visit).await.code()).await.tokens();
        let told = json!({ "user_id": user_id, "client_id": client_id, "scope": "openid profile" });
        self.expect("consent.granted", told);
        let next = app.refresh(tokens.refresh()).await.tokens();
        app.refresh(next.refresh()).await.tokens();
        let grant_id: uuid::Uuid = sqlx::query_scalar("SELECT grant_id FROM grants WHERE client_id = $1")
            .bind(client_id)
            .fetch_one(self.op.db())
            .await
            .unwrap();
        self.op.advance_secs(3600);
        app.refresh(tokens.refresh()).await.refused("invalid_grant");
        let told = json!({ "user_id": user_id, "client_id": client_id, "grant_id": grant_id });
        self.expect("refresh_token.reused", told);
        let path = format!("/auth/me/consents/{client_id}");
        let answer = ask(&mary, Method::DELETE, &path, None).await;
        assert!(answer.status.is_success(), "{answer:?}");
        let told = json!({ "user_id": user_id, "client_id": client_id });
        self.expect("consent.revoked", told);
    }

    /// Another key signs, as after a reload.
    async fn keys(&mut self) {
        let key = generate::generate(SigningAlgorithm::Es256, None).unwrap();
        let now = self.op.clock().now();
        let before = self.op.state().keys.current();
        let previous_kid = before
            .active(Some(SigningAlgorithm::Es256), now)
            .unwrap()
            .kid()
            .to_owned();
        let keys = KeySet::new(vec![KeySource {
            algorithm: SigningAlgorithm::Es256,
            kid: None,
            private_key_pem: Some(key.private_key_pem),
            public_key_pem: None,
            signs_from: None,
            origin: "a test".to_owned(),
        }]);
        let keys = keys.unwrap();
        let kid = keys.entries()[0].kid().to_owned();
        self.op.state().keys.replace(keys);
        key_record::record(self.op.state(), now).await.unwrap();
        let told = json!({ "algorithm": "ES256", "kid": kid, "previous_kid": previous_kid });
        self.expect("key.rotated", told);
    }

    /// Somebody deletes their account.
    async fn departure(&mut self) {
        let kurt = self.signed_in("github", "kurt").await;
        let user_id = kurt.user_id().await;
        ask(&kurt, Method::DELETE, "/auth/me", None).await.is(200);
        self.expect("user.deleted", json!({ "user_id": user_id }));
    }
}

async fn signed_in(op: &TestProvider, provider: &str, person: &str) -> Browser {
    let browser = op.browser();
    let visit = browser.sign_in_amid(provider, person, &[]).await;
    assert_eq!(visit.url.as_str(), format!("{PAGES}/home"), "{}", visit.text());
    browser
}

fn sid(browser: &Browser) -> String {
    let claims = checks::peek(&browser.cookie("access").unwrap());
    claims["sid"].as_str().unwrap().to_owned()
}

async fn link_id(browser: &Browser, provider: &str) -> String {
    let links = browser.read("/auth/me/links").await;
    let links = links.as_array().or_else(|| links["links"].as_array()).unwrap();
    let link = links.iter().find(|link| link["provider"] == provider).unwrap();
    link["link_id"].as_str().unwrap().to_owned()
}

/// WH-9, WH-11: each event of the list is told of the change that it stands for, signed, with exactly the documented payload.
#[tokio::test]
async fn every_event_of_the_list_reaches_a_receiver_with_its_documented_payload() {
    let list = [
        ("github", Flavour::GitHub, json!({})),
        ("google", Flavour::Google, json!({})),
    ];
    let (op, _google) = with_upstreams(&list, |config| {
        on_loopback(config);
        config.oauth.account_merge_policy = AccountMergePolicy::VerifiedEmail;
    })
    .await;
    let root = signed_in(&op, "github", "root").await;
    sqlx::query("UPDATE users SET role = 'admin'")
        .execute(op.db())
        .await
        .unwrap();
    let receiver = Receiver::start().await;
    let new = json!({ "url": receiver.url() });
    let hook = ask(&root, Method::POST, "/admin/webhooks", Some(new))
        .await
        .is(201)
        .json();
    let webhook_id = hook["webhook_id"].as_str().unwrap().to_owned();
    let mut world = World {
        op: op.clone(),
        root,
        expected: Vec::new(),
    };
    world.accounts().await;
    world.identities().await;
    world.apps().await;
    world.keys().await;
    world.departure().await;
    let path = format!("/admin/webhooks/{webhook_id}/ping");
    ask(&world.root, Method::POST, &path, None).await.is(202);
    world.expect("webhook.ping", json!({ "webhook_id": webhook_id }));

    let covered: BTreeSet<&str> = world.expected.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        covered,
        EVENT_TYPES.into_iter().collect(),
        "nothing makes the others happen here"
    );
    let hook_id = webhook_id.parse().unwrap();
    op.wake_workers().await;
    op.deliveries_become(hook_id, |all| all.iter().all(|one| one.status == "delivered"))
        .await;
    let library = standardwebhooks::Webhook::new(hook["secret"].as_str().unwrap()).unwrap();
    let documented: BTreeMap<String, BTreeSet<String>> = documented().into_iter().collect();
    let document = world.op.get("/openapi.json").await.is(200).json();
    let any = json!({ "$ref": "#/components/schemas/Event" });
    let mut told: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for one in receiver.received() {
        // Not `verify`, which has the machine's clock: time passed faster here.
        let timestamp = one.header("webhook-timestamp").parse().unwrap();
        let signature = library.sign(one.id(), timestamp, one.body.as_bytes()).unwrap();
        assert_eq!(one.header("webhook-signature"), signature);
        let body = one.json();
        assert_eq!(
            members(&body),
            BTreeSet::from(["data", "timestamp", "type"].map(str::to_owned))
        );
        assert_eq!(members(&body["data"]), documented[&one.event_type()], "{body}");
        for schema in [message(&document, &one.event_type()), &any] {
            assert_eq!(misfit(&document, schema, &body), None, "{body}");
        }
        told.entry(one.event_type())
            .or_default()
            .push(body["data"].clone());
    }
    for (event_type, data) in &world.expected {
        let told = &told[*event_type];
        let times = told.iter().filter(|one| *one == data).count();
        assert_eq!(times, 1, "{event_type}: {data} is not among {told:#?}");
    }
}

/// The API document's schema of the message that tells of this event.
fn message<'a>(document: &'a Value, event_type: &str) -> &'a Value {
    &document["webhooks"][event_type]["post"]["requestBody"]["content"]["application/json"]["schema"]
}

/// OpenAPI 3.1 §4.8.1: every type of event has its entry, no other has one, and its message is the one that docs/webhooks.md
/// tells of: an envelope of three members, and the payload's, of which those with a question mark may be absent.
#[tokio::test]
async fn every_message_is_described_in_the_api_document() {
    let op = TestProvider::start().await;
    let document = op.get("/openapi.json").await.is(200).json();
    let described: BTreeSet<&str> = document["webhooks"]
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(described, EVENT_TYPES.into_iter().collect());
    let envelope = BTreeSet::from(["data", "timestamp", "type"].map(str::to_owned));
    for (event_type, payload) in documented() {
        let reference = message(&document, &event_type)["$ref"].as_str().unwrap();
        let schema = document.pointer(reference.trim_start_matches('#')).unwrap();
        assert_eq!(members(&schema["properties"]), envelope, "{event_type}");
        assert_eq!(schema["required"].as_array().unwrap().len(), 3, "{event_type}");
        assert_eq!(schema["properties"]["type"]["enum"], json!([event_type]));
        let data = &schema["properties"]["data"];
        assert_eq!(members(&data["properties"]), payload, "{event_type}");
        let required = data["required"].as_array().unwrap().iter();
        let required: BTreeSet<String> = required.map(|name| name.as_str().unwrap().to_owned()).collect();
        let optional: BTreeSet<String> = payload.difference(&required).cloned().collect();
        let expected = if event_type == "key.rotated" {
            &["previous_kid"][..]
        } else {
            &[]
        };
        assert!(optional.iter().eq(expected), "{event_type}: {optional:?}");
    }
}

/// Apps know of the primary address alone: that another one of the account changed is not told.
#[tokio::test]
async fn only_another_primary_address_is_told_of() {
    let list = [
        ("github", Flavour::GitHub, json!({})),
        ("google", Flavour::Google, json!({})),
    ];
    let (op, _google) = with_upstreams(&list, |config| {
        config.oauth.account_merge_policy = AccountMergePolicy::VerifiedEmail;
    })
    .await;
    let user_id = signed_in(&op, "github", "ada").await.user_id().await;
    signed_in(&op, "google", "ada").await;
    let had_another = async |provider: &str| {
        sqlx::query("UPDATE oauth_links SET email = 'before@example.test' WHERE provider = $1")
            .bind(provider)
            .execute(op.db())
            .await
            .unwrap();
        let browser = signed_in(&op, provider, "ada").await;
        assert_eq!(browser.user_id().await, user_id);
        let told = op.events("user.updated").await;
        let of_address = |told: &&Value| told["changed"].as_array().unwrap().contains(&json!("email"));
        told.iter().filter(of_address).count()
    };
    assert_eq!(had_another("google").await, 0);
    assert_eq!(had_another("github").await, 1);
}
