//! Request parameters as OAuth reads them: empty means absent, twice is an error (RFC 6749 §3.1, §3.2).

use percent_encoding::percent_decode;

use super::authorization::OAuthRefusal;

/// The parameters of one request that have a value, in the order in which they came.
///
/// No `Debug`: codes, secrets and hints are among the values.
#[derive(Clone, Default)]
pub struct Params(Vec<(String, String)>);

impl Params {
    /// At most this many parameters in one request.
    pub const MAX_COUNT: usize = 200;

    /// Reads `application/x-www-form-urlencoded` bytes: strict UTF-8 after decoding, no NUL, at most [`Self::MAX_COUNT`].
    ///
    /// A percent sign that starts no escape stands for itself, as in browsers.
    pub fn parse(urlencoded: &[u8]) -> Result<Self, OAuthRefusal> {
        let mut params = Self::default();
        let pieces = urlencoded
            .split(|byte| *byte == b'&')
            .filter(|piece| !piece.is_empty());
        for (index, piece) in pieces.enumerate() {
            if index >= Self::MAX_COUNT {
                return Err(OAuthRefusal::invalid_request(
                    "the request has too many parameters",
                ));
            }
            let (name, value) = match piece.iter().position(|byte| *byte == b'=') {
                Some(equals) => (&piece[..equals], &piece[equals + 1..]),
                None => (piece, [].as_slice()),
            };
            let (name, value) = (decode(name)?, decode(value)?);
            // RFC 6749 §3.1: a parameter without a value counts as omitted.
            if !value.is_empty() {
                params.0.push((name, value));
            }
        }
        Ok(params)
    }

    /// The one value of `name`; `None` when it is absent or empty, an `invalid_request` when it stands there twice.
    ///
    /// `name` is one of our own words: the refusal names it.
    pub fn get(&self, name: &str) -> Result<Option<&str>, OAuthRefusal> {
        let mut values = self.0.iter().filter(|(own, _)| own == name);
        let first = values.next().map(|(_, value)| value.as_str());
        if values.next().is_some() {
            return Err(OAuthRefusal::invalid_request_about(
                name,
                "is sent more than once",
            ));
        }
        Ok(first)
    }

    /// Refuses the request if any of `names` stands in it twice.
    pub fn refuse_repeated(&self, names: &[&str]) -> Result<(), OAuthRefusal> {
        names.iter().try_for_each(|name| self.get(name).map(drop))
    }

    /// Both lists, so that a parameter split over query and body counts as sent twice.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// Puts `value` in place of every value that `name` had. An empty value leaves the parameter absent.
    pub fn set(&mut self, name: &str, value: &str) {
        self.0.retain(|(own, _)| own != name);
        if !value.is_empty() {
            self.0.push((name.to_owned(), value.to_owned()));
        }
    }

    /// The names that came with the lengths of their values in bytes: what may be kept of a request for diagnosis.
    pub fn names_and_lengths(&self) -> impl Iterator<Item = (&str, usize)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.len()))
    }
}

/// One name or value. NUL is refused here, once for all, because PostgreSQL has no text with it.
fn decode(encoded: &[u8]) -> Result<String, OAuthRefusal> {
    let spaced: Vec<u8> = encoded
        .iter()
        .map(|byte| if *byte == b'+' { b' ' } else { *byte })
        .collect();
    let decoded = String::from_utf8(percent_decode(&spaced).collect())
        .map_err(|_| OAuthRefusal::invalid_request("a parameter is not UTF-8"))?;
    if decoded.contains('\0') {
        return Err(OAuthRefusal::invalid_request("a parameter contains NUL"));
    }
    Ok(decoded)
}
