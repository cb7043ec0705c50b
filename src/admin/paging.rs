//! Lists come page by page: at most 500 at once, and a cursor that names the last one of the page before.
//!
//! A cursor holds no more than what the page itself showed, and is judged like any other input; it needs no signature.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::error::AppError;

const DEFAULT_LIMIT: u16 = 50;
const MAX_LIMIT: u16 = 500;

/// How many are wanted: 1 to 500.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "u16")]
pub struct Limit(u16);

impl TryFrom<u16> for Limit {
    type Error = &'static str;

    fn try_from(limit: u16) -> Result<Self, Self::Error> {
        if (1..=MAX_LIMIT).contains(&limit) {
            Ok(Self(limit))
        } else {
            Err("the limit is 1 to 500")
        }
    }
}

impl Default for Limit {
    fn default() -> Self {
        Self(DEFAULT_LIMIT)
    }
}

impl Limit {
    /// One more than wanted, which tells whether there is another page.
    pub fn and_one(self) -> i64 {
        i64::from(self.0) + 1
    }
}

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// To be sent as `cursor` for the page after this one; `null` on the last page.
    pub next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// Of rows that were read with [`Limit::and_one`]. `cursor`: what a row is found again by.
    pub fn of<R, C: Serialize>(
        mut rows: Vec<R>,
        limit: Limit,
        cursor: impl FnOnce(&R) -> C,
        show: impl FnMut(R) -> T,
    ) -> Self {
        let wanted = usize::from(limit.0);
        let next_cursor = if rows.len() > wanted {
            rows.truncate(wanted);
            rows.last().map(|row| encode(&cursor(row)))
        } else {
            None
        };
        Self {
            items: rows.into_iter().map(show).collect(),
            next_cursor,
        }
    }
}

/// A moment in a cursor: microseconds since the epoch, as PostgreSQL keeps them.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Micros(i64);

impl From<OffsetDateTime> for Micros {
    fn from(at: OffsetDateTime) -> Self {
        Self(i64::try_from(at.unix_timestamp_nanos() / 1000).unwrap_or(i64::MAX))
    }
}

impl TryFrom<Micros> for OffsetDateTime {
    type Error = AppError;

    fn try_from(micros: Micros) -> Result<Self, Self::Error> {
        // What lies before the epoch was never written by us.
        u64::try_from(micros.0)
            .ok()
            .and_then(|micros| Self::from_unix_timestamp_nanos(i128::from(micros) * 1000).ok())
            .ok_or_else(unknown_cursor)
    }
}

fn encode(cursor: &impl Serialize) -> String {
    let json = serde_json::to_vec(cursor).expect("a cursor is plain data");
    URL_SAFE_NO_PAD.encode(json)
}

/// What a cursor says. `Err`: it is none of ours.
pub fn decode<C: DeserializeOwned>(cursor: &str) -> Result<C, AppError> {
    URL_SAFE_NO_PAD
        .decode(cursor)
        .ok()
        // PostgreSQL holds no NUL; in JSON it can only stand like this.
        .filter(|json| !json.windows(6).any(|window| window == br"\u0000"))
        .and_then(|json| serde_json::from_slice(&json).ok())
        .ok_or_else(unknown_cursor)
}

fn unknown_cursor() -> AppError {
    AppError::bad_request("invalid_cursor", "the cursor is none that this list gave")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_names_the_next_one_only_if_there_is_more() {
        let limit = Limit::try_from(2).unwrap();
        let page = Page::of(vec![1, 2, 3], limit, |row| *row, |row| row);
        assert_eq!(page.items, [1, 2]);
        assert_eq!(decode::<i32>(page.next_cursor.as_deref().unwrap()).unwrap(), 2);
        let last = Page::of(vec![1, 2], limit, |row| *row, |row| row);
        assert!(last.next_cursor.is_none());
    }

    #[test]
    fn a_limit_is_1_to_500() {
        assert!(Limit::try_from(0).is_err() && Limit::try_from(501).is_err());
        assert!(Limit::try_from(1).is_ok() && Limit::try_from(500).is_ok());
    }

    #[test]
    fn a_cursor_of_somebody_elses_making_is_refused() {
        for cursor in ["", "=", "zz", "\u{e9}", &encode(&"text"), &encode(&["a\0", "b"])] {
            assert!(decode::<(String, i64)>(cursor).is_err(), "{cursor}");
        }
        for micros in [-1, i64::MIN, i64::MAX] {
            assert!(OffsetDateTime::try_from(Micros(micros)).is_err(), "{micros}");
        }
        assert!(OffsetDateTime::try_from(Micros(0)).is_ok());
    }
}
