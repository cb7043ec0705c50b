//! `POST /oauth/logout/confirm`: the person's yes to the question whether to sign out.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};

use super::carried::CarriedQuestion;
use super::question::FIELD;
use super::{request, session};
use crate::error::AppError;
use crate::http::api_doc::{LogoutAnswer, Refused};
use crate::http::csrf;
use crate::http::now::Now;
use crate::http::oauth_params::{OAuthForm, ParamsRejection};
use crate::http::state::AppState;
use crate::protocol::logout::PostLogoutRedirect;

/// Ends the session that the question was about.
///
/// The form has to be our own, shown to this very session: the hidden field names it under a seal, and the browser says that
/// the form comes from our origin. A session that has ended meanwhile leaves nothing to do; one of somebody else is not
/// touched.
#[utoipa::path(post, path = "/oauth/logout/confirm", tag = "openid connect", operation_id = "confirm_end_session",
    request_body(content = LogoutAnswer, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 303, description = "To post_logout_redirect_uri, or to the deployer's page"),
        (status = 200, description = "A page: it is done", body = String, content_type = "text/html"),
        Refused,
    ))]
pub async fn confirm(
    State(state): State<AppState>,
    Now(now): Now,
    headers: HeaderMap,
    form: Result<OAuthForm, ParamsRejection>,
) -> Result<Response, AppError> {
    let form = match form {
        Ok(OAuthForm(form)) => form,
        Err(ParamsRejection::Refused(_)) => return Ok(session::out_of_date(&state)),
        Err(too_large) => return Ok(too_large.into_response()),
    };
    let sealed = form.get(FIELD).ok().flatten();
    let question = sealed.and_then(|sealed| CarriedQuestion::open(&state, sealed, now));
    let Some(question) = question.filter(|_| csrf::is_own_form(&headers, &state.config)) else {
        return Ok(session::out_of_date(&state));
    };
    let redirect = still_registered(&state, question.redirect).await?;
    match session::find(&state, &headers, now).await? {
        Some(found) if found.session_id == question.session_id => {
            session::end(&state, question.session_id, redirect.as_ref(), now).await
        }
        Some(_) => Ok(session::out_of_date(&state)),
        None => Ok(session::leave_without(&state, &headers, redirect.as_ref())),
    }
}

/// The app may have lost its registration while the person thought about it; the logout goes on without it.
async fn still_registered(
    state: &AppState,
    redirect: Option<PostLogoutRedirect>,
) -> Result<Option<PostLogoutRedirect>, AppError> {
    let Some(redirect) = redirect else {
        return Ok(None);
    };
    let client = request::find_client(state, redirect.client_id()).await?;
    let registered = client.is_some_and(|client| redirect.is_registered(&client));
    Ok(registered.then_some(redirect))
}
