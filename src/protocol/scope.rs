//! Scopes: what a client asks for and is granted (RFC 6749 §3.3, OpenID Connect Core §3.1.2.1, §5.4).

use serde::{Deserialize, Serialize};

/// Scopes that OpenID Connect defines and riley-auth knows without configuration.
pub const STANDARD: [&str; 6] = ["openid", "profile", "email", "address", "phone", "offline_access"];

/// Scopes that every client may ask for, without being registered for them.
pub const FOR_EVERY_CLIENT: [&str; 3] = ["openid", "profile", "email"];

/// A set of scope tokens in the order in which they were first named, without repetition.
///
/// On the wire and in the database: tokens joined by single spaces.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ScopeSet(Vec<String>);

/// Text that is no list of scope tokens, or too long a one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("scope is not a list of scope tokens separated by single spaces")]
pub struct InvalidScope;

impl ScopeSet {
    /// At most this many tokens in one request.
    pub const MAX_TOKENS: usize = 50;
    /// At most this many bytes in one request.
    pub const MAX_BYTES: usize = 1024;

    /// Splits `text` at single spaces; each token is of the grammar of RFC 6749 §3.3 (%x21 / %x23-5B / %x5D-7E).
    /// The empty text is the empty set.
    pub fn parse(text: &str) -> Result<Self, InvalidScope> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        if text.len() > Self::MAX_BYTES {
            return Err(InvalidScope);
        }
        let mut set = Self::default();
        for (index, token) in text.split(' ').enumerate() {
            if index >= Self::MAX_TOKENS || !is_scope_token(token) {
                return Err(InvalidScope);
            }
            set.insert(token);
        }
        Ok(set)
    }

    /// Whether `token` is in the set.
    pub fn contains(&self, token: &str) -> bool {
        self.0.iter().any(|own| own == token)
    }

    /// Whether every token of this set is in `other`.
    pub fn is_subset_of(&self, other: &Self) -> bool {
        self.0.iter().all(|token| other.contains(token))
    }

    /// The tokens for which `keep` holds, in their order.
    #[must_use]
    pub fn filtered(&self, keep: impl Fn(&str) -> bool) -> Self {
        Self(self.0.iter().filter(|token| keep(token)).cloned().collect())
    }

    /// The tokens of this set, then those of `other` that are new.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut all = self.clone();
        other.iter().for_each(|token| all.insert(token));
        all
    }

    /// Adds a token unless it is there.
    pub fn insert(&mut self, token: &str) {
        if !self.contains(token) {
            self.0.push(token.to_owned());
        }
    }

    /// The tokens in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Whether the set has no token.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl std::fmt::Display for ScopeSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.join(" "))
    }
}

impl From<ScopeSet> for String {
    fn from(set: ScopeSet) -> Self {
        set.to_string()
    }
}

impl TryFrom<String> for ScopeSet {
    type Error = InvalidScope;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

/// Whether `token` is a scope token: one or more of %x21 / %x23-5B / %x5D-7E (RFC 6749 §3.3).
pub fn is_scope_token(token: &str) -> bool {
    !token.is_empty()
        && token
            .bytes()
            .all(|byte| matches!(byte, 0x21 | 0x23..=0x5B | 0x5D..=0x7E))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tokens_keep_their_order_and_lose_their_repetitions() {
        let set = ScopeSet::parse("email openid email").unwrap();
        assert_eq!(set.to_string(), "email openid");
    }

    #[test]
    fn only_single_spaces_separate_and_only_the_grammar_is_accepted() {
        for text in [
            " openid",
            "openid ",
            "openid  email",
            "open\"id",
            "back\\slash",
            "t\tab",
            "caf\u{e9}",
            " ",
        ] {
            assert_eq!(ScopeSet::parse(text), Err(InvalidScope), "{text:?}");
        }
        assert!(ScopeSet::parse("").unwrap().is_empty());
    }

    #[test]
    fn a_request_for_too_many_or_too_long_scopes_is_refused() {
        let many = (0..51).map(|n| format!("s{n}")).collect::<Vec<_>>().join(" ");
        assert_eq!(ScopeSet::parse(&many), Err(InvalidScope));
        assert_eq!(ScopeSet::parse(&"a".repeat(1025)), Err(InvalidScope));
    }

    #[test]
    fn a_set_knows_what_it_contains() {
        let (small, large) = (
            ScopeSet::parse("openid").unwrap(),
            ScopeSet::parse("profile openid").unwrap(),
        );
        assert!(small.is_subset_of(&large) && !large.is_subset_of(&small));
        assert_eq!(small.union(&large).to_string(), "openid profile");
        assert_eq!(large.filtered(|token| token != "openid").to_string(), "profile");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic_and_what_is_accepted_reads_back(text in "[ -~\\x00é]{0,60}") {
            if let Ok(set) = ScopeSet::parse(&text) {
                prop_assert!(set.iter().all(is_scope_token));
                prop_assert_eq!(ScopeSet::parse(&set.to_string()), Ok(set));
            }
        }

        #[test]
        fn tokens_of_the_grammar_are_all_found_again(tokens in proptest::collection::vec("[!#-\\[\\]-~]{1,8}", 1..20)) {
            let set = ScopeSet::parse(&tokens.join(" ")).unwrap();
            prop_assert!(tokens.iter().all(|token| set.contains(token)));
            prop_assert!(set.iter().all(|token| tokens.iter().any(|own| own == token)));
        }
    }
}
