//! `POST /oauth/introspect` (RFC 7662).
//!
//! Confidential clients may ask about any access token, about refresh tokens only their own. The answer is read from the
//! database, so a grant that has ended is inactive at once.

use axum::extract::State;
use axum::{Json, Router, routing};
use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::db;
use crate::error::OAuthError;
use crate::http::api_doc::{ClientRefused, TokenQueryForm};
use crate::http::bearer;
use crate::http::client::ClientRequest;
use crate::http::no_store::NoStore;
use crate::http::now::Now;
use crate::http::state::AppState;
use crate::metrics::Verification;
use crate::protocol::ids::{ClientId, SessionId, UserId};
use crate::protocol::opaque::Opaque;
use crate::protocol::scope::ScopeSet;

/// The answer (RFC 7662 §2.2). An inactive token is told nothing about.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Introspection {
    Inactive { active: bool },
    Active(Box<ActiveToken>),
}

/// The members of an active token.
#[derive(Debug, Serialize, ToSchema)]
pub struct ActiveToken {
    active: bool,
    sub: UserId,
    client_id: ClientId,
    #[schema(value_type = String)]
    scope: ScopeSet,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<String>,
    iss: String,
    exp: i64,
    iat: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    jti: Option<String>,
    /// `Bearer`, or `refresh_token`, so that a resource server cannot take one for the other.
    token_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sid: Option<SessionId>,
    auth_time: i64,
    /// Only with the scope `profile`.
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<String>,
}

impl Introspection {
    const INACTIVE: Self = Self::Inactive { active: false };
}

/// The route of this file.
pub fn routes() -> Router<AppState> {
    Router::new().route("/oauth/introspect", routing::post(introspect))
}

/// Tells whether a token is active, and what it is good for.
#[utoipa::path(post, path = "/oauth/introspect", tag = "openid connect", operation_id = "introspect_token",
    request_body(content = TokenQueryForm, content_type = "application/x-www-form-urlencoded"),
    security(("client_secret_basic" = []), ()),
    responses((status = 200, body = Introspection), ClientRefused))]
pub async fn introspect(
    State(state): State<AppState>,
    Now(now): Now,
    mut request: ClientRequest,
) -> Result<NoStore<Json<Introspection>>, OAuthError> {
    request.require_confidential(&state, now).await?;
    let token = request
        .params
        .get("token")?
        .ok_or_else(|| OAuthError::invalid_request("token is missing"))?
        .to_owned();
    // §2.1: the hint is no more than that; the form of a token tells what it is.
    let answer = match Opaque::parse(&token) {
        Some(token) => refresh_token(&state, &mut request, &token, now).await?,
        None => access_token(&state, &mut request, &token, now).await?,
    };
    Ok(NoStore(Json(answer)))
}

async fn access_token(
    state: &AppState,
    request: &mut ClientRequest,
    token: &str,
    now: OffsetDateTime,
) -> Result<Introspection, OAuthError> {
    let token = match bearer::verify(state, token, now) {
        Ok(token) => token,
        Err(error) => {
            state.metrics.token_verified(Verification::from(&error));
            return Ok(Introspection::INACTIVE);
        }
    };
    let caller = request.client.client_id.clone();
    let status =
        db::grants::find_status(&state.db, &caller, token.grant, &token.client_id, token.sub).await?;
    let generation = status.as_ref().map(|status| status.caller_generation);
    if request.still_current(state, &state.db, generation, now).await? {
        request.require_confidential(state, now).await?;
    }
    let Some(status) = status.filter(|status| status.alive) else {
        state.metrics.token_verified(Verification::Invalid);
        return Ok(Introspection::INACTIVE);
    };
    state.metrics.token_verified(Verification::Ok);
    Ok(Introspection::Active(Box::new(ActiveToken {
        active: true,
        sub: token.sub,
        client_id: token.client_id,
        username: status.username.filter(|_| token.scope.contains("profile")),
        scope: token.scope,
        aud: Some(token.aud),
        iss: token.iss,
        exp: token.exp,
        iat: token.iat,
        jti: Some(token.jti),
        token_type: "Bearer",
        sid: token.sid,
        auth_time: token.auth_time,
    })))
}

async fn refresh_token(
    state: &AppState,
    request: &mut ClientRequest,
    token: &Opaque,
    now: OffsetDateTime,
) -> Result<Introspection, OAuthError> {
    let caller = request.client.client_id.clone();
    let Some(loaded) = db::refresh_tokens::load(&state.db, &token.hash(), &caller, false).await? else {
        state.metrics.token_verified(Verification::Invalid);
        return Ok(Introspection::INACTIVE);
    };
    if request
        .still_current(state, &state.db, loaded.caller_generation, now)
        .await?
    {
        request.require_confidential(state, now).await?;
    }
    let (token, grant) = (&loaded.token, &loaded.token.grant);
    let expires_at = token
        .absolute_expires_at
        .map_or(token.expires_at, |cap| cap.min(token.expires_at));
    let good = grant.client_id == caller && token.alive && token.consumed_at.is_none();
    let active = good && now < expires_at;
    state.metrics.token_verified(match (good, active) {
        (_, true) => Verification::Ok,
        (true, false) => Verification::Expired,
        (false, false) => Verification::Invalid,
    });
    if !active {
        return Ok(Introspection::INACTIVE);
    }
    let username = loaded.person.username.clone();
    Ok(Introspection::Active(Box::new(ActiveToken {
        active: true,
        sub: grant.user_id,
        client_id: grant.client_id.clone(),
        username: username.filter(|_| grant.scope.contains("profile")),
        scope: grant.scope.clone(),
        aud: None,
        iss: state.config.jwt.issuer.clone(),
        exp: expires_at.unix_timestamp(),
        iat: loaded.issued_at.unix_timestamp(),
        jti: None,
        token_type: "refresh_token",
        sid: grant.session_id,
        auth_time: grant.auth_time,
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7662 §2.2: nothing else is told of an inactive token.
    #[test]
    fn an_inactive_token_has_one_member() {
        let json = serde_json::to_string(&Introspection::INACTIVE).unwrap();
        assert_eq!(json, r#"{"active":false}"#);
    }
}
