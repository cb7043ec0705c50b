//! The grants of the token endpoint: what is asked, whether it is given, and what is given (RFC 6749 §4.1.3, §6; RFC 9700 §4.14).

#[cfg(test)]
mod tests;

use time::{Duration, OffsetDateTime};

use super::authorization::{OAuthErrorCode, OAuthRefusal};
use super::claims::ClaimsRequest;
use super::client::{Client, GrantType};
use super::ids::{ClientId, GrantId, SessionId, UserId};
use super::opaque::{Opaque, Salt, TokenHash};
use super::params::Params;
use super::pkce::{CodeChallenge, CodeVerifier};
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
    /// Reuse: revoke the family and its access tokens, then refuse. `clock_apart`: see [`is_clock_apart`].
    Reused { grant_id: GrantId, clock_apart: bool },
}

/// The answer to a code that we do not know, or that another client holds: the same words, so that a stranger learns
/// nothing.
pub const UNKNOWN_CODE: OAuthRefusal =
    OAuthRefusal::invalid_grant("the code is unknown, expired or already used");

/// The answer to a refresh token that we do not know, or that another client holds.
pub const UNKNOWN_REFRESH_TOKEN: OAuthRefusal =
    OAuthRefusal::invalid_grant("the refresh token is unknown, expired, used or revoked");

/// The parameters of a token request that mean something here.
const PARAMETERS: [&str; 8] = [
    "grant_type",
    "code",
    "redirect_uri",
    "code_verifier",
    "refresh_token",
    "scope",
    "client_id",
    "client_secret",
];

impl TokenRequest {
    /// Chooses the error that a missing or unknown parameter deserves (`invalid_request`, `unsupported_grant_type`,
    /// `unauthorized_client` when `client` is not registered for the grant).
    pub fn parse(params: &Params, client: &Client) -> Result<Self, OAuthRefusal> {
        params.refuse_repeated(&PARAMETERS)?; // RFC 6749 §3.2
        let grant_type = GrantType::parse(require(params, "grant_type")?).ok_or(OAuthRefusal::new(
            OAuthErrorCode::UnsupportedGrantType,
            "grant_type has to be authorization_code or refresh_token",
        ))?;
        if !client.may_use(grant_type) {
            return Err(OAuthRefusal::new(
                OAuthErrorCode::UnauthorizedClient,
                "this client is not registered for this grant type",
            ));
        }
        match grant_type {
            GrantType::AuthorizationCode => Ok(Self::AuthorizationCode(CodeRequest {
                code: Opaque::parse(require(params, "code")?),
                redirect_uri: require(params, "redirect_uri")?.to_owned(),
                code_verifier: params.get("code_verifier")?.map(str::to_owned),
            })),
            GrantType::RefreshToken => Ok(Self::RefreshToken(RefreshRequest {
                refresh_token: Opaque::parse(require(params, "refresh_token")?),
                scope: parse_scope(params)?,
            })),
        }
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
    if code.grant.client_id != client.client_id {
        return Err(UNKNOWN_CODE);
    }
    if code.redirect_uri != request.redirect_uri {
        return Err(OAuthRefusal::invalid_grant(
            "redirect_uri differs from that of the authorization request",
        ));
    }
    let proof = Proof::of(code.code_challenge.as_ref(), request.code_verifier.as_deref());
    if code.used_at.is_some() {
        // RFC 6749 §4.1.2: what was issued from it is revoked, however late the second use comes. Only for one that
        // would have been valid: else whoever overhears a code could sign its owner out.
        return match proof {
            Proof::Given => Ok(Redemption::Replayed(code.grant.grant_id)),
            _ => Err(UNKNOWN_CODE),
        };
    }
    if now >= code.expires_at || !code.alive {
        return Err(UNKNOWN_CODE);
    }
    match proof {
        Proof::Given => {}
        // A wrong verifier is a guess, and there is only one; a missing or superfluous one is a misconfigured client.
        Proof::Wrong => return Ok(Redemption::Spent),
        Proof::Missing => {
            return Err(OAuthRefusal::invalid_grant(
                "code_verifier is missing: the authorization request had a code_challenge",
            ));
        }
        Proof::Superfluous => {
            return Err(OAuthRefusal::invalid_grant(
                "code_verifier is sent, but the authorization request had no code_challenge",
            ));
        }
    }
    let scope = allowed_today(&code.grant.scope, client);
    if scope.is_empty() {
        return Err(UNKNOWN_CODE);
    }
    Ok(Redemption::Granted(Box::new(
        code.grant.with_scope(scope, client),
    )))
}

/// Seconds by which the clocks of two instances may differ, so that what one has spent just now lies ahead for the other. What
/// lies further ahead was spent before a clock was set back, and nobody knows how long ago that is.
pub const CLOCKS_APART_SECS: i64 = 60;

/// Whether what was consumed then gives its unused successor again. `leeway_secs`: 0 is strict.
pub fn is_within_leeway(consumed_at: OffsetDateTime, leeway_secs: u32, now: OffsetDateTime) -> bool {
    leeway_secs > 0
        && now < consumed_at + Duration::seconds(leeway_secs.into())
        && !is_clock_apart(consumed_at, now)
}

/// Whether what was consumed then has no leeway for the sake of the clocks: theirs, or this one, was set, or they are too far
/// apart. Who runs the instances has to hear of it: people are signed out without having done anything.
pub fn is_clock_apart(consumed_at: OffsetDateTime, now: OffsetDateTime) -> bool {
    consumed_at > now + Duration::seconds(CLOCKS_APART_SECS)
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
    if token.grant.client_id != client.client_id {
        return Err(UNKNOWN_REFRESH_TOKEN);
    }
    // RFC 9700 §4.14.2 leaves room for lost responses.
    let repeat = token
        .consumed_at
        .filter(|consumed_at| is_within_leeway(*consumed_at, leeway_secs, now))
        .and(token.successor_salt);
    if let Some(consumed_at) = token.consumed_at
        && repeat.is_none()
    {
        // Whether the token has expired since or its family is dead makes no difference: a copy is about.
        return Ok(Rotation::Reused {
            grant_id: token.grant.grant_id,
            clock_apart: is_clock_apart(consumed_at, now),
        });
    }
    // A token that was consumed in time is repeated even if it has run out since: its successor has not.
    let expired = repeat.is_none() && now >= token.expires_at;
    let past_cap = token.absolute_expires_at.is_some_and(|cap| now >= cap);
    if !token.alive || expired || past_cap {
        return Err(UNKNOWN_REFRESH_TOKEN);
    }
    let scope = refreshed_scope(&token.grant.scope, request.scope.as_ref(), client)?;
    let grant = Box::new(token.grant.with_scope(scope, client));
    Ok(match repeat {
        None => Rotation::Rotate(grant),
        Some(salt) => Rotation::Repeat(grant, salt),
    })
}

impl Grant {
    /// The same grant for the access token that is issued now: with `scope`, and the single claims that `client` may still
    /// have.
    fn with_scope(&self, scope: ScopeSet, client: &Client) -> Self {
        let claims = self.claims.clone().map(|claims| claims.limited_to(client));
        Self {
            scope,
            claims,
            ..self.clone()
        }
    }
}

/// How the verifier of a token request stands to the challenge of the authorization request.
enum Proof {
    /// It fits, or neither was sent.
    Given,
    Wrong,
    Missing,
    Superfluous,
}

impl Proof {
    fn of(challenge: Option<&CodeChallenge>, verifier: Option<&str>) -> Self {
        match (challenge, verifier) {
            (None, None) => Self::Given,
            (Some(_), None) => Self::Missing,
            (None, Some(_)) => Self::Superfluous,
            (Some(challenge), Some(text)) => match CodeVerifier::parse(text) {
                Some(verifier) if challenge.is_met_by(&verifier) => Self::Given,
                _ => Self::Wrong,
            },
        }
    }
}

/// RFC 6749 §6: what is asked must have been granted; what the client has lost since is left out.
fn refreshed_scope(
    granted: &ScopeSet,
    requested: Option<&ScopeSet>,
    client: &Client,
) -> Result<ScopeSet, OAuthRefusal> {
    let wanted = requested.unwrap_or(granted);
    if !wanted.is_subset_of(granted) {
        return Err(OAuthRefusal::invalid_scope(
            "scope names one that was not granted",
        ));
    }
    let scope = allowed_today(wanted, client);
    if scope.is_empty() {
        return Err(OAuthRefusal::invalid_scope(
            "nothing of the scope is allowed to this client any more",
        ));
    }
    Ok(scope)
}

/// What of `scope` the client's registration allows now.
fn allowed_today(scope: &ScopeSet, client: &Client) -> ScopeSet {
    scope.filtered(|token| client.may_request(token))
}

fn parse_scope(params: &Params) -> Result<Option<ScopeSet>, OAuthRefusal> {
    let scope = params.get("scope")?.map(ScopeSet::parse).transpose();
    scope.map_err(|_| {
        OAuthRefusal::invalid_scope("scope has to be at most 50 scope tokens separated by single spaces")
    })
}

fn require<'a>(params: &'a Params, name: &'static str) -> Result<&'a str, OAuthRefusal> {
    params
        .get(name)?
        .ok_or_else(|| OAuthRefusal::invalid_request_about(name, "is missing"))
}
