//! Where each key stands in its life, for `riley-auth keys`: a pure reading of the list and the time.
//!
//! Per algorithm, because clients may ask for one: an RS256 key behind an ES256 key is active for them. The order of the
//! list decides; `signs_from` and the first recorded use say when a key took over from those behind it.

use serde::Serialize;
use time::{Duration, OffsetDateTime};

use crate::protocol::algorithm::SigningAlgorithm;

/// What the reading needs to know of a key, in the order of the list.
#[derive(Clone, Debug)]
pub struct KeyFacts {
    pub kid: String,
    pub algorithm: SigningAlgorithm,
    /// Whether the entry has a private key.
    pub can_sign: bool,
    pub signs_from: Option<OffsetDateTime>,
    /// The first use that the database recorded, if it did.
    pub first_signed_at: Option<OffsetDateTime>,
}

/// The four stages of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyStage {
    /// Published, will sign from `signs_from` on.
    Next,
    /// Signs.
    Active,
    /// Signs no more, but what it signed may still be valid.
    Retiring,
    /// Nothing that it signed is valid any more; its entry can be removed.
    Removable,
}

/// A key's stage and when it ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyState {
    pub kid: String,
    pub algorithm: SigningAlgorithm,
    pub stage: KeyStage,
    /// Next: when it starts to sign. Active: when a key ahead of it does. Retiring: when it may be removed. `None`: by
    /// itself never, or the moment is not recorded (a key put in front by hand without `signs_from`).
    #[serde(with = "time::serde::rfc3339::option")]
    pub moves_on_at: Option<OffsetDateTime>,
    /// Whether it signs for everybody who asks for no algorithm.
    pub signs_by_default: bool,
}

/// Reads the stages of all keys, in the order of the list. A key may go one `refresh_token_ttl_secs` after it last signed.
pub fn states(keys: &[KeyFacts], now: OffsetDateTime, refresh_token_ttl_secs: u64) -> Vec<KeyState> {
    let default = keys.iter().position(|key| signs(key, now));
    keys.iter()
        .enumerate()
        .map(|(index, key)| {
            let ahead: Vec<&KeyFacts> = keys[..index]
                .iter()
                .filter(|other| other.algorithm == key.algorithm && other.can_sign)
                .collect();
            let (stage, moves_on_at) = stage(key, &ahead, now, refresh_token_ttl_secs);
            KeyState {
                kid: key.kid.clone(),
                algorithm: key.algorithm,
                stage,
                moves_on_at,
                signs_by_default: default == Some(index),
            }
        })
        .collect()
}

fn signs(key: &KeyFacts, now: OffsetDateTime) -> bool {
    key.can_sign && key.signs_from.is_none_or(|from| from <= now)
}

/// `ahead`: the keys of the same algorithm that can sign and stand before this one.
fn stage(
    key: &KeyFacts,
    ahead: &[&KeyFacts],
    now: OffsetDateTime,
    refresh_token_ttl_secs: u64,
) -> (KeyStage, Option<OffsetDateTime>) {
    let superseded = ahead.iter().any(|other| signs(other, now));
    if !superseded && signs(key, now) {
        return (
            KeyStage::Active,
            ahead.iter().filter_map(|other| other.signs_from).min(),
        );
    }
    if !superseded && key.can_sign {
        return (KeyStage::Next, key.signs_from);
    }
    if key.signs_from.is_some_and(|from| from > now) {
        // Behind a key that signs already: it has signed nothing and will not.
        return (KeyStage::Removable, None);
    }
    // It last signed when the first of those ahead took over. That is not before the key's `signs_from`, nor before its
    // first recorded use; where a moment is missing, a later one of another key keeps the answer on the safe side.
    let stopped_at = ahead
        .iter()
        .filter(|other| signs(other, now))
        .filter_map(|other| other.signs_from.max(other.first_signed_at))
        .min();
    let ttl = Duration::seconds(i64::try_from(refresh_token_ttl_secs).unwrap_or(i64::MAX));
    match stopped_at.map(|at| at.checked_add(ttl)) {
        Some(Some(removable_at)) if removable_at <= now => (KeyStage::Removable, None),
        Some(removable_at) => (KeyStage::Retiring, removable_at),
        None => (KeyStage::Retiring, None),
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;
    use crate::protocol::algorithm::SigningAlgorithm::{Es256, Rs256};

    const NOW: OffsetDateTime = datetime!(2026-03-01 12:00 UTC);
    const DAY_SECS: u64 = 86_400;

    fn key(kid: &str, algorithm: SigningAlgorithm, signs_from: Option<OffsetDateTime>) -> KeyFacts {
        KeyFacts {
            kid: kid.into(),
            algorithm,
            can_sign: true,
            signs_from,
            first_signed_at: None,
        }
    }

    fn read(keys: &[KeyFacts]) -> Vec<(KeyStage, Option<OffsetDateTime>, bool)> {
        states(keys, NOW, 30 * DAY_SECS)
            .into_iter()
            .map(|state| (state.stage, state.moves_on_at, state.signs_by_default))
            .collect()
    }

    #[test]
    fn a_key_that_waits_is_next_and_the_one_behind_it_active_until_then() {
        let from = NOW + Duration::hours(1);
        let read = read(&[key("new", Es256, Some(from)), key("old", Es256, None)]);
        assert_eq!(
            read,
            [
                (KeyStage::Next, Some(from), false),
                (KeyStage::Active, Some(from), true)
            ]
        );
    }

    #[test]
    fn a_key_is_retiring_for_one_refresh_token_lifetime_after_it_last_signed() {
        let from = NOW - Duration::days(10);
        let keys = [key("new", Es256, Some(from)), key("old", Es256, None)];
        let removable_at = from + Duration::days(30);
        assert_eq!(
            read(&keys),
            [
                (KeyStage::Active, None, true),
                (KeyStage::Retiring, Some(removable_at), false)
            ]
        );
        let at = |now| states(&keys, now, 30 * DAY_SECS)[1].stage;
        assert_eq!(at(removable_at - Duration::SECOND), KeyStage::Retiring);
        assert_eq!(at(removable_at), KeyStage::Removable);
    }

    #[test]
    fn an_rs256_key_behind_an_es256_key_is_active_for_those_who_ask_for_it() {
        let read = read(&[key("ec", Es256, None), key("rsa", Rs256, None)]);
        assert_eq!(
            read,
            [(KeyStage::Active, None, true), (KeyStage::Active, None, false)]
        );
    }

    #[test]
    fn without_signs_from_the_first_recorded_use_tells_when_a_key_took_over() {
        let first_use = NOW - Duration::days(29);
        let mut keys = [key("new", Es256, None), key("old", Es256, None)];
        assert_eq!(read(&keys)[1], (KeyStage::Retiring, None, false));
        keys[0].first_signed_at = Some(first_use);
        assert_eq!(
            read(&keys)[1],
            (KeyStage::Retiring, Some(first_use + Duration::days(30)), false)
        );
        // A date long past in the configuration does not make a key removable that signed until yesterday.
        keys[0].signs_from = Some(NOW - Duration::days(300));
        assert_eq!(
            read(&keys)[1],
            (KeyStage::Retiring, Some(first_use + Duration::days(30)), false)
        );
    }

    #[test]
    fn a_key_that_only_verifies_is_retiring_even_if_nothing_stands_before_it() {
        let mut alone = key("rsa", Rs256, None);
        alone.can_sign = false;
        let read = read(&[key("ec", Es256, None), alone]);
        assert_eq!(read[1], (KeyStage::Retiring, None, false));
    }

    #[test]
    fn a_key_that_waits_behind_an_active_one_will_never_sign() {
        let read = read(&[key("a", Es256, None), key("b", Es256, Some(NOW + Duration::DAY))]);
        assert_eq!(
            read,
            [(KeyStage::Active, None, true), (KeyStage::Removable, None, false)]
        );
    }

    #[test]
    fn a_lifetime_beyond_the_calendar_does_not_overflow() {
        let keys = [key("new", Es256, Some(NOW)), key("old", Es256, None)];
        assert_eq!(states(&keys, NOW, u64::MAX)[1].stage, KeyStage::Retiring);
    }
}
