//! The memory of the simulated upstream: who is signed in, which codes and access tokens are out, what misbehaves.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use time::OffsetDateTime;

use super::keys::SigningKey;
use super::misbehaviour::Misbehaviour;
use super::people::Person;
use super::request_log::LoggedRequest;
use super::simulation::Simulation;

/// How many requests the log holds before its older half is dropped.
const MAX_LOGGED_REQUESTS: usize = 20_000;

/// Everything that changes.
#[derive(Default)]
pub(super) struct Memory {
    /// The last one signs.
    pub(super) keys: Vec<Arc<SigningKey>>,
    pub(super) sessions: HashMap<String, Session>,
    pub(super) codes: HashMap<String, Grant>,
    pub(super) access_tokens: HashMap<String, Grant>,
    /// Client and subject of everybody who has been here before.
    pub(super) acquainted: HashSet<(String, String)>,
    pub(super) misbehaviours: HashSet<Misbehaviour>,
    pub(super) once: HashSet<Misbehaviour>,
    pub(super) requests: Vec<Arc<LoggedRequest>>,
}

/// Somebody signed in, in one browser.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) person: Person,
    pub(super) auth_time: OffsetDateTime,
    pub(super) sid: String,
}

/// What a code and its access token stand for.
#[derive(Clone, Debug)]
pub(super) struct Grant {
    pub(super) client_id: String,
    pub(super) redirect_uri: String,
    pub(super) scope: String,
    pub(super) nonce: Option<String>,
    pub(super) acr_values: Option<String>,
    pub(super) code_challenge: Option<String>,
    pub(super) session: Session,
    pub(super) issued_at: OffsetDateTime,
    /// Misbehaviours chosen for this sign-in.
    pub(super) carried: HashSet<Misbehaviour>,
}

impl Grant {
    pub(super) fn scopes(&self) -> Vec<&str> {
        // GitHub also takes commas.
        self.scope
            .split([' ', ','])
            .filter(|scope| !scope.is_empty())
            .collect()
    }
}

impl Simulation {
    /// Whether to misbehave in this way now, for everybody, once, or in this sign-in.
    pub(super) fn misbehaves(&self, misbehaviour: Misbehaviour, carried: &HashSet<Misbehaviour>) -> bool {
        let mut memory = self.memory();
        carried.contains(&misbehaviour)
            || memory.misbehaviours.contains(&misbehaviour)
            || memory.once.remove(&misbehaviour)
    }

    pub(super) fn misbehaviours(&self) -> HashSet<Misbehaviour> {
        self.memory().misbehaviours.clone()
    }

    pub(super) fn log(&self, request: Arc<LoggedRequest>) {
        let requests = &mut self.memory().requests;
        if requests.len() >= MAX_LOGGED_REQUESTS {
            requests.drain(..MAX_LOGGED_REQUESTS / 2);
        }
        requests.push(request);
    }

    pub(super) fn session(&self, request: &LoggedRequest) -> Option<Session> {
        let handle = request.cookie(&self.options().cookie_name)?;
        self.memory().sessions.get(handle).cloned()
    }

    /// Keeps a session; the handle is for the browser's cookie.
    pub(super) fn insert_session(&self, session: Session) -> String {
        let handle = random_token(32);
        self.memory().sessions.insert(handle.clone(), session);
        handle
    }

    pub(super) fn delete_session(&self, request: &LoggedRequest) {
        if let Some(handle) = request.cookie(&self.options().cookie_name) {
            self.memory().sessions.remove(handle);
        }
    }

    /// The misbehaviours meant for the next time that belong to the sign-in which is being answered.
    pub(super) fn take_once_per_sign_in(&self) -> HashSet<Misbehaviour> {
        let mut memory = self.memory();
        let (taken, left) = memory
            .once
            .drain()
            .partition(|misbehaviour| misbehaviour.is_per_sign_in());
        memory.once = left;
        taken
    }

    pub(super) fn insert_code(&self, grant: Grant) -> String {
        let code = random_token(32);
        self.memory().codes.insert(code.clone(), grant);
        code
    }

    /// What the code stands for; it is good for one attempt (RFC 6749 §4.1.2).
    pub(super) fn take_code(&self, code: &str) -> Option<Grant> {
        self.memory().codes.remove(code)
    }

    pub(super) fn insert_access_token(&self, prefix: &str, grant: Grant) -> String {
        let token = format!("{prefix}{}", random_token(32));
        self.memory().access_tokens.insert(token.clone(), grant);
        token
    }

    pub(super) fn find_access_token(&self, token: &str) -> Option<Grant> {
        self.memory().access_tokens.get(token).cloned()
    }

    /// What was chosen for the sign-in to which this code or access token belongs.
    pub(super) fn carried(&self, code: Option<&str>, access_token: Option<&str>) -> HashSet<Misbehaviour> {
        let memory = self.memory();
        let by_code = code.and_then(|code| memory.codes.get(code));
        let grant = by_code.or_else(|| access_token.and_then(|token| memory.access_tokens.get(token)));
        grant.map(|grant| grant.carried.clone()).unwrap_or_default()
    }

    /// Whether this is the first time that the person lets this client in.
    pub(super) fn meets_for_the_first_time(&self, client_id: &str, person: &Person) -> bool {
        self.memory()
            .acquainted
            .insert((client_id.to_owned(), person.username.clone()))
    }
}

/// So many random bytes, as base64url.
pub(super) fn random_token(size_bytes: usize) -> String {
    let mut bytes = vec![0; size_bytes];
    SystemRandom::new()
        .fill(&mut bytes)
        .expect("the system's random source works");
    URL_SAFE_NO_PAD.encode(bytes)
}
