//! Webhooks of a test: registered by the operations that API and command line use, and what became of their deliveries.

use std::time::Instant;

use riley_auth::audit::{Actor, Recorder};
use riley_auth::config::Config;
use riley_auth::db::deliveries::{Delivery, page_of_webhook};
use riley_auth::db::webhooks::Webhook;
use riley_auth::protocol::ids::ClientId;
use riley_auth::webhooks::{self, NewWebhook};
use uuid::Uuid;

use super::process::PATIENCE;
use super::provider::TestProvider;
use super::receiver::Receiver;

/// A webhook, and the secret that was shown once.
pub(crate) struct TestWebhook {
    pub(crate) webhook: Webhook,
    pub(crate) secret: String,
}

impl TestWebhook {
    pub(crate) fn id(&self) -> Uuid {
        self.webhook.webhook_id
    }
}

/// Lets receivers on loopback be told.
pub(crate) fn on_loopback(config: &mut Config) {
    config.webhooks.allow_private_ips = true;
}

/// What operations leave their entry in the trail with.
pub(crate) fn recorder(op: &TestProvider) -> Recorder<'_> {
    Recorder {
        keyring: &op.state().keyring,
        rng: &op.state().rng,
        actor: &Actor::CommandLine,
        now: op.clock().now(),
    }
}

impl TestProvider {
    /// Registers the receiver for what nothing but the test itself makes happen.
    pub(crate) async fn webhook(&self, receiver: &Receiver) -> TestWebhook {
        self.webhook_of(receiver, None, &["client.created", "client.deleted"])
            .await
    }

    /// Registers the receiver for these events of this client.
    pub(crate) async fn webhook_of(
        &self,
        receiver: &Receiver,
        client_id: Option<&str>,
        event_types: &[&str],
    ) -> TestWebhook {
        let new = NewWebhook {
            client_id: client_id.map(|client_id| ClientId(client_id.to_owned())),
            url: receiver.url(),
            description: String::new(),
            event_types: event_types.iter().map(|name| (*name).to_owned()).collect(),
        };
        let mut tx = self.db().begin().await.unwrap();
        let policy = self.state().config.webhooks.policy();
        let (webhook, secret) = webhooks::create(&mut tx, &recorder(self), policy, &new)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        TestWebhook {
            webhook,
            secret: secret.expose().to_owned(),
        }
    }

    /// Sends a ping to this webhook; the delivery's id.
    pub(crate) async fn ping(&self, webhook_id: Uuid) -> Uuid {
        let mut tx = self.db().begin().await.unwrap();
        let delivery_id = webhooks::ping(&mut tx, &recorder(self), webhook_id)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        delivery_id
    }

    /// Everything that was or is to be sent to this webhook, the oldest first.
    pub(crate) async fn deliveries(&self, webhook_id: Uuid) -> Vec<Delivery> {
        let mut all = page_of_webhook(self.db(), webhook_id, None, None, 10_000)
            .await
            .unwrap();
        all.reverse();
        all
    }

    /// Waits until all of these deliveries are as the test says.
    pub(crate) async fn deliveries_become(
        &self,
        webhook_id: Uuid,
        expected: impl Fn(&[Delivery]) -> bool,
    ) -> Vec<Delivery> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let all = self.deliveries(webhook_id).await;
            if expected(&all) {
                return all;
            }
            assert!(Instant::now() < deadline, "{all:#?}");
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }

    /// Wakes every worker, as a new delivery does: after the clock was moved, what is due by it is sent at once.
    pub(crate) async fn wake_workers(&self) {
        sqlx::query("SELECT pg_notify('riley_auth_deliveries', '')")
            .execute(self.db())
            .await
            .unwrap();
    }
}
