//! What people send from the pages: signing in, declining, signing out, and choosing misbehaviours.

use std::collections::HashSet;
use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Redirect, Response};

use super::authorization_response;
use super::authorize::{self, AuthorizationRequest};
use super::backchannel_logout;
use super::memory::{Session, random_token};
use super::misbehaviour::Misbehaviour;
use super::pages;
use super::people::Person;
use super::request_log::LoggedRequest;
use super::simulation::Simulation;

/// `POST /sign-in?…`: the form of the sign-in page and of the consent page; the query is the authorization request's.
pub(super) async fn sign_in(
    State(simulation): State<Simulation>,
    Extension(received): Extension<Arc<LoggedRequest>>,
) -> Response {
    let request = match AuthorizationRequest::parse(&simulation, &received.query) {
        Ok(request) => request,
        Err(fault) => return pages::error(simulation.habits().display_name, fault),
    };
    let carried: HashSet<Misbehaviour> = chosen(&received).collect();
    if received.form("action") == Some("cancel") || carried.contains(&Misbehaviour::Cancelled) {
        return authorize::cancelled(&simulation, &request);
    }
    if carried.contains(&Misbehaviour::HostileErrorDescription) {
        return authorize::hostile(&simulation, &request);
    }
    let before = simulation.session(&received);
    if let (Some("allow"), Some(session)) = (received.form("action"), &before) {
        return authorization_response::code(&simulation, &request, session.clone(), carried);
    }
    let name = received
        .form("person")
        .or_else(|| received.form("username"))
        .unwrap_or_default();
    let Some(person) = Person::find(name) else {
        let fault = "Please type a name of 1 to 100 characters.";
        return pages::sign_in(&simulation, &request, &received, before.as_ref(), Some(fault));
    };

    // The same person signing in again goes on with the same session, by a new handle.
    let sid = before
        .filter(|session| session.person.username == person.username)
        .map(|session| session.sid);
    let session = Session {
        person,
        auth_time: simulation.now(),
        sid: sid.unwrap_or_else(|| random_token(16)),
    };
    simulation.delete_session(&received);
    let handle = simulation.insert_session(session.clone());
    let mut response = authorization_response::code(&simulation, &request, session, carried);
    set_cookie(&mut response, &simulation, &handle, "");
    response
}

/// `GET /logout`
pub(super) async fn logout_page(
    State(simulation): State<Simulation>,
    Extension(received): Extension<Arc<LoggedRequest>>,
) -> Response {
    pages::logout(&simulation, simulation.session(&received).as_ref())
}

/// `POST /logout`: ends the session, and tells every client that wants to hear of it.
pub(super) async fn logout(
    State(simulation): State<Simulation>,
    Extension(received): Extension<Arc<LoggedRequest>>,
) -> Response {
    if let Some(session) = simulation.session(&received) {
        backchannel_logout::tell_clients(&simulation, &session).await;
    }
    simulation.delete_session(&received);
    let mut response = pages::logout(&simulation, None);
    set_cookie(&mut response, &simulation, "", "; Max-Age=0");
    response
}

/// `POST /`: misbehaves from now on in the ways that were ticked, and no others.
pub(super) async fn choose_misbehaviours(
    State(simulation): State<Simulation>,
    Extension(received): Extension<Arc<LoggedRequest>>,
) -> Response {
    simulation.behave();
    for misbehaviour in chosen(&received) {
        simulation.misbehave(misbehaviour);
    }
    Redirect::to(&simulation.url("/")).into_response()
}

fn chosen(received: &LoggedRequest) -> impl Iterator<Item = Misbehaviour> + '_ {
    let fields = received.form.iter().filter(|(name, _)| name == "misbehaviour");
    fields.filter_map(|(_, value)| Misbehaviour::find(value))
}

fn set_cookie(response: &mut Response, simulation: &Simulation, value: &str, more: &str) {
    let name = &simulation.options().cookie_name;
    let path = if simulation.path().is_empty() {
        "/"
    } else {
        simulation.path()
    };
    let secure = if simulation.base_url().starts_with("https:") {
        "; Secure"
    } else {
        ""
    };
    let cookie = format!("{name}={value}; Path={path}; HttpOnly; SameSite=Lax{secure}{more}");
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
}
