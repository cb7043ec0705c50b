//! What `riley-auth dev` adds to `serve`, and nothing else may use.

pub mod database;
pub mod postgres;
pub mod simulated_upstream;
pub struct DevOptions {
    pub fresh: bool,
    pub port: Option<u16>,
    pub database_url: Option<String>,
}
pub async fn run(_: DevOptions) -> anyhow::Result<()> {
    Ok(())
}
