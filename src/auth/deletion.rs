//! `DELETE /auth/me`: the account goes, and everything that is held of its owner with it.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::respond::signed_out;
use crate::accounts::{self, Deletion, NotDeleted};
use crate::audit::Actor;
use crate::db::retry::retrying;
use crate::error::{AppError, ErrorBody};
use crate::http::api_doc::{RedirectTo, SignedOut};
use crate::http::browser::BrowserSession;
use crate::http::client_ip::ClientIp;
use crate::http::csrf::SameSiteRequest;
use crate::http::now::Now;
use crate::http::state::AppState;

/// Deletes the account of whoever is signed in, for good. It has to be they themselves, so the last sign-in may be ten
/// minutes old at most: a browser that was left open cannot do it.
#[utoipa::path(
    delete,
    path = "/auth/me",
    tag = "account",
    operation_id = "delete_account",
    security(("session" = [])),
    responses(
        (status = 200, description = "Deleted and signed out everywhere; where to go on", body = RedirectTo),
        (status = 204, description = "Deleted and signed out everywhere"),
        SignedOut,
        (status = 403, description = "`csrf_refused`; `reauthentication_required`: sign in again by `GET /auth/{provider}`, then repeat", body = ErrorBody),
        (status = 409, description = "`last_admin`: nobody would be left to administer", body = ErrorBody),
    )
)]
pub async fn delete(
    State(state): State<AppState>,
    Now(now): Now,
    session: BrowserSession,
    _same_site: SameSiteRequest,
    ClientIp(ip_address): ClientIp,
) -> Result<Response, AppError> {
    session.require_recent_login(now)?;
    let user_id = session.session.user_id;
    let actor = Actor::User {
        user_id,
        ip_address: ip_address.map(|address| address.to_string()),
    };
    let deletion = Deletion {
        user_id,
        actor: &actor,
        session_id: Some(session.session.session_id),
        usernames: &state.config.usernames,
    };
    retrying(&state.rng, || async {
        let mut tx = state.db.begin().await?;
        accounts::delete(&mut tx, &deletion, &state.keyring, &state.rng, now)
            .await
            .map_err(not_deleted)?;
        tx.commit().await?;
        Ok::<_, AppError>(())
    })
    .await?;
    tracing::info!(event = "user.deleted", user.id = %user_id, "a person deleted their account");
    Ok(signed_out(&state))
}

fn not_deleted(refused: NotDeleted) -> AppError {
    match refused {
        // Another request was faster; the session has gone with the account.
        NotDeleted::NotFound | NotDeleted::SignedOut => AppError::unauthenticated(),
        NotDeleted::LastAdmin => AppError::new(
            StatusCode::CONFLICT,
            "last_admin",
            "this is the last administrator's account: make somebody else an administrator first",
        ),
        NotDeleted::Database(error) => error.into(),
    }
}
