//! How a client says who it is (RFC 6749 §2.3.1): Basic header or form fields, to [`ClientCredentials`].

use time::OffsetDateTime;

use super::authorization::OAuthRefusal;
use super::client::{Client, TokenEndpointAuthMethod};
use super::ids::ClientId;
use super::params::Params;

/// What a request presents: an id, perhaps a secret, and by which method.
#[derive(Clone)]
pub struct ClientCredentials {
    pub client_id: ClientId,
    pub secret: Option<String>,
    pub method: TokenEndpointAuthMethod,
}

/// Reads the credentials from all `Authorization` header values and the form. Header wins; a differing `client_id` or
/// `client_secret` in the body is `invalid_request`; two headers, or another scheme beside body credentials, too; a broken
/// Basic header is `invalid_client` and never falls back to the body; no id at all is `invalid_client`.
pub fn extract(authorization: &[&str], form: &Params) -> Result<ClientCredentials, OAuthRefusal> {
    let _ = (authorization, form);
    todo!()
}

/// Whether the credentials prove `client`. `client` is `None` when no such client is registered: the same work is done, the
/// same refusal comes out (`invalid_client`), as for a wrong secret and a disabled client.
pub fn authenticate(
    credentials: &ClientCredentials,
    client: Option<&Client>,
    now: OffsetDateTime,
) -> Result<(), OAuthRefusal> {
    let _ = (credentials, client, now);
    todo!()
}
