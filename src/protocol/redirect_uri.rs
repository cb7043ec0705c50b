//! Redirect URIs: what may be registered, and when a requested one is a registered one (RFC 9700 §2.1, RFC 8252 §7).

use super::client::ClientType;

/// At most this many redirect URIs per client.
pub const MAX_REDIRECT_URIS: usize = 50;

/// Why a URI cannot be registered; the text is for the operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RedirectUriRefused(pub &'static str);

/// Whether `uri` may be registered for a client of this type. `issuer_is_loopback`: in development plain http on loopback
/// is admitted for every client.
pub fn validate_registration(
    uri: &str,
    client_type: ClientType,
    issuer_is_loopback: bool,
) -> Result<(), RedirectUriRefused> {
    let _ = (uri, client_type, issuer_is_loopback);
    todo!()
}

/// Whether `requested` is one of `registered`: byte for byte, but for the port of a native client's loopback URI (RFC 8252 §7.3).
pub fn is_registered(requested: &str, registered: &[String], client_type: ClientType) -> bool {
    let _ = (requested, registered, client_type);
    todo!()
}
