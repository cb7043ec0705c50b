//! `riley-auth serve`.

use super::{Global, logging};

pub(super) async fn run(global: &Global) -> anyhow::Result<()> {
    let loaded = global.source()?.load()?;
    logging::init(&loaded.config.log);
    for finding in &loaded.warnings {
        tracing::warn!(
            config.key = finding.key,
            mend = finding.mend,
            "{}",
            finding.problem
        );
    }
    crate::server::serve(loaded).await
}
