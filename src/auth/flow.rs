//! What a flow remembers between two visits of a browser. It is kept sealed: the row holds the hash of a handle, and only
//! the handle itself, which comes back with the browser, opens the rest.

use aws_lc_rs::rand::SecureRandom;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use time::Duration;

use crate::protocol::opaque::{Opaque, TokenHash};
use crate::upstream::{CallbackParams, Identity};

/// How long a person may take at the upstream.
pub const FLOW_LIFETIME: Duration = Duration::minutes(10);
/// Flows that one browser may have under way; the oldest gives way.
pub const FLOWS_PER_BROWSER: i64 = 5;
/// How long a newcomer may take to pick a name.
pub const SETUP_LIFETIME: Duration = Duration::minutes(30);
/// How long an identity waits for its owner to confirm that it shall lead to their account.
pub const LINK_LIFETIME: Duration = Duration::minutes(10);
/// Identities that wait in one browser; the oldest gives way.
pub const PENDING_PER_BROWSER: i64 = 5;
/// How long ago a person may have signed in who changes what leads to their account.
pub const FRESH_SESSION: Duration = Duration::minutes(10);

/// Where a login leads.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// On with the authorization request of this handle.
    Request(String),
    /// To a page of the deployer's: judged when it came in, judged again when it is used.
    ReturnTo(String),
    /// To wherever the configuration says.
    Default,
}

impl Target {
    /// The handle of the authorization request, if it leads on with one.
    pub fn request(&self) -> Option<Opaque> {
        match self {
            Self::Request(handle) => Opaque::parse(handle),
            Self::ReturnTo(_) | Self::Default => None,
        }
    }

    /// The hash of that handle: what the database knows the request by.
    pub fn request_hash(&self) -> Option<TokenHash> {
        self.request().map(|handle| handle.hash())
    }
}

/// A login under way, or a link.
#[derive(Serialize, Deserialize)]
pub struct LoginFlow {
    pub nonce: String,
    pub code_verifier: String,
    pub target: Target,
    /// The authorization request demands a new login, and the upstream was asked for it.
    pub reauthenticate: bool,
}

/// A callback that came by POST, without cookies, and waits for the GET that has them.
#[derive(Serialize, Deserialize)]
pub struct PostedCallback {
    pub code: Option<String>,
    pub error: Option<String>,
    pub iss: Option<String>,
    pub user: Option<String>,
}

/// A newcomer whose identity is proved and who has no account yet.
#[derive(Serialize, Deserialize)]
pub struct Setup {
    pub identity: Identity,
    pub target: Target,
    /// When the upstream proved it, seconds since the epoch: what a session that comes of it will say.
    pub auth_time: i64,
    /// Their verified address belongs to an account.
    pub link_suggested: bool,
}

/// An identity that somebody who is signed in has proved, and that they have not confirmed yet.
#[derive(Serialize, Deserialize)]
pub struct LinkIntent {
    pub identity: Identity,
    /// Where they go on afterwards.
    pub target: Target,
}

impl From<PostedCallback> for CallbackParams {
    fn from(posted: PostedCallback) -> Self {
        Self {
            code: posted.code,
            state: None,
            error: posted.error,
            iss: posted.iss,
            user: posted.user,
        }
    }
}

/// Seals a value under its handle.
pub fn seal(handle: &Opaque, rng: &dyn SecureRandom, value: &impl Serialize) -> Vec<u8> {
    let plaintext = serde_json::to_vec(value).expect("plain data becomes JSON");
    handle.seal(rng, &plaintext)
}

/// Opens what [`seal`] made. `None`: another handle, or a value of another version of the program.
pub fn open<T: DeserializeOwned>(handle: &Opaque, sealed: &[u8]) -> Option<T> {
    serde_json::from_slice(&handle.open(sealed)?).ok()
}
