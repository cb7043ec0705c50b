//! Cookies as they come out, held against how the server sets them.

use crate::config::Config;
use crate::config::finding::Finding;
use crate::http::cookies::Cookies;
use crate::server::probe::COOKIES;

const MEND: &str = "let the proxy pass Set-Cookie on as it is: no rewriting of path, domain or flags";

/// `arrived`: every `Set-Cookie` of an answer that removes each of our cookies.
pub(super) fn judge(config: &Config, arrived: &[String]) -> Vec<Finding> {
    let cookies = Cookies::new(config);
    let mut findings = Vec::new();
    for kind in COOKIES {
        let name = cookies.name(kind);
        let expected = cookies.clear(kind);
        let expected = expected.to_str().unwrap_or_default();
        let same_name: Vec<&String> = arrived
            .iter()
            .filter(|line| line.split('=').next() == Some(name.as_str()))
            .collect();
        let problem = match &same_name[..] {
            [] => format!("the cookie {name} does not arrive"),
            [line] => match difference(expected, line) {
                Some(difference) => format!("the cookie {name} arrives {difference}"),
                None => continue,
            },
            more => format!("the cookie {name} arrives {} times", more.len()),
        };
        findings.push(Finding::error("cookies", problem, MEND));
    }
    findings
}

/// In which attributes two `Set-Cookie` lines differ; their order and case do not count.
fn difference(expected: &str, arrived: &str) -> Option<String> {
    let attributes = |line: &str| -> Vec<String> {
        let mut list: Vec<String> = line
            .split(';')
            .skip(1)
            .map(|attribute| attribute.trim().to_ascii_lowercase())
            .collect();
        list.sort_unstable();
        list
    };
    let [expected, arrived] = [expected, arrived].map(attributes);
    let listed = |from: &[String], without: &[String]| {
        let only: Vec<&str> = from
            .iter()
            .filter(|attribute| !without.contains(attribute))
            .map(String::as_str)
            .collect();
        (!only.is_empty()).then(|| only.join(", "))
    };
    match (listed(&expected, &arrived), listed(&arrived, &expected)) {
        (None, None) => None,
        (Some(lost), None) => Some(format!("without {lost}")),
        (None, Some(added)) => Some(format!("with {added} added")),
        (Some(lost), Some(added)) => Some(format!("with {added} in place of {lost}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(issuer: &str) -> Config {
        toml::from_str(&format!(
            "[database]\nurl = \"postgres://a@b/c\"\nsecret_key = \"k\"\n[jwt]\nissuer = \"{issuer}\"\n"
        ))
        .unwrap()
    }

    fn set(config: &Config) -> Vec<String> {
        let cookies = Cookies::new(config);
        let lines = COOKIES.map(|kind| cookies.clear(kind).to_str().unwrap().to_owned());
        lines.to_vec()
    }

    #[test]
    fn cookies_that_arrive_as_they_are_set_are_in_order() {
        for issuer in ["https://a.example", "http://127.0.0.1:8081"] {
            let config = config(issuer);
            assert_eq!(judge(&config, &set(&config)), []);
        }
    }

    #[test]
    fn a_flag_that_is_lost_or_added_is_named() {
        let config = config("https://a.example");
        for (from, to, part) in [
            ("; Secure", "", "without secure"),
            ("; HttpOnly", "", "without httponly"),
            (
                "SameSite=Lax",
                "SameSite=None",
                "with samesite=none in place of samesite=lax",
            ),
            ("Path=/", "Path=/auth", "with path=/auth in place of path=/"),
            (
                "; Secure",
                "; Secure; Domain=a.example",
                "with domain=a.example added",
            ),
        ] {
            let changed: Vec<String> = set(&config).iter().map(|line| line.replace(from, to)).collect();
            let findings = judge(&config, &changed);
            assert_eq!(findings.len(), COOKIES.len(), "{from}");
            assert!(findings[0].problem.contains(part), "{}", findings[0]);
        }
        assert!(judge(&config, &[])[0].problem.contains("does not arrive"));
        let twice = [set(&config), set(&config)].concat();
        assert!(judge(&config, &twice)[0].problem.contains("2 times"));
    }
}
