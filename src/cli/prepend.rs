//! A new key put first in a configuration file.
//!
//! Only the lines in question are inserted or removed, by the positions that the TOML parser reports; every other byte,
//! comments and order included, stays. The result is parsed again before anybody writes it, and compared with what the
//! file said before: nothing but the keys may differ.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::ops::Range;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::Path;

use anyhow::{Context as _, bail};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::protocol::algorithm::SigningAlgorithm;

/// What relying parties may keep the JWKS for if the file says nothing.
const DEFAULT_JWKS_CACHE_MAX_AGE_SECS: i64 = 3600;

/// The most that a configuration may say.
const MAX_JWKS_CACHE_MAX_AGE_SECS: i64 = 86_400;

/// The old pair of fields.
const FLAT_FIELDS: [&str; 2] = ["private_key_path", "public_key_path"];

/// A new entry of `jwt.keys`.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) algorithm: SigningAlgorithm,
    pub(super) kid: Option<String>,
    pub(super) private_key_path: String,
    pub(super) public_key_path: String,
    /// RFC 3339.
    pub(super) signs_from: Option<String>,
}

impl Entry {
    fn members(&self) -> Vec<String> {
        let quoted = |text: &str| toml::Value::from(text).to_string();
        let mut members = vec![
            format!("algorithm = {}", quoted(self.algorithm.as_str())),
            format!("private_key_path = {}", quoted(&self.private_key_path)),
            format!("public_key_path = {}", quoted(&self.public_key_path)),
        ];
        members.extend(self.kid.as_ref().map(|kid| format!("kid = {}", quoted(kid))));
        members.extend(
            self.signs_from
                .as_ref()
                .map(|from| format!("signs_from = {}", quoted(from))),
        );
        members
    }

    /// The entry as a table of the list.
    pub(super) fn table(&self) -> String {
        format!("[[jwt.keys]]\n{}\n", self.members().join("\n"))
    }

    fn inline(&self) -> String {
        format!("{{ {} }}", self.members().join(", "))
    }
}

/// The keys that a configuration file has now, and where they stand.
pub(super) struct Keys<'t> {
    text: &'t str,
    form: Form,
    pub(super) jwks_cache_max_age_secs: i64,
}

enum Form {
    None,
    /// The old pair of fields in `[jwt]`: the spans of key and value together, and the paths.
    Flat(Vec<FlatField>),
    /// `[[jwt.keys]]` tables: from the header's line to the end of the last value's line, with the algorithm.
    Tables(Vec<(Range<usize>, String)>),
    /// `keys = […]`: the array, and its elements with their algorithms.
    Inline(Range<usize>, Vec<(Range<usize>, String)>),
}

struct FlatField {
    name: String,
    path: String,
    span: Range<usize>,
}

impl<'t> Keys<'t> {
    /// Finds the keys in the text of a configuration file.
    pub(super) fn read(text: &'t str) -> anyhow::Result<Self> {
        let document = DeTable::parse(text)
            .map_err(|error| anyhow::anyhow!("the file is no TOML: {}", error.message()))?;
        let Some(DeValue::Table(jwt)) = member(document.get_ref(), "jwt").map(|(_, value)| value.get_ref())
        else {
            bail!("the file has no [jwt] table; write one with `issuer` first");
        };
        let max_age = member(jwt, "jwks_cache_max_age_secs").and_then(|(_, value)| match value.get_ref() {
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok(),
            _ => None,
        });
        let form = match member(jwt, "keys") {
            Some((_, value)) => Self::listed(text, value)?,
            None => flat(jwt),
        };
        Ok(Self {
            text,
            form,
            jwks_cache_max_age_secs: max_age
                .unwrap_or(DEFAULT_JWKS_CACHE_MAX_AGE_SECS)
                .clamp(0, MAX_JWKS_CACHE_MAX_AGE_SECS),
        })
    }

    fn listed(text: &str, value: &Spanned<DeValue<'_>>) -> anyhow::Result<Form> {
        let DeValue::Array(items) = value.get_ref() else {
            bail!("`jwt.keys` is no list")
        };
        let mut entries = Vec::new();
        for item in items {
            let DeValue::Table(table) = item.get_ref() else {
                bail!("an entry of `jwt.keys` is no table")
            };
            let algorithm = member(table, "algorithm")
                .and_then(|(_, value)| value.get_ref().as_str())
                .unwrap_or_default();
            entries.push((item.span(), table_end(table), algorithm.to_owned()));
        }
        let is_header = |span: &Range<usize>| {
            text[line_start(text, span.start)..]
                .trim_start()
                .starts_with("[[")
        };
        if entries
            .first()
            .is_some_and(|(span, ..)| is_header(span) && !text[span.clone()].starts_with('{'))
        {
            let lines = |(span, end, algorithm): (Range<usize>, usize, String)| {
                (
                    line_start(text, span.start)..line_end(text, end.max(span.start)),
                    algorithm,
                )
            };
            return Ok(Form::Tables(entries.into_iter().map(lines).collect()));
        }
        let spans = entries.into_iter().map(|(span, _, algorithm)| (span, algorithm));
        Ok(Form::Inline(value.span(), spans.collect()))
    }

    /// Whether a key is there that may be in use.
    pub(super) fn any(&self) -> bool {
        match &self.form {
            Form::None => false,
            Form::Flat(fields) => !fields.is_empty(),
            Form::Tables(entries) | Form::Inline(_, entries) => !entries.is_empty(),
        }
    }

    /// The file's text with `entry` first; `emergency`: without the keys of its algorithm.
    pub(super) fn with(&self, entry: &Entry, emergency: bool) -> anyhow::Result<String> {
        let drops = |algorithm: &str| emergency && algorithm == entry.algorithm.as_str();
        if let Form::Tables(entries) | Form::Inline(_, entries) = &self.form
            && emergency
            && entries
                .iter()
                .any(|(_, name)| name.parse::<SigningAlgorithm>().is_err())
        {
            bail!(
                "an entry of `jwt.keys` does not say in this file whether it is a key of the algorithm to drop"
            );
        }
        let mut edits: Vec<(Range<usize>, String)> = Vec::new();
        match &self.form {
            Form::None => edits.push(self.at_end(&entry.table())),
            Form::Flat(fields) => {
                let mut tables = entry.table();
                if !drops(SigningAlgorithm::Rs256.as_str()) {
                    tables.push_str("\n[[jwt.keys]]\nalgorithm = \"RS256\"\n");
                    for field in fields {
                        let _ = writeln!(
                            tables,
                            "{} = {}",
                            field.name,
                            toml::Value::from(field.path.as_str())
                        );
                    }
                }
                edits.extend(fields.iter().map(|field| self.without_line(&field.span)));
                edits.push(self.at_end(&tables));
            }
            Form::Tables(entries) => {
                let first = entries.first().map_or(self.text.len(), |(span, _)| span.start);
                edits.push((first..first, entry.table() + "\n"));
                edits.extend(
                    entries
                        .iter()
                        .filter(|(_, algorithm)| drops(algorithm))
                        .map(|(span, _)| (span.clone(), String::new())),
                );
            }
            Form::Inline(array, entries) => {
                let at = array.start + 1;
                let separator = if entries.is_empty() { "" } else { ", " };
                edits.push((at..at, format!("{}{separator}", entry.inline())));
                for (index, (span, _)) in entries
                    .iter()
                    .enumerate()
                    .filter(|(_, (_, algorithm))| drops(algorithm))
                {
                    let end = entries.get(index + 1).map_or(span.end, |(next, _)| next.start);
                    edits.push((span.start..end, String::new()));
                }
            }
        }
        let new = apply(self.text, edits);
        if Meaning::of(&new) != Some(self.expected(entry, &drops)?) {
            bail!(
                "the file is not written in a way that can be changed safely; change it yourself, this entry first:\n{}",
                entry.table()
            );
        }
        Ok(new)
    }

    /// What the changed file has to say: the keys with `entry` first, and everything else as it was.
    fn expected(&self, entry: &Entry, drops: &dyn Fn(&str) -> bool) -> anyhow::Result<Meaning> {
        let new: toml::Table = entry.table().parse()?;
        let mut keys = listed_keys(&new).unwrap_or_default();
        let old: toml::Table = self.text.parse()?;
        let kept = match &self.form {
            Form::Flat(_) => vec![flat_key(&old)],
            _ => listed_keys(&old).unwrap_or_default(),
        };
        keys.extend(kept.into_iter().filter(|key| {
            let algorithm = key.get("algorithm").and_then(toml::Value::as_str);
            !drops(algorithm.unwrap_or_default())
        }));
        Ok(Meaning {
            keys,
            rest: without_keys(old),
        })
    }

    fn at_end(&self, tables: &str) -> (Range<usize>, String) {
        let separator = if self.text.is_empty() || self.text.ends_with("\n\n") {
            ""
        } else if self.text.ends_with('\n') {
            "\n"
        } else {
            "\n\n"
        };
        (self.text.len()..self.text.len(), format!("{separator}{tables}"))
    }

    /// Removes the line of a field; a comment behind it stays as a line of its own.
    fn without_line(&self, span: &Range<usize>) -> (Range<usize>, String) {
        let lines = line_start(self.text, span.start)..line_end(self.text, span.end);
        let rest = self.text[span.end..lines.end].trim();
        (
            lines,
            if rest.starts_with('#') {
                format!("{rest}\n")
            } else {
                String::new()
            },
        )
    }
}

fn flat(jwt: &DeTable<'_>) -> Form {
    let field = |name: &str| {
        let (key, value) = member(jwt, name)?;
        let path = value.get_ref().as_str()?.to_owned();
        Some(FlatField {
            name: name.to_owned(),
            path,
            span: key.start..value.span().end,
        })
    };
    let fields: Vec<FlatField> = FLAT_FIELDS.into_iter().filter_map(field).collect();
    if fields.is_empty() {
        Form::None
    } else {
        Form::Flat(fields)
    }
}

fn member<'a, 'i>(table: &'a DeTable<'i>, name: &str) -> Option<(Range<usize>, &'a Spanned<DeValue<'i>>)> {
    table
        .iter()
        .find(|(key, _)| key.get_ref() == name)
        .map(|(key, value)| (key.span(), value))
}

/// Where the last value of the table ends.
fn table_end(table: &DeTable<'_>) -> usize {
    table.iter().map(|(_, value)| value.span().end).max().unwrap_or(0)
}

fn line_start(text: &str, at: usize) -> usize {
    text[..at].rfind('\n').map_or(0, |newline| newline + 1)
}

/// Just behind the line's end.
fn line_end(text: &str, at: usize) -> usize {
    text[at..]
        .find('\n')
        .map_or(text.len(), |newline| at + newline + 1)
}

/// Makes the edits, which do not overlap, from the back, so that positions stay true.
fn apply(text: &str, mut edits: Vec<(Range<usize>, String)>) -> String {
    edits.sort_by_key(|(span, _)| (span.start, span.end));
    let mut new = text.to_owned();
    for (span, replacement) in edits.into_iter().rev() {
        new.replace_range(span, &replacement);
    }
    new
}

/// What a file says, as far as a change of its keys is concerned.
#[derive(PartialEq)]
struct Meaning {
    keys: Vec<toml::Value>,
    rest: toml::Table,
}

impl Meaning {
    fn of(text: &str) -> Option<Self> {
        let document: toml::Table = text.parse().ok()?;
        Some(Self {
            keys: listed_keys(&document)?,
            rest: without_keys(document),
        })
    }
}

fn listed_keys(document: &toml::Table) -> Option<Vec<toml::Value>> {
    document.get("jwt")?.get("keys")?.as_array().cloned()
}

/// The old pair of fields as an entry of the list.
fn flat_key(document: &toml::Table) -> toml::Value {
    let mut key = toml::Table::new();
    key.insert("algorithm".to_owned(), SigningAlgorithm::Rs256.as_str().into());
    for name in FLAT_FIELDS {
        if let Some(path) = document.get("jwt").and_then(|jwt| jwt.get(name)) {
            key.insert(name.to_owned(), path.clone());
        }
    }
    key.into()
}

fn without_keys(mut document: toml::Table) -> toml::Table {
    if let Some(toml::Value::Table(jwt)) = document.get_mut("jwt") {
        for name in FLAT_FIELDS.iter().chain(&["keys"]) {
            jwt.remove(*name);
        }
    }
    document
}

/// Replaces the file in one step, with the same owner and mode: a reader sees the old text or the new one, and the server's
/// account can still read what root has changed.
pub(super) fn replace(path: &Path, text: &str) -> anyhow::Result<()> {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .context("the file has no name")?;
    let old = fs::metadata(path)?;
    let temporary = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let write = || -> std::io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(text.as_bytes())?;
        let new = file.metadata()?;
        if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
            fchown(&file, Some(old.uid()), Some(old.gid()))?;
        }
        file.set_permissions(old.permissions())?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().inspect_err(|_| {
        let _ = fs::remove_file(&temporary);
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        Entry {
            algorithm: SigningAlgorithm::Es256,
            kid: None,
            private_key_path: "keys/new.pem".to_owned(),
            public_key_path: "keys/new.pub.pem".to_owned(),
            signs_from: None,
        }
    }

    #[test]
    fn a_file_in_which_the_keys_share_their_line_with_other_settings_is_left_alone() {
        for text in [
            "jwt = { issuer = \"https://a.example\", private_key_path = \"old.pem\" }\n",
            "jwt = { issuer = \"https://a.example\", public_key_path = \"p\", private_key_path = \"o\" } # ours\n[log]\n",
        ] {
            assert!(Keys::read(text).unwrap().with(&entry(), false).is_err(), "{text}");
        }
    }

    #[test]
    fn every_usual_way_to_write_the_keys_can_be_changed_and_keeps_everything_else() {
        for (text, kept) in [
            ("[jwt]\nissuer = \"i\"\n", 0),
            (
                "[jwt]\nprivate_key_path = \"o\" # note\nissuer = \"i\"\n[log]\n",
                1,
            ),
            (
                "[jwt]\nissuer = \"i\"\nkeys = [{ algorithm = \"ES256\", private_key_path = \"o\" }]\n",
                1,
            ),
            (
                "[jwt]\n[[jwt.keys]]\nalgorithm = \"RS256\"\n# note\n[[jwt.keys]]\nalgorithm = \"ES256\"\n[log]\n",
                2,
            ),
        ] {
            let new = Keys::read(text).unwrap().with(&entry(), false).unwrap();
            let meaning = Meaning::of(&new).unwrap();
            assert_eq!(meaning.keys.len(), 1 + kept, "{new}");
            assert_eq!(
                meaning.keys[0].get("private_key_path").unwrap().as_str(),
                Some("keys/new.pem")
            );
            assert!(meaning.rest == without_keys(text.parse().unwrap()), "{new}");
            assert_eq!(text.contains("# note"), new.contains("# note"), "{new}");
        }
    }

    #[test]
    fn an_emergency_never_leaves_a_key_whose_algorithm_the_file_does_not_show() {
        let text = "[jwt]\n[[jwt.keys]]\nalgorithm = \"env:ALGORITHM\"\nprivate_key_path = \"stolen.pem\"\n";
        assert!(Keys::read(text).unwrap().with(&entry(), true).is_err());
        assert!(Keys::read(text).unwrap().with(&entry(), false).is_ok());
    }

    #[test]
    fn a_changed_file_keeps_its_mode_and_its_owner() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("riley-auth.toml");
        fs::write(&path, "old").unwrap();
        // Only root can give a file away; everybody else's stays their own.
        let _ = std::os::unix::fs::chown(&path, Some(12_345), Some(12_345));
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
        let facts = || {
            fs::metadata(&path)
                .map(|file| (file.uid(), file.gid(), file.mode()))
                .unwrap()
        };
        let before = facts();
        replace(&path, "new").unwrap();
        assert_eq!(facts(), before);
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
    }
}
