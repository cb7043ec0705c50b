//! Administrators, what they call, and what is looked up beside the API: events, entries of the trail.

use reqwest::Method;
use serde_json::Value;

use super::answer::Answer;
use super::browser::Browser;
use super::provider::TestProvider;

impl TestProvider {
    /// A browser in which an administrator has signed in.
    pub(crate) async fn administrator(&self, person: &str) -> Browser {
        let browser = self.signed_in(person).await;
        let user_id: uuid::Uuid = browser.user_id().await.parse().expect("an id is a UUID");
        sqlx::query("UPDATE users SET role = 'admin' WHERE user_id = $1")
            .bind(user_id)
            .execute(self.db())
            .await
            .expect("the account is there");
        browser
    }

    /// The payloads of the events of this type, oldest first.
    pub(crate) async fn events(&self, event_type: &str) -> Vec<Value> {
        sqlx::query_scalar("SELECT data FROM events WHERE event_type = $1 ORDER BY created_at, event_id")
            .bind(event_type)
            .fetch_all(self.db())
            .await
            .expect("the outbox can be read")
    }

    /// How many entries the trail has.
    pub(crate) async fn trail_length(&self) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM audit_entries")
            .fetch_one(self.db())
            .await
            .expect("the trail can be read")
    }
}

impl Browser {
    /// What the page of an administrator reads: `GET` with this path, 200.
    pub(crate) async fn read(&self, path: &str) -> Value {
        self.call(Method::GET, path, None).await.is(200).json()
    }

    /// What it sends.
    pub(crate) async fn send(&self, method: Method, path: &str, body: &Value) -> Answer {
        self.call(method, path, Some(body)).await
    }

    /// `DELETE`.
    pub(crate) async fn remove(&self, path: &str) -> Answer {
        self.call(Method::DELETE, path, None).await
    }
}
