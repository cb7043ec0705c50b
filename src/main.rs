//! The `riley-auth` program; everything it does is in the library.

fn main() -> std::process::ExitCode {
    riley_auth::cli::main()
}
