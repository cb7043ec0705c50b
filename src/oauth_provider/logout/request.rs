//! What a logout request asks for, judged: who asks, for whom, and where it may lead.

use std::sync::Arc;

use axum::response::Response;
use time::OffsetDateTime;

use super::carried::CarriedRequest;
use crate::error::{AppError, OAuthRefusal};
use crate::http::error_report::refuse_logout_on_page;
use crate::http::state::AppState;
use crate::oauth_provider::id_token_hint;
use crate::protocol::client::Client;
use crate::protocol::ids::ClientId;
use crate::protocol::logout::{Hint, LogoutParams, asking_client, post_logout_redirect};
use crate::protocol::params::Params;

/// What became of the parameters.
pub enum Judged {
    Request(CarriedRequest),
    /// A page: something about the request is wrong, so nothing of it is followed (RP-Initiated Logout §4).
    Refused(Response),
}

/// Judges the parameters with the keys and registrations as they are now. A database that is away is an error.
pub async fn judge(state: &AppState, params: &Params, now: OffsetDateTime) -> Result<Judged, AppError> {
    let mut client = None;
    match read(state, params, &mut client, now).await? {
        Ok(request) => Ok(Judged::Request(request)),
        Err(refusal) => Ok(Judged::Refused(
            refuse_logout_on_page(state, params, client.as_deref(), &refusal, now).await,
        )),
    }
}

/// `found`: the client, for the report on what is refused.
async fn read(
    state: &AppState,
    params: &Params,
    found: &mut Option<Arc<Client>>,
    now: OffsetDateTime,
) -> Result<Result<CarriedRequest, OAuthRefusal>, AppError> {
    let asked = match LogoutParams::parse(params) {
        Ok(asked) => asked,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let hint = match verify_hint(state, asked.id_token_hint, now) {
        Ok(hint) => hint,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let client_id = match asking_client(asked.client_id.as_ref(), hint.as_ref()) {
        Ok(client_id) => client_id,
        Err(refusal) => return Ok(Err(refusal)),
    };
    if let Some(client_id) = client_id {
        *found = find_client(state, client_id).await?;
        if found.is_none() {
            return Ok(Err(OAuthRefusal::invalid_request(
                "the client is not registered here",
            )));
        }
    }
    Ok(post_logout_redirect(&asked, found.as_deref()).map(|redirect| CarriedRequest { hint, redirect }))
}

/// An ID token of ours may have expired (RP-Initiated Logout §2); one that does not verify is no reason to go on without it:
/// what failed to validate must not be used, and what depends on it is given up (§4).
fn verify_hint(
    state: &AppState,
    hint: Option<&str>,
    now: OffsetDateTime,
) -> Result<Option<Hint>, OAuthRefusal> {
    let Some(hint) = hint else {
        return Ok(None);
    };
    id_token_hint::verify(&state.keys.current(), &state.config.jwt.issuer, hint, now)
        .map(|claims| Some(Hint::of(claims)))
        .ok_or(OAuthRefusal::invalid_request(
            "id_token_hint is not an ID token of this provider",
        ))
}

/// The client as it is registered now, unless it is disabled.
pub async fn find_client(state: &AppState, client_id: &ClientId) -> Result<Option<Arc<Client>>, AppError> {
    let client = state.clients.reload(&state.db, client_id).await?;
    Ok(client.filter(|client| !client.disabled))
}
