//! Finds the PostgreSQL programs (`initdb`, `postgres`, `pg_ctl`) on this machine.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

/// What to do when there is no PostgreSQL, in one sentence.
const NOT_FOUND: &str = "no PostgreSQL server programs were found: install them (Debian, Ubuntu: `apt-get install \
     postgresql`; macOS: `brew install postgresql@16`), or set PG_BIN to the directory that holds `initdb` and \
     `postgres`, or set DATABASE_URL to a server that runs already";

/// Folders whose children (one a version) hold the programs, with what follows the version.
const VERSIONED: [(&str, &str, &str); 5] = [
    ("/usr/lib/postgresql", "", "bin"),
    ("/usr", "pgsql-", "bin"),
    ("/opt/homebrew/opt", "postgresql@", "bin"),
    ("/usr/local/opt", "postgresql@", "bin"),
    ("/Applications/Postgres.app/Contents/Versions", "", "bin"),
];

/// The directory of the programs: `PG_BIN`, else what `pg_config` says, else the newest version in the usual places,
/// else the search path.
pub(super) fn find() -> anyhow::Result<PathBuf> {
    if let Some(chosen) = std::env::var_os("PG_BIN").filter(|value| !value.is_empty()) {
        let chosen = PathBuf::from(chosen);
        if !holds_server(&chosen) {
            bail!("PG_BIN is set, but that directory does not hold `initdb`, `postgres` and `pg_ctl`");
        }
        return std::path::absolute(chosen).context("make PG_BIN absolute");
    }
    said_by_pg_config()
        .into_iter()
        .chain(
            VERSIONED
                .iter()
                .flat_map(|(parent, prefix, rest)| newest_first(parent, prefix, rest)),
        )
        .chain(search_path())
        .find(|directory| holds_server(directory))
        .context(NOT_FOUND)
}

/// The major version of the server in `bin`, such as 15.
pub(super) fn major_version(bin: &Path) -> anyhow::Result<u32> {
    let output = Command::new(bin.join("postgres"))
        .arg("--version")
        .output()
        .context("run `postgres --version`")?;
    parse_major(&String::from_utf8_lossy(&output.stdout)).context("`postgres --version` names no version")
}

/// The major version in a line such as `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`.
fn parse_major(line: &str) -> Option<u32> {
    let version = line
        .split_whitespace()
        .find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    leading_number(version)
}

fn leading_number(text: &str) -> Option<u32> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text[..digits].parse().ok()
}

/// Whether the programs are there. Packages for clients install `pg_config` without the server.
fn holds_server(directory: &Path) -> bool {
    ["initdb", "postgres", "pg_ctl"]
        .iter()
        .all(|program| directory.join(program).is_file())
}

fn said_by_pg_config() -> Option<PathBuf> {
    let output = Command::new("pg_config")
        .arg("--bindir")
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let directory = String::from_utf8(output.stdout).ok()?;
    output
        .status
        .success()
        .then(|| PathBuf::from(directory.trim_end()))
}

fn newest_first(parent: &str, prefix: &str, rest: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(parent) else {
        return Vec::new();
    };
    let mut versions: Vec<(u32, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            Some((
                leading_number(name.strip_prefix(prefix)?)?,
                entry.path().join(rest),
            ))
        })
        .collect();
    versions.sort_by(|a, b| b.cmp(a));
    versions.into_iter().map(|(_, directory)| directory).collect()
}

fn search_path() -> Vec<PathBuf> {
    std::env::var_os("PATH")
        .map(|path| std::env::split_paths(&path).collect())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_every_distributors_line() {
        assert_eq!(
            parse_major("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"),
            Some(15)
        );
        assert_eq!(parse_major("postgres (PostgreSQL) 18beta1\n"), Some(18));
        assert_eq!(parse_major("something else\n"), None);
    }

    #[test]
    fn the_newest_version_comes_first_by_number() {
        let parent = tempfile::tempdir().unwrap();
        for name in ["9", "16", "15", "common"] {
            std::fs::create_dir(parent.path().join(name)).unwrap();
        }
        let found = newest_first(parent.path().to_str().unwrap(), "", "bin");
        let expected: Vec<_> = ["16", "15", "9"]
            .iter()
            .map(|v| parent.path().join(v).join("bin"))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_directory_with_pg_config_alone_holds_no_server() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("pg_config"), "").unwrap();
        assert!(!holds_server(directory.path()));
    }
}
