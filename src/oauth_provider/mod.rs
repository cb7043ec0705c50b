//! riley-auth as an OpenID Provider: what a registered client talks to.
//!
//! One file is one endpoint. Rules live in [`crate::protocol`], rows in [`crate::db`]; here they meet. How a person gets
//! the session that `/oauth/authorize` looks for is [`crate::auth`]'s business.
//!
//! | route | file | specification |
//! | --- | --- | --- |
//! | `GET, POST /oauth/authorize` | [`authorize`] | RFC 6749 §4.1.1, OpenID Connect Core §3.1.2 |
//! | `GET /oauth/authorize/resume` | [`resume`] | the second half of the same |
//! | `GET, POST /oauth/consent` | [`consent`] | OpenID Connect Core §3.1.2.4 |
//! | `POST /oauth/token` | [`token`], [`grants`], [`tokens`] | RFC 6749 §4.1.3, §5, §6; OpenID Connect Core §3.1.3, §12 |
//! | `GET, POST /oauth/userinfo` | [`userinfo`] | OpenID Connect Core §5.3 |
//! | `POST /oauth/introspect` | [`introspect`] | RFC 7662 |
//! | `POST /oauth/revoke` | [`revoke`] | RFC 7009 |
//! | `GET, POST /oauth/logout` | [`logout`] | OpenID Connect RP-Initiated Logout 1.0 |
//! | `GET /.well-known/…` | [`discovery`] | OpenID Connect Discovery, RFC 8414, RFC 7517 |

pub mod authorize;
pub mod code;
pub mod consent;
pub mod discovery;
pub mod grants;
pub mod id_token_hint;
pub mod introspect;
pub mod login_redirect;
pub mod logout;
pub mod pending;
pub mod resume;
pub mod revoke;
pub mod token;
pub mod tokens;
pub mod userinfo;
