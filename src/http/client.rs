//! The client that talks to us directly, authenticated, with the parameters it sent (RFC 6749 §2.3, §3.2).

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{FromRef, FromRequest, FromRequestParts, Request};
use axum::http::{HeaderMap, header};
use sqlx::PgExecutor;
use time::OffsetDateTime;

use super::now::Now;
use super::oauth_params::{OAuthForm, ParamsRejection};
use super::state::AppState;
use crate::error::{OAuthError, OAuthErrorCode};
use crate::limits::rules::Tier;
use crate::protocol::client::{Client, ClientType};
use crate::protocol::client_auth::{self, ClientCredentials};
use crate::protocol::ids::ClientId;
use crate::protocol::params::Params;

/// A request of an authenticated client to the token, introspection or revocation endpoint.
///
/// The client was judged by the copy in memory. An endpoint calls [`still_current`](Self::still_current) with the
/// generation that its own statement read before it decides anything.
#[derive(Clone)]
pub struct ClientRequest {
    pub client: Arc<Client>,
    pub params: Params,
    credentials: ClientCredentials,
    basic_was_tried: bool,
}

impl<S> FromRequest<S> for ClientRequest
where
    S: Send + Sync,
    AppState: FromRef<S>,
{
    type Rejection = ParamsRejection;

    async fn from_request(request: Request, state: &S) -> Result<Self, Self::Rejection> {
        let app = AppState::from_ref(state);
        let (mut parts, body) = request.into_parts();
        let Ok(Now(now)) = Now::from_request_parts(&mut parts, state).await;
        let authorization = authorization_values(&parts.headers);
        let basic_was_tried = authorization.iter().any(|value| is_basic(value));

        let address = app.addresses.of_request(&parts.extensions, &parts.headers).0;
        let form = OAuthForm::from_request(Request::from_parts(parts, body), state).await;
        let authenticated = match form {
            Ok(OAuthForm(params)) => identify(&app, &authorization, &params, address, now)
                .await
                .map(|(client, credentials)| (params, client, credentials)),
            Err(rejection) => Err(rejection),
        };
        let (params, client, credentials) = match authenticated {
            Ok(authenticated) => authenticated,
            Err(limited @ ParamsRejection::Limited(_)) => return Err(limited),
            // Who has not proved to be a client is only an address.
            Err(ParamsRejection::Refused(error)) if error.is_ours() => {
                return Err(named(error, basic_was_tried).into());
            }
            Err(rejection) => {
                app.limits.request(Tier::Standard, address).await?;
                return Err(match rejection {
                    ParamsRejection::Refused(error) => named(error, basic_was_tried).into(),
                    other => other,
                });
            }
        };
        match client.client_type {
            ClientType::Confidential => app.limits.client(&client.client_id).await?,
            // It has proved nothing: anybody can write its id.
            ClientType::Public | ClientType::Native => app.limits.request(Tier::Standard, address).await?,
        }
        Ok(Self {
            client,
            params,
            credentials,
            basic_was_tried,
        })
    }
}

impl ClientRequest {
    /// Makes sure that `client` is the registration of `generation`, as a statement of this request read it (`None`: the
    /// client is gone). When it was another, the row is loaded and the client authenticated anew, and the answer is `true`:
    /// whatever was decided by the old copy has to be decided again.
    pub async fn still_current(
        &mut self,
        state: &AppState,
        db: impl PgExecutor<'_>,
        generation: Option<i64>,
        now: OffsetDateTime,
    ) -> Result<bool, OAuthError> {
        if generation == Some(self.client.generation) {
            return Ok(false);
        }
        self.reload(state, db, now).await?;
        Ok(true)
    }

    /// Loads the client's row and authenticates anew: for what would be refused because of the copy.
    pub async fn reload(
        &mut self,
        state: &AppState,
        db: impl PgExecutor<'_>,
        now: OffsetDateTime,
    ) -> Result<(), OAuthError> {
        let client = state.clients.reload(db, &self.credentials.client_id).await?;
        client_auth::authenticate(&self.credentials, client.as_deref(), now)
            .map_err(|refusal| self.refusal(refusal.into()))?;
        self.client = client.ok_or_else(|| self.refused())?;
        Ok(())
    }

    /// Refuses clients without a secret, as clients that have not proved who they are.
    pub async fn require_confidential(
        &mut self,
        state: &AppState,
        now: OffsetDateTime,
    ) -> Result<(), OAuthError> {
        if self.client.client_type != ClientType::Confidential {
            self.reload(state, &state.db, now).await?;
        }
        if self.client.client_type != ClientType::Confidential {
            return Err(self.refused());
        }
        Ok(())
    }

    fn refused(&self) -> OAuthError {
        self.refusal(OAuthError::new(
            OAuthErrorCode::InvalidClient,
            "client authentication failed",
        ))
    }

    fn refusal(&self, error: OAuthError) -> OAuthError {
        named(error, self.basic_was_tried)
    }
}

/// Finds out which client this is, within the limit on guesses.
async fn identify(
    app: &AppState,
    authorization: &[String],
    params: &Params,
    address: Option<IpAddr>,
    now: OffsetDateTime,
) -> Result<(Arc<Client>, ClientCredentials), ParamsRejection> {
    let authorization: Vec<&str> = authorization.iter().map(String::as_str).collect();
    let credentials = client_auth::extract(&authorization, params).map_err(|refusal| {
        let error = OAuthError::from(refusal);
        note_failure(&error, None);
        error
    })?;
    let client_id = credentials.client_id.clone();
    let shows_secret = credentials.secret.is_some();
    if shows_secret {
        app.limits.may_guess(&client_id, address)?;
    }
    if let Err(limited) = app.limits.is_exhausted(Tier::Standard, address) {
        // Nothing is left for strangers of this address, but a client may come from it as well: one that is known here and
        // shows a secret is judged, so that a neighbour cannot lock it out. Made-up names do not reach the database, and neither
        // does whoever shows none: it would count by its address in any case.
        if !shows_secret || app.clients.copy(&client_id).is_none() {
            return Err(limited.into());
        }
    }
    let authenticated = authenticate(app, credentials, now).await;
    if let Err(error) = &authenticated {
        // A name that nobody has registered may be anything; it is not repeated.
        note_failure(
            error,
            app.clients.copy(&client_id).is_some().then_some(&client_id),
        );
    }
    if shows_secret
        && let Err(error) = &authenticated
        && error.refusal.code == OAuthErrorCode::InvalidClient
    {
        app.limits.guessed_wrong(&client_id, address).await?;
    }
    Ok(authenticated?)
}

fn note_failure(error: &OAuthError, client_id: Option<&ClientId>) {
    if error.refusal.code == OAuthErrorCode::InvalidClient {
        tracing::warn!(
            event = "client_authentication.failed",
            client.id = client_id.map(|id| id.0.as_str()),
            "a client did not prove who it is"
        );
    }
}

/// Authenticates by the copy in memory; a refusal is repeated with the row, because the copy may be stale.
async fn authenticate(
    app: &AppState,
    credentials: ClientCredentials,
    now: OffsetDateTime,
) -> Result<(Arc<Client>, ClientCredentials), OAuthError> {
    let copy = app.clients.copy(&credentials.client_id);
    let by_copy = client_auth::authenticate(&credentials, copy.as_deref(), now);
    let client = match copy {
        Some(client) if by_copy.is_ok() => Some(client),
        // One statement, whether there is such a client or not, and whether it was in memory or not.
        _ => {
            let client = app.clients.reload(&app.db, &credentials.client_id).await?;
            client_auth::authenticate(&credentials, client.as_deref(), now)?;
            client
        }
    };
    let client = client
        .ok_or_else(|| OAuthError::new(OAuthErrorCode::InvalidClient, "client authentication failed"))?;
    Ok((client, credentials))
}

/// Every `Authorization` header. What is not text is passed on as text that is no credential, so that it is refused.
fn authorization_values(headers: &HeaderMap) -> Vec<String> {
    headers
        .get_all(header::AUTHORIZATION)
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        .collect()
}

fn is_basic(authorization: &str) -> bool {
    let scheme = authorization.split(' ').next().unwrap_or_default();
    scheme.eq_ignore_ascii_case("Basic")
}

/// RFC 6749 §5.2: the 401 names the scheme that the client tried.
fn named(error: OAuthError, basic_was_tried: bool) -> OAuthError {
    OAuthError {
        basic_was_tried,
        ..error
    }
}
