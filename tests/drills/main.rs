//! Drills: the program as operators run it, under load, while something happens to it. Every request is counted at the
//! client: sent, answered, answered otherwise than it should have been, or not answered at all.
//!
//!     cargo test --release --test drills -- [--record] [rotation] [restart] [outage] [instances]
//!
//! Not a part of `cargo test`: a drill takes half a minute and wants the release build and a quiet machine. `--record`
//! writes the figures into planning/reliability.md.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a panic is how a drill fails; figures go to the terminal"
)]

#[path = "../common/mod.rs"]
mod common;

mod instances;
mod load;
mod outage;
mod proxy;
mod record;
mod restart;
mod rotation;

/// One line of the table: what was done, and what came of it.
pub(crate) struct Figure {
    pub(crate) drill: &'static str,
    pub(crate) what: String,
    pub(crate) result: String,
}

impl Figure {
    pub(crate) fn new(drill: &'static str, what: impl Into<String>, result: impl Into<String>) -> Self {
        let figure = Self {
            drill,
            what: what.into(),
            result: result.into(),
        };
        println!("{}: {}: {}", figure.drill, figure.what, figure.result);
        figure
    }
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (options, names): (Vec<String>, Vec<String>) = arguments
        .into_iter()
        .partition(|argument| argument.starts_with("--"));
    let wanted = |name: &str| names.is_empty() || names.iter().any(|wanted| wanted == name);
    let mut figures = Vec::new();
    if wanted("rotation") {
        figures.extend(rotation::run().await);
    }
    if wanted("restart") {
        figures.extend(restart::run().await);
    }
    if wanted("outage") {
        figures.extend(outage::run().await);
    }
    if wanted("instances") {
        figures.extend(instances::run().await);
    }
    assert!(!figures.is_empty(), "there is no drill of that name: {names:?}");
    if options.iter().any(|option| option == "--record") {
        record::write(&figures);
    }
}
