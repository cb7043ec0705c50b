//! Request parameters as OAuth reads them: empty means absent, twice is an error (RFC 6749 §3.1, §3.2).

use super::authorization::OAuthRefusal;

/// The parameters of one request, in the order in which they came.
#[derive(Clone, Default)]
pub struct Params(Vec<(String, String)>);

impl Params {
    /// At most this many parameters in one request.
    pub const MAX_COUNT: usize = 200;

    /// Reads `application/x-www-form-urlencoded` bytes: strict UTF-8 after decoding, no NUL, at most [`Self::MAX_COUNT`].
    pub fn parse(urlencoded: &[u8]) -> Result<Self, OAuthRefusal> {
        let _ = urlencoded;
        todo!()
    }

    /// The one value of `name`; `None` when it is absent or empty, an `invalid_request` when it stands there twice.
    pub fn get(&self, name: &str) -> Result<Option<&str>, OAuthRefusal> {
        let _ = name;
        todo!()
    }

    /// Both lists, so that a parameter split over query and body counts as sent twice.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }
}
