//! The `prompt` parameter (OpenID Connect Core §3.1.2.1).

use serde::{Deserialize, Serialize};

/// What the client wants the person to be asked. `none` stands alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prompt {
    pub none: bool,
    pub login: bool,
    pub consent: bool,
    /// A login that asks the upstream to offer a choice of accounts.
    pub select_account: bool,
}

/// A value that is not known, or `none` with another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPrompt {
    #[error("prompt has a value that is not supported")]
    Unknown,
    #[error("prompt=none cannot be combined with another value")]
    NoneWithOther,
}

impl Prompt {
    /// The values that discovery advertises.
    pub const VALUES: [&'static str; 4] = ["none", "login", "consent", "select_account"];

    /// Reads the space-separated list; absent is no wish at all.
    pub fn parse(text: Option<&str>) -> Result<Self, InvalidPrompt> {
        let mut prompt = Self::default();
        for value in text
            .unwrap_or_default()
            .split(' ')
            .filter(|value| !value.is_empty())
        {
            match value {
                "none" => prompt.none = true,
                "login" => prompt.login = true,
                "consent" => prompt.consent = true,
                "select_account" => prompt.select_account = true,
                _ => return Err(InvalidPrompt::Unknown),
            }
        }
        if prompt.none && (prompt.login || prompt.consent || prompt.select_account) {
            return Err(InvalidPrompt::NoneWithOther);
        }
        Ok(prompt)
    }

    /// Whether a new login is asked for, session or not.
    pub fn demands_login(self) -> bool {
        self.login || self.select_account
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_stands_alone_and_unknown_values_are_refused() {
        assert_eq!(
            Prompt::parse(Some("none login")),
            Err(InvalidPrompt::NoneWithOther)
        );
        assert_eq!(Prompt::parse(Some("create")), Err(InvalidPrompt::Unknown));
        assert_eq!(Prompt::parse(None), Ok(Prompt::default()));
        let both = Prompt::parse(Some("login consent")).unwrap();
        assert!(both.login && both.consent && !both.none && both.demands_login());
    }
}
