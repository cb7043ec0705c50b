//! What is Discord's own: its document about the person.
//!
//! <https://discord.com/developers/docs/resources/user>

use std::sync::Arc;

use axum::Extension;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Map, Value, json};

use super::claims;
use super::people::{extend, hex, sha256};
use super::request_log::LoggedRequest;
use super::simulation::Simulation;
use super::userinfo::granted;

/// `GET /users/@me`: needs the scope `identify`; the address only with `email`.
pub(super) async fn user(
    State(simulation): State<Simulation>,
    Extension(received): Extension<Arc<LoggedRequest>>,
) -> Response {
    let grant = granted(&simulation, &received).filter(|grant| grant.scopes().contains(&"identify"));
    let Some(grant) = grant else {
        let refusal = json!({ "message": "401: Unauthorized", "code": 0 });
        return (StatusCode::UNAUTHORIZED, Json(refusal)).into_response();
    };
    let person = &grant.session.person;
    let mut user = Map::new();
    claims::insert_subject(&mut user, "id", &simulation, &grant);
    let profile = json!({
        "username": person.username,
        "discriminator": "0",
        "global_name": person.name,
        // A hash, from which the client makes the URL of the picture.
        "avatar": hex(&sha256(&person.username)[..16]),
        "locale": person.locale(),
        "mfa_enabled": false,
        "flags": 0,
    });
    extend(&mut user, profile);
    if grant.scopes().contains(&"email") {
        let (email, verified) = claims::email(&simulation, &grant).unzip();
        user.insert("email".to_owned(), json!(email));
        user.insert("verified".to_owned(), Value::Bool(verified.unwrap_or(false)));
    }
    Json(user).into_response()
}
