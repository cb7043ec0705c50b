//! `GET /auth/me/links`: the providers that lead to an account.

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::respond::json_answer;
use crate::accounts::FORMER;
use crate::config::providers::EmailTrust;
use crate::db;
use crate::db::oauth_links::Link;
use crate::error::AppError;
use crate::http::api_doc::SignedOut;
use crate::http::browser::BrowserSession;
use crate::http::state::AppState;
use crate::protocol::ids::LinkId;
use crate::upstream::Provider;

/// A linked identity as its owner sees it.
#[derive(Debug, Serialize, ToSchema)]
pub struct LinkView {
    pub link_id: LinkId,
    /// The provider's name, as `DELETE /auth/link/{provider}` takes it. `NAME~former`, perhaps with a number: NAME leads to
    /// another issuer by now, which is linked, too. What a link is to be known by is its `link_id`.
    pub provider: String,
    /// What people read on the provider's button, or did.
    pub provider_display_name: String,
    /// Whether one can sign in by it at present: the provider is configured, under the issuer that the identity is of.
    pub usable: bool,
    /// How the provider names the identity.
    pub display: Option<String>,
    pub email: Option<String>,
    /// The provider says so and is trusted to.
    pub email_verified: bool,
    /// Its address is the account's primary one.
    pub is_primary: bool,
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub last_login_at: OffsetDateTime,
}

impl LinkView {
    fn new(state: &AppState, link: Link) -> Self {
        let provider = state.upstreams.of_link(&link.provider, &link.issuer);
        let trust = provider.map_or(EmailTrust::None, Provider::email_trust);
        Self {
            link_id: link.link_id,
            provider_display_name: display_name(state, provider, &link.provider).to_owned(),
            usable: provider.is_some(),
            display: link.display,
            email: link.email,
            email_verified: link.email_verified && trust != EmailTrust::None,
            is_primary: link.is_primary,
            created_at: link.created_at,
            last_login_at: link.last_login_at,
            provider: link.provider,
        }
    }
}

/// Of the provider that proves the identity, else of the one that bears its name by now, else the name itself, in each case
/// without what marks a former issuer.
fn display_name<'a>(state: &'a AppState, provider: Option<&'a Provider>, name: &'a str) -> &'a str {
    let plain = name.split_once(FORMER).map_or(name, |(plain, _)| plain);
    provider
        .or_else(|| (plain != name).then(|| state.upstreams.get(plain)).flatten())
        .map_or(plain, Provider::display_name)
}

/// Lists them, the oldest first.
#[utoipa::path(get, path = "/auth/me/links", tag = "account", operation_id = "list_links",
    security(("session" = [])), responses((status = 200, body = Vec<LinkView>), SignedOut))]
pub async fn list(State(state): State<AppState>, session: BrowserSession) -> Result<Response, AppError> {
    let links = db::oauth_links::list_of_user(&state.db, session.session.user_id).await?;
    let views: Vec<LinkView> = links
        .into_iter()
        .map(|link| LinkView::new(&state, link))
        .collect();
    Ok(json_answer(&views))
}
