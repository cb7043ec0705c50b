//! `GET /auth/me`: who is signed in.

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::respond::json_answer;
use crate::db;
use crate::db::users::User;
use crate::error::AppError;
use crate::http::api_doc::SignedOut;
use crate::http::browser::BrowserSession;
use crate::http::state::AppState;
use crate::protocol::ids::UserId;

/// An account as its owner sees it.
#[derive(Debug, Serialize, ToSchema)]
pub struct UserView {
    pub user_id: UserId,
    pub username: String,
    pub display_name: Option<String>,
    pub picture: Option<String>,
    pub role: String,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
}

impl From<&User> for UserView {
    fn from(user: &User) -> Self {
        Self {
            user_id: user.user_id,
            username: user.username.clone(),
            display_name: user.display_name.clone(),
            picture: user.picture.clone(),
            role: user.role.clone(),
            created_at: user.created_at,
        }
    }
}

/// `GET /auth/me`.
#[utoipa::path(get, path = "/auth/me", tag = "account", operation_id = "show_account",
    security(("session" = [])), responses((status = 200, body = UserView), SignedOut))]
pub async fn me(State(state): State<AppState>, session: BrowserSession) -> Result<Response, AppError> {
    let user = db::users::find(&state.db, session.session.user_id)
        .await?
        .ok_or_else(AppError::unauthenticated)?;
    Ok(json_answer(&UserView::from(&user)))
}
