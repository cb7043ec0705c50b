//! riley-auth: an OpenID Connect provider you own.
pub mod protocol;
pub mod error;
pub mod clock;
pub mod config;
pub mod jwt;
pub mod db;
pub mod http;
pub mod oauth_provider;
pub mod auth;
pub mod upstream;
pub mod accounts;
pub mod maintenance;
pub mod server;
pub mod cli;
pub mod dev;
