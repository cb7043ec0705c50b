//! `[usernames]`: what a username may be.

use schemars::JsonSchema;
use serde::Deserialize;

use super::check::Check;
use crate::usernames::UsernameRules;

/// `[usernames]`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UsernamesConfig {
    pub min_length: usize,
    pub max_length: usize,
    /// Matched against the whole name, anchored whether or not it says so.
    pub pattern: String,
    /// Names nobody may take, compared without case.
    pub reserved: Vec<String>,
    pub changes_allowed: bool,
    pub days_between_changes: u32,
    pub old_name_held_days: u32,
    pub max_display_name_length: usize,
}

impl Default for UsernamesConfig {
    fn default() -> Self {
        Self {
            min_length: 3,
            max_length: 24,
            pattern: "^[a-zA-Z][a-zA-Z0-9_-]*$".to_owned(),
            reserved: Vec::new(),
            changes_allowed: true,
            days_between_changes: 30,
            old_name_held_days: 90,
            max_display_name_length: 200,
        }
    }
}

impl UsernamesConfig {
    /// The rules of this table.
    pub(super) fn check(&self, check: &mut Check) {
        check.range("usernames.min_length", self.min_length as u64, 1, 64);
        check.range("usernames.max_length", self.max_length as u64, 1, 64);
        if self.min_length > self.max_length {
            check.error(
                "usernames.max_length",
                "the greatest length is below the least",
                "make it at least `usernames.min_length`",
            );
        }
        if UsernameRules::new(self).is_err() {
            check.error(
                "usernames.pattern",
                "this is no regular expression",
                "write it in the syntax of the regex crate, without look-around, back references and huge repetitions",
            );
        }
        check.range(
            "usernames.days_between_changes",
            self.days_between_changes.into(),
            0,
            3650,
        );
        check.range(
            "usernames.old_name_held_days",
            self.old_name_held_days.into(),
            0,
            3650,
        );
        check.range(
            "usernames.max_display_name_length",
            self.max_display_name_length as u64,
            1,
            1000,
        );
    }
}
