//! What has to happen before a code may be issued (OpenID Connect Core §3.1.2.3 to §3.1.2.6).

use super::authorization::{AuthorizationRequest, OAuthRefusal};
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
pub fn demands_login(request: &AuthorizationRequest, session: Option<SessionFacts>) -> bool {
    let _ = (request, session);
    todo!()
}

/// Decides. With `prompt=none`, a step that needs a person becomes the error that this step names.
pub fn next_step(situation: &Situation<'_>) -> Step {
    let _ = situation;
    todo!()
}
