//! protocol

pub mod algorithm;
