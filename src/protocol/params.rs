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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use url::form_urlencoded;

    use super::*;

    fn get(query: &str, name: &str) -> Option<String> {
        let params = Params::parse(query.as_bytes()).unwrap();
        params.get(name).unwrap().map(str::to_owned)
    }

    #[test]
    fn names_and_values_are_form_decoded() {
        assert_eq!(get("a=b+c%20d%2B%C3%A9", "a").as_deref(), Some("b c d+\u{e9}"));
        assert_eq!(get("%61=1&b=2=3", "a").as_deref(), Some("1"));
        assert_eq!(get("%61=1&b=2=3", "b").as_deref(), Some("2=3"));
        assert_eq!(get("a=100%", "a").as_deref(), Some("100%"));
    }

    /// RFC 6749 §3.1.
    #[test]
    fn a_parameter_without_a_value_counts_as_absent() {
        for query in ["", "a", "a=", "&&a=&", "A=1"] {
            assert_eq!(get(query, "a"), None, "{query}");
        }
    }

    /// RFC 6749 §3.1.
    #[test]
    fn a_parameter_that_is_sent_twice_is_refused_where_it_is_read() {
        let params = Params::parse(b"a=1&b=2&a=1").unwrap();
        let refusal = params.get("a").unwrap_err();
        assert_eq!(refusal, OAuthRefusal::invalid_request("a is sent more than once"));
        assert_eq!(params.get("b"), Ok(Some("2")));
        assert!(params.refuse_repeated(&["b", "a"]).is_err());
        assert!(params.refuse_repeated(&["b", "c"]).is_ok());
    }

    #[test]
    fn a_parameter_split_over_query_and_body_is_sent_twice() {
        let params = Params::parse(b"a=1").unwrap().and(Params::parse(b"a=2").unwrap());
        assert!(params.get("a").is_err());
    }

    #[test]
    fn nul_and_text_that_is_not_utf_8_are_refused() {
        for query in [
            &b"a=%00"[..],
            b"a=\0",
            b"%00=1",
            b"a=%FF",
            b"a=%ED%A0%80",
            b"a=\xff",
            b"%C3=1",
        ] {
            assert!(Params::parse(query).is_err(), "{query:?}");
        }
    }

    #[test]
    fn there_are_at_most_200_parameters() {
        let query = |count: usize| {
            (0..count)
                .map(|n| format!("p{n}=1"))
                .collect::<Vec<_>>()
                .join("&")
        };
        assert!(Params::parse(query(200).as_bytes()).is_ok());
        assert!(Params::parse(query(201).as_bytes()).is_err());
        assert!(Params::parse("a&".repeat(201).as_bytes()).is_err());
    }

    #[test]
    fn set_replaces_every_value_and_the_empty_one_removes() {
        let mut params = Params::parse(b"a=1&a=2").unwrap();
        params.set("a", "3");
        assert_eq!(params.get("a"), Ok(Some("3")));
        params.set("a", "");
        assert_eq!(params.get("a"), Ok(None));
    }

    #[test]
    fn of_a_request_names_and_lengths_may_be_kept() {
        let params = Params::parse(b"code=abc&state=").unwrap();
        assert_eq!(params.names_and_lengths().collect::<Vec<_>>(), [("code", 3)]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Params::parse(&bytes);
        }

        #[test]
        fn what_a_form_encodes_is_read_back(value in "[^\\x00]{1,40}") {
            let query = form_urlencoded::Serializer::new(String::new()).append_pair("a", &value).finish();
            prop_assert_eq!(get(&query, "a"), Some(value));
        }
    }
}
