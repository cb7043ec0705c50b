//! The kit that endpoints are built from: extractors, cookies, shared state. It knows axum and no endpoint.

pub mod browser;
pub mod clients;
pub mod cookies;
pub mod error_report;
pub mod now;
pub mod page;
pub mod state;
