//! `POST /auth/link/{provider}`: somebody who is signed in wants to be able to sign in by another provider, too.
//!
//! It answers the upstream's URL and redirects nobody: a link that a mere navigation could start would be one that a foreign
//! page can force.

use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::departure::{self, Purpose};
use super::destination;
use super::flow::Target;
use super::respond::{json_answer, with_browser};
use super::sign_in::Visit;
use crate::db;
use crate::db::oauth_links::Link;
use crate::db::upstream_flows::LinkStarter;
use crate::error::{AppError, ErrorBody};
use crate::http::api_doc::{BadBody, SignedOut};
use crate::http::csrf::SameSiteRequest;
use crate::http::json_body;
use crate::http::return_to::ReturnTo;
use crate::http::segment::Segment;
use crate::http::state::AppState;

/// Where the person wants to be afterwards.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkStart {
    /// A place of the deployer's own, as for a sign-in; the configured one otherwise.
    #[schema(max_length = 2048)]
    pub return_to: Option<String>,
}

/// Where the browser has to go now.
#[derive(Debug, Serialize, ToSchema)]
pub struct LinkStarted {
    /// At the upstream.
    #[schema(format = Uri)]
    pub authorization_url: String,
}

/// Starts it: a flow that only this person, in this session and browser, can finish.
#[utoipa::path(post, path = "/auth/link/{provider}", tag = "account", operation_id = "start_link",
    security(("session" = [])), request_body(content = Option<LinkStart>, description = "May be left out"),
    params(("provider" = String, Path, description = "The provider's name"),
        ("X-Requested-With" = Option<String>, Header, description = "Needed where the browser does not send Sec-Fetch-Site: same-origin")),
    responses((status = 200, body = LinkStarted), BadBody, SignedOut,
        (status = 403, body = ErrorBody, description = "`csrf_refused`; `interaction_required`: there is no page to confirm on"),
        (status = 404, body = ErrorBody, description = "No such provider"),
        (status = 409, body = ErrorBody, description = "`provider_linked`: the account has an identity there already")))]
pub async fn start(
    Segment(provider): Segment,
    _same_site: SameSiteRequest,
    visit: Visit,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, AppError> {
    let state = &visit.state;
    let session = visit.previous.as_ref().ok_or_else(AppError::unauthenticated)?;
    let provider = state.upstreams.get(&provider).ok_or_else(AppError::not_found)?;
    let expected = "send a JSON object with return_to, or nothing";
    let LinkStart { return_to } = if body.is_empty() {
        LinkStart::default()
    } else {
        json_body::object(&headers, &body, expected)?
    };
    let target = target(state, return_to.as_deref())?;
    if destination::link_page(&state.config).is_none() {
        return Err(AppError::new(
            StatusCode::FORBIDDEN,
            "interaction_required",
            "a link has to be confirmed, and no page for that is configured",
        ));
    }
    let starter = LinkStarter {
        user_id: session.user_id,
        session_id: session.session_id,
    };
    let links = db::oauth_links::list_of_user(&state.db, starter.user_id).await?;
    // One of an issuer that the name led to once gives way (`accounts::add_link`).
    let is_linked = |link: &Link| link.provider == provider.name() && provider.may_speak_for(&link.issuer);
    if links.iter().any(is_linked) {
        return Err(AppError::new(
            StatusCode::CONFLICT,
            "provider_linked",
            "your account has an identity of this provider already, remove that one first",
        ));
    }
    let purpose = Purpose {
        // Whoever is signed in at the upstream need not be the one that is meant.
        select_account: true,
        ..Purpose::plain(target, Some(starter))
    };
    let url = departure::depart(state, provider, &visit.browser, purpose, visit.now).await?;
    let answer = LinkStarted {
        authorization_url: url.into(),
    };
    Ok(with_browser(json_answer(&answer), &visit.browser, state))
}

fn target(state: &AppState, return_to: Option<&str>) -> Result<Target, AppError> {
    let Some(url) = return_to else {
        return Ok(Target::Default);
    };
    let url = ReturnTo::parse(url, &state.config).ok_or_else(|| {
        AppError::bad_request("invalid_return_to", "return_to leads to a place that is not ours")
    })?;
    Ok(Target::ReturnTo(url.as_str().to_owned()))
}
