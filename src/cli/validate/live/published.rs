//! Discovery and keys as everybody reads them, held byte for byte against what this configuration gives.

use serde_json::Value;

use super::outside::{Answer, Outside};
use crate::config::Config;
use crate::config::finding::Finding;
use crate::jwt::KeySet;
use crate::oauth_provider::discovery::metadata_json;

const CONFIGURATION: &str = "/.well-known/openid-configuration";
const AUTHORIZATION_SERVER: &str = "/.well-known/oauth-authorization-server";
const JWKS: &str = "/.well-known/jwks.json";

/// `Err`: nobody answers at the public URL, or somebody else does.
pub(super) async fn check(config: &Config, outside: &Outside) -> Result<Vec<Finding>, Finding> {
    let Ok(keys) = KeySet::load(config.jwt.key_files(), false) else {
        // They were loaded a moment ago; whoever changed them meanwhile knows.
        return Ok(Vec::new());
    };
    let expected = metadata_json(config, &keys);
    let answer = outside
        .get(CONFIGURATION, &[])
        .await
        .map_err(|failure| failure.finding("jwt.issuer"))?;
    if let Some(finding) = judge_arrival(&answer, config.issuer(), config.issuer_path()) {
        return Err(finding);
    }
    let mut findings = Vec::new();
    findings.extend(judge_document("discovery", &answer, &expected));
    findings.extend(judge_cors(&answer));
    findings.extend(judge_headers(config, &answer));
    let mut copies = vec![outside.get(AUTHORIZATION_SERVER, &[]).await];
    if !config.issuer_path().is_empty() {
        // RFC 8414 §3.1: the well-known part goes before the issuer's path.
        let inserted = format!("{AUTHORIZATION_SERVER}{}", config.issuer_path());
        copies.push(outside.get_at_root(&inserted).await);
    }
    for copy in copies {
        match copy {
            // The same difference need not be told twice.
            Ok(copy) if copy.status == 200 && copy.body == answer.body => {}
            Ok(copy) => findings.extend(judge_document("discovery for OAuth clients", &copy, &expected)),
            Err(failure) => findings.push(failure.finding("discovery for OAuth clients")),
        }
    }
    let cached = outside.get(JWKS, &[]).await;
    let fresh = outside
        .get(&format!("{JWKS}?fresh={}", super::micros()), &[])
        .await;
    match (cached, fresh) {
        (Ok(cached), Ok(fresh)) => {
            findings.extend(judge_keys(&cached, &fresh, keys.jwks_json()));
            let max_age_secs = config.jwt.jwks_cache_max_age_secs.into();
            findings.extend(judge_lifetime(&cached, max_age_secs));
        }
        (Err(failure), _) | (_, Err(failure)) => findings.push(failure.finding("jwks")),
    }
    Ok(findings)
}

/// Whether it is riley-auth at all that answers under this name.
fn judge_arrival(answer: &Answer, issuer: &str, issuer_path: &str) -> Option<Finding> {
    let found = |problem: String, mend: String| Some(Finding::error("jwt.issuer", problem, mend));
    match answer.status {
        200 => {}
        300..=399 => {
            let to = answer.header("location").unwrap_or("nowhere").to_owned();
            return found(
                format!("the discovery URL redirects to {to}; client libraries do not follow that"),
                "let the proxy serve it at the issuer's own URL, or write the issuer as it is reached"
                    .to_owned(),
            );
        }
        404 if !issuer_path.is_empty() => {
            return found(
                format!("the discovery URL is not found below {issuer_path}"),
                format!("let the proxy pass the path on as it is, with {issuer_path} in front"),
            );
        }
        502..=504 => {
            return found(
                format!(
                    "the proxy answers {}: it does not reach the server",
                    answer.status
                ),
                "start the server, and let the proxy ask at server.host and server.port".to_owned(),
            );
        }
        status => {
            return found(
                format!("the discovery URL answers {status}"),
                "let the proxy pass every path below the issuer on to riley-auth".to_owned(),
            );
        }
    }
    let Some(told) = answer
        .json()
        .and_then(|json| json["issuer"].as_str().map(str::to_owned))
    else {
        return found(
            "what answers at the discovery URL is no discovery document".to_owned(),
            "let the proxy pass every path below the issuer on to riley-auth".to_owned(),
        );
    };
    if told == issuer {
        return None;
    }
    found(
        format!("another issuer answers there: {told}"),
        "run this with the server's own configuration, restart the server if its configuration has changed, or let the \
         name lead to the right server"
            .to_owned(),
    )
}

fn judge_document(what: &str, answer: &Answer, expected: &str) -> Option<Finding> {
    if answer.status != 200 {
        return Some(Finding::error(
            what,
            format!("it answers {}", answer.status),
            "let the proxy pass every path below /.well-known/ on to riley-auth",
        ));
    }
    if answer.body == expected.as_bytes() {
        return None;
    }
    let ours: Value = serde_json::from_str(expected).unwrap_or_default();
    let mend = "restart the server if its configuration has changed; else let nothing in front rewrite or keep the answer";
    let problem = match answer.json() {
        Some(theirs) if theirs == ours => {
            "it is the same JSON in other bytes: something in front rewrites it".to_owned()
        }
        Some(theirs) => format!(
            "it differs from what this configuration gives, in {}",
            differences(&ours, &theirs).join(", ")
        ),
        None => "it is no JSON any more: something in front rewrites it".to_owned(),
    };
    Some(Finding::error(what, problem, mend))
}

/// The members that differ or stand in one document alone.
fn differences(ours: &Value, theirs: &Value) -> Vec<String> {
    let empty = serde_json::Map::new();
    let [ours, theirs] = [ours, theirs].map(|document| document.as_object().unwrap_or(&empty));
    let mut names: Vec<&String> = ours.keys().chain(theirs.keys()).collect();
    names.sort_unstable();
    names.dedup();
    names
        .into_iter()
        .filter(|name| ours.get(*name) != theirs.get(*name))
        .cloned()
        .collect()
}

/// Browsers refuse an answer with two values, which is what a proxy makes that adds one of its own.
fn judge_cors(answer: &Answer) -> Option<Finding> {
    let allowed = answer.all("access-control-allow-origin");
    (allowed != ["*"]).then(|| {
        Finding::error(
            "headers",
            format!(
                "Access-Control-Allow-Origin arrives {}, so apps in browsers cannot read the document",
                match &allowed[..] {
                    [] => "not at all".to_owned(),
                    [one] => format!("as {one}"),
                    more => format!("{} times", more.len()),
                }
            ),
            "let the proxy leave the header alone: riley-auth sets it",
        )
    })
}

/// What every answer carries has to arrive, once.
fn judge_headers(config: &Config, answer: &Answer) -> Vec<Finding> {
    let is_https = config.issuer().starts_with("https://");
    let expected = [
        "x-content-type-options",
        "x-frame-options",
        "content-security-policy",
        "referrer-policy",
    ];
    let hsts = is_https.then_some("strict-transport-security");
    let judged = expected.into_iter().chain(hsts).filter_map(|name| {
        let problem = match answer.all(name).len() {
            1 => return None,
            0 => format!("{name} does not arrive"),
            times => format!("{name} arrives {times} times"),
        };
        Some(Finding::warning(
            "headers",
            problem,
            "let the proxy pass the header on and add none of its own",
        ))
    });
    judged.collect()
}

/// `fresh`: asked under a URL that no cache can know.
fn judge_keys(cached: &Answer, fresh: &Answer, expected: &str) -> Option<Finding> {
    let is_ours = |answer: &Answer| answer.status == 200 && answer.body == expected.as_bytes();
    match (is_ours(cached), is_ours(fresh)) {
        (true, true) => None,
        (false, true) => Some(Finding::error(
            "jwks",
            "a cache in front gives out an old copy of the keys, which the server has replaced since",
            "let the cache obey Cache-Control, and purge /.well-known/jwks.json; until then apps refuse new tokens",
        )),
        (true, false) => Some(Finding::error(
            "jwks",
            "the answer depends on the query or changes from one request to the next: instances have different keys",
            "give every instance the same keys and let each read them anew (SIGHUP)",
        )),
        (false, false) => Some(Finding::error(
            "jwks",
            format!(
                "the server publishes other keys than this configuration has: {} in place of {}",
                kids(&fresh.body),
                kids(expected.as_bytes())
            ),
            "let the server read the keys anew (SIGHUP), or run this with the server's own configuration",
        )),
    }
}

fn kids(jwks: &[u8]) -> String {
    let json: Value = serde_json::from_slice(jwks).unwrap_or_default();
    let keys = json["keys"].as_array().cloned().unwrap_or_default();
    let names: Vec<&str> = keys.iter().filter_map(|key| key["kid"].as_str()).collect();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

/// A new key signs `jwks_cache_max_age_secs` after it is published: whoever keeps the list for longer refuses its tokens.
fn judge_lifetime(answer: &Answer, max_age_secs: u64) -> Option<Finding> {
    let too_long = |problem: String| {
        Some(Finding::error(
            "jwks",
            problem,
            "let nothing in front change Cache-Control of /.well-known/jwks.json, or raise jwt.jwks_cache_max_age_secs to \
             what it says",
        ))
    };
    let age_secs = answer
        .header("age")
        .and_then(|age| age.trim().parse::<u64>().ok());
    if let Some(age) = age_secs.filter(|age| *age > max_age_secs) {
        return too_long(format!(
            "a cache in front gives out a copy that is {age} seconds old, where {max_age_secs} are allowed"
        ));
    }
    let told = answer.all("cache-control").join(", ").to_ascii_lowercase();
    let lifetimes = told.split(',').filter_map(|directive| {
        let (name, value) = directive.trim().split_once('=')?;
        let counts = ["max-age", "s-maxage", "stale-while-revalidate", "stale-if-error"].contains(&name);
        counts
            .then(|| value.trim_matches('"').parse::<u64>().ok())
            .flatten()
    });
    match lifetimes.max() {
        Some(secs) if secs > max_age_secs => too_long(format!(
            "it arrives with leave to be kept for {secs} seconds, where the server says {max_age_secs}"
        )),
        Some(_) => None,
        None if told.contains("no-store") || told.contains("no-cache") => Some(Finding::warning(
            "jwks",
            "it arrives with a ban on caching, so every app fetches the keys again and again",
            "let nothing in front change Cache-Control of /.well-known/jwks.json",
        )),
        None => too_long("it arrives without a lifetime, so every cache chooses its own".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

    use super::*;

    fn answer(status: u16, headers: &[(&'static str, &'static str)], body: &str) -> Answer {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        Answer {
            status,
            headers: map,
            body: body.as_bytes().to_vec(),
        }
    }

    #[test]
    fn whoever_answers_in_our_place_is_told_from_us() {
        let ours = answer(200, &[], r#"{"issuer":"https://a.example/id"}"#);
        assert_eq!(judge_arrival(&ours, "https://a.example/id", "/id"), None);
        for (answer, part) in [
            (
                answer(301, &[("location", "https://www.a.example/")], ""),
                "https://www.a.example/",
            ),
            (answer(404, &[], ""), "below /id"),
            (answer(502, &[], ""), "does not reach the server"),
            (answer(403, &[], ""), "answers 403"),
            (answer(200, &[], "<html>"), "no discovery document"),
            (
                answer(200, &[], r#"{"issuer":"https://b.example"}"#),
                "https://b.example",
            ),
        ] {
            let finding = judge_arrival(&answer, "https://a.example/id", "/id").unwrap();
            assert!(finding.problem.contains(part), "{finding}");
        }
    }

    #[test]
    fn a_document_is_compared_byte_for_byte() {
        let expected = r#"{"a":1,"b":[2]}"#;
        assert_eq!(
            judge_document("discovery", &answer(200, &[], expected), expected),
            None
        );
        for (body, part) in [
            (r#"{"a": 1, "b": [2]}"#, "other bytes"),
            (r#"{"a":1,"b":[2],"c":3}"#, "in c"),
            (r#"{"b":[2]}"#, "in a"),
            ("<html>", "no JSON"),
        ] {
            let finding = judge_document("discovery", &answer(200, &[], body), expected).unwrap();
            assert!(finding.problem.contains(part), "{finding}");
        }
    }

    #[test]
    fn a_copy_of_the_keys_that_lives_too_long_is_noticed() {
        let judged = |headers: &[(&'static str, &'static str)]| {
            judge_lifetime(&answer(200, headers, ""), 3600).map(|finding| finding.problem)
        };
        assert_eq!(judged(&[("cache-control", "public, max-age=3600")]), None);
        assert_eq!(
            judged(&[("cache-control", "public, max-age=3600"), ("age", "3599")]),
            None
        );
        for (headers, part) in [
            (&[("cache-control", "public, max-age=86400")][..], "86400 seconds"),
            (&[("cache-control", "max-age=60, s-maxage=7200")], "7200 seconds"),
            (
                &[("cache-control", "public, max-age=3600"), ("age", "4000")],
                "4000 seconds old",
            ),
            (&[("cache-control", "no-store")], "ban on caching"),
            (&[], "without a lifetime"),
        ] {
            let problem = judged(headers).unwrap();
            assert!(problem.contains(part), "{problem}");
        }
    }

    #[test]
    fn an_old_copy_is_told_from_another_servers_keys() {
        let [ours, old] = [r#"{"keys":[{"kid":"new"}]}"#, r#"{"keys":[{"kid":"old"}]}"#];
        let judged = |cached, fresh| {
            judge_keys(&answer(200, &[], cached), &answer(200, &[], fresh), ours)
                .map(|finding| finding.problem)
        };
        assert_eq!(judged(ours, ours), None);
        assert!(judged(old, ours).unwrap().contains("old copy"));
        assert!(judged(ours, old).unwrap().contains("instances"));
        assert!(judged(old, old).unwrap().contains("old in place of new"));
    }

    #[test]
    fn cors_and_security_headers_arrive_exactly_once() {
        assert_eq!(
            judge_cors(&answer(200, &[("access-control-allow-origin", "*")], "")),
            None
        );
        let twice = [
            ("access-control-allow-origin", "*"),
            ("access-control-allow-origin", "*"),
        ];
        assert!(
            judge_cors(&answer(200, &twice, ""))
                .unwrap()
                .problem
                .contains("2 times")
        );
        assert!(
            judge_cors(&answer(200, &[], ""))
                .unwrap()
                .problem
                .contains("not at all")
        );
    }

    #[test]
    fn a_header_that_is_lost_or_doubled_is_named() {
        let config = |issuer: &str| -> Config {
            let text = format!(
                "database = {{ url = \"postgres://localhost/riley\", secret_key = \"a-secret-key-of-the-tests-0123456789\" }}\n\
                 jwt = {{ issuer = \"{issuer}\" }}"
            );
            toml::from_str(&text).unwrap()
        };
        let all = [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("content-security-policy", "default-src 'none'"),
            ("referrer-policy", "no-referrer"),
        ];
        let judged = |issuer: &str, headers: &[(&'static str, &'static str)]| -> Vec<String> {
            let findings = judge_headers(&config(issuer), &answer(200, headers, ""));
            findings.into_iter().map(|finding| finding.problem).collect()
        };
        assert!(judged("http://127.0.0.1:8081", &all).is_empty());
        assert_eq!(
            judged("https://a.example", &all),
            ["strict-transport-security does not arrive"]
        );
        let twice = [&all[..], &[("x-frame-options", "SAMEORIGIN")]].concat();
        assert_eq!(
            judged("http://127.0.0.1:8081", &twice),
            ["x-frame-options arrives 2 times"]
        );
        let one = [("access-control-allow-origin", "https://a.example")];
        let finding = judge_cors(&answer(200, &one, "")).unwrap();
        assert!(
            finding.problem.contains("arrives as https://a.example"),
            "{finding}"
        );
    }
}
