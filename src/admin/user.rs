//! `GET, PATCH, DELETE /admin/users/{user_id}`: one account with what hangs on it; disabling and enabling it; deleting it.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::input::UserInPath;
use super::refusals::not_deleted;
use crate::accounts::administration::{self, AccountView};
use crate::accounts::{self, Deletion};
use crate::db;
use crate::db::consents::ListedConsent;
use crate::db::oauth_links::Link;
use crate::db::retry::retrying;
use crate::db::sessions::ListedSession;
use crate::error::{AppError, ErrorBody};
use crate::http::administrator::Administrator;
use crate::http::api_doc::{AdministratorsOnly, BadBody};
use crate::http::csrf::SameSiteRequest;
use crate::http::json_body::JsonBody;
use crate::http::no_store::NoStore;
use crate::http::now::Now;
use crate::http::state::AppState;
use crate::protocol::ids::{ClientId, LinkId, SessionId};

/// More than this many sessions or consents of one account are not shown.
const MAX_SHOWN: i64 = 500;

/// An account with its identities, sessions and consents.
#[derive(Debug, Serialize, ToSchema)]
pub struct UserDetail {
    #[serde(flatten)]
    pub account: AccountView,
    pub links: Vec<LinkView>,
    /// Those that go on, the last used first; at most 500.
    pub sessions: Vec<SessionView>,
    /// At most 500.
    pub consents: Vec<ConsentView>,
}

/// A provider identity that leads to the account.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AdministeredLink)]
pub struct LinkView {
    pub link_id: LinkId,
    pub provider: String,
    /// The person's id there.
    pub subject: String,
    pub display: Option<String>,
    pub email: Option<String>,
    /// As the provider said.
    pub email_verified: bool,
    /// When it joined the account by its address, and not by its owner's confirmation: what `unmerge` can undo.
    #[serde(with = "time::serde::rfc3339::option")]
    pub merged_at: Option<OffsetDateTime>,
    /// The link that it came by, and with which it would leave.
    pub added_by_link_id: Option<LinkId>,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub last_login_at: OffsetDateTime,
}

/// A browser in which the person is signed in.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AdministeredSession)]
pub struct SessionView {
    pub session_id: SessionId,
    /// By which provider they came.
    pub provider: String,
    /// When, in seconds since the epoch.
    pub auth_time: i64,
    pub user_agent: Option<String>,
    pub ip_address: Option<String>,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub last_used_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub expires_at: OffsetDateTime,
}

/// An app that the person let in.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AdministeredConsent)]
pub struct ConsentView {
    pub client_id: ClientId,
    pub client_name: String,
    /// Separated by spaces.
    pub scope: String,
    #[serde(with = "time::serde::rfc3339")]
    pub granted_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
}

/// What is to change of an account.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UserChange {
    /// `true` ends every session and token and lets nobody sign in; the data stays.
    pub disabled: bool,
}

/// One account with its identities, sessions and consents.
#[utoipa::path(
    get,
    path = "/admin/users/{user_id}",
    tag = "administration",
    operation_id = "show_user",
    security(("session" = [])),
    params(("user_id" = uuid::Uuid, Path)),
    responses(
        (status = 200, description = "Done", body = UserDetail),
        AdministratorsOnly,
        (status = 404, description = "Nothing of this id", body = ErrorBody),
    )
)]
pub async fn show(
    State(state): State<AppState>,
    _administrator: Administrator,
    Now(now): Now,
    UserInPath(user_id): UserInPath,
) -> Result<NoStore<Json<UserDetail>>, AppError> {
    let account = db::accounts::find(&state.db, user_id)
        .await?
        .ok_or_else(AppError::not_found)?;
    let links = db::oauth_links::list_of_user(&state.db, user_id).await?;
    let sessions = db::sessions::list_live_of_user(&state.db, user_id, MAX_SHOWN, now).await?;
    let consents = db::consents::list(&state.db, user_id, MAX_SHOWN).await?;
    Ok(NoStore(Json(UserDetail {
        account: account.into(),
        links: links.into_iter().map(LinkView::from).collect(),
        sessions: sessions.into_iter().map(SessionView::from).collect(),
        consents: consents.into_iter().map(ConsentView::from).collect(),
    })))
}

/// Disables or enables an account.
#[utoipa::path(
    patch,
    path = "/admin/users/{user_id}",
    tag = "administration",
    operation_id = "disable_or_enable_user",
    security(("session" = [])),
    params(("user_id" = uuid::Uuid, Path)),
    request_body = UserChange,
    responses(
        (status = 200, description = "Done", body = AccountView),
        AdministratorsOnly,
        (status = 404, description = "Nothing of this id", body = ErrorBody),
        (status = 409, description = "`last_admin`: nobody would be left to administer", body = ErrorBody),
        BadBody,
    )
)]
pub async fn change(
    State(state): State<AppState>,
    administrator: Administrator,
    _same_site: SameSiteRequest,
    Now(now): Now,
    UserInPath(user_id): UserInPath,
    JsonBody(change): JsonBody<UserChange>,
) -> Result<NoStore<Json<AccountView>>, AppError> {
    let account = retrying(&state.rng, || async {
        let (mut tx, recorder) = administrator.begin_on_accounts(&state, now).await?;
        let account = if change.disabled {
            administration::disable(&mut tx, &recorder, user_id).await?
        } else {
            administration::enable(&mut tx, &recorder, user_id).await?
        };
        administrator.require_still_signed_in(&mut tx, user_id).await?;
        tx.commit().await?;
        Ok::<_, AppError>(account)
    })
    .await?;
    tracing::info!(
        event = if change.disabled { "user.disabled" } else { "user.enabled" },
        user.id = %user_id,
        actor.id = %administrator.user_id(),
        "an administrator changed who may sign in"
    );
    Ok(NoStore(Json(account.into())))
}

/// Deletes an account for good.
///
/// Everything that is held of the person goes with it.
#[utoipa::path(
    delete,
    path = "/admin/users/{user_id}",
    tag = "administration",
    operation_id = "delete_user",
    security(("session" = [])),
    params(("user_id" = uuid::Uuid, Path)),
    responses(
        (status = 204, description = "Done"),
        AdministratorsOnly,
        (status = 404, description = "Nothing of this id", body = ErrorBody),
        (status = 409, description = "`last_admin`: nobody would be left to administer", body = ErrorBody),
    )
)]
pub async fn remove(
    State(state): State<AppState>,
    administrator: Administrator,
    _same_site: SameSiteRequest,
    Now(now): Now,
    UserInPath(user_id): UserInPath,
) -> Result<NoStore<StatusCode>, AppError> {
    // Their session ends with their account, so it is judged before, under the account's lock.
    let is_own = user_id == administrator.user_id();
    let deletion = Deletion {
        user_id,
        actor: administrator.actor(),
        session_id: is_own.then(|| administrator.session_id()),
        usernames: &state.config.usernames,
    };
    retrying(&state.rng, || async {
        let mut tx = state.db.begin().await?;
        if is_own {
            administration::require_actor(&mut tx, administrator.actor()).await?;
        } else {
            administration::await_actor(&mut tx, administrator.actor()).await?;
        }
        accounts::delete(&mut tx, &deletion, &state.keyring, &state.rng, now)
            .await
            .map_err(not_deleted)?;
        administration::require_still(&mut tx, administrator.actor(), user_id).await?;
        administrator.require_still_signed_in(&mut tx, user_id).await?;
        tx.commit().await?;
        Ok::<_, AppError>(())
    })
    .await?;
    tracing::info!(
        event = "user.deleted",
        user.id = %user_id,
        actor.id = %administrator.user_id(),
        "an administrator deleted an account"
    );
    Ok(NoStore(StatusCode::NO_CONTENT))
}

impl From<Link> for LinkView {
    fn from(link: Link) -> Self {
        Self {
            link_id: link.link_id,
            provider: link.provider,
            subject: link.subject,
            display: link.display,
            email: link.email,
            email_verified: link.email_verified,
            merged_at: link.merged_at,
            added_by_link_id: link.added_by,
            created_at: link.created_at,
            last_login_at: link.last_login_at,
        }
    }
}

impl From<ListedSession> for SessionView {
    fn from(session: ListedSession) -> Self {
        Self {
            session_id: session.session_id,
            provider: session.provider,
            auth_time: session.auth_time,
            user_agent: session.user_agent,
            ip_address: session.ip_address,
            created_at: session.created_at,
            last_used_at: session.last_used_at,
            expires_at: session.expires_at,
        }
    }
}

impl From<ListedConsent> for ConsentView {
    fn from(consent: ListedConsent) -> Self {
        Self {
            client_id: consent.client_id,
            client_name: consent.client_name,
            scope: consent.scope.to_string(),
            granted_at: consent.granted_at,
            updated_at: consent.updated_at,
        }
    }
}
