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

pub mod authorize;
pub mod code;
pub mod consent;
pub mod id_token_hint;
pub mod login_redirect;
pub mod pending;
pub mod resume;
