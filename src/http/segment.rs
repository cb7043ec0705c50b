//! A parameter of a path, as text. What cannot name anything is answered as what names nothing: 404.

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;

use crate::error::AppError;

/// The one parameter of the path, decoded. Refused: what is not UTF-8, or has a NUL, which PostgreSQL does not hold.
#[derive(Clone, Debug)]
pub struct Segment(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(segment)) if !segment.contains('\0') => Ok(Self(segment)),
            _ => Err(AppError::not_found()),
        }
    }
}
