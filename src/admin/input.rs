//! What stands in the path and in the query. An id of another form names nothing, so it is answered as an unknown one.

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use serde::Deserializer;
use serde::de::{DeserializeOwned, Error as _};
use time::{OffsetDateTime, UtcOffset};
use uuid::Uuid;

use crate::error::AppError;
use crate::http::segment::Segment;
use crate::protocol::ids::{ClientId, LinkId, UserId};
use crate::usernames;

/// The account that the path names.
#[derive(Clone, Copy, Debug)]
pub struct UserInPath(pub UserId);

/// The account and the link that the path names.
#[derive(Clone, Copy, Debug)]
pub struct LinkInPath(pub UserId, pub LinkId);

/// The client that the path names.
#[derive(Clone, Debug)]
pub struct ClientInPath(pub ClientId);

/// The name that the path names, folded.
#[derive(Clone, Debug)]
pub struct NameInPath(pub String);

/// The id on an error page that the path names.
#[derive(Clone, Debug)]
pub struct ErrorInPath(pub String);

/// The webhook that the path names.
#[derive(Clone, Copy, Debug)]
pub struct WebhookInPath(pub Uuid);

/// The parameters of the query: known ones, each once.
#[derive(Clone, Debug)]
pub struct QueryParams<T>(pub T);

async fn segment<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<String, AppError> {
    Segment::from_request_parts(parts, state)
        .await
        .map(|Segment(segment)| segment)
}

impl<S: Send + Sync> FromRequestParts<S> for UserInPath {
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        id(&segment(parts, state).await?).map(|id| Self(UserId(id)))
    }
}

/// One spelling: hyphens, no braces, no `urn:`.
fn id(segment: &str) -> Result<Uuid, AppError> {
    segment
        .parse()
        .ok()
        .filter(|id: &Uuid| id.to_string().eq_ignore_ascii_case(segment))
        .ok_or_else(AppError::not_found)
}

impl<S: Send + Sync> FromRequestParts<S> for LinkInPath {
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let Path((user_id, link_id)) = Path::<(String, String)>::from_request_parts(parts, state)
            .await
            .map_err(|_| AppError::not_found())?;
        Ok(Self(UserId(id(&user_id)?), LinkId(id(&link_id)?)))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for ClientInPath {
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        segment(parts, state).await.map(|id| Self(ClientId(id)))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for WebhookInPath {
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        // One spelling, as for accounts.
        UserInPath::from_request_parts(parts, state)
            .await
            .map(|UserInPath(UserId(id))| Self(id))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for NameInPath {
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        segment(parts, state)
            .await
            .map(|name| Self(usernames::fold(&name)))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for ErrorInPath {
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        segment(parts, state).await.map(Self)
    }
}

impl<T, S> FromRequestParts<S> for QueryParams<T>
where
    T: DeserializeOwned,
    S: Send + Sync,
{
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        let query = parts.uri.query().unwrap_or_default();
        let has_nul = url::form_urlencoded::parse(query.as_bytes())
            .any(|(name, value)| name.contains('\0') || value.contains('\0'));
        if has_nul {
            return Err(unreadable());
        }
        axum::extract::Query::<T>::try_from_uri(&parts.uri)
            .map(|query| Self(query.0))
            .map_err(|_| unreadable())
    }
}

/// A moment of RFC 3339 for the database, in UTC. One that has no year of four digits there is none: the database's
/// driver cannot write it.
pub fn moment<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<OffsetDateTime>, D::Error> {
    let Some(moment) = time::serde::rfc3339::option::deserialize(deserializer)? else {
        return Ok(None);
    };
    let in_utc = moment.checked_to_offset(UtcOffset::UTC);
    in_utc
        .map(Some)
        .ok_or_else(|| D::Error::custom("there is no such moment in UTC"))
}

fn unreadable() -> AppError {
    AppError::bad_request(
        "invalid_request",
        "the query has a parameter that is unknown, doubled or not of its form",
    )
}
