//! `DELETE /auth/link/{provider}`: a provider shall lead to the account no longer.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::respond::{json_answer, with_cookies};
use super::sign_in::access_cookie;
use crate::accounts::{self, NotUnlinked, Unlinking};
use crate::db;
use crate::db::oauth_links::Link;
use crate::db::retry::retrying;
use crate::db::sessions::LiveSession;
use crate::error::{AppError, ErrorBody};
use crate::http::api_doc::{Forged, SignedOut};
use crate::http::browser::{Browser, BrowserSession, begin_as};
use crate::http::cookies::{CookieKind, Cookies};
use crate::http::csrf::SameSiteRequest;
use crate::http::now::Now;
use crate::http::segment::Segment;
use crate::http::state::AppState;

/// The link is gone.
#[derive(Debug, Serialize, ToSchema)]
pub struct Unlinked {
    /// This very session was opened by that provider, and has ended with the others that were.
    pub signed_out: bool,
}

/// Takes it away; never the last one that can be signed in with.
#[utoipa::path(delete, path = "/auth/link/{provider}", tag = "account", operation_id = "unlink",
    security(("session" = [])),
    params(("provider" = String, Path, description = "The provider's name"),
        ("X-Requested-With" = Option<String>, Header, description = "Needed where the browser does not send Sec-Fetch-Site: same-origin")),
    responses((status = 200, body = Unlinked), SignedOut, Forged,
        (status = 404, body = ErrorBody, description = "The account has no identity of that provider"),
        (status = 409, body = ErrorBody, description = "`last_link`: nothing to sign in with would be left, or nothing but identities that came by a merge, by one of which the person is signed in")))]
pub async fn unlink(
    State(state): State<AppState>,
    Now(now): Now,
    _same_site: SameSiteRequest,
    session: BrowserSession,
    browser: Browser,
    Segment(provider): Segment,
) -> Result<Response, AppError> {
    let unlinking = Unlinking {
        user_id: session.session.user_id,
        provider: &provider,
        browser_hash: &browser.hash(),
        session_id: session.session.session_id,
    };
    let is_usable = |link: &Link| state.upstreams.of_link(&link.provider, &link.issuer).is_some();
    let (ended, user) = retrying(&state.rng, || async {
        let (mut tx, _) = begin_as(&state, &session.session).await?;
        let ended = accounts::unlink(&mut tx, &unlinking, is_usable, now)
            .await
            .map_err(not_unlinked)?;
        let user = db::users::lock_live(&mut tx, session.session.user_id)
            .await?
            .ok_or_else(AppError::unauthenticated)?;
        tx.commit().await?;
        Ok::<_, AppError>((ended, user))
    })
    .await?;
    tracing::info!(event = "link.deleted", user.id = %session.session.user_id, "an identity was unlinked");
    let signed_out = ended.contains(&session.session.session_id);
    let cookies = Cookies::new(&state.config);
    let mut changed = vec![cookies.clear(CookieKind::Setup)];
    if signed_out {
        changed.extend([CookieKind::Refresh, CookieKind::Access].map(|kind| cookies.clear(kind)));
    } else {
        // The picture stands in the access cookie, so apps on sibling hosts would go on showing what left with the link.
        let LiveSession {
            session_id,
            auth_time,
            ..
        } = session.session;
        changed.push(access_cookie(&state, &user, session_id, auth_time, now).await?);
    }
    Ok(with_cookies(json_answer(&Unlinked { signed_out }), changed))
}

fn not_unlinked(refused: NotUnlinked) -> AppError {
    match refused {
        NotUnlinked::NotFound => AppError::not_found(),
        NotUnlinked::LastLink => AppError::new(
            StatusCode::CONFLICT,
            "last_link",
            "this is the only way to sign in to your account, add another one first; or the only one that did not come by a merge, sign in by it first",
        ),
        NotUnlinked::Database(error) => error.into(),
    }
}
