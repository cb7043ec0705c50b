//! The kit that endpoints are built from: extractors, cookies, shared state. It knows axum and no endpoint.

pub mod administrator;
pub mod api_doc;
pub mod bearer;
pub mod browser;
pub mod client;
pub mod client_ip;
pub mod clients;
pub mod cookies;
pub mod csrf;
pub mod error_report;
pub mod json_body;
pub mod no_store;
pub mod now;
pub mod oauth_params;
pub mod page;
pub mod readiness;
pub mod return_to;
pub mod segment;
pub mod state;
