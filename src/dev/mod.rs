//! What `riley-auth dev` adds to `serve`, and nothing else may use.

pub mod database;
pub mod postgres;
pub mod simulated_upstream;

/// What `riley-auth dev` was asked for.
#[derive(Clone, Debug, Default)]
pub struct DevOptions {
    /// Start with an empty database and new keys.
    pub fresh: bool,
    /// The provider's port.
    pub port: Option<u16>,
    /// A database to use if it is empty or `dev`'s own.
    pub database_url: Option<String>,
}

/// Runs everything until it is told to stop.
pub async fn run(options: DevOptions) -> anyhow::Result<()> {
    let _ = options;
    anyhow::bail!("dev is not there yet")
}
