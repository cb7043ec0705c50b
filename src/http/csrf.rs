pub struct SameSiteRequest;
impl<S: Send+Sync> axum::extract::FromRequestParts<S> for SameSiteRequest { type Rejection = std::convert::Infallible; async fn from_request_parts(_: &mut axum::http::request::Parts, _: &S) -> Result<Self, Self::Rejection> { Ok(Self) } }
