//! UserInfo (OpenID Connect Core §5.3), and the same document for plain OAuth 2.0.

use std::sync::Arc;

use axum::Extension;
use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use super::claims;
use super::memory::Grant;
use super::request_log::LoggedRequest;
use super::simulation::Simulation;

/// `GET` or `POST /userinfo`
pub(super) async fn userinfo(
    State(simulation): State<Simulation>,
    Extension(received): Extension<Arc<LoggedRequest>>,
) -> Response {
    let Some(grant) = granted(&simulation, &received) else {
        let challenge = [(header::WWW_AUTHENTICATE, r#"Bearer error="invalid_token""#)];
        return (StatusCode::UNAUTHORIZED, challenge).into_response();
    };
    Json(claims::userinfo_claims(&simulation, &grant)).into_response()
}

/// What the access token in the `Authorization` header stands for.
pub(super) fn granted(simulation: &Simulation, received: &LoggedRequest) -> Option<Grant> {
    simulation.find_access_token(received.authorization("Bearer")?)
}
