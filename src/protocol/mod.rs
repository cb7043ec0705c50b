//! The rules of OAuth 2.0 and OpenID Connect, as functions from values to values.
//!
//! Nothing here waits, reads a clock, opens a connection or knows a web framework; what a rule needs arrives as an
//! argument, and what it decides leaves as a value. Endpoints load, call and write.
//!
//! | specification | where |
//! | --- | --- |
//! | RFC 6749 §2.3, §3.1, §3.3, §4.1, §5, §6 (OAuth 2.0) | [`client_auth`], [`params`], [`scope`], [`authorization`], [`grant`] |
//! | RFC 7636 (PKCE) | [`pkce`] |
//! | RFC 8252 §7 (native apps), RFC 9700 §2.1, §4.1 | [`redirect_uri`] |
//! | RFC 9068 (JWT access tokens) | [`claims`] |
//! | RFC 9207 (`iss` in the authorization response) | [`authorization`] |
//! | OpenID Connect Core 1.0 §2, §3.1, §5, §6, §12 | [`authorization`], [`interaction`], [`claims`], [`request_object`] |
//! | OpenID Connect Discovery 1.0 §3, RFC 8414 | [`metadata`] |
//! | OpenID Connect RP-Initiated Logout 1.0 §2, §3; Back-Channel Logout 1.0 §2.4, §2.8 | [`logout`] |

pub mod algorithm;
pub mod authorization;
pub mod claims;
pub mod client;
pub mod client_auth;
#[cfg(test)]
mod fixtures;
pub mod grant;
pub mod ids;
pub mod interaction;
pub mod logout;
pub mod metadata;
pub mod opaque;
pub mod params;
pub mod pkce;
pub mod prompt;
pub mod redirect_uri;
pub mod request_object;
pub mod scope;
