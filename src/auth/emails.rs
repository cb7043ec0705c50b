//! `GET /auth/me/emails`: the addresses that the linked providers gave. Which one is primary is chosen by `PATCH /auth/me`.

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::respond::json_answer;
use crate::db;
use crate::error::AppError;
use crate::http::api_doc::SignedOut;
use crate::http::browser::BrowserSession;
use crate::http::state::AppState;
use crate::protocol::ids::LinkId;

/// An address of the account.
#[derive(Debug, Serialize, ToSchema)]
pub struct EmailView {
    /// What `primary_link_id` chooses it by.
    pub link_id: LinkId,
    /// The provider that gave it, by its name in the configuration.
    pub provider: String,
    pub email: String,
    /// The provider says so and is believed.
    pub email_verified: bool,
    /// It is the one that apps are told.
    pub primary: bool,
}

/// The addresses.
#[derive(Debug, Serialize, ToSchema)]
pub struct EmailsView {
    /// The primary one first.
    pub emails: Vec<EmailView>,
}

/// The addresses that the linked providers gave.
#[utoipa::path(
    get,
    path = "/auth/me/emails",
    tag = "account",
    operation_id = "list_emails",
    security(("session" = [])),
    responses(
        (status = 200, body = EmailsView),
        SignedOut,
    )
)]
pub async fn list(State(state): State<AppState>, session: BrowserSession) -> Result<Response, AppError> {
    let emails = db::oauth_links::emails_of(&state.db, session.session.user_id).await?;
    let emails = emails
        .into_iter()
        .map(|email| EmailView {
            link_id: email.link_id,
            email_verified: email.email_verified
                && state.upstreams.vouches_for_email(&email.provider, &email.issuer),
            provider: email.provider,
            email: email.email,
            primary: email.primary,
        })
        .collect();
    Ok(json_answer(&EmailsView { emails }))
}
