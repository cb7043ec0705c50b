//! Logout tokens of the simulated upstream (OpenID Connect Back-Channel Logout 1.0 §2.4, §2.5).

use std::time::Duration;

use serde_json::{Value, json};

use super::memory::{Session, random_token};
use super::people::Person;
use super::simulation::Simulation;

/// The event of §2.4.
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
/// Seconds for which a logout token is good.
const TTL_SECS: i64 = 120;
/// How long a client may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);

impl Simulation {
    /// The `sid` of every session that this person has here.
    pub fn sids_of(&self, username: &str) -> Vec<String> {
        self.memory()
            .sessions
            .values()
            .filter(|session| session.person.username == username)
            .map(|session| session.sid.clone())
            .collect()
    }

    /// The claims of a logout token for the first client: about one session, about all sessions of a person, or both.
    pub fn logout_token_claims(&self, username: Option<&str>, sid: Option<&str>) -> Value {
        let now = self.now().unix_timestamp();
        let mut claims = json!({
            "iss": self.issuer(),
            "aud": self.client_id(),
            "iat": now,
            "exp": now + TTL_SECS,
            "jti": random_token(16),
            "events": { EVENT: {} },
        });
        if let Some(username) = username {
            claims["sub"] = json!(self.subject_of(username));
        }
        if let Some(sid) = sid {
            claims["sid"] = json!(sid);
        }
        claims
    }

    /// These claims as a logout token.
    pub fn sign_logout_token(&self, claims: &Value) -> anyhow::Result<String> {
        self.keys()
            .last()
            .expect("a simulation has a key from the start")
            .sign_as("logout+jwt", claims)
    }
}

/// Sends each client that has a back-channel URI a token about this session. What they answer changes nothing.
pub(super) async fn tell_clients(simulation: &Simulation, session: &Session) {
    let Ok(http) = reqwest::Client::builder().timeout(TIMEOUT).no_proxy().build() else {
        return;
    };
    for client in &simulation.options().clients {
        let Some(uri) = &client.backchannel_logout_uri else {
            continue;
        };
        let mut claims = simulation.logout_token_claims(None, Some(&session.sid));
        claims["aud"] = json!(client.client_id);
        claims["sub"] = json!(subject(simulation, &session.person, &client.client_id));
        let Ok(token) = simulation.sign_logout_token(&claims) else {
            continue;
        };
        let sent = http.post(uri).form(&[("logout_token", token)]).send().await;
        match sent {
            Ok(answer) if answer.status().is_success() => {}
            Ok(answer) => tracing::warn!(
                status = answer.status().as_u16(),
                "a client of the simulated upstream refused a logout token"
            ),
            Err(_) => tracing::warn!("a client of the simulated upstream cannot be told of a logout"),
        }
    }
}

fn subject(simulation: &Simulation, person: &Person, client_id: &str) -> String {
    person.subject(simulation.flavour(), client_id)
}
