//! `riley-auth serve`.

use super::{Global, logging};
use crate::telemetry::Exporter;

pub(super) async fn run(global: &Global) -> anyhow::Result<()> {
    let loaded = global.source()?.load()?;
    let exporter = Exporter::start(&loaded.config.telemetry)?;
    logging::init_with(&loaded.config.log, exporter.as_ref().map(Exporter::layer));
    crate::server::panics::log_panics();
    for finding in &loaded.warnings {
        tracing::warn!(
            config.key = finding.key,
            mend = finding.mend,
            "{}",
            finding.problem
        );
    }
    let result = crate::server::serve(loaded, logging::change).await;
    if let Some(exporter) = exporter {
        exporter.stop().await;
    }
    result
}
