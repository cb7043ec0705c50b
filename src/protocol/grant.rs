//! The grants of the token endpoint: what is asked, whether it is given, and what is given (RFC 6749 §4.1.3, §6; RFC 9700 §4.14).

use time::OffsetDateTime;

use super::authorization::OAuthRefusal;
use super::claims::ClaimsRequest;
use super::client::Client;
use super::ids::{ClientId, GrantId, SessionId, UserId};
use super::opaque::{Opaque, Salt, TokenHash};
use super::params::Params;
use super::pkce::CodeChallenge;
use super::scope::ScopeSet;

/// A token request whose parameters are complete. The presented secrets are kept for hashing and deriving only.
pub enum TokenRequest {
    AuthorizationCode(CodeRequest),
    RefreshToken(RefreshRequest),
}

/// RFC 6749 §4.1.3, RFC 7636 §4.5.
pub struct CodeRequest {
    /// `None`: text that we cannot have issued.
    pub code: Option<Opaque>,
    pub redirect_uri: String,
    pub code_verifier: Option<String>,
}

/// RFC 6749 §6.
pub struct RefreshRequest {
    /// `None`: text that we cannot have issued.
    pub refresh_token: Option<Opaque>,
    pub scope: Option<ScopeSet>,
}

/// What every grant ends in: all that tokens are made from.
#[derive(Clone, Debug)]
pub struct Grant {
    pub grant_id: GrantId,
    pub client_id: ClientId,
    pub user_id: UserId,
    /// The session the grant came from; `None` only for offline grants whose session is gone.
    pub session_id: Option<SessionId>,
    /// Of the access token: the granted scope, or the narrower one of a refresh.
    pub scope: ScopeSet,
    pub nonce: Option<String>,
    pub auth_time: i64,
    pub acr: Option<String>,
    pub amr: Option<Vec<String>>,
    pub claims: Option<ClaimsRequest>,
}

/// An authorization code as it is stored, with what its redemption depends on.
#[derive(Clone, Debug)]
pub struct StoredCode {
    pub grant: Grant,
    pub redirect_uri: String,
    pub code_challenge: Option<CodeChallenge>,
    pub expires_at: OffsetDateTime,
    pub used_at: Option<OffsetDateTime>,
    /// The user is neither deleted nor disabled and the session has not been ended.
    pub alive: bool,
}

/// A refresh token as it is stored, with what its rotation depends on.
#[derive(Clone, Debug)]
pub struct StoredRefreshToken {
    pub token_hash: TokenHash,
    pub grant: Grant,
    pub expires_at: OffsetDateTime,
    pub absolute_expires_at: Option<OffsetDateTime>,
    pub consumed_at: Option<OffsetDateTime>,
    /// Present from consumption until the successor is first used or the leeway is over.
    pub successor_salt: Option<Salt>,
    /// The grant is not revoked, its user and client are live and, unless it is offline, its session has not been ended.
    pub alive: bool,
}

/// What becomes of a code.
#[derive(Debug)]
pub enum Redemption {
    /// Consume it and issue.
    Granted(Box<Grant>),
    /// A second use that would otherwise have been valid: revoke everything issued from it, then refuse.
    Replayed(GrantId),
    /// The right client with a wrong verifier: the code is spent, then refused (security: no second guess).
    Spent,
}

/// What becomes of a refresh token.
#[derive(Debug)]
pub enum Rotation {
    /// Consume it, store its successor.
    Rotate(Box<Grant>),
    /// Within the leeway and the successor is unused: the same successor again, nothing is written but the event.
    Repeat(Box<Grant>, Salt),
    /// Reuse: revoke the family and its access tokens, then refuse.
    Reused(GrantId),
}

impl TokenRequest {
    /// Chooses the error that a missing or unknown parameter deserves (`invalid_request`, `unsupported_grant_type`,
    /// `unauthorized_client` when `client` is not registered for the grant).
    pub fn parse(params: &Params, client: &Client) -> Result<Self, OAuthRefusal> {
        let _ = (params, client);
        todo!()
    }
}

/// Whether `code` may be redeemed by this request (RFC 6749 §4.1.3, RFC 7636 §4.6). The client is compared first, so that a
/// stranger learns nothing about the code and changes nothing.
pub fn redeem_code(
    code: &StoredCode,
    request: &CodeRequest,
    client: &Client,
    now: OffsetDateTime,
) -> Result<Redemption, OAuthRefusal> {
    let _ = (code, request, client, now);
    todo!()
}

/// Whether `token` may be rotated by this request. `leeway_secs`: the client's, else the configured one; 0 is strict.
/// The scope is narrowed to what the request asks and the client may have today; a wider request is `invalid_scope`, the
/// token unspent.
pub fn rotate(
    token: &StoredRefreshToken,
    request: &RefreshRequest,
    client: &Client,
    leeway_secs: u32,
    now: OffsetDateTime,
) -> Result<Rotation, OAuthRefusal> {
    let _ = (token, request, client, leeway_secs, now);
    todo!()
}
