//! Request objects by value (OpenID Connect Core §6.1, RFC 9101): unsigned, or signed by a key registered for the client.

use time::OffsetDateTime;

use super::authorization::OAuthRefusal;
use super::client::Client;
use super::params::Params;

/// The parameters with those of the request object in place of the query's, when there is a `request`; else unchanged.
/// `request_uri` is `request_uri_not_supported`, `registration` is `registration_not_supported`. `client_id` and
/// `response_type` must agree with the query; no nesting; no duplicate members; a client with registered keys accepts only
/// objects signed by them; `iss`, `aud`, `exp`, `nbf` are judged when present.
pub fn read(
    params: &Params,
    client: &Client,
    issuer: &str,
    now: OffsetDateTime,
) -> Result<Params, OAuthRefusal> {
    let _ = (params, client, issuer, now);
    todo!()
}
