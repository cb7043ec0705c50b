//! `riley-auth openapi`: the API document, for generators and for people without a running server.

use super::Global;
use crate::server::openapi::document;

pub(super) fn run(global: &Global) -> anyhow::Result<()> {
    let config = global.source()?.load()?.config;
    let text = serde_json::to_string_pretty(&document(&config))?;
    super::print(&(text + "\n"))
}
