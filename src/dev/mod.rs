//! What `riley-auth dev` adds to `serve`, and nothing else may use.
//!
//! | file | what |
//! | --- | --- |
//! | [`mod@run`] | starts everything, prints what to open, stops everything |
//! | [`beside`] | the same beside a `serve` of its own, for compose.yaml |
//! | [`settings`] | the ports, and the configuration that follows from them |
//! | [`data`] | keys and secrets that are made once and kept |
//! | [`database`], [`postgres`] | which database, and a private server if none is given |
//! | [`provider`] | the provider itself, the same as under `serve` |
//! | [`simulated_upstream`] | the upstream that believes every name |
//! | [`demo_app`] | an ordinary app that people sign in to |
//! | [`front_end`] | the pages that a deployer would write, on the public API |
//! | [`listen`], [`loopback_only`] | loopback addresses and host names, nothing else |

pub mod beside;
pub mod data;
pub mod database;
pub mod demo_app;
pub mod front_end;
pub mod listen;
pub mod loopback_only;
pub mod postgres;
pub mod provider;
pub mod run;
pub mod settings;
pub mod simulated_upstream;

pub use run::{DevOptions, run};

/// The style of the demo app's and the front end's pages.
pub(crate) const STYLE: &str = include_str!("style.css");
