//! The session that a logout is about: what the browser's cookie opens, and its end.

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use time::OffsetDateTime;

use crate::accounts::{self, EndReason};
use crate::db;
use crate::db::retry::retrying;
use crate::db::sessions::StoredSessionToken;
use crate::error::AppError;
use crate::http::cookies::{CookieKind, CookieValue, Cookies};
use crate::http::page;
use crate::http::state::AppState;
use crate::protocol::ids::SessionId;
use crate::protocol::logout::PostLogoutRedirect;

/// The live session of this browser. Any value of its cookie will do, a spent one too: the browser may hold one whose
/// successor was lost on the way, and who signs out has to be signed out.
pub async fn find(
    state: &AppState,
    headers: &HeaderMap,
    now: OffsetDateTime,
) -> Result<Option<StoredSessionToken>, AppError> {
    let presented = Cookies::new(&state.config)
        .read(headers, CookieKind::Refresh)
        .opaque();
    let Some(presented) = presented else {
        return Ok(None);
    };
    let token = db::sessions::load_token(&state.db, &presented.hash(), now).await?;
    Ok(token.filter(|token| token.alive))
}

/// Ends the session and goes where the logout leads. Of two at once, one ends it and both are answered alike.
pub async fn end(
    state: &AppState,
    session_id: SessionId,
    redirect: Option<&PostLogoutRedirect>,
    now: OffsetDateTime,
) -> Result<Response, AppError> {
    retrying(&state.rng, || async {
        let mut tx = state.db.begin().await?;
        accounts::end_session(&mut tx, session_id, EndReason::Logout, now).await?;
        tx.commit().await
    })
    .await?;
    let mut response = leave(state, redirect);
    for cookie in Cookies::new(&state.config).clear_all() {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

/// Where a logout leads: to the app's registered place with its `state` (RP-Initiated Logout §3), else to the deployer's
/// page, else to one of ours.
pub fn leave(state: &AppState, redirect: Option<&PostLogoutRedirect>) -> Response {
    match (redirect, &state.config.oauth.signed_out_url) {
        (Some(redirect), _) => page::redirect(&redirect.location()),
        (None, Some(url)) => page::redirect(url.as_str()),
        (None, None) => page::form_page(
            "You are signed out",
            "<p id=\"signed-out\">You can close this page.</p>",
            false,
        ),
    }
}

/// As [`leave`], when there is no session to end: what is left of one in the browser goes. Requests that show none of it
/// change nothing, so a stray link does not wipe what somebody else's page began.
pub fn leave_without(
    state: &AppState,
    headers: &HeaderMap,
    redirect: Option<&PostLogoutRedirect>,
) -> Response {
    let cookies = Cookies::new(&state.config);
    let mut response = leave(state, redirect);
    if !matches!(cookies.read(headers, CookieKind::Refresh), CookieValue::Absent) {
        for cleared in cookies.clear_all() {
            response.headers_mut().append(header::SET_COOKIE, cleared);
        }
    }
    response
}

/// A form or link whose time is over.
pub fn out_of_date(state: &AppState) -> Response {
    let issuer = page::escape(state.config.jwt.issuer.trim_end_matches('/'));
    page::plain_page(
        StatusCode::BAD_REQUEST,
        "This page is out of date",
        "You have not been signed out.",
        &format!("<p><a id=\"sign-out-here\" href=\"{issuer}/oauth/logout\">Sign out</a></p>"),
    )
    .into_response()
}
