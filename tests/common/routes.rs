//! Every route, read from the sources of the router, so that none can be forgotten.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The templates, such as `/auth/{provider}`. What only `dev` serves is not among them.
pub(crate) fn templates() -> BTreeSet<String> {
    let mut routes = BTreeSet::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut routes);
    routes
}

/// The routes with their parameters filled in.
pub(crate) fn filled_in() -> BTreeSet<String> {
    templates().iter().map(|template| fill_in(template)).collect()
}

/// A path of this template.
pub(crate) fn fill_in(template: &str) -> String {
    let parts = template.split('/').map(|part| match part {
        "{provider}" => "simulated",
        part if part.starts_with('{') => "0190b5a0-0000-7000-8000-000000000000",
        part => part,
    });
    parts.collect::<Vec<_>>().join("/")
}

/// Spellings of a path that somebody could take for it, none of which is the path itself: `path` has two segments or more.
pub(crate) fn tricks(path: &str) -> Vec<String> {
    let (start, last) = path.rsplit_once('/').unwrap();
    let (first, rest) = path[1..].split_once('/').unwrap();
    let upper = first.to_ascii_uppercase();
    let (letter, letters) = first.split_at(1);
    let encoded = format!("%{:02x}{letters}", letter.as_bytes()[0]);
    vec![
        format!("{path}/"),
        format!("/{path}"),
        format!("{start}//{last}"),
        format!("{path};x"),
        format!("{path}%00"),
        format!("{path}%2f"),
        format!("{path}%20"),
        format!("{path}."),
        format!("{path}/."),
        format!("{path}/x/.."),
        format!("/x/..{path}"),
        format!("/auth/..{path}"),
        format!("/{first}/./{rest}"),
        format!("/{first};x/{rest}"),
        format!("/{first}%2f{rest}"),
        format!("/{upper}/{rest}"),
        format!("/{encoded}/{rest}"),
        format!("/{first}\\{rest}"),
        format!("{start}%2f{last}"),
        format!("https://op.test/{upper}/{rest}"),
    ]
}

fn collect(path: &Path, routes: &mut BTreeSet<String>) {
    for (_, source) in sources(path) {
        for registered in source.split(".route(").skip(1) {
            let route = registered
                .trim_start()
                .strip_prefix('"')
                .and_then(|rest| rest.split('"').next());
            routes.extend(route.filter(|route| route.starts_with('/')).map(str::to_owned));
        }
    }
}

/// The files below a folder, without `dev`: their paths and what stands in them.
fn sources(path: &Path) -> Vec<(PathBuf, String)> {
    if path.ends_with("src/dev") {
        return Vec::new();
    }
    if path.is_dir() {
        let entries = std::fs::read_dir(path).unwrap();
        return entries
            .flat_map(|entry| sources(&entry.unwrap().path()))
            .collect();
    }
    let source = std::fs::read_to_string(path).unwrap();
    vec![(path.to_owned(), source)]
}

/// Whatever hands requests on in another way than `.route("/…"`: the file, the method and what it is handed first. A router
/// could get routes by it that [`templates`] does not see.
pub(crate) fn other_ways() -> BTreeSet<String> {
    const METHODS: [&str; 11] = [
        "route",
        "route_service",
        "nest",
        "nest_service",
        "merge",
        "fallback",
        "fallback_service",
        "with_state",
        "into_service",
        "oneshot",
        "call_all",
    ];
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = BTreeSet::new();
    for (path, source) in sources(&root) {
        let file = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        // What stands below it is not in the program.
        let source = source.split("#[cfg(test)]\nmod ").next().unwrap();
        for method in METHODS {
            for registered in source.split(&format!(".{method}(")).skip(1) {
                let first = registered.trim_start();
                let is_route = method == "route" && first.starts_with("\"/");
                if !is_route {
                    let end = first.find([',', '(', ')', '\n']).unwrap_or(first.len());
                    found.insert(format!("{file}: {method}({}", &first[..end]));
                }
            }
        }
    }
    found
}
