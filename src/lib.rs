//! riley-auth: an OpenID Connect provider you own.
pub mod accounts;
pub mod auth;
pub mod cli;
pub mod clients;
pub mod clock;
pub mod config;
pub mod db;
pub mod dev;
pub mod error;
pub mod http;
pub mod jwt;
pub mod maintenance;
pub mod oauth_provider;
pub mod protocol;
pub mod server;
pub mod upstream;
pub mod usernames;
