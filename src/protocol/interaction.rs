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

#[cfg(test)]
mod tests {
    use super::super::fixtures::{NOW, authorize, client, scope, user};
    use super::*;

    const ALICE: SessionFacts = SessionFacts {
        user_id: UserId(uuid::Uuid::from_u128(1)),
        auth_time: NOW - 100,
    };
    const NOBODY: Option<SessionFacts> = None;

    fn request(more: &[(&str, &str)]) -> AuthorizationRequest {
        authorize(&client(), more).unwrap()
    }

    /// A request as it stands when it arrives: judged for `session`, nothing decided, `consented` remembered.
    fn arriving<'a>(
        request: &'a AuthorizationRequest,
        session: Option<SessionFacts>,
        consented: &'a ScopeSet,
    ) -> Situation<'a> {
        Situation {
            request,
            session,
            demands_login: demands_login(request, session),
            login_satisfied: false,
            decision: None,
            consented,
            auto_approve: false,
        }
    }

    fn step(more: &[(&str, &str)], session: Option<SessionFacts>, consented: &str) -> Step {
        next_step(&arriving(&request(more), session, &scope(consented)))
    }

    fn refusal(step: Step) -> OAuthErrorCode {
        match step {
            Step::Refuse(refusal) => refusal.code,
            other => panic!("expected a refusal, got {other:?}"),
        }
    }

    #[test]
    fn who_is_signed_in_and_has_agreed_gets_a_code() {
        assert_eq!(step(&[], Some(ALICE), "openid"), Step::Issue(scope("openid")));
    }

    #[test]
    fn without_a_session_somebody_has_to_sign_in() {
        assert_eq!(step(&[], NOBODY, "openid"), Step::Login);
    }

    /// OpenID Connect Core §3.1.2.1.
    #[test]
    fn prompt_none_names_the_step_that_would_have_been() {
        let none = [("prompt", "none")];
        assert_eq!(
            refusal(step(&none, NOBODY, "openid")),
            OAuthErrorCode::LoginRequired
        );
        assert_eq!(
            refusal(step(&none, Some(ALICE), "")),
            OAuthErrorCode::ConsentRequired
        );
        assert_eq!(step(&none, Some(ALICE), "openid"), Step::Issue(scope("openid")));
        let stale = [("prompt", "none"), ("max_age", "10")];
        assert_eq!(
            refusal(step(&stale, Some(ALICE), "openid")),
            OAuthErrorCode::LoginRequired
        );
    }

    #[test]
    fn a_login_is_demanded_by_prompt_by_age_and_by_a_hint_for_somebody_else() {
        let demands = |more: &[(&str, &str)], session| demands_login(&request(more), session);
        assert!(!demands(&[], Some(ALICE)) && !demands(&[], NOBODY));
        assert!(demands(&[("prompt", "login")], Some(ALICE)));
        assert!(demands(&[("prompt", "select_account")], Some(ALICE)));
        assert!(!demands(&[("prompt", "consent")], Some(ALICE)));
        for (max_age, demanded) in [("0", true), ("99", true), ("100", false), ("101", false)] {
            assert_eq!(
                demands(&[("max_age", max_age)], Some(ALICE)),
                demanded,
                "{max_age}"
            );
        }
        assert!(demands(&[("max_age", "1000000")], NOBODY));
        let hinted = AuthorizationRequest {
            hint_subject: Some(user(2)),
            ..request(&[])
        };
        assert!(demands_login(&hinted, Some(ALICE)) && !demands_login(&hinted, NOBODY));
    }

    #[test]
    fn max_age_0_is_exceeded_even_by_a_login_of_this_very_second() {
        let just_now = SessionFacts {
            auth_time: NOW,
            ..ALICE
        };
        assert!(demands_login(&request(&[("max_age", "0")]), Some(just_now)));
        assert!(!demands_login(&request(&[("max_age", "1")]), Some(just_now)));
    }

    /// The return address alone proves nothing: only a sign-in that was started for the request counts.
    #[test]
    fn a_demanded_login_is_satisfied_only_by_a_sign_in_for_the_request() {
        let consented = scope("openid");
        for more in [
            [("prompt", "login")],
            [("max_age", "0")],
            [("prompt", "select_account")],
            [("max_age", "50")],
        ] {
            let request = request(&more);
            let mut situation = arriving(&request, Some(ALICE), &consented);
            assert_eq!(next_step(&situation), Step::Login, "{more:?}");
            situation.session = Some(SessionFacts {
                auth_time: NOW + 60,
                ..ALICE
            });
            assert_eq!(next_step(&situation), Step::Login, "a login elsewhere, {more:?}");
            situation.login_satisfied = true;
            assert_eq!(next_step(&situation), Step::Issue(scope("openid")), "{more:?}");
        }
    }

    #[test]
    fn a_browser_that_comes_back_with_an_older_session_has_to_sign_in() {
        let (request, consented) = (request(&[("max_age", "1000")]), scope("openid"));
        let mut situation = arriving(&request, Some(ALICE), &consented);
        assert_eq!(next_step(&situation), Step::Issue(scope("openid")));
        situation.session = Some(SessionFacts {
            auth_time: NOW - 5000,
            ..ALICE
        });
        assert_eq!(next_step(&situation), Step::Login);
    }

    /// OpenID Connect Core §3.1.2.1, id_token_hint.
    #[test]
    fn a_hint_for_somebody_else_leads_to_one_login_and_not_to_a_loop() {
        let hinted = AuthorizationRequest {
            hint_subject: Some(user(2)),
            ..request(&[])
        };
        let consented = scope("openid");
        let mut situation = arriving(&hinted, Some(ALICE), &consented);
        assert_eq!(next_step(&situation), Step::Login);
        situation.login_satisfied = true;
        assert_eq!(refusal(next_step(&situation)), OAuthErrorCode::LoginRequired);
        situation.session = Some(SessionFacts {
            user_id: user(2),
            ..ALICE
        });
        assert_eq!(next_step(&situation), Step::Issue(scope("openid")));
    }

    #[test]
    fn a_hint_for_somebody_else_is_login_required_under_prompt_none() {
        let hinted = AuthorizationRequest {
            hint_subject: Some(user(2)),
            ..request(&[("prompt", "none")])
        };
        let step = next_step(&arriving(&hinted, Some(ALICE), &scope("openid")));
        assert_eq!(refusal(step), OAuthErrorCode::LoginRequired);
    }

    #[test]
    fn consent_is_asked_for_what_was_not_granted_before() {
        let more = [("scope", "openid email")];
        assert_eq!(step(&more, Some(ALICE), "openid"), Step::Consent);
        assert_eq!(
            step(&more, Some(ALICE), "email profile openid"),
            Step::Issue(scope("openid email"))
        );
    }

    #[test]
    fn prompt_consent_always_asks_and_the_decision_counts() {
        let (request, consented) = (request(&[("prompt", "consent")]), scope("openid"));
        let mut situation = arriving(&request, Some(ALICE), &consented);
        assert_eq!(next_step(&situation), Step::Consent);
        situation.decision = Some(Decision::Approved);
        assert_eq!(next_step(&situation), Step::Issue(scope("openid")));
        situation.decision = Some(Decision::Denied);
        assert_eq!(refusal(next_step(&situation)), OAuthErrorCode::AccessDenied);
    }

    #[test]
    fn an_approval_does_not_stand_for_a_login() {
        let (request, consented) = (request(&[("prompt", "login consent")]), scope(""));
        let mut situation = arriving(&request, Some(ALICE), &consented);
        situation.decision = Some(Decision::Approved);
        assert_eq!(next_step(&situation), Step::Login);
    }

    #[test]
    fn an_auto_approved_client_is_never_asked_about() {
        let (request, consented) = (
            request(&[("prompt", "consent"), ("scope", "openid offline_access")]),
            scope(""),
        );
        let mut situation = arriving(&request, Some(ALICE), &consented);
        situation.auto_approve = true;
        assert_eq!(next_step(&situation), Step::Issue(scope("openid offline_access")));
        situation.session = None;
        assert_eq!(next_step(&situation), Step::Login);
    }

    /// OpenID Connect Core §11.
    #[test]
    fn offline_access_is_given_with_consent_and_dropped_silently_without() {
        let wanted = "openid offline_access";
        let silent = [("scope", wanted), ("prompt", "none")];
        assert_eq!(step(&[("scope", wanted)], Some(ALICE), "openid"), Step::Consent);
        assert_eq!(step(&silent, Some(ALICE), "openid"), Step::Issue(scope("openid")));
        assert_eq!(step(&silent, Some(ALICE), wanted), Step::Issue(scope(wanted)));
        let alone = [("scope", "offline_access"), ("prompt", "none")];
        assert_eq!(
            refusal(step(&alone, Some(ALICE), "")),
            OAuthErrorCode::ConsentRequired
        );
    }

    /// OpenID Connect Core §5.5: single claims are agreed to as the scope is to which they belong.
    #[test]
    fn a_claim_asked_for_by_itself_needs_consent_to_its_scope() {
        let more = [("claims", r#"{"userinfo":{"email":null}}"#)];
        assert_eq!(step(&more, Some(ALICE), "openid"), Step::Consent);
        assert_eq!(
            step(&more, Some(ALICE), "openid email"),
            Step::Issue(scope("openid"))
        );
    }
}
