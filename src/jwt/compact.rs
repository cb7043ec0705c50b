//! The compact form of a signed token (RFC 7515 §3.1, §7.1), taken apart before anything is believed.
//!
//! Nothing here checks a signature. The header is read for `alg`, `kid`, `typ` and the presence of `crit`; every other
//! member, `jku`, `x5u`, `jwk` and `x5c` among them, is ignored, so that no token can bring its own key (RFC 8725 §3.10).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer};

/// What a header says. All of it is the sender's claim.
#[derive(Debug, Deserialize)]
pub(super) struct Header {
    pub(super) alg: String,
    #[serde(default, deserialize_with = "text")]
    pub(super) kid: Option<String>,
    #[serde(default, deserialize_with = "text")]
    pub(super) typ: Option<String>,
    /// Whether `crit` is there at all, with whatever value.
    #[serde(default, deserialize_with = "present")]
    pub(super) crit: bool,
}

/// A token cut into its parts; the payload is not decoded until a signature holds.
pub(super) struct Compact<'a> {
    pub(super) header: Header,
    /// `header.payload` as sent, over which the signature is made (RFC 7515 §5.1).
    pub(super) signing_input: &'a [u8],
    pub(super) signature: Vec<u8>,
    payload: &'a str,
}

impl<'a> Compact<'a> {
    /// Takes a token apart. Longer ones than `max_bytes` are refused before any decoding (RFC 8725 §3.11 leaves the
    /// number to us); base64url is strict: no padding, no stray bits, so that a token has one spelling only.
    pub(super) fn parse(token: &'a str, max_bytes: usize) -> Result<Self, &'static str> {
        if token.len() > max_bytes {
            return Err("longer than a token may be");
        }
        let mut parts = token.split('.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err("not three parts");
        };
        let header_json = URL_SAFE_NO_PAD
            .decode(header)
            .map_err(|_| "the header is not base64url")?;
        let signature = URL_SAFE_NO_PAD
            .decode(signature)
            .map_err(|_| "the signature is not base64url")?;
        let signing_input = &token.as_bytes()[..header.len() + 1 + payload.len()];
        let header =
            serde_json::from_slice::<Header>(&header_json).map_err(|_| "the header is not a JOSE header")?;
        if header.crit {
            // RFC 7515 §4.1.11: an extension that is not understood must be refused, and we understand none.
            return Err("the header has crit");
        }
        Ok(Self {
            header,
            signing_input,
            signature,
            payload,
        })
    }

    /// Reads the payload. To be called after the signature was found good.
    pub(super) fn payload<T: DeserializeOwned>(&self) -> Result<T, &'static str> {
        let json = URL_SAFE_NO_PAD
            .decode(self.payload)
            .map_err(|_| "the payload is not base64url")?;
        serde_json::from_slice(&json).map_err(|_| "the payload is not a JSON object of the expected form")
    }
}

/// A member that must be a string if it is there: `null` is not absence.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    String::deserialize(deserializer).map(Some)
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}
