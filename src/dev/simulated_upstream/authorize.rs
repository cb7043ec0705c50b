//! The authorization endpoint (OpenID Connect Core §3.1.2, RFC 6749 §4.1.1).

use std::collections::HashSet;
use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use time::{Duration, OffsetDateTime};
use url::Url;

use super::authorization_response::{self, ResponseMode};
use super::flavour::Habits;
use super::memory::Session;
use super::misbehaviour::Misbehaviour;
use super::pages;
use super::request_log::{LoggedRequest, first};
use super::simulation::Simulation;

/// What [`Misbehaviour::HostileErrorDescription`] says.
const HOSTILE_TEXT: &str =
    "<script>alert('upstream')</script>\"><img src=x onerror=alert(1)>\r\nSet-Cookie: a=b";

/// An authorization request that may be answered by a redirect.
pub(super) struct AuthorizationRequest {
    pub(super) client_id: String,
    pub(super) redirect_uri: String,
    pub(super) response_mode: ResponseMode,
    pub(super) scope: String,
    pub(super) state: Option<String>,
    pub(super) nonce: Option<String>,
    pub(super) acr_values: Option<String>,
    pub(super) code_challenge: Option<String>,
    pub(super) login_hint: Option<String>,
    prompts: Vec<String>,
    max_age: Option<Duration>,
    /// What is wrong with it, to be told to the client.
    fault: Option<(&'static str, &'static str)>,
}

/// What to do with a request.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    SignIn,
    Consent,
    Return,
    Refuse(&'static str),
}

/// `GET /authorize`
pub(super) async fn authorize(
    State(simulation): State<Simulation>,
    Extension(received): Extension<Arc<LoggedRequest>>,
) -> Response {
    let request = match AuthorizationRequest::parse(&simulation, &received.query) {
        Ok(request) => request,
        Err(fault) => return pages::error(simulation.habits().display_name, fault),
    };
    if let Some((error, description)) = request.fault {
        return authorization_response::error(&simulation, &request, error, description);
    }
    let now = HashSet::new();
    if simulation.misbehaves(Misbehaviour::Cancelled, &now) {
        return cancelled(&simulation, &request);
    }
    if simulation.misbehaves(Misbehaviour::HostileErrorDescription, &now) {
        return hostile(&simulation, &request);
    }
    let session = simulation.session(&received);
    let forgetful = session.is_some() && simulation.misbehaves(Misbehaviour::IgnoresReauthentication, &now);
    let step = if forgetful {
        Step::Return
    } else {
        request.next_step(session.as_ref(), simulation.habits(), simulation.now())
    };
    match (step, session) {
        (Step::Refuse(error), _) => {
            authorization_response::error(&simulation, &request, error, "the person would have to be asked")
        }
        (Step::Return, Some(session)) => {
            authorization_response::code(&simulation, &request, session, HashSet::new())
        }
        (Step::Consent, Some(session)) => pages::consent(&simulation, &request, &received, &session),
        (_, session) => pages::sign_in(&simulation, &request, &received, session.as_ref(), None),
    }
}

pub(super) fn cancelled(simulation: &Simulation, request: &AuthorizationRequest) -> Response {
    let error = simulation.habits().cancelled;
    authorization_response::error(simulation, request, error, "The user has denied access.")
}

pub(super) fn hostile(simulation: &Simulation, request: &AuthorizationRequest) -> Response {
    authorization_response::error(simulation, request, "server_error", HOSTILE_TEXT)
}

impl AuthorizationRequest {
    /// Reads the query. `Err` is for the person: there is nowhere safe to send it.
    pub(super) fn parse(simulation: &Simulation, query: &[(String, String)]) -> Result<Self, &'static str> {
        let param = |name| first(query, name).filter(|value| !value.is_empty());
        let owned = |name| param(name).map(str::to_owned);
        let client_id = param("client_id").ok_or("client_id is missing")?;
        let client = simulation
            .find_client(client_id)
            .ok_or("client_id names no registered client")?;
        let redirect_uri = match param("redirect_uri") {
            Some(uri) => uri.to_owned(),
            None => client
                .redirect_uris
                .first()
                .cloned()
                .ok_or("redirect_uri is missing")?,
        };
        if !client.redirect_uris.is_empty() && !client.redirect_uris.contains(&redirect_uri) {
            return Err("redirect_uri is not registered");
        }
        if !Url::parse(&redirect_uri).is_ok_and(|uri| matches!(uri.scheme(), "http" | "https")) {
            return Err("redirect_uri is not an http or https URL");
        }
        let mut request = Self {
            client_id: client.client_id,
            redirect_uri,
            response_mode: ResponseMode::Query,
            scope: owned("scope").unwrap_or_default(),
            state: owned("state"),
            nonce: owned("nonce"),
            acr_values: owned("acr_values"),
            code_challenge: owned("code_challenge"),
            login_hint: owned("login_hint"),
            prompts: param("prompt")
                .unwrap_or_default()
                .split(' ')
                .map(str::to_owned)
                .collect(),
            max_age: param("max_age")
                .and_then(|secs| secs.parse().ok())
                .map(Duration::seconds),
            fault: None,
        };
        request.fault = request.read_modes(simulation, param).err();
        Ok(request)
    }

    fn read_modes<'a>(
        &mut self,
        simulation: &Simulation,
        param: impl Fn(&'static str) -> Option<&'a str>,
    ) -> Result<(), (&'static str, &'static str)> {
        self.response_mode = match param("response_mode") {
            None | Some("query") => ResponseMode::Query,
            Some("form_post") => ResponseMode::FormPost,
            Some(_) => return Err(("invalid_request", "response_mode must be query or form_post")),
        };
        let needs_form_post = simulation.habits().form_post_scopes;
        let asks_for_them = self
            .scope
            .split(' ')
            .any(|scope| needs_form_post.contains(&scope));
        if asks_for_them && self.response_mode != ResponseMode::FormPost {
            let fault = "response_mode must be form_post when name or email scope is requested.";
            return Err(("invalid_request", fault));
        }
        // GitHub's documentation knows no response_type.
        let response_type = param("response_type");
        if response_type.is_some_and(|value| value != "code") {
            return Err(("unsupported_response_type", "only the code flow is simulated"));
        }
        if response_type.is_none() && simulation.habits().id_token {
            return Err(("invalid_request", "response_type is missing"));
        }
        // RFC 7636 §4.3: an absent method means plain, which is not supported.
        if self.code_challenge.is_some() && param("code_challenge_method") != Some("S256") {
            return Err(("invalid_request", "code_challenge_method must be S256"));
        }
        if self.code_challenge.is_none() && simulation.options().require_pkce {
            return Err(("invalid_request", "code_challenge is required"));
        }
        if simulation.habits().id_token && !self.scope.split(' ').any(|scope| scope == "openid") {
            return Err(("invalid_scope", "scope must contain openid"));
        }
        Ok(())
    }

    /// OpenID Connect Core §3.1.2.1 and §3.1.2.3, as far as the flavour honours it.
    fn next_step(&self, session: Option<&Session>, habits: &Habits, now: OffsetDateTime) -> Step {
        let asks_for = |prompt: &str| {
            habits.prompts.contains(&prompt) && self.prompts.iter().any(|given| given == prompt)
        };
        if asks_for("none") && self.prompts.len() > 1 {
            return Step::Refuse("invalid_request");
        }
        let too_old = |session: &Session| {
            habits.max_age
                && self
                    .max_age
                    .is_some_and(|max_age| now - session.auth_time >= max_age)
        };
        let step = match session {
            None => Step::SignIn,
            Some(_) if habits.always_asks || asks_for("login") || asks_for("select_account") => Step::SignIn,
            Some(session) if too_old(session) => Step::SignIn,
            Some(_) if asks_for("consent") => Step::Consent,
            Some(_) => Step::Return,
        };
        match step {
            Step::SignIn if asks_for("none") => Step::Refuse("login_required"),
            step => step,
        }
    }
}
