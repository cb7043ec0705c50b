//! The access token of a request to a protected resource of ours (RFC 6750 §2, RFC 9068 §4).

use axum::extract::{FromRef, FromRequest, FromRequestParts, Request};
use axum::http::{HeaderMap, Method, header};
use time::OffsetDateTime;

use super::now::Now;
use super::oauth_params::{ParamsRejection, is_form, read_body};
use super::state::AppState;
use crate::error::{BearerError, BearerRejection};
use crate::jwt::{Expectation, VerifyError};
use crate::limits::rules::Tier;
use crate::metrics::Verification;
use crate::protocol::claims::{ACCESS_TOKEN_TYP, AccessTokenClaims};
use crate::protocol::params::Params;

/// A client access token of ours whose signature, type and times are right. Whether its grant is still alive is for the
/// endpoint to ask.
#[derive(Clone, Debug)]
pub struct AccessToken(pub AccessTokenClaims);

impl AccessToken {
    /// Refuses a token without this scope.
    pub fn require_scope(&self, scope: &'static str) -> Result<(), BearerError> {
        if self.0.scope.contains(scope) {
            Ok(())
        } else {
            Err(BearerError::InsufficientScope(scope))
        }
    }
}

impl<S> FromRequest<S> for AccessToken
where
    S: Send + Sync,
    AppState: FromRef<S>,
{
    type Rejection = BearerRejection;

    async fn from_request(request: Request, state: &S) -> Result<Self, Self::Rejection> {
        let app = AppState::from_ref(state);
        let address = app.addresses.of_request(request.extensions(), request.headers());
        let found = find(request, state, &app).await;
        // Who shows a token of ours is its client; who shows none, or a bad one, is only an address.
        let counted = match &found {
            Ok(AccessToken(token)) => app.limits.client(&token.client_id).await,
            Err(_) => app.limits.request(Tier::Standard, address.0).await,
        };
        counted
            .map_err(BearerError::Limited)
            .and(found)
            .map_err(|error| error.at(&app.config.jwt.issuer))
    }
}

async fn find<S>(request: Request, state: &S, app: &AppState) -> Result<AccessToken, BearerError>
where
    S: Send + Sync,
    AppState: FromRef<S>,
{
    let (mut parts, body) = request.into_parts();
    let Ok(Now(now)) = Now::from_request_parts(&mut parts, state).await;

    let query = parts.uri.query().unwrap_or_default();
    if names_access_token(query.as_bytes()) {
        return Err(BearerError::BadRequest("the token may not stand in the query"));
    }
    let from_header = header_token(&parts.headers)?;
    let from_body = if parts.method == Method::POST && is_form(&parts.headers) {
        let bytes = read_body(body).await.map_err(|rejection| match rejection {
            ParamsRejection::TooLarge => BearerError::TooLarge,
            ParamsRejection::Refused(_) => BearerError::BadRequest("the body could not be read"),
            ParamsRejection::Limited(limited) => BearerError::Limited(limited),
        })?;
        body_token(&bytes)?
    } else {
        None
    };
    let token = match (from_header, from_body) {
        (Some(_), Some(_)) => {
            return Err(BearerError::BadRequest("the token is sent in more than one way"));
        }
        (Some(token), None) | (None, Some(token)) => token,
        (None, None) => return Err(BearerError::Missing),
    };
    match verify(app, &token, now) {
        Ok(claims) => Ok(AccessToken(claims)),
        Err(error) => {
            app.metrics.token_verified(Verification::from(&error));
            Err(match error {
                VerifyError::Expired => BearerError::Expired,
                VerifyError::Invalid(_) => BearerError::Invalid,
            })
        }
    }
}

/// Verifies a client access token of ours. Any audience will do: we issued it, whoever the resource is that it opens.
pub fn verify(app: &AppState, token: &str, now: OffsetDateTime) -> Result<AccessTokenClaims, VerifyError> {
    let expected = Expectation {
        typ: ACCESS_TOKEN_TYP,
        issuer: &app.config.jwt.issuer,
        audience: None,
        now,
        leeway_secs: 0,
        allow_expired: false,
        required_claims: &["sub", "client_id", "scope", "grant", "jti"],
    };
    app.keys.current().verify(token, &expected)
}

/// The token of the `Authorization` header; another scheme than Bearer, in any case of letters, is none.
fn header_token(headers: &HeaderMap) -> Result<Option<String>, BearerError> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(BearerError::BadRequest(
            "there is more than one Authorization header",
        ));
    }
    let Ok(value) = value.to_str() else {
        return Err(BearerError::BadRequest("the Authorization header is not ASCII"));
    };
    let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
    if !scheme.eq_ignore_ascii_case("Bearer") {
        return Ok(None);
    }
    match token.trim_matches(' ') {
        "" => Err(BearerError::BadRequest("the Authorization header holds no token")),
        token => Ok(Some(token.to_owned())),
    }
}

/// The token of a form body (RFC 6750 §2.2).
fn body_token(body: &[u8]) -> Result<Option<String>, BearerError> {
    let form = Params::parse(body).map_err(|_| BearerError::BadRequest("the form is malformed"))?;
    match form.get("access_token") {
        Ok(token) => Ok(token.map(str::to_owned)),
        Err(_) => Err(BearerError::BadRequest("the token is sent more than once")),
    }
}

/// Whether a query has an `access_token`, once or more often; a query that cannot be read has none.
fn names_access_token(query: &[u8]) -> bool {
    Params::parse(query).is_ok_and(|params| !matches!(params.get("access_token"), Ok(None)))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(values: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, HeaderValue::from_static(value));
        }
        headers
    }

    /// RFC 9110 §11.1: the scheme has no case.
    #[test]
    fn the_scheme_is_read_in_any_case() {
        for value in ["Bearer abc", "bearer abc", "BEARER  abc"] {
            let token = header_token(&headers(&[value])).unwrap();
            assert_eq!(token.as_deref(), Some("abc"), "{value}");
        }
    }

    #[test]
    fn another_scheme_is_no_bearer_token() {
        assert!(header_token(&headers(&["Basic abc"])).unwrap().is_none());
        assert!(header_token(&headers(&[])).unwrap().is_none());
    }

    #[test]
    fn two_headers_and_an_empty_one_are_bad_requests() {
        for values in [["Bearer a", "Bearer b"].as_slice(), &["Bearer"], &["Bearer "]] {
            let refused = header_token(&headers(values));
            assert!(matches!(refused, Err(BearerError::BadRequest(_))), "{values:?}");
        }
    }
}
