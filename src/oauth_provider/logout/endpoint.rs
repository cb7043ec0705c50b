//! `GET, POST /oauth/logout` (OpenID Connect RP-Initiated Logout 1.0 §2), and where a POST goes on.

use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use time::OffsetDateTime;

use super::carried::CarriedRequest;
use super::request::{self, Judged};
use super::{question, session};
use crate::error::{AppError, OAuthRefusal};
use crate::http::api_doc::{LogoutParameters, Refused};
use crate::http::error_report::refuse_logout_on_page;
use crate::http::now::Now;
use crate::http::oauth_params::{OAuthParams, ParamsRejection};
use crate::http::page;
use crate::http::state::AppState;
use crate::protocol::ids::{SessionId, UserId};
use crate::protocol::logout::{Step, step};
use crate::protocol::params::Params;

/// Longer ones would not pass every proxy on the way.
const MAX_CARRIED_BYTES: usize = 8 * 1024;

/// `GET /oauth/logout`.
#[utoipa::path(get, path = "/oauth/logout", tag = "openid connect", operation_id = "end_session",
    params(LogoutParameters),
    responses(
        (status = 303, description = "To post_logout_redirect_uri, or to the deployer's page"),
        (status = 200, description = "A page: the question whether to sign out, or that it is done", body = String, content_type = "text/html"),
        Refused,
    ))]
pub async fn logout(
    State(state): State<AppState>,
    Now(now): Now,
    headers: HeaderMap,
    params: Result<OAuthParams, ParamsRejection>,
) -> Result<Response, AppError> {
    match understand(&state, params, now).await? {
        Judged::Request(asked) => follow(&state, &headers, asked, now).await,
        Judged::Refused(page) => Ok(page),
    }
}

/// `POST /oauth/logout`. Answered by 303 to a GET: when the POST came from an app's page, the browser shows its
/// `SameSite=Lax` cookies only there.
#[utoipa::path(post, path = "/oauth/logout", tag = "openid connect", operation_id = "end_session_by_post",
    request_body(content = LogoutParameters, content_type = "application/x-www-form-urlencoded"),
    responses((status = 303, description = "To the GET that goes on"), Refused))]
pub async fn posted(
    State(state): State<AppState>,
    Now(now): Now,
    params: Result<OAuthParams, ParamsRejection>,
) -> Result<Response, AppError> {
    let asked = match understand(&state, params, now).await? {
        Judged::Request(asked) => asked,
        Judged::Refused(page) => return Ok(page),
    };
    let carried = asked.seal(&state, now);
    if carried.len() > MAX_CARRIED_BYTES {
        let refusal = OAuthRefusal::invalid_request("post_logout_redirect_uri and state are too long");
        return Ok(refuse_logout_on_page(&state, &Params::default(), None, &refusal, now).await);
    }
    let issuer = state.config.jwt.issuer.trim_end_matches('/');
    Ok(page::redirect(&format!(
        "{issuer}/oauth/logout/resume?request={carried}"
    )))
}

/// `GET /oauth/logout/resume`: the rest of a POST.
#[utoipa::path(get, path = "/oauth/logout/resume", tag = "openid connect", operation_id = "resume_end_session",
    params(("request" = String, Query, description = "What the POST handed on")),
    responses(
        (status = 303, description = "To post_logout_redirect_uri, or to the deployer's page"),
        (status = 200, description = "A page: the question whether to sign out, or that it is done", body = String, content_type = "text/html"),
        Refused,
    ))]
pub async fn resume(
    State(state): State<AppState>,
    Now(now): Now,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, AppError> {
    let params = Params::parse(query.unwrap_or_default().as_bytes()).unwrap_or_default();
    let sealed = params.get("request").ok().flatten();
    match sealed.and_then(|sealed| CarriedRequest::open(&state, sealed, now)) {
        Some(asked) => follow(&state, &headers, asked, now).await,
        None => Ok(session::out_of_date(&state)),
    }
}

async fn understand(
    state: &AppState,
    params: Result<OAuthParams, ParamsRejection>,
    now: OffsetDateTime,
) -> Result<Judged, AppError> {
    match params {
        Ok(OAuthParams(params)) => request::judge(state, &params, now).await,
        Err(ParamsRejection::Refused(error)) => Ok(Judged::Refused(
            refuse_logout_on_page(state, &Params::default(), None, &error.refusal, now).await,
        )),
        Err(too_large) => Ok(Judged::Refused(too_large.into_response())),
    }
}

/// Ends the session, asks first, or finds nothing to end.
async fn follow(
    state: &AppState,
    headers: &HeaderMap,
    asked: CarriedRequest,
    now: OffsetDateTime,
) -> Result<Response, AppError> {
    let session = session::find(state, headers, now).await?;
    let whose: Option<(UserId, SessionId)> = session
        .as_ref()
        .map(|session| (session.user_id, session.session_id));
    match (step(whose, asked.hint.as_ref()), session) {
        (Step::End, Some(session)) => {
            session::end(state, session.session_id, asked.redirect.as_ref(), now).await
        }
        (Step::Ask, Some(session)) => Ok(question::ask(state, &session, asked.redirect, now)),
        (Step::Nothing | Step::End | Step::Ask, _) => {
            Ok(session::leave_without(state, headers, asked.redirect.as_ref()))
        }
    }
}
