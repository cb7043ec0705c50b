//! The API document (OpenAPI 3.1): it describes every route with every method, and what it describes is what is answered.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{Directory, TestProvider, routes};
use reqwest::Method;
use serde_json::Value;

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

async fn document(op: &TestProvider) -> Value {
    op.get("/openapi.json").await.is(200).json()
}

/// Path templates with their methods, in upper case.
fn described(document: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let paths = document["paths"].as_object().unwrap();
    paths
        .iter()
        .map(|(path, item)| {
            let methods = METHODS.iter().filter(|method| item.get(**method).is_some());
            (
                path.clone(),
                methods.map(|method| method.to_ascii_uppercase()).collect(),
            )
        })
        .collect()
}

/// The operations, each with its path and method.
fn operations(document: &Value) -> Vec<(String, &Value)> {
    operations_below(document, "paths")
}

fn operations_below<'a>(document: &'a Value, member: &str) -> Vec<(String, &'a Value)> {
    let paths = document[member].as_object().unwrap();
    paths
        .iter()
        .flat_map(|(path, item)| {
            METHODS.iter().filter_map(move |method| {
                let operation = item.get(*method)?;
                Some((format!("{method} {path}"), operation))
            })
        })
        .collect()
}

/// The router itself is asked: a method that no route knows is refused with the list of those that it does.
#[tokio::test]
async fn every_route_is_described_with_exactly_the_methods_that_it_answers() {
    let op = TestProvider::start().await;
    let described = described(&document(&op).await);
    let routes: BTreeSet<String> = routes::templates();
    let listed: BTreeSet<String> = described.keys().cloned().collect();
    assert_eq!(listed, routes);
    // Below `/admin` only an administrator learns which methods there are.
    let root = op.administrator("root").await;
    let cookie = format!("__Host-auth_refresh={}", root.cookie("refresh").unwrap());
    for (path, methods) in &described {
        let brew = Method::from_bytes(b"BREW").unwrap();
        let request = op.request(brew, &routes::fill_in(path)).header("cookie", &cookie);
        let refused = request.send().await.unwrap();
        assert_eq!(refused.status(), 405, "{path}");
        let allow = refused.headers()["allow"].to_str().unwrap();
        let answered: BTreeSet<String> = allow
            .split(',')
            .map(|method| method.trim().to_owned())
            .filter(|method| method != "HEAD")
            .collect();
        assert_eq!(methods, &answered, "{path}");
    }
}

/// The routes above are read from the sources, where each stands as a text: the few other ways in which a router gets
/// something to serve are known, and none brings a path of its own.
#[test]
fn no_route_is_registered_but_as_a_text_that_can_be_read() {
    let known: [(&str, &[&str]); 8] = [
        (
            "what nobody serves below /admin, 404",
            &["admin/mod.rs: route(path"],
        ),
        (
            "the second place of the same metadata, under an issuer with a path (RFC 8414 §3.1)",
            &["oauth_provider/discovery.rs: route(&format!"],
        ),
        (
            "everything, under the path of the issuer",
            &["server/routes.rs: nest(&issuer_path"],
        ),
        (
            "other methods of a route: 405",
            &[
                "auth/mod.rs: fallback(|| respond::not_allowed",
                "server/routes.rs: fallback(refuse",
            ],
        ),
        (
            "no route at all: 404",
            &[
                "server/routes.rs: fallback(counted",
                "server/routes.rs: fallback(not_found",
            ],
        ),
        (
            "routers that are built of texts in this crate",
            &[
                "server/routes.rs: merge(administration",
                "server/routes.rs: merge(auth::api_routes",
                "server/routes.rs: merge(authorization",
                "server/routes.rs: merge(everybody",
                "server/routes.rs: merge(first_party",
                "server/routes.rs: merge(inserted",
                "server/routes.rs: merge(introspect::routes",
                "server/routes.rs: merge(limited",
                "server/routes.rs: merge(logout::routes",
                "server/routes.rs: merge(metrics::routes",
                "server/routes.rs: merge(operation",
                "server/routes.rs: merge(revoke::routes",
                "server/routes.rs: merge(sign_in",
                "server/routes.rs: merge(token::routes",
                "server/routes.rs: merge(userinfo::routes",
            ],
        ),
        (
            "the router itself",
            &[
                "server/routes.rs: with_state(state",
                "server/routes.rs: with_state(state.clone",
            ],
        ),
        (
            "a connection that hands on what it read",
            &["server/accept.rs: oneshot(request"],
        ),
    ];
    let known = known.iter().flat_map(|(_, ways)| ways.iter());
    let found = routes::other_ways();
    assert_eq!(
        found,
        known.map(|way| (*way).to_owned()).collect(),
        "say why it brings no path of its own"
    );
}

#[tokio::test]
async fn the_document_is_of_openapi_3_1_and_names_this_issuer() {
    let op = TestProvider::start().await;
    let document = document(&op).await;
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["servers"][0]["url"], op.state().config.issuer());
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
}

/// §8: the command prints what a server with this configuration answers, member for member.
#[tokio::test(flavor = "multi_thread")]
async fn the_command_prints_the_document_that_the_server_answers() {
    let op = TestProvider::with(|config| config.server.cookie_prefix = "id".to_owned()).await;
    let text = op.configuration_text();
    let directory = Directory::with_key(&text.replace("[server]", "[server]\ncookie_prefix = \"id\""));
    let output = directory.run(&["openapi"]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
    let answered = document(&op).await;
    assert_eq!(printed, answered);
    // What the configuration decides is in it.
    assert_eq!(
        answered["components"]["securitySchemes"]["session"]["name"],
        "__Host-id_refresh"
    );
}

/// Front ends of other origins may read it: it holds nothing that is not public.
#[tokio::test]
async fn every_origin_may_read_the_document() {
    let op = TestProvider::start().await;
    let answer = op
        .request(Method::GET, "/openapi.json")
        .header("Origin", "https://anywhere.example")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.headers()["access-control-allow-origin"], "*");
}

/// Generators make functions of the names, so they are there and are unique (OpenAPI 3.1 §4.8.10).
#[tokio::test]
async fn every_operation_has_a_name_of_its_own_a_tag_that_is_explained_and_a_summary() {
    let op = TestProvider::start().await;
    let document = document(&op).await;
    let explained: BTreeSet<&str> = document["tags"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tag| tag["name"].as_str().unwrap())
        .collect();
    let mut names = BTreeSet::new();
    let sent = operations_below(&document, "webhooks");
    assert!(!sent.is_empty());
    for (at, operation) in operations(&document).into_iter().chain(sent) {
        let name = operation["operationId"].as_str().unwrap_or_default();
        assert!(!name.is_empty() && names.insert(name), "{at}: {name}");
        let tag = operation["tags"][0].as_str().unwrap_or_default();
        assert!(explained.contains(tag), "{at}: {tag}");
        assert!(operation["summary"].is_string(), "{at}");
    }
}

/// Whoever follows a reference finds something, and nothing is described that nobody refers to.
#[tokio::test]
async fn every_reference_leads_somewhere() {
    let op = TestProvider::start().await;
    let document = document(&op).await;
    let text = document.to_string();
    let mut followed = 0;
    for reference in text.split("\"$ref\":\"#").skip(1) {
        let pointer = reference.split('"').next().unwrap();
        assert!(document.pointer(pointer).is_some(), "{pointer}");
        followed += 1;
    }
    assert!(followed > 50, "{followed}");
    for name in document["components"]["schemas"].as_object().unwrap().keys() {
        assert!(
            name == "Event"
                // Part of a page, which is written out where it is used.
                || text.contains(&format!("_{name}\""))
                || text.contains(&format!("#/components/schemas/{name}\"")),
            "{name} is used by nobody"
        );
    }
}

/// An error body has the two members that the document says, and a status that it lists.
#[tokio::test]
async fn an_error_of_every_operation_is_among_those_that_are_described() {
    let op = TestProvider::start().await;
    let document = document(&op).await;
    for (at, operation) in operations(&document) {
        let (method, path) = at.split_once(' ').unwrap();
        let method = Method::from_bytes(method.to_ascii_uppercase().as_bytes()).unwrap();
        let answer = op.request(method, &routes::fill_in(path)).send().await.unwrap();
        let status = answer.status().as_u16().to_string();
        assert!(
            operation["responses"].get(&status).is_some(),
            "{at} answers {status}, which is not described"
        );
    }
}

/// Two types of one name would be one schema, and one of them would be described as the other.
#[test]
fn no_two_types_are_described_under_one_name() {
    let mut seen = BTreeMap::new();
    let mut waiting = vec![std::path::PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/src"
    ))];
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(
                std::fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
            continue;
        }
        let source = std::fs::read_to_string(&path).unwrap_or_default();
        let lines: Vec<&str> = source.lines().collect();
        for (index, _) in lines
            .iter()
            .enumerate()
            .filter(|(_, line)| line.starts_with("#[derive(") && line.contains("ToSchema"))
        {
            let mut name = None;
            for line in &lines[index + 1..] {
                if let Some(rest) = line.strip_prefix("#[schema(as = ") {
                    name = rest.split(')').next();
                }
                let item = line.trim_start_matches("pub(super) ").trim_start_matches("pub ");
                let declared = item
                    .strip_prefix("struct ")
                    .or_else(|| item.strip_prefix("enum "));
                if let Some(declared) = declared {
                    let end = declared
                        .find(|c: char| !c.is_alphanumeric())
                        .unwrap_or(declared.len());
                    name = name.or(Some(&declared[..end]));
                    break;
                }
            }
            let name = name.unwrap().to_owned();
            let before = seen.insert(name.clone(), path.clone());
            assert!(
                before.is_none(),
                "{name} stands in {before:?} and in {}",
                path.display()
            );
        }
    }
    assert!(seen.len() > 60, "{}", seen.len());
}
