use proptest::prelude::*;
use url::form_urlencoded;

use super::*;
use crate::protocol::client::ClientType;
use crate::protocol::fixtures::{
    CALLBACK, ISSUER, NOW, authorization_params, authorize, client, params, public_client, user,
};

const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

fn refused(more: &[(&str, &str)]) -> OAuthErrorCode {
    authorize(&client(), more)
        .expect_err("the request is refused")
        .code
}

fn callback(more: &[(&str, &str)]) -> Callback {
    Callback::trust(&client(), &authorization_params(more), ISSUER).unwrap()
}

fn long(bytes: usize) -> String {
    "a".repeat(bytes)
}

// --- the way back -----------------------------------------------------------------------------------------------

#[test]
fn without_a_registered_redirect_uri_there_is_no_way_back() {
    for redirect_uri in ["", "https://app.example/cb/", "https://evil.example/cb"] {
        let params = authorization_params(&[("redirect_uri", redirect_uri)]);
        assert!(
            Callback::trust(&client(), &params, ISSUER).is_err(),
            "{redirect_uri}"
        );
    }
    let twice = params(&[("redirect_uri", CALLBACK), ("redirect_uri", CALLBACK)]);
    assert!(Callback::trust(&client(), &twice, ISSUER).is_err());
}

#[test]
fn a_disabled_client_gets_no_answer_by_redirect() {
    let disabled = Client {
        disabled: true,
        ..client()
    };
    assert!(Callback::trust(&disabled, &authorization_params(&[]), ISSUER).is_err());
}

#[test]
fn a_native_client_is_answered_at_the_port_it_listens_on() {
    let native = Client {
        client_type: ClientType::Native,
        redirect_uris: vec!["http://127.0.0.1/cb".to_owned()],
        ..client()
    };
    let params = authorization_params(&[("redirect_uri", "http://127.0.0.1:4711/cb")]);
    let callback = Callback::trust(&native, &params, ISSUER).unwrap();
    assert_eq!(callback.redirect_uri(), "http://127.0.0.1:4711/cb");
}

/// RFC 6749 §4.1.2, RFC 9207 §2.
#[test]
fn a_code_comes_with_state_and_issuer_in_this_order() {
    let response = callback(&[]).code("abc");
    let issuer = ISSUER.to_owned();
    assert_eq!(
        response.params,
        [
            ("code", "abc".to_owned()),
            ("state", "xyz".to_owned()),
            ("iss", issuer)
        ]
    );
    assert_eq!(
        response.location(),
        "https://app.example/cb?code=abc&state=xyz&iss=https%3A%2F%2Fauth.example"
    );
}

/// RFC 6749 §4.1.2.1.
#[test]
fn an_error_comes_with_description_state_and_issuer() {
    let refusal = OAuthRefusal::new(OAuthErrorCode::LoginRequired, "sign in");
    let names =
        |response: AuthorizationResponse| response.params.iter().map(|(name, _)| *name).collect::<Vec<_>>();
    assert_eq!(
        names(callback(&[]).error(&refusal)),
        ["error", "error_description", "state", "iss"]
    );
    assert_eq!(
        names(callback(&[("state", "")]).error(&refusal)),
        ["error", "error_description", "iss"]
    );
}

#[test]
fn the_registered_query_is_kept() {
    let location = |redirect_uri: &str| {
        let response = AuthorizationResponse {
            redirect_uri: redirect_uri.to_owned(),
            response_mode: ResponseMode::Query,
            params: vec![("code", "abc".to_owned())],
        };
        response.location()
    };
    assert_eq!(
        location("https://a.example/?t=1"),
        "https://a.example/?t=1&code=abc"
    );
    assert_eq!(
        location("https://a.example/?t=1&"),
        "https://a.example/?t=1&code=abc"
    );
    assert_eq!(location("https://a.example/?"), "https://a.example/?code=abc");
    assert_eq!(location("com.example.app:/cb"), "com.example.app:/cb?code=abc");
}

#[test]
fn a_state_that_is_too_long_or_doubled_is_refused_and_does_not_travel() {
    assert_eq!(
        authorize(&client(), &[("state", &long(4096))])
            .unwrap()
            .callback
            .state,
        Some(long(4096))
    );
    let too_long = long(4097);
    for more in [
        &[("state", too_long.as_str())][..],
        &[("state", "a"), ("state", "a")],
    ] {
        assert_eq!(refused(more), OAuthErrorCode::InvalidRequest);
        assert_eq!(callback(more).state, None);
    }
}

#[test]
fn a_bad_response_mode_is_refused_by_query() {
    for more in [
        &[("response_mode", "fragment")][..],
        &[("response_mode", "form_post"), ("response_mode", "form_post")],
    ] {
        assert_eq!(callback(more).response_mode, ResponseMode::Query);
        assert_eq!(refused(more), OAuthErrorCode::InvalidRequest);
    }
    assert_eq!(
        callback(&[("response_mode", "form_post")]).response_mode,
        ResponseMode::FormPost
    );
}

#[test]
fn a_callback_survives_storage() {
    let stored = serde_json::to_string(&authorize(&client(), &[("nonce", "n")]).unwrap()).unwrap();
    let request: AuthorizationRequest = serde_json::from_str(&stored).unwrap();
    assert_eq!(request.callback, callback(&[]));
}

// --- the request ------------------------------------------------------------------------------------------------

#[test]
fn a_plain_request_asks_for_nothing_special() {
    let request = authorize(
        &client(),
        &[("unknown", "1"), ("unknown", "2"), ("display", "hologram")],
    )
    .unwrap();
    assert_eq!(request.scope.to_string(), "openid");
    assert_eq!(request.prompt, Prompt::default());
    assert_eq!(
        (request.max_age_secs, request.nonce, request.received_at),
        (None, None, NOW)
    );
}

/// RFC 6749 §3.1.
#[test]
fn no_parameter_that_means_something_may_be_sent_twice() {
    for name in PARAMETERS {
        let twice = authorization_params(&[]).and(params(&[(name, "1"), (name, "1")]));
        let policy = Policy {
            issuer: ISSUER,
            defined_scopes: &ScopeSet::default(),
        };
        let refusal = AuthorizationRequest::parse(&twice, callback(&[]), &client(), &policy, NOW);
        assert_eq!(
            refusal.unwrap_err().code,
            OAuthErrorCode::InvalidRequest,
            "{name}"
        );
    }
}

#[test]
fn only_the_code_flow_is_offered_and_the_refusal_says_so() {
    assert_eq!(refused(&[("response_type", "")]), OAuthErrorCode::InvalidRequest);
    for response_type in ["token", "id_token", "code id_token", "Code"] {
        let refusal = authorize(&client(), &[("response_type", response_type)]).unwrap_err();
        assert_eq!(refusal.code, OAuthErrorCode::UnsupportedResponseType);
        assert!(refusal.description.contains("only response_type=code is offered"));
    }
}

#[test]
fn a_client_without_the_grant_is_unauthorized() {
    let other = Client {
        grant_types: vec![GrantType::RefreshToken],
        ..client()
    };
    let refusal = authorize(&other, &[]).unwrap_err();
    assert_eq!(refusal.code, OAuthErrorCode::UnauthorizedClient);
}

#[test]
fn an_unknown_prompt_or_none_beside_another_is_refused() {
    for prompt in ["create", "none login", "LOGIN"] {
        assert_eq!(refused(&[("prompt", prompt)]), OAuthErrorCode::InvalidRequest);
    }
    assert!(
        authorize(&client(), &[("prompt", "login consent")])
            .unwrap()
            .prompt
            .login
    );
}

/// OpenID Connect Core §3.1.2.1.
#[test]
fn max_age_is_a_number_of_seconds() {
    for (text, secs) in [("0", 0), ("86400", 86400), ("2147483648", 1 << 31), ("007", 7)] {
        assert_eq!(
            authorize(&client(), &[("max_age", text)]).unwrap().max_age_secs,
            Some(secs)
        );
    }
    for text in [
        "-1",
        "+1",
        "1.5",
        "1e3",
        " 1",
        "abc",
        "2147483649",
        "99999999999999999999999",
    ] {
        assert_eq!(
            refused(&[("max_age", text)]),
            OAuthErrorCode::InvalidRequest,
            "{text}"
        );
    }
}

/// OpenID Connect Core §3.1.2.1; RFC 6749 §3.3.
#[test]
fn undefined_scopes_are_ignored_and_forbidden_ones_refused() {
    let scope =
        |text: &str| authorize(&client(), &[("scope", text)]).map(|request| request.scope.to_string());
    assert_eq!(scope("email nonsense openid api").unwrap(), "email openid api");
    for text in [
        "",
        "nonsense",
        "openid phone",
        "openid other",
        "openid  email",
        "open\"id",
    ] {
        assert_eq!(
            scope(text).unwrap_err().code,
            OAuthErrorCode::InvalidScope,
            "{text}"
        );
    }
}

/// RFC 7636 §4.4.1.
#[test]
fn pkce_is_demanded_of_public_clients_and_binds_whoever_sends_it() {
    let pkce = [("code_challenge", CHALLENGE), ("code_challenge_method", "S256")];
    assert!(
        authorize(&public_client(), &pkce)
            .unwrap()
            .code_challenge
            .is_some()
    );
    assert!(authorize(&client(), &pkce).unwrap().code_challenge.is_some());
    assert!(authorize(&client(), &[]).unwrap().code_challenge.is_none());
    let refusal = authorize(&public_client(), &[]).unwrap_err();
    assert_eq!(refusal.code, OAuthErrorCode::InvalidRequest);
    assert!(refusal.description.contains("code_challenge_method=S256"));
    assert_eq!(refused(&pkce[..1]), OAuthErrorCode::InvalidRequest);
    assert_eq!(refused(&pkce[1..]), OAuthErrorCode::InvalidRequest);
}

#[test]
fn a_nonce_is_kept_as_it_is_up_to_4096_bytes() {
    let nonce = "-._~ +%\u{1f600}";
    assert_eq!(
        authorize(&client(), &[("nonce", nonce)])
            .unwrap()
            .nonce
            .as_deref(),
        Some(nonce)
    );
    assert_eq!(refused(&[("nonce", &long(4097))]), OAuthErrorCode::InvalidRequest);
}

#[test]
fn hints_that_are_too_long_are_ignored() {
    let request = authorize(&client(), &[("login_hint", &long(513)), ("ui_locales", "de en")]).unwrap();
    assert_eq!(
        (request.login_hint, request.ui_locales.as_deref()),
        (None, Some("de en"))
    );
    let request = authorize(&client(), &[("login_hint", "a@b.example"), ("acr_values", "1 2")]).unwrap();
    assert_eq!(request.login_hint.as_deref(), Some("a@b.example"));
    assert_eq!(request.acr_values, ["1", "2"]);
}

/// OpenID Connect Core §5.5.
#[test]
fn claims_are_an_object_and_limited_to_what_the_client_may_have() {
    for claims in [
        "[]",
        "{",
        "1",
        r#"{"userinfo":1}"#,
        r#"{"userinfo":{"name":true}}"#,
    ] {
        assert_eq!(
            refused(&[("claims", claims)]),
            OAuthErrorCode::InvalidRequest,
            "{claims}"
        );
    }
    let claims =
        r#"{"userinfo":{"name":{"essential":true},"phone_number":null,"x":null},"id_token":{"email":null}}"#;
    let request = authorize(&client(), &[("claims", claims)]).unwrap();
    let kept = request.claims.as_ref().unwrap();
    assert_eq!(kept.userinfo.keys().collect::<Vec<_>>(), ["name"]);
    assert_eq!(kept.id_token.keys().collect::<Vec<_>>(), ["email"]);
    assert_eq!(request.consent_scope().to_string(), "openid profile email");
    assert_eq!(authorize(&client(), &[("claims", "{}")]).unwrap().claims, None);
}

/// OpenID Connect Core §3.1.2.2.
#[test]
fn a_sub_that_claims_ask_for_by_value_is_whom_the_request_is_about() {
    let claims = format!(r#"{{"id_token":{{"sub":{{"value":"{}"}}}}}}"#, user(3));
    assert_eq!(
        authorize(&client(), &[("claims", &claims)]).unwrap().hint_subject,
        Some(user(3))
    );
    let claims = r#"{"id_token":{"sub":{"value":"nobody"}}}"#;
    assert_eq!(refused(&[("claims", claims)]), OAuthErrorCode::LoginRequired);
}

#[test]
fn a_stored_request_is_judged_again_by_the_registration_of_today() {
    let request = authorize(&client(), &[("scope", "openid api")]).unwrap();
    assert!(request.callback.is_still_trusted(&client()) && request.require_still_allowed(&client()).is_ok());
    let moved = Client {
        redirect_uris: vec!["https://app.example/new".to_owned()],
        ..client()
    };
    let disabled = Client {
        disabled: true,
        ..client()
    };
    assert!(!request.callback.is_still_trusted(&moved) && !request.callback.is_still_trusted(&disabled));
    let without_scope = Client {
        scope: ScopeSet::default(),
        ..client()
    };
    let without_grant = Client {
        grant_types: Vec::new(),
        ..client()
    };
    for (client, code) in [
        (without_scope, OAuthErrorCode::InvalidScope),
        (without_grant, OAuthErrorCode::UnauthorizedClient),
        (public_client(), OAuthErrorCode::InvalidRequest),
    ] {
        assert_eq!(request.require_still_allowed(&client).unwrap_err().code, code);
    }
}

/// RFC 6749 §4.1.2.1: the characters of `error_description`.
#[test]
fn descriptions_are_printable_ascii_and_repeat_nothing() {
    let marker = "s3cret\"\\\u{e9}";
    for name in PARAMETERS
        .into_iter()
        .filter(|name| !matches!(*name, "client_id" | "redirect_uri"))
    {
        let Err(refusal) = authorize(&client(), &[(name, marker)]) else {
            continue;
        };
        assert!(!refusal.description.contains("s3cret"), "{name}");
        let admitted = |byte| matches!(byte, 0x20..=0x21 | 0x23..=0x5B | 0x5D..=0x7E);
        assert!(refusal.description.bytes().all(admitted), "{name}");
    }
}

#[test]
fn error_codes_are_written_as_they_are_stored() {
    use OAuthErrorCode as Code;
    for code in [
        Code::InvalidRequest,
        Code::RequestUriNotSupported,
        Code::TemporarilyUnavailable,
    ] {
        assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
    }
}

proptest! {
    /// Whatever state holds, the client reads back exactly the parameters of the response, and nothing else.
    #[test]
    fn location_gives_back_exactly_the_parameters(state in "[^\\x00]{1,60}", query in "(\\?|\\?a=1|\\?a=1&)?") {
        let redirect_uri = format!("{CALLBACK}{query}");
        let own = Client { redirect_uris: vec![redirect_uri.clone()], ..client() };
        let params = params(&[("redirect_uri", &redirect_uri), ("state", &state)]);
        let response = Callback::trust(&own, &params, ISSUER).unwrap().code("abc");
        let location = response.location();
        prop_assert!(location.starts_with(&redirect_uri));
        prop_assert!(location.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#'));
        let (_, read) = location.split_once('?').unwrap();
        let mut expected = vec![("code", "abc".to_owned()), ("state", state), ("iss", ISSUER.to_owned())];
        if query.contains('a') {
            expected.insert(0, ("a", "1".to_owned()));
        }
        let read: Vec<_> = form_urlencoded::parse(read.as_bytes()).into_owned().collect();
        let expected: Vec<_> = expected.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        prop_assert_eq!(read, expected);
    }
}
