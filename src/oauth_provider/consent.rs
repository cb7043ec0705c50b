//! `GET, POST /oauth/consent`: what the deployer's consent page asks and answers (OpenID Connect Core §3.1.2.4).
//!
//! Ids of others, expired and decided ones answer as if they did not exist. A decision counts once.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::{login_redirect, pending};
use crate::config::Config;
use crate::db;
use crate::db::authorization_requests::PendingRequest;
use crate::error::{AppError, ErrorBody};
use crate::http::api_doc::{BadBody, Forged, SignedOut};
use crate::http::browser::{Browser, BrowserSession};
use crate::http::csrf::SameSiteRequest;
use crate::http::json_body;
use crate::http::no_store::NoStore;
use crate::http::now::Now;
use crate::http::state::AppState;
use crate::protocol::authorization::AuthorizationRequest;
use crate::protocol::client::Client;
use crate::protocol::opaque::Opaque;
use crate::protocol::params::Params;

/// What a consent page shows.
#[derive(Serialize, ToSchema)]
pub struct ConsentContext {
    pub client: ConsentClient,
    pub scopes: Vec<ConsentScope>,
    pub user: ConsentUser,
    #[serde(with = "time::serde::rfc3339")]
    pub expires_at: OffsetDateTime,
}

/// Who asks.
#[derive(Serialize, ToSchema)]
pub struct ConsentClient {
    pub client_id: String,
    pub name: String,
    /// Where the person is sent afterwards: the host, or the scheme of a native app.
    pub redirect_host: String,
}

/// What is asked for.
#[derive(Serialize, ToSchema)]
pub struct ConsentScope {
    pub name: String,
    pub description: String,
}

/// Who is asked.
#[derive(Serialize, ToSchema)]
pub struct ConsentUser {
    pub username: String,
    pub display_name: Option<String>,
    pub picture: Option<String>,
}

/// The person's decision.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ConsentDecision {
    /// May stand in the query instead.
    consent_id: Option<String>,
    approved: bool,
}

/// Where the page goes on: the resume URL, which answers the app.
#[derive(Serialize, ToSchema)]
pub struct ConsentAnswer {
    pub redirect_to: String,
}

/// `GET /oauth/consent?consent_id=…`.
#[utoipa::path(get, path = "/oauth/consent", tag = "consent", operation_id = "show_consent",
    security(("session" = [])), params(("consent_id" = String, Query)),
    responses((status = 200, body = ConsentContext), SignedOut,
        (status = 404, body = ErrorBody, description = "No such consent waits for this person in this browser")))]
pub async fn context(
    State(state): State<AppState>,
    Now(now): Now,
    browser: Browser,
    session: BrowserSession,
    RawQuery(query): RawQuery,
) -> Result<NoStore<Json<ConsentContext>>, AppError> {
    let handle = handle_of_query(query.as_deref()).ok_or_else(AppError::not_found)?;
    let (pending, request) = find(&state, &handle, &browser, &session, now).await?;
    let client = state
        .clients
        .reload(&state.db, &pending.client_id)
        .await?
        .ok_or_else(AppError::not_found)?;
    Ok(NoStore(Json(ConsentContext {
        client: ConsentClient {
            client_id: client.client_id.0.clone(),
            name: client.name.clone(),
            redirect_host: redirect_host(request.callback.redirect_uri()),
        },
        scopes: request
            .consent_scope()
            .iter()
            .map(|name| ConsentScope {
                name: name.to_owned(),
                description: describe(&state.config, name),
            })
            .collect(),
        user: ConsentUser {
            username: session.session.username,
            display_name: session.session.display_name,
            picture: session.session.picture,
        },
        expires_at: pending.expires_at,
    })))
}

/// `POST /oauth/consent` with `{"consent_id": "…", "approved": true|false}`; the id may stand in the query instead.
///
/// Answers where to go rather than redirecting, so that `fetch` does not follow into the app and burn the code there.
#[utoipa::path(post, path = "/oauth/consent", tag = "consent", operation_id = "decide_consent",
    security(("session" = [])), request_body = ConsentDecision,
    params(("consent_id" = Option<String>, Query, description = "May stand in the body instead")),
    responses((status = 200, body = ConsentAnswer), BadBody, SignedOut, Forged,
        (status = 404, body = ErrorBody, description = "No such consent waits for this person in this browser")))]
pub async fn decide(
    State(state): State<AppState>,
    Now(now): Now,
    _same_site: SameSiteRequest,
    browser: Browser,
    session: BrowserSession,
    parts: Parts,
    body: Bytes,
) -> Result<NoStore<Json<ConsentAnswer>>, AppError> {
    let (handle, approved) = read_decision(parts.uri.query(), &parts.headers, &body)?;
    let (pending, request) = find(&state, &handle, &browser, &session, now).await?;
    let client = state.clients.reload(&state.db, &pending.client_id).await?;
    if !client.is_some_and(|client| may_still_be_answered(&client, &request)) {
        return Err(AppError::bad_request(
            "client_changed",
            "the app is no longer registered for this request",
        ));
    }
    let session_id = session.session.session_id;
    let decided = db::authorization_requests::decide(
        &state.db,
        &pending.request_hash,
        &browser.hash(),
        session_id,
        approved,
        now,
    )
    .await?;
    if !decided {
        return Err(AppError::not_found());
    }
    Ok(NoStore(Json(ConsentAnswer {
        redirect_to: login_redirect::resume(&state.config, &handle),
    })))
}

/// The pending consent of this browser and this session.
async fn find(
    state: &AppState,
    handle: &Opaque,
    browser: &Browser,
    session: &BrowserSession,
    now: OffsetDateTime,
) -> Result<(PendingRequest, AuthorizationRequest), AppError> {
    let pending = db::authorization_requests::find_pending(&state.db, &handle.hash(), &browser.hash(), now)
        .await?
        .filter(|pending| {
            pending.session_id == Some(session.session.session_id) && pending.decision.is_none()
        })
        .ok_or_else(AppError::not_found)?;
    let request = pending::open(handle, &pending).ok_or_else(AppError::not_found)?;
    Ok((pending, request))
}

fn may_still_be_answered(client: &Client, request: &AuthorizationRequest) -> bool {
    request.callback.is_still_trusted(client) && request.require_still_allowed(client).is_ok()
}

fn handle_of_query(query: Option<&str>) -> Option<Opaque> {
    let params = Params::parse(query?.as_bytes()).ok()?;
    Opaque::parse(params.get("consent_id").ok()??)
}

/// The decision and what it is about. An id that stands in the query and in the body has to be the same; a member that
/// stands there twice is refused, because two readers could take different ones.
fn read_decision(query: Option<&str>, headers: &HeaderMap, body: &[u8]) -> Result<(Opaque, bool), AppError> {
    let expected = "send {consent_id, approved} as JSON, approved a boolean";
    let malformed = || AppError::bad_request("invalid_request", expected);
    let decision: ConsentDecision = json_body::object(headers, body, expected)?;
    let in_query = handle_of_query(query);
    let in_body = match &decision.consent_id {
        Some(id) => Some(Opaque::parse(id).ok_or_else(AppError::not_found)?),
        None => None,
    };
    match (in_query, in_body) {
        (Some(query), Some(body)) if !query.hash().equals(&body.hash()) => Err(malformed()),
        (Some(handle), _) | (None, Some(handle)) => Ok((handle, decision.approved)),
        (None, None) => Err(malformed()),
    }
}

/// The host that the person is sent to, or the scheme where there is none.
fn redirect_host(redirect_uri: &str) -> String {
    url::Url::parse(redirect_uri).map_or_else(
        |_| String::new(),
        |url| {
            url.host_str()
                .map_or_else(|| format!("{}:", url.scheme()), str::to_owned)
        },
    )
}

/// What a person reads about a scope.
fn describe(config: &Config, scope: &str) -> String {
    if let Some(own) = config.scopes.0.get(scope) {
        return own.description.clone();
    }
    match scope {
        "openid" => "Know who you are here",
        "profile" => "See your name, username and picture",
        "email" => "See your email address",
        "address" => "See your postal address",
        "phone" => "See your phone number",
        "offline_access" => "Stay connected while you are away",
        _ => scope,
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use axum::http::{HeaderValue, header};

    use super::*;

    fn read(query: Option<&str>, body: &[u8]) -> Result<(Opaque, bool), AppError> {
        let json = HeaderValue::from_static("application/json");
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, json)]);
        read_decision(query, &headers, body)
    }

    fn id() -> String {
        Opaque::generate(&SystemRandom::new()).expose()
    }

    #[test]
    fn a_member_that_stands_there_twice_is_refused() {
        let twice = format!(r#"{{"consent_id":"{}","approved":false,"approved":true}}"#, id());
        assert!(read(None, twice.as_bytes()).is_err());
    }

    #[test]
    fn an_id_in_query_and_body_has_to_be_the_same() {
        let (one, other) = (id(), id());
        let body = format!(r#"{{"consent_id":"{one}","approved":true}}"#);
        let both = |query: &str| read(Some(&format!("consent_id={query}")), body.as_bytes());
        assert!(both(&one).is_ok_and(|(handle, approved)| approved && handle.expose() == one));
        assert!(both(&other).is_err());
        let in_query = read(Some(&format!("consent_id={other}")), br#"{"approved":false}"#);
        assert!(in_query.is_ok_and(|(handle, approved)| !approved && handle.expose() == other));
    }

    #[test]
    fn only_an_object_is_a_decision() {
        for body in ["", "[]", "null", "true", r#"{"approved":true}"#] {
            assert!(read(None, body.as_bytes()).is_err(), "{body}");
        }
    }
}
