//! `POST /oauth/token` (RFC 6749 §3.2, §5; OpenID Connect Core §3.1.3).

use axum::extract::State;
use axum::{Json, Router, routing};
use time::OffsetDateTime;

use super::grants::{authorization_code, refresh_token};
use super::tokens::TokenResponse;
use crate::error::{OAuthError, OAuthErrorCode};
use crate::http::api_doc::{ClientRefused, TokenForm};
use crate::http::client::ClientRequest;
use crate::http::no_store::NoStore;
use crate::http::now::Now;
use crate::http::state::AppState;
use crate::protocol::grant::TokenRequest;

/// The route of this file.
pub fn routes() -> Router<AppState> {
    Router::new().route("/oauth/token", routing::post(token))
}

/// Exchanges a code or a refresh token for tokens.
#[utoipa::path(post, path = "/oauth/token", tag = "openid connect", operation_id = "exchange_token",
    request_body(content = TokenForm, content_type = "application/x-www-form-urlencoded"),
    security(("client_secret_basic" = []), ()),
    responses((status = 200, body = TokenResponse), ClientRefused))]
pub async fn token(
    State(state): State<AppState>,
    Now(now): Now,
    mut request: ClientRequest,
) -> Result<NoStore<Json<TokenResponse>>, OAuthError> {
    let tokens = match parse(&state, &mut request, now).await? {
        TokenRequest::AuthorizationCode(code) => {
            authorization_code::redeem(&state, &mut request, &code, now).await?
        }
        TokenRequest::RefreshToken(refresh) => {
            refresh_token::rotate(&state, &mut request, &refresh, now).await?
        }
    };
    Ok(NoStore(Json(tokens)))
}

/// Reads the request. A client that is not registered for the grant may be so since its copy was made.
async fn parse(
    state: &AppState,
    request: &mut ClientRequest,
    now: OffsetDateTime,
) -> Result<TokenRequest, OAuthError> {
    match TokenRequest::parse(&request.params, &request.client) {
        Err(refusal) if refusal.code == OAuthErrorCode::UnauthorizedClient => {
            request.reload(state, &state.db, now).await?;
            Ok(TokenRequest::parse(&request.params, &request.client)?)
        }
        parsed => Ok(parsed?),
    }
}
