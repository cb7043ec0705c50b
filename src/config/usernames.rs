//! `[usernames]`: what a username may be.

use schemars::JsonSchema;
use serde::Deserialize;

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
