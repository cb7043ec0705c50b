//! The handle of a simulated upstream: what its owner asks of it, and what its endpoints need to know.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, bail};
use time::OffsetDateTime;
use url::Url;

use super::flavour::{Flavour, Habits};
use super::keys::SigningKey;
use super::memory::Memory;
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
            ..Memory::default()
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

    pub(super) fn keys(&self) -> Vec<Arc<SigningKey>> {
        self.memory().keys.clone()
    }

    fn first_client(&self) -> Client {
        self.options().clients.first().cloned().unwrap_or_default()
    }

    pub(super) fn memory(&self) -> MutexGuard<'_, Memory> {
        // No invariant spans several fields, so a panic elsewhere leaves nothing half done.
        self.0.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
