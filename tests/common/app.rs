//! A registered client, with the verbs of a relying party and of a resource server.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use riley_auth::protocol::client::Client;

use super::answer::{Answer, Tokens};
use super::person::Granted;
use super::provider::TestProvider;

/// A client and its secret. It uses `client_secret_basic`, or `none` without a secret.
#[derive(Clone)]
pub(crate) struct TestClient {
    pub(crate) op: TestProvider,
    pub(crate) client: Client,
    pub(crate) secret: Option<String>,
}

impl TestClient {
    pub(crate) fn new(op: &TestProvider, client: Client, secret: Option<String>) -> Self {
        Self {
            op: op.clone(),
            client,
            secret,
        }
    }

    /// The same client, talking to another instance.
    pub(crate) fn at(&self, op: &TestProvider) -> Self {
        Self {
            op: op.clone(),
            ..self.clone()
        }
    }

    pub(crate) fn client_id(&self) -> &str {
        self.client.client_id.as_str()
    }

    pub(crate) fn redirect_uri(&self) -> &str {
        &self.client.redirect_uris[0]
    }

    pub(crate) fn secret(&self) -> &str {
        self.secret.as_deref().expect("the client is confidential")
    }

    /// A form with the client's own authentication.
    pub(crate) async fn post(&self, path: &str, form: &[(&str, &str)]) -> Answer {
        let request = self.op.request(Method::POST, path);
        if let Some(secret) = &self.secret {
            let request = request.header("authorization", basic(self.client_id(), secret));
            return Answer::of(request.form(form)).await;
        }
        let mut form = form.to_vec();
        form.push(("client_id", self.client_id()));
        Answer::of(request.form(&form)).await
    }

    /// Exchanges a code with what was remembered of its request.
    pub(crate) async fn redeem(&self, granted: &Granted) -> Answer {
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", granted.code.as_str()),
            ("redirect_uri", granted.redirect_uri.as_str()),
        ];
        if let Some(verifier) = &granted.verifier {
            form.push(("code_verifier", verifier));
        }
        self.post("/oauth/token", &form).await
    }

    pub(crate) async fn refresh(&self, refresh_token: &str) -> Answer {
        self.post(
            "/oauth/token",
            &[("grant_type", "refresh_token"), ("refresh_token", refresh_token)],
        )
        .await
    }

    pub(crate) async fn refresh_with_scope(&self, refresh_token: &str, scope: &str) -> Answer {
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh_token),
            ("scope", scope),
        ];
        self.post("/oauth/token", &form).await
    }

    pub(crate) async fn introspect(&self, token: &str) -> Answer {
        self.post("/oauth/introspect", &[("token", token)]).await
    }

    /// Whether introspection calls the token active.
    pub(crate) async fn is_active(&self, token: &str) -> bool {
        let answer = self.introspect(token).await;
        answer.is(200).json()["active"]
            .as_bool()
            .expect("active is a boolean")
    }

    pub(crate) async fn revoke(&self, token: &str) -> Answer {
        self.post("/oauth/revoke", &[("token", token)]).await
    }

    pub(crate) async fn userinfo(&self, access_token: &str) -> Answer {
        let request = self
            .op
            .request(Method::GET, "/oauth/userinfo")
            .header("accept", "application/json");
        Answer::of(request.bearer_auth(access_token)).await
    }

    /// Tokens for somebody who signs in and agrees.
    pub(crate) async fn tokens_of(&self, browser: &super::Browser, person: &str, scope: &str) -> Tokens {
        let granted = browser.authorize(self).scope(scope).code_as(person).await;
        self.redeem(&granted).await.tokens()
    }
}

/// HTTP Basic with both halves form-encoded first (RFC 6749 §2.3.1).
pub(crate) fn basic(client_id: &str, secret: &str) -> String {
    let encode = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    format!(
        "Basic {}",
        STANDARD.encode(format!("{}:{}", encode(client_id), encode(secret)))
    )
}
