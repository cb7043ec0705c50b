//! How an authorization request is answered at its `redirect_uri`: by redirect or by form (RFC 6749 §4.1.2, OAuth 2.0
//! Form Post Response Mode §2).

use std::collections::HashSet;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::json;
use url::Url;

use super::authorize::AuthorizationRequest;
use super::flavour::Flavour;
use super::memory::{Grant, Session};
use super::misbehaviour::Misbehaviour;
use super::pages;
use super::simulation::Simulation;

/// Where the parameters of the response stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ResponseMode {
    Query,
    FormPost,
}

/// The response that carries a new code.
pub(super) fn code(
    simulation: &Simulation,
    request: &AuthorizationRequest,
    session: Session,
    mut carried: HashSet<Misbehaviour>,
) -> Response {
    carried.extend(simulation.take_once_per_sign_in());
    let mut params = Vec::new();
    // Apple tells the name with the first authorization, and never again.
    let is_new = simulation.meets_for_the_first_time(&request.client_id, &session.person);
    if simulation.flavour() == Flavour::Apple
        && is_new
        && request.scope.split(' ').any(|scope| scope == "name")
    {
        let (first_name, last_name) = session.person.given_and_family_name();
        let user = json!({
            "name": { "firstName": first_name, "lastName": last_name },
            "email": session.person.email,
        });
        params.push(("user", user.to_string()));
    }
    let grant = Grant {
        client_id: request.client_id.clone(),
        redirect_uri: request.redirect_uri.clone(),
        scope: request.scope.clone(),
        nonce: request.nonce.clone(),
        acr_values: request.acr_values.clone(),
        code_challenge: request.code_challenge.clone(),
        session,
        issued_at: simulation.now(),
        carried: carried.clone(),
    };
    params.push(("code", simulation.insert_code(grant)));
    respond(simulation, request, params, &carried)
}

/// The response that carries an error.
pub(super) fn error(
    simulation: &Simulation,
    request: &AuthorizationRequest,
    error: &str,
    description: &str,
) -> Response {
    let params = vec![
        ("error", error.to_owned()),
        ("error_description", description.to_owned()),
    ];
    respond(simulation, request, params, &HashSet::new())
}

fn respond(
    simulation: &Simulation,
    request: &AuthorizationRequest,
    mut params: Vec<(&'static str, String)>,
    carried: &HashSet<Misbehaviour>,
) -> Response {
    if simulation.misbehaves(Misbehaviour::WrongState, carried) {
        params.push(("state", "another-state".to_owned()));
    } else if let Some(state) = &request.state {
        params.push(("state", state.clone()));
    }
    if simulation.misbehaves(Misbehaviour::WrongIssParameter, carried) {
        params.push(("iss", "https://another-issuer.example.test".to_owned()));
    } else if simulation.response_iss() && !simulation.misbehaves(Misbehaviour::MissingIssParameter, carried)
    {
        params.push(("iss", simulation.issuer()));
    }
    match request.response_mode {
        ResponseMode::FormPost => pages::form_post(simulation, &request.redirect_uri, &params),
        ResponseMode::Query => redirect(&request.redirect_uri, &params),
    }
}

fn redirect(redirect_uri: &str, params: &[(&'static str, String)]) -> Response {
    let mut location = Url::parse(redirect_uri).expect("checked when the request was read");
    location.query_pairs_mut().extend_pairs(params);
    // 303, so that a browser that came by POST goes on by GET (RFC 9700 §4.12).
    let headers = [
        (header::LOCATION, location.to_string()),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    (StatusCode::SEE_OTHER, headers).into_response()
}
