//! `GET /admin/users`: the accounts, found by name, id or address.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::input::QueryParams;
use super::paging::{Limit, Micros, Page, decode};
use crate::accounts::administration::{AccountView, Role};
use crate::db;
use crate::db::accounts::{AccountFilter, Position};
use crate::error::{AppError, ErrorBody};
use crate::http::administrator::Administrator;
use crate::http::api_doc::AdministratorsOnly;
use crate::http::no_store::NoStore;
use crate::http::state::AppState;
use crate::protocol::ids::UserId;
use crate::upstream::normalised_email;
use crate::usernames;

/// What is looked for. What is left out does not matter.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct UserQuery {
    /// How the username begins, in any case of letters.
    username: Option<String>,
    #[param(value_type = Option<String>, format = Uuid)]
    user_id: Option<UserId>,
    /// A whole address, as some linked provider named it.
    email: Option<String>,
    role: Option<Role>,
    disabled: Option<bool>,
    #[serde(default)]
    #[param(inline)]
    sort: UserSort,
    /// How many at once: 1 to 500, 50 if it is left out.
    #[serde(default)]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 500)]
    limit: Limit,
    /// `next_cursor` of the page before, with the same `sort`.
    cursor: Option<String>,
}

/// The order of the list.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum UserSort {
    /// The newest account first.
    #[default]
    CreatedAt,
    Username,
}

/// Lists accounts, found by name, id or address.
#[utoipa::path(
    get,
    path = "/admin/users",
    tag = "administration",
    operation_id = "list_users",
    security(("session" = [])),
    params(UserQuery),
    responses(
        (status = 200, description = "Done", body = Page<AccountView>),
        (status = 400, description = "The query has a parameter that is unknown, doubled or not of its form", body = ErrorBody),
        AdministratorsOnly,
    )
)]
pub async fn list(
    State(state): State<AppState>,
    _administrator: Administrator,
    QueryParams(query): QueryParams<UserQuery>,
) -> Result<NoStore<Json<Page<AccountView>>>, AppError> {
    let position = position(query.sort, query.cursor.as_deref())?;
    let prefix = query.username.as_deref().map(usernames::fold);
    let email_folded = query.email.as_deref().and_then(normalised_email);
    if query.email.is_some() && email_folded.is_none() {
        // No address that could be compared: nobody has it.
        return Ok(page(Vec::new(), &query));
    }
    let filter = AccountFilter {
        username_prefix: prefix.as_deref(),
        user_id: query.user_id,
        email_folded: email_folded.as_deref(),
        role: query.role.map(Role::as_str),
        disabled: query.disabled,
    };
    let mut tx = state.db.begin().await?;
    let accounts = db::accounts::search(&mut tx, &filter, &position, query.limit.and_one()).await?;
    tx.commit().await?;
    Ok(page(accounts, &query))
}

fn page(accounts: Vec<db::accounts::Account>, query: &UserQuery) -> NoStore<Json<Page<AccountView>>> {
    let page = match query.sort {
        UserSort::CreatedAt => Page::of(
            accounts,
            query.limit,
            |last| (Micros::from(last.created_at), last.user_id),
            AccountView::from,
        ),
        UserSort::Username => Page::of(
            accounts,
            query.limit,
            |last| (usernames::fold(&last.username), last.user_id),
            AccountView::from,
        ),
    };
    NoStore(Json(page))
}

fn position(sort: UserSort, cursor: Option<&str>) -> Result<Position, AppError> {
    match sort {
        UserSort::CreatedAt => {
            let after = cursor
                .map(|cursor| {
                    let (created_at, user_id): (Micros, UserId) = decode(cursor)?;
                    Ok::<_, AppError>((created_at.try_into()?, user_id))
                })
                .transpose()?;
            Ok(Position::Newest(after))
        }
        UserSort::Username => cursor.map(decode).transpose().map(Position::Username),
    }
}
