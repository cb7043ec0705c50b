//! What a check of the configuration has to say: where, what, how to mend it.

use std::fmt;
use std::ops::Range;
use std::path::Path;

use serde::Serialize;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The server does not start.
    Error,
    /// The server starts, but somebody ought to look.
    Warning,
}

/// Where in the configuration a finding points.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Position {
    /// The file's path, or `environment variable NAME`.
    pub file: String,
    /// From 1; 0 where there is no line, as in an environment variable.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// The line itself, unless it may hold a secret.
    #[serde(skip)]
    pub text: Option<String>,
    /// How many characters to underline.
    #[serde(skip)]
    pub length: usize,
}

/// One finding. It never contains a value of the configuration that may be a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub severity: Severity,
    /// The key's path, such as `server.port`; empty for the file as a whole.
    pub key: String,
    pub position: Option<Position>,
    /// What is wrong.
    pub problem: String,
    /// How to put it right.
    pub mend: String,
}

/// Everything that stands against a configuration, errors and warnings, in the order of the file.
#[derive(Clone, Debug, Default, Serialize, thiserror::Error)]
#[serde(transparent)]
pub struct ConfigFindings(pub Vec<Finding>);

impl Finding {
    /// An error about no particular place.
    pub fn error(key: impl Into<String>, problem: impl Into<String>, mend: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            key: key.into(),
            position: None,
            problem: problem.into(),
            mend: mend.into(),
        }
    }

    /// A warning about no particular place.
    pub fn warning(key: impl Into<String>, problem: impl Into<String>, mend: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(key, problem, mend)
        }
    }

    /// Whether the server must not start.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl Position {
    /// The file as a whole: for what is missing in it.
    pub fn of_file(path: &Path) -> Self {
        Self {
            file: path.display().to_string(),
            line: 1,
            column: 1,
            text: None,
            length: 0,
        }
    }

    /// The position of `span`, in bytes, within `text`, the content of `file`. `show`: whether the line may be printed.
    pub fn of(file: &str, text: &str, span: &Range<usize>, show: bool) -> Self {
        let start = span.start.min(text.len());
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
        let end = span.end.clamp(start, line_end);
        Self {
            file: file.to_owned(),
            line: text[..start].matches('\n').count() + 1,
            column: text[line_start..start].chars().count() + 1,
            text: show.then(|| text[line_start..line_end].trim_end_matches('\r').to_owned()),
            length: text[start..end].chars().count().max(1),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{severity}: ")?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        writeln!(f, "{}", self.problem)?;
        let margin = self
            .position
            .as_ref()
            .map_or(1, |position| position.line.to_string().len());
        if let Some(position) = &self.position {
            write_frame(f, position, margin)?;
        }
        write!(f, "{:margin$} = {}", "", self.mend)
    }
}

fn write_frame(f: &mut fmt::Formatter<'_>, position: &Position, margin: usize) -> fmt::Result {
    if position.line == 0 {
        return writeln!(f, "{:margin$}--> {}", "", position.file);
    }
    writeln!(
        f,
        "{:margin$}--> {}:{}:{}",
        "", position.file, position.line, position.column
    )?;
    let Some(text) = &position.text else { return Ok(()) };
    // Tabs are kept in the indentation, so that the mark stands below its word however wide they are shown.
    let indent: String = text
        .chars()
        .take(position.column - 1)
        .map(|c| if c == '\t' { '\t' } else { ' ' })
        .collect();
    writeln!(f, "{:margin$} |", "")?;
    writeln!(f, "{} | {text}", position.line)?;
    writeln!(f, "{:margin$} | {indent}{}", "", "^".repeat(position.length))
}

impl fmt::Display for ConfigFindings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, finding) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            writeln!(f, "{finding}")?;
        }
        Ok(())
    }
}
