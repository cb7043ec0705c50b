//! The rate limits of groups of routes: a layer around each group, so that the tier follows the matched route and no way of
//! writing a path changes it.

use axum::Router;
use axum::extract::{Request, State};
use axum::handler::Handler;
use axum::http::header;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};

use crate::http::state::AppState;
use crate::limits::rules::Tier;

#[derive(Clone)]
struct Tiered {
    state: AppState,
    tier: Tier,
}

/// The same routes, limited by address. Their fallback for other methods has to be set before; preflights that a CORS layer
/// around this one answers are not counted.
pub fn limited(state: &AppState, tier: Tier, routes: Router<AppState>) -> Router<AppState> {
    let tiered = Tiered {
        state: state.clone(),
        tier,
    };
    routes.layer(middleware::from_fn_with_state(tiered, by_address))
}

/// The same handler, limited by address: for fallbacks, which a layer around routes does not reach.
pub fn counted<H, T>(state: &AppState, tier: Tier, handler: H) -> impl Handler<T, AppState>
where
    H: Handler<T, AppState>,
    T: 'static,
{
    let tiered = Tiered {
        state: state.clone(),
        tier,
    };
    handler.layer(middleware::from_fn_with_state(tiered, by_address))
}

async fn by_address(
    State(Tiered { state, tier }): State<Tiered>,
    mut request: Request,
    next: Next,
) -> Response {
    let address = state
        .addresses
        .of_request(request.extensions(), request.headers());
    request.extensions_mut().insert(address);
    match state.limits.request(tier, address.0).await {
        Ok(()) => next.run(request).await,
        Err(limited) if wants_page(&request) => limited.into_page(),
        Err(limited) => limited.into_response(),
    }
}

/// A browser that navigates says that it takes HTML; scripts and programs as a rule do not.
fn wants_page(request: &Request) -> bool {
    let accept = request.headers().get_all(header::ACCEPT).iter();
    accept
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.contains("text/html"))
}
