//! The claims of tokens and of UserInfo (OpenID Connect Core §2, §5.1, §5.4, §5.5; RFC 9068 §2.2; Back-Channel Logout §2.4).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::algorithm::SigningAlgorithm;
use super::grant::Grant;
use super::ids::{ClientId, GrantId, SessionId, UserId};
use super::scope::ScopeSet;

/// `typ` of client access tokens (RFC 9068 §2.1).
pub const ACCESS_TOKEN_TYP: &str = "at+jwt";
/// `typ` of ID tokens.
pub const ID_TOKEN_TYP: &str = "JWT";
/// `typ` of the session access cookie: ours alone, so that it passes for nothing else.
pub const SESSION_TOKEN_TYP: &str = "session+jwt";
/// `typ` of logout tokens (OpenID Connect Back-Channel Logout §2.4).
pub const LOGOUT_TOKEN_TYP: &str = "logout+jwt";

/// A client access token (RFC 9068 §2.2).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AccessTokenClaims {
    pub iss: String,
    pub sub: UserId,
    pub aud: String,
    pub client_id: ClientId,
    pub exp: i64,
    pub iat: i64,
    pub jti: String,
    pub scope: ScopeSet,
    pub grant: GrantId,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sid: Option<SessionId>,
    pub auth_time: i64,
}

/// The session access cookie, for apps on sibling hosts; it opens nothing here.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SessionTokenClaims {
    pub iss: String,
    pub sub: UserId,
    /// The issuer.
    pub aud: String,
    pub exp: i64,
    pub iat: i64,
    pub jti: String,
    pub sid: SessionId,
    pub auth_time: i64,
    pub username: String,
    pub role: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub picture: Option<String>,
}

/// An ID token (OpenID Connect Core §2); `extra` holds the profile claims where the client has them there.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct IdTokenClaims {
    pub iss: String,
    pub sub: UserId,
    pub aud: ClientId,
    pub exp: i64,
    pub iat: i64,
    pub auth_time: i64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub nonce: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub at_hash: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sid: Option<SessionId>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub acr: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub amr: Option<Vec<String>>,
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// The `claims` request parameter (OpenID Connect Core §5.5): which claims, by place; values that are asked for are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimsRequest {
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub userinfo: Map<String, Value>,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub id_token: Map<String, Value>,
}

/// A person as claims are made of them.
#[derive(Clone, Debug)]
pub struct Person {
    pub user_id: UserId,
    pub username: String,
    pub display_name: Option<String>,
    pub picture: Option<String>,
    /// Seconds since the epoch.
    pub updated_at: i64,
    pub email: Option<PersonEmail>,
    /// The upstream's claims that `[claims] passthrough` lists.
    pub upstream_claims: Map<String, Value>,
}

/// The primary address, and whether we vouch for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersonEmail {
    pub email: String,
    pub verified: bool,
}

impl ClaimsRequest {
    /// Reads the JSON of the parameter; members that are not known are ignored.
    pub fn parse(json: &str) -> Result<Self, super::authorization::OAuthRefusal> {
        let _ = json;
        todo!()
    }
}

/// The claims that `scope` and the `claims` parameter give (§5.4, §5.5), typed as §5.1 says, left out rather than empty.
/// Without `sub`.
pub fn person_claims(
    person: &Person,
    scope: &ScopeSet,
    requested: Option<&Map<String, Value>>,
) -> Map<String, Value> {
    let _ = (person, scope, requested);
    todo!()
}

/// UserInfo (§5.3.2): `sub` and what scope and the `claims` parameter give.
pub fn userinfo(person: &Person, scope: &ScopeSet, requested: Option<&ClaimsRequest>) -> Map<String, Value> {
    let _ = (person, scope, requested);
    todo!()
}

/// The ID token of `grant` (§2, §3.1.3.6). `person` only where profile claims go in: the client is registered with
/// `claims_in_id_token`, or the `claims` parameter asks.
pub fn id_token(
    issuer: &str,
    grant: &Grant,
    person: Option<&Person>,
    claims_in_id_token: bool,
    default_acr: &str,
    at_hash: String,
    now: i64,
    ttl_secs: i64,
) -> IdTokenClaims {
    let _ = (
        issuer,
        grant,
        person,
        claims_in_id_token,
        default_acr,
        at_hash,
        now,
        ttl_secs,
    );
    todo!()
}

/// `at_hash` (§3.1.3.6): the left half of SHA-256 over the token, base64url. Both of our algorithms use SHA-256.
pub fn at_hash(access_token: &str, algorithm: SigningAlgorithm) -> String {
    let _ = (access_token, algorithm);
    todo!()
}
