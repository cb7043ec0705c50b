//! What proves to a webhook who sent a message: Standard Webhooks, symmetric signatures.
//!
//! HMAC-SHA-256 over `id.timestamp.body`; the timestamp is the attempt's, so that an old message cannot be played back for
//! long. While a rotation overlaps there are two signatures, so that a receiver may hold either secret.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// What a secret starts with where people see it.
pub const SECRET_PREFIX: &str = "whsec_";
/// The length of a secret.
pub const SECRET_BYTES: usize = 32;

/// A secret as people see it.
pub fn printed_secret(secret: &[u8]) -> String {
    format!("{SECRET_PREFIX}{}", STANDARD.encode(secret))
}

/// The value of `webhook-signature`: one signature for each secret, separated by spaces.
pub fn header(secrets: &[Vec<u8>], id: &str, timestamp: i64, body: &str) -> String {
    let message = format!("{id}.{timestamp}.{body}");
    let signatures: Vec<String> = secrets
        .iter()
        .map(|secret| {
            let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
            format!("v1,{}", STANDARD.encode(hmac::sign(&key, message.as_bytes())))
        })
        .collect();
    signatures.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The published library makes the same signature.
    #[test]
    fn it_is_the_signature_of_the_standard() {
        let secret = vec![7; SECRET_BYTES];
        let theirs = standardwebhooks::Webhook::new(&printed_secret(&secret)).unwrap();
        let expected = theirs.sign("msg_1", 1_700_000_000, b"{\"a\":1}").unwrap();
        assert_eq!(
            header(std::slice::from_ref(&secret), "msg_1", 1_700_000_000, "{\"a\":1}"),
            expected
        );
        let two = header(&[vec![8; 32], secret], "msg_1", 1_700_000_000, "{\"a\":1}");
        assert!(two.ends_with(&expected) && two.split(' ').count() == 2);
    }
}
