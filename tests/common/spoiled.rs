//! Bodies that nobody should send, made of one that would be taken.

use serde_json::{Value, json};
use uuid::Uuid;

use super::Answer;

/// Texts that no member of any body takes.
fn hostile_texts() -> Vec<Value> {
    let texts = [
        "a".repeat(20_000),
        "a\u{0}b".to_owned(),
        "a\u{7}b".to_owned(),
        "a\r\nb".to_owned(),
        "a\u{202e}b".to_owned(),
        "a\u{2066}b".to_owned(),
        "a\u{200f}b".to_owned(),
        "a\u{9b}b".to_owned(),
    ];
    texts.into_iter().map(Value::from).collect()
}

/// What stands in place of a value of this kind and is none.
fn impostors(value: &Value) -> Vec<Value> {
    let mut others = vec![json!({}), json!({ "$ne": null }), json!([[]])];
    match value {
        Value::String(_) => {
            others.extend([json!(1), json!(1.5), json!(true), json!(["a"])]);
            others.extend(hostile_texts());
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
        Value::Array(_) => {
            others.extend([json!("a"), json!(1), json!([1]), json!([null]), json!([{}])]);
            others.extend(hostile_texts().into_iter().map(|text| json!([text])));
            others.push(json!(vec!["https://a.example/"; 200]));
        }
        Value::Null | Value::Object(_) => {}
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
        ("sub", json!("x")),
        ("email_verified", json!(true)),
        ("provider", json!("google")),
        ("generation", json!(1)),
        ("client_secret", json!("mine")),
        ("__proto__", json!({ "role": "admin" })),
        ("a\u{0}b", json!(1)),
    ] {
        if valid.get(name).is_none() {
            let mut body = valid.clone();
            body[name] = value;
            bodies.push(body);
        }
    }
    bodies
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
}
