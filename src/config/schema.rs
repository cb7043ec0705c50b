//! The tree against the schema that the structs describe: unknown keys, missing keys, types, ranges, formats, all at once.
//!
//! What is wrong is reported and then taken out of the tree or replaced by a placeholder, so that the checks of meaning
//! still run on everything else.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value as Json};
use url::Url;

use super::finding::Finding;
use super::successors;
use super::tree::{Node, Origin, Value, join};

/// Stands for a value that is missing or could not be fetched; never reaches a running server.
pub(super) const PLACEHOLDER: &str = "placeholder";

const PLACEHOLDER_URL: &str = "https://placeholder.invalid";

/// The schema of the whole configuration.
pub(super) struct Schema(Json);

/// What the walk found out.
#[derive(Default)]
pub(super) struct Walked {
    pub(super) findings: Vec<Finding>,
    /// Paths of keys that hold secrets, so that nobody prints their lines.
    pub(super) secrets: BTreeSet<String>,
    /// Unknown keys, whose place is shown without their value.
    pub(super) unknown: BTreeSet<String>,
}

impl Schema {
    /// Derived from [`Config`](super::Config).
    pub(super) fn of_config() -> Self {
        Self(schemars::schema_for!(super::Config).to_value())
    }

    /// Whether the key at `path` takes a string.
    pub(super) fn takes_text(&self, path: &[String]) -> bool {
        let mut schema = self.resolve(&self.0);
        for segment in path {
            let member = schema.get("properties").and_then(|members| members.get(segment));
            let Some(next) = member.or_else(|| schema.get("additionalProperties")) else {
                return true;
            };
            schema = self.resolve(next);
        }
        type_of(schema) == Some("string")
    }

    /// Follows references and looks through `Option`.
    fn resolve<'s>(&'s self, schema: &'s Json) -> &'s Json {
        if let Some(reference) = schema.get("$ref").and_then(Json::as_str) {
            let name = reference.rsplit('/').next().unwrap_or_default();
            return self
                .0
                .get("$defs")
                .and_then(|defs| defs.get(name))
                .map_or(schema, |s| self.resolve(s));
        }
        if let Some(options) = schema.get("anyOf").and_then(Json::as_array) {
            let present = options
                .iter()
                .find(|option| option.get("type") != Some(&Json::from("null")));
            return present.map_or(schema, |option| self.resolve(option));
        }
        schema
    }

    /// Checks `root` and mends it as far as going on needs.
    pub(super) fn walk(&self, root: &mut BTreeMap<String, Node>) -> Walked {
        let mut walked = Walked::default();
        self.table("", self.resolve(&self.0), root, &mut walked);
        walked
    }

    fn table(&self, path: &str, schema: &Json, table: &mut BTreeMap<String, Node>, walked: &mut Walked) {
        let empty = Map::new();
        let members = schema
            .get("properties")
            .and_then(Json::as_object)
            .unwrap_or(&empty);
        let additional = schema
            .get("additionalProperties")
            .filter(|schema| schema.is_object());
        let mut removed = Vec::new();
        for (key, node) in table.iter_mut() {
            let path = join(path, key);
            let Some(schema) = members.get(key).or(additional) else {
                walked.findings.push(unknown_key(&path, key, members));
                walked.unknown.insert(path);
                removed.push(key.clone());
                continue;
            };
            if schema.get("x-secret") == Some(&Json::Bool(true)) {
                walked.secrets.insert(path.clone());
            }
            if !self.node(&path, schema, node, walked) {
                removed.push(key.clone());
            }
        }
        for key in &removed {
            table.remove(key);
        }
        self.require(path, schema, members, table, walked);
    }

    fn require(
        &self,
        path: &str,
        schema: &Json,
        members: &Map<String, Json>,
        table: &mut BTreeMap<String, Node>,
        walked: &mut Walked,
    ) {
        let required = schema
            .get("required")
            .and_then(Json::as_array)
            .into_iter()
            .flatten();
        for key in required.filter_map(Json::as_str) {
            if table.contains_key(key) {
                continue;
            }
            let path = join(path, key);
            let Some(schema) = members.get(key) else { continue };
            let resolved = self.resolve(schema);
            let mut value = placeholder(key, resolved);
            if let Value::Table(inner) = &mut value {
                self.table(&path, resolved, inner, walked);
            } else if !walked.findings.iter().any(|finding| finding.key == path) {
                walked.findings.push(Finding::error(
                    &path,
                    "this key is required and missing",
                    format!("add `{key} = …`{}", what_for(schema)),
                ));
            }
            let origin = Origin::Environment(String::new());
            table.insert(
                key.to_owned(),
                Node {
                    key_origin: origin.clone(),
                    origin,
                    value,
                    indirect: true,
                },
            );
        }
    }

    /// Whether the value may stay.
    fn node(&self, path: &str, schema: &Json, node: &mut Node, walked: &mut Walked) -> bool {
        let description = what_for(schema);
        let schema = self.resolve(schema);
        let expected = type_of(schema).unwrap_or("string");
        match (expected, &mut node.value) {
            ("object", Value::Table(table)) => {
                self.table(path, schema, table, walked);
                true
            }
            ("array", Value::Array(items)) => {
                let item_schema = schema.get("items").unwrap_or(&Json::Null);
                for (index, item) in items.iter_mut().enumerate() {
                    if !self.node(&format!("{path}[{index}]"), item_schema, item, walked) {
                        // Not removed: the others keep their positions.
                        item.value = placeholder("", self.resolve(item_schema));
                    }
                }
                true
            }
            ("string", Value::String(text)) => match text_problem(schema, text) {
                _ if text == PLACEHOLDER && node.indirect => {
                    // Could not be fetched, which has been said already.
                    if let Value::String(replacement) = placeholder(path, schema) {
                        *text = replacement;
                    }
                    true
                }
                Some((problem, mend)) => {
                    walked.findings.push(Finding::error(path, problem, mend));
                    // What was probably meant, so that the rules about other keys do not miss this one.
                    let names = admitted(schema);
                    if let Some(meant) = nearest(text, names.iter().copied()).or(names.first().copied()) {
                        meant.clone_into(text);
                    }
                    !names.is_empty()
                }
                None => true,
            },
            ("integer", Value::Integer(number)) => match range_problem(schema, *number) {
                Some((problem, mend)) => {
                    walked.findings.push(Finding::error(path, problem, mend));
                    false
                }
                None => true,
            },
            ("boolean", Value::Boolean(_)) => true,
            (expected, value) => {
                let (wanted, example) = match expected {
                    "object" => ("a table", "`key = value` lines below its `[name]`"),
                    "array" => ("an array", "`[…]`"),
                    "integer" => ("an integer", "digits without quotes"),
                    "boolean" => ("a boolean", "`true` or `false` without quotes"),
                    _ => ("a string", "the value in quotes"),
                };
                if expected == "object" {
                    // It may be a secret that lost its key.
                    walked.secrets.insert(path.to_owned());
                }
                walked.findings.push(Finding::error(
                    path,
                    format!("this must be {wanted} and is {}", value.type_name()),
                    format!("write {example}{description}"),
                ));
                false
            }
        }
    }
}

fn type_of(schema: &Json) -> Option<&str> {
    match schema.get("type") {
        Some(Json::String(name)) => Some(name),
        Some(Json::Array(names)) => names.iter().filter_map(Json::as_str).find(|name| *name != "null"),
        _ if schema.get("oneOf").is_some() || schema.get("enum").is_some() => Some("string"),
        _ => None,
    }
}

/// The names that an enumeration admits; empty for free text.
fn admitted(schema: &Json) -> Vec<&str> {
    let own = schema.get("enum").and_then(Json::as_array).into_iter().flatten();
    let variants = schema.get("oneOf").and_then(Json::as_array).into_iter().flatten();
    let nested = variants.flat_map(|variant| {
        let listed = variant.get("enum").and_then(Json::as_array).into_iter().flatten();
        listed.chain(variant.get("const"))
    });
    own.chain(nested).filter_map(Json::as_str).collect()
}

fn text_problem(schema: &Json, text: &str) -> Option<(String, String)> {
    let names = admitted(schema);
    if !names.is_empty() && !names.contains(&text) {
        let mend = match nearest(text, names.iter().copied()) {
            Some(near) => format!("did you mean \"{near}\"? It is one of {}", listed(&names)),
            None => format!("write one of {}", listed(&names)),
        };
        return Some(("the value is none of those that this key knows".into(), mend));
    }
    match schema.get("format").and_then(Json::as_str) {
        Some("uri") => Url::parse(text).err().map(|error| {
            (
                format!("this is no URL: {error}"),
                "write a whole one, such as \"https://example.com/login\"".into(),
            )
        }),
        Some("date-time") => {
            let format = &time::format_description::well_known::Rfc3339;
            time::OffsetDateTime::parse(text, format).err().map(|_| {
                (
                    "this is no time of RFC 3339 with its offset".to_owned(),
                    "write it as \"2026-01-31T12:00:00Z\"".to_owned(),
                )
            })
        }
        _ => None,
    }
}

fn range_problem(schema: &Json, number: i64) -> Option<(String, String)> {
    let (low, high) = match schema.get("format").and_then(Json::as_str) {
        Some("uint8") => (0, i64::from(u8::MAX)),
        Some("uint16") => (0, i64::from(u16::MAX)),
        Some("uint32") => (0, i64::from(u32::MAX)),
        _ => (0, i64::MAX),
    };
    let low = schema.get("minimum").and_then(Json::as_i64).unwrap_or(low);
    let high = schema.get("maximum").and_then(Json::as_i64).unwrap_or(high);
    (!(low..=high).contains(&number)).then(|| {
        (
            format!("the number is out of range ({low} to {high})"),
            format!("write a number from {low} to {high}"),
        )
    })
}

fn unknown_key(path: &str, key: &str, members: &Map<String, Json>) -> Finding {
    if let Some(sentence) = successors::of(path) {
        return Finding::error(path, "this key belongs to an older version", sentence);
    }
    let names: Vec<&str> = members.keys().map(String::as_str).collect();
    let mend = match nearest(key, names.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("remove it; known here are {}", listed(&names)),
    };
    Finding::error(path, "nobody knows this key", mend)
}

/// The name that is most like `text`, if any is like it.
fn nearest<'n>(text: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let text = text.to_ascii_lowercase();
    names
        .map(|name| (strsim::jaro_winkler(&text, &name.to_ascii_lowercase()), name))
        .filter(|(likeness, _)| *likeness >= 0.8)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, name)| name)
}

fn listed(names: &[&str]) -> String {
    names
        .iter()
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

/// The first sentence of the key's description, as the end of a sentence about what to write.
fn what_for(schema: &Json) -> String {
    let description = schema
        .get("description")
        .and_then(Json::as_str)
        .unwrap_or_default();
    let sentence = description
        .split(['\n'])
        .next()
        .unwrap_or_default()
        .trim_end_matches('.');
    if sentence.is_empty() {
        String::new()
    } else {
        format!(" ({sentence})")
    }
}

fn placeholder(key: &str, schema: &Json) -> Value {
    match type_of(schema) {
        Some("object") => Value::Table(BTreeMap::new()),
        Some("array") => Value::Array(Vec::new()),
        Some("integer") => Value::Integer(0),
        Some("boolean") => Value::Boolean(false),
        _ => Value::String(match admitted(schema).first() {
            Some(name) => (*name).to_owned(),
            None if key.ends_with("issuer") || schema.get("format") == Some(&Json::from("uri")) => {
                PLACEHOLDER_URL.to_owned()
            }
            None if schema.get("format") == Some(&Json::from("date-time")) => {
                "2000-01-01T00:00:00Z".to_owned()
            }
            None => PLACEHOLDER.to_owned(),
        }),
    }
}
