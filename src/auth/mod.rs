//! auth
/// Placeholder.
pub fn api_routes() -> axum::Router<crate::http::state::AppState> {
    axum::Router::new()
}
/// Placeholder.
pub fn navigation_routes() -> axum::Router<crate::http::state::AppState> {
    axum::Router::new()
}
