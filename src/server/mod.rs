//! server

/// Runs the server until it is told to stop.
pub async fn serve(loaded: crate::config::LoadedConfig) -> anyhow::Result<()> {
    let _ = loaded;
    anyhow::bail!("serve is not there yet")
}
