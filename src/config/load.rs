//! From a file and the environment to a checked [`Config`], or to everything that is wrong with it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::finding::{ConfigFindings, Finding, Position, Severity};
use super::schema::{Schema, Walked};
use super::tree::{self, Indirection, Node, Origin, Value, join};
use super::{Config, LoadedConfig};

/// The name of the file where nobody named one.
pub const FILE_NAME: &str = "riley-auth.toml";

/// What a configuration is made of; nothing else is looked at but the files it names.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// `None`: there is no file, everything comes from the environment.
    pub path: Option<PathBuf>,
    pub text: String,
    pub environment: BTreeMap<String, String>,
    /// `env:` and `file:` values that are missing are warnings.
    pub offline: bool,
}

/// The environment of this process, as far as it is text.
fn environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

impl Config {
    /// Finds, reads and checks the configuration. Every finding is reported at once.
    pub fn load(path: Option<&Path>) -> Result<LoadedConfig, ConfigFindings> {
        Source::find(path)?.load()
    }
}

impl Source {
    /// The file at `path`, or the first that exists of: `RILEY_AUTH_CONFIG`, `riley-auth.toml` in this directory and its
    /// parents, in the user's configuration directory, in `/etc/riley-auth`; with the environment of this process.
    pub fn find(path: Option<&Path>) -> Result<Self, ConfigFindings> {
        let environment = environment();
        let working_directory = std::env::current_dir().unwrap_or_default();
        let named = path
            .map(Path::to_path_buf)
            .or_else(|| environment.get("RILEY_AUTH_CONFIG").map(PathBuf::from));
        let candidates = candidates(&working_directory, &environment);
        let Some(path) = named.or_else(|| candidates.iter().find(|candidate| candidate.is_file()).cloned())
        else {
            if environment
                .keys()
                .any(|name| name.starts_with(tree::OVERRIDE_PREFIX))
            {
                return Ok(Self {
                    environment,
                    ..Self::default()
                });
            }
            let places = candidates
                .iter()
                .map(|path| path.display().to_string())
                .collect::<Vec<_>>()
                .join(", ");
            return Err(ConfigFindings(vec![Finding::error(
                "",
                format!("there is no configuration file (looked for {places})"),
                "name one with --config PATH, or start from config.example.toml; `riley-auth dev` needs none",
            )]));
        };
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Self {
                path: Some(path),
                text,
                environment,
                offline: false,
            }),
            Err(error) => Err(ConfigFindings(vec![Finding::error(
                "",
                format!(
                    "the configuration file {} cannot be read: {error}",
                    path.display()
                ),
                "correct the path, or let this process read the file",
            )])),
        }
    }

    /// The environment alone, for a server that was started without a file.
    pub fn environment() -> Result<Self, ConfigFindings> {
        Ok(Self {
            environment: environment(),
            ..Self::default()
        })
    }

    /// Checks everything and builds the configuration; the error holds warnings too.
    pub fn load(&self) -> Result<LoadedConfig, ConfigFindings> {
        match self.check() {
            (Some(config), findings) if !findings.iter().any(Finding::is_error) => Ok(LoadedConfig {
                config,
                path: self.path.clone(),
                warnings: findings,
            }),
            (_, findings) => Err(ConfigFindings(findings)),
        }
    }

    /// Everything that is to be said, and the configuration as far as it can be understood, in which placeholders stand
    /// for what has a finding: for further checks, never for running.
    pub fn check(&self) -> (Option<Config>, Vec<Finding>) {
        let document = match DeTable::parse_recoverable(&self.text) {
            (document, errors) if errors.is_empty() => document,
            (_, errors) => return (None, self.syntax_errors(&errors)),
        };
        let schema = Schema::of_config();
        let mut root = tree::from_document(document.get_ref());
        tree::apply_overrides(&mut root, &self.environment, &|path| schema.takes_text(path));
        let mut findings = Vec::new();
        let indirection = Indirection {
            environment: &self.environment,
            directory: &self.directory(),
            offline: self.offline,
        };
        for (key, node) in &mut root {
            indirection.resolve(&join("", key), node, &mut findings);
        }
        let places = Places::of(&root);
        let mut walked = schema.walk(&mut root);
        findings.append(&mut walked.findings);
        let json = Value::Table(root).to_json();
        let config = match serde_json::from_value::<Config>(json) {
            Ok(mut config) => {
                config.resolve_paths(&self.directory());
                // Whoever has been told that a key is wrong need not hear what follows from the placeholder.
                let about_others = |finding: &Finding| {
                    !findings
                        .iter()
                        .any(|known: &Finding| is_same_or_below(&finding.key, &known.key))
                };
                let meant: Vec<Finding> = config.check().into_iter().filter(about_others).collect();
                findings.extend(meant);
                Some(config)
            }
            Err(error) if findings.iter().all(|finding| !finding.is_error()) => {
                findings.push(Finding::error(
                    "",
                    format!("the configuration cannot be read: {error}"),
                    "correct it",
                ));
                None
            }
            Err(_) => None,
        };
        self.place(&mut findings, &places, &walked);
        (config, findings)
    }

    /// Gives findings that were made later, about keys of this configuration, their places.
    pub fn locate(&self, findings: &mut [Finding]) {
        let Ok(document) = DeTable::parse(&self.text) else {
            return;
        };
        let schema = Schema::of_config();
        let mut root = tree::from_document(document.get_ref());
        tree::apply_overrides(&mut root, &self.environment, &|path| schema.takes_text(path));
        let places = Places::of(&root);
        let walked = schema.walk(&mut root);
        self.place(findings, &places, &walked);
    }

    /// Where relative paths start.
    fn directory(&self) -> PathBuf {
        self.path
            .as_deref()
            .and_then(Path::parent)
            .map(Path::to_path_buf)
            .unwrap_or_default()
    }

    fn file_name(&self) -> String {
        self.path
            .as_ref()
            .map_or_else(|| "configuration".to_owned(), |path| path.display().to_string())
    }

    fn syntax_errors(&self, errors: &[toml::de::Error]) -> Vec<Finding> {
        let findings = errors.iter().map(|error| {
            let mut finding = Finding::error("", error.message().replace('\n', "; "), "correct the TOML");
            if let Some(span) = error.span() {
                let mut position = Position::of(&self.file_name(), &self.text, &span, true);
                // A line that does not parse may hold anything, so only a table's header is shown.
                position.text = position
                    .text
                    .filter(|line| line.starts_with('[') && !line.contains(['"', '\'', '=']));
                finding.position = Some(position);
            }
            finding
        });
        findings.collect()
    }

    /// Gives every finding its place and brings them into the order of the file.
    fn place(&self, findings: &mut [Finding], places: &Places, walked: &Walked) {
        let secret_lines = self.secret_lines(places, walked);
        for finding in findings.iter_mut() {
            let Some((place, exact)) = places.nearest(&finding.key) else {
                finding.position = self.path.as_ref().map(|path| Position::of_file(path));
                continue;
            };
            let key_only = !exact || walked.unknown.contains(&finding.key) || place.is_table;
            finding.position = Some(
                match if key_only {
                    &place.key_origin
                } else {
                    &place.origin
                } {
                    Origin::Environment(name) => Position {
                        file: format!("environment variable {name}"),
                        line: 0,
                        column: 0,
                        text: None,
                        length: 0,
                    },
                    Origin::File(span) => {
                        let mut position = Position::of(&self.file_name(), &self.text, span, true);
                        if secret_lines.contains(&position.line) {
                            position.text = position
                                .text
                                .map(|line| without_value(&line))
                                .filter(|line| line.chars().count() >= position.column - 1 + position.length);
                        }
                        position
                    }
                },
            );
        }
        findings.sort_by_key(|finding| {
            let place = finding
                .position
                .as_ref()
                .map_or((0, 0), |position| (position.line, position.column));
            (place, finding.severity == Severity::Warning)
        });
    }

    /// The lines on which a secret is written out, or a value of which nobody knows whether it is one.
    fn secret_lines(&self, places: &Places, walked: &Walked) -> Vec<usize> {
        let line_of = |at: usize| self.text[..at.min(self.text.len())].matches('\n').count() + 1;
        let spans =
            walked
                .secrets
                .iter()
                .chain(&walked.unknown)
                .filter_map(|path| match places.0.get(path) {
                    Some(Place {
                        origin: Origin::File(span),
                        indirect: false,
                        ..
                    }) => Some(span),
                    _ => None,
                });
        spans
            .flat_map(|span: &Range<usize>| line_of(span.start)..=line_of(span.end))
            .collect()
    }
}

/// The part of a line before its first `=`, and a sign that there is more.
fn without_value(line: &str) -> String {
    line.find('=')
        .map_or_else(|| line.to_owned(), |at| format!("{}= …", &line[..at]))
}

fn is_same_or_below(key: &str, other: &str) -> bool {
    !other.is_empty()
        && key
            .strip_prefix(other)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.') || rest.starts_with('['))
}

fn candidates(working_directory: &Path, environment: &BTreeMap<String, String>) -> Vec<PathBuf> {
    let user = environment
        .get("XDG_CONFIG_HOME")
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
        .or_else(|| {
            environment
                .get("HOME")
                .map(|home| Path::new(home).join(".config"))
        });
    working_directory
        .ancestors()
        .map(|directory| directory.join(FILE_NAME))
        .chain(user.map(|directory| directory.join("riley-auth").join(FILE_NAME)))
        .chain([Path::new("/etc/riley-auth").join(FILE_NAME)])
        .collect()
}

/// Where each key stands, by its path.
struct Places(BTreeMap<String, Place>);

struct Place {
    key_origin: Origin,
    origin: Origin,
    is_table: bool,
    indirect: bool,
}

impl Places {
    fn of(root: &BTreeMap<String, Node>) -> Self {
        let mut places = Self(BTreeMap::new());
        for (key, node) in root {
            places.add(join("", key), node);
        }
        places
    }

    fn add(&mut self, path: String, node: &Node) {
        match &node.value {
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.add(format!("{path}[{index}]"), item);
                }
            }
            Value::Table(table) => {
                for (key, inner) in table {
                    self.add(join(&path, key), inner);
                }
            }
            _ => {}
        }
        let place = Place {
            key_origin: node.key_origin.clone(),
            origin: node.origin.clone(),
            is_table: matches!(node.value, Value::Table(_)),
            indirect: node.indirect,
        };
        self.0.insert(path, place);
    }

    /// The place of the key, or of the table it ought to stand in; and whether it is the key's own.
    fn nearest(&self, path: &str) -> Option<(&Place, bool)> {
        let mut prefix = path;
        loop {
            if let Some(place) = self.0.get(prefix) {
                return Some((place, prefix.len() == path.len()));
            }
            prefix = &prefix[..prefix.rfind(['.', '['])?];
        }
    }
}
