//! How a client says who it is (RFC 6749 §2.3.1): Basic header or form fields, to [`ClientCredentials`].

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use time::OffsetDateTime;

use super::authorization::{OAuthErrorCode, OAuthRefusal};
use super::client::{Client, ClientType, TokenEndpointAuthMethod};
use super::ids::ClientId;
use super::opaque::{Opaque, TokenHash};
use super::params::Params;

/// What a request presents: an id, perhaps a secret, and by which method. No `Debug`: it holds the secret.
#[derive(Clone)]
pub struct ClientCredentials {
    pub client_id: ClientId,
    pub secret: Option<String>,
    pub method: TokenEndpointAuthMethod,
}

/// What is compared where there is no secret to compare with. Nobody knows a value with this hash.
const NO_SECRET: TokenHash = TokenHash([0; 32]);

/// The one answer to an unknown client, a wrong secret and a disabled client: nobody learns which it was.
const AUTHENTICATION_FAILED: OAuthRefusal = invalid_client("client authentication failed");

/// Reads the credentials from all `Authorization` header values and the form. Header wins; a differing `client_id` or
/// `client_secret` in the body is `invalid_request`; two headers, or another scheme beside body credentials, too; a broken
/// Basic header is `invalid_client` and never falls back to the body; no id at all is `invalid_client`.
pub fn extract(authorization: &[&str], form: &Params) -> Result<ClientCredentials, OAuthRefusal> {
    let (body_id, body_secret) = (form.get("client_id")?, form.get("client_secret")?);
    match authorization {
        [] => from_body(body_id, body_secret),
        [header] => match basic_credentials(header) {
            Some(encoded) => from_basic(encoded, body_id, body_secret),
            None if body_id.is_some() || body_secret.is_some() => Err(OAuthRefusal::invalid_request(
                "client credentials in the body come with an Authorization header of another scheme",
            )),
            None => Err(invalid_client("the Authorization scheme has to be Basic")),
        },
        _ => Err(OAuthRefusal::invalid_request(
            "there is more than one Authorization header",
        )),
    }
}

/// Whether the credentials prove `client`. `client` is `None` when no such client is registered: the same work is done, the
/// same refusal comes out (`invalid_client`), as for a wrong secret and a disabled client.
pub fn authenticate(
    credentials: &ClientCredentials,
    client: Option<&Client>,
    now: OffsetDateTime,
) -> Result<(), OAuthRefusal> {
    let secret_is_right = secret_is_right(credentials, client, now);
    let Some(client) = client.filter(|client| !client.disabled) else {
        return Err(AUTHENTICATION_FAILED);
    };
    if client.client_type != ClientType::Confidential {
        // A secret from a client that has none is somebody's mistake or somebody's guess.
        return match credentials.secret {
            None => Ok(()),
            Some(_) => Err(AUTHENTICATION_FAILED),
        };
    }
    if !secret_is_right {
        return Err(AUTHENTICATION_FAILED);
    }
    // Said only to a client that has proved itself: it helps whoever set the library up.
    match client.token_endpoint_auth_method {
        None => Ok(()),
        Some(registered) if registered == credentials.method => Ok(()),
        Some(TokenEndpointAuthMethod::ClientSecretBasic) => Err(invalid_client(
            "this client is registered with token_endpoint_auth_method client_secret_basic",
        )),
        Some(TokenEndpointAuthMethod::ClientSecretPost) => Err(invalid_client(
            "this client is registered with token_endpoint_auth_method client_secret_post",
        )),
        Some(TokenEndpointAuthMethod::None) => Err(AUTHENTICATION_FAILED),
    }
}

/// Compares the presented secret with every secret of the client that is good at `now`, and always with one more, without
/// stopping at the first that fits.
fn secret_is_right(credentials: &ClientCredentials, client: Option<&Client>, now: OffsetDateTime) -> bool {
    let presented = credentials.secret.as_deref().and_then(Opaque::parse);
    let hash = presented.as_ref().map_or(NO_SECRET, Opaque::hash);
    let good = client
        .iter()
        .flat_map(|client| &client.secrets)
        .filter(|secret| secret.expires_at.is_none_or(|expires_at| now < expires_at));
    let fits_dummy = hash.equals(&NO_SECRET);
    let fits_own = good.fold(false, |fits, secret| hash.equals(&secret.hash) | fits);
    presented.is_some() && fits_own && !fits_dummy
}

fn from_body(client_id: Option<&str>, secret: Option<&str>) -> Result<ClientCredentials, OAuthRefusal> {
    let client_id = client_id.ok_or(invalid_client("the request says of no client who it is"))?;
    Ok(ClientCredentials {
        client_id: ClientId(client_id.to_owned()),
        method: match secret {
            Some(_) => TokenEndpointAuthMethod::ClientSecretPost,
            None => TokenEndpointAuthMethod::None,
        },
        secret: secret.map(str::to_owned),
    })
}

fn from_basic(
    encoded: &str,
    body_id: Option<&str>,
    body_secret: Option<&str>,
) -> Result<ClientCredentials, OAuthRefusal> {
    let (client_id, secret) =
        decode_basic(encoded).ok_or(invalid_client("the Basic credentials are malformed"))?;
    // RFC 6749 §2.3: one method per request. Repeating the same is harmless, contradicting is not.
    if body_id.is_some_and(|id| id != client_id) || body_secret.is_some_and(|other| other != secret) {
        return Err(OAuthRefusal::invalid_request(
            "the body names other client credentials than the Authorization header",
        ));
    }
    // RFC 6749 §2.3.1: an empty secret is no secret; so some libraries send a public client's id.
    let secret = Some(secret).filter(|secret| !secret.is_empty());
    Ok(ClientCredentials {
        client_id: ClientId(client_id),
        method: match secret {
            Some(_) => TokenEndpointAuthMethod::ClientSecretBasic,
            None => TokenEndpointAuthMethod::None,
        },
        secret,
    })
}

/// What follows the scheme name, when the scheme is Basic (RFC 9110 §11.1: in any case).
fn basic_credentials(header: &str) -> Option<&str> {
    let (scheme, credentials) = header.split_once(' ').unwrap_or((header, ""));
    scheme
        .eq_ignore_ascii_case("Basic")
        .then(|| credentials.trim_matches(' '))
}

/// Id and secret of Basic credentials: padded standard base64, split at the first colon, each half form-decoded
/// (RFC 7617 §2, RFC 6749 §2.3.1). `None` for anything else.
fn decode_basic(encoded: &str) -> Option<(String, String)> {
    let decoded = STANDARD.decode(encoded).ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    let client_id = form_decode(&decoded[..colon])?;
    let secret = form_decode(&decoded[colon + 1..])?;
    (!client_id.is_empty()).then_some((client_id, secret))
}

/// `application/x-www-form-urlencoded` of one value, where a malformed escape is an error and not itself.
fn form_decode(encoded: &[u8]) -> Option<String> {
    let mut decoded = Vec::with_capacity(encoded.len());
    let mut rest = encoded;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let (digits, after) = after.split_first_chunk::<2>()?;
                rest = after;
                16 * hex_value(digits[0])? + hex_value(digits[1])?
            }
            byte => *byte,
        });
    }
    String::from_utf8(decoded)
        .ok()
        .filter(|text| !text.contains(char::is_control))
}

fn hex_value(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

const fn invalid_client(description: &'static str) -> OAuthRefusal {
    OAuthRefusal::new(OAuthErrorCode::InvalidClient, description)
}
