//! The one place where access, ID and refresh tokens are made of a [`Grant`] (RFC 6749 §5.1, RFC 9068 §2,
//! OpenID Connect Core §3.1.3.3, §12.2).

use std::sync::Arc;

use anyhow::Context;
use serde::Serialize;
use time::{Duration, OffsetDateTime};
use utoipa::ToSchema;

use crate::db::grants::{StoredEmail, StoredPerson};
use crate::db::refresh_tokens::NewRefreshToken;
use crate::error::OAuthError;
use crate::http::state::AppState;
use crate::jwt::{KeySet, SignError};
use crate::metrics::TokenKind;
use crate::protocol::algorithm::SigningAlgorithm;
use crate::protocol::claims::{self, ACCESS_TOKEN_TYP, AccessTokenClaims, ID_TOKEN_TYP, Person, PersonEmail};
use crate::protocol::client::Client;
use crate::protocol::grant::Grant;
use crate::protocol::opaque::{Opaque, TokenHash};
use crate::protocol::scope::ScopeSet;

/// The answer of the token endpoint (RFC 6749 §5.1). No `Debug`: it is made of credentials.
#[derive(Serialize, schemars::JsonSchema, ToSchema)]
pub struct TokenResponse {
    pub access_token: String,
    pub token_type: &'static str,
    /// Seconds from now.
    pub expires_in: u32,
    /// What the access token is good for; the refresh token may be good for more (§6).
    pub scope: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id_token: Option<String>,
}

/// The keys that will sign for a client, chosen before anything is written: a deployment without a fitting key refuses
/// the request and does not use up its code.
pub struct Issuer {
    state: AppState,
    client: Arc<Client>,
    keys: Arc<KeySet>,
    access_token_algorithm: SigningAlgorithm,
    id_token_algorithm: SigningAlgorithm,
    now: OffsetDateTime,
}

/// What one response is made of, free of borrowed data, so that it can move to another thread.
struct Parts {
    keys: Arc<KeySet>,
    access: AccessTokenClaims,
    id_token: Option<IdTokenParts>,
    issuer: String,
    default_acr: String,
    ttl_secs: i64,
    now: OffsetDateTime,
}

struct IdTokenParts {
    grant: Grant,
    person: Option<Person>,
    claims_in_id_token: bool,
    algorithm: SigningAlgorithm,
}

/// Both tokens, signed.
struct Signed {
    access_token: String,
    id_token: Option<String>,
}

impl Issuer {
    /// Chooses the keys that sign for `client` at `now`.
    pub fn new(state: &AppState, client: Arc<Client>, now: OffsetDateTime) -> Result<Self, OAuthError> {
        let keys = state.keys.current();
        let algorithm = |wanted| {
            let key = keys.active(wanted, now).map(crate::jwt::KeyEntry::algorithm);
            key.context("no key may sign with the algorithm that the client is registered for")
                .map_err(OAuthError::failure)
        };
        let access_token_algorithm = algorithm(None)?;
        let id_token_algorithm = algorithm(client.id_token_signed_response_alg)?;
        Ok(Self {
            state: state.clone(),
            client,
            keys,
            access_token_algorithm,
            id_token_algorithm,
            now,
        })
    }

    /// The response for `grant`. `person` is read only where profile claims go into the ID token.
    pub async fn issue(
        &self,
        grant: &Grant,
        person: &StoredPerson,
        refresh_token: Option<&Opaque>,
    ) -> Result<TokenResponse, OAuthError> {
        let signed = self.sign(self.parts(grant, person)).await;
        let signed = signed.context("sign tokens").map_err(OAuthError::failure)?;
        let metrics = &self.state.metrics;
        metrics.token_issued(TokenKind::Access);
        if signed.id_token.is_some() {
            metrics.token_issued(TokenKind::Id);
        }
        if refresh_token.is_some() {
            metrics.token_issued(TokenKind::Refresh);
        }
        Ok(TokenResponse {
            access_token: signed.access_token,
            token_type: "Bearer",
            expires_in: self.state.config.jwt.access_token_ttl_secs,
            scope: grant.scope.to_string(),
            refresh_token: refresh_token.map(Opaque::expose),
            id_token: signed.id_token,
        })
    }

    fn parts(&self, grant: &Grant, person: &StoredPerson) -> Parts {
        let config = &self.state.config;
        // OpenID Connect Core §3.1.2.1: without `openid` it is no OpenID Connect request, so there is no ID token.
        let id_token = grant.scope.contains("openid").then(|| IdTokenParts {
            grant: grant.clone(),
            person: wants_person(&self.client, grant).then(|| person_of(&self.state, person)),
            claims_in_id_token: self.client.claims_in_id_token,
            algorithm: self.id_token_algorithm,
        });
        Parts {
            keys: Arc::clone(&self.keys),
            access: access_token_claims(&self.state, &self.client, grant, self.now),
            id_token,
            issuer: config.jwt.issuer.clone(),
            default_acr: config.oauth.default_acr.clone(),
            ttl_secs: i64::from(config.jwt.access_token_ttl_secs),
            now: self.now,
        }
    }

    /// An RS256 signature takes up to milliseconds of computing, too long for a thread that serves connections.
    async fn sign(&self, parts: Parts) -> anyhow::Result<Signed> {
        let id_token_is_slow = parts.id_token.is_some() && self.id_token_algorithm == SigningAlgorithm::Rs256;
        if id_token_is_slow || self.access_token_algorithm == SigningAlgorithm::Rs256 {
            return Ok(self.state.signing.take(move || parts.sign()).await??);
        }
        Ok(parts.sign()?)
    }
}

impl Parts {
    fn sign(self) -> Result<Signed, SignError> {
        let access_token = self.keys.sign(ACCESS_TOKEN_TYP, &self.access, None, self.now)?;
        let Some(parts) = self.id_token else {
            return Ok(Signed {
                access_token,
                id_token: None,
            });
        };
        let claims = claims::id_token(
            &self.issuer,
            &parts.grant,
            parts.person.as_ref(),
            parts.claims_in_id_token,
            &self.default_acr,
            claims::at_hash(&access_token, parts.algorithm),
            self.now.unix_timestamp(),
            self.ttl_secs,
        );
        let id_token = self
            .keys
            .sign(ID_TOKEN_TYP, &claims, Some(parts.algorithm), self.now)?;
        Ok(Signed {
            access_token,
            id_token: Some(id_token),
        })
    }
}

/// The claims of an access token (RFC 9068 §2.2). `aud` is a resource, never a client and never the issuer, so that the
/// token cannot pass for an ID token or a session.
fn access_token_claims(
    state: &AppState,
    client: &Client,
    grant: &Grant,
    now: OffsetDateTime,
) -> AccessTokenClaims {
    let config = &state.config;
    let issuer = config.jwt.issuer.clone();
    let audience = client.audience.clone();
    let iat = now.unix_timestamp();
    AccessTokenClaims {
        aud: audience
            .or_else(|| config.oauth.default_audience.clone())
            .unwrap_or_else(|| format!("{}/oauth/userinfo", issuer.trim_end_matches('/'))),
        iss: issuer,
        sub: grant.user_id,
        client_id: grant.client_id.clone(),
        exp: iat + i64::from(config.jwt.access_token_ttl_secs),
        iat,
        jti: Opaque::generate(&state.rng).expose(),
        scope: grant.scope.clone(),
        grant: grant.grant_id,
        sid: grant.session_id,
        auth_time: grant.auth_time,
    }
}

/// A refresh token that starts now: it lives from use to use for `refresh_token_ttl_secs`, and its family never beyond
/// `absolute_expires_at`.
pub fn new_refresh_token(
    state: &AppState,
    token_hash: TokenHash,
    absolute_expires_at: Option<OffsetDateTime>,
    now: OffsetDateTime,
) -> NewRefreshToken {
    let sliding = now + Duration::seconds(i64::from(state.config.jwt.refresh_token_ttl_secs));
    NewRefreshToken {
        token_hash,
        expires_at: absolute_expires_at.map_or(sliding, |cap| cap.min(sliding)),
        absolute_expires_at,
    }
}

/// The cap of a family that starts now; `None` where none is configured.
pub fn absolute_expires_at(state: &AppState, now: OffsetDateTime) -> Option<OffsetDateTime> {
    match state.config.jwt.refresh_token_absolute_ttl_secs {
        0 => None,
        secs => Some(now + Duration::seconds(i64::from(secs))),
    }
}

/// Whether profile claims go into this grant's ID token: the client is registered for them, or asked by `claims`.
fn wants_person(client: &Client, grant: &Grant) -> bool {
    let asked = grant
        .claims
        .as_ref()
        .is_some_and(|claims| !claims.id_token.is_empty());
    client.claims_in_id_token || asked
}

/// The person as claims are made of them. An address counts as verified only if its provider said so and is trusted to.
pub fn person_of(state: &AppState, stored: &StoredPerson) -> Person {
    let vouched = |email: &StoredEmail| {
        email.verified && state.upstreams.vouches_for_email(&email.provider, &email.issuer)
    };
    Person {
        user_id: stored.user_id,
        username: stored.username.clone().unwrap_or_default(),
        display_name: stored.display_name.clone(),
        picture: stored.picture.clone(),
        updated_at: stored.updated_at.unix_timestamp(),
        email: stored.email.as_ref().map(|email| PersonEmail {
            email: email.email.clone(),
            verified: vouched(email),
        }),
        upstream_claims: stored.upstream_claims.clone(),
    }
}

/// Whether UserInfo of this scope tells the address.
pub fn tells_email(scope: &ScopeSet) -> bool {
    scope.contains("email")
}
