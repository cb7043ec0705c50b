//! The kit that endpoints are built from: extractors, cookies, shared state. It knows axum and no endpoint.

pub mod clients;
pub mod now;
pub mod state;
