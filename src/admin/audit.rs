//! `GET /admin/audit`: who did what, the newest first. Whether the trail is whole is said by `riley-auth audit verify`.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::{IntoParams, ToSchema};

use super::input::{QueryParams, moment};
use super::paging::{Limit, Page, decode};
use crate::audit::Action;
use crate::audit::view::EntryView;
use crate::db;
use crate::db::audit::EntryFilter;
use crate::error::{AppError, ErrorBody};
use crate::http::administrator::Administrator;
use crate::http::api_doc::AdministratorsOnly;
use crate::http::no_store::NoStore;
use crate::http::state::AppState;
use crate::protocol::ids::UserId;

/// Which entries are wanted. What is left out does not matter.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AuditQuery {
    #[param(inline)]
    actor: Option<ActorKind>,
    #[param(value_type = Option<String>, format = Uuid)]
    actor_user_id: Option<UserId>,
    #[param(inline)]
    action: Option<Action>,
    /// The id of the account, client or other thing that it was done to.
    target_id: Option<String>,
    /// From this moment on (RFC 3339).
    #[serde(default, deserialize_with = "moment")]
    from: Option<OffsetDateTime>,
    /// Before this moment (RFC 3339).
    #[serde(default, deserialize_with = "moment")]
    until: Option<OffsetDateTime>,
    /// How many at once: 1 to 500, 50 if it is left out.
    #[serde(default)]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 500)]
    limit: Limit,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// A page of the trail: a [`Page`] under a name that the API document can refer to.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditPage {
    pub items: Vec<EntryView>,
    /// To be sent as `cursor` for the page after this one; `null` on the last page.
    pub next_cursor: Option<String>,
}

/// Who acts.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ActorKind {
    User,
    CommandLine,
    System,
}

impl ActorKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::CommandLine => "command_line",
            Self::System => "system",
        }
    }
}

/// Who did what, the newest first.
#[utoipa::path(
    get,
    path = "/admin/audit",
    tag = "administration",
    operation_id = "list_audit_entries",
    security(("session" = [])),
    params(AuditQuery),
    responses(
        (status = 200, description = "Done", body = AuditPage),
        (status = 400, description = "The query has a parameter that is unknown, doubled or not of its form", body = ErrorBody),
        AdministratorsOnly,
    )
)]
pub async fn list(
    State(state): State<AppState>,
    _administrator: Administrator,
    QueryParams(query): QueryParams<AuditQuery>,
) -> Result<NoStore<Json<AuditPage>>, AppError> {
    let before: Option<i64> = query.cursor.as_deref().map(decode).transpose()?;
    let filter = EntryFilter {
        actor: query.actor.map(ActorKind::as_str),
        actor_user_id: query.actor_user_id,
        action: query.action.map(Action::as_str),
        target_id: query.target_id.as_deref(),
        from: query.from,
        until: query.until,
    };
    let mut tx = state.db.begin().await?;
    let entries = db::audit::list(&mut tx, &filter, before, query.limit.and_one()).await?;
    tx.commit().await?;
    let page = Page::of(entries, query.limit, |last| last.sequence, EntryView::from);
    Ok(NoStore(Json(AuditPage {
        items: page.items,
        next_cursor: page.next_cursor,
    })))
}
