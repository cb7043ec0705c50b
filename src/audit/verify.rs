//! Walking the chain: which entries were changed, are missing or were put in.
//!
//! An entry is held against the stored `mac` of the one before it, so that one bad entry is named and the good ones after
//! it are not. What only a database's owner could have done (emptying personal fields of an account that is still there) is
//! named too, although the chain verifies.

use serde::Serialize;

use super::{Chained, commitment};
use crate::db::audit::StoredEntry;
use crate::sealing::{KeyId, Keyring, Purpose};

/// What is wrong with an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuditFinding {
    /// The entry's number.
    pub sequence: i64,
    /// The last entry that it is true of; `sequence` itself but for missing ones.
    pub last_sequence: i64,
    pub problem: Problem,
}

impl std::fmt::Display for AuditFinding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (first, last, problem) = (self.sequence, self.last_sequence, self.problem.describe());
        if first == last {
            write!(f, "entry {first} {problem}")
        } else {
            write!(f, "each of the entries {first} to {last} {problem}")
        }
    }
}

/// What can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Problem {
    /// Nothing has this number, though later entries are there.
    Missing,
    /// Its `mac` is not that of what it says after what stands before it: it was changed, or put in by somebody without
    /// the key.
    Altered,
    /// A number that the program never gives.
    Inserted,
    /// The address it came from is not the one that was committed to.
    ActorAltered,
    /// What the target was called is not what was committed to.
    TargetAltered,
    /// The address it came from was removed, though the account that acted is still there.
    ActorEmptied,
    /// What the target was called was removed, though the account is still there.
    TargetEmptied,
    /// The key that made its `mac` is not configured: nobody can tell.
    UnknownKey,
    /// The entry that the operator remembers has another `mac` now.
    NotAsExpected,
    /// The trail ends before the entry that the operator remembers.
    CutOff,
}

impl Problem {
    /// In words, for a line of text.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Missing => "is missing",
            Self::Altered => "was changed, or put in by somebody without the key",
            Self::Inserted => "was put in: no entry has such a number",
            Self::ActorAltered => "names another address than the one that was recorded",
            Self::TargetAltered => "calls its target by another name than was recorded",
            Self::ActorEmptied => {
                "lost the address it came from, though the account that acted is still there"
            }
            Self::TargetEmptied => "lost the name of its target, though that account is still there",
            Self::UnknownKey => {
                "cannot be judged: its key is neither secret_key nor among previous_secret_keys"
            }
            Self::NotAsExpected => "is not the one that was expected: the trail was written anew",
            Self::CutOff => "is not there any more: the trail was cut off",
        }
    }
}

/// Number and `mac` of an entry, as an operator keeps it elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    pub sequence: i64,
    pub mac: Vec<u8>,
}

/// A walk along the chain, from the first entry on.
#[derive(Debug)]
pub struct Walk<'k> {
    keyring: &'k Keyring,
    expected: Option<Remembered>,
    entries: u64,
    emptied: u64,
    /// Of the entry before; zero and nothing before the first.
    last: Remembered,
    findings: Vec<AuditFinding>,
}

/// What a walk came to.
#[derive(Debug)]
pub struct Outcome {
    pub entries: u64,
    /// Entries of which a deletion has emptied personal fields.
    pub emptied: u64,
    pub last: Remembered,
    /// None: everything is as it was written.
    pub findings: Vec<AuditFinding>,
}

impl<'k> Walk<'k> {
    /// Begins. `expected`: an entry that has to be there as it was.
    pub fn new(keyring: &'k Keyring, expected: Option<Remembered>) -> Self {
        Self {
            keyring,
            expected,
            entries: 0,
            emptied: 0,
            last: Remembered {
                sequence: 0,
                mac: Vec::new(),
            },
            findings: Vec::new(),
        }
    }

    /// The next entry.
    pub fn step(&mut self, entry: &StoredEntry) {
        self.entries += 1;
        if entry.sequence < 1 {
            // Before the first: it has no place in the chain and breaks nothing after it.
            self.find(entry.sequence, Problem::Inserted);
            return;
        }
        let next = self.last.sequence.saturating_add(1);
        if entry.sequence > next {
            self.findings.push(AuditFinding {
                sequence: next,
                last_sequence: entry.sequence - 1,
                problem: Problem::Missing,
            });
        }
        // After a gap its predecessor is unknown, and with it what its mac was made over.
        if entry.sequence == next {
            self.check_mac(entry);
        }
        self.check_personal(entry);
        if let Some(expected) = &self.expected
            && expected.sequence == entry.sequence
            && expected.mac != entry.mac
        {
            self.find(entry.sequence, Problem::NotAsExpected);
        }
        self.last = Remembered {
            sequence: entry.sequence,
            mac: entry.mac.clone(),
        };
    }

    /// The end of the trail.
    pub fn finish(mut self) -> Outcome {
        if let Some(expected) = &self.expected
            && expected.sequence > self.last.sequence
        {
            let sequence = expected.sequence;
            self.find(sequence, Problem::CutOff);
        }
        Outcome {
            entries: self.entries,
            emptied: self.emptied,
            last: self.last,
            findings: self.findings,
        }
    }

    fn find(&mut self, sequence: i64, problem: Problem) {
        self.findings.push(AuditFinding {
            sequence,
            last_sequence: sequence,
            problem,
        });
    }

    fn check_mac(&mut self, entry: &StoredEntry) {
        let message = Chained {
            previous_mac: &self.last.mac,
            sequence: entry.sequence,
            created_at: entry.created_at,
            actor: &entry.actor,
            actor_user_id: entry.actor_user_id,
            actor_commitment: &entry.actor_commitment,
            action: &entry.action,
            target_kind: entry.target_kind.as_deref(),
            target_id: entry.target_id.as_deref(),
            target_user_id: entry.target_user_id,
            target_commitment: &entry.target_commitment,
            details: &entry.details,
        }
        .message();
        let verified = <[u8; 8]>::try_from(entry.key_id.as_slice()).ok().and_then(|id| {
            self.keyring
                .verify(Purpose::AuditChain, KeyId(id), &message, &entry.mac)
        });
        match verified {
            Some(true) => {}
            Some(false) => self.find(entry.sequence, Problem::Altered),
            None => self.find(entry.sequence, Problem::UnknownKey),
        }
    }

    fn check_personal(&mut self, entry: &StoredEntry) {
        let actor = Personal {
            text: entry.actor_personal.as_deref(),
            salt: entry.actor_salt.as_deref(),
            commitment: &entry.actor_commitment,
            is_live: entry.actor_is_live,
        };
        let target = Personal {
            text: entry.target_personal.as_deref(),
            salt: entry.target_salt.as_deref(),
            commitment: &entry.target_commitment,
            is_live: entry.target_is_live,
        };
        if actor.is_empty() || target.is_empty() {
            self.emptied += 1;
        }
        if let Some(problem) = actor.problem(Problem::ActorAltered, Problem::ActorEmptied) {
            self.find(entry.sequence, problem);
        }
        if let Some(problem) = target.problem(Problem::TargetAltered, Problem::TargetEmptied) {
            self.find(entry.sequence, problem);
        }
    }
}

/// A personal part of a stored entry.
struct Personal<'a> {
    text: Option<&'a str>,
    salt: Option<&'a [u8]>,
    commitment: &'a [u8],
    is_live: bool,
}

impl Personal<'_> {
    fn is_empty(&self) -> bool {
        self.text.is_none() && self.salt.is_none()
    }

    fn problem(&self, altered: Problem, emptied: Problem) -> Option<Problem> {
        match (self.text, self.salt) {
            (Some(text), Some(salt)) if commitment(salt, text).as_slice() == self.commitment => None,
            (None, None) if !self.is_live => None,
            (Some(_), Some(_)) => Some(altered),
            // With the text or the salt alone nothing can be compared any more.
            _ => Some(emptied),
        }
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use rstest::rstest;
    use secrecy::SecretString;
    use serde_json::json;
    use time::macros::datetime;
    use uuid::Uuid;

    use super::*;
    use crate::audit::Committed;
    use crate::protocol::ids::UserId;

    fn keyring(secret: &str) -> Keyring {
        Keyring::new(&SecretString::from(secret.repeat(32)), &[])
    }

    /// As many entries as the program writes them, each on a person who is still there.
    fn trail(length: i64, keyring: &Keyring) -> Vec<StoredEntry> {
        let mut entries: Vec<StoredEntry> = Vec::new();
        for sequence in 1..=length {
            let user_id = Some(UserId(Uuid::from_u128(7)));
            let [actor, target] = ["ip_address", "username"]
                .map(|name| Committed::new(&json!({ name: "x" }), &SystemRandom::new()));
            let created_at = datetime!(2026-01-01 12:00 UTC);
            let previous_mac = entries.last().map(|entry| entry.mac.clone()).unwrap_or_default();
            let chained = Chained {
                previous_mac: &previous_mac,
                sequence,
                created_at,
                actor: "user",
                actor_user_id: user_id,
                actor_commitment: &actor.commitment,
                action: "user_disabled",
                target_kind: Some("user"),
                target_id: Some("7"),
                target_user_id: user_id,
                target_commitment: &target.commitment,
                details: "{}",
            };
            let (key_id, mac) = keyring.authenticate(Purpose::AuditChain, &chained.message());
            entries.push(StoredEntry {
                sequence,
                created_at,
                actor: "user".to_owned(),
                actor_user_id: user_id,
                actor_personal: Some(actor.text),
                actor_salt: Some(actor.salt.to_vec()),
                actor_commitment: actor.commitment.to_vec(),
                action: "user_disabled".to_owned(),
                target_kind: Some("user".to_owned()),
                target_id: Some("7".to_owned()),
                target_user_id: user_id,
                target_personal: Some(target.text),
                target_salt: Some(target.salt.to_vec()),
                target_commitment: target.commitment.to_vec(),
                details: "{}".to_owned(),
                key_id: key_id.0.to_vec(),
                mac: mac.to_vec(),
                actor_is_live: true,
                target_is_live: true,
            });
        }
        entries
    }

    fn walk(entries: &[StoredEntry], keyring: &Keyring, expected: Option<Remembered>) -> Vec<(i64, Problem)> {
        let mut walk = Walk::new(keyring, expected);
        for entry in entries {
            walk.step(entry);
        }
        let findings = walk.finish().findings;
        findings
            .iter()
            .map(|finding| (finding.sequence, finding.problem))
            .collect()
    }

    #[test]
    fn what_was_written_verifies() {
        let keyring = keyring("a");
        assert_eq!(walk(&trail(5, &keyring), &keyring, None), []);
        assert_eq!(walk(&[], &keyring, None), []);
    }

    #[rstest]
    #[case(|entry: &mut StoredEntry| entry.details = "{\"role\":\"user\"}".to_owned(), Problem::Altered)]
    #[case(|entry: &mut StoredEntry| entry.action = "user_enabled".to_owned(), Problem::Altered)]
    #[case(|entry: &mut StoredEntry| entry.actor = "system".to_owned(), Problem::Altered)]
    #[case(|entry: &mut StoredEntry| entry.actor_user_id = None, Problem::Altered)]
    #[case(|entry: &mut StoredEntry| entry.target_id = Some("8".to_owned()), Problem::Altered)]
    #[case(|entry: &mut StoredEntry| entry.created_at += time::Duration::microseconds(1), Problem::Altered)]
    #[case(|entry: &mut StoredEntry| entry.key_id = vec![0; 8], Problem::UnknownKey)]
    #[case(|entry: &mut StoredEntry| entry.actor_personal = Some("{}".to_owned()), Problem::ActorAltered)]
    #[case(|entry: &mut StoredEntry| entry.target_salt = Some(vec![0; 32]), Problem::TargetAltered)]
    #[case(|entry: &mut StoredEntry| entry.target_salt = None, Problem::TargetEmptied)]
    fn an_altered_entry_is_named_and_no_other(
        #[case] change: fn(&mut StoredEntry),
        #[case] problem: Problem,
    ) {
        let keyring = keyring("a");
        let mut entries = trail(5, &keyring);
        change(&mut entries[2]);
        assert_eq!(walk(&entries, &keyring, None), [(3, problem)]);
    }

    #[test]
    fn another_mac_spoils_its_own_entry_and_the_next() {
        let keyring = keyring("a");
        let mut entries = trail(5, &keyring);
        entries[2].mac[0] ^= 1;
        let found = walk(&entries, &keyring, None);
        assert_eq!(found, [(3, Problem::Altered), (4, Problem::Altered)]);
    }

    #[test]
    fn a_commitment_that_was_changed_with_its_text_breaks_the_chain() {
        let keyring = keyring("a");
        let mut entries = trail(3, &keyring);
        let forged = Committed::new(&json!({ "username": "eve" }), &SystemRandom::new());
        entries[1].target_personal = Some(forged.text);
        entries[1].target_salt = Some(forged.salt.to_vec());
        entries[1].target_commitment = forged.commitment.to_vec();
        assert_eq!(walk(&entries, &keyring, None), [(2, Problem::Altered)]);
    }

    #[test]
    fn a_missing_entry_is_named_wherever_it_stood() {
        let keyring = keyring("a");
        for gone in [0, 2] {
            let mut entries = trail(5, &keyring);
            let sequence = entries.remove(gone).sequence;
            assert_eq!(walk(&entries, &keyring, None), [(sequence, Problem::Missing)]);
        }
    }

    #[test]
    fn numbering_anew_does_not_close_a_gap() {
        let keyring = keyring("a");
        let mut entries = trail(4, &keyring);
        entries.remove(1);
        for (entry, sequence) in entries.iter_mut().zip(1..) {
            entry.sequence = sequence;
        }
        let found = walk(&entries, &keyring, None);
        assert_eq!(found, [(2, Problem::Altered), (3, Problem::Altered)]);
    }

    #[test]
    fn an_entry_that_was_put_in_is_named() {
        let keyring = keyring("a");
        let mut entries = trail(3, &keyring);
        let mut forged = entries[2].clone();
        forged.sequence = 4;
        entries.push(forged.clone());
        assert_eq!(walk(&entries, &keyring, None), [(4, Problem::Altered)]);
        forged.sequence = 0;
        entries.pop();
        entries.insert(0, forged);
        assert_eq!(walk(&entries, &keyring, None), [(0, Problem::Inserted)]);
    }

    #[test]
    fn an_absurd_number_is_one_gap() {
        let keyring = keyring("a");
        let mut entries = trail(2, &keyring);
        entries[1].sequence = i64::MAX;
        assert_eq!(walk(&entries, &keyring, None), [(2, Problem::Missing)]);
    }

    /// A deletion empties what would tell of the person.
    #[test]
    fn emptied_fields_verify_once_the_account_is_gone() {
        let keyring = keyring("a");
        let mut entries = trail(3, &keyring);
        entries[1].target_personal = None;
        entries[1].target_salt = None;
        assert_eq!(walk(&entries, &keyring, None), [(2, Problem::TargetEmptied)]);
        entries[1].target_is_live = false;
        assert_eq!(walk(&entries, &keyring, None), []);
    }

    #[test]
    fn what_follows_the_end_is_known_to_who_remembers_it() {
        let keyring = keyring("a");
        let entries = trail(5, &keyring);
        let remembered = |entry: &StoredEntry| Remembered {
            sequence: entry.sequence,
            mac: entry.mac.clone(),
        };
        for entry in &entries {
            assert_eq!(walk(&entries, &keyring, Some(remembered(entry))), []);
        }
        let last = remembered(&entries[4]);
        let cut_off = walk(&entries[..4], &keyring, Some(last.clone()));
        assert_eq!(cut_off, [(5, Problem::CutOff)]);
        let anew = trail(6, &keyring);
        assert_eq!(walk(&anew, &keyring, Some(last)), [(5, Problem::NotAsExpected)]);
    }

    #[test]
    fn a_key_that_was_replaced_still_verifies() {
        let entries = trail(3, &keyring("a"));
        let secrets = ["b", "a"].map(|secret| SecretString::from(secret.repeat(32)));
        let both = Keyring::new(&secrets[0], &secrets[1..]);
        assert_eq!(walk(&entries, &both, None), []);
        let without = walk(&entries, &keyring("b"), None);
        assert!(without.iter().all(|(_, problem)| *problem == Problem::UnknownKey));
    }
}
