//! `POST /admin/users/{user_id}/links/{link_id}/unmerge`: an identity that joined an account by its address gets an account of
//! its own again, as by the command `unmerge`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::input::LinkInPath;
use crate::accounts::{self, NotUnmerged, Unmerged, Unmerging};
use crate::db;
use crate::db::retry::{Failure, retrying};
use crate::error::{AppError, ErrorBody};
use crate::http::administrator::Administrator;
use crate::http::api_doc::AdministratorsOnly;
use crate::http::csrf::SameSiteRequest;
use crate::http::no_store::NoStore;
use crate::http::now::Now;
use crate::http::state::AppState;
use crate::protocol::ids::{LinkId, UserId};
use crate::usernames::UsernameRules;

/// How often another name is looked for when somebody else was faster.
const ATTEMPTS: usize = 3;

/// What came of it.
#[derive(Debug, Serialize, ToSchema)]
pub struct UnmergedView {
    pub link_id: LinkId,
    pub provider: String,
    /// The providers of the identities that came by it and went along.
    pub went_along: Vec<String>,
    /// The account that the identity had joined.
    pub user_id: UserId,
    /// The account that it has now.
    pub new_user_id: UserId,
    pub new_username: String,
    /// Sessions that were signed in to by any of them.
    pub sessions_ended: usize,
    /// What apps were let have in such sessions.
    pub grants_revoked: u64,
}

/// Undoes a merge.
///
/// The identity, and those that came by it, get an account of their own; their sessions end, and whatever apps were let have
/// in them.
#[utoipa::path(
    post,
    path = "/admin/users/{user_id}/links/{link_id}/unmerge",
    tag = "administration",
    operation_id = "unmerge_link",
    security(("session" = [])),
    params(("user_id" = uuid::Uuid, Path), ("link_id" = uuid::Uuid, Path)),
    responses(
        (status = 200, description = "Done", body = UnmergedView),
        AdministratorsOnly,
        (status = 404, description = "The account has no link of this id, or there is none", body = ErrorBody),
        (status = 409, description = "`not_merged`: its owner linked it; `last_link`: nothing else leads to the account; `no_username`: no free one could be derived", body = ErrorBody),
    )
)]
pub async fn unmerge(
    State(state): State<AppState>,
    administrator: Administrator,
    _same_site: SameSiteRequest,
    Now(now): Now,
    LinkInPath(user_id, link_id): LinkInPath,
) -> Result<NoStore<Json<UnmergedView>>, AppError> {
    let links = db::oauth_links::list_of_user(&state.db, user_id).await?;
    let link = links
        .into_iter()
        .find(|link| link.link_id == link_id)
        .ok_or_else(AppError::not_found)?;
    let rules = UsernameRules::new(&state.config.usernames)
        .map_err(|error| AppError::failure(anyhow::Error::new(error).context("compile usernames.pattern")))?;
    for _ in 0..ATTEMPTS {
        let unmerging = Unmerging {
            link_id,
            owner: Some(user_id),
            actor: administrator.actor(),
            usernames: &accounts::names_of_its_own(&link, &rules, &state.rng),
        };
        let undone = retrying(&state.rng, || async {
            let (mut tx, _) = administrator.begin_on_accounts(&state, now).await?;
            let done = accounts::unmerge(&mut tx, &unmerging, &state.keyring, &state.rng, now).await?;
            administrator.require_still_signed_in(&mut tx, user_id).await?;
            tx.commit().await?;
            Ok::<_, NotDone>(done)
        });
        match undone.await {
            Ok(done) => {
                tracing::info!(
                    event = "account.unmerged",
                    user.id = %user_id,
                    actor.id = %administrator.user_id(),
                    "an administrator undid a merge"
                );
                return Ok(NoStore(Json(view(link_id, done))));
            }
            Err(NotDone::Unmerging(NotUnmerged::NoUsername)) => {}
            Err(NotDone::Unmerging(refused)) => return Err(not_unmerged(refused)),
            Err(NotDone::Other(refused)) => return Err(refused),
        }
    }
    Err(not_unmerged(NotUnmerged::NoUsername))
}

/// Why it was not done.
enum NotDone {
    Unmerging(NotUnmerged),
    Other(AppError),
}

impl From<NotUnmerged> for NotDone {
    fn from(refused: NotUnmerged) -> Self {
        Self::Unmerging(refused)
    }
}

impl From<AppError> for NotDone {
    fn from(error: AppError) -> Self {
        Self::Other(error)
    }
}

impl From<sqlx::Error> for NotDone {
    fn from(error: sqlx::Error) -> Self {
        Self::Other(error.into())
    }
}

impl Failure for NotDone {
    fn of_database(&self) -> Option<&sqlx::Error> {
        match self {
            Self::Unmerging(refused) => refused.of_database(),
            Self::Other(error) => error.of_database(),
        }
    }
}

fn view(link_id: LinkId, done: Unmerged) -> UnmergedView {
    UnmergedView {
        link_id,
        provider: done.provider,
        went_along: done.went_along,
        user_id: done.user_id,
        new_user_id: done.new_user.user_id,
        new_username: done.new_user.username,
        sessions_ended: done.sessions_ended,
        grants_revoked: done.grants_revoked,
    }
}

fn not_unmerged(refused: NotUnmerged) -> AppError {
    let conflict = |code, description| AppError::new(StatusCode::CONFLICT, code, description);
    match refused {
        NotUnmerged::NotFound => AppError::not_found(),
        NotUnmerged::NotMerged => conflict(
            "not_merged",
            "this identity did not join the account by a merge: its owner linked it",
        ),
        NotUnmerged::LastLink => conflict(
            "last_link",
            "nothing else leads to this account: there is nobody left to separate it from",
        ),
        NotUnmerged::NoUsername => conflict(
            "no_username",
            "no free username could be derived under the rules of the configuration, try again",
        ),
        NotUnmerged::Database(error) => error.into(),
    }
}
