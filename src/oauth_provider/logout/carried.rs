//! What the browser carries from one request to the next, sealed: nobody but this deployment reads or makes it.
//!
//! Nothing is stored for a logout that has not happened, so strangers cannot fill a table.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use crate::http::state::AppState;
use crate::protocol::ids::SessionId;
use crate::protocol::logout::{Hint, PostLogoutRedirect};
use crate::sealing::Purpose;

/// How long the hop from a POST to its GET may take.
const REQUEST_LIFETIME: Duration = Duration::minutes(1);
/// How long the question may wait for its answer.
const QUESTION_LIFETIME: Duration = Duration::minutes(10);

/// A judged request that came by POST. No `Debug`: `state` is the app's secret.
#[derive(Serialize, Deserialize)]
pub struct CarriedRequest {
    pub hint: Option<Hint>,
    pub redirect: Option<PostLogoutRedirect>,
}

/// The question that a page asks: about this session and no other, so that only who was shown the page can answer it.
#[derive(Serialize, Deserialize)]
pub struct CarriedQuestion {
    pub session_id: SessionId,
    pub redirect: Option<PostLogoutRedirect>,
}

#[derive(Serialize, Deserialize)]
struct Envelope<T> {
    expires_at: i64,
    content: T,
}

impl CarriedRequest {
    /// For a URL.
    pub fn seal(&self, state: &AppState, now: OffsetDateTime) -> String {
        seal(state, Purpose::LogoutRequest, self, now + REQUEST_LIFETIME)
    }

    /// `None`: not ours, or too old.
    pub fn open(state: &AppState, sealed: &str, now: OffsetDateTime) -> Option<Self> {
        open(state, Purpose::LogoutRequest, sealed, now)
    }
}

impl CarriedQuestion {
    /// For a hidden field.
    pub fn seal(&self, state: &AppState, now: OffsetDateTime) -> String {
        seal(state, Purpose::LogoutQuestion, self, now + QUESTION_LIFETIME)
    }

    /// `None`: not ours, or too old.
    pub fn open(state: &AppState, sealed: &str, now: OffsetDateTime) -> Option<Self> {
        open(state, Purpose::LogoutQuestion, sealed, now)
    }
}

fn seal(state: &AppState, purpose: Purpose, content: &impl Serialize, expires_at: OffsetDateTime) -> String {
    let envelope = Envelope {
        expires_at: expires_at.unix_timestamp(),
        content,
    };
    let plaintext = serde_json::to_vec(&envelope).expect("ids and text are plain data");
    URL_SAFE_NO_PAD.encode(state.keyring.seal(purpose, &state.rng, &plaintext))
}

fn open<T: DeserializeOwned>(
    state: &AppState,
    purpose: Purpose,
    sealed: &str,
    now: OffsetDateTime,
) -> Option<T> {
    let sealed = URL_SAFE_NO_PAD.decode(sealed).ok()?;
    let plaintext = state.keyring.open(purpose, &sealed)?;
    let envelope: Envelope<T> = serde_json::from_slice(&plaintext).ok()?;
    (envelope.expires_at > now.unix_timestamp()).then_some(envelope.content)
}
