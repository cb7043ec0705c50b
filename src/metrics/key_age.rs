//! Since when a signing key is in use, as far as that can be known.

use time::{Date, Month, OffsetDateTime};

/// What is known of a key.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeyDates<'a> {
    pub kid: &'a str,
    pub signs_from: Option<OffsetDateTime>,
    /// The first use that the database recorded.
    pub first_signed_at: Option<OffsetDateTime>,
    /// When its file was last written.
    pub file_modified_at: Option<OffsetDateTime>,
}

/// Since when the key is in use: the date in its `kid`, else `signs_from`, else its first recorded use, else the time of its
/// file; `None` if nothing is known.
pub fn in_use_since(key: &KeyDates<'_>) -> Option<OffsetDateTime> {
    date_in(key.kid)
        .or(key.signs_from)
        .or(key.first_signed_at)
        .or(key.file_modified_at)
}

/// The date that a `kid` such as `2026-01`, `2026-01-31`, `20260131` or `es256-2026-01-31` holds, at midnight UTC; without a
/// day, the first of the month. Nothing but `.`, `_` and `-` may stand beside it.
fn date_in(kid: &str) -> Option<OffsetDateTime> {
    let starts = (0..kid.len()).filter(|at| *at == 0 || is_separator(kid.as_bytes()[at - 1]));
    starts.filter_map(|at| kid.get(at..)).find_map(date_at_start)
}

fn date_at_start(text: &str) -> Option<OffsetDateTime> {
    let ended = |length: usize| text.as_bytes().get(length).is_none_or(|byte| is_separator(*byte));
    let dashed = |at: usize| text.as_bytes().get(at) == Some(&b'-');
    if dashed(4) && dashed(7) && ended(10) {
        // What looks like a month and a day but is none may still be a month: 2026-01-99.
        if let Some(date) = date(text, 0..4, 5..7, Some(8..10)) {
            return Some(date);
        }
    }
    if dashed(4) && ended(7) {
        return date(text, 0..4, 5..7, None);
    }
    if ended(8) {
        return date(text, 0..4, 4..6, Some(6..8));
    }
    None
}

type Span = std::ops::Range<usize>;

fn date(text: &str, year: Span, month: Span, day: Option<Span>) -> Option<OffsetDateTime> {
    let number = |span: Span| {
        let digits = text.get(span)?;
        digits
            .bytes()
            .all(|byte| byte.is_ascii_digit())
            .then(|| digits.parse::<u16>().ok())
            .flatten()
    };
    let year = number(year).filter(|year| (2000..2200).contains(year))?;
    let month = Month::try_from(u8::try_from(number(month)?).ok()?).ok()?;
    let day = match day {
        Some(span) => u8::try_from(number(span)?).ok()?,
        None => 1,
    };
    let date = Date::from_calendar_date(i32::from(year), month, day).ok()?;
    Some(date.midnight().assume_utc())
}

const fn is_separator(byte: u8) -> bool {
    matches!(byte, b'-' | b'_' | b'.')
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn a_kid_tells_its_date() {
        for (kid, expected) in [
            ("2026-01", datetime!(2026-01-01 0:00 UTC)),
            ("2026-01-31", datetime!(2026-01-31 0:00 UTC)),
            ("20260131", datetime!(2026-01-31 0:00 UTC)),
            ("2026-01-31-es256", datetime!(2026-01-31 0:00 UTC)),
            ("2026-01-es256", datetime!(2026-01-01 0:00 UTC)),
            ("es256_2026-01-31", datetime!(2026-01-31 0:00 UTC)),
            ("key.20260131", datetime!(2026-01-31 0:00 UTC)),
        ] {
            assert_eq!(date_in(kid), Some(expected), "{kid}");
        }
    }

    #[test]
    fn what_is_no_date_tells_none() {
        for kid in [
            "",
            "main",
            "2026",
            "2026-13",
            "1999-01-31",
            "x2026-01-31",
            "202601311",
            "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs",
            "ä-2026",
        ] {
            assert_eq!(date_in(kid), None, "{kid}");
        }
    }

    /// The order of what is believed.
    #[test]
    fn the_kid_wins_then_signs_from_then_the_recorded_use_then_the_file() {
        let [from, used, file] = [
            datetime!(2026-02-01 0:00 UTC),
            datetime!(2026-03-01 0:00 UTC),
            datetime!(2026-04-01 0:00 UTC),
        ];
        let mut key = KeyDates {
            kid: "2026-01",
            signs_from: Some(from),
            first_signed_at: Some(used),
            file_modified_at: Some(file),
        };
        assert_eq!(in_use_since(&key), Some(datetime!(2026-01-01 0:00 UTC)));
        key.kid = "main";
        assert_eq!(in_use_since(&key), Some(from));
        key.signs_from = None;
        assert_eq!(in_use_since(&key), Some(used));
        key.first_signed_at = None;
        assert_eq!(in_use_since(&key), Some(file));
        key.file_modified_at = None;
        assert_eq!(in_use_since(&key), None);
    }
}
