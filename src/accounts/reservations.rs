//! Names that nobody may take, beside those of the configuration. Who has such a name already keeps it.

use serde_json::json;

use crate::audit::{Action, Entry, Recorder, Target};
use crate::db::{self, Transaction};
use crate::usernames;

/// What kind of thing the trail says that a name is.
const KIND: &str = "reserved_username";
/// Longer than any username may be.
const MAX_NAME_CHARS: usize = 100;

/// Why nothing was done. The transaction is of no use any more.
#[derive(Debug)]
pub enum Refused {
    /// It is no name that could be seen, or too long for one.
    Invalid,
    AlreadyReserved,
    NotReserved,
    Database(sqlx::Error),
}

impl From<sqlx::Error> for Refused {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

/// Reserves a name, in any case of letters. Returns it as it is kept, folded.
pub async fn reserve(tx: &mut Transaction, recorder: &Recorder<'_>, name: &str) -> Result<String, Refused> {
    let folded = reservable(name)?;
    if !db::reserved_usernames::insert(tx, &folded, recorder.now).await? {
        return Err(Refused::AlreadyReserved);
    }
    record(tx, recorder, Action::UsernameReserved, &folded).await?;
    Ok(folded)
}

/// Lets a reserved name be taken again, in any case of letters. Returns it as it was kept, folded.
pub async fn release(tx: &mut Transaction, recorder: &Recorder<'_>, name: &str) -> Result<String, Refused> {
    let folded = usernames::fold(name);
    if !db::reserved_usernames::delete(tx, &folded).await? {
        return Err(Refused::NotReserved);
    }
    record(tx, recorder, Action::UsernameReleased, &folded).await?;
    Ok(folded)
}

async fn record(
    tx: &mut Transaction,
    recorder: &Recorder<'_>,
    action: Action,
    folded: &str,
) -> sqlx::Result<()> {
    let entry = Entry {
        action,
        target: Target::Other(KIND, folded.to_owned()),
        details: json!({}),
    };
    recorder.record(tx, &entry).await
}

/// The folded name. It need not be one that the rules of today admit: rules change.
fn reservable(name: &str) -> Result<String, Refused> {
    let folded = usernames::fold(name);
    let length = folded.chars().take(MAX_NAME_CHARS + 1).count();
    if length == 0 || length > MAX_NAME_CHARS || folded.chars().any(usernames::is_invisible) {
        return Err(Refused::Invalid);
    }
    Ok(folded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserved_name_can_be_seen() {
        assert_eq!(reservable("Root").unwrap(), "root");
        for name in ["", "a b", "a\u{202e}b", "a\u{200b}", "a\n", &"a".repeat(101)] {
            assert!(reservable(name).is_err(), "{name:?}");
        }
    }
}
