//! Clients, requests and people for the tests of the rules.

use serde_json::{Map, Value};
use time::OffsetDateTime;
use url::form_urlencoded;
use uuid::Uuid;

use super::authorization::{AuthorizationRequest, Callback, OAuthRefusal, Policy};
use super::claims::{Person, PersonEmail};
use super::client::{Client, ClientType, GrantType};
use super::grant::Grant;
use super::ids::{ClientId, GrantId, SessionId, UserId};
use super::params::Params;
use super::scope::ScopeSet;

pub(super) const ISSUER: &str = "https://auth.example";
pub(super) const CALLBACK: &str = "https://app.example/cb";
pub(super) const NOW: i64 = 1_800_000_000;

pub(super) fn at(unix_secs: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(unix_secs).unwrap()
}

pub(super) fn scope(text: &str) -> ScopeSet {
    ScopeSet::parse(text).unwrap()
}

pub(super) fn user(number: u128) -> UserId {
    UserId(Uuid::from_u128(number))
}

/// A confidential client without PKCE that may ask for `address`, `offline_access` and `api`.
pub(super) fn client() -> Client {
    Client {
        client_id: ClientId("app".to_owned()),
        name: "App".to_owned(),
        client_type: ClientType::Confidential,
        secrets: Vec::new(),
        redirect_uris: vec![CALLBACK.to_owned()],
        post_logout_redirect_uris: Vec::new(),
        backchannel_logout_uri: None,
        backchannel_logout_session_required: false,
        scope: scope("address offline_access api"),
        grant_types: GrantType::ALL.to_vec(),
        auto_approve: false,
        require_pkce: false,
        token_endpoint_auth_method: None,
        id_token_signed_response_alg: None,
        claims_in_id_token: false,
        audience: None,
        request_object_jwks: None,
        refresh_reuse_leeway_secs: None,
        disabled: false,
        generation: 1,
    }
}

pub(super) fn public_client() -> Client {
    Client {
        client_type: ClientType::Public,
        require_pkce: true,
        ..client()
    }
}

pub(super) fn params(pairs: &[(&str, &str)]) -> Params {
    let encoded = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(pairs)
        .finish();
    Params::parse(encoded.as_bytes()).unwrap()
}

/// A good authorization request with `more` beside it; what `more` names stands in place of the good value.
pub(super) fn authorization_params(more: &[(&str, &str)]) -> Params {
    let good = [
        ("client_id", "app"),
        ("redirect_uri", CALLBACK),
        ("response_type", "code"),
        ("scope", "openid"),
        ("state", "xyz"),
    ];
    let kept = good
        .iter()
        .filter(|(name, _)| !more.iter().any(|(other, _)| other == name));
    params(&kept.chain(more).copied().collect::<Vec<_>>())
}

pub(super) fn authorize(
    client: &Client,
    more: &[(&str, &str)],
) -> Result<AuthorizationRequest, OAuthRefusal> {
    let params = authorization_params(more);
    let callback = Callback::trust(client, &params, ISSUER)?;
    let defined_scopes = &scope("openid profile email address phone offline_access api other");
    let policy = Policy {
        issuer: ISSUER,
        defined_scopes,
    };
    AuthorizationRequest::parse(&params, callback, client, &policy, NOW)
}

pub(super) fn grant() -> Grant {
    Grant {
        grant_id: GrantId(Uuid::from_u128(7)),
        client_id: ClientId("app".to_owned()),
        user_id: user(1),
        session_id: Some(SessionId(Uuid::from_u128(9))),
        scope: scope("openid profile api"),
        nonce: Some("n-1".to_owned()),
        auth_time: NOW - 100,
        acr: None,
        amr: None,
        claims: None,
    }
}

pub(super) fn person(upstream_claims: Value) -> Person {
    let upstream_claims: Map<String, Value> = serde_json::from_value(upstream_claims).unwrap();
    Person {
        user_id: user(1),
        username: "alice".to_owned(),
        display_name: Some("Alice A".to_owned()),
        picture: Some("https://pics.example/a.png".to_owned()),
        updated_at: NOW - 5000,
        email: Some(PersonEmail {
            email: "alice@mail.example".to_owned(),
            verified: true,
        }),
        upstream_claims,
    }
}
