//! Who is signed in to the demo app, and which answers of the provider are waited for. In memory: a restart forgets.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use aws_lc_rs::rand::SystemRandom;
use serde_json::Value;

use super::logout_token::LoggedOut;
use super::relying_party::{ProviderMetadata, SignedIn};
use crate::protocol::opaque::Opaque;
use crate::protocol::pkce::CodeVerifier;

/// All sessions are forgotten when there are more: this is one developer's app.
const MAX_SESSIONS: usize = 1000;
/// Sign-ins that one browser may have open at once, in several tabs.
const MAX_PENDING: usize = 20;

/// What the cookie holds.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct SessionHandle(String);

impl SessionHandle {
    pub(super) fn generate() -> Self {
        Self(Opaque::generate(&SystemRandom::new()).expose())
    }

    pub(super) fn from_cookie(value: &str) -> Self {
        Self(value.to_owned())
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// A sign-in whose answer has not come yet.
pub(super) struct Pending {
    pub(super) nonce: String,
    pub(super) code_verifier: CodeVerifier,
    /// What the provider said of itself when the sign-in started.
    pub(super) metadata: ProviderMetadata,
}

#[derive(Default)]
struct Session {
    /// By `state`, oldest first.
    pending: Vec<(String, Pending)>,
    signed_in: Option<SignedIn>,
}

#[derive(Default)]
pub(super) struct Memory {
    sessions: Mutex<HashMap<SessionHandle, Session>>,
    /// The `jti` of logout tokens that counted.
    logout_tokens: Mutex<HashSet<String>>,
}

impl Memory {
    pub(super) fn signed_in(&self, handle: &SessionHandle) -> Option<SignedIn> {
        self.lock().get(handle)?.signed_in.clone()
    }

    /// Keeps what the answer with this `state` will be checked against.
    pub(super) fn remember(&self, handle: &SessionHandle, state: String, pending: Pending) {
        let mut sessions = self.lock();
        if sessions.len() >= MAX_SESSIONS && !sessions.contains_key(handle) {
            sessions.clear();
        }
        let session = sessions.entry(handle.clone()).or_default();
        if session.pending.len() >= MAX_PENDING {
            session.pending.remove(0);
        }
        session.pending.push((state, pending));
    }

    /// Each `state` is answered once.
    pub(super) fn take(&self, handle: &SessionHandle, state: &str) -> Option<Pending> {
        let mut sessions = self.lock();
        let pending = &mut sessions.get_mut(handle)?.pending;
        let at = pending.iter().position(|(known, _)| known == state)?;
        Some(pending.remove(at).1)
    }

    /// Moves the session to a new handle, with the person signed in.
    pub(super) fn sign_in(&self, handle: &SessionHandle, signed_in: SignedIn) -> SessionHandle {
        let renewed = SessionHandle::generate();
        let mut sessions = self.lock();
        let mut session = sessions.remove(handle).unwrap_or_default();
        session.signed_in = Some(signed_in);
        sessions.insert(renewed.clone(), session);
        renewed
    }

    /// New tokens for somebody who is still signed in.
    pub(super) fn replace(&self, handle: &SessionHandle, signed_in: SignedIn) {
        if let Some(session) = self.lock().get_mut(handle) {
            session.signed_in = Some(signed_in);
        }
    }

    pub(super) fn forget(&self, handle: &SessionHandle) -> Option<SignedIn> {
        self.lock().remove(handle)?.signed_in
    }

    /// Whether no logout token of this id has counted yet. All are forgotten when there are many: they live for two minutes.
    pub(super) fn is_first(&self, jti: &str) -> bool {
        let mut seen = self.logout_tokens.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= MAX_SESSIONS {
            seen.clear();
        }
        seen.insert(jti.to_owned())
    }

    /// Signs out everybody of whom the provider says so: of this session of theirs, or everywhere.
    pub(super) fn forget_logged_out(&self, logged_out: &LoggedOut) {
        let is_meant = |signed_in: &SignedIn| {
            let same = |name: &str, value: &Option<String>| {
                value.as_deref().is_none_or(|value| {
                    signed_in.id_token_claims.get(name).and_then(Value::as_str) == Some(value)
                })
            };
            same("sub", &logged_out.sub) && same("sid", &logged_out.sid)
        };
        for session in self.lock().values_mut() {
            if session.signed_in.as_ref().is_some_and(is_meant) {
                session.signed_in = None;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SessionHandle, Session>> {
        // Every change is a single call, which no panic leaves half done.
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
