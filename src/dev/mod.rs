//! What `riley-auth dev` adds to `serve`, and nothing else may use.

pub mod database;
pub mod postgres;
