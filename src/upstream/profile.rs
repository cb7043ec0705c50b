//! What upstreams say about people, read with distrust: wrong types, lengths and characters are dropped, not passed on.

use serde_json::{Map, Value};
use url::Url;

use super::Identity;
use super::settings::is_secure;

/// OpenID Connect Core §2: a subject has at most 255 characters.
const MAX_SUBJECT: usize = 255;

/// The cap of names and other short texts, in characters.
const MAX_TEXT: usize = 200;

/// The cap of URLs and addresses of places, in characters.
const MAX_LONG_TEXT: usize = 2_000;

/// RFC 5321 §4.5.3.1.3, less the angle brackets.
const MAX_EMAIL: usize = 254;

/// The claims of OpenID Connect Core §5.1 that are passed on, with their types.
const STANDARD_CLAIMS: &[(&str, ClaimType)] = &[
    ("name", ClaimType::Text),
    ("given_name", ClaimType::Text),
    ("family_name", ClaimType::Text),
    ("middle_name", ClaimType::Text),
    ("nickname", ClaimType::Text),
    ("preferred_username", ClaimType::Text),
    ("profile", ClaimType::Link),
    ("picture", ClaimType::Link),
    ("website", ClaimType::Link),
    ("gender", ClaimType::Text),
    ("birthdate", ClaimType::Text),
    ("zoneinfo", ClaimType::Text),
    ("locale", ClaimType::Text),
    ("phone_number", ClaimType::Text),
    ("phone_number_verified", ClaimType::Boolean),
    ("address", ClaimType::Address),
    ("updated_at", ClaimType::Number),
];

/// The members of `address` (OpenID Connect Core §5.1.1).
const ADDRESS_MEMBERS: [&str; 6] = [
    "formatted",
    "street_address",
    "locality",
    "region",
    "postal_code",
    "country",
];

#[derive(Clone, Copy)]
enum ClaimType {
    Text,
    Link,
    Boolean,
    Number,
    Address,
}

/// The subject as text: a string or an integer of 1 to 255 characters without control characters. A number and its
/// digits are the same subject, because providers have changed from one to the other; leading zeros are another.
pub(super) fn subject(value: Option<&Value>) -> Option<String> {
    let subject = match value? {
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_i64() || number.is_u64() => number.to_string(),
        _ => return None,
    };
    let fits = !subject.trim().is_empty()
        && subject.chars().count() <= MAX_SUBJECT
        && !subject.chars().any(char::is_control);
    fits.then_some(subject)
}

/// Whether the provider says that it verified the address: `true`, or `"true"` where that is admitted, and nothing else.
pub(super) fn email_verified(value: Option<&Value>, as_string: bool) -> bool {
    match value {
        Some(Value::Bool(verified)) => *verified,
        Some(Value::String(text)) => as_string && text == "true",
        _ => false,
    }
}

/// An address that can be one: something, an `@`, a domain, and no character that could do harm on its way.
pub(super) fn email(value: Option<&Value>) -> Option<String> {
    let email = value?.as_str()?.trim();
    let (local, domain) = email.rsplit_once('@')?;
    let harmless =
        |c: char| !c.is_control() && !c.is_whitespace() && !is_invisible(c) && !"<>,;:\"\\()[]".contains(c);
    let fits =
        !local.is_empty() && !domain.is_empty() && email.len() <= MAX_EMAIL && email.chars().all(harmless);
    fits.then(|| email.to_owned())
}

/// The form in which two addresses are compared: ASCII alone, in lower case. `None` for one that must never match:
/// folding beyond ASCII differs between libraries, and U+212A folds to `k`.
pub fn normalised_email(email: &str) -> Option<String> {
    let (local, domain) = email.rsplit_once('@')?;
    let fits = email.is_ascii()
        && !local.is_empty()
        && !domain.is_empty()
        && !local.contains('@')
        && email.len() <= MAX_EMAIL
        && !email
            .bytes()
            .any(|byte| byte.is_ascii_whitespace() || byte.is_ascii_control());
    fits.then(|| email.to_ascii_lowercase())
}

/// The domain of a normalised address.
pub(super) fn email_domain(email: &str) -> Option<String> {
    let email = normalised_email(email)?;
    email.rsplit_once('@').map(|(_, domain)| domain.to_owned())
}

/// Whether Google itself decides over this address: its own domains, and those of Workspace customers (`hd`).
/// <https://developers.google.com/identity/gsi/web/guides/verify-google-id-token>
pub(super) fn is_google_account(identity: &Identity) -> bool {
    let Some(email) = identity.email.as_deref() else {
        return false;
    };
    let is_hosted = identity.hosted_domain.is_some() && email_domain(email).is_some();
    identity.email_verified && (is_hosted || is_google_domain(email))
}

/// Whether the address is of a domain of Google's own.
pub(super) fn is_google_domain(email: &str) -> bool {
    email_domain(email).is_some_and(|domain| domain == "gmail.com" || domain == "googlemail.com")
}

/// A name as it may be shown: no control characters and none that reverse or hide text, at most 200 characters.
pub(super) fn text(value: Option<&Value>) -> Option<String> {
    clean(value?.as_str()?, MAX_TEXT)
}

fn clean(text: &str, max_chars: usize) -> Option<String> {
    let kept: String = text
        .chars()
        .filter(|c| !c.is_control() && !is_invisible(*c))
        .collect();
    let cut: String = kept.trim().chars().take(max_chars).collect();
    let cut = cut.trim_end();
    (!cut.is_empty()).then(|| cut.to_owned())
}

/// Bidirectional controls (UAX #9 §2), separators and marks without a glyph: with them one name can look like another.
/// The joiners U+200C and U+200D stay, which several scripts need.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{61C}' | '\u{200B}' | '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'
        | '\u{2066}'..='\u{2069}' | '\u{FEFF}')
}

/// A picture's or page's URL: https (http in development), without credentials, re-serialised.
pub(super) fn link(value: Option<&Value>, allow_insecure_http: bool) -> Option<String> {
    let url: Url = value?.as_str()?.parse().ok()?;
    let fits = is_secure(&url, allow_insecure_http)
        && url.username().is_empty()
        && url.password().is_none()
        && url.as_str().len() <= MAX_LONG_TEXT;
    fits.then(|| url.into())
}

/// The standard claims of `claims` that have the type they should have (OpenID Connect Core §5.1), empty ones left out.
pub(super) fn standard_claims(claims: &Map<String, Value>, allow_insecure_http: bool) -> Map<String, Value> {
    let mut kept = Map::new();
    for (name, kind) in STANDARD_CLAIMS {
        let value = claims.get(*name);
        let value = match kind {
            ClaimType::Text => text(value).map(Value::String),
            ClaimType::Link => link(value, allow_insecure_http).map(Value::String),
            ClaimType::Boolean => value.filter(|value| value.is_boolean()).cloned(),
            ClaimType::Number => value.filter(|value| value.is_number()).cloned(),
            ClaimType::Address => value.and_then(Value::as_object).and_then(address),
        };
        if let Some(value) = value {
            kept.insert((*name).to_owned(), value);
        }
    }
    kept
}

fn address(given: &Map<String, Value>) -> Option<Value> {
    let mut kept = Map::new();
    for member in ADDRESS_MEMBERS {
        // Line breaks belong into `formatted` and `street_address` (§5.1.1).
        let lines = given
            .get(member)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .lines();
        let lines: Vec<_> = lines.filter_map(|line| clean(line, MAX_TEXT)).take(10).collect();
        if !lines.is_empty() {
            kept.insert(member.to_owned(), Value::String(lines.join("\n")));
        }
    }
    (!kept.is_empty()).then_some(Value::Object(kept))
}

/// What a member of a profile says; dots in `path` go into nested objects.
pub(super) fn at_path<'a>(document: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(document, |value, member| match value {
        Value::Array(items) => items.get(member.parse::<usize>().ok()?),
        _ => value.get(member),
    })
}

/// How the person would recognise the account.
pub(super) fn display(username: Option<&str>, name: Option<&str>, subject: &str) -> String {
    username
        .or(name)
        .map_or_else(|| clean(subject, MAX_TEXT).unwrap_or_default(), str::to_owned)
}

/// A username to suggest: what the provider calls the person. Never from the address, because a username is public; some
/// providers call people by an address, of which only what stands before the `@` is taken.
pub(super) fn username_hint(username: Option<String>, nickname: Option<String>) -> Option<String> {
    let hint = username.or(nickname)?;
    let hint = hint.split('@').next().unwrap_or_default();
    (!hint.is_empty()).then(|| hint.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn subject_of(value: &Value) -> Option<String> {
        subject(Some(value))
    }

    #[test]
    fn a_number_and_its_digits_are_the_same_subject_and_leading_zeros_another() {
        assert_eq!(subject_of(&json!(123)).unwrap(), "123");
        assert_eq!(subject_of(&json!("123")).unwrap(), "123");
        assert_eq!(subject_of(&json!("0123")).unwrap(), "0123");
        assert_eq!(subject_of(&json!(u64::MAX)).unwrap(), u64::MAX.to_string());
    }

    #[test]
    fn what_is_no_string_and_no_integer_is_no_subject() {
        for value in [
            json!(null),
            json!(true),
            json!(1.5),
            json!(1e3),
            json!({ "id": 1 }),
            json!(["1"]),
        ] {
            assert_eq!(subject_of(&value), None, "{value}");
        }
        assert_eq!(subject(None), None);
    }

    /// OpenID Connect Core §2.
    #[test]
    fn a_subject_has_1_to_255_characters_and_no_control_characters() {
        assert_eq!(subject_of(&json!("")), None);
        assert_eq!(subject_of(&json!("  ")), None);
        assert_eq!(subject_of(&json!("a\nb")), None);
        assert_eq!(subject_of(&json!("a\0")), None);
        assert!(subject_of(&json!("a".repeat(255))).is_some());
        assert_eq!(subject_of(&json!("a".repeat(256))), None);
    }

    #[test]
    fn only_true_verifies_an_address_and_the_string_only_where_admitted() {
        assert!(email_verified(Some(&json!(true)), false));
        assert!(email_verified(Some(&json!("true")), true));
        assert!(!email_verified(Some(&json!("true")), false));
        for value in [
            json!(false),
            json!(null),
            json!(1),
            json!("yes"),
            json!("TRUE"),
            json!("false"),
            json!([true]),
        ] {
            assert!(!email_verified(Some(&value), true), "{value}");
        }
        assert!(!email_verified(None, true));
    }

    #[test]
    fn addresses_compare_in_ascii_lower_case_and_others_never() {
        assert_eq!(normalised_email("Ada@Example.TEST").unwrap(), "ada@example.test");
        for email in [
            "adä@example.test",
            "\u{212A}im@example.test",
            "a@ex\u{e4}mple.test",
            "a@b@c",
            "a",
            "@b",
            "a@",
            "",
        ] {
            assert_eq!(normalised_email(email), None, "{email}");
        }
        assert_eq!(normalised_email("a b@example.test"), None);
        assert_eq!(
            normalised_email(&format!("{}@example.test", "a".repeat(250))),
            None
        );
    }

    #[test]
    fn an_address_that_cannot_be_one_is_dropped() {
        assert_eq!(
            email(Some(&json!(" ada@example.test "))).unwrap(),
            "ada@example.test"
        );
        for value in [
            json!("ada"),
            json!("@x"),
            json!("a@"),
            json!("a\r\nBcc:b@c"),
            json!("<a@b>"),
            json!(5),
            json!(null),
        ] {
            assert_eq!(email(Some(&value)), None, "{value}");
        }
    }

    #[test]
    fn names_lose_what_reverses_or_hides_text() {
        assert_eq!(
            text(Some(&json!("Ada\u{202E}\u{0}\n Lovelace\u{2066}"))).unwrap(),
            "Ada Lovelace"
        );
        assert_eq!(text(Some(&json!("\u{200F} "))), None);
        assert_eq!(text(Some(&json!(17))), None);
        assert_eq!(text(Some(&json!("é".repeat(300)))).unwrap().chars().count(), 200);
    }

    #[test]
    fn pictures_are_https_urls_without_credentials() {
        let https = |url: &str| link(Some(&json!(url)), false);
        assert_eq!(
            https("https://pics.test/a.png").unwrap(),
            "https://pics.test/a.png"
        );
        for url in [
            "http://pics.test/a",
            "javascript:alert(1)",
            "data:image/png,x",
            "https://u:p@pics.test/",
            "//x",
            "",
        ] {
            assert_eq!(https(url), None, "{url}");
        }
        assert!(link(Some(&json!("http://127.0.0.1/a")), true).is_some());
        assert!(link(Some(&json!("javascript:alert(1)")), true).is_none());
    }

    /// OpenID Connect Core §5.1.
    #[test]
    fn claims_of_the_wrong_type_are_left_out() {
        let claims = json!({
            "given_name": "Ada", "family_name": 5, "locale": "", "updated_at": 17, "birthdate": null,
            "phone_number_verified": "true", "address": { "country": "UK", "locality": 3, "planet": "Earth" },
            "website": "javascript:alert(1)", "is_admin": true, "sub": "x", "email": "a@b"
        });
        let kept = standard_claims(claims.as_object().unwrap(), false);
        let expected = json!({ "given_name": "Ada", "updated_at": 17, "address": { "country": "UK" } });
        assert_eq!(Value::Object(kept), expected);
    }

    #[test]
    fn dotted_paths_go_into_objects_and_arrays() {
        let document = json!({ "data": { "user": { "id": 7 } }, "emails": [{ "value": "a@b" }] });
        assert_eq!(at_path(&document, "data.user.id"), Some(&json!(7)));
        assert_eq!(at_path(&document, "emails.0.value"), Some(&json!("a@b")));
        assert_eq!(at_path(&document, "data.nobody.id"), None);
        assert_eq!(at_path(&document, ""), None);
    }
}
