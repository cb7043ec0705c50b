//! Webhooks and deliveries on the command line, beside a running server.

use riley_auth::db;
use riley_auth::events::Event;
use riley_auth::protocol::ids::ClientId;
use serde_json::{Value, json};

use crate::common::TestProvider;
use crate::common::process::Directory;
use crate::common::receiver::{Behaviour, Receiver};
use crate::common::webhooks::on_loopback;
use crate::hears;

fn run(directory: &Directory, arguments: &[&str], succeeds: bool) -> String {
    let output = directory.run(arguments);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.success(), succeeds, "{arguments:?}: {errors}");
    if succeeds {
        String::from_utf8(output.stdout).unwrap()
    } else {
        errors
    }
}

fn json_of(directory: &Directory, arguments: &[&str]) -> Value {
    let arguments: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
    serde_json::from_str(&run(directory, &arguments, true)).unwrap()
}

/// §8: registered, listed, pinged, changed, paused, given another secret, looked into, sent again, removed.
#[tokio::test(flavor = "multi_thread")]
async fn an_operator_does_everything_with_a_webhook() {
    let op = TestProvider::with(|config| {
        on_loopback(config);
        config.webhooks.max_attempts = 1;
    })
    .await;
    // The commands have the clock of the machine; the server's, which stands still, is ahead of it from here on, by less than
    // the five minutes that receivers allow.
    op.advance_secs(280);
    let configuration = format!(
        "{}\n[webhooks]\nallow_private_ips = true\n",
        op.configuration_text()
    );
    let directory = Directory::with_key(&configuration);
    let receiver = Receiver::start().await;
    let url = receiver.url();
    let refused = run(
        &directory,
        &["register-webhook", "--url", "https://user@app.example/"],
        false,
    );
    assert!(refused.contains("user name"), "{refused}");
    let event = ["--event", "client.created"];
    let created = json_of(
        &directory,
        &["register-webhook", "--url", &url, event[0], event[1]],
    );
    let (id, secret) = (
        created["webhook_id"].as_str().unwrap(),
        created["secret"].as_str().unwrap(),
    );
    let listed = run(&directory, &["list-webhooks"], true);
    assert!(listed.contains(id) && !listed.contains(secret), "{listed}");
    let app = op.client().await;
    let of_app = json_of(
        &directory,
        &["register-webhook", "--url", &url, "--client-id", app.client_id()],
    );
    assert_eq!(of_app["client_id"], app.client_id());
    run(
        &directory,
        &["remove-webhook", of_app["webhook_id"].as_str().unwrap()],
        true,
    );

    run(&directory, &["ping-webhook", id], true);
    op.wake_workers().await;
    let ping = hears(&receiver, "webhook.ping").await;
    let verifies = |secret: &str| {
        let library = standardwebhooks::Webhook::new(secret).unwrap();
        library.verify(ping.body.as_bytes(), &ping.headers).is_ok()
    };
    assert!(verifies(secret));
    let rotated = json_of(&directory, &["rotate-webhook-secret", id]);
    assert!(!verifies(rotated["secret"].as_str().unwrap()));

    // Failed, seen, sent again.
    receiver.behave(Behaviour::Status(503));
    let webhook_id = id.parse().unwrap();
    run(&directory, &["ping-webhook", id], true);
    op.wake_workers().await;
    op.deliveries_become(webhook_id, |all| all.iter().any(|one| one.status == "failed"))
        .await;
    let failed = ["list-deliveries", "--webhook", id, "--status", "failed"];
    let listed = json_of(&directory, &failed);
    assert_eq!(listed.as_array().unwrap().len(), 1);
    assert_eq!(
        (&listed[0]["event_type"], &listed[0]["attempts"][0]["error"]),
        (&json!("webhook.ping"), &json!("refused_by_receiver"))
    );
    assert!(run(&directory, &failed, true).contains("503 refused_by_receiver"));
    receiver.behave(Behaviour::Status(200));
    let again = json_of(
        &directory,
        &[
            "redeliver",
            "--webhook",
            id,
            "--failed-since",
            "2020-01-01T00:00:00Z",
        ],
    );
    assert_eq!(again, json!({ "deliveries": 1 }));
    op.wake_workers().await;
    op.deliveries_become(webhook_id, |all| all.iter().all(|one| one.status == "delivered"))
        .await;
    let delivery_id = listed[0]["delivery_id"].as_str().unwrap();
    let one = ["redeliver", "--webhook", id, "--delivery", delivery_id];
    assert_eq!(json_of(&directory, &one)["deliveries"], 1);
    let unknown = uuid::Uuid::new_v4().to_string();
    let refused = run(
        &directory,
        &["redeliver", "--webhook", id, "--delivery", &unknown],
        false,
    );
    assert!(refused.contains("no such delivery"), "{refused}");
    let output = directory.run(&["redeliver", "--webhook", id]);
    assert_eq!(output.status.code(), Some(2));

    // Changed, paused, removed.
    assert_eq!(
        directory.run(&["change-webhook", id]).status.code(),
        Some(2),
        "nothing to change"
    );
    let changed = json_of(
        &directory,
        &[
            "change-webhook",
            id,
            "--all-events",
            "--description",
            "billing",
            "--disable",
        ],
    );
    assert_eq!(
        (
            &changed["event_types"],
            &changed["description"],
            &changed["disabled"]
        ),
        (&json!([]), &json!("billing"), &json!(true))
    );
    let told = async || {
        let event = Event::ClientDeleted {
            client_id: ClientId("gone".into()),
        };
        let mut tx = op.db().begin().await.unwrap();
        db::events::emit(&mut tx, &[event], op.clock().now())
            .await
            .unwrap();
        tx.commit().await.unwrap();
    };
    told().await;
    assert_eq!(
        json_of(&directory, &["change-webhook", id, "--enable"])["disabled"],
        false
    );
    told().await;
    hears(&receiver, "client.deleted").await;
    let all = op
        .deliveries_become(webhook_id, |all| all.iter().all(|one| one.status == "delivered"))
        .await;
    let deleted = all.iter().filter(|one| one.event_type == "client.deleted");
    assert_eq!(
        deleted.count(),
        1,
        "nothing is kept for a webhook that is disabled"
    );
    run(&directory, &["remove-webhook", id], true);
    assert!(run(&directory, &["ping-webhook", id], false).contains("no such webhook"));
}

/// §4.7: an operator sees which logouts an app was told of, and lets it be told again.
#[tokio::test(flavor = "multi_thread")]
async fn an_operator_sees_logout_notices_and_sends_them_again() {
    let op = TestProvider::with(|config| {
        on_loopback(config);
        config.webhooks.backchannel_max_attempts = 1;
    })
    .await;
    op.advance_secs(280);
    let receiver = Receiver::start().await;
    receiver.behave(Behaviour::Status(400));
    let app = op
        .client_with(|client| client.backchannel_logout_uri = Some(receiver.url()))
        .await;
    let ada = op.browser();
    app.tokens_of(&ada, "ada", "openid").await;
    let user_id = ada.user_id().await;
    crate::ask(&ada, reqwest::Method::POST, "/auth/logout", None)
        .await
        .is(200);
    receiver.waits_for(1).await;
    let directory = Directory::with_key(&op.configuration_text());
    let list = ["list-deliveries", "--client-id", app.client_id()];
    let mut listed = json_of(&directory, &list);
    while listed[0]["status"] == "pending" {
        listed = json_of(&directory, &list);
    }
    assert_eq!(
        (&listed[0]["status"], &listed[0]["user_id"]),
        (&json!("failed"), &json!(user_id))
    );
    assert!(run(&directory, &list, true).contains(&format!("logout of {user_id}")));
    receiver.behave(Behaviour::Status(200));
    let delivery_id = listed[0]["delivery_id"].as_str().unwrap();
    let again = [
        "redeliver",
        "--client-id",
        app.client_id(),
        "--delivery",
        delivery_id,
    ];
    assert_eq!(json_of(&directory, &again)["deliveries"], 1);
    op.wake_workers().await;
    receiver.waits_for(2).await;
    let refused = run(
        &directory,
        &[
            "redeliver",
            "--client-id",
            "nobody",
            "--failed-since",
            "2020-01-01T00:00:00Z",
        ],
        false,
    );
    assert!(refused.contains("no such client"), "{refused}");
}
