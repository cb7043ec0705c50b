use aws_lc_rs::rand::SystemRandom;

use super::*;
use crate::protocol::fixtures::{CALLBACK, NOW, at, client, grant, params, scope};

const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const OTHER_VERIFIER: &str = "eBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

/// A fresh code that was asked for with PKCE.
fn code() -> StoredCode {
    StoredCode {
        grant: grant(),
        redirect_uri: CALLBACK.to_owned(),
        code_challenge: CodeVerifier::parse(VERIFIER).map(|verifier| verifier.challenge()),
        expires_at: at(NOW + 300),
        used_at: None,
        alive: true,
    }
}

fn code_request(code_verifier: Option<&str>) -> CodeRequest {
    CodeRequest {
        code: None,
        redirect_uri: CALLBACK.to_owned(),
        code_verifier: code_verifier.map(str::to_owned),
    }
}

fn redeem(code: &StoredCode, code_verifier: Option<&str>) -> Result<Redemption, OAuthRefusal> {
    redeem_code(code, &code_request(code_verifier), &client(), at(NOW))
}

fn token() -> StoredRefreshToken {
    StoredRefreshToken {
        token_hash: TokenHash([1; 32]),
        grant: grant(),
        expires_at: at(NOW + 1000),
        absolute_expires_at: None,
        consumed_at: None,
        successor_salt: None,
        alive: true,
    }
}

/// Consumed `age_secs` ago, its successor unused.
fn consumed(age_secs: i64) -> StoredRefreshToken {
    StoredRefreshToken {
        consumed_at: Some(at(NOW - age_secs)),
        successor_salt: Some(Salt::generate(&SystemRandom::new())),
        ..token()
    }
}

fn refresh(token: &StoredRefreshToken, leeway_secs: u32) -> Result<Rotation, OAuthRefusal> {
    let request = RefreshRequest {
        refresh_token: None,
        scope: None,
    };
    rotate(token, &request, &client(), leeway_secs, at(NOW))
}

fn refresh_with_scope(token: &StoredRefreshToken, text: &str) -> Result<Rotation, OAuthRefusal> {
    let request = RefreshRequest {
        refresh_token: None,
        scope: Some(scope(text)),
    };
    rotate(token, &request, &client(), 10, at(NOW))
}

fn other_client() -> Client {
    Client {
        client_id: ClientId("other".to_owned()),
        ..client()
    }
}

// --- the request ------------------------------------------------------------------------------------------------

fn parse_error(pairs: &[(&str, &str)], client: &Client) -> OAuthErrorCode {
    let parsed = TokenRequest::parse(&params(pairs), client);
    parsed.err().expect("the request is refused").code
}

/// RFC 6749 §5.2.
#[test]
fn a_missing_and_an_unknown_grant_type_are_told_apart() {
    assert_eq!(parse_error(&[], &client()), OAuthErrorCode::InvalidRequest);
    let password = [("grant_type", "password")];
    assert_eq!(
        parse_error(&password, &client()),
        OAuthErrorCode::UnsupportedGrantType
    );
    let twice = [("grant_type", "refresh_token"), ("grant_type", "refresh_token")];
    assert_eq!(parse_error(&twice, &client()), OAuthErrorCode::InvalidRequest);
}

#[test]
fn a_client_uses_only_the_grants_it_is_registered_for() {
    let code_only = Client {
        grant_types: vec![GrantType::AuthorizationCode],
        ..client()
    };
    let request = [("grant_type", "refresh_token"), ("refresh_token", "x")];
    assert_eq!(
        parse_error(&request, &code_only),
        OAuthErrorCode::UnauthorizedClient
    );
}

#[test]
fn a_grant_without_its_parameters_is_an_invalid_request() {
    let complete = [
        ("grant_type", "authorization_code"),
        ("code", "x"),
        ("redirect_uri", CALLBACK),
    ];
    assert!(TokenRequest::parse(&params(&complete), &client()).is_ok());
    for missing in 1..3 {
        let mut pairs = complete.to_vec();
        pairs.remove(missing);
        assert_eq!(parse_error(&pairs, &client()), OAuthErrorCode::InvalidRequest);
    }
    assert_eq!(
        parse_error(&[("grant_type", "refresh_token")], &client()),
        OAuthErrorCode::InvalidRequest
    );
}

#[test]
fn a_code_that_is_not_ours_is_no_code_and_a_bad_scope_is_invalid_scope() {
    let request = [
        ("grant_type", "authorization_code"),
        ("code", "x"),
        ("redirect_uri", CALLBACK),
    ];
    let Ok(TokenRequest::AuthorizationCode(request)) = TokenRequest::parse(&params(&request), &client())
    else {
        panic!("the request is complete");
    };
    assert!(request.code.is_none());
    let request = [
        ("grant_type", "refresh_token"),
        ("refresh_token", "x"),
        ("scope", "a  b"),
    ];
    assert_eq!(parse_error(&request, &client()), OAuthErrorCode::InvalidScope);
}

// --- codes ------------------------------------------------------------------------------------------------------

#[test]
fn a_fresh_code_with_its_verifier_gives_the_grant() {
    let Ok(Redemption::Granted(granted)) = redeem(&code(), Some(VERIFIER)) else {
        panic!("the code is good");
    };
    assert_eq!((granted.scope, granted.nonce), (grant().scope, grant().nonce));
}

/// RFC 6749 §10.5: another client changes nothing, not even of a used code.
#[test]
fn another_client_learns_and_changes_nothing() {
    for used_at in [None, Some(at(NOW - 30))] {
        let code = StoredCode { used_at, ..code() };
        let refused = redeem_code(&code, &code_request(Some("x")), &other_client(), at(NOW));
        assert_eq!(refused.unwrap_err(), UNKNOWN_CODE);
    }
}

#[test]
fn another_redirect_uri_is_refused() {
    let request = CodeRequest {
        redirect_uri: format!("{CALLBACK}/"),
        ..code_request(Some(VERIFIER))
    };
    let refusal = redeem_code(&code(), &request, &client(), at(NOW)).unwrap_err();
    assert_eq!(refusal.code, OAuthErrorCode::InvalidGrant);
}

#[test]
fn an_expired_code_is_refused_from_the_second_on_in_which_it_expires() {
    let expiring = |expires_at| StoredCode { expires_at, ..code() };
    assert!(redeem(&expiring(at(NOW + 1)), Some(VERIFIER)).is_ok());
    assert_eq!(
        redeem(&expiring(at(NOW)), Some(VERIFIER)).unwrap_err(),
        UNKNOWN_CODE
    );
}

#[test]
fn a_code_of_a_dead_session_or_user_is_refused() {
    let dead = StoredCode {
        alive: false,
        ..code()
    };
    assert_eq!(redeem(&dead, Some(VERIFIER)).unwrap_err(), UNKNOWN_CODE);
}

/// RFC 7636 §4.6.
#[test]
fn a_wrong_verifier_spends_the_code() {
    for wrong in [
        OTHER_VERIFIER,
        "short",
        "bad alphabet, but of a length that is well within bounds",
    ] {
        assert!(
            matches!(redeem(&code(), Some(wrong)), Ok(Redemption::Spent)),
            "{wrong}"
        );
    }
}

#[test]
fn a_missing_or_superfluous_verifier_is_refused_and_the_code_stays_good() {
    let without_challenge = StoredCode {
        code_challenge: None,
        ..code()
    };
    for refused in [redeem(&code(), None), redeem(&without_challenge, Some(VERIFIER))] {
        assert_eq!(refused.unwrap_err().code, OAuthErrorCode::InvalidGrant);
    }
    assert!(matches!(
        redeem(&without_challenge, None),
        Ok(Redemption::Granted(_))
    ));
}

/// RFC 6749 §4.1.2, §10.5.
#[test]
fn a_second_valid_use_is_a_replay_even_after_the_code_has_expired_or_died() {
    for (expires_at, alive) in [(at(NOW + 9), true), (at(NOW - 9), true), (at(NOW + 9), false)] {
        let used = StoredCode {
            used_at: Some(at(NOW - 30)),
            expires_at,
            alive,
            ..code()
        };
        assert!(
            matches!(redeem(&used, Some(VERIFIER)), Ok(Redemption::Replayed(id)) if id == grant().grant_id)
        );
    }
}

#[test]
fn a_second_use_that_would_not_have_been_valid_revokes_nothing() {
    let used = StoredCode {
        used_at: Some(at(NOW - 30)),
        ..code()
    };
    for verifier in [None, Some(OTHER_VERIFIER)] {
        assert_eq!(redeem(&used, verifier).unwrap_err(), UNKNOWN_CODE);
    }
    let elsewhere = CodeRequest {
        redirect_uri: "https://app.example/other".to_owned(),
        ..code_request(Some(VERIFIER))
    };
    assert!(redeem_code(&used, &elsewhere, &client(), at(NOW)).is_err());
}

#[test]
fn a_scope_that_the_client_has_lost_since_is_left_out() {
    let narrowed = Client {
        scope: ScopeSet::default(),
        ..client()
    };
    let redeemed = redeem_code(&code(), &code_request(Some(VERIFIER)), &narrowed, at(NOW));
    assert!(matches!(redeemed, Ok(Redemption::Granted(grant)) if grant.scope == scope("openid profile")));
}

// --- refresh tokens ---------------------------------------------------------------------------------------------

#[test]
fn an_unused_token_is_rotated() {
    assert!(
        matches!(refresh(&token(), 10), Ok(Rotation::Rotate(grant)) if grant.scope == scope("openid profile api"))
    );
}

/// RFC 6749 §6, §10.4.
#[test]
fn a_token_of_another_client_is_refused_untouched_even_when_consumed() {
    let request = RefreshRequest {
        refresh_token: None,
        scope: None,
    };
    for token in [token(), consumed(1000)] {
        let refused = rotate(&token, &request, &other_client(), 10, at(NOW));
        assert_eq!(refused.unwrap_err(), UNKNOWN_REFRESH_TOKEN);
    }
}

#[test]
fn expired_capped_and_dead_tokens_are_refused() {
    let expired = StoredRefreshToken {
        expires_at: at(NOW),
        ..token()
    };
    let capped = StoredRefreshToken {
        absolute_expires_at: Some(at(NOW)),
        ..token()
    };
    let dead = StoredRefreshToken {
        alive: false,
        ..token()
    };
    for token in [expired, capped, dead] {
        assert_eq!(refresh(&token, 10).unwrap_err(), UNKNOWN_REFRESH_TOKEN);
    }
}

/// RFC 9700 §4.14.2, with the leeway for lost responses.
#[test]
fn within_the_leeway_the_same_successor_is_given_again() {
    for age_secs in [-60, -1, 0, 9] {
        assert!(
            matches!(refresh(&consumed(age_secs), 10), Ok(Rotation::Repeat(..))),
            "{age_secs}"
        );
    }
    // One that lies far ahead was consumed before the clock was set back.
    for (age_secs, leeway_secs) in [
        (10, 10),
        (11, 10),
        (0, 0),
        (-1, 0),
        (1, 1),
        (-61, 10),
        (-3600, 10),
    ] {
        let rotation = refresh(&consumed(age_secs), leeway_secs);
        let Ok(Rotation::Reused { clock_apart, .. }) = rotation else {
            panic!("{age_secs} of {leeway_secs}");
        };
        assert_eq!(clock_apart, age_secs < -60, "{age_secs} of {leeway_secs}");
    }
}

#[test]
fn once_the_successor_is_used_every_repetition_is_reuse() {
    let successor_used = StoredRefreshToken {
        successor_salt: None,
        ..consumed(1)
    };
    assert!(
        matches!(refresh(&successor_used, 10), Ok(Rotation::Reused { grant_id, clock_apart: false }) if grant_id == grant().grant_id)
    );
}

#[test]
fn reuse_counts_also_where_the_token_has_expired_or_the_family_is_dead() {
    for token in [
        StoredRefreshToken {
            expires_at: at(NOW - 1),
            ..consumed(100)
        },
        StoredRefreshToken {
            alive: false,
            ..consumed(100)
        },
    ] {
        assert!(matches!(refresh(&token, 10), Ok(Rotation::Reused { .. })));
    }
}

#[test]
fn a_repetition_outlives_the_token_but_neither_the_cap_nor_the_family() {
    let ran_out = StoredRefreshToken {
        expires_at: at(NOW - 1),
        ..consumed(2)
    };
    assert!(matches!(refresh(&ran_out, 10), Ok(Rotation::Repeat(..))));
    let capped = StoredRefreshToken {
        absolute_expires_at: Some(at(NOW)),
        ..consumed(2)
    };
    let dead = StoredRefreshToken {
        alive: false,
        ..consumed(2)
    };
    for token in [capped, dead] {
        assert_eq!(refresh(&token, 10).unwrap_err(), UNKNOWN_REFRESH_TOKEN);
    }
}

/// RFC 6749 §6.
#[test]
fn the_scope_may_be_narrowed_and_never_widened() {
    let narrowed = refresh_with_scope(&token(), "openid");
    assert!(matches!(narrowed, Ok(Rotation::Rotate(grant)) if grant.scope == scope("openid")));
    for token in [token(), consumed(1)] {
        let refusal = refresh_with_scope(&token, "openid email").unwrap_err();
        assert_eq!(refusal.code, OAuthErrorCode::InvalidScope);
    }
}

#[test]
fn a_refresh_gives_no_scope_and_no_claim_that_the_client_has_lost() {
    let mut token = token();
    token.grant.claims = ClaimsRequest::parse(r#"{"userinfo":{"name":null,"address":null}}"#).ok();
    let narrowed = Client {
        scope: ScopeSet::default(),
        ..client()
    };
    let request = RefreshRequest {
        refresh_token: None,
        scope: None,
    };
    let Ok(Rotation::Rotate(grant)) = rotate(&token, &request, &narrowed, 10, at(NOW)) else {
        panic!("the token is good");
    };
    assert_eq!(grant.scope, scope("openid profile"));
    assert_eq!(
        grant.claims.unwrap().userinfo.keys().collect::<Vec<_>>(),
        ["name"]
    );
    let only_api = RefreshRequest {
        refresh_token: None,
        scope: Some(scope("api")),
    };
    let refusal = rotate(&token, &only_api, &narrowed, 10, at(NOW)).unwrap_err();
    assert_eq!(refusal.code, OAuthErrorCode::InvalidScope);
}

/// OpenID Connect Core §12.2.
#[test]
fn a_refresh_keeps_nonce_auth_time_and_session() {
    let Ok(Rotation::Rotate(rotated)) = refresh(&token(), 10) else {
        panic!("the token is good");
    };
    let before = grant();
    assert_eq!(
        (
            rotated.nonce,
            rotated.auth_time,
            rotated.session_id,
            rotated.user_id
        ),
        (before.nonce, before.auth_time, before.session_id, before.user_id)
    );
}
