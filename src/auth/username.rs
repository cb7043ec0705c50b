//! `PATCH /auth/me/username`: another name, under the rules of `[usernames]`.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use utoipa::ToSchema;

use super::newcomer;
use super::profile::UserView;
use super::respond::{json_answer, with_cookies};
use super::sign_in::access_cookie;
use crate::accounts::{self, NotRenamed};
use crate::db::retry::retrying;
use crate::error::{AppError, ErrorBody};
use crate::http::api_doc::{BadBody, SignedOut};
use crate::http::browser::{BrowserSession, begin_as};
use crate::http::csrf::SameSiteRequest;
use crate::http::json_body::JsonBody;
use crate::http::now::Now;
use crate::http::state::AppState;

/// The new name. Nothing else can be chosen.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UsernameChoice {
    /// `usernames.min_length` to `usernames.max_length` characters that `usernames.pattern` matches as a whole.
    #[schema(min_length = 1, max_length = 64)]
    pub username: String,
}

/// Takes another username; the access cookie is issued again with it.
#[utoipa::path(
    patch,
    path = "/auth/me/username",
    tag = "account",
    operation_id = "rename_account",
    security(("session" = [])),
    request_body = UsernameChoice,
    responses(
        (status = 200, body = UserView),
        BadBody,
        SignedOut,
        (status = 403, description = "`csrf_refused`, `username_changes_disabled`", body = ErrorBody),
        (status = 409, description = "`username_taken`, `username_reserved`, `username_changed_recently`", body = ErrorBody),
    )
)]
pub async fn rename(
    State(state): State<AppState>,
    Now(now): Now,
    session: BrowserSession,
    _same_site: SameSiteRequest,
    JsonBody(choice): JsonBody<UsernameChoice>,
) -> Result<Response, AppError> {
    let username = newcomer::username_rules(&state)?
        .check(&choice.username)
        .map_err(|refused| AppError::bad_request(refused.code(), refused.description()))?;
    let session = session.session;
    let user = retrying(&state.rng, || async {
        let (mut tx, _) = begin_as(&state, &session).await?;
        let rules = &state.config.usernames;
        let user = accounts::rename(&mut tx, session.user_id, &username, rules, &state.keyring, now)
            .await
            .map_err(not_renamed)?;
        tx.commit().await?;
        Ok::<_, AppError>(user)
    })
    .await?;
    // The name stands in the access cookie, so apps on sibling hosts would go on greeting the old one.
    let cookie = access_cookie(&state, &user, session.session_id, session.auth_time, now).await?;
    Ok(with_cookies(json_answer(&UserView::from(&user)), [cookie]))
}

fn not_renamed(refused: NotRenamed) -> AppError {
    let conflict = |code, description| AppError::new(StatusCode::CONFLICT, code, description);
    match refused {
        NotRenamed::NotFound => AppError::unauthenticated(),
        NotRenamed::NotAllowed => AppError::new(
            StatusCode::FORBIDDEN,
            "username_changes_disabled",
            "usernames cannot be changed here",
        ),
        NotRenamed::TooSoon(allowed_at) => too_soon(allowed_at),
        NotRenamed::Taken => conflict("username_taken", "this username is taken"),
        NotRenamed::Reserved => conflict("username_reserved", "this username is reserved"),
        NotRenamed::Database(error) => error.into(),
    }
}

fn too_soon(allowed_at: OffsetDateTime) -> AppError {
    let mut error = AppError::new(
        StatusCode::CONFLICT,
        "username_changed_recently",
        "the username was changed a short while ago",
    );
    if let Ok(allowed_at) = allowed_at.format(&Rfc3339) {
        error.description = format!("the username can be changed again from {allowed_at}").into();
    }
    error
}
