//! `riley-auth config-schema`: the configuration as JSON Schema, for editors that complete and check while one types.
//!
//! It is the schema that the server itself checks against, made wider where a file may hold less than the value: any
//! string may be `env:NAME` or `file:/path`.

use serde_json::{Map, Value, json};

use crate::config::Config;

const TITLE: &str = "riley-auth.toml";

pub(super) fn run() -> anyhow::Result<()> {
    super::print(&(serde_json::to_string_pretty(&schema())? + "\n"))
}

fn schema() -> Value {
    let mut schema = schemars::schema_for!(Config).to_value();
    widen(&mut schema);
    if let Some(root) = schema.as_object_mut() {
        root.insert("title".into(), TITLE.into());
    }
    schema
}

/// Admits indirection wherever a string is narrowed by a list, a pattern or a format, and leaves our own marks out.
fn widen(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(widen),
        Value::Object(members) => {
            members.remove("x-secret");
            members.values_mut().for_each(widen);
            if is_narrowed_string(members) {
                let description = members.remove("description");
                let default = members.remove("default");
                let narrow = Value::Object(std::mem::take(members));
                members.extend([(
                    "anyOf".to_owned(),
                    json!([narrow, { "type": "string", "pattern": "^(env|file):." }]),
                )]);
                members.extend(description.map(|text| ("description".to_owned(), text)));
                members.extend(default.map(|value| ("default".to_owned(), value)));
            }
        }
        _ => {}
    }
}

fn is_narrowed_string(members: &Map<String, Value>) -> bool {
    let is_string = match members.get("type") {
        Some(Value::String(name)) => name == "string",
        Some(Value::Array(names)) => names.iter().any(|name| name == "string"),
        _ => false,
    };
    is_string
        && ["enum", "const", "pattern", "format"]
            .iter()
            .any(|key| members.contains_key(*key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_that_is_narrowed_may_still_come_from_elsewhere() {
        let mut schema = json!({ "properties": {
            "plain": { "type": "string" },
            "choice": { "type": "string", "enum": ["a", "b"], "description": "One of two." },
        }});
        widen(&mut schema);
        assert_eq!(schema["properties"]["plain"], json!({ "type": "string" }));
        let choice = &schema["properties"]["choice"];
        assert_eq!(choice["description"], "One of two.");
        assert_eq!(choice["anyOf"][0]["enum"], json!(["a", "b"]));
        assert_eq!(choice["anyOf"][1]["pattern"], "^(env|file):.");
    }

    #[test]
    fn the_schema_knows_the_sections_and_shows_no_mark_of_ours() {
        let schema = schema();
        assert!(schema["properties"]["server"].is_object());
        assert!(!schema.to_string().contains("x-secret"));
    }
}
