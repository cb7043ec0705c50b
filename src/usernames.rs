//! What a username may be (`[usernames]`), as functions from values to values.
//!
//! A name is compared with others in its folded form, which is made here and nowhere else: the database's idea of lower
//! case is another. Whether a name is still to be had is [`crate::db::users`]'s business.

use std::collections::HashSet;

use aws_lc_rs::rand::SecureRandom;
use regex::{Regex, RegexBuilder};

use crate::config::usernames::UsernamesConfig;

/// A pattern of the configuration may not compile to more than this.
const MAX_PATTERN_BYTES: usize = 1 << 20;
/// What a name is derived from when nothing better is known.
const FALLBACK: &str = "user";
/// Plain numbers that are tried after a name before random ones.
const SMALL_NUMBERS: std::ops::RangeInclusive<u32> = 2..=5;
/// Random numbers that are tried after that, of growing length.
const RANDOM_DIGITS: [usize; 6] = [3, 4, 4, 6, 6, 8];

/// The rules, compiled.
#[derive(Clone, Debug)]
pub struct UsernameRules {
    min_length: usize,
    max_length: usize,
    pattern: Regex,
    /// Folded.
    reserved: HashSet<String>,
}

/// A name that passed the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Username {
    /// As its owner writes it.
    pub name: String,
    /// What uniqueness is judged by.
    pub folded: String,
}

/// The rule that a name breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsernameRefused {
    TooShort,
    TooLong,
    Pattern,
    Reserved,
}

impl UsernameRefused {
    /// The code that front ends match on.
    pub fn code(self) -> &'static str {
        match self {
            Self::TooShort => "username_too_short",
            Self::TooLong => "username_too_long",
            Self::Pattern => "username_invalid",
            Self::Reserved => "username_reserved",
        }
    }

    /// The rule in words.
    pub fn description(self) -> &'static str {
        match self {
            Self::TooShort => "the username is shorter than usernames may be",
            Self::TooLong => "the username is longer than usernames may be",
            Self::Pattern => "the username has characters or a form that usernames may not have",
            Self::Reserved => "this username is reserved",
        }
    }
}

/// The form in which names are compared: without case.
pub fn fold(name: &str) -> String {
    name.to_lowercase()
}

impl UsernameRules {
    /// Compiles the rules. The pattern is matched against the whole name, whether or not it is anchored itself, by an
    /// engine whose time grows linearly with the name.
    pub fn new(config: &UsernamesConfig) -> Result<Self, regex::Error> {
        Ok(Self {
            min_length: config.min_length,
            max_length: config.max_length,
            pattern: RegexBuilder::new(&format!(r"\A(?:{})\z", config.pattern))
                .size_limit(MAX_PATTERN_BYTES)
                .build()?,
            reserved: config.reserved.iter().map(|name| fold(name)).collect(),
        })
    }

    /// Judges a name. Lengths are counted in characters.
    pub fn check(&self, name: &str) -> Result<Username, UsernameRefused> {
        // Bounded, so that an endless name costs nothing.
        let length = name.chars().take(self.max_length + 1).count();
        if length < self.min_length {
            return Err(UsernameRefused::TooShort);
        }
        if length > self.max_length {
            return Err(UsernameRefused::TooLong);
        }
        if name.chars().any(is_invisible) || !self.pattern.is_match(name) {
            return Err(UsernameRefused::Pattern);
        }
        let folded = fold(name);
        if self.reserved.contains(&folded) {
            return Err(UsernameRefused::Reserved);
        }
        Ok(Username {
            name: name.to_owned(),
            folded,
        })
    }

    /// Names for a newcomer, best first, all within the rules; which of them are free is for the caller to find out. Empty
    /// only under a pattern that nothing derived from `hints` or from a number fits.
    pub fn candidates(&self, hints: &[&str], rng: &dyn SecureRandom) -> Vec<Username> {
        let mut found: Vec<Username> = Vec::new();
        let mut add = |name: &str| {
            if let Ok(name) = self.check(name)
                && !found.iter().any(|known| known.folded == name.folded)
            {
                found.push(name);
            }
        };
        for stem in self.stems(hints) {
            add(&stem);
            let small = SMALL_NUMBERS.map(|number| number.to_string());
            let random = RANDOM_DIGITS.into_iter().map(|digits| random_digits(rng, digits));
            for suffix in small.chain(random) {
                let room = self.max_length.saturating_sub(suffix.len());
                add(&format!(
                    "{}{suffix}",
                    stem.chars().take(room).collect::<String>()
                ));
            }
        }
        found
    }

    /// Stems from the hints, then the fallback, each in a few forms for patterns that are narrower than ours.
    fn stems(&self, hints: &[&str]) -> Vec<String> {
        hints
            .iter()
            .copied()
            .chain([FALLBACK])
            .flat_map(|hint| {
                let plain = plain(hint);
                let bare: String = plain.chars().filter(char::is_ascii_alphanumeric).collect();
                [plain.to_lowercase(), plain, bare.to_lowercase(), bare]
            })
            .map(|stem| stem.chars().take(self.max_length).collect::<String>())
            .filter(|stem| !stem.is_empty())
            .fold(Vec::new(), |mut stems, stem| {
                if !stems.contains(&stem) {
                    stems.push(stem);
                }
                stems
            })
    }
}

/// Letters, digits, `_` and `-` of ASCII; gaps become `-`, other characters vanish; it begins with a letter and ends with
/// no separator.
fn plain(hint: &str) -> String {
    let mut plain = String::new();
    for character in hint.chars() {
        match character {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '_' => plain.push(character),
            ' ' | '.' | '-' | '+' if !plain.ends_with('-') => plain.push('-'),
            _ => {}
        }
    }
    plain
        .trim_start_matches(|c: char| !c.is_ascii_alphabetic())
        .trim_end_matches(['-', '_'])
        .to_owned()
}

/// Characters that make one name look like another, whatever the pattern says: controls, spaces, marks of direction and of
/// zero width.
pub fn is_invisible(character: char) -> bool {
    character.is_control()
        || character.is_whitespace()
        || matches!(character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

fn random_digits(rng: &dyn SecureRandom, digits: usize) -> String {
    let mut bytes = [0; 8];
    rng.fill(&mut bytes)
        .expect("the operating system provides randomness");
    // The slight bias of the remainder is of no consequence: a name is no secret.
    bytes
        .iter()
        .take(digits)
        .map(|byte| char::from(b'0' + byte % 10))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::rand::SystemRandom;
    use proptest::prelude::*;

    fn rules() -> UsernameRules {
        rules_with(|_| {})
    }

    fn rules_with(change: impl FnOnce(&mut UsernamesConfig)) -> UsernameRules {
        let mut config = UsernamesConfig {
            reserved: vec!["Admin".to_owned(), "support".to_owned()],
            ..UsernamesConfig::default()
        };
        change(&mut config);
        UsernameRules::new(&config).unwrap()
    }

    #[test]
    fn a_name_keeps_its_case_and_is_compared_without() {
        let name = rules().check("Alice_B-2").unwrap();
        assert_eq!(
            (name.name.as_str(), name.folded.as_str()),
            ("Alice_B-2", "alice_b-2")
        );
    }

    #[test]
    fn each_rule_refuses_with_its_own_code() {
        for (name, refused) in [
            ("", UsernameRefused::TooShort),
            ("al", UsernameRefused::TooShort),
            ("a234567890123456789012345", UsernameRefused::TooLong),
            ("1alice", UsernameRefused::Pattern),
            ("alice!", UsernameRefused::Pattern),
            ("alice\n", UsernameRefused::Pattern),
            ("alice bob", UsernameRefused::Pattern),
            ("\u{430}lice", UsernameRefused::Pattern),
            ("admin", UsernameRefused::Reserved),
            ("ADMIN", UsernameRefused::Reserved),
            ("Support", UsernameRefused::Reserved),
        ] {
            assert_eq!(rules().check(name), Err(refused), "{name:?}");
        }
        assert!(rules().check("a23456789012345678901234").is_ok());
    }

    #[test]
    fn the_pattern_matches_the_whole_name_even_if_it_is_not_anchored() {
        for pattern in ["[a-z]+", "^[a-z]+", "[a-z]+$", "(?m)^[a-z]+$", "[a-z]+|[0-9]+"] {
            let rules = rules_with(|config| config.pattern = pattern.to_owned());
            assert!(rules.check("alice").is_ok(), "{pattern}");
            for name in ["alice!", "!alice", "alice\nbob", "alice1", "Alice"] {
                assert_eq!(
                    rules.check(name),
                    Err(UsernameRefused::Pattern),
                    "{pattern} {name:?}"
                );
            }
        }
    }

    #[test]
    fn no_pattern_admits_what_cannot_be_seen() {
        let rules = rules_with(|config| config.pattern = "(?s).*".to_owned());
        for name in [
            "ali\u{200b}ce",
            "ali\u{202e}ce",
            "alice ",
            "ali\u{a0}ce",
            "\u{feff}alice",
            "ali\tce",
        ] {
            assert_eq!(rules.check(name), Err(UsernameRefused::Pattern), "{name:?}");
        }
        assert!(rules.check("Алиса").is_ok());
    }

    #[test]
    fn a_suggestion_is_made_of_the_first_hint_that_gives_one() {
        let rng = SystemRandom::new();
        let first = |hints: &[&str]| rules().candidates(hints, &rng)[0].name.clone();
        assert_eq!(first(&["octo.cat", "Someone"]), "octo-cat");
        assert_eq!(first(&["", "Ada Lovelace"]), "ada-lovelace");
        assert_eq!(first(&["Алиса"]), "user");
        assert_eq!(first(&["42"]), "user");
        assert_eq!(first(&["admin"]), "admin2");
        assert!(first(&["x"]).starts_with('x') && rules().check(&first(&["x"])).is_ok());
    }

    #[test]
    fn a_narrower_pattern_is_met_by_a_barer_form() {
        let rules = rules_with(|config| config.pattern = "[a-z]{3}[a-z0-9]*".to_owned());
        let names = rules.candidates(&["Ada_Lovelace"], &SystemRandom::new());
        assert_eq!(names[0].name, "adalovelace");
        assert!(
            rules_with(|config| config.pattern = "[!]{5}".to_owned())
                .candidates(&["ada"], &SystemRandom::new())
                .is_empty()
        );
    }

    proptest! {
        /// Whatever an upstream calls somebody, what is suggested passes the rules.
        #[test]
        fn every_candidate_passes_the_rules(hint in any::<String>(), other in any::<String>()) {
            let rules = rules();
            let names = rules.candidates(&[&hint, &other], &SystemRandom::new());
            prop_assert!(!names.is_empty());
            for name in &names {
                let checked = rules.check(&name.name);
                prop_assert_eq!(checked.as_ref(), Ok(name));
            }
        }

        /// A name that passes is within the length, is made of the pattern's characters and folds to itself when folded.
        #[test]
        fn what_passes_is_well_formed(name in any::<String>()) {
            if let Ok(name) = rules().check(&name) {
                prop_assert!(name.name.is_ascii());
                prop_assert!((3..=24).contains(&name.name.len()));
                prop_assert_eq!(fold(&name.folded), name.folded);
            }
        }
    }
}
