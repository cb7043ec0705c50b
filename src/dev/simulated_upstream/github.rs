//! What is GitHub's own: its token response and its API.
//!
//! <https://docs.github.com/en/apps/oauth-apps/building-oauth-apps/authorizing-oauth-apps>,
//! <https://docs.github.com/en/rest/users>

use std::sync::Arc;

use axum::Extension;
use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Map, Value, json};
use url::form_urlencoded;

use super::claims;
use super::memory::Grant;
use super::request_log::LoggedRequest;
use super::simulation::Simulation;
use super::token::TokenError;

/// Form-encoded unless JSON is asked for, and 200 even for errors, which have names of their own.
pub(super) fn token_response(
    received: &LoggedRequest,
    answer: Result<Map<String, Value>, TokenError>,
) -> Response {
    let members = answer.unwrap_or_else(|refusal| {
        let error = match (refusal.error, refusal.description) {
            ("invalid_client", _) => "incorrect_client_credentials",
            ("invalid_grant", description) if description.starts_with("redirect_uri") => {
                "redirect_uri_mismatch"
            }
            _ => "bad_verification_code",
        };
        let mut members = Map::new();
        members.insert("error".to_owned(), json!(error));
        members.insert("error_description".to_owned(), json!(refusal.description));
        members.insert(
            "error_uri".to_owned(),
            json!("https://docs.example.test/troubleshooting"),
        );
        members
    });
    if received
        .header(header::ACCEPT.as_str())
        .is_some_and(|accept| accept.contains("application/json"))
    {
        return Json(members).into_response();
    }
    let pairs = members
        .iter()
        .filter_map(|(name, value)| Some((name, value.as_str()?)));
    let form = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(pairs)
        .finish();
    (
        [(
            header::CONTENT_TYPE,
            "application/x-www-form-urlencoded; charset=utf-8",
        )],
        form,
    )
        .into_response()
}

/// `GET /user`
pub(super) async fn user(
    State(simulation): State<Simulation>,
    Extension(received): Extension<Arc<LoggedRequest>>,
) -> Response {
    let grant = match granted(&simulation, &received) {
        Ok(grant) => grant,
        Err(refusal) => return *refusal,
    };
    let person = &grant.session.person;
    let mut user = Map::new();
    claims::insert_subject(&mut user, "id", &simulation, &grant);
    let profile = json!({
        "login": person.username,
        "node_id": format!("U_{}", person.subject(simulation.flavour(), "")),
        "name": person.name,
        "avatar_url": person.picture(),
        "html_url": simulation.url(&format!("/people/{}", person.username)),
        "type": "User",
        "site_admin": false,
        // Null for everybody who keeps the address private, which is the default.
        "email": null,
        "created_at": "2020-01-01T00:00:00Z",
        "updated_at": "2024-01-01T00:00:00Z",
    });
    super::people::extend(&mut user, profile);
    Json(user).into_response()
}

/// `GET /user/emails`: every address with what is known of it; needs the scope `user:email`.
pub(super) async fn emails(
    State(simulation): State<Simulation>,
    Extension(received): Extension<Arc<LoggedRequest>>,
) -> Response {
    let grant = match granted(&simulation, &received) {
        Ok(grant) => grant,
        Err(refusal) => return *refusal,
    };
    if !grant
        .scopes()
        .iter()
        .any(|scope| matches!(*scope, "user:email" | "user"))
    {
        return refusal(StatusCode::NOT_FOUND, "Not Found");
    }
    let person = &grant.session.person;
    let private = format!(
        "{}+{}@users.noreply.example.test",
        person.subject(simulation.flavour(), ""),
        person.email.split('@').next().unwrap_or_default()
    );
    let mut list = vec![json!({ "email": private, "primary": false, "verified": true, "visibility": null })];
    if let Some((email, verified)) = claims::email(&simulation, &grant) {
        list.push(json!({ "email": email, "primary": true, "verified": verified, "visibility": "private" }));
    }
    Json(list).into_response()
}

/// `GET /user/orgs`: the organisations; without the scope `read:org` only public memberships, of which there are none.
pub(super) async fn organisations(
    State(simulation): State<Simulation>,
    Extension(received): Extension<Arc<LoggedRequest>>,
) -> Response {
    let grant = match granted(&simulation, &received) {
        Ok(grant) => grant,
        Err(refusal) => return *refusal,
    };
    let may_see = grant
        .scopes()
        .iter()
        .any(|scope| matches!(*scope, "read:org" | "user"));
    let organisation = grant.session.person.organisation.filter(|_| may_see);
    // Names of organisations hold no dots.
    let list: Vec<Value> = organisation
        .map(|domain| json!({ "login": domain.replace('.', "-"), "id": domain.len(), "description": "" }))
        .into_iter()
        .collect();
    Json(list).into_response()
}

/// The API takes no request without a `User-Agent`, and both names of the scheme.
fn granted(simulation: &Simulation, received: &LoggedRequest) -> Result<Grant, Box<Response>> {
    if received
        .header(header::USER_AGENT.as_str())
        .is_none_or(str::is_empty)
    {
        let text = "Request forbidden by administrative rules. Please make sure your request has a User-Agent header.";
        return Err(Box::new((StatusCode::FORBIDDEN, text).into_response()));
    }
    let token = received
        .authorization("Bearer")
        .or_else(|| received.authorization("token"));
    token
        .and_then(|token| simulation.find_access_token(token))
        .ok_or_else(|| Box::new(refusal(StatusCode::UNAUTHORIZED, "Bad credentials")))
}

fn refusal(status: StatusCode, message: &str) -> Response {
    (
        status,
        Json(json!({ "message": message, "status": status.as_str() })),
    )
        .into_response()
}
