//! What the log says of a panic: where, in one line like every other. What it was about is said only if it is a text of our
//! sources: a value that stands in it may be somebody's.

use std::backtrace::Backtrace;
use std::panic::PanicHookInfo;

/// The longest text that is repeated.
const MAX_TEXT_CHARS: usize = 200;

/// Takes the place of the hook that writes lines of its own to standard error.
pub fn log_panics() {
    std::panic::set_hook(Box::new(log));
}

fn log(panic: &PanicHookInfo<'_>) {
    let (file, line) = panic
        .location()
        .map_or(("unknown", 0), |place| (place.file(), place.line()));
    let text: String = own_words(panic).chars().take(MAX_TEXT_CHARS).collect();
    let backtrace = Backtrace::capture();
    // Its frames are names of functions; it is there when RUST_BACKTRACE asks for it.
    let backtrace =
        (backtrace.status() == std::backtrace::BacktraceStatus::Captured).then(|| backtrace.to_string());
    tracing::error!(
        event = "panic",
        file,
        line,
        text,
        backtrace,
        "a mistake of ours: a task panicked"
    );
}

/// A literal: what was put together at run time is another type.
fn own_words(panic: &PanicHookInfo<'_>) -> &'static str {
    let literal = panic.payload().downcast_ref::<&'static str>();
    literal.copied().unwrap_or("not repeated")
}
