//! The way out to an upstream: what a flow remembers is stored before the browser is sent away. For sign-ins and for links.

use axum::http::StatusCode;
use time::OffsetDateTime;
use url::Url;

use super::destination;
use super::flow::{self, FLOW_LIFETIME, FLOWS_PER_BROWSER, LoginFlow, Target};
use crate::db;
use crate::db::upstream_flows::{LinkStarter, NewFlow};
use crate::error::AppError;
use crate::http::browser::Browser;
use crate::http::state::AppState;
use crate::protocol::opaque::Opaque;
use crate::protocol::pkce::CodeVerifier;
use crate::upstream::{Provider, StartRequest, UpstreamError};

/// What a flow is for, and what it asks of the upstream.
pub struct Purpose {
    pub target: Target,
    pub login_hint: Option<String>,
    pub ui_locales: Option<String>,
    /// A new login is demanded.
    pub reauthenticate: bool,
    /// The person should choose the account.
    pub select_account: bool,
    pub max_age_secs: Option<u64>,
    /// Whose account is to get the identity; `None` for a sign-in.
    pub starter: Option<LinkStarter>,
}

impl Purpose {
    /// A sign-in, or with `starter` a link, that asks for nothing in particular.
    pub fn plain(target: Target, starter: Option<LinkStarter>) -> Self {
        Self {
            target,
            login_hint: None,
            ui_locales: None,
            reauthenticate: false,
            select_account: false,
            max_age_secs: None,
            starter,
        }
    }
}

/// Stores the flow and gives the upstream's URL.
pub async fn depart(
    state: &AppState,
    provider: &Provider,
    browser: &Browser,
    purpose: Purpose,
    now: OffsetDateTime,
) -> Result<Url, AppError> {
    let handle = Opaque::generate(&state.rng);
    let nonce = Opaque::generate(&state.rng).expose();
    let code_verifier = CodeVerifier::generate(&state.rng);
    let url = provider
        .authorization_url(&StartRequest {
            redirect_uri: &destination::callback(&state.config, provider.name()),
            state: &handle.expose(),
            nonce: &nonce,
            code_verifier: &code_verifier,
            login_hint: purpose.login_hint.as_deref(),
            reauthenticate: purpose.reauthenticate,
            select_account: purpose.select_account,
            max_age_secs: purpose.max_age_secs,
            ui_locales: purpose.ui_locales.as_deref(),
        })
        .await
        .map_err(|error| unavailable(provider.name(), &error))?;
    let flow = LoginFlow {
        nonce,
        code_verifier: code_verifier.expose().to_owned(),
        target: purpose.target,
        reauthenticate: purpose.reauthenticate,
    };
    let sealed = flow::seal(&handle, &state.rng, &flow);
    let row = NewFlow {
        state_hash: &handle.hash(),
        browser_hash: &browser.hash(),
        provider: provider.name(),
        sealed: &sealed,
        expires_at: now + FLOW_LIFETIME,
    };
    match purpose.starter {
        None => db::upstream_flows::insert_login(&state.db, &row, FLOWS_PER_BROWSER, now).await?,
        Some(starter) => {
            db::upstream_flows::insert_link(&state.db, &row, starter, FLOWS_PER_BROWSER, now).await?;
        }
    }
    state.waiting.stored(state);
    Ok(url)
}

/// The provider cannot be reached: only flows by this one suffer.
fn unavailable(provider: &str, error: &UpstreamError) -> AppError {
    tracing::warn!(provider.name = provider, error = %error.detail(), "a flow could not be started at an upstream");
    AppError::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "upstream_unavailable",
        "this sign-in provider cannot be reached at the moment, try again or use another",
    )
}
