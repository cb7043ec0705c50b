//! Every route, read from the sources of the router, so that none can be forgotten.

use std::collections::BTreeSet;
use std::path::Path;

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
    if path.is_dir() {
        if path.ends_with("src/dev") {
            return;
        }
        let entries = std::fs::read_dir(path).unwrap();
        entries.for_each(|entry| collect(&entry.unwrap().path(), routes));
    } else if let Ok(source) = std::fs::read_to_string(path) {
        for registered in source.split(".route(").skip(1) {
            let route = registered
                .trim_start()
                .strip_prefix('"')
                .and_then(|rest| rest.split('"').next());
            routes.extend(route.filter(|route| route.starts_with('/')).map(str::to_owned));
        }
    }
}
