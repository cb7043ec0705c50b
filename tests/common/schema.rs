//! Whether a value is what a schema of the API document says: the part of JSON Schema that the document uses, and stricter in
//! one thing, since no member may be there that the schema does not name.

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// What is wrong with `value`, or nothing.
pub(crate) fn misfit(document: &Value, schema: &Value, value: &Value) -> Option<String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let found = document.pointer(reference.trim_start_matches('#'));
        return misfit(document, found.expect("a reference leads somewhere"), value);
    }
    for keyword in ["oneOf", "anyOf"] {
        if let Some(alternatives) = schema[keyword].as_array() {
            let misfits: Vec<String> = alternatives
                .iter()
                .map_while(|one| misfit(document, one, value))
                .collect();
            return (misfits.len() == alternatives.len()).then(|| misfits.join("; or "));
        }
    }
    if let Some(admitted) = schema["enum"].as_array()
        && !admitted.contains(value)
    {
        return Some(format!("{value} is none of {admitted:?}"));
    }
    of_type(schema, value)
        .or_else(|| of_format(schema, value))
        .or_else(|| inside(document, schema, value))
}

fn of_type(schema: &Value, value: &Value) -> Option<String> {
    let own = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let fits = match &schema["type"] {
        Value::Null => true,
        Value::Array(types) => types.iter().any(|one| one == own),
        one => one == own,
    };
    (!fits).then(|| format!("{value} is no {}", schema["type"]))
}

fn of_format(schema: &Value, value: &Value) -> Option<String> {
    let text = value.as_str()?;
    let fits = match schema["format"].as_str()? {
        "date-time" => OffsetDateTime::parse(text, &Rfc3339).is_ok(),
        "uuid" => uuid::Uuid::try_parse(text).is_ok(),
        _ => true,
    };
    (!fits).then(|| format!("{text:?} is no {}", schema["format"]))
}

fn inside(document: &Value, schema: &Value, value: &Value) -> Option<String> {
    match value {
        Value::Array(items) => items
            .iter()
            .find_map(|item| misfit(document, schema.get("items")?, item)),
        Value::Object(members) => {
            let required = schema["required"].as_array().into_iter().flatten();
            let missing = required
                .filter_map(Value::as_str)
                .find(|name| !members.contains_key(*name));
            if let Some(name) = missing {
                return Some(format!("{name} is missing"));
            }
            let properties = schema["properties"].as_object()?;
            members.iter().find_map(|(name, member)| {
                let misfit = match properties.get(name) {
                    Some(property) => misfit(document, property, member),
                    None => Some("nobody described it".to_owned()),
                };
                misfit.map(|misfit| format!("{name}: {misfit}"))
            })
        }
        _ => None,
    }
}
