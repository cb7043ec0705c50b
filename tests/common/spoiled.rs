//! Bodies that nobody should send, made of one that would be taken.

use serde_json::{Value, json};
use uuid::Uuid;

use super::Answer;

/// In every hostile text; whoever finds it in an answer has found what was sent.
const MARK: &str = "hostile";

/// What PostgreSQL cannot keep, what begins another line, what a terminal obeys, and what turns or hides the text beside it.
const HOSTILE_CHARACTERS: [char; 14] = [
    '\u{0}', '\u{7}', '\r', '\n', '\u{7f}', '\u{9b}', '\u{61c}', '\u{200e}', '\u{200f}', '\u{2028}',
    '\u{202a}', '\u{202e}', '\u{2066}', '\u{2069}',
];

/// Texts that no member of any body takes.
fn hostile_texts() -> Vec<Value> {
    let texts = HOSTILE_CHARACTERS.map(|character| format!("{MARK}a{character}b"));
    let long = MARK.to_owned() + &"a".repeat(20_000);
    texts.into_iter().chain([long]).map(Value::from).collect()
}

/// A text that would be taken, but for one character inside.
fn nearly(text: &str) -> Vec<Value> {
    let Some(last) = text.chars().next_back() else {
        return Vec::new();
    };
    let start = &text[..text.len() - last.len_utf8()];
    HOSTILE_CHARACTERS
        .iter()
        .map(|character| json!(format!("{start}{character}{last}")))
        .collect()
}

/// What stands in place of a value of this kind and is none.
fn impostors(value: &Value) -> Vec<Value> {
    let mut others = vec![json!({}), json!({ "$ne": null }), json!([[]])];
    match value {
        Value::String(text) => {
            others.extend([json!(1), json!(1.5), json!(true), json!(["a"])]);
            others.extend(hostile_texts());
            others.extend(nearly(text));
        }
        Value::Bool(_) => others.extend([json!("true"), json!(1), json!("on"), json!([true])]),
        Value::Number(_) => others.extend([
            json!(-1),
            json!(1.5),
            json!("5"),
            json!(4_294_967_296_u64),
            json!(1e300),
            json!([5]),
        ]),
        Value::Array(items) => {
            let nearly_items = items.first().and_then(Value::as_str).map(nearly);
            others.extend(nearly_items.into_iter().flatten().map(|text| json!([text])));
            others.extend([json!("a"), json!(1), json!([1]), json!([null]), json!([{}])]);
            others.extend(hostile_texts().into_iter().map(|text| json!([text])));
            others.push(json!(vec!["https://a.example/"; 200]));
        }
        Value::Object(members) => {
            others.extend([json!("a"), json!(1), json!(true), json!([value])]);
            for name in members.keys() {
                for impostor in [json!("a"), json!({}), json!([{}]), json!([null]), json!(1)] {
                    let mut other = value.clone();
                    other[name] = impostor;
                    others.push(other);
                }
            }
        }
        Value::Null => {}
    }
    others
}

/// Bodies that differ from one that would be taken in one thing.
pub(crate) fn spoiled(valid: &Value) -> Vec<Value> {
    let mut bodies = vec![json!([]), json!(null), json!("x"), json!([valid]), json!(1)];
    for (name, value) in valid.as_object().unwrap() {
        for impostor in impostors(value) {
            let mut body = valid.clone();
            body[name] = impostor;
            bodies.push(body);
        }
    }
    if valid.get("failed_since").is_some() {
        // A moment that has no year of four digits in UTC.
        bodies.push(json!({ "failed_since": "9999-12-31T23:59:59-23:59" }));
    }
    for (name, value) in [
        ("role", json!("admin")),
        ("user_id", json!(Uuid::new_v4())),
        ("sub", json!(MARK)),
        ("email_verified", json!(true)),
        ("provider", json!("google")),
        ("generation", json!(1)),
        ("client_secret", json!(MARK)),
        ("__proto__", json!({ "role": "admin" })),
        ("hostile\u{0}b", json!(1)),
    ] {
        if valid.get(name).is_none() {
            let mut body = valid.clone();
            body[name] = value;
            bodies.push(body);
        }
    }
    bodies
}

/// Bodies with one member beyond the bound that the API document gives it: `schema` is the body's.
pub(crate) fn beyond_limits(document: &Value, schema: &Value, valid: &Value) -> Vec<(String, Value)> {
    let mut bodies = Vec::new();
    let resolved = resolve(document, schema);
    for (name, property) in resolved["properties"].as_object().into_iter().flatten() {
        let property = resolve(document, property);
        let limit = |keyword: &str| property[keyword].as_u64();
        let mut impostors = Vec::new();
        if let Some(most) = limit("maxLength") {
            let start = valid[name].as_str().unwrap_or_default();
            let filling = usize::try_from(most).unwrap() + 1 - start.chars().count();
            impostors.push(json!(format!("{start}{}", "a".repeat(filling))));
        }
        if limit("minLength").is_some_and(|least| least > 0) {
            impostors.push(json!(""));
        }
        if let (Some(most), Some(first)) = (limit("maxItems"), valid[name][0].as_str()) {
            let items = (0..=most).map(|number| json!(format!("{first}{number}")));
            impostors.push(items.collect());
        }
        if limit("minItems").is_some_and(|least| least > 0) {
            impostors.push(json!([]));
        }
        if let Some(most) = limit("maximum") {
            impostors.push(json!(most + 1));
        }
        if let Some(least) = property["minimum"].as_i64() {
            impostors.push(json!(least - 1));
        }
        for impostor in impostors {
            let mut body = valid.clone();
            body[name] = impostor;
            bodies.push((name.clone(), body));
        }
    }
    bodies
}

/// A schema without references and alternatives to `null`.
fn resolve<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    if let Some(reference) = schema["$ref"].as_str() {
        let found = document.pointer(reference.trim_start_matches('#'));
        return resolve(document, found.expect("a reference leads somewhere"));
    }
    for keyword in ["oneOf", "anyOf", "allOf"] {
        if let Some(alternatives) = schema[keyword].as_array() {
            let value = alternatives.iter().find(|one| one["type"] != "null");
            return resolve(document, value.expect("something beside null"));
        }
    }
    schema
}

/// A clear refusal: a client's fault, as JSON with a code, and nothing of what was sent in it.
pub(crate) fn is_refused(answer: &Answer, what: &str) {
    assert!(
        answer.status.is_client_error(),
        "{what}: {} {}",
        answer.status,
        answer.text
    );
    let said = answer.json();
    assert!(said["error"].is_string(), "{what}: {}", answer.text);
    assert!(answer.text.len() < 4000, "{what}: {}", answer.text.len());
    for sent in [MARK, "$ne", "__proto__", "aaaaaaaaaa"] {
        assert!(!answer.text.contains(sent), "{what}: {}", answer.text);
    }
    let texts = said.as_object().into_iter().flatten();
    for text in texts.filter_map(|(_, value)| value.as_str()) {
        let hostile = text
            .chars()
            .find(|character| HOSTILE_CHARACTERS.contains(character));
        assert_eq!(hostile, None, "{what}: {}", answer.text);
    }
}
