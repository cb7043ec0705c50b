//! What `riley-auth dev` adds to `serve`, and nothing else may use.

pub mod database;
pub mod postgres;
pub mod simulated_upstream;
