//! dev
pub mod database;
pub mod postgres;
