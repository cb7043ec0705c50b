//! The end of a link at the callback: an upstream has proved an identity to somebody who is signed in. It is kept until they
//! confirm it, on a page that names it.

use axum::http::StatusCode;
use axum::response::Response;

use super::destination;
use super::flow::{self, LINK_LIFETIME, LinkIntent, PENDING_PER_BROWSER, Target};
use super::respond::{Audience, with_cookies};
use super::sign_in::Visit;
use crate::db;
use crate::db::pending_identities::NewConfirmation;
use crate::db::upstream_flows::{ConsumedFlow, LinkStarter};
use crate::error::AppError;
use crate::http::cookies::{CookieKind, Cookies};
use crate::http::page;
use crate::protocol::opaque::Opaque;
use crate::upstream::Identity;

/// The person who started the link, if they are the one who comes back, in the session that they had.
pub fn require_starter(visit: &Visit, row: &ConsumedFlow) -> Result<LinkStarter, AppError> {
    let here = visit.previous.as_ref().map(|session| LinkStarter {
        user_id: session.user_id,
        session_id: session.session_id,
    });
    here.filter(|here| row.user_id == Some(here.user_id) && row.session_id == Some(here.session_id))
        .ok_or_else(|| {
            AppError::new(
                StatusCode::FORBIDDEN,
                "session_changed",
                "you are not signed in any more as you were when you began, sign in and start again",
            )
        })
}

/// Keeps the identity for its confirmation and leads to the page that asks for it; back, if it is the account's already.
pub async fn arrived(
    visit: &Visit,
    starter: LinkStarter,
    identity: &Identity,
    target: &Target,
    audience: Audience,
) -> Result<Response, AppError> {
    let state = &visit.state;
    match db::oauth_links::find_owner(&state.db, &identity.issuer, &identity.subject).await? {
        Some(owner) if owner == starter.user_id => {
            return Ok(match destination::after_login(&state.config, target) {
                Some(url) => page::redirect(&url),
                None => audience.signed_in(),
            });
        }
        Some(_) => return Err(identity_linked()),
        None => {}
    }
    let Some(page_url) = destination::link_page(&state.config) else {
        return Err(AppError::new(
            StatusCode::FORBIDDEN,
            "interaction_required",
            "a link has to be confirmed, and no page for that is configured",
        ));
    };
    let handle = Opaque::generate(&state.rng);
    let intent = LinkIntent {
        identity: identity.clone(),
        target: target.clone(),
    };
    let sealed = flow::seal(&handle, &state.rng, &intent);
    let row = NewConfirmation {
        handle_hash: &handle.hash(),
        browser_hash: &visit.browser.hash(),
        user_id: starter.user_id,
        session_id: starter.session_id,
        sealed: &sealed,
        expires_at: visit.now + LINK_LIFETIME,
    };
    db::pending_identities::insert_confirmation(&state.db, &row, PENDING_PER_BROWSER, visit.now).await?;
    // The handle travels in a cookie, never in a URL.
    let cookie = Cookies::new(&state.config).set(CookieKind::Setup, handle.expose(), Some(LINK_LIFETIME));
    Ok(with_cookies(page::redirect(&page_url), [cookie]))
}

/// A link that came to nothing: the page hears of it by a fixed code.
pub fn failed(visit: &Visit, refused: AppError) -> Result<Response, AppError> {
    if refused.status.is_server_error() && refused.source.is_some() {
        return Err(refused);
    }
    match destination::failed_link_page(&visit.state.config, refused.code) {
        Some(url) => Ok(page::redirect(&url)),
        None => Err(refused),
    }
}

/// The identity is another account's. Only who has just proved it hears that.
pub fn identity_linked() -> AppError {
    AppError::new(
        StatusCode::CONFLICT,
        "identity_linked",
        "this identity leads to another account already",
    )
}
