//! `GET` and `POST /oauth/userinfo` (OpenID Connect Core §5.3).

use axum::extract::State;
use axum::{Json, Router, routing};
use serde_json::{Map, Value};

use super::tokens::{person_of, tells_email};
use crate::db;
use crate::error::{BearerError, BearerRejection, ErrorBody};
use crate::http::api_doc::UserInfo;
use crate::http::bearer::AccessToken;
use crate::http::no_store::NoStore;
use crate::http::state::AppState;
use crate::metrics::Verification;
use crate::protocol::claims;

/// The routes of this file.
pub fn routes() -> Router<AppState> {
    Router::new().route("/oauth/userinfo", routing::get(userinfo).post(userinfo))
}

/// The claims that the token's scope and the grant's `claims` parameter give; `sub` always (§5.3.2).
///
/// A token whose grant has ended, whose user is gone or disabled, is an invalid token: 401, never 404.
#[utoipa::path(method(get, post), path = "/oauth/userinfo", tag = "openid connect", operation_id = "userinfo",
    security(("access_token" = [])),
    responses(
        (status = 200, body = UserInfo),
        (status = 400, body = ErrorBody, description = "The token is sent twice, or in a way that RFC 6750 does not know"),
        (status = 401, body = ErrorBody, description = "No token, or one that is good for nothing", headers(("WWW-Authenticate" = String))),
        (status = 403, body = ErrorBody, description = "The token lacks the scope openid", headers(("WWW-Authenticate" = String))),
    ))]
pub async fn userinfo(
    State(state): State<AppState>,
    token: AccessToken,
) -> Result<NoStore<Json<Map<String, Value>>>, BearerRejection> {
    let answer = answer(&state, &token).await;
    answer.map_err(|error| error.at(&state.config.jwt.issuer))
}

async fn answer(
    state: &AppState,
    token: &AccessToken,
) -> Result<NoStore<Json<Map<String, Value>>>, BearerError> {
    token
        .require_scope("openid")
        .inspect_err(|_| state.metrics.token_verified(Verification::Ok))?;
    let AccessToken(token) = token;
    let row =
        db::grants::find_for_userinfo(&state.db, token.grant, token.sub, tells_email(&token.scope)).await;
    let row = row.map_err(|error| BearerError::Unavailable(error.into()))?;
    state.metrics.token_verified(match row {
        Some(_) => Verification::Ok,
        None => Verification::Invalid,
    });
    let row = row.ok_or(BearerError::Invalid)?;
    let person = person_of(state, &row.person);
    let claims = claims::userinfo(&person, &token.scope, row.claims.as_ref());
    Ok(NoStore(Json(claims)))
}
