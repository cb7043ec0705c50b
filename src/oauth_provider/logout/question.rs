//! The question whether to sign out: a page of our own, plain HTML with one form.
//!
//! The deployer's contract names no page for it, and it has to work for whoever sends a browser here.

use axum::response::Response;
use time::OffsetDateTime;

use super::carried::CarriedQuestion;
use crate::db::sessions::StoredSessionToken;
use crate::http::page::{escape, form_page};
use crate::http::state::AppState;
use crate::protocol::logout::PostLogoutRedirect;

/// The name of the form's hidden field.
pub const FIELD: &str = "question";

/// Asks. The hidden field is bound to the session that is shown the page: that is what no other site can know.
pub fn ask(
    state: &AppState,
    session: &StoredSessionToken,
    redirect: Option<PostLogoutRedirect>,
    now: OffsetDateTime,
) -> Response {
    let leads_elsewhere = redirect.is_some() || state.config.oauth.signed_out_url.is_some();
    let question = CarriedQuestion {
        session_id: session.session_id,
        redirect,
    };
    let markup = format!(
        "<p>You are signed in as <strong id=\"username\">{}</strong>. Do you want to sign out, here and in the apps that you \
         signed in to from this browser? To stay signed in, close this page.</p>\
         <form method=\"post\" action=\"{}/oauth/logout/confirm\"><input type=\"hidden\" name=\"{FIELD}\" value=\"{}\">\
         <button type=\"submit\" id=\"confirm-logout\">Sign out</button></form>",
        escape(&session.username),
        escape(state.config.jwt.issuer.trim_end_matches('/')),
        question.seal(state, now),
    );
    form_page("Sign out?", &markup, leads_elsewhere)
}
