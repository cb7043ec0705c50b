//! Placeholder.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}
pub(super) async fn run(_: &super::Global, _: &Args) -> anyhow::Result<()> {
    Ok(())
}
