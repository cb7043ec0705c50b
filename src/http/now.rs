//! One reading of the clock per request.

use axum::extract::{FromRef, FromRequestParts};
use axum::http::request::Parts;
use time::OffsetDateTime;

use super::state::AppState;

/// When this request arrived: every rule and every row of one request sees the same moment.
#[derive(Clone, Copy, Debug)]
pub struct Now(pub OffsetDateTime);

impl<S> FromRequestParts<S> for Now
where
    S: Send + Sync,
    AppState: FromRef<S>,
{
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let now = match parts.extensions.get::<Self>() {
            Some(now) => *now,
            None => Self(AppState::from_ref(state).clock.now()),
        };
        parts.extensions.insert(now);
        Ok(now)
    }
}
