//! The authorization request, and what its response must look like (RFC 6749 §4.1.1, §4.1.2; RFC 9207).

use url::Url;

use super::settings::{Protocol, Settings};
use super::{CLOCK_SKEW_SECS, CallbackParams, Expected, StartRequest, UpstreamError};

/// The URL to send the browser to. A query that the endpoint already has is kept (RFC 6749 §3.1).
pub(super) fn request_url(mut endpoint: Url, settings: &Settings, start: &StartRequest<'_>) -> Url {
    let challenge = start.code_verifier.challenge();
    let mut query = endpoint.query_pairs_mut();
    query
        .append_pair("response_type", "code")
        .append_pair("client_id", &settings.client_id)
        .append_pair("redirect_uri", start.redirect_uri)
        .append_pair("state", start.state)
        .append_pair("code_challenge", challenge.as_str())
        .append_pair("code_challenge_method", "S256");
    if !settings.scopes.is_empty() {
        query.append_pair("scope", &settings.scopes.join(" "));
    }
    if settings.form_post {
        query.append_pair("response_mode", "form_post");
    }
    if matches!(settings.protocol, Protocol::Oidc(_)) {
        query.append_pair("nonce", start.nonce);
        if let Some(hint) = start.login_hint {
            query.append_pair("login_hint", hint);
        }
        if let Some(locales) = start.ui_locales {
            query.append_pair("ui_locales", locales);
        }
    }
    let prompt = prompt(settings, start);
    if !prompt.is_empty() {
        query.append_pair("prompt", &prompt);
    }
    if settings.reauthentication.max_age {
        let max_age_secs = if start.reauthenticate {
            Some(0)
        } else {
            start.max_age_secs
        };
        if let Some(secs) = max_age_secs {
            query.append_pair("max_age", &secs.to_string());
        }
    }
    drop(query);
    endpoint
}

/// What of OpenID Connect Core §3.1.2.1 `prompt` the provider honours and this request wants. A provider that cannot be
/// asked for a login is at least asked for the account, so that nothing goes through unseen.
fn prompt(settings: &Settings, start: &StartRequest<'_>) -> String {
    let can = settings.reauthentication;
    let login = start.reauthenticate && can.prompt_login;
    let select = can.select_account && (start.select_account || (start.reauthenticate && !login));
    match (login, select) {
        (true, true) => "login select_account",
        (true, false) => "login",
        (false, true) => "select_account",
        (false, false) => "",
    }
    .to_owned()
}

/// The code of a callback, or what its `error` means. `error_description` is not even read.
pub(super) fn code_of(callback: &CallbackParams) -> Result<&str, UpstreamError> {
    match callback.error.as_deref() {
        None => {}
        // The second is Apple's word for it.
        Some("access_denied" | "user_cancelled_authorize") => return Err(UpstreamError::Denied),
        Some("server_error" | "temporarily_unavailable") => {
            return Err(UpstreamError::unavailable(
                "the authorization endpoint answered that it is unavailable",
            ));
        }
        Some(_) => return Err(UpstreamError::Refused("authorization_refused")),
    }
    callback
        .code
        .as_deref()
        .filter(|code| !code.is_empty())
        .ok_or(UpstreamError::Refused("code_missing"))
}

/// RFC 9207 §2.4: a provider that announces `iss` must send it, and whoever sends it must send its own.
pub(super) fn check_iss(iss: Option<&str>, expected: &str, announced: bool) -> Result<(), UpstreamError> {
    match iss {
        Some(iss) if iss == expected => Ok(()),
        Some(_) => Err(UpstreamError::Refused("iss_mismatch")),
        None if announced => Err(UpstreamError::Refused("iss_missing")),
        None => Ok(()),
    }
}

/// Whether a demanded login is proven as far as it must be: a stated `auth_time` has to be fresh, a missing one is
/// accepted unless proof is required.
pub(super) fn require_fresh(auth_time: Option<i64>, expected: &Expected<'_>) -> Result<(), UpstreamError> {
    let Some(since) = expected.reauthenticated_since else {
        return Ok(());
    };
    match auth_time {
        Some(auth_time) if auth_time >= since.saturating_sub(CLOCK_SKEW_SECS) => Ok(()),
        Some(_) => Err(UpstreamError::NotFresh),
        None if expected.require_proof => Err(UpstreamError::NotFresh),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::pkce::CodeVerifier;

    fn callback(code: Option<&str>, error: Option<&str>) -> CallbackParams {
        CallbackParams {
            code: code.map(str::to_owned),
            error: error.map(str::to_owned),
            ..CallbackParams::default()
        }
    }

    /// RFC 6749 §4.1.2.1.
    #[test]
    fn an_error_wins_over_a_code() {
        let both = callback(Some("code"), Some("access_denied"));
        assert!(matches!(code_of(&both), Err(UpstreamError::Denied)));
        let cancelled = callback(None, Some("user_cancelled_authorize"));
        assert!(matches!(code_of(&cancelled), Err(UpstreamError::Denied)));
        let broken = callback(None, Some("temporarily_unavailable"));
        assert!(matches!(code_of(&broken), Err(UpstreamError::Unavailable(_))));
        let hostile = callback(None, Some("<script>"));
        assert_eq!(code_of(&hostile).unwrap_err().code(), "authorization_refused");
    }

    #[test]
    fn a_callback_without_a_code_is_refused() {
        for nothing in [callback(None, None), callback(Some(""), None)] {
            assert_eq!(code_of(&nothing).unwrap_err().code(), "code_missing");
        }
        assert_eq!(code_of(&callback(Some("abc"), None)).unwrap(), "abc");
    }

    /// RFC 9207 §2.4.
    #[test]
    fn iss_must_be_there_when_announced_and_right_when_there() {
        let own = "https://op.test";
        assert!(check_iss(Some(own), own, true).is_ok());
        assert!(check_iss(Some(own), own, false).is_ok());
        assert!(check_iss(None, own, false).is_ok());
        assert_eq!(check_iss(None, own, true).unwrap_err().code(), "iss_missing");
        assert_eq!(
            check_iss(Some("https://op.test/"), own, false)
                .unwrap_err()
                .code(),
            "iss_mismatch"
        );
        assert_eq!(check_iss(Some(""), own, true).unwrap_err().code(), "iss_mismatch");
    }

    #[test]
    fn a_demanded_login_must_be_as_new_as_the_demand_within_the_skew() {
        let verifier = CodeVerifier::generate(&aws_lc_rs::rand::SystemRandom::new());
        let expected = |require_proof| Expected {
            redirect_uri: "",
            nonce: "",
            code_verifier: &verifier,
            reauthenticated_since: Some(1_000),
            require_proof,
        };
        assert!(require_fresh(Some(1_000), &expected(true)).is_ok());
        assert!(require_fresh(Some(940), &expected(true)).is_ok());
        assert!(matches!(
            require_fresh(Some(939), &expected(false)),
            Err(UpstreamError::NotFresh)
        ));
        assert!(require_fresh(None, &expected(false)).is_ok());
        assert!(matches!(
            require_fresh(None, &expected(true)),
            Err(UpstreamError::NotFresh)
        ));
    }
}
