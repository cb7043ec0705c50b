//! The configuration file as a tree in which every value remembers where it was written.
//!
//! Values of the environment (`RILEY_AUTH__SERVER__PORT=…`) are put into the same tree, and `env:` and `file:` strings are
//! replaced in it, so that every later check sees one thing and can still point at its place.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::finding::Finding;

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// Bytes of the file.
    File(Range<usize>),
    /// A variable of the environment, by name.
    Environment(String),
}

/// A value and its place.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) key_origin: Origin,
    pub(super) origin: Origin,
    pub(super) value: Value,
    /// Whether the text was fetched by `env:` or `file:`, so that the file itself shows nothing secret.
    pub(super) indirect: bool,
}

/// What TOML has, less what a configuration has no use for.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// Dates and times are kept as the text they are written as.
    String(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    Array(Vec<Node>),
    Table(BTreeMap<String, Node>),
}

impl Value {
    /// The name of the type in a message.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::String(_) => "a string",
            Self::Integer(_) => "an integer",
            Self::Float(_) => "a number with a fraction",
            Self::Boolean(_) => "a boolean",
            Self::Array(_) => "an array",
            Self::Table(_) => "a table",
        }
    }

    pub(super) fn to_json(&self) -> serde_json::Value {
        match self {
            Self::String(text) => text.as_str().into(),
            Self::Integer(number) => (*number).into(),
            Self::Float(number) => (*number).into(),
            Self::Boolean(truth) => (*truth).into(),
            Self::Array(items) => items.iter().map(|item| item.value.to_json()).collect(),
            Self::Table(table) => {
                let members = table
                    .iter()
                    .map(|(key, node)| (key.clone(), node.value.to_json()));
                serde_json::Value::Object(members.collect())
            }
        }
    }
}

/// The tree of a parsed document.
pub(super) fn from_document(document: &DeTable<'_>) -> BTreeMap<String, Node> {
    document
        .iter()
        .map(|(key, value)| {
            let node = node(
                Origin::File(key.span()),
                Origin::File(value.span()),
                value.get_ref(),
            );
            (key.get_ref().to_string(), node)
        })
        .collect()
}

fn node(key_origin: Origin, origin: Origin, value: &DeValue<'_>) -> Node {
    let value = match value {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or_else(|_| Value::Float(f64::INFINITY), Value::Integer),
        DeValue::Float(number) => Value::Float(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(truth) => Value::Boolean(*truth),
        DeValue::Datetime(datetime) => Value::String(datetime.to_string()),
        DeValue::Array(items) => Value::Array(
            items
                .iter()
                .map(|item| {
                    let origin = Origin::File(item.span());
                    node(origin.clone(), origin, item.get_ref())
                })
                .collect(),
        ),
        DeValue::Table(table) => Value::Table(from_document(table)),
    };
    Node {
        key_origin,
        origin,
        value,
        indirect: false,
    }
}

/// The prefix of variables that override keys.
pub(super) const OVERRIDE_PREFIX: &str = "RILEY_AUTH__";

/// Puts the variables `RILEY_AUTH__TABLE__KEY` into the tree. `is_text` says of a path whether its key takes a string; the
/// value of every other key is read as TOML.
pub(super) fn apply_overrides(
    root: &mut BTreeMap<String, Node>,
    environment: &BTreeMap<String, String>,
    is_text: &dyn Fn(&[String]) -> bool,
) {
    for (variable, text) in environment {
        let Some(name) = variable.strip_prefix(OVERRIDE_PREFIX) else {
            continue;
        };
        let path: Vec<String> = name.split("__").map(str::to_ascii_lowercase).collect();
        let origin = Origin::Environment(variable.clone());
        let value = if is_text(&path) {
            Value::String(text.clone())
        } else {
            read_as_toml(text, &origin)
        };
        put(root, &path, &origin, value);
    }
}

/// Puts `value` at `path`, making the tables that it needs.
fn put(table: &mut BTreeMap<String, Node>, path: &[String], origin: &Origin, value: Value) {
    let Some((key, rest)) = path.split_first() else {
        return;
    };
    let new = |value| Node {
        key_origin: origin.clone(),
        origin: origin.clone(),
        value,
        indirect: true,
    };
    if rest.is_empty() {
        table.insert(key.clone(), new(value));
        return;
    }
    let entry = table
        .entry(key.clone())
        .or_insert_with(|| new(Value::Table(BTreeMap::new())));
    if !matches!(entry.value, Value::Table(_)) {
        // A value where a table belongs is wrong in itself; the variable replaces it.
        *entry = new(Value::Table(BTreeMap::new()));
    }
    if let Value::Table(inner) = &mut entry.value {
        put(inner, rest, origin, value);
    }
}

fn read_as_toml(text: &str, origin: &Origin) -> Value {
    let document = format!("value = {text}");
    let Ok(table) = DeTable::parse(&document) else {
        return Value::String(text.to_owned());
    };
    let mut tree = from_document(table.get_ref());
    match tree.remove("value") {
        Some(mut node) => {
            relocate(&mut node, origin);
            node.value
        }
        None => Value::String(text.to_owned()),
    }
}

fn relocate(node: &mut Node, origin: &Origin) {
    node.key_origin = origin.clone();
    node.origin = origin.clone();
    node.indirect = true;
    match &mut node.value {
        Value::Array(items) => items.iter_mut().for_each(|item| relocate(item, origin)),
        Value::Table(table) => table.values_mut().for_each(|inner| relocate(inner, origin)),
        _ => {}
    }
}

/// What `env:` and `file:` are resolved against.
pub(super) struct Indirection<'a> {
    pub(super) environment: &'a BTreeMap<String, String>,
    /// Where relative `file:` paths start.
    pub(super) directory: &'a Path,
    /// What is missing is a warning: the machine that checks need not hold the secrets.
    pub(super) offline: bool,
}

impl Indirection<'_> {
    /// Replaces every `env:NAME` and `file:/path`. Says what is missing, and marks it by removing the value's text.
    pub(super) fn resolve(&self, path: &str, node: &mut Node, findings: &mut Vec<Finding>) {
        match &mut node.value {
            Value::String(text) => {
                let Some(result) = self.fetch(text) else { return };
                node.indirect = true;
                match result {
                    Ok(fetched) => *text = fetched,
                    Err((problem, mend)) => {
                        super::schema::PLACEHOLDER.clone_into(text);
                        let mut finding = Finding::error(path, problem, mend);
                        if self.offline {
                            finding.severity = super::finding::Severity::Warning;
                        }
                        findings.push(finding);
                    }
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.resolve(&format!("{path}[{index}]"), item, findings);
                }
            }
            Value::Table(table) => {
                for (key, inner) in table {
                    self.resolve(&join(path, key), inner, findings);
                }
            }
            _ => {}
        }
    }

    /// `None`: the text is meant as it stands.
    fn fetch(&self, text: &str) -> Option<Result<String, (String, String)>> {
        if let Some(name) = text.strip_prefix("env:") {
            return Some(
                self.environment
                    .get(name)
                    .filter(|value| !value.is_empty())
                    .cloned()
                    .ok_or_else(|| {
                        (
                            format!("the environment variable {name} is not set"),
                            format!("set {name} for this process, or write the value here"),
                        )
                    }),
            );
        }
        let path = self.directory.join(text.strip_prefix("file:")?);
        Some(match std::fs::read_to_string(&path) {
            Ok(content) => {
                let content = content.strip_suffix('\n').unwrap_or(&content);
                Ok(content.strip_suffix('\r').unwrap_or(content).to_owned())
            }
            Err(error) => Err((
                format!("the file {} cannot be read: {error}", path.display()),
                "correct the path (relative ones start at the configuration file), or let this process read it".into(),
            )),
        })
    }
}

/// `path` and `key` joined by a dot; a key that TOML would quote is quoted.
pub(super) fn join(path: &str, key: &str) -> String {
    let bare = !key.is_empty()
        && key
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    let key = if bare {
        key.to_owned()
    } else {
        format!("\"{}\"", key.escape_default())
    };
    if path.is_empty() {
        key
    } else {
        format!("{path}.{key}")
    }
}
