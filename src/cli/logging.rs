//! Log lines: for people on a terminal, JSON otherwise, always on standard error.

use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal as _};
use std::sync::{Mutex, OnceLock, PoisonError};

use tracing::Subscriber;
use tracing::field::Field;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::filter::{Directive, LevelFilter};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use crate::config::log::{LogConfig, LogFormat};

/// What is logged when nobody says anything.
const DEFAULT_FILTER: &str = "info,sqlx=warn,hyper=warn,h2=warn,rustls=warn";

/// Libraries that would print what they send and receive, credentials among it: `info` at most, whatever is asked for.
const CAPPED: [&str; 8] = [
    "sqlx",
    "hyper",
    "hyper_util",
    "h2",
    "reqwest",
    "rustls",
    "tower",
    "redis",
];

/// Takes in spans beside the log.
pub type SpanLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// Installs the subscriber of this process; later calls change nothing. `RUST_LOG` wins over `log.level`.
pub fn init(config: &LogConfig) {
    init_with(config, None);
}

/// The same with a layer that sees spans whatever the log's filter leaves out.
pub fn init_with(config: &LogConfig, spans: Option<SpanLayer>) {
    let (filter, change) = tracing_subscriber::reload::Layer::new(filter_for(config, spans.is_some()));
    let terminal = std::io::stderr().is_terminal();
    let format = config.format.unwrap_or(if terminal {
        LogFormat::Human
    } else {
        LogFormat::Json
    });
    let colours = terminal && std::env::var_os("NO_COLOR").is_none();
    // It fails only if a subscriber is installed already, as in tests.
    let has_spans = spans.is_some();
    let spans = spans.unwrap_or_else(|| Box::new(tracing_subscriber::layer::Identity::new()));
    let installed = tracing_subscriber::registry()
        .with(spans)
        .with(filter)
        .with(lines(format, colours, io::stderr))
        .try_init();
    if installed.is_ok() {
        let changeable = Changeable {
            current: Mutex::new(config.level.clone()),
            change: Box::new(move |config| change.reload(filter_for(config, has_spans)).is_ok()),
        };
        let _ = CHANGEABLE.set(changeable);
    }
}

/// The filter that is installed, once it is.
static CHANGEABLE: OnceLock<Changeable> = OnceLock::new();

struct Changeable {
    current: Mutex<Option<String>>,
    change: Box<dyn Fn(&LogConfig) -> bool + Send + Sync>,
}

/// Takes over `log.level` while running; `true`: it is another one than before. `RUST_LOG` wins as at the start.
pub fn change(config: &LogConfig) -> bool {
    let Some(changeable) = CHANGEABLE.get() else {
        return false;
    };
    let mut current = changeable.current.lock().unwrap_or_else(PoisonError::into_inner);
    if *current == config.level {
        return false;
    }
    current.clone_from(&config.level);
    if from_environment().is_some() {
        tracing::warn!("log.level has changed, but RUST_LOG is set and wins");
        return false;
    }
    (changeable.change)(config)
}

fn from_environment() -> Option<String> {
    std::env::var("RUST_LOG").ok().filter(|filter| !filter.is_empty())
}

fn filter_for(config: &LogConfig, with_spans: bool) -> EnvFilter {
    let from_environment = from_environment();
    let filter = from_environment
        .as_deref()
        .or(config.level.as_deref())
        .unwrap_or(DEFAULT_FILTER);
    let filter = filter_of(filter).unwrap_or_else(|| {
        eprintln!("warning: RUST_LOG is no filter; {DEFAULT_FILTER} is used");
        EnvFilter::new(DEFAULT_FILTER)
    });
    if with_spans {
        filter.add_directive(spans_directive())
    } else {
        filter
    }
}

/// Lets requests' spans through, however little is logged: nothing else has this target.
fn spans_directive() -> Directive {
    let directive = format!("{}=info", crate::telemetry::TARGET);
    directive.parse().expect("a target and a level are a directive")
}

/// What writes lines. A value stays within its line and commands no terminal, whatever it holds.
fn lines<S, W>(format: LogFormat, colours: bool, writer: W) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer();
    match format {
        LogFormat::Human => lines
            .with_writer(writer)
            .with_ansi(colours)
            .with_target(false)
            .fmt_fields(debug_fn(readable).delimited(" "))
            .boxed(),
        LogFormat::Json => lines
            .with_writer(JsonLines(writer))
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .boxed(),
    }
}

/// A field of a line for people.
fn readable(writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    if field.name() != "message" {
        write!(writer, "{field}=")?;
    }
    write!(OneLine(writer), "{value:?}")
}

/// Escapes control characters, line breaks among them.
struct OneLine<'a, W>(&'a mut W);

impl<W: fmt::Write> fmt::Write for OneLine<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for part in text.split_inclusive(char::is_control) {
            let end = part
                .char_indices()
                .next_back()
                .filter(|(_, last)| last.is_control());
            let (plain, control) = part.split_at(end.map_or(part.len(), |(at, _)| at));
            self.0.write_str(plain)?;
            for control in control.chars() {
                write!(self.0, "{}", control.escape_default())?;
            }
        }
        Ok(())
    }
}

/// JSON escapes the control characters of ASCII (RFC 8259 §7) but for DEL. The others, which some terminals obey as well, are
/// escaped here; outside of strings there are none.
struct JsonLines<W>(W);

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for JsonLines<W> {
    type Writer = JsonLine<W::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        JsonLine(self.0.make_writer())
    }
}

struct JsonLine<W>(W);

impl<W: io::Write> io::Write for JsonLine<W> {
    /// A line comes as a whole.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        let is_safe = |character: char| character == '\n' || !character.is_control();
        if text.chars().all(is_safe) {
            return self.0.write(line);
        }
        let mut escaped = String::with_capacity(text.len() + 16);
        for character in text.chars() {
            if is_safe(character) {
                escaped.push(character);
            } else {
                // It cannot fail: a string grows.
                let _ = write!(escaped, "\\u{:04x}", u32::from(character));
            }
        }
        self.0.write_all(escaped.as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// What is asked for, with the libraries capped that it asks more of than is safe.
fn filter_of(asked_for: &str) -> Option<EnvFilter> {
    let filter = EnvFilter::try_new(asked_for).ok()?;
    if matches!(filter.max_level_hint(), Some(level) if level <= LevelFilter::INFO) {
        return Some(filter);
    }
    let is_of_a_library = |directive: &&str| {
        let target = directive.trim().split(['=', '[', ':']).next().unwrap_or_default();
        CAPPED.contains(&target)
    };
    let kept: Vec<&str> = asked_for
        .split(',')
        .filter(|directive| !is_of_a_library(directive))
        .collect();
    let capped = CAPPED.map(|library| format!("{library}=info")).join(",");
    EnvFilter::try_new(format!("{},{capped}", kept.join(","))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_filter_makes_libraries_print_what_they_send() {
        for asked_for in [
            "trace",
            "riley_auth=trace,hyper=trace",
            "info,hyper::proto=trace",
            "debug",
        ] {
            let filter = filter_of(asked_for).unwrap().to_string();
            let directives: Vec<&str> = filter.split(',').collect();
            let of_hyper = directives
                .iter()
                .filter(|directive| directive.starts_with("hyper"));
            assert!(
                of_hyper.clone().all(|directive| directive.ends_with("=info")),
                "{filter}"
            );
            assert_eq!(of_hyper.count(), 2, "{asked_for}: {filter}");
        }
        assert_eq!(
            filter_of("warn,sqlx=info").unwrap().to_string(),
            filter_of("sqlx=info,warn").unwrap().to_string()
        );
        assert!(filter_of("riley=loud").is_none());
    }

    #[derive(Clone, Default)]
    struct Written(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

    impl std::io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// OB-3: a value, however it is written, cannot begin a line or command a terminal, on a terminal either.
    #[test]
    fn a_hostile_value_stays_in_its_line() {
        let hostile = "a\r\n2026-01-01 ERROR forged\u{1b}[2J\u{9b}31m\u{7}\u{0}";
        for format in [LogFormat::Human, LogFormat::Json] {
            let written = Written::default();
            let writer = written.clone();
            let subscriber =
                tracing_subscriber::registry().with(lines(format, false, move || writer.clone()));
            tracing::subscriber::with_default(subscriber, || {
                let span = tracing::info_span!("request", within = %hostile, and = hostile);
                let _entered = span.enter();
                tracing::info!(plain = hostile, shown = %hostile, debugged = ?hostile, "{hostile}");
            });
            let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
            let line = text.strip_suffix('\n').unwrap();
            assert!(!line.chars().any(char::is_control), "{format:?}: {line:?}");
            assert!(line.matches("forged").count() >= 5, "{format:?}: {line}");
            if format == LogFormat::Json {
                let read: serde_json::Value = serde_json::from_str(line).unwrap();
                for value in [
                    &read["plain"],
                    &read["shown"],
                    &read["message"],
                    &read["span"]["within"],
                ] {
                    assert_eq!(value, hostile);
                }
            }
        }
    }
}
