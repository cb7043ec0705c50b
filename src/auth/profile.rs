//! `GET, PATCH /auth/me`: who is signed in, and what they can say of themselves.

use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Deserializer, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::respond::json_answer;
use crate::accounts::rename::next_change_at;
use crate::accounts::{self, NotChanged, ProfileChange};
use crate::db;
use crate::db::retry::retrying;
use crate::db::users::User;
use crate::error::AppError;
use crate::http::api_doc::{BadBody, Forged, SignedOut};
use crate::http::browser::{BrowserSession, begin_as};
use crate::http::csrf::SameSiteRequest;
use crate::http::json_body::JsonBody;
use crate::http::now::Now;
use crate::http::state::AppState;
use crate::protocol::ids::{LinkId, UserId};

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

/// The same with what an account page shows beside it.
#[derive(Debug, Serialize, ToSchema)]
pub struct AccountView {
    #[serde(flatten)]
    pub user: UserView,
    /// The primary address: the one its owner chose, else the oldest verified one, else the oldest.
    pub email: Option<String>,
    /// Its provider says so and is believed.
    pub email_verified: bool,
    /// The link whose address the owner chose; null: the rule chooses.
    pub primary_link_id: Option<LinkId>,
    /// Whether usernames can be changed here at all.
    pub username_changes_allowed: bool,
    /// From when on the username can be changed again; null: now.
    #[serde(with = "time::serde::rfc3339::option")]
    pub username_change_allowed_at: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
}

/// What the owner wants otherwise. What is left out stays; nothing else can be changed.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProfilePatch {
    /// Null or blank removes it, until the upstream names one at a login. At most `usernames.max_display_name_length`
    /// characters, none of them a control or a mark of direction.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, max_length = 1000)]
    pub display_name: Option<Option<String>>,
    /// One of `GET /auth/me/emails`; null leaves the choice to the rule.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<LinkId>)]
    pub primary_link_id: Option<Option<LinkId>>,
}

/// Tells a member that is null from one that is not there.
fn present<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

/// Who is signed in.
#[utoipa::path(
    get,
    path = "/auth/me",
    tag = "account",
    operation_id = "show_account",
    security(("session" = [])),
    responses(
        (status = 200, body = AccountView),
        SignedOut,
    )
)]
pub async fn show(
    State(state): State<AppState>,
    Now(now): Now,
    session: BrowserSession,
) -> Result<Response, AppError> {
    view(&state, session.session.user_id, now).await
}

/// Changes display name or primary address, and answers as `GET` then does.
#[utoipa::path(
    patch,
    path = "/auth/me",
    tag = "account",
    operation_id = "change_account",
    security(("session" = [])),
    request_body = ProfilePatch,
    responses(
        (status = 200, body = AccountView),
        BadBody,
        SignedOut,
        Forged,
    )
)]
pub async fn change(
    State(state): State<AppState>,
    Now(now): Now,
    session: BrowserSession,
    _same_site: SameSiteRequest,
    JsonBody(patch): JsonBody<ProfilePatch>,
) -> Result<Response, AppError> {
    let max_length = state.config.usernames.max_display_name_length;
    let display_name = patch
        .display_name
        .as_ref()
        .map(|name| accounts::profile::display_name(name.as_deref(), max_length))
        .transpose()
        .map_err(|refused| AppError::bad_request(refused.code(), refused.description()))?;
    let change = ProfileChange {
        display_name,
        primary_link_id: patch.primary_link_id,
    };
    let user_id = session.session.user_id;
    retrying(&state.rng, || async {
        let (mut tx, _) = begin_as(&state, &session.session).await?;
        accounts::change_profile(&mut tx, user_id, &change, now)
            .await
            .map_err(not_changed)?;
        tx.commit().await?;
        Ok::<_, AppError>(())
    })
    .await?;
    view(&state, user_id, now).await
}

async fn view(state: &AppState, user_id: UserId, now: OffsetDateTime) -> Result<Response, AppError> {
    let account = db::users::find_account(&state.db, user_id)
        .await?
        .ok_or_else(AppError::unauthenticated)?;
    let emails = db::oauth_links::emails_of(&state.db, user_id).await?;
    let primary = emails.into_iter().find(|email| email.primary);
    let rules = &state.config.usernames;
    Ok(json_answer(&AccountView {
        user: UserView::from(&account.user),
        email_verified: primary.as_ref().is_some_and(|email| {
            email.email_verified && state.upstreams.vouches_for_email(&email.provider, &email.issuer)
        }),
        email: primary.map(|email| email.email),
        primary_link_id: account.primary_link_id,
        username_changes_allowed: rules.changes_allowed,
        username_change_allowed_at: next_change_at(&account, rules, now),
        updated_at: account.updated_at,
    }))
}

fn not_changed(refused: NotChanged) -> AppError {
    match refused {
        NotChanged::NotFound => AppError::unauthenticated(),
        // Somebody else's link and none at all are the same.
        NotChanged::UnknownLink => AppError::bad_request(
            "unknown_link",
            "none of your linked providers with an address has this id",
        ),
        NotChanged::Database(error) => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Option<ProfilePatch> {
        serde_json::from_str(json).ok()
    }

    #[test]
    fn null_is_not_the_same_as_nothing() {
        let name = |json| read(json).map(|patch| patch.display_name);
        assert_eq!(name("{}"), Some(None));
        assert_eq!(name(r#"{"display_name":null}"#), Some(Some(None)));
        assert_eq!(
            name(r#"{"display_name":"Ada"}"#),
            Some(Some(Some("Ada".to_owned())))
        );
    }

    #[test]
    fn nothing_else_can_be_changed() {
        for json in [
            r#"{"role":"admin"}"#,
            r#"{"user_id":"00000000-0000-4000-8000-000000000000"}"#,
            r#"{"email_verified":true}"#,
            r#"{"username":"ada"}"#,
            r#"{"picture":"https://evil.example/"}"#,
            r#"{"display_name":["Ada"]}"#,
            r#"{"primary_link_id":"x"}"#,
        ] {
            assert!(read(json).is_none(), "{json}");
        }
    }
}
