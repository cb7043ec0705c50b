//! What has to happen before a code may be issued (OpenID Connect Core §3.1.2.3 to §3.1.2.6).

use super::authorization::{AuthorizationRequest, OAuthErrorCode, OAuthRefusal};
use super::ids::UserId;
use super::scope::ScopeSet;

/// The session of the browser, as far as the decision depends on it.
#[derive(Clone, Copy, Debug)]
pub struct SessionFacts {
    pub user_id: UserId,
    /// Seconds since the epoch.
    pub auth_time: i64,
}

/// What the person decided when asked for consent to this very request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    Approved,
    Denied,
}

/// Everything the decision depends on.
pub struct Situation<'a> {
    pub request: &'a AuthorizationRequest,
    pub session: Option<SessionFacts>,
    /// Judged once, when the request arrived: see [`demands_login`].
    pub demands_login: bool,
    /// A sign-in that was started for this request has succeeded.
    pub login_satisfied: bool,
    pub decision: Option<Decision>,
    /// Scopes this person has granted this client before.
    pub consented: &'a ScopeSet,
    pub auto_approve: bool,
}

/// The next step of an authorization request.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Somebody has to sign in.
    Login,
    /// The person has to agree.
    Consent,
    /// Nothing is missing: issue a code for this scope (`offline_access` is dropped where nobody consented to it).
    Issue(ScopeSet),
    /// The request ends here.
    Refuse(OAuthRefusal),
}

/// Whether the request demands a login, judged once at its arrival: `prompt=login` or `select_account`, `max_age` exceeded
/// (0 always is), or an `id_token_hint` for somebody else.
///
/// Where nobody has signed in yet, every `max_age` is exceeded (OpenID Connect Core §3.1.2.1: no active authentication
/// lies within it).
pub fn demands_login(request: &AuthorizationRequest, session: Option<SessionFacts>) -> bool {
    request.prompt.demands_login()
        || exceeds_max_age(request, session)
        || session.is_some_and(|session| is_somebody_else(request, session))
}

/// Decides. With `prompt=none`, a step that needs a person becomes the error that this step names.
///
/// Safe to call as often as the browser comes back: the same facts give the same step, and a step that is done is not asked
/// for again.
pub fn next_step(situation: &Situation<'_>) -> Step {
    let request = situation.request;
    if situation.decision == Some(Decision::Denied) {
        return Step::Refuse(OAuthRefusal::new(
            OAuthErrorCode::AccessDenied,
            "the person refused the request",
        ));
    }
    let Some(session) = situation.session else {
        return login(request);
    };
    // Judged again for the session that is here now: a browser could come back with an older one. The measure stays the
    // moment of arrival, so a login that took its time is not too old.
    let demands_login = situation.demands_login || demands_login(request, Some(session));
    if demands_login && !situation.login_satisfied {
        return login(request);
    }
    if is_somebody_else(request, session) {
        // A sign-in for this request ended in the wrong account. Asking again would loop (§3.1.2.1, id_token_hint).
        return refuse(
            OAuthErrorCode::LoginRequired,
            "another person is signed in than the request names",
        );
    }
    consent_step(situation)
}

/// The step of a person who is signed in as demanded.
fn consent_step(situation: &Situation<'_>) -> Step {
    let request = situation.request;
    if situation.auto_approve || situation.decision == Some(Decision::Approved) {
        return Step::Issue(request.scope.clone());
    }
    let consent_scope = request.consent_scope();
    if request.prompt.none {
        // §11: offline_access without consent is to be ignored. Silent renewal goes on with the rest.
        let needed = consent_scope.filtered(|token| token != "offline_access");
        if !needed.is_subset_of(situation.consented) {
            return refuse(
                OAuthErrorCode::ConsentRequired,
                "the person has not agreed to this scope yet",
            );
        }
        let granted = |token: &str| token != "offline_access" || situation.consented.contains(token);
        return issue(request.scope.filtered(granted));
    }
    if request.prompt.consent || !consent_scope.is_subset_of(situation.consented) {
        return Step::Consent;
    }
    issue(request.scope.clone())
}

fn issue(scope: ScopeSet) -> Step {
    if scope.is_empty() {
        return refuse(
            OAuthErrorCode::ConsentRequired,
            "the person has not agreed to this scope yet",
        );
    }
    Step::Issue(scope)
}

fn login(request: &AuthorizationRequest) -> Step {
    if request.prompt.none {
        return refuse(OAuthErrorCode::LoginRequired, "the person has to sign in");
    }
    Step::Login
}

fn refuse(code: OAuthErrorCode, description: &'static str) -> Step {
    Step::Refuse(OAuthRefusal::new(code, description))
}

/// Whether the last sign-in lay further back than `max_age` when the request arrived.
fn exceeds_max_age(request: &AuthorizationRequest, session: Option<SessionFacts>) -> bool {
    match (request.max_age_secs, session) {
        (None, _) => false,
        (Some(0), _) | (Some(_), None) => true,
        (Some(max_age_secs), Some(session)) => {
            let age_secs = request.received_at.saturating_sub(session.auth_time);
            u64::try_from(age_secs).is_ok_and(|age_secs| age_secs > max_age_secs)
        }
    }
}

fn is_somebody_else(request: &AuthorizationRequest, session: SessionFacts) -> bool {
    request
        .hint_subject
        .is_some_and(|subject| subject != session.user_id)
}
