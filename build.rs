//! Tells Cargo what the macros read beside the sources.

fn main() {
    // `sqlx::migrate!` puts the files into the program; without this line, a new one alone would not rebuild it.
    println!("cargo::rerun-if-changed=migrations");
}
