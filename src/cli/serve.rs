//! `riley-auth serve`.

use super::{Global, logging};

pub(super) async fn run(global: &Global) -> anyhow::Result<()> {
    let loaded = global.load()?;
    logging::init(&loaded.config.log);
    crate::server::serve(loaded).await
}
