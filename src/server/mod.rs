//! Wiring: the state, the router, the listener, the workers, and their orderly end.

pub mod accept;
pub mod cors;
pub mod error_shape;
pub mod health;
pub mod request_log;
pub mod routes;
pub mod security_headers;
