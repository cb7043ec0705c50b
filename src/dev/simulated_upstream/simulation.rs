//! The memory of the simulated upstream: who is signed in, which codes and access tokens are out, what misbehaves.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, bail};
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use time::OffsetDateTime;
use url::Url;

use super::flavour::{Flavour, Habits};
use super::keys::SigningKey;
use super::misbehaviour::Misbehaviour;
use super::options::{Client, Options};
use super::people::Person;
use super::request_log::{Endpoint, LoggedRequest};

/// The simulated upstream without a server; a cheap handle, shared by its routes and its owner.
#[derive(Clone)]
pub struct Simulation(Arc<Inner>);

struct Inner {
    options: Options,
    base_url: String,
    path: String,
    memory: Mutex<Memory>,
}

struct Memory {
    /// The last one signs.
    keys: Vec<Arc<SigningKey>>,
    sessions: HashMap<String, Session>,
    codes: HashMap<String, Grant>,
    access_tokens: HashMap<String, Grant>,
    /// Client and subject of everybody who has been here before.
    acquainted: HashSet<(String, String)>,
    misbehaviours: HashSet<Misbehaviour>,
    once: HashSet<Misbehaviour>,
    requests: Vec<Arc<LoggedRequest>>,
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
    /// Makes one that is reached at `base_url`, and its signing key; `options.listen` is not looked at.
    ///
    /// Fails if `base_url` is not an http or https URL without query and fragment.
    pub fn new(options: Options, base_url: &str) -> anyhow::Result<Self> {
        let url = Url::parse(base_url).context("the issuer of the simulated upstream")?;
        if !matches!(url.scheme(), "http" | "https") || url.query().is_some() || url.fragment().is_some() {
            bail!(
                "the issuer of the simulated upstream must be an http or https URL without query and fragment"
            );
        }
        let key = Arc::new(SigningKey::generate(options.signing_algorithm)?);
        let memory = Memory {
            keys: vec![key],
            sessions: HashMap::new(),
            codes: HashMap::new(),
            access_tokens: HashMap::new(),
            acquainted: HashSet::new(),
            misbehaviours: HashSet::new(),
            once: HashSet::new(),
            requests: Vec::new(),
        };
        let path = url.path().trim_end_matches('/').to_owned();
        let base_url = base_url.trim_end_matches('/').to_owned();
        Ok(Self(Arc::new(Inner {
            options,
            base_url,
            path,
            memory: Mutex::new(memory),
        })))
    }

    /// The issuer to configure: discovery is found below it, and it is what `iss` says, except that of Microsoft,
    /// whose common issuer is a template.
    pub fn issuer(&self) -> String {
        match (&self.options().claimed_issuer, self.flavour()) {
            (Some(issuer), _) => issuer.clone(),
            (None, Flavour::Microsoft) => format!("{}/{}/v2.0", self.base_url(), self.options().tenant),
            (None, _) => self.base_url().to_owned(),
        }
    }

    /// The public URL without a trailing slash: what every path of it follows.
    pub fn base_url(&self) -> &str {
        &self.0.base_url
    }

    /// The discovery document's address; `None` for the flavours that have none.
    pub fn discovery_url(&self) -> Option<String> {
        self.habits().discovery_path.map(|path| self.url(path))
    }

    /// The authorization endpoint's address.
    pub fn authorization_endpoint(&self) -> String {
        self.url(self.habits().authorize_path)
    }

    /// The token endpoint's address.
    pub fn token_endpoint(&self) -> String {
        self.url(self.habits().token_path)
    }

    /// The address of UserInfo, or of what stands for it.
    pub fn userinfo_endpoint(&self) -> Option<String> {
        self.habits().userinfo_path.map(|path| self.url(path))
    }

    /// The id of the first client, or one that is accepted because all are.
    pub fn client_id(&self) -> String {
        self.first_client().client_id
    }

    /// The secret of the first client, or one that is accepted because all are.
    pub fn client_secret(&self) -> String {
        self.first_client().client_secret
    }

    /// The stable identifier of whoever signs in as `username`, as the first client sees it. Panics if nobody can be
    /// called that.
    pub fn subject_of(&self, username: &str) -> String {
        let person = Person::find(username).expect("a name of 1 to 100 printable characters");
        person.subject(self.flavour(), &self.client_id())
    }

    /// Misbehaves in this way, besides others, until [`behave`](Self::behave).
    pub fn misbehave(&self, misbehaviour: Misbehaviour) {
        self.memory().misbehaviours.insert(misbehaviour);
    }

    /// Misbehaves in this way the next time there is an occasion for it, and not again.
    pub fn misbehave_once(&self, misbehaviour: Misbehaviour) {
        self.memory().once.insert(misbehaviour);
    }

    /// Ends all misbehaviours.
    pub fn behave(&self) {
        let mut memory = self.memory();
        memory.misbehaviours.clear();
        memory.once.clear();
    }

    /// Signs with a new key from now on; older ones stay published.
    pub fn rotate_key(&self) -> anyhow::Result<()> {
        let key = Arc::new(SigningKey::generate(self.options().signing_algorithm)?);
        self.memory().keys.push(key);
        Ok(())
    }

    /// Ends every session, as if each person had signed out here.
    pub fn sign_everybody_out(&self) {
        self.memory().sessions.clear();
    }

    /// Every request since the start or the last [`forget_requests`](Self::forget_requests), in order of arrival.
    pub fn requests(&self) -> Vec<LoggedRequest> {
        self.memory()
            .requests
            .iter()
            .map(|request| (**request).clone())
            .collect()
    }

    /// The requests to one endpoint, in order of arrival.
    pub fn requests_to(&self, endpoint: Endpoint) -> Vec<LoggedRequest> {
        let mut requests = self.requests();
        requests.retain(|request| request.endpoint == endpoint);
        requests
    }

    /// Empties the log of requests.
    pub fn forget_requests(&self) {
        self.memory().requests.clear();
    }

    pub(super) fn options(&self) -> &Options {
        &self.0.options
    }

    pub(super) fn flavour(&self) -> Flavour {
        self.options().flavour
    }

    pub(super) fn habits(&self) -> &'static Habits {
        self.flavour().habits()
    }

    /// The path of the public URL, empty or beginning with a slash.
    pub(super) fn path(&self) -> &str {
        &self.0.path
    }

    pub(super) fn now(&self) -> OffsetDateTime {
        self.options().clock.now()
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!(
            "{}{}",
            self.base_url(),
            path.replace("{tenant}", &self.options().tenant)
        )
    }

    pub(super) fn response_iss(&self) -> bool {
        self.options()
            .authorization_response_iss
            .unwrap_or(self.habits().response_iss)
    }

    /// The registered client; every id names one if none is registered.
    pub(super) fn find_client(&self, client_id: &str) -> Option<Client> {
        if self.options().clients.is_empty() {
            return Some(Client {
                client_id: client_id.to_owned(),
                ..Client::default()
            });
        }
        self.options()
            .clients
            .iter()
            .find(|client| client.client_id == client_id)
            .cloned()
    }

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
        self.memory().requests.push(request);
    }

    pub(super) fn keys(&self) -> Vec<Arc<SigningKey>> {
        self.memory().keys.clone()
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

    fn first_client(&self) -> Client {
        self.options().clients.first().cloned().unwrap_or_default()
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        // No invariant spans several fields, so a panic elsewhere leaves nothing half done.
        self.0.memory.lock().unwrap_or_else(PoisonError::into_inner)
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
